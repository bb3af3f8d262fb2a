//! Owns: `export`: a table of one or more runs as one file, and the model of one run as a folder.
//! Must not know: how tables are stored in a run folder.
//! Invariant: each step of a run is in the file once, however often the run was resumed.

use super::{model_source, run_lookup};
use crate::files::atomic::StagedFolder;
use crate::record::changes::read_changes;
use crate::record::export::{unify, with_text_column, write_table};
use crate::record::rows::{TableRow, ThoughtRow};
use crate::record::run_folder::RunFolder;
use crate::record::segments;
use crate::schema::metrics::{SCHEMA_VERSION, StepRow};
use crate::schema::rows::{ChangeRow, EventRow, SystemRow};
use crate::schema::token_rows::TokenRow;
use anyhow::Context;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
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
    /// One row per measurement of processor, memory and GPU.
    System,
    /// The model of one run, as a folder instead of a table.
    Model,
}

impl TableName {
    /// Returns the folder and the Arrow schema of a table; none for the model.
    fn folder_and_schema(self) -> Option<(&'static str, SchemaRef)> {
        fn table_of<R: TableRow>() -> (&'static str, SchemaRef) {
            (R::TABLE, R::schema())
        }
        Some(match self {
            TableName::Metrics => table_of::<StepRow>(),
            TableName::Events => table_of::<EventRow>(),
            TableName::Changes => table_of::<ChangeRow>(),
            TableName::Tokens => table_of::<TokenRow>(),
            TableName::Thoughts => table_of::<ThoughtRow>(),
            TableName::System => table_of::<SystemRow>(),
            TableName::Model => return None,
        })
    }
}

/// Exports a table or a model, and prints what was written.
pub(super) fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    if args.table == TableName::Model {
        return export_model(&args);
    }
    let steps = StepRange::from_args(&args)?;
    let mut tables = Vec::new();
    for name in &args.runs {
        tables.extend(read_table(&run_lookup::run_folder(name)?, args.table)?);
    }
    let mut tables = unify(tables)?;
    for batch in &mut tables {
        *batch = steps.select(batch)?;
    }
    write_table(&args.out, &tables, &footer_metadata())?;
    let rows: usize = tables.iter().map(RecordBatch::num_rows).sum();
    let (runs, out) = (args.runs.len(), args.out.display());
    writeln!(std::io::stdout(), "rows: {rows}, runs: {runs}, written to {out}")?;
    Ok(ExitCode::SUCCESS)
}

/// The steps whose rows are exported, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct StepRange {
    first: u64,
    last: u64,
}

impl StepRange {
    const ALL: Self = Self { first: 0, last: u64::MAX };

    /// Reads `--from-step` and `--to-step`; an empty range is an error.
    fn from_args(args: &ExportArgs) -> anyhow::Result<Self> {
        let range = Self { first: args.from_step.unwrap_or(0), last: args.to_step.unwrap_or(u64::MAX) };
        anyhow::ensure!(range.first <= range.last, "--from-step {} is after --to-step {}", range.first, range.last);
        Ok(range)
    }

    /// Returns the rows of `batch` whose column `step` lies in the range.
    fn select(self, batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
        let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let steps = steps.context("the table has no column `step` of whole numbers")?;
        let inside = |step| u64::try_from(step).is_ok_and(|step| (self.first..=self.last).contains(&step));
        let keep: BooleanArray = steps.iter().map(|step| Some(step.is_some_and(inside))).collect();
        Ok(filter_record_batch(batch, &keep)?)
    }
}

/// The checkpoint's files that a model folder holds, as far as they exist.
const MODEL_FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "feedback.safetensors"];

/// Exports the model of one run: copies the model files of its checkpoint, and adds a README.
fn export_model(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let [name] = &args.runs[..] else { anyhow::bail!("`export model` takes one run, found {}", args.runs.len()) };
    anyhow::ensure!(StepRange::from_args(args)? == StepRange::ALL, "--from-step and --to-step select rows of a table");
    let (from, out) = (model_source::weights_folder(name)?, &args.out);
    anyhow::ensure!(!out.exists(), "{} exists already", out.display());
    let files: Vec<&str> = MODEL_FILES.into_iter().filter(|file| from.join(file).is_file()).collect();
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
        std::io::stdout(),
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
        anyhow::bail!("no table `{name}`; allowed: {}", names.join(", "));
    };
    let tables = unify(read_table(run, found)?)?;
    write_table(out, &tables, &footer_metadata())?;
    Ok(tables.iter().map(RecordBatch::num_rows).sum())
}

/// Returns the key-value metadata of an exported Parquet file.
fn footer_metadata() -> [(String, String); 1] {
    [("coconut_lab.schema_version".to_owned(), SCHEMA_VERSION.to_owned())]
}

/// Reads a table of a run, with the run's name as a column; the table is empty if the run has none.
fn read_table(run: &Path, table: TableName) -> anyhow::Result<Vec<RecordBatch>> {
    let (name, schema) = table.folder_and_schema().context("a model is not a table; use `coconut-lab export model`")?;
    let folder = RunFolder::open(run)?;
    let mut batches = match table {
        // Older versions wrote a folder `changes/` too; the text file is the record.
        TableName::Changes => vec![ChangeRow::batch(&read_changes(&folder.changes_file())?)?],
        _ => segments::read_table(&run.join(name)).with_context(|| format!("{name} of {}", run.display()))?,
    };
    batches.push(RecordBatch::new_empty(schema.clone()));
    let id = folder.id();
    // Batches from the write-ahead log lack the schema's metadata.
    let named =
        |batch: RecordBatch| Ok(with_text_column(&segments::with_column_metadata(&batch, &schema)?, "run", &id)?);
    batches.into_iter().map(named).collect()
}
