//! Owns: the rows of every table, and how they become columns.
//! Must not know: where they are written, who makes them.
//! Invariant: a row's columns stand in the order of its registry.

mod lens;
mod looks;

pub use lens::LensRow;
pub use looks::{SPREAD_COLUMNS, ThoughtRow, last_step, last_tokens, spreads, thoughts};

use super::registry::{self, Kind, Metric, Spec, StepRow};
use crate::message::Sample;
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

/// A row of some table.
pub trait Row: Send + 'static {
    /// The table's folder.
    const TABLE: &'static str;
    /// Its columns.
    fn columns() -> Vec<Spec>;
    /// The columns of `rows`.
    fn arrays(rows: &[Self]) -> Vec<ArrayRef>
    where
        Self: Sized;

    /// The schema of a part, with units and descriptions.
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(Self::columns().iter().map(field).collect::<Vec<_>>()))
    }

    /// `rows` as a batch.
    fn batch(rows: &[Self]) -> Result<RecordBatch, ArrowError>
    where
        Self: Sized,
    {
        RecordBatch::try_new(Self::schema(), Self::arrays(rows))
    }
}

fn field(spec: &Spec) -> Field {
    let list = |item| DataType::new_list(item, true);
    let data_type = match spec.kind {
        Kind::Count => DataType::Int64,
        Kind::Real => DataType::Float64,
        Kind::Text => DataType::Utf8,
        Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Kind::Counts => list(DataType::Int32),
        Kind::Reals => list(DataType::Float32),
        Kind::Flags => list(DataType::Boolean),
    };
    let notes = [("unit".to_owned(), spec.unit.to_owned()), ("description".to_owned(), spec.doc.to_owned())];
    Field::new(spec.name, data_type, spec.name != "step").with_metadata(HashMap::from(notes))
}

impl Row for StepRow {
    const TABLE: &'static str = "metrics";

    fn columns() -> Vec<Spec> {
        Metric::ALL.iter().map(|metric| metric.spec()).collect()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let column = |metric: &Metric| -> ArrayRef {
            let values = rows.iter().map(|row| row.get(*metric));
            match metric.spec().kind {
                Kind::Count => Arc::new(values.map(|value| value.map(|v| v as i64)).collect::<Int64Array>()),
                _ => Arc::new(values.collect::<Float64Array>()),
            }
        };
        Metric::ALL.iter().map(column).collect()
    }
}

/// The steps that `batch` of the metrics table holds; columns that this program does not know are passed over.
pub fn steps(batch: &RecordBatch) -> Vec<StepRow> {
    let mut rows = vec![StepRow::new(0); batch.num_rows()];
    for metric in Metric::ALL {
        let Some(column) = batch.column_by_name(metric.spec().name) else { continue };
        let (counts, reals) =
            (column.as_primitive_opt::<Int64Type>(), column.as_primitive_opt::<Float64Type>());
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| column.is_valid(*index)) {
            row.set_if(*metric, counts.map(|column| column.value(index) as f64));
            row.set_if(*metric, reals.map(|column| column.value(index)));
        }
    }
    rows
}

/// What the model wrote, as `batch` of the events table holds it.
pub fn samples(batch: &RecordBatch) -> Vec<Sample> {
    let text =
        |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>().cloned());
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(steps), Some(kinds), Some(names), Some(texts)) =
        (steps, text("kind"), text("name"), text("text"))
    else {
        return Vec::new();
    };
    let of = |row: usize| Sample {
        step: steps.value(row) as u64,
        how: GREEDY.into(),
        prompt: names.value(row).to_owned(),
        text: texts.value(row).to_owned(),
    };
    (0..batch.num_rows()).filter(|row| kinds.value(*row) == SAMPLE).map(of).collect()
}

