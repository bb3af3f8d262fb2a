//! Owns: the rows of every table, and their conversion to and from columns.
//! Must not know: where rows are written, who makes them.
//! Invariant: a row's columns are in the order of `schema::metrics`.

mod layer_rows;
mod lens;
mod rollout_rows;
pub mod thought_tests;
mod token_rows;

pub use layer_rows::{LAYER_SERIES_COLUMNS, read_layer_rows};
pub use lens::LensRow;
pub use rollout_rows::read_rollout_rows;
pub use token_rows::{HISTOGRAM_COLUMNS, ThoughtRow, entropy_histograms, last_step, last_token_row, thoughts_at};

use crate::schema::metrics;
use crate::schema::metrics::{ColumnKind, ColumnSpec, Metric, StepRow};
use crate::schema::protocol::{PlaygroundAnswer, ValidationFigure, ValidationSample};
use crate::schema::rows::{ChangeRow, EventKind, EventRow, GREEDY, GpuRow, PAUSE_STARTED, SystemRow};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

pub trait TableRow: Send + 'static {
    /// Name of the table's folder.
    const TABLE: &'static str;
    const COLUMNS: &'static [ColumnSpec];
    /// Converts `rows` to arrays, one per column.
    fn arrays(rows: &[Self]) -> Vec<ArrayRef>
    where
        Self: Sized;

    /// Returns the table's schema, with units and descriptions as column metadata.
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(Self::COLUMNS.iter().map(arrow_field).collect::<Vec<_>>()))
    }

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
    let metadata = [("unit".to_owned(), spec.unit.to_owned()), ("description".to_owned(), spec.doc.to_owned())];
    Field::new(spec.name, data_type, spec.name != "step").with_metadata(HashMap::from(metadata))
}

impl TableRow for StepRow {
    const TABLE: &'static str = "metrics";
    const COLUMNS: &'static [ColumnSpec] = metrics::METRICS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let column = |metric: &Metric| -> ArrayRef {
            let values = rows.iter().map(|row| row.get(*metric));
            match metric.spec().kind {
                ColumnKind::Count => Arc::new(values.map(|value| value.map(|v| v as i64)).collect::<Int64Array>()),
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
        let (counts, reals) = (column.as_primitive_opt::<Int64Type>(), column.as_primitive_opt::<Float64Type>());
        for (index, row) in rows.iter_mut().enumerate().filter(|(index, _)| column.is_valid(*index)) {
            row.set_if_some(*metric, counts.map(|column| column.value(index) as f64));
            row.set_if_some(*metric, reals.map(|column| column.value(index)));
        }
    }
    rows
}

pub fn samples(batch: &RecordBatch) -> Vec<ValidationSample> {
    let text = |name| text_values(batch, name);
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(steps), Some(kinds), Some(names), Some(texts)) = (steps, text("kind"), text("name"), text("text")) else {
        return Vec::new();
    };
    let sample = |row: usize| ValidationSample {
        step: steps.value(row) as u64,
        decoding: GREEDY.into(),
        prompt: names.value(row).to_owned(),
        text: texts.value(row).to_owned(),
    };
    (0..batch.num_rows()).filter(|row| kind_of(kinds.value(*row)) == Some(EventKind::Sample)).map(sample).collect()
}

/// Returns what validations measured beside the metrics.
pub fn figures(batch: &RecordBatch) -> Vec<ValidationFigure> {
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let values = batch.column_by_name("value").and_then(|column| column.as_primitive_opt::<Float64Type>());
    let (Some(steps), Some(kinds), Some(names), Some(values)) =
        (steps, text_values(batch, "kind"), text_values(batch, "name"), values)
    else {
        return Vec::new();
    };
    let is_metric = |name: &str| Metric::ALL.iter().any(|metric| metric.spec().name == name);
    let figure = |row: usize| {
        let is_figure = kind_of(kinds.value(row)) == Some(EventKind::Validation) && !is_metric(names.value(row));
        (is_figure && values.is_valid(row)).then(|| ValidationFigure {
            step: steps.value(row) as u64,
            name: names.value(row).to_owned(),
            value: values.value(row),
        })
    };
    (0..batch.num_rows()).filter_map(figure).collect()
}

/// Returns whether the run was paused after the last event of `batch`, from the events table. A run that
/// starts, resumes or ends is not paused. Returns `None` if no event tells.
pub fn paused_after(batch: &RecordBatch) -> Option<bool> {
    let (kinds, names) = (text_values(batch, "kind")?, text_values(batch, "name")?);
    let paused = |row: usize| match kind_of(kinds.value(row)) {
        Some(EventKind::Pause) => Some(names.value(row) == PAUSE_STARTED),
        Some(EventKind::Start | EventKind::Resume | EventKind::End) => Some(false),
        _ => None,
    };
    (0..batch.num_rows()).rev().find_map(paused)
}

/// An event of the events table, without its value.
pub struct NamedEvent<'a> {
    pub step: u64,
    pub time: DateTime<Utc>,
    pub kind: EventKind,
    pub name: &'a str,
    pub text: Option<&'a str>,
}

