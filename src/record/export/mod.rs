//! Owns: one table out of many batches: under one schema, and into a file.
//! Must not know: where the tables come from, what a column means.
//! Invariant: a file has its final name only when it is complete; a failure leaves nothing behind.

mod unify;

pub use unify::unify;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimestampMillisecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, SecondsFormat};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Why a table could not be put together or written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No batch, or no column.
    #[error("nothing to export")]
    Nothing,
    /// The file's name says no known format.
    #[error("cannot export to {path}: its name must end in .parquet or .csv")]
    Ending { path: String },
    /// A column that csv has no place for.
    #[error("column `{column}` holds {found}, which csv cannot hold; .parquet can")]
    Nested { column: String, found: String },
    /// A column of the same name in several tables, of types that do not go together.
    #[error("column `{column}` is {first} in one table and {other} in another")]
    Types { column: String, first: String, other: String },
    /// A name that stands twice in one table.
    #[error("column `{column}` is there twice")]
    Twice { column: String },
    /// A value that is too large for the common type of its column.
    #[error("column `{column}` does not fit into {wanted}: {cause}")]
    Value { column: String, wanted: String, cause: arrow::error::ArrowError },
    /// Batches that are not of one schema.
    #[error("batch {batch} has other columns than the first one")]
    Schemas { batch: usize },
    /// Arrow refused what was checked before; a bug.
    #[error("cannot put the table together: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The file could not be written.
    #[error("cannot write {path}: {message}")]
    Write { path: String, message: String },
}

/// A copy of `batch` with a text column `name` that holds `value` in every row, put first.
pub fn with_column(batch: &RecordBatch, name: &str, value: &str) -> Result<RecordBatch, ExportError> {
    let schema = batch.schema_ref();
    if schema.column_with_name(name).is_some() {
        return Err(ExportError::Twice { column: name.to_owned() });
    }
    let field = Arc::new(Field::new(name, DataType::Utf8, false));
    let fields: Vec<_> = std::iter::once(field).chain(schema.fields().iter().cloned()).collect();
    let text: ArrayRef = Arc::new(StringArray::from(vec![value; batch.num_rows()]));
    let columns = std::iter::once(text).chain(batch.columns().iter().cloned()).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// How a table is written.
#[derive(Clone, Copy)]
enum Format {
    Parquet,
    Csv,
}

/// Writes batches of one schema to `out`, in the format that its ending says: `.parquet` (zstd, with `footer` as the
/// file's key-value metadata) or `.csv` (a header line; nulls are empty; `footer` has no place there). An `out` that
/// exists is replaced. Batches without rows make a file without rows.
pub fn write(out: &Path, batches: &[RecordBatch], footer: &[(String, String)]) -> Result<(), ExportError> {
    let format = format(out)?;
    check(format, batches)?;
    let failed = |message: String| ExportError::Write { path: out.display().to_string(), message };
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let hidden = out.with_file_name(format!(".{name}.partial"));
    let file = File::create(&hidden).map_err(|error| failed(error.to_string()))?;
    let written = match format {
        Format::Parquet => parquet(&file, batches, footer),
        Format::Csv => csv(&file, batches),
    };
    let finished = written
        .and_then(|()| file.sync_all().map_err(|error| error.to_string()))
        .and_then(|()| std::fs::rename(&hidden, out).map_err(|error| error.to_string()));
    finished.map_err(|message| {
        // Half a file helps nobody; the first error is the one to tell.
        let _ = std::fs::remove_file(&hidden);
        failed(message)
    })
}

fn format(out: &Path) -> Result<Format, ExportError> {
    match out.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase).as_deref() {
        Some("parquet") => Ok(Format::Parquet),
        Some("csv") => Ok(Format::Csv),
        _ => Err(ExportError::Ending { path: out.display().to_string() }),
    }
}

/// What can be known before a file is made.
fn check(format: Format, batches: &[RecordBatch]) -> Result<(), ExportError> {
    let fields = match batches.first() {
        Some(first) if first.num_columns() > 0 => first.schema_ref().fields(),
        _ => return Err(ExportError::Nothing),
    };
    if let Some(batch) = batches.iter().position(|batch| batch.schema_ref().fields() != fields) {
        return Err(ExportError::Schemas { batch });
    }
    match fields.iter().find(|field| field.data_type().is_nested()) {
        Some(field) if matches!(format, Format::Csv) => {
            Err(ExportError::Nested { column: field.name().clone(), found: field.data_type().to_string() })
        }
        _ => Ok(()),
    }
}

fn parquet(file: &File, batches: &[RecordBatch], footer: &[(String, String)]) -> Result<(), String> {
    let footer = footer.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(footer))
        .build();
    // `check` saw that there is a first one.
    let schema = batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(Schema::empty()));
    let mut writer =
        ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| error.to_string())?;
    for batch in batches {
        writer.write(batch).map_err(|error| error.to_string())?;
    }
    writer.close().map(|_| ()).map_err(|error| error.to_string())
}

fn csv(file: &File, batches: &[RecordBatch]) -> Result<(), String> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(file);
    // The header comes with the first batch, and each batch is flushed.
    batches.iter().try_for_each(|batch| writer.write(&spelled(batch)?)).map_err(|error| error.to_string())
}

/// `batch` with moments in words: Arrow's own way of writing them knows no named time zones.
fn spelled(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        let Some(moments) = column.as_primitive_opt::<TimestampMillisecondType>() else {
            return column.clone();
        };
        let word = |moment| {
            DateTime::from_timestamp_millis(moment).map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        Arc::new(moments.iter().map(|moment| moment.and_then(word)).collect::<StringArray>()) as ArrayRef
    });
    let schema = batch.schema();
    let named = schema.fields().iter().map(|field| field.name().as_str()).zip(columns);
    RecordBatch::try_from_iter_with_nullable(named.map(|(name, column)| (name, column, true)))
}

#[cfg(test)]
mod tests;
