//! Owns: the thread that reads several runs for their dashboard, and keeps it up to date.
//! Must not know: how runs are grouped or drawn.
//! Invariant: it changes no run; a run that is damaged or vanishes is a row with its problem; the thread ends with its
//! screen.

use super::run_list_reader::ReadMark;
use super::run_lookup;
use crate::record::reader::{FollowedSteps, StepFollower};
use crate::record::run_list::read_row;
use crate::record::summary::LastValues;
use crate::schema::multi_run::MultiRunUpdate;
use crate::schema::run_list::RunListUpdate;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Time between two looks at the runs.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Reports that may wait for the screen.
const MAX_WAITING_UPDATES: usize = 32;
/// Most rows in a report.
const MAX_ROWS_PER_UPDATE: usize = 512;

/// Which runs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunSource {
    /// All runs in a folder, also those that are created later.
    Folder(PathBuf),
    /// These run folders.
    Runs(Vec<PathBuf>),
}

impl RunSource {
    /// Returns the place of the runs, as it is shown.
    pub fn place(&self) -> PathBuf {
        match self {
            Self::Folder(dir) => dir.clone(),
            Self::Runs(runs) => runs.first().and_then(|run| run.parent()).map(PathBuf::from).unwrap_or_default(),
        }
    }
}

/// Starts to read the runs.
///
/// # Errors
/// The thread cannot start.
pub(super) fn start(source: RunSource) -> std::io::Result<Receiver<MultiRunUpdate>> {
    let (sender, updates) = sync_channel(MAX_WAITING_UPDATES);
    let mut reader = MultiRunReader::new(source);
    std::thread::Builder::new().name("several runs".into()).spawn(move || {
        let mut is_watched = true;
        while is_watched {
            reader.refresh(&mut |update| is_watched = is_watched && sender.send(update).is_ok());
            std::thread::sleep(POLL_INTERVAL);
        }
    })?;
    Ok(updates)
}

/// Returns what the files of the runs hold now.
pub(super) fn read_once(source: RunSource) -> Vec<MultiRunUpdate> {
    let mut updates = Vec::new();
    MultiRunReader::new(source).refresh(&mut |update| updates.push(update));
    updates
}

struct MultiRunReader {
    source: RunSource,
    runs: BTreeMap<PathBuf, KnownRun>,
}

/// A run that was read.
struct KnownRun {
    mark: ReadMark,
    steps: StepFollower,
    /// What could not be read of its metrics, in words.
    damage: Vec<String>,
}

impl MultiRunReader {
    fn new(source: RunSource) -> Self {
        Self { source, runs: BTreeMap::new() }
    }

    /// Reads what is new: rows of runs first, so that the table is there early, then their steps.
    fn refresh(&mut self, send: &mut dyn FnMut(MultiRunUpdate)) {
        let mut folders = match &self.source {
            RunSource::Folder(dir) => run_lookup::run_folders(dir),
            RunSource::Runs(runs) => runs.clone(),
        };
        // A run that has vanished stays in view, with its problem.
        let known: Vec<PathBuf> = self.runs.keys().filter(|known| !folders.contains(known)).cloned().collect();
        folders.extend(known);
        let is_due = |folder: &&PathBuf| self.runs.get(*folder).is_none_or(|run| run.mark.is_due(folder));
        let due: Vec<PathBuf> = folders.iter().filter(is_due).cloned().collect();
        let (total, known) = (folders.len(), folders.len() - due.len());
        if due.is_empty() {
            return send(MultiRunUpdate::List(RunListUpdate::Progress { done: total, total }));
        }
        due.iter().for_each(|folder| self.read_run(folder, send));
        for (index, folder) in due.iter().enumerate() {
            send(MultiRunUpdate::List(RunListUpdate::Progress { done: known + index, total }));
            self.read_steps(folder, send);
        }
        send(MultiRunUpdate::List(RunListUpdate::Progress { done: total, total }));
    }

    fn read_run(&mut self, folder: &PathBuf, send: &mut dyn FnMut(MultiRunUpdate)) {
        let mut row = read_row(folder, LastValues::Skip);
        let mark = ReadMark::new(&row);
        match self.runs.get_mut(folder) {
            Some(run) => {
                run.mark = mark;
                let missing = run.damage.iter().filter(|found| !row.problems.contains(found)).cloned();
                let missing: Vec<String> = missing.collect();
                row.problems.extend(missing);
            }
            None => {
                let steps = StepFollower::new(folder.clone());
                self.runs.insert(folder.clone(), KnownRun { mark, steps, damage: Vec::new() });
            }
        }
        send(MultiRunUpdate::List(RunListUpdate::Row(Box::new(row))));
    }

