//! Owns: the rows of every table, and their conversion to and from columns.
//! Must not know: where rows are written, who makes them.
//! Invariant: a row's columns are in the order of the registry.

mod lens;
mod token_rows;

pub use lens::LensRow;
pub use token_rows::{
    HISTOGRAM_COLUMNS, ThoughtRow, entropy_histograms, last_step, last_token_row, thoughts_at,
};

use super::registry::{self, ColumnKind, ColumnSpec, Metric, StepRow};
use crate::message::ValidationSample;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// A row of a table.
pub trait TableRow: Send + 'static {
    /// Name of the table's folder.
    const TABLE: &'static str;
    /// Returns the specification of each column.
    fn column_specs() -> Vec<ColumnSpec>;
    /// Converts `rows` to arrays, one per column.
    fn arrays(rows: &[Self]) -> Vec<ArrayRef>
    where
        Self: Sized;

    /// Returns the table's schema, with units and descriptions as column metadata.
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(Self::column_specs().iter().map(arrow_field).collect::<Vec<_>>()))
    }

    /// Converts `rows` to a batch.
    fn batch(rows: &[Self]) -> Result<RecordBatch, ArrowError>
    where
        Self: Sized,
    {
        RecordBatch::try_new(Self::schema(), Self::arrays(rows))
    }
}

fn arrow_field(spec: &ColumnSpec) -> Field {
    let list = |item| DataType::new_list(item, true);
    let data_type = match spec.kind {
        ColumnKind::Count => DataType::Int64,
        ColumnKind::Real => DataType::Float64,
        ColumnKind::Text => DataType::Utf8,
        ColumnKind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        ColumnKind::Counts => list(DataType::Int32),
        ColumnKind::Reals => list(DataType::Float32),
        ColumnKind::Flags => list(DataType::Boolean),
    };
    let metadata =
        [("unit".to_owned(), spec.unit.to_owned()), ("description".to_owned(), spec.doc.to_owned())];
    Field::new(spec.name, data_type, spec.name != "step").with_metadata(HashMap::from(metadata))
}

impl TableRow for StepRow {
    const TABLE: &'static str = "metrics";

    fn column_specs() -> Vec<ColumnSpec> {
        Metric::ALL.iter().map(|metric| metric.spec()).collect()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let column = |metric: &Metric| -> ArrayRef {
            let values = rows.iter().map(|row| row.get(*metric));
            match metric.spec().kind {
                ColumnKind::Count => {
                    Arc::new(values.map(|value| value.map(|v| v as i64)).collect::<Int64Array>())
                }
                _ => Arc::new(values.collect::<Float64Array>()),
            }
        };
        Metric::ALL.iter().map(column).collect()
    }
}

/// Reads the rows of `batch`, from the metrics table. Unknown columns are ignored.
pub fn step_rows(batch: &RecordBatch) -> Vec<StepRow> {
    let mut rows = vec![StepRow::new(0); batch.num_rows()];
    for metric in Metric::ALL {
        let Some(column) = batch.column_by_name(metric.spec().name) else { continue };
        let (counts, reals) =
            (column.as_primitive_opt::<Int64Type>(), column.as_primitive_opt::<Float64Type>());
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| column.is_valid(*index)) {
            row.set_if_some(*metric, counts.map(|column| column.value(index) as f64));
            row.set_if_some(*metric, reals.map(|column| column.value(index)));
        }
    }
    rows
}

/// Reads the samples in `batch`, from the events table.
pub fn samples(batch: &RecordBatch) -> Vec<ValidationSample> {
    let text =
        |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>().cloned());
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(steps), Some(kinds), Some(names), Some(texts)) =
        (steps, text("kind"), text("name"), text("text"))
    else {
        return Vec::new();
    };
    let sample = |row: usize| ValidationSample {
        step: steps.value(row) as u64,
        decoding: GREEDY.into(),
        prompt: names.value(row).to_owned(),
        text: texts.value(row).to_owned(),
    };
    (0..batch.num_rows()).filter(|row| kinds.value(*row) == SAMPLE_EVENT).map(sample).collect()
}

/// Returns whether the run was paused after the last event of `batch`, from the events table. A run that
/// starts, resumes or ends is not paused. Returns `None` if no event tells.
pub fn paused_after(batch: &RecordBatch) -> Option<bool> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().cloned();
    let (kinds, names) = (text("kind")?, text("name")?);
    let paused = |row: usize| match kinds.value(row) {
        PAUSE_EVENT => Some(names.value(row) == PAUSE_STARTED),
        "start" | "resume" | "end" => Some(false),
        _ => None,
    };
    (0..batch.num_rows()).rev().find_map(paused)
}

/// Kind of the event of a pause that begins or ends.
pub const PAUSE_EVENT: &str = "pause";
/// Name of the event of a pause that begins.
pub const PAUSE_STARTED: &str = "paused";

