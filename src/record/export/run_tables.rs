//! Owns: exporting a table of one or more runs: reading it, selecting steps, adding the run's name, writing one file.
//! Must not know: how runs and tables are named on the command line.
//! Invariant: each step of a run is in the file once, however often the run was resumed.

use super::{ExportError, unify, with_text_column, write_table};
use crate::record::changes::read_changes;
use crate::record::rows::{TableRow, ThoughtRow};
use crate::record::run_folder::RunFolder;
use crate::record::segments;
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::{SCHEMA_VERSION, StepRow};
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::rows::{ChangeRow, EventRow, SystemRow};
use crate::schema::token_rows::TokenRow;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use std::path::Path;

/// A table that every run has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunTable {
    Metrics,
    Events,
    Changes,
    Tokens,
    Thoughts,
    Layers,
    Rollouts,
    System,
}

impl RunTable {
    /// Returns the name of the table's folder, and its Arrow schema.
    fn folder_and_schema(self) -> (&'static str, SchemaRef) {
        fn table_of<R: TableRow>() -> (&'static str, SchemaRef) {
            (R::TABLE, R::schema())
        }
        match self {
            RunTable::Metrics => table_of::<StepRow>(),
            RunTable::Events => table_of::<EventRow>(),
            RunTable::Changes => table_of::<ChangeRow>(),
            RunTable::Tokens => table_of::<TokenRow>(),
            RunTable::Thoughts => table_of::<ThoughtRow>(),
            RunTable::Layers => table_of::<LayerRow>(),
            RunTable::Rollouts => table_of::<RolloutRow>(),
            RunTable::System => table_of::<SystemRow>(),
        }
    }
}

/// The steps whose rows are exported, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRange {
    pub first: u64,
    pub last: u64,
}

impl StepRange {
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// Returns the rows of `batch` whose column `step` lies in the range.
    fn select(self, batch: &RecordBatch) -> Result<RecordBatch, ExportError> {
        let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let steps = steps.ok_or(ExportError::NoSteps)?;
        let inside = |step| u64::try_from(step).is_ok_and(|step| (self.first..=self.last).contains(&step));
        let keep: BooleanArray = steps.iter().map(|step| Some(step.is_some_and(inside))).collect();
        Ok(filter_record_batch(batch, &keep)?)
    }
}

/// What an export wrote.
#[derive(Debug)]
pub struct ExportedTable {
    pub rows: usize,
    /// What of the tables could not be read, in words; its rows are missing.
    pub damage: Vec<String>,
}

/// Writes the rows of `table` of all `runs` (their folders) to `out`, with the run's name as first column, and returns
/// the number of rows and what could not be read. The ending of `out` selects the format.
pub fn export_table<P: AsRef<Path>>(
    runs: &[P],
    table: RunTable,
    steps: StepRange,
    out: &Path,
) -> Result<ExportedTable, ExportError> {
    let (mut batches, mut damage) = (Vec::new(), Vec::new());
    for run in runs {
        batches.extend(read_table(run.as_ref(), table, &mut damage)?);
    }
    let mut batches = unify(batches)?;
    if steps != StepRange::ALL {
        batches = batches.iter().map(|batch| steps.select(batch)).collect::<Result<_, _>>()?;
    }
    write_table(out, &batches, &[("coconut_lab.schema_version".to_owned(), SCHEMA_VERSION.to_owned())])?;
    Ok(ExportedTable { rows: batches.iter().map(RecordBatch::num_rows).sum(), damage })
}

/// Reads a table of a run, with the run's name as a column; the table is empty if the run has none.
/// Adds what could not be read to `damage`.
fn read_table(run: &Path, table: RunTable, damage: &mut Vec<String>) -> Result<Vec<RecordBatch>, ExportError> {
    let (name, schema) = table.folder_and_schema();
    let folder = RunFolder::open(run)?;
    let mut batches = match table {
        // Older versions wrote a folder `changes/` too; the text file is the record.
        RunTable::Changes => vec![ChangeRow::batch(&read_changes(&folder.changes_file())?)?],
        _ => {
            let unreadable =
                |cause| ExportError::UnreadableTable { table: name, run: run.display().to_string(), cause };
            let read = segments::read_table(&run.join(name)).map_err(unreadable)?;
            damage.extend(read.damage);
            read.batches
        }
    };
    batches.push(RecordBatch::new_empty(schema.clone()));
    let id = folder.id();
    // Batches from the write-ahead log lack the schema's metadata.
    let named = |batch: RecordBatch| with_text_column(&segments::with_column_metadata(&batch, &schema)?, "run", &id);
    batches.into_iter().map(named).collect()
}
