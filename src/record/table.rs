//! Owns: one table being written: the rows since its last part, their log, the part they become.
//! Must not know: what the rows mean, which thread it lives on.
//! Invariant: what was logged survives a killed process; what could not be written is kept and tried again.

use super::parts::{self, Footer};
use super::rows::Row;
use super::{RecordError, frames};
use arrow::datatypes::Schema;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A table of rows `R` in a folder of its own.
pub struct Table<R> {
    dir: PathBuf,
    /// Since the last part.
    rows: Vec<R>,
    /// How many of them the log has.
    logged: usize,
    log: Option<(File, u64)>,
    part: usize,
    part_began: Instant,
}

impl<R: Row> Table<R> {
    /// The table in the folder of its name in `run`, which is made where it is not there. Its logs must have been
    /// recovered.
    pub fn open(run: &Path) -> Result<Self, RecordError> {
        let dir = run.join(R::TABLE);
        std::fs::create_dir_all(&dir).map_err(RecordError::io("make", &dir))?;
        let part = parts::numbers(&dir, "parquet").last().map_or(0, |last| last + 1);
        Ok(Self { dir, rows: Vec::new(), logged: 0, log: None, part, part_began: Instant::now() })
    }

    /// Takes a row.
    pub fn push(&mut self, row: R) {
        if self.rows.is_empty() {
            self.part_began = Instant::now();
        }
        self.rows.push(row);
    }

    /// Rows that a killed process would lose.
    pub fn unlogged(&self) -> usize {
        self.rows.len() - self.logged
    }

    /// Makes what came since the last time safe: a part where there are `rows` of them or they are `time` old, else the log.
    pub fn write(&mut self, rows: usize, time: Duration, footer: &Footer) -> Result<(), RecordError> {
        match self.rows.len() >= rows || self.part_began.elapsed() >= time {
            true => self.compact(footer),
            false => self.sync(),
        }
    }

