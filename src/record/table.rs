//! Owns: writing one table: the rows since its last segment, their write-ahead log (WAL), the next segment.
//! Must not know: what the rows mean, which thread it runs on.
//! Invariant: rows in the WAL survive a killed process; rows that could not be written are kept and tried again.

use super::rows::TableRow;
use super::{RecordError, segments, wal};
use crate::files::atomic::{append_synced, sync_folder};
use crate::files::parquet::Footer;
use arrow::datatypes::Schema;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A table of rows `R`, written to a folder of its own.
pub struct Table<R> {
    dir: PathBuf,
    rows: Vec<R>,
    /// Number of these rows that the WAL holds.
    synced_rows: usize,
    /// The WAL, once opened, and its length in bytes.
    wal: Option<(File, u64)>,
    segment: usize,
    segment_began: Instant,
}

impl<R: TableRow> Table<R> {
    /// Opens or creates the table in the run folder `run`. Its WALs must have been recovered.
    pub fn open(run: &Path) -> Result<Self, RecordError> {
        let dir = run.join(R::TABLE);
        std::fs::create_dir_all(&dir).map_err(RecordError::io("create", &dir))?;
        let segment = segments::file_numbers(&dir, "parquet").last().map_or(0, |last| last + 1);
        Ok(Self { dir, rows: Vec::new(), synced_rows: 0, wal: None, segment, segment_began: Instant::now() })
    }

    /// Adds a row, which is not written yet.
    pub fn push(&mut self, row: R) {
        if self.rows.is_empty() {
            self.segment_began = Instant::now();
        }
        self.rows.push(row);
    }

    /// Returns the number of rows that a killed process would lose.
    pub fn unsynced_rows(&self) -> usize {
        self.rows.len() - self.synced_rows
    }

    /// Writes the rows since the last segment: as a segment if there are at least `rows` of them or they are
    /// `time` old, else to the WAL.
    pub fn write_pending(&mut self, rows: usize, time: Duration, footer: &Footer) -> Result<(), RecordError> {
        match self.rows.len() >= rows || self.segment_began.elapsed() >= time {
            true => self.compact(footer),
            false => self.sync_wal(),
        }
    }

