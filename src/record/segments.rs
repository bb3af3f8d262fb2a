//! Owns: a folder of Parquet segments, `part-00000.parquet` and following, and the write-ahead log (WAL) of
//! the next segment, `part-NNNNN.log`.
//! Must not know: what the rows mean, except that a table has a column `step`.
//! Invariant: a segment has its final name only when it is complete; a row is in exactly one segment or WAL.

use super::{RecordError, wal};
use crate::files::atomic::replace_file;
use crate::files::parquet::{Footer, write_parquet};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Attempts to read a table while new segments appear.
const MAX_READ_ATTEMPTS: usize = 100;

pub fn segment_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("part-{number:05}.parquet"))
}

/// Returns the path of the WAL that becomes segment `number`.
pub fn wal_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("part-{number:05}.log"))
}

/// Returns the numbers of the segments (ending `parquet`) or WALs (ending `log`) in `dir`, ascending.
pub fn file_numbers(dir: &Path, ending: &str) -> Vec<usize> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<usize> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("part-")?.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Writes `batches` as segment `number`, atomically.
pub fn write_segment(
    dir: &Path,
    number: usize,
    schema: SchemaRef,
    batches: &[RecordBatch],
    footer: &Footer,
) -> Result<(), RecordError> {
    let path = segment_path(dir, number);
    // Encode to memory first: the write can then fail only with an I/O error, whose kind is kept.
    let mut bytes = Vec::new();
    write_parquet(&mut bytes, schema, batches, footer).map_err(|error| RecordError::table(&path, &error))?;
    Ok(replace_file(&path, &bytes)?)
}

pub fn read_segment(path: &Path) -> Result<Vec<RecordBatch>, RecordError> {
    read_segment_if(path, |_| true)
}

/// Reads only the columns `names` of the segment `path`, as far as they exist. Lists take the most time.
pub fn read_columns(path: &Path, names: &[&str]) -> Result<Vec<RecordBatch>, RecordError> {
    read_segment_if(path, |name| names.contains(&name))
}

fn read_segment_if(path: &Path, wants: impl Fn(&str) -> bool) -> Result<Vec<RecordBatch>, RecordError> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    let read = || -> Result<Vec<RecordBatch>, ArrowError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let fields = builder.schema().fields().iter().enumerate();
        let roots: Vec<usize> = fields.filter(|(_, field)| wants(field.name())).map(|(index, _)| index).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder.with_projection(mask).with_batch_size(65_536).build()?.collect()
    };
    read().map_err(|error| RecordError::table(path, &error))
}

/// Reads all rows of the table in `dir`, in order. The run may write more meanwhile.
pub fn read_table(dir: &Path) -> Result<Vec<RecordBatch>, RecordError> {
    let mut batches = Vec::new();
    let mut next = file_numbers(dir, "parquet").first().copied().unwrap_or(0);
    for _ in 0..MAX_READ_ATTEMPTS {
        let from = next;
        for number in file_numbers(dir, "parquet").into_iter().filter(|number| *number >= from) {
            batches.extend(read_segment(&segment_path(dir, number))?);
            next = number + 1;
        }
        let bytes = std::fs::read(wal_path(dir, next));
        // A WAL next to its segment is already compacted. A later WAL means that a segment has appeared.
        let logs = file_numbers(dir, "log");
        let is_last = !segment_path(dir, next).exists() && logs.iter().all(|number| *number <= next);
        match bytes {
            Ok(bytes) if is_last => {
                batches.extend(wal::decode_frames(&bytes).0);
                return Ok(batches);
            }
            Err(_) if is_last && !logs.contains(&next) => return Ok(batches),
            _ => {}
        }
    }
    Err(RecordError::table(dir, "segments are written faster than they can be read"))
}

/// Converts the WALs of a killed process to segments. Warns of an incomplete frame at the end and drops it.
pub fn recover_wals(dir: &Path, schema: &SchemaRef, footer: &Footer) -> Result<(), RecordError> {
    for number in file_numbers(dir, "log") {
        let path = wal_path(dir, number);
        if !segment_path(dir, number).exists() {
            let bytes = std::fs::read(&path).map_err(RecordError::io("read", &path))?;
            let (batches, valid) = wal::decode_frames(&bytes);
            if valid < bytes.len() {
                let (torn, name) = (bytes.len() - valid, path.display());
                tracing::warn!("{name}: dropped an incomplete frame, the last {torn} bytes");
            }
            if !batches.is_empty() {
                // Frames carry no column metadata, and another version of the program may have written them.
                let batches: Result<Vec<_>, _> =
                    batches.iter().map(|batch| with_column_metadata(batch, schema)).collect();
                let batches = batches.map_err(|error| RecordError::table(&path, &error))?;
                write_segment(dir, number, batches[0].schema(), &batches, footer)?;
            }
        }
        std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
    }
    Ok(())
}

/// Returns `batch` with only the column metadata that `schema` has for columns of the same name and type.
pub fn with_column_metadata(batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch, ArrowError> {
    let with_metadata = |field: &FieldRef| match schema.field_with_name(field.name()) {
        Ok(known) if known.data_type() == field.data_type() => {
            field.as_ref().clone().with_metadata(known.metadata().clone())
        }
        _ => field.as_ref().clone().with_metadata(HashMap::new()),
    };
    let fields: Vec<Field> = batch.schema_ref().fields().iter().map(with_metadata).collect();
    RecordBatch::try_new(Schema::new(fields).into(), batch.columns().to_vec())
}

/// Removes all rows after `step` (-1: all rows). WALs must have been recovered. Starts with the last segment,
/// so that an interrupted call can be repeated.
pub fn truncate_after(dir: &Path, step: i64, footer: &Footer) -> Result<(), RecordError> {
    for number in file_numbers(dir, "parquet").into_iter().rev() {
        let path = segment_path(dir, number);
        let batches = read_segment(&path)?;
        let before: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let kept: Result<Vec<_>, _> = batches.iter().map(|batch| rows_up_to(batch, step)).collect();
        let kept = kept.map_err(|message| RecordError::table(&path, &message))?;
        let after: usize = kept.iter().map(RecordBatch::num_rows).sum();
        if after == before && before > 0 {
            return Ok(());
        }
        match kept.first() {
            Some(first) if after > 0 => write_segment(dir, number, first.schema(), &kept, footer)?,
            _ => std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?,
        }
    }
    Ok(())
}

fn rows_up_to(batch: &RecordBatch, step: i64) -> Result<RecordBatch, String> {
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let steps = steps.ok_or("it has no integer column `step`")?;
    let keep: BooleanArray = steps.iter().map(|found| Some(found.is_none_or(|found| found <= step))).collect();
    filter_record_batch(batch, &keep).map_err(|error| error.to_string())
}