    /// Appends what is not yet logged as one frame and makes it safe against a power cut.
    pub fn sync(&mut self) -> Result<(), RecordError> {
        if self.unlogged() == 0 {
            return Ok(());
        }
        let path = parts::log(&self.dir, self.part);
        let frame = R::batch(&self.rows[self.logged..])
            // Without the notes on its columns, which would be most of a frame.
            .and_then(|batch| frames::frame(&parts::with_notes_of(&batch, &Schema::empty())?))
            .map_err(|error| RecordError::table(&path, &error))?;
        let (file, length) = match &mut self.log {
            Some(log) => log,
            none => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.map_err(RecordError::io("open", &path))?;
                let length = file.metadata().map_err(RecordError::io("open", &path))?.len();
                parts::sync_folder(&self.dir);
                none.insert((file, length))
            }
        };
        if let Err(cause) = file.write_all(&frame).and_then(|()| file.sync_data()) {
            // The half of a frame would hide all that comes after it.
            let _ = file.set_len(*length);
            self.log = None;
            return Err(RecordError::io("write", &path)(cause));
        }
        *length += frame.len() as u64;
        self.logged = self.rows.len();
        Ok(())
    }

    /// Makes the rows since the last part one; they are logged first, so that a part that cannot be written loses nothing.
    pub fn compact(&mut self, footer: &Footer) -> Result<(), RecordError> {
        self.sync()?;
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = R::batch(&self.rows).map_err(|error| RecordError::table(&self.dir, &error))?;
        parts::write(&self.dir, self.part, R::schema(), &[batch], footer)?;
        self.log = None;
        // Where it stays, the part beside it says that it is no longer needed.
        let _ = std::fs::remove_file(parts::log(&self.dir, self.part));
        self.rows.clear();
        (self.logged, self.part) = (0, self.part + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::registry::{Metric, StepRow};
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Float64Type, Int64Type};

    fn row(step: u64) -> StepRow {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, step as f64 / 2.0);
        row.set_if(Metric::LossRecycled, (step == 4).then_some(9.0));
        row
    }

    fn steps(batches: &[RecordBatch]) -> Vec<i64> {
        let of = |batch: &RecordBatch| {
            batch.column_by_name("step").unwrap().as_primitive::<Int64Type>().values().to_vec()
        };
        batches.iter().flat_map(of).collect()
    }

    fn footer() -> Footer {
        vec![("coconut_lab.run".into(), "r".into())]
    }

    #[test]
    fn rows_stand_in_order_in_parts_and_log() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        for step in 1..=7 {
            table.push(row(step));
            if step == 3 {
                table.compact(&footer()).unwrap();
            } else if step % 2 == 0 {
                table.sync().unwrap();
            }
        }
        // 7 is not logged: a killed process loses it.
        assert_eq!(table.unlogged(), 1);
        drop(table);
        assert_eq!(steps(&parts::read_all(&dir).unwrap()), [1, 2, 3, 4, 5, 6]);
        parts::recover(&dir, &StepRow::schema(), &footer()).unwrap();
        assert!(parts::numbers(&dir, "log").is_empty());
        let table = parts::read(&parts::part(&dir, 1)).unwrap();
        assert_eq!(steps(&table), [4, 5, 6]);
        let recycled = table[0].column_by_name("loss_recycled_nats").unwrap().as_primitive::<Float64Type>();
        assert!(recycled.value(0) == 9.0 && recycled.is_null(1));
        let schema = table[0].schema();
        assert_eq!(schema.field_with_name("loss_plain_nats").unwrap().metadata()["unit"], "nats");
    }

    #[test]
    fn a_log_of_another_version_of_the_table_is_a_part_all_the_same() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        table.push(row(4));
        let whole = StepRow::batch(&table.rows).unwrap();
        let lacks_one = whole.project(&(1..whole.num_columns()).rev().chain([0]).skip(1).collect::<Vec<_>>());
        std::fs::write(parts::log(&dir, 0), frames::frame(&lacks_one.unwrap()).unwrap()).unwrap();
        parts::recover(&dir, &StepRow::schema(), &footer()).unwrap();
        let part = parts::read(&parts::part(&dir, 0)).unwrap();
        assert_eq!((steps(&part), part[0].num_columns()), (vec![4], whole.num_columns() - 1));
        let schema = part[0].schema();
        assert_eq!(schema.field_with_name("loss_plain_nats").unwrap().metadata()["unit"], "nats");
    }

    #[test]
    fn a_torn_log_loses_its_torn_frame_alone() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        for step in 1..=2 {
            table.push(row(step));
            table.sync().unwrap();
        }
        let log = parts::log(&dir, 0);
        let bytes = std::fs::read(&log).unwrap();
        std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();
        parts::recover(&dir, &StepRow::schema(), &footer()).unwrap();
        assert_eq!(steps(&parts::read_all(&dir).unwrap()), [1]);
    }

    #[test]
    fn a_log_beside_its_part_is_not_read_twice() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        table.push(row(1));
        table.sync().unwrap();
        let log = std::fs::read(parts::log(&dir, 0)).unwrap();
        table.compact(&footer()).unwrap();
        // As if the process had been killed before the log was removed.
        std::fs::write(parts::log(&dir, 0), log).unwrap();
        assert_eq!(steps(&parts::read_all(&dir).unwrap()), [1]);
        parts::recover(&dir, &StepRow::schema(), &footer()).unwrap();
        assert_eq!(steps(&parts::read_all(&dir).unwrap()), [1]);
    }

    #[test]
    fn cutting_leaves_the_rows_up_to_the_step() {
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
            parts::cut(&dir, cut, &footer()).unwrap();
            assert_eq!(steps(&parts::read_all(&dir).unwrap()), (1..=last).collect::<Vec<_>>(), "at {cut}");
            let next = Table::<StepRow>::open(run.path()).unwrap().part;
            assert!(!parts::part(&dir, next).exists());
        }
    }

    /// What a full disk says, a device says that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_keeps_the_rows_until_there_is_room() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("metrics");
        let mut table = Table::open(run.path()).unwrap();
        std::os::unix::fs::symlink("/dev/full", parts::log(&dir, 0)).unwrap();
        table.push(row(1));
        let error = table.compact(&footer()).unwrap_err();
        assert!(error.is_full() && error.to_string().contains("part-00000.log"), "{error}");
        std::fs::remove_file(parts::log(&dir, 0)).unwrap();
        table.push(row(2));
        table.compact(&footer()).unwrap();
        assert_eq!(steps(&parts::read_all(&dir).unwrap()), [1, 2]);
    }
}
