//! Owns: reading the metrics of a run, and the rows that are added to them.
//! Must not know: screens, the other tables of a run.
//! Invariant: each row is passed on once, in ascending steps, until the table starts again.

use super::tail::{ReadDepth, TableTail};
use crate::record::rows::TableRow;
use crate::record::run_folder::RunFolder;
use crate::record::{rows, status};
use crate::schema::metrics::StepRow;
use std::path::PathBuf;

/// What was read of the metrics of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum FollowedSteps {
    /// Another process has resumed the run and may have cut its table: all rows come again.
    Restarted,
    /// New rows, in ascending steps; those of one segment at most.
    Rows(Vec<StepRow>),
}

/// Follows the metrics of the run in a folder.
pub struct StepFollower {
    run: PathBuf,
    metrics: TableTail,
    last_step: Option<u64>,
    process: Option<u32>,
}

impl StepFollower {
    /// Creates a follower that has read nothing yet. The folder need not exist.
    pub fn new(run: PathBuf) -> Self {
        let metrics = TableTail::new(run.join(StepRow::TABLE));
        Self { run, metrics, last_step: None, process: None }
    }

    /// Passes new rows to `consume`. Returns what could not be read, in words. A folder that is gone has no new rows.
    pub fn poll(&mut self, consume: &mut dyn FnMut(FollowedSteps)) -> Vec<String> {
        let Ok(folder) = RunFolder::open(&self.run) else { return Vec::new() };
        let process = status::read_status(&folder).ok().flatten().map(|status| status.process);
        if self.process.is_some() && process.is_some() && self.process != process {
            self.metrics = TableTail::new(self.run.join(StepRow::TABLE));
            self.last_step = None;
            consume(FollowedSteps::Restarted);
        }
        self.process = process.or(self.process);
        let last_step = &mut self.last_step;
        self.metrics.for_each_new(ReadDepth::AllColumns, &mut |batch| {
            let mut new = rows::step_rows(&batch);
            new.retain(|row| {
                let ascends = last_step.is_none_or(|last| row.step() > last);
                *last_step = if ascends { Some(row.step()) } else { *last_step };
                ascends
            });
            if !new.is_empty() {
                consume(FollowedSteps::Rows(new));
            }
        });
        self.metrics.take_damage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table::Table;
    use crate::schema::status::{RunState, RunStatus};

    fn read(follower: &mut StepFollower) -> (bool, Vec<u64>, Vec<String>) {
        let (mut restarted, mut steps) = (false, Vec::new());
        let damage = follower.poll(&mut |read| match read {
            FollowedSteps::Restarted => restarted = true,
            FollowedSteps::Rows(rows) => steps.extend(rows.iter().map(StepRow::step)),
        });
        (restarted, steps, damage)
    }

    #[test]
    fn rows_come_once_and_again_after_a_resume_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "[run]\n").unwrap();
        let mut follower = StepFollower::new(folder.path().to_owned());
        assert_eq!(read(&mut follower), (false, Vec::new(), Vec::new()));
        status::write_status(&folder, &RunStatus::new(RunState::Running, 0, 9)).unwrap();
        let mut table = Table::open(folder.path()).unwrap();
        let mut add = |step| {
            table.push(StepRow::new(step));
            table.sync_wal().unwrap();
        };
        add(1);
        add(2);
        assert_eq!(read(&mut follower).1, [1, 2]);
        add(3);
        assert_eq!(read(&mut follower), (false, vec![3], Vec::new()));
        let resumed = RunStatus { process: 1, ..RunStatus::new(RunState::Running, 0, 9) };
        status::write_status(&folder, &resumed).unwrap();
        assert_eq!(read(&mut follower), (true, vec![1, 2, 3], Vec::new()));
    }

    #[test]
    fn damage_is_said_and_a_folder_that_vanishes_has_no_rows() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "[run]\n").unwrap();
        let metrics = folder.path().join(StepRow::TABLE);
        std::fs::create_dir_all(&metrics).unwrap();
        std::fs::write(metrics.join("part-00000.parquet"), "PAR1").unwrap();
        let mut follower = StepFollower::new(folder.path().to_owned());
        let (_, steps, damage) = read(&mut follower);
        assert!(steps.is_empty() && damage[0].contains("part-00000.parquet: damaged"), "{damage:?}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(read(&mut follower), (false, Vec::new(), Vec::new()));
    }
}