/// Whether the last pause that `batch` of the events table holds was one that began; none where it holds none. A run that
/// begins or is gone on with holds not.
pub fn last_pause(batch: &RecordBatch) -> Option<bool> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>().cloned();
    let (kinds, names) = (text("kind")?, text("name")?);
    let of = |row: usize| match kinds.value(row) {
        PAUSE => Some(names.value(row) == PAUSED),
        "start" | "resume" | "end" => Some(false),
        _ => None,
    };
    (0..batch.num_rows()).rev().find_map(of)
}

/// The kind of event that a pause is, and the name of one that begins.
pub const PAUSE: &str = "pause";
pub const PAUSED: &str = "paused";

/// The kind of event that a sample is, and how all of them are written.
pub const SAMPLE: &str = "sample";
pub const GREEDY: &str = "greedy";

/// Something that happened, or was measured now and then.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Updates done when it happened.
    pub step: u64,
    /// Input tokens seen until then.
    pub tokens: u64,
    /// When.
    pub time: DateTime<Utc>,
    /// What kind of thing.
    pub kind: &'static str,
    /// What of that kind.
    pub name: String,
    /// Its value, where it has one.
    pub value: Option<f64>,
    /// In words, where there are any.
    pub text: Option<String>,
}

impl Row for EventRow {
    const TABLE: &'static str = "events";

    fn columns() -> Vec<Spec> {
        registry::EVENTS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            counts(rows.iter().map(|row| row.step)),
            counts(rows.iter().map(|row| row.tokens)),
            times(rows.iter().map(|row| row.time)),
            texts(rows.iter().map(|row| Some(row.kind.to_owned()))),
            texts(rows.iter().map(|row| Some(row.name.clone()))),
            Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
            texts(rows.iter().map(|row| row.text.clone())),
        ]
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds from its step on.
    Applied,
    /// It does not.
    Refused,
    /// Nothing was changed: a person wrote something down.
    Noted,
}

/// One key that was changed, or was to be; a line of `changes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// The first step that it holds for.
    pub step: u64,
    /// Input tokens seen before that step.
    pub tokens: u64,
    /// When it was taken up.
    pub time: DateTime<Utc>,
    /// Version of the config after it.
    pub version: u64,
    /// What was changed together has one, and keeps it when it is done again.
    pub set: String,
    /// `section.key`; none where a file could not be read at all.
    pub key: Option<String>,
    /// The value before.
    pub old: Value,
    /// The value after, or the one that was refused.
    pub new: Value,
    /// The same as TOML, to the last digit: what is done again.
    #[serde(default)]
    pub value: String,
    /// Who changed it.
    pub source: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused, or what else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Row for ChangeRow {
    const TABLE: &'static str = "changes";

    fn columns() -> Vec<Spec> {
        registry::CHANGES.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let json = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let word = |outcome| match outcome {
            Outcome::Applied => "applied".to_owned(),
            Outcome::Refused => "refused".to_owned(),
            Outcome::Noted => "noted".to_owned(),
        };
        vec![
            counts(rows.iter().map(|row| row.step)),
            counts(rows.iter().map(|row| row.tokens)),
            times(rows.iter().map(|row| row.time)),
            counts(rows.iter().map(|row| row.version)),
            texts(rows.iter().map(|row| Some(row.set.clone()))),
            texts(rows.iter().map(|row| row.key.clone())),
            texts(rows.iter().map(|row| json(&row.old))),
            texts(rows.iter().map(|row| json(&row.new))),
            texts(rows.iter().map(|row| Some(row.source.clone()))),
            texts(rows.iter().map(|row| Some(word(row.outcome)))),
            texts(rows.iter().map(|row| row.reason.clone())),
        ]
    }
}