    fn read_steps(&mut self, folder: &PathBuf, send: &mut dyn FnMut(MultiRunUpdate)) {
        let Some(run) = self.runs.get_mut(folder) else { return };
        let damage = run.steps.poll(&mut |read| match read {
            FollowedSteps::Restarted => send(MultiRunUpdate::Restarted(folder.clone())),
            FollowedSteps::Rows(rows) => {
                for rows in rows.chunks(MAX_ROWS_PER_UPDATE) {
                    send(MultiRunUpdate::Steps(folder.clone(), rows.to_vec()));
                }
            }
        });
        let new: Vec<String> = damage.into_iter().filter(|found| !run.damage.contains(found)).collect();
        if !new.is_empty() {
            run.damage.extend(new);
            self.read_run(folder, send);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::run_folder::RunFolder;
    use crate::record::status::write_status;
    use crate::record::table::Table;
    use crate::schema::metrics::StepRow;
    use crate::schema::run_list::RunListRow;
    use crate::schema::status::{RunState, RunStatus};
    use std::path::Path;

    fn make_run(dir: &Path, name: &str, steps: std::ops::Range<u64>) -> (RunFolder, Table<StepRow>) {
        let folder = RunFolder::create(dir, name, chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), format!("[run]\nname = {name:?}\n")).unwrap();
        let mut table = Table::open(folder.path()).unwrap();
        steps.for_each(|step| table.push(StepRow::new(step)));
        table.sync_wal().unwrap();
        (folder, table)
    }

    fn refresh(reader: &mut MultiRunReader) -> (Vec<RunListRow>, Vec<(PathBuf, usize)>) {
        let (mut rows, mut steps) = (Vec::new(), Vec::new());
        reader.refresh(&mut |update| match update {
            MultiRunUpdate::List(RunListUpdate::Row(row)) => rows.push(*row),
            MultiRunUpdate::Steps(folder, rows) => steps.push((folder, rows.len())),
            _ => {}
        });
        (rows, steps)
    }

    #[test]
    fn new_runs_and_new_steps_are_read_and_a_run_that_vanishes_is_a_row_with_its_problem() {
        let dir = tempfile::tempdir().unwrap();
        let (a, mut table) = make_run(dir.path(), "a", 1..4);
        let lock = a.lock().unwrap();
        write_status(&a, &RunStatus::new(RunState::Running, 0, 9)).unwrap();
        let mut reader = MultiRunReader::new(RunSource::Folder(dir.path().to_owned()));
        let (rows, steps) = refresh(&mut reader);
        assert_eq!((rows.len(), rows[0].state_word()), (1, "running"));
        assert_eq!(steps, [(a.path().to_owned(), 3)]);
        let (b, _) = make_run(dir.path(), "b", 1..1500);
        table.push(StepRow::new(4));
        table.sync_wal().unwrap();
        let (rows, steps) = refresh(&mut reader);
        assert_eq!(rows.iter().map(|row| row.name().to_owned()).collect::<Vec<_>>(), ["a", "b"]);
        let counts: Vec<usize> = steps.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 512, 512, 475]);
        write_status(&a, &RunStatus::new(RunState::Finished, 4, 9)).unwrap();
        drop(lock);
        assert_eq!(refresh(&mut reader).0[0].state, Some(RunState::Finished));
        assert_eq!(refresh(&mut reader), (Vec::new(), Vec::new()), "nothing is new");
        std::fs::remove_dir_all(b.path()).unwrap();
        let (rows, _) = refresh(&mut reader);
        assert!(rows.len() == 1 && rows[0].problems[0].contains("does not exist"), "{rows:?}");
        assert_eq!(refresh(&mut reader).0.len(), 0, "it is said once");
    }

    #[test]
    fn damaged_runs_are_rows_and_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (a, _) = make_run(dir.path(), "a", 1..3);
        std::fs::write(a.path().join("metrics/part-00000.parquet"), "PAR1").unwrap();
        let (b, _) = make_run(dir.path(), "b", 1..3);
        std::fs::write(b.config_file(), "[run\n").unwrap();
        let missing = dir.path().join("c");
        let runs = vec![a.path().to_owned(), b.path().to_owned(), missing];
        let (rows, steps) = refresh(&mut MultiRunReader::new(RunSource::Runs(runs)));
        assert!(rows.len() >= 3 && rows.iter().all(|row| row.state_word() == "damaged"), "{rows:?}");
        assert_eq!(steps, [(b.path().to_owned(), 2)], "the config does not matter to steps");
    }
}
