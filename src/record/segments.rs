//! Owns: a folder of Parquet segments, `part-00000.parquet` and following, and the write-ahead log (WAL) of
//! the next segment, `part-NNNNN.log`.
//! Must not know: what the rows mean, except that a table has a column `step`.
//! Invariant: a segment has its final name only when it is complete; a row is in exactly one segment or WAL.

use super::RecordError;
use super::wal::{self, DecodedLog};
use crate::files::atomic::replace_file;
use crate::files::foreign::{self, catch_panic, open_regular};
use crate::files::parquet::{Footer, write_parquet};
use crate::files::parquet_check::{check_file, check_footer};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Attempts to read a table while new segments appear.
const MAX_READ_ATTEMPTS: usize = 100;
/// Bytes of the largest WAL that is read. It becomes a segment long before.
const MAX_WAL_BYTES: u64 = 4 << 30;
/// Start of the name that a damaged WAL keeps after its readable rows were taken over.
pub const DAMAGED_PREFIX: &str = "damaged-";

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
    let mut file = open_segment(path)?;
    let damaged = |found: &dyn std::fmt::Display| RecordError::table(path, &format!("damaged: {found}"));
    check_file(&mut file).map_err(RecordError::io("read", path))?.map_err(|found| damaged(&found))?;
    let read = || -> Result<Vec<RecordBatch>, ArrowError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let fields = builder.schema().fields().iter().enumerate();
        let roots: Vec<usize> = fields.filter(|(_, field)| wants(field.name())).map(|(index, _)| index).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder.with_projection(mask).with_batch_size(65_536).build()?.collect()
    };
    catch_panic(read).map_err(|panic| damaged(&panic))?.map_err(|error| damaged(&error))
}

/// Opens a segment whose end is that of a Parquet file.
fn open_segment(path: &Path) -> Result<File, RecordError> {
    let mut file = open_regular(path)?;
    let checked = check_footer(&mut file).map_err(RecordError::io("read", path))?;
    checked.map_err(|found| RecordError::table(path, &format!("damaged: {found}")))?;
    Ok(file)
}

/// Returns the metadata of a segment, without reading its rows.
pub fn read_metadata(path: &Path) -> Result<ParquetMetaData, RecordError> {
    let file = open_segment(path)?;
    let read = catch_panic(|| ParquetMetaDataReader::new().parse_and_finish(&file));
    let damaged = |found: &dyn std::fmt::Display| RecordError::table(path, &format!("damaged: {found}"));
    read.map_err(|panic| damaged(&panic))?.map_err(|error| damaged(&error))
}

/// Reads and decodes the WAL `path`. A missing one is `None`.
pub fn read_wal(path: &Path) -> Result<Option<DecodedLog>, RecordError> {
    match foreign::read_regular(path, MAX_WAL_BYTES) {
        Ok(bytes) => Ok(Some(wal::decode_frames(&bytes))),
        Err(error) if error.cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says that a WAL has lost rows.
pub fn wal_damage(path: &Path, damaged_bytes: usize) -> String {
    format!("{}: damaged: {damaged_bytes} bytes in the middle cannot be read; their rows are lost", path.display())
}

/// The rows of a table, and what of it could not be read, in words.
#[derive(Default)]
pub struct TableRead {
    pub batches: Vec<RecordBatch>,
    pub damage: Vec<String>,
}

/// Reads all rows of the table in `dir`, in order, and what cannot be read. The run may write more meanwhile.
pub fn read_table(dir: &Path) -> Result<TableRead, RecordError> {
    let mut table = TableRead::default();
    let mut next = 0;
    for _ in 0..MAX_READ_ATTEMPTS {
        let from = next;
        for number in file_numbers(dir, "parquet").into_iter().filter(|number| *number >= from) {
            table.damage.extend((next..number).map(|missing| missing_segment(dir, missing)));
            match read_segment(&segment_path(dir, number)) {
                Ok(batches) => table.batches.extend(batches),
                Err(error) => table.damage.push(error.to_string()),
            }
            next = number + 1;
        }
        // A WAL next to its segment is already compacted. A later WAL means that a segment has appeared.
        let read = read_wal(&wal_path(dir, next));
        let logs: Vec<usize> = file_numbers(dir, "log").into_iter().filter(|number| *number >= next).collect();
        if segment_path(dir, next).exists() {
            continue;
        }
        match (read, logs.first()) {
            (Ok(None), None) => return Ok(table),
            (Ok(Some(log)), Some(first)) if *first == next => {
                table.batches.extend(log.batches);
                if log.damaged_bytes > 0 {
                    table.damage.push(wal_damage(&wal_path(dir, next), log.damaged_bytes));
                }
                if logs.len() == 1 {
                    return Ok(table);
                }
                next += 1;
            }
            (Err(error), Some(_)) => {
                table.damage.push(error.to_string());
                next += 1;
            }
            // Segments before this log are missing, unless they appear just now.
            (_, Some(first)) if from == next && !file_numbers(dir, "parquet").iter().any(|number| *number >= next) => {
                table.damage.extend((next..*first).map(|missing| missing_segment(dir, missing)));
                next = *first;
            }
            _ => {}
        }
    }
    Err(RecordError::table(dir, "segments are written faster than they can be read"))
}

/// Says that a segment is missing.
pub fn missing_segment(dir: &Path, number: usize) -> String {
    format!("{}: missing, although later rows of the table are there", segment_path(dir, number).display())
}

/// Converts the WALs of a killed process to segments. Warns of an incomplete frame at the end and drops it.
pub fn recover_wals(dir: &Path, schema: &SchemaRef, footer: &Footer) -> Result<(), RecordError> {
    for number in file_numbers(dir, "log") {
        let path = wal_path(dir, number);
        let mut damaged = false;
        if !segment_path(dir, number).exists() {
            let DecodedLog { batches, length, damaged_bytes } = read_wal(&path)?.unwrap_or_default();
            let bytes = std::fs::metadata(&path).map_err(RecordError::io("read", &path))?.len() as usize;
            if length < bytes {
                let (torn, name) = (bytes - length, path.display());
                tracing::warn!("{name}: dropped an incomplete frame, the last {torn} bytes");
            }
            damaged = damaged_bytes > 0;
            if damaged {
                tracing::warn!("{}; the file is kept as {DAMAGED_PREFIX}*", wal_damage(&path, damaged_bytes));
            }
            if !batches.is_empty() {
                // Frames carry no column metadata, and another version of the program may have written them.
                let batches: Result<Vec<_>, _> =
                    batches.iter().map(|batch| with_column_metadata(batch, schema)).collect();
                let batches = batches.map_err(|error| RecordError::table(&path, &error))?;
                write_segment(dir, number, batches[0].schema(), &batches, footer)?;
            }
        }
        match damaged {
            true => {
                let kept = dir.join(format!("{DAMAGED_PREFIX}part-{number:05}.log"));
                std::fs::rename(&path, &kept).map_err(RecordError::io("rename", &path))?;
            }
            false => std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?,
        }
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
