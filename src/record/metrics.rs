//! Owns: writing metric rows as Parquet parts, `metrics/part-00000.parquet` and on.
//! Must not know: what the metrics mean; the registry does.
//! Invariant: a part has its final name only when it is complete; rows stand in exactly one part, in order.

use super::RecordError;
use super::registry::{Kind, Metric, StepRow};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Version of the table's schema, in every part's footer.
pub const SCHEMA_VERSION: &str = "1";

/// Appends rows to a folder of parts.
pub struct MetricsWriter {
    dir: PathBuf,
    run: String,
    rows: Vec<StepRow>,
    parts: usize,
    since: Instant,
}

impl MetricsWriter {
    /// A writer of run `run` into the folder `dir`, which must exist and hold no parts.
    pub fn new(dir: PathBuf, run: String) -> Self {
        Self { dir, run, rows: Vec::new(), parts: 0, since: Instant::now() }
    }

    /// Takes a row; finishes a part where it is the `part_rows`-th or the last part is `part_time` ago.
    pub fn push(&mut self, row: StepRow, part_rows: usize, part_time: Duration) -> Result<(), RecordError> {
        self.rows.push(row);
        if self.rows.len() >= part_rows || self.since.elapsed() >= part_time {
            self.flush()?;
        }
        Ok(())
    }

    /// Finishes a part with the rows taken since the last one.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        self.since = Instant::now();
        if self.rows.is_empty() {
            return Ok(());
        }
        let path = self.dir.join(format!("part-{:05}.parquet", self.parts));
        let hidden = self.dir.join(format!(".part-{:05}.partial", self.parts));
        self.write(&hidden).map_err(|message| {
            // A part that cannot be written is not left behind half.
            let _ = std::fs::remove_file(&hidden);
            RecordError::Metrics { path: path.display().to_string(), message }
        })?;
        std::fs::rename(&hidden, &path).map_err(RecordError::io("rename", &hidden))?;
        self.parts += 1;
        self.rows.clear();
        Ok(())
    }

    fn write(&self, path: &std::path::Path) -> Result<(), String> {
        let schema = Arc::new(schema());
        let columns = Metric::ALL.iter().map(|metric| column(*metric, &self.rows)).collect();
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())?;
        let footer = [("coconut_lab.run", self.run.as_str()), ("coconut_lab.schema_version", SCHEMA_VERSION)]
            .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(footer.to_vec()))
            .build();
        let file = File::create(path).map_err(|error| error.to_string())?;
        let synced = file.try_clone().map_err(|error| error.to_string())?;
        let mut writer =
            ArrowWriter::try_new(file, schema, Some(properties)).map_err(|error| error.to_string())?;
        writer.write(&batch).map_err(|error| error.to_string())?;
        writer.close().map_err(|error| error.to_string())?;
        synced.sync_all().map_err(|error| error.to_string())
    }
}

impl Drop for MetricsWriter {
    /// A trainer that panics still leaves the rows it had.
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!("{error}");
        }
    }
}

fn column(metric: Metric, rows: &[StepRow]) -> ArrayRef {
    let values = rows.iter().map(|row| row.get(metric));
    match metric.spec().kind {
        Kind::Count => Arc::new(values.map(|value| value.map(|v| v as i64)).collect::<Int64Array>()),
        Kind::Real => Arc::new(values.collect::<Float64Array>()),
    }
}

fn schema() -> Schema {
    let field = |metric: &Metric| {
        let spec = metric.spec();
        let data_type = match spec.kind {
            Kind::Count => DataType::Int64,
            Kind::Real => DataType::Float64,
        };
        let notes =
            [("unit".to_owned(), spec.unit.to_owned()), ("description".to_owned(), spec.doc.to_owned())];
        Field::new(spec.name, data_type, *metric != Metric::Step).with_metadata(HashMap::from(notes))
    };
    Schema::new(Metric::ALL.iter().map(field).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn read(path: &std::path::Path) -> RecordBatch {
        let file = File::open(path).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap()
    }

    #[test]
    fn rows_stand_in_order_in_finished_parts_with_nulls_for_what_was_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::new(dir.path().into(), "r".into());
        for step in 1..=5 {
            let mut row = StepRow::new(step);
            row.set(Metric::LossPlain, step as f64 / 2.0);
            row.set_if(Metric::LossRecycled, (step == 4).then_some(9.0));
            writer.push(row, 3, Duration::from_secs(3600)).unwrap();
        }
        assert!(!dir.path().join("part-00001.parquet").exists());
        drop(writer);
        let (first, second) =
            (read(&dir.path().join("part-00000.parquet")), read(&dir.path().join("part-00001.parquet")));
        assert_eq!((first.num_rows(), second.num_rows()), (3, 2));
        let recycled = second.column_by_name("loss_recycled_nats").unwrap();
        assert!(recycled.is_valid(0) && recycled.is_null(1));
        let steps = second.column_by_name("step").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(steps.values(), &[4, 5]);
        let unit = &first.schema().field_with_name("loss_plain_nats").unwrap().metadata()["unit"].clone();
        assert_eq!(unit, "nats");
    }
}
