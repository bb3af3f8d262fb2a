//! Owns: what the list of runs shows of a metrics table: its last step, and of each metric the smallest, largest and
//! last value.
//! Must not know: how a list is printed.
//! Invariant: without last values no row of a finished segment is decoded, so that a list of thousands of runs takes
//! seconds; with them each column is decoded in one segment, the last that has values of it.

use super::RecordError;
use super::rows::{self, TableRow};
use super::segments::{self, file_numbers, segment_path, wal_path};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::run_list::MetricRange;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use std::path::Path;

/// Whether the last value of each metric is read, which takes more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastValues {
    Read,
    Skip,
}

/// The summary of a metrics table.
#[derive(Debug, Default, PartialEq)]
pub struct MetricsSummary {
    pub last_step: Option<u64>,
    /// What is known of each metric, in the order of [`Metric::ALL`].
    pub metrics: Vec<MetricRange>,
    /// What of the table could not be read, in words.
    pub damage: Vec<String>,
}

impl MetricsSummary {
    /// Summarizes the metrics of the run folder `run`.
    pub fn read(run: &Path, last_values: LastValues) -> Self {
        let metrics = vec![MetricRange::default(); Metric::ALL.len()];
        let (dir, mut summary) = (run.join(StepRow::TABLE), Self { metrics, ..Self::default() });
        let numbers = file_numbers(&dir, "parquet");
        let end = numbers.last().map_or(0, |last| last + 1);
        let mut segments = Vec::new();
        for number in 0..end {
            let path = segment_path(&dir, number);
            match numbers.binary_search(&number) {
                Ok(_) => segments.extend(summary.add_segment(&path).map(|metadata| (path, metadata))),
                Err(_) => summary.damage.push(segments::missing_segment(&dir, number)),
            }
        }
        for number in file_numbers(&dir, "log").into_iter().filter(|number| *number >= end) {
            summary.add_wal(&wal_path(&dir, number));
        }
        if last_values == LastValues::Read {
            segments.iter().rev().for_each(|(path, metadata)| summary.add_last_values(path, metadata));
        }
        summary
    }

    fn add_segment(&mut self, path: &Path) -> Option<ParquetMetaData> {
        match segments::read_metadata(path) {
            Ok(metadata) => {
                for metric in Metric::ALL {
                    for bounds in column_chunks(&metadata, *metric).filter_map(bounds) {
                        self.add_value(*metric, bounds.0);
                        self.add_value(*metric, bounds.1);
                    }
                }
                self.last_step = self.metrics[Metric::Step as usize].max.map(|step| step as u64);
                Some(metadata)
            }
            // A resume has removed it just now.
            Err(_) if !path.exists() => None,
            Err(error) => {
                self.damage.push(error.to_string());
                None
            }
        }
    }

    fn add_wal(&mut self, path: &Path) {
        let log = match segments::read_wal(path) {
            Ok(log) => log.unwrap_or_default(),
            Err(error) => return self.damage.push(RecordError::to_string(&error)),
        };
        if log.damaged_bytes > 0 {
            self.damage.push(segments::wal_damage(path, log.damaged_bytes));
        }
        for row in log.batches.iter().flat_map(rows::step_rows) {
            self.last_step = self.last_step.max(Some(row.step()));
            for metric in Metric::ALL {
                let Some(value) = row.get(*metric) else { continue };
                self.add_value(*metric, value);
                self.metrics[*metric as usize].last = Some(value);
            }
        }
    }

    /// Takes the last values from a segment, of those metrics that have none from later rows.
    fn add_last_values(&mut self, path: &Path, metadata: &ParquetMetaData) {
        let missing = |metric: &&Metric| {
            self.metrics[**metric as usize].last.is_none() && column_chunks(metadata, **metric).any(has_values)
        };
        let wanted: Vec<Metric> = Metric::ALL.iter().filter(missing).copied().collect();
        if wanted.is_empty() {
            return;
        }
        let names: Vec<&str> = wanted.iter().map(|metric| metric.spec().name).collect();
        match segments::read_columns(path, &names) {
            Ok(batches) => wanted.iter().for_each(|metric| {
                let last = batches.iter().rev().find_map(|batch| last_value(batch, metric.spec().name));
                self.metrics[*metric as usize].last = last;
            }),
            Err(_) if !path.exists() => {}
            Err(error) => self.damage.push(error.to_string()),
        }
    }