    /// Appends the rows that are not in the WAL yet as one frame, and syncs it to survive a power cut.
    pub fn sync_wal(&mut self) -> Result<(), RecordError> {
        if self.unsynced_rows() == 0 {
            return Ok(());
        }
        let path = segments::wal_path(&self.dir, self.segment);
        let frame = R::batch(&self.rows[self.synced_rows..])
            // Without column metadata, which would be most of a frame.
            .and_then(|batch| wal::encode_frame(&segments::with_column_metadata(&batch, &Schema::empty())?))
            .map_err(|error| RecordError::table(&path, &error))?;
        let (file, length) = match &mut self.wal {
            Some(log) => log,
            none => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.map_err(RecordError::io("open", &path))?;
                let length = file.metadata().map_err(RecordError::io("open", &path))?.len();
                sync_folder(&self.dir);
                none.insert((file, length))
            }
        };
        if let Err(cause) = append_synced(file, *length, &frame) {
            self.wal = None;
            return Err(RecordError::io("write", &path)(cause));
        }
        *length += frame.len() as u64;
        self.synced_rows = self.rows.len();
        Ok(())
    }

    /// Writes the rows since the last segment as a segment; first to the WAL, so a failure loses nothing.
    pub fn compact(&mut self, footer: &Footer) -> Result<(), RecordError> {
        self.sync_wal()?;
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = R::batch(&self.rows).map_err(|error| RecordError::table(&self.dir, &error))?;
        segments::write_segment(&self.dir, self.segment, R::schema(), &[batch], footer)?;
        self.wal = None;
        // A WAL that cannot be removed is ignored, because its segment exists.
        let _ = std::fs::remove_file(segments::wal_path(&self.dir, self.segment));
        self.rows.clear();
        (self.synced_rows, self.segment) = (0, self.segment + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::metrics::{Metric, StepRow};
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Float64Type, Int64Type};

    fn row(step: u64) -> StepRow {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, step as f64 / 2.0);
        row.set_if_some(Metric::LossRecycled, (step == 4).then_some(9.0));
        row
    }

    fn steps(batches: &[RecordBatch]) -> Vec<i64> {
        let steps_of =
            |batch: &RecordBatch| batch.column_by_name("step").unwrap().as_primitive::<Int64Type>().values().to_vec();
        batches.iter().flat_map(steps_of).collect()
    }

    fn footer() -> Footer {
        vec![("coconut_lab.run".into(), "r".into())]
    }

    #[test]
    fn rows_are_in_order_in_segments_and_wal() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        for step in 1..=7 {
            table.push(row(step));
            if step == 3 {
                table.compact(&footer()).unwrap();
            } else if step % 2 == 0 {
                table.sync_wal().unwrap();
            }
        }
        // Step 7 is not in the WAL: a killed process loses it.
        assert_eq!(table.unsynced_rows(), 1);
        drop(table);
        assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), [1, 2, 3, 4, 5, 6]);
        segments::recover_wals(&dir, &StepRow::schema(), &footer()).unwrap();
        assert!(segments::file_numbers(&dir, "log").is_empty());
        let table = segments::read_segment(&segments::segment_path(&dir, 1)).unwrap();
        assert_eq!(steps(&table), [4, 5, 6]);
        let recycled = table[0].column_by_name("loss_recycled_nats").unwrap().as_primitive::<Float64Type>();
        assert!(recycled.value(0) == 9.0 && recycled.is_null(1));
        let schema = table[0].schema();
        assert_eq!(schema.field_with_name("loss_plain_nats").unwrap().metadata()["unit"], "nats");
    }

    #[test]
    fn a_wal_of_another_schema_version_is_recovered() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        table.push(row(4));
        let whole = StepRow::batch(&table.rows).unwrap();
        let lacks_one = whole.project(&(1..whole.num_columns()).rev().chain([0]).skip(1).collect::<Vec<_>>());
        std::fs::write(segments::wal_path(&dir, 0), wal::encode_frame(&lacks_one.unwrap()).unwrap()).unwrap();
        segments::recover_wals(&dir, &StepRow::schema(), &footer()).unwrap();
        let part = segments::read_segment(&segments::segment_path(&dir, 0)).unwrap();
        assert_eq!((steps(&part), part[0].num_columns()), (vec![4], whole.num_columns() - 1));
        let schema = part[0].schema();
        assert_eq!(schema.field_with_name("loss_plain_nats").unwrap().metadata()["unit"], "nats");
    }

    #[test]
    fn a_truncated_wal_loses_only_its_last_frame() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        for step in 1..=2 {
            table.push(row(step));
            table.sync_wal().unwrap();
        }
        let log = segments::wal_path(&dir, 0);
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
        segments::recover_wals(&dir, &StepRow::schema(), &footer()).unwrap();
        assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), [1]);
    }

    #[test]
    fn a_wal_next_to_its_segment_is_not_read_twice() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        table.push(row(1));
        table.sync_wal().unwrap();
        let log = std::fs::read(segments::wal_path(&dir, 0)).unwrap();
        table.compact(&footer()).unwrap();
        // As if the process had been killed before the WAL was removed.
        std::fs::write(segments::wal_path(&dir, 0), log).unwrap();
        assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), [1]);
        segments::recover_wals(&dir, &StepRow::schema(), &footer()).unwrap();
        assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), [1]);
    }

    #[test]
    fn truncating_keeps_the_rows_up_to_the_step() {
        for (cut, last) in [(-1, 0), (0, 0), (1, 1), (3, 3), (4, 4), (6, 6), (99, 6)] {
            let run = tempfile::tempdir().unwrap();
            let dir = run.path().join("metrics");
            let mut table = Table::open(run.path()).unwrap();
            for step in 1..=6 {
                table.push(row(step));
                if step % 3 == 0 {
                    table.compact(&footer()).unwrap();
                }
            }
            segments::truncate_after(&dir, cut, &footer()).unwrap();
            assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), (1..=last).collect::<Vec<_>>(), "at {cut}");
            let next = Table::<StepRow>::open(run.path()).unwrap().segment;
            assert!(!segments::segment_path(&dir, next).exists());
        }
    }

    /// `/dev/full` gives the error of a full disk.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_keeps_the_rows_until_there_is_room() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        std::os::unix::fs::symlink("/dev/full", segments::wal_path(&dir, 0)).unwrap();
        table.push(row(1));
        let error = table.compact(&footer()).unwrap_err();
        assert!(error.is_disk_full() && error.to_string().contains("part-00000.log"), "{error}");
        std::fs::remove_file(segments::wal_path(&dir, 0)).unwrap();
        table.push(row(2));
        table.compact(&footer()).unwrap();
        assert_eq!(steps(&segments::read_table(&dir).unwrap().batches), [1, 2]);
    }
}
