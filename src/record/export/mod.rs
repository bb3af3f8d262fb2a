//! Owns: exporting tables: one common schema, and a Parquet or CSV file. `run_tables` exports those of runs.
//! Must not know: how a user asks for an export, what a column means.
//! Invariant: a file has its final name only when it is complete; a failure leaves no file behind.

mod run_tables;
mod unify;

pub use run_tables::{ExportedTable, RunTable, StepRange, export_table};
pub use unify::unify;

use crate::files::FileError;
use crate::files::atomic::replace_file_with;
use crate::files::parquet::write_parquet;
use crate::record::RecordError;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimestampMillisecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, SecondsFormat};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Why a table could not be read, merged or written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("nothing to export")]
    Empty,
    #[error("cannot export to {path}: the name must end in .parquet or .csv")]
    UnknownEnding { path: String },
    #[error("column `{column}` has type {found}, which CSV cannot hold; export to .parquet instead")]
    NestedColumn { column: String, found: String },
    #[error("column `{column}` is {first} in one table and {other} in another")]
    TypeMismatch { column: String, first: String, other: String },
    #[error("column `{column}` exists twice")]
    DuplicateColumn { column: String },
    #[error("column `{column}` does not fit into {wanted}: {cause}")]
    CastFailed { column: String, wanted: String, cause: ArrowError },
    #[error("batch {batch} has other columns than batch 0")]
    SchemaMismatch { batch: usize },
    #[error("the table has no column `step` of whole numbers")]
    NoSteps,
    #[error("{table} of {run}: {cause}")]
    UnreadableTable { table: &'static str, run: String, cause: RecordError },
    #[error("cannot convert the tables: {0}")]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Returns `batch` with a text column `name` added in front, which holds `value` in every row.
pub fn with_text_column(batch: &RecordBatch, name: &str, value: &str) -> Result<RecordBatch, ExportError> {
    let schema = batch.schema_ref();
    if schema.column_with_name(name).is_some() {
        return Err(ExportError::DuplicateColumn { column: name.to_owned() });
    }
    let field = Arc::new(Field::new(name, DataType::Utf8, false));
    let fields: Vec<_> = std::iter::once(field).chain(schema.fields().iter().cloned()).collect();
    let text: ArrayRef = Arc::new(StringArray::from(vec![value; batch.num_rows()]));
    let columns = std::iter::once(text).chain(batch.columns().iter().cloned()).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

#[derive(Clone, Copy)]
enum ExportFormat {
    Parquet,
    Csv,
}

/// Writes batches of one schema to `out`, replacing it atomically. The ending selects the format. `.parquet`
/// is compressed with zstd and has `footer` as key/value metadata. `.csv` has a header line; nulls are empty
/// and `footer` is ignored; text that a spreadsheet would run as a formula gets a quote `'`. Batches without rows make a file without rows.
pub fn write_table(out: &Path, batches: &[RecordBatch], footer: &[(String, String)]) -> Result<(), ExportError> {
    let format = export_format(out)?;
    check_batches(format, batches)?;
    replace_file_with(out, |file| match format {
        // `check_batches` made sure that there is a first batch.
        ExportFormat::Parquet => {
            let schema = batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(Schema::empty()));
            Ok(write_parquet(file, schema, batches, footer).map_err(ArrowError::from)?)
        }
        ExportFormat::Csv => write_csv(file, batches),
    })
}

fn export_format(out: &Path) -> Result<ExportFormat, ExportError> {
    match out.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase).as_deref() {
        Some("parquet") => Ok(ExportFormat::Parquet),
        Some("csv") => Ok(ExportFormat::Csv),
        _ => Err(ExportError::UnknownEnding { path: out.display().to_string() }),
    }
}

fn check_batches(format: ExportFormat, batches: &[RecordBatch]) -> Result<(), ExportError> {
    let fields = match batches.first() {
        Some(first) if first.num_columns() > 0 => first.schema_ref().fields(),
        _ => return Err(ExportError::Empty),
    };
    if let Some(batch) = batches.iter().position(|batch| batch.schema_ref().fields() != fields) {
        return Err(ExportError::SchemaMismatch { batch });
    }
    match fields.iter().find(|field| field.data_type().is_nested()) {
        Some(field) if matches!(format, ExportFormat::Csv) => {
            Err(ExportError::NestedColumn { column: field.name().clone(), found: field.data_type().to_string() })
        }
        _ => Ok(()),
    }
}

fn write_csv(file: &File, batches: &[RecordBatch]) -> Result<(), ExportError> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(file);
    // The writer adds the header before the first batch and flushes after each batch.
    Ok(batches.iter().try_for_each(|batch| writer.write(&with_safe_text(batch)?))?)
}

/// Returns text that a spreadsheet would run as a formula with a quote `'` before it. Numbers stay as they are.
fn without_formula(text: &str) -> std::borrow::Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err() {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

/// Returns `batch` with times as RFC 3339 text, because Arrow's CSV writer does not support named time zones, and
/// without text that spreadsheets run.
fn with_safe_text(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        if let Some(texts) = column.as_string_opt::<i32>() {
            let safe = texts.iter().map(|text| text.map(without_formula));
            return Arc::new(safe.collect::<StringArray>()) as ArrayRef;
        }
        let Some(times) = column.as_primitive_opt::<TimestampMillisecondType>() else {
            return column.clone();
        };
        let to_text =
            |millis| DateTime::from_timestamp_millis(millis).map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        Arc::new(times.iter().map(|time| time.and_then(to_text)).collect::<StringArray>()) as ArrayRef
    });
    let schema = batch.schema();
    let named = schema.fields().iter().map(|field| field.name().as_str()).zip(columns);
    RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true)))
}

#[cfg(test)]
mod tests;