/// Kind of the event of a validation sample.
pub const SAMPLE_EVENT: &str = "sample";
/// Decoding method of all validation samples.
pub const GREEDY: &str = "greedy";

/// A row of the events table: an event, or a value that is measured occasionally.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Updates done when it happened.
    pub step: u64,
    /// Input tokens processed before it.
    pub tokens: u64,
    pub time: DateTime<Utc>,
    pub kind: &'static str,
    /// Name within the kind: the metric, or a word.
    pub name: String,
    /// Value of the metric, in its unit.
    pub value: Option<f64>,
    /// Description in words.
    pub text: Option<String>,
}

impl TableRow for EventRow {
    const TABLE: &'static str = "events";

    fn column_specs() -> Vec<ColumnSpec> {
        registry::EVENTS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.tokens)),
            time_column(rows.iter().map(|row| row.time)),
            text_column(rows.iter().map(|row| Some(row.kind.to_owned()))),
            text_column(rows.iter().map(|row| Some(row.name.clone()))),
            Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
            text_column(rows.iter().map(|row| row.text.clone())),
        ]
    }
}

/// Outcome of a change of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// The change applies from its step on.
    Applied,
    /// The change was refused; the config is as before.
    Refused,
    /// The row is a person's note; nothing was changed.
    Noted,
}

/// A line of `changes.jsonl`: a config key that was changed or refused, or a note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// First step that the change applies to.
    pub step: u64,
    /// Input tokens processed before that step.
    pub tokens: u64,
    pub time: DateTime<Utc>,
    /// Version of the config after the change.
    pub version: u64,
    /// Id shared by keys that were changed together. It stays the same when the change is replayed.
    pub set: String,
    /// Full name of the key, `section.key`. `None` for notes and for a file that could not be read.
    pub key: Option<String>,
    /// Previous value.
    pub old: Value,
    /// New or refused value.
    pub new: Value,
    /// New or refused value as TOML, with all digits. This is what a replay applies.
    #[serde(default)]
    pub value: String,
    /// Source of the change, such as a file or the keyboard.
    pub source: String,
    pub outcome: ChangeOutcome,
    /// Reason of a refusal, or the text of a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl TableRow for ChangeRow {
    const TABLE: &'static str = "changes";

    fn column_specs() -> Vec<ColumnSpec> {
        registry::CHANGES.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let json = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let word = |outcome| match outcome {
            ChangeOutcome::Applied => "applied".to_owned(),
            ChangeOutcome::Refused => "refused".to_owned(),
            ChangeOutcome::Noted => "noted".to_owned(),
        };
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.tokens)),
            time_column(rows.iter().map(|row| row.time)),
            count_column(rows.iter().map(|row| row.version)),
            text_column(rows.iter().map(|row| Some(row.set.clone()))),
            text_column(rows.iter().map(|row| row.key.clone())),
            text_column(rows.iter().map(|row| json(&row.old))),
            text_column(rows.iter().map(|row| json(&row.new))),
            text_column(rows.iter().map(|row| Some(row.source.clone()))),
            text_column(rows.iter().map(|row| Some(word(row.outcome)))),
            text_column(rows.iter().map(|row| row.reason.clone())),
        ]
    }
}

/// A row of the system table: CPU, memory, disk and GPU use.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemRow {
    /// Updates done by then.
    pub step: u64,
    pub time: DateTime<Utc>,
    /// Average CPU use of this process since the last row, in cores.
    pub process_cpu: f64,
    /// Average CPU use of the whole machine since the last row, in cores.
    pub machine_cpu: f64,
    /// Number of CPU cores of the machine.
    pub cores: u64,
    /// Resident memory of this process.
    pub process_bytes: u64,
    /// Memory in use on the machine.
    pub memory_used_bytes: u64,
    /// Total memory of the machine.
    pub memory_bytes: u64,
    /// Free space on the disk that holds the run folder, if known.
    pub disk_free_bytes: Option<u64>,
    /// Use of the run's GPU, if it reports it.
    pub gpu: Option<GpuRow>,
}

/// Use of a GPU, part of a row of the system table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuRow {
    /// Share of recent time in which the GPU was busy.
    pub load: f64,
    pub memory_used_bytes: u64,
    /// Total memory of the GPU.
    pub memory_bytes: u64,
}

impl TableRow for SystemRow {
    const TABLE: &'static str = "system";

    fn column_specs() -> Vec<ColumnSpec> {
        registry::SYSTEM.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            count_column(rows.iter().map(|row| row.step)),
            time_column(rows.iter().map(|row| row.time)),
            real_column(rows.iter().map(|row| Some(row.process_cpu))),
            count_column(rows.iter().map(|row| row.process_bytes)),
            count_column(rows.iter().map(|row| row.memory_used_bytes)),
            count_column(rows.iter().map(|row| row.memory_bytes)),
            optional_count_column(rows.iter().map(|row| row.disk_free_bytes)),
            real_column(rows.iter().map(|row| Some(row.machine_cpu))),
            count_column(rows.iter().map(|row| row.cores)),
            real_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.load))),
            optional_count_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_used_bytes))),
            optional_count_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_bytes))),
        ]
    }
}

