//! Owns: the rows of every table, and how they become columns.
//! Must not know: where they are written, who makes them.
//! Invariant: a row's columns stand in the order of its registry.

use super::registry::{self, Kind, Metric, Spec, StepRow};
use crate::message::{TokenCell, TokenRow};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float32Builder, Float64Array, Int32Builder, Int64Array,
    ListBuilder, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
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

/// The last row of tokens that `batch` of the tokens table holds, its texts made by `text`.
pub fn last_tokens(batch: &RecordBatch, vocab_size: usize, text: impl Fn(u32) -> String) -> Option<TokenRow> {
    let last = batch.num_rows().checked_sub(1)?;
    let list = |name: &str| {
        let column = batch.column_by_name(name)?.as_list_opt::<i32>()?;
        column.is_valid(last).then(|| column.value(last))
    };
    let reals = |name: &str| Some(list(name)?.as_primitive_opt::<Float32Type>()?.values().to_vec());
    let step = batch.column_by_name("step")?.as_primitive_opt::<Int64Type>()?.value(last) as u64;
    let ids = list("token_ids")?.as_primitive_opt::<Int32Type>()?.values().to_vec();
    let (starts, recycled) = (list("document_starts")?, list("recycled")?);
    let (starts, recycled) = (starts.as_boolean_opt()?, recycled.as_boolean_opt()?);
    let (plain, nll) = (reals("entropy_plain_nats")?, reals("nll_plain_nats")?);
    let after = reals("entropy_recycled_nats");
    if starts.len() < ids.len() || recycled.len() < ids.len() {
        return None;
    }
    let cell = |at: usize| {
        Some(TokenCell {
            id: ids[at] as u32,
            text: text(ids[at] as u32),
            doc_start: starts.value(at),
            entropy_plain: *plain.get(at)?,
            entropy_recycled: after.as_ref().and_then(|after| after.get(at).copied()),
            nll_plain: *nll.get(at)?,
            recycled: recycled.value(at),
            ..TokenCell::default()
        })
    };
    let cells = (0..ids.len()).map(cell).collect::<Option<_>>()?;
    Some(TokenRow { step, vocab_size, cells, ..TokenRow::default() })
}

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

impl Row for TokenRow {
    const TABLE: &'static str = "tokens";

    fn columns() -> Vec<Spec> {
        registry::TOKENS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let (mut ids, mut starts) =
            (ListBuilder::new(Int32Builder::new()), ListBuilder::new(BooleanBuilder::new()));
        let mut reals = [(); 3].map(|()| ListBuilder::new(Float32Builder::new()));
        let mut recycled = ListBuilder::new(BooleanBuilder::new());
        for row in rows {
            for cell in &row.cells {
                ids.values().append_value(cell.id as i32);
                starts.values().append_value(cell.doc_start);
                reals[0].values().append_value(cell.entropy_plain);
                reals[1].values().append_option(cell.entropy_recycled);
                reals[2].values().append_value(cell.nll_plain);
                recycled.values().append_value(cell.recycled);
            }
            ids.append(true);
            starts.append(true);
            reals[0].append(true);
            // A row without a recycled pass has no list of its entropies, rather than one of nothing.
            reals[1].append(row.cells.iter().any(|cell| cell.entropy_recycled.is_some()));
            reals[2].append(true);
            recycled.append(true);
        }
        let [plain, after, nll] = reals.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
        vec![
            counts(rows.iter().map(|row| row.step)),
            Arc::new(ids.finish()),
            Arc::new(starts.finish()),
            plain,
            after,
            nll,
            Arc::new(recycled.finish()),
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
            Arc::new(rows.iter().map(|row| Some(row.process_cpu)).collect::<Float64Array>()),
            counts(rows.iter().map(|row| row.process_bytes)),
            counts(rows.iter().map(|row| row.memory_used_bytes)),
            counts(rows.iter().map(|row| row.memory_bytes)),
            Arc::new(rows.iter().map(|row| row.disk_free_bytes.map(|v| v as i64)).collect::<Int64Array>()),
        ]
    }
}

fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|value| Some(value as i64)).collect::<Int64Array>())
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

    #[test]
    fn what_is_written_is_read_again() {
        let mut row = StepRow::new(7);
        row.set(Metric::LossPlain, 1.5);
        row.set(Metric::Recycled, 12.0);
        assert_eq!(steps(&StepRow::batch(&[StepRow::new(3), row.clone()]).unwrap())[1], row);
        let cell = |id: u32, after| TokenCell {
            id,
            text: format!("t{id}"),
            doc_start: id == 4,
            entropy_plain: 0.5,
            entropy_recycled: after,
            nll_plain: 0.25,
            recycled: id == 5,
            ..TokenCell::default()
        };
        for after in [None, Some(0.125)] {
            let tokens = TokenRow {
                step: 9,
                vocab_size: 30,
                cells: vec![cell(4, after), cell(5, after)],
                ..TokenRow::default()
            };
            let batch = TokenRow::batch(&[TokenRow { step: 8, ..tokens.clone() }, tokens.clone()]).unwrap();
            assert_eq!(last_tokens(&batch, 30, |id| format!("t{id}")).unwrap(), tokens);
        }
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
        holds(&[EventRow {
            step: 1,
            tokens: 2,
            time,
            kind: "end",
            name: "x".into(),
            value: None,
            text: None,
        }]);
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
        let (process_cpu, disk_free_bytes) = (0.5, None);
        let (process_bytes, memory_used_bytes, memory_bytes) = (1, 2, 3);
        holds(&[SystemRow {
            step: 1,
            time,
            process_cpu,
            machine_cpu: 1.5,
            cores: 2,
            process_bytes,
            memory_used_bytes,
            memory_bytes,
            disk_free_bytes,
            gpu: None,
        }]);
    }
}