/// Returns what the events of `batch` are. Those of unknown kinds are left out.
pub fn named_events(batch: &RecordBatch) -> Vec<NamedEvent<'_>> {
    let steps = batch.column_by_name("step").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let times = batch.column_by_name("time").and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    let text = |name| text_values(batch, name);
    let (Some(kinds), Some(names), Some(texts)) = (text("kind"), text("name"), text("text")) else {
        return Vec::new();
    };
    let (Some(steps), Some(times)) = (steps, times) else { return Vec::new() };
    let event = |row: usize| {
        Some(NamedEvent {
            step: steps.value(row) as u64,
            time: DateTime::from_timestamp_millis(times.value(row))?,
            kind: kind_of(kinds.value(row))?,
            name: names.value(row),
            text: texts.is_valid(row).then(|| texts.value(row)),
        })
    };
    (0..batch.num_rows()).filter_map(event).collect()
}

/// Returns the playground answers that have ended. What cannot be read is left out.
pub fn answers(batch: &RecordBatch) -> Vec<PlaygroundAnswer> {
    let events = named_events(batch).into_iter().filter(|event| event.kind == EventKind::Answered);
    events.filter_map(|event| serde_json::from_str(event.text?).ok()).collect()
}

/// Returns the step and the folder of the last checkpoint that a batch of events names.
pub fn last_checkpoint(batch: &RecordBatch) -> Option<(u64, String)> {
    let (kinds, names) = (text_values(batch, "kind")?, text_values(batch, "name")?);
    let steps = batch.column_by_name("step")?.as_primitive_opt::<Int64Type>()?;
    let row = (0..batch.num_rows()).rev().find(|row| kind_of(kinds.value(*row)) == Some(EventKind::Checkpoint))?;
    Some((u64::try_from(steps.value(row)).ok()?, names.value(row).to_owned()))
}

fn text_values<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    batch.column_by_name(name)?.as_string_opt()
}

/// Returns the event kind that a file names, unless a newer version of the program wrote it.
fn kind_of(word: &str) -> Option<EventKind> {
    word.parse().ok()
}

impl TableRow for EventRow {
    const TABLE: &'static str = "events";
    const COLUMNS: &'static [ColumnSpec] = metrics::EVENTS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.tokens)),
            time_column(rows.iter().map(|row| row.time)),
            text_column(rows.iter().map(|row| Some(<&str>::from(row.kind).to_owned()))),
            text_column(rows.iter().map(|row| Some(row.name.clone()))),
            Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
            text_column(rows.iter().map(|row| row.text.clone())),
        ]
    }
}

impl TableRow for ChangeRow {
    const TABLE: &'static str = "changes";
    const COLUMNS: &'static [ColumnSpec] = metrics::CHANGES;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let json = |value: &Value| (!value.is_null()).then(|| value.to_string());
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.tokens)),
            time_column(rows.iter().map(|row| row.time)),
            count_column(rows.iter().map(|row| row.version)),
            text_column(rows.iter().map(|row| Some(row.set.clone()))),
            text_column(rows.iter().map(|row| row.key.clone())),
            text_column(rows.iter().map(|row| json(&row.old))),
            text_column(rows.iter().map(|row| json(&row.new))),
            text_column(rows.iter().map(|row| Some(row.source.to_string()))),
            text_column(rows.iter().map(|row| Some(<&str>::from(row.outcome).to_owned()))),
            text_column(rows.iter().map(|row| row.reason.clone())),
        ]
    }
}

impl TableRow for SystemRow {
    const TABLE: &'static str = "system";
    const COLUMNS: &'static [ColumnSpec] = metrics::SYSTEM;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            count_column(rows.iter().map(|row| row.step)),
            time_column(rows.iter().map(|row| row.time)),
            real_column(rows.iter().map(|row| Some(row.process_cpu))),
            count_column(rows.iter().map(|row| row.process_bytes)),
            count_column(rows.iter().map(|row| row.memory_used_bytes)),
            count_column(rows.iter().map(|row| row.memory_bytes)),
            count_column(rows.iter().map(|row| row.disk_free_bytes)),
            real_column(rows.iter().map(|row| Some(row.machine_cpu))),
            count_column(rows.iter().map(|row| row.cores)),
            real_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.load))),
            count_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_used_bytes))),
            count_column(rows.iter().map(|row| row.gpu.map(|gpu| gpu.memory_bytes))),
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

/// Returns the real number in a column of `row`, if the column exists and the number is not null.
fn real_value(batch: &RecordBatch, row: usize, name: &str) -> Option<f64> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn count_column<T: Into<Option<u64>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(values.map(|value| value.into().map(|value| value as i64)).collect::<Int64Array>())
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
    use crate::schema::rows::ChangeOutcome;
    use crate::schema::token_rows::TokenRow;

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
            EventRow { step: 1, tokens: 2, time, kind: EventKind::End, name: "x".into(), value: None, text: None };
        assert_batch(std::slice::from_ref(&event));
        let of = |name: &str| {
            let (kind, value) = (EventKind::Validation, Some(0.5));
            EventRow { kind, name: name.into(), value, ..event.clone() }
        };
        let measured = EventRow::batch(&[of("valid_accuracy"), of("valid_accuracy_3_steps"), event.clone()]).unwrap();
        let figure = ValidationFigure { step: 1, name: "valid_accuracy_3_steps".into(), value: 0.5 };
        assert_eq!(figures(&measured), [figure]);
        let written = EventRow { kind: EventKind::Sample, text: Some("y".into()), ..event.clone() };
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
            source: crate::schema::rows::ChangeSource::Keys,
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