/// Reads the last row of `batch`, from the system table. Columns missing in an older version are 0 or `None`.
pub fn last_system_row(batch: &RecordBatch) -> Option<SystemRow> {
    let last = batch.num_rows().checked_sub(1)?;
    let valid = |name: &str| batch.column_by_name(name).filter(|column| column.is_valid(last));
    let count = |name: &str| Some(valid(name)?.as_primitive_opt::<Int64Type>()?.value(last) as u64);
    let real = |name: &str| Some(valid(name)?.as_primitive_opt::<Float64Type>()?.value(last));
    let time = valid("time")?.as_primitive_opt::<TimestampMillisecondType>()?.value(last);
    let gpu = || {
        let (load, memory_bytes) = (real("gpu_load")?, count("gpu_memory_bytes")?);
        Some(GpuRow { load, memory_used_bytes: count("gpu_memory_used_bytes")?, memory_bytes })
    };
    Some(SystemRow {
        step: count("step")?,
        time: DateTime::from_timestamp_millis(time)?,
        process_cpu: real("process_cpu").unwrap_or(0.0),
        machine_cpu: real("machine_cpu").unwrap_or(0.0),
        cores: count("machine_cores").unwrap_or(0),
        process_bytes: count("process_bytes").unwrap_or(0),
        memory_used_bytes: count("memory_used_bytes").unwrap_or(0),
        memory_bytes: count("memory_bytes").unwrap_or(0),
        disk_free_bytes: count("disk_free_bytes"),
        gpu: gpu(),
    })
}

fn count_column(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|value| Some(value as i64)).collect::<Int64Array>())
}

fn optional_count_column(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|value| value as i64)).collect::<Int64Array>())
}

fn real_column(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn text_column(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn time_column(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let values: TimestampMillisecondArray = values.map(|time| Some(time.timestamp_millis())).collect();
    Arc::new(values.with_timezone("UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TokenRow;

    #[test]
    fn a_written_row_is_read_back() {
        let mut row = StepRow::new(7);
        row.set(Metric::LossPlain, 1.5);
        row.set(Metric::Recycled, 12.0);
        assert_eq!(step_rows(&StepRow::batch(&[StepRow::new(3), row.clone()]).unwrap())[1], row);
    }

    #[test]
    fn every_table_makes_a_batch_of_its_schema() {
        fn assert_batch<R: TableRow>(rows: &[R]) {
            for rows in [rows, &[]] {
                let batch = R::batch(rows).unwrap_or_else(|error| panic!("{}: {error}", R::TABLE));
                assert_eq!(batch.num_rows(), rows.len());
            }
        }
        let time = Utc::now();
        assert_batch(&[StepRow::new(3)]);
        let event =
            EventRow { step: 1, tokens: 2, time, kind: "end", name: "x".into(), value: None, text: None };
        assert_batch(std::slice::from_ref(&event));
        let written = EventRow { kind: SAMPLE_EVENT, text: Some("y".into()), ..event.clone() };
        let read = samples(&EventRow::batch(&[event, written]).unwrap());
        assert_eq!(
            read,
            [ValidationSample { step: 1, decoding: "greedy".into(), prompt: "x".into(), text: "y".into() }]
        );
        let change = ChangeRow {
            step: 1,
            tokens: 2,
            time,
            version: 1,
            set: "a".into(),
            value: "0.5".into(),
            key: None,
            old: Value::Null,
            new: 0.5.into(),
            source: "keys".into(),
            outcome: ChangeOutcome::Refused,
            reason: None,
        };
        assert_batch(std::slice::from_ref(&change));
        let line = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<ChangeRow>(&line).unwrap(), change);
        assert_batch(&[TokenRow { step: 1, vocab_size: 9, ..TokenRow::default() }]);
        let time = DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap();
        let (process_cpu, disk_free_bytes) = (0.5, None);
        let (process_bytes, memory_used_bytes, memory_bytes) = (1, 2, 3);
        let mut row = SystemRow {
            step: 1,
            time,
            process_cpu,
            machine_cpu: 1.5,
            cores: 2,
            process_bytes,
            memory_used_bytes,
            memory_bytes,
            disk_free_bytes,
            gpu: Some(GpuRow { load: 0.25, memory_used_bytes: 7, memory_bytes: 8 }),
        };
        let batch = SystemRow::batch(std::slice::from_ref(&row)).unwrap();
        assert_eq!(last_system_row(&batch).as_ref(), Some(&row));
        // As before schema version 3.
        (row.machine_cpu, row.cores, row.gpu) = (0.0, 0, None);
        assert_eq!(last_system_row(&batch.project(&[0, 1, 2, 3, 4, 5, 6]).unwrap()), Some(row.clone()));
        assert_batch(&[row]);
    }
}
