//! Owns: `export`: a table of one or more runs as one file, and the model of one run as a folder.
//! Must not know: how tables are stored in a run folder, or written to a file.
//! Invariant: every table of a run, and nothing else but its model, can be named.

use super::bail_usage;
use super::progress::Spinner;
use super::{model_source, output, run_lookup};
use crate::files::atomic::StagedFolder;
use crate::model::hf::COMPANION_FILES;
use crate::record::export::{self, RunTable, StepRange};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab export metrics last --out quick.parquet
  coconut-lab export metrics plain article --out both.csv --from-step 100 --to-step 500
  coconut-lab export changes last --out changes.csv
  coconut-lab export model quickstart@2000 --out exported

A run is a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`. The column
`run` names the run of each row. `export model` writes a checkpoint (the newest, or RUN@STEP) as a folder that
the Hugging Face library `transformers` can load. For any other selection of rows, read the file with DuckDB or Polars.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Table to export, or `model`.
    table: TableName,
    /// Runs to export; for a model exactly one, as RUN or RUN@STEP.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// File to write, ending in .parquet or .csv; for a model, the folder to create.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Export only rows from this step on (inclusive).
    #[arg(long, value_name = "STEP")]
    from_step: Option<u64>,
    /// Export only rows up to this step (inclusive).
    #[arg(long, value_name = "STEP")]
    to_step: Option<u64>,
}

/// What can be exported: the tables of a run, and its model.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum TableName {
    /// One row per step: losses, learning rate, speed and all other metrics.
    Metrics,
    /// One row per event: validations, samples, checkpoints, pauses.
    Events,
    /// One row per changed config key, refused change or note.
    Changes,
    /// One row per probed row of tokens, with entropies and likeliest tokens as lists; .parquet only.
    Tokens,
    /// One row per recycled position of a probed row, with its states decoded pass by pass; .parquet only.
    Thoughts,
    /// One row per layer of the model at a measured step: norms and histograms; .parquet only.
    Layers,
    /// One row per rollout of reinforcement learning: text, reward, advantage, entropies; .parquet only.
    Rollouts,
    /// One row per measurement of processor, memory and GPU.
    System,
    /// The model of one run, as a folder instead of a table.
    Model,
}

impl TableName {
    /// Returns the table of this name; none for the model.
    fn run_table(self) -> Option<RunTable> {
        Some(match self {
            TableName::Metrics => RunTable::Metrics,
            TableName::Events => RunTable::Events,
            TableName::Changes => RunTable::Changes,
            TableName::Tokens => RunTable::Tokens,
            TableName::Thoughts => RunTable::Thoughts,
            TableName::Layers => RunTable::Layers,
            TableName::Rollouts => RunTable::Rollouts,
            TableName::System => RunTable::System,
            TableName::Model => return None,
        })
    }
}

/// Exports a table or a model, and prints what was written.
pub(super) fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let steps = step_range(&args)?;
    let Some(table) = args.table.run_table() else { return export_model(&args, steps) };
    let runs = args.runs.iter().map(|name| run_lookup::run_folder(name)).collect::<Result<Vec<_>, _>>()?;
    let spinner = Spinner::start(format!("exporting {} runs", runs.len()));
    let exported = export::export_table(&runs, table, steps, &args.out)?;
    drop(spinner);
    exported.damage.iter().for_each(|found| output::print_error_line(format_args!("warning: {found}")));
    writeln!(output::stdout(), "rows: {}, runs: {}, written to {}", exported.rows, runs.len(), args.out.display())?;
    // The rows that can be read are there; a script must notice that some are missing.
    Ok(if exported.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads `--from-step` and `--to-step`; an empty range is an error.
fn step_range(args: &ExportArgs) -> anyhow::Result<StepRange> {
    let range = StepRange { first: args.from_step.unwrap_or(0), last: args.to_step.unwrap_or(u64::MAX) };
    if range.first > range.last {
        bail_usage!("--from-step {} is after --to-step {}", range.first, range.last);
    }
    Ok(range)
}

/// The checkpoint's files that a model folder holds, as far as they exist, beside its companions.
const MODEL_FILES: [&str; 3] = ["config.json", "model.safetensors", "feedback.safetensors"];

/// Exports the model of one run: copies the model files of its checkpoint, and adds a README.
fn export_model(args: &ExportArgs, steps: StepRange) -> anyhow::Result<ExitCode> {
    let [name] = &args.runs[..] else { bail_usage!("`export model` takes one run, found {}", args.runs.len()) };
    if steps != StepRange::ALL {
        bail_usage!("--from-step and --to-step select rows of a table");
    }
    let (from, out) = (model_source::weights_folder(name)?, &args.out);
    if out.exists() {
        bail_usage!("{} exists already", out.display());
    }
    let files: Vec<&str> =
        MODEL_FILES.into_iter().chain(COMPANION_FILES).filter(|file| from.join(file).is_file()).collect();
    anyhow::ensure!(
        files.contains(&"model.safetensors"),
        "{} has no model.safetensors: expected a checkpoint of a run",
        from.display()
    );
    let staged = StagedFolder::create(out)?;
    for file in &files {
        std::fs::copy(from.join(file), staged.dir().join(file))
            .with_context(|| format!("cannot copy {} to {}", from.join(file).display(), out.display()))?;
    }
    let readme = staged.dir().join("README.md");
    std::fs::write(readme, readme_text(&from)).with_context(|| out.display().to_string())?;
    staged.commit()?;
    writeln!(
        output::stdout(),
        "{} and README.md of {}, written to {}",
        files.join(", "),
        from.display(),
        out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn readme_text(from: &Path) -> String {
    format!(
        "A model trained by coconut-lab, from `{}`.\n\n\
         Load it in Python with `AutoModelForCausalLM.from_pretrained(\"this folder\")` of `transformers`.\n\
         `feedback.safetensors` holds the learned feedback, which turns a hidden state into an input;\n\
         `coconut_lab` in `config.json` names its form. `coconut-lab generate --model` uses it.\n",
        from.display()
    )
}

/// Exports the table `name` of one run to `out`, and returns its number of rows.
pub(super) fn export_table(run: &Path, name: &str, out: &Path) -> anyhow::Result<usize> {
    let names = || TableName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let Ok(found) = TableName::from_str(name, true) else {
        let names: Vec<String> = names().map(|value| value.get_name().to_owned()).collect();
        bail_usage!("no table `{name}`; allowed: {}", names.join(", "));
    };
    let table = found.run_table().context("a model is not a table; use `coconut-lab export model`")?;
    let exported = export::export_table(&[run], table, StepRange::ALL, out)?;
    match exported.damage.first() {
        None => Ok(exported.rows),
        Some(found) => anyhow::bail!("{} rows written; others cannot be read: {found}", exported.rows),
    }
}
