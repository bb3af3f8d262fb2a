//! Owns: what the list of runs shows of a metrics table: its last step and best validation, from the footers of
//! segments alone.
//! Must not know: how a list is printed.
//! Invariant: no row of a finished segment is decoded, so that a list of thousands of runs takes seconds.

use super::RecordError;
use super::rows::{self, TableRow};
use super::segments::{self, file_numbers, segment_path, wal_path};
use crate::schema::metrics::{Metric, StepRow};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use std::path::Path;

/// The summary of a metrics table.
#[derive(Debug, Default, PartialEq)]
pub struct MetricsSummary {
    pub last_step: Option<u64>,
    /// Smallest plain validation loss, in nats per token.
    pub best_validation: Option<f64>,
    /// What of the table could not be read, in words.
    pub damage: Vec<String>,
}

impl MetricsSummary {
    /// Summarizes the metrics of the run folder `run`.
    pub fn read(run: &Path) -> Self {
        let (dir, mut summary) = (run.join(StepRow::TABLE), Self::default());
        let numbers = file_numbers(&dir, "parquet");
        let end = numbers.last().map_or(0, |last| last + 1);
        for number in 0..end {
            let path = segment_path(&dir, number);
            match numbers.binary_search(&number) {
                Ok(_) => summary.add_segment(&path),
                Err(_) => summary.damage.push(segments::missing_segment(&dir, number)),
            }
        }
        for number in file_numbers(&dir, "log").into_iter().filter(|number| *number >= end) {
            summary.add_wal(&wal_path(&dir, number));
        }
        summary
    }

    fn add_segment(&mut self, path: &Path) {
        match segments::read_metadata(path) {
            Ok(metadata) => {
                self.add_step(extreme(&metadata, "step", |value, old| value.max(old)).map(|step| step as u64));
                let name = Metric::ValidPlain.spec().name;
                self.add_validation(extreme(&metadata, name, |value, old| value.min(old)));
            }
            // A resume has removed it just now.
            Err(_) if !path.exists() => {}
            Err(error) => self.damage.push(error.to_string()),
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
            self.add_step(Some(row.step()));
            self.add_validation(row.get(Metric::ValidPlain));
        }
    }

    fn add_step(&mut self, step: Option<u64>) {
        self.last_step = self.last_step.max(step);
    }

    fn add_validation(&mut self, loss: Option<f64>) {
        let finite = loss.into_iter().filter(|loss| loss.is_finite());
        self.best_validation = finite.chain(self.best_validation).min_by(f64::total_cmp);
    }
}

/// Returns the smallest or largest value of a column, as `choose` selects, from the statistics of the row groups.
fn extreme(metadata: &ParquetMetaData, column: &str, choose: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let groups = metadata.row_groups().iter();
    let choose = &choose;
    let bounds = groups.filter_map(|group| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_descr().name() == column)?;
        let bounds = match chunk.statistics()? {
            Statistics::Double(found) => (*found.min_opt()?, *found.max_opt()?),
            Statistics::Int64(found) => (*found.min_opt()? as f64, *found.max_opt()? as f64),
            _ => return None,
        };
        Some(choose(bounds.0, bounds.1))
    });
    bounds.reduce(choose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table::Table;

    #[test]
    fn footers_and_logs_give_the_last_step_and_the_best_validation() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(MetricsSummary::read(run.path()), MetricsSummary::default());
        let mut table = Table::open(run.path()).unwrap();
        for step in 0..6 {
            let mut row = StepRow::new(step);
            let loss = [9.0, f64::NAN, 2.5, f64::NEG_INFINITY, 3.0, 2.75][step as usize];
            row.set_if_some(Metric::ValidPlain, (step != 3).then_some(loss));
            table.push(row);
            match step {
                2 | 4 => table.compact(&Vec::new()).unwrap(),
                _ => table.sync_wal().unwrap(),
            }
        }
        let summary = MetricsSummary::read(run.path());
        assert_eq!((summary.last_step, summary.best_validation), (Some(5), Some(2.5)));
        assert!(summary.damage.is_empty());

        let dir = run.path().join(StepRow::TABLE);
        std::fs::write(segment_path(&dir, 1), "PAR1").unwrap();
        assert!(MetricsSummary::read(run.path()).damage[0].contains("part-00001.parquet: damaged"));
        std::fs::remove_file(segment_path(&dir, 0)).unwrap();
        assert!(MetricsSummary::read(run.path()).damage[0].contains("part-00000.parquet: missing"));
    }
}