    fn add_value(&mut self, metric: Metric, value: f64) {
        let range = &mut self.metrics[metric as usize];
        if value.is_finite() {
            range.min = Some(range.min.map_or(value, |min| min.min(value)));
            range.max = Some(range.max.map_or(value, |max| max.max(value)));
        }
    }
}

/// Returns the chunks of a metric's column, one per row group.
fn column_chunks(metadata: &ParquetMetaData, metric: Metric) -> impl Iterator<Item = &ColumnChunkMetaData> {
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    chunks.filter(move |chunk| chunk.column_descr().name() == metric.spec().name)
}

/// Returns the smallest and the largest value of a chunk.
fn bounds(chunk: &ColumnChunkMetaData) -> Option<(f64, f64)> {
    match chunk.statistics()? {
        Statistics::Double(found) => Some((*found.min_opt()?, *found.max_opt()?)),
        Statistics::Int64(found) => Some((*found.min_opt()? as f64, *found.max_opt()? as f64)),
        _ => None,
    }
}

/// Whether a chunk may hold a value. One of NaNs alone has no bounds.
fn has_values(chunk: &ColumnChunkMetaData) -> bool {
    let nulls = chunk.statistics().and_then(Statistics::null_count_opt);
    nulls.is_none_or(|nulls| (nulls as i64) < chunk.num_values())
}

/// Returns the last value of a column that is not null.
fn last_value(batch: &RecordBatch, name: &str) -> Option<f64> {
    let column = batch.column_by_name(name)?;
    let row = (0..column.len()).rev().find(|row| column.is_valid(*row))?;
    let count = column.as_primitive_opt::<Int64Type>().map(|column| column.value(row) as f64);
    count.or_else(|| column.as_primitive_opt::<Float64Type>().map(|column| column.value(row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table::Table;

    #[test]
    fn footers_and_logs_give_the_last_step_and_the_best_validation() {
        let run = tempfile::tempdir().unwrap();
        let read = |last_values| MetricsSummary::read(run.path(), last_values);
        assert_eq!(read(LastValues::Read).last_step, None);
        let mut table = Table::open(run.path()).unwrap();
        for step in 0..6 {
            let mut row = StepRow::new(step);
            let loss = [9.0, f64::NAN, 2.5, f64::NEG_INFINITY, 3.0, 2.75][step as usize];
            row.set_if_some(Metric::ValidPlain, (step != 3).then_some(loss));
            row.set_if_some(Metric::Lr, (step < 2).then_some(0.5 - step as f64));
            table.push(row);
            match step {
                2 | 4 => table.compact(&Vec::new()).unwrap(),
                _ => table.sync_wal().unwrap(),
            }
        }
        let summary = read(LastValues::Read);
        let metric = |metric: Metric| summary.metrics[metric as usize];
        assert_eq!(summary.last_step, Some(5));
        assert_eq!(metric(Metric::ValidPlain), MetricRange { last: Some(2.75), min: Some(2.5), max: Some(9.0) });
        assert_eq!(metric(Metric::Lr), MetricRange { last: Some(-0.5), min: Some(-0.5), max: Some(0.5) });
        assert_eq!(metric(Metric::GradNorm), MetricRange::default());
        assert!(summary.damage.is_empty());
        let quick = read(LastValues::Skip).metrics[Metric::Lr as usize];
        assert_eq!(quick, MetricRange { last: None, ..metric(Metric::Lr) });

        let dir = run.path().join(StepRow::TABLE);
        std::fs::write(segment_path(&dir, 1), "PAR1").unwrap();
        assert!(read(LastValues::Skip).damage[0].contains("part-00001.parquet: damaged"));
        std::fs::remove_file(segment_path(&dir, 0)).unwrap();
        assert!(read(LastValues::Skip).damage[0].contains("part-00000.parquet: missing"));
    }
}
