//! Owns: `export`: the tables of runs as one file, and the model of one as a folder.
//! Must not know: how tables are kept.
//! Invariant: a step of a run is in the file once, however often the run was resumed.

use super::{find, source};
use crate::message::TokenRow;
use crate::record::export::{unify, with_column, write};
use crate::record::filter::Filter;
use crate::record::folder::{RunFolder, whole_folder};
use crate::record::parts;
use crate::record::registry::{SCHEMA_VERSION, StepRow};
use crate::record::rows::{ChangeRow, EventRow, Row, SystemRow, ThoughtRow};
use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab export metrics last --out quick.parquet
  coconut-lab export metrics plain article --out both.csv --where 'step > 100 AND valid_loss_plain_nats IS NOT NULL'
  coconut-lab export changes last --out changes.csv
  coconut-lab export model quickstart@2000 --out exported

A run is a run folder, its name in checkpoints/, the name of a run (the newest of it), or `last`. A column `run` says
which run a row is of. A model is a checkpoint (RUN@STEP, or the newest), as a folder that `transformers` loads. --where takes what stands behind WHERE in SQL, over the table's columns and `run`.";

/// What `export` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Which table, or the model.
    table: TableName,
    /// The runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// The file to write, which ends in .parquet or .csv; of a model the folder to make.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Only the rows of which this holds.
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
}

/// The tables of a run.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum TableName {
    /// A row a step.
    Metrics,
    /// A row an event or measurement.
    Events,
    /// A row a changed key.
    Changes,
    /// A row of tokens that was looked at; lists, so .parquet alone.
    Tokens,
    /// A recycled position of such a row, pass by pass; lists too.
    Thoughts,
    /// What the machine did.
    System,
    /// No table: the model of one run, as a folder.
    Model,
}

impl TableName {
    /// None of what is no table.
    fn folder_and_schema(self) -> Option<(&'static str, SchemaRef)> {
        fn of<R: Row>() -> (&'static str, SchemaRef) {
            (R::TABLE, R::schema())
        }
        Some(match self {
            TableName::Metrics => of::<StepRow>(),
            TableName::Events => of::<EventRow>(),
            TableName::Changes => of::<ChangeRow>(),
            TableName::Tokens => of::<TokenRow>(),
            TableName::Thoughts => of::<ThoughtRow>(),
            TableName::System => of::<SystemRow>(),
            TableName::Model => return None,
        })
    }
}

/// Exports.
pub(super) fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    if args.table == TableName::Model {
        return model(&args);
    }
    let filter = args.filter.as_deref().map(Filter::parse).transpose()?;
    let mut tables = Vec::new();
    for name in &args.runs {
        tables.extend(table(&find::run(name)?, args.table)?);
    }
    let mut tables = unify(tables)?;
    if let Some(filter) = &filter {
        for batch in &mut tables {
            *batch = filter_record_batch(batch, &filter.mask(batch)?)?;
        }
    }
    write(&args.out, &tables, &footer())?;
    let rows: usize = tables.iter().map(RecordBatch::num_rows).sum();
    let (runs, out) = (args.runs.len(), args.out.display());
    writeln!(std::io::stdout(), "rows: {rows}, runs: {runs}, written to {out}")?;
    Ok(ExitCode::SUCCESS)
}

/// What a folder with a model holds.
const MODEL_FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "feedback.safetensors"];

/// Exports the model of one run: its checkpoint's files that are for others, and a note.
fn model(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let [name] = &args.runs[..] else {
        anyhow::bail!("a model is of one run; {} are named", args.runs.len())
    };
    anyhow::ensure!(args.filter.is_none(), "--where is for tables");
    let (from, out) = (source::folder(name)?, &args.out);
    anyhow::ensure!(!out.exists(), "{} is there already", out.display());
    let there: Vec<&str> = MODEL_FILES.into_iter().filter(|file| from.join(file).is_file()).collect();
    anyhow::ensure!(
        there.contains(&"model.safetensors"),
        "{} has no model.safetensors: what is exported is a run's checkpoint",
        from.display()
    );
    whole_folder(out, anyhow::Error::from, |dir| {
        for file in &there {
            std::fs::copy(from.join(file), dir.join(file)).with_context(|| {
                format!("{} cannot be copied to {}", from.join(file).display(), out.display())
            })?;
        }
        std::fs::write(dir.join("README.md"), note(&from)).with_context(|| out.display().to_string())
    })?;
    writeln!(
        std::io::stdout(),
        "{} and README.md of {}, written to {}",
        there.join(", "),
        from.display(),
        out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn note(from: &Path) -> String {
    format!(
        "A model that coconut-lab has trained, from `{}`.\n\n\
         `transformers` loads it: `AutoModelForCausalLM.from_pretrained(\"this folder\")`. `feedback.safetensors` is what recycling has learned\n\
         (how a state becomes an input; `coconut_lab` in `config.json` names the form), which `coconut-lab generate --model` reads and others pass over.\n",
        from.display()
    )
}

/// Exports the table of this name of one run; how many rows it has.
pub(super) fn one(run: &Path, name: &str, out: &Path) -> anyhow::Result<usize> {
    let known = || TableName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let Ok(found) = TableName::from_str(name, true) else {
        let names: Vec<String> = known().map(|value| value.get_name().to_owned()).collect();
        anyhow::bail!("no table `{name}`; there are: {}", names.join(", "));
    };
    let tables = unify(table(run, found)?)?;
    write(out, &tables, &footer())?;
    Ok(tables.iter().map(RecordBatch::num_rows).sum())
}

fn footer() -> [(String, String); 1] {
    [("coconut_lab.schema_version".to_owned(), SCHEMA_VERSION.to_owned())]
}

/// A run's table with the run's name; one without rows where it has none.
fn table(run: &Path, table: TableName) -> anyhow::Result<Vec<RecordBatch>> {
    let (name, schema) =
        table.folder_and_schema().context("a model is no table; `coconut-lab export model` writes it")?;
    let mut batches =
        parts::read_all(&run.join(name)).with_context(|| format!("{} of {}", name, run.display()))?;
    batches.push(RecordBatch::new_empty(schema.clone()));
    let id = RunFolder::open(run)?.id();
    // What comes from a log has no notes.
    let named = |batch: RecordBatch| Ok(with_column(&parts::with_notes_of(&batch, &schema)?, "run", &id)?);
    batches.into_iter().map(named).collect()
}