/// What the machine was doing.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemRow {
    /// Updates done by then.
    pub step: u64,
    /// When.
    pub time: DateTime<Utc>,
    /// Processor time of this process, in cores.
    pub process_cpu: f64,
    /// Processor time of the whole machine, in cores.
    pub machine_cpu: f64,
    /// Cores of the machine.
    pub cores: u64,
    /// Memory of this process that is resident.
    pub process_bytes: u64,
    /// Memory in use on the machine.
    pub memory_used_bytes: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Room on the disk that holds the run folder; none where that is not known.
    pub disk_free_bytes: Option<u64>,
    /// The GPU, where there is one that says.
    pub gpu: Option<GpuRow>,
}

/// What the GPU was doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuRow {
    /// Share of the last moments in which something ran on it.
    pub load: f64,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Its memory, bytes.
    pub memory_bytes: u64,
}

impl Row for SystemRow {
    const TABLE: &'static str = "system";

    fn columns() -> Vec<Spec> {
        registry::SYSTEM.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            counts(rows.iter().map(|row| row.step)),
            times(rows.iter().map(|row| row.time)),
            reals(rows.iter().map(|row| Some(row.process_cpu))),
            counts(rows.iter().map(|row| row.process_bytes)),
            counts(rows.iter().map(|row| row.memory_used_bytes)),
            counts(rows.iter().map(|row| row.memory_bytes)),
            some_counts(rows.iter().map(|row| row.disk_free_bytes)),
            reals(rows.iter().map(|row| Some(row.machine_cpu))),
            counts(rows.iter().map(|row| row.cores)),
            reals(rows.iter().map(|row| row.gpu.map(|gpu| gpu.load))),
            some_counts(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_used_bytes))),
            some_counts(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_bytes))),
        ]
    }
}

/// The last row that `batch` of the system table holds; what an older version of it did not have is 0 or none.
pub fn last_system(batch: &RecordBatch) -> Option<SystemRow> {
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

fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|value| Some(value as i64)).collect::<Int64Array>())
}

fn some_counts(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|value| value as i64)).collect::<Int64Array>())
}

fn reals(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn times(values: impl Iterator<Item = DateTime<Utc>>) -> ArrayRef {
    let values: TimestampMillisecondArray = values.map(|time| Some(time.timestamp_millis())).collect();
    Arc::new(values.with_timezone("UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TokenRow;

    #[test]
    fn what_is_written_is_read_again() {
        let mut row = StepRow::new(7);
        row.set(Metric::LossPlain, 1.5);
        row.set(Metric::Recycled, 12.0);
        assert_eq!(steps(&StepRow::batch(&[StepRow::new(3), row.clone()]).unwrap())[1], row);
    }

    #[test]
    fn every_table_makes_a_batch_of_its_schema() {
        fn holds<R: Row>(rows: &[R]) {
            for rows in [rows, &[]] {
                let batch = R::batch(rows).unwrap_or_else(|error| panic!("{}: {error}", R::TABLE));
                assert_eq!(batch.num_rows(), rows.len());
            }
        }
        let time = Utc::now();
        holds(&[StepRow::new(3)]);
        let event =
            EventRow { step: 1, tokens: 2, time, kind: "end", name: "x".into(), value: None, text: None };
        holds(std::slice::from_ref(&event));
        let written = EventRow { kind: SAMPLE, text: Some("y".into()), ..event.clone() };
        let said = samples(&EventRow::batch(&[event, written]).unwrap());
        assert_eq!(said, [Sample { step: 1, how: "greedy".into(), prompt: "x".into(), text: "y".into() }]);
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
            outcome: Outcome::Refused,
            reason: None,
        };
        holds(std::slice::from_ref(&change));
        let line = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<ChangeRow>(&line).unwrap(), change);
        holds(&[TokenRow { step: 1, vocab_size: 9, ..TokenRow::default() }]);
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
        assert_eq!(last_system(&batch).as_ref(), Some(&row));
        // As it was before version 3.
        (row.machine_cpu, row.cores, row.gpu) = (0.0, 0, None);
        assert_eq!(last_system(&batch.project(&[0, 1, 2, 3, 4, 5, 6]).unwrap()), Some(row.clone()));
        holds(&[row]);
    }
}
