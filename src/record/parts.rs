//! Owns: a folder of Parquet parts, `part-00000.parquet` and on, and the log of the part to come, `part-NNNNN.log`.
//! Must not know: what the rows mean; only that a table has a column `step`.
//! Invariant: a part has its final name only when it is complete; a row stands in exactly one part or log.

use super::{RecordError, frames};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Key/value pairs of a part's footer.
pub type Footer = Vec<(String, String)>;

/// How often a part is looked for again when it comes into being while a table is read.
const TRIES: usize = 100;

/// Path of part `number`.
pub fn part(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("part-{number:05}.parquet"))
}

/// Path of the log that becomes part `number`.
pub fn log(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("part-{number:05}.log"))
}

/// The numbers of the parts (`parquet`) or logs (`log`) in `dir`, ascending; none where there is no such folder.
pub fn numbers(dir: &Path, ending: &str) -> Vec<usize> {
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

/// Writes `batches` as part `number`.
pub fn write(
    dir: &Path,
    number: usize,
    schema: SchemaRef,
    batches: &[RecordBatch],
    footer: &Footer,
) -> Result<(), RecordError> {
    let (path, hidden) = (part(dir, number), dir.join(format!(".part-{number:05}.partial")));
    let written = fill(&hidden, schema, batches, footer)
        .and_then(|()| std::fs::rename(&hidden, &path).map_err(RecordError::io("rename", &hidden)));
    if written.is_err() {
        // A part that cannot be written is not left behind half.
        let _ = std::fs::remove_file(&hidden);
    }
    written.inspect(|()| sync_folder(dir))
}

fn fill(path: &Path, schema: SchemaRef, batches: &[RecordBatch], footer: &Footer) -> Result<(), RecordError> {
    let pairs = footer.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(pairs))
        .build();
    // Into memory first: what then fails is the file system alone, and its error keeps its kind.
    let mut bytes = Vec::new();
    let fail = |error: &dyn std::fmt::Display| RecordError::table(path, error);
    let mut writer =
        ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(|error| fail(&error))?;
    for batch in batches {
        writer.write(batch).map_err(|error| fail(&error))?;
    }
    writer.close().map_err(|error| fail(&error))?;
    super::folder::write_synced(path, &bytes)
}

/// Makes sure that names in `dir` outlive a power cut. Not all file systems know how; those that do not need nothing.
pub fn sync_folder(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

/// The rows of one part, in batches.
pub fn read(path: &Path) -> Result<Vec<RecordBatch>, RecordError> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(65_536).build())
        .map_err(|error| RecordError::table(path, &error))?;
    reader.map(|batch| batch.map_err(|error| RecordError::table(path, &error))).collect()
}

/// The same, of the columns `names` alone, those that are there; much less is read where the others are lists.
pub fn read_columns(path: &Path, names: &[&str]) -> Result<Vec<RecordBatch>, RecordError> {
    let file = File::open(path).map_err(RecordError::io("open", path))?;
    let fail = |error: ParquetError| RecordError::table(path, &error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fail)?;
    let fields = builder.schema().fields().iter().enumerate();
    let wanted: Vec<usize> =
        fields.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(65_536).build().map_err(fail)?;
    reader.map(|batch| batch.map_err(|error| RecordError::table(path, &error))).collect()
}

/// All rows of the table in `dir`, in order: finished parts, then what its log holds. The run may go on meanwhile.
pub fn read_all(dir: &Path) -> Result<Vec<RecordBatch>, RecordError> {
    let mut batches = Vec::new();
    let mut next = numbers(dir, "parquet").first().copied().unwrap_or(0);
    for _ in 0..TRIES {
        let from = next;
        for number in numbers(dir, "parquet").into_iter().filter(|number| *number >= from) {
            batches.extend(read(&part(dir, number))?);
            next = number + 1;
        }
        let bytes = std::fs::read(log(dir, next));
        // A log beside its part has become one meanwhile; one behind the next says that there is a part in between.
        let logs = numbers(dir, "log");
        let is_last = !part(dir, next).exists() && logs.iter().all(|number| *number <= next);
        match bytes {
            Ok(bytes) if is_last => {
                batches.extend(frames::read(&bytes).0);
                return Ok(batches);
            }
            Err(_) if is_last && !logs.contains(&next) => return Ok(batches),
            _ => {}
        }
    }
    Err(RecordError::table(dir, "its parts come into being faster than they can be read"))
}

/// Makes a part of the log that a process left behind when it was killed. What is torn at its end is cut, with a notice.
pub fn recover(dir: &Path, schema: &SchemaRef, footer: &Footer) -> Result<(), RecordError> {
    for number in numbers(dir, "log") {
        let path = log(dir, number);
        if !part(dir, number).exists() {
            let bytes = std::fs::read(&path).map_err(RecordError::io("read", &path))?;
            let (batches, whole) = frames::read(&bytes);
            if whole < bytes.len() {
                let (torn, name) = (bytes.len() - whole, path.display());
                tracing::warn!("{name}: its last {torn} bytes are torn off, and left out");
            }
            if !batches.is_empty() {
                // Frames carry no notes on their columns; and may be of a program that had other columns.
                let noted: Result<Vec<_>, _> =
                    batches.iter().map(|batch| with_notes_of(batch, schema)).collect();
                let noted = noted.map_err(|error| RecordError::table(&path, &error))?;
                write(dir, number, noted[0].schema(), &noted, footer)?;
            }
        }
        std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
    }
    Ok(())
}

/// `batch` with the notes that `schema` has on columns of the same name and type, and no others.
pub fn with_notes_of(batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch, ArrowError> {
    let noted = |field: &FieldRef| match schema.field_with_name(field.name()) {
        Ok(known) if known.data_type() == field.data_type() => {
            field.as_ref().clone().with_metadata(known.metadata().clone())
        }
        _ => field.as_ref().clone().with_metadata(HashMap::new()),
    };
    let fields: Vec<Field> = batch.schema_ref().fields().iter().map(noted).collect();
    RecordBatch::try_new(Schema::new(fields).into(), batch.columns().to_vec())
}

/// Takes away all rows after `step` (-1: all). Logs must have been recovered. Begins at the end, so that it can be done again
/// where it was interrupted.
pub fn cut(dir: &Path, step: i64, footer: &Footer) -> Result<(), RecordError> {
    for number in numbers(dir, "parquet").into_iter().rev() {
        let path = part(dir, number);
        let batches = read(&path)?;
        let before: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let kept: Result<Vec<_>, _> = batches.iter().map(|batch| until(batch, step)).collect();
        let kept = kept.map_err(|message| RecordError::table(&path, &message))?;
        let after: usize = kept.iter().map(RecordBatch::num_rows).sum();
        if after == before && before > 0 {
            return Ok(());
        }
        match kept.first() {
            Some(first) if after > 0 => write(dir, number, first.schema(), &kept, footer)?,
            _ => std::fs::remove_file(&path).map_err(RecordError::io("remove", &path))?,
        }
    }
    Ok(())
}

/// The rows of `batch` up to `step`.
fn until(batch: &RecordBatch, step: i64) -> Result<RecordBatch, String> {
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let steps = steps.ok_or("it has no column `step` of whole numbers")?;
    let keep: BooleanArray =
        steps.iter().map(|found| Some(found.is_none_or(|found| found <= step))).collect();
    filter_record_batch(batch, &keep).map_err(|error| error.to_string())
}
