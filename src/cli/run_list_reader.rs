//! Owns: the thread that reads a list of runs for the dashboard, keeps it up to date, and carries out its requests.
//! Must not know: how the list is shown, what a run's files hold.
//! Invariant: the newest runs come first, and a request waits for a few runs at most; the thread ends with its list.

use super::run_lookup;
use crate::record::compare::compare_runs;
use crate::record::manage;
use crate::record::run_list::read_row;
use crate::record::summary::LastValues;
use crate::schema::protocol::LogLevel;
use crate::schema::run_list::{RunListRequest, RunListRow, RunListUpdate, TagEdit};
use crate::schema::status::RunState;
use crate::tui::RunListLink;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::time::{Duration, SystemTime};

/// Time between two looks at the folder.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Runs that are read before requests are looked for again.
const RUNS_PER_BATCH: usize = 16;

/// Starts to read the runs in `dir`.
///
/// # Errors
/// The thread cannot start.
pub(super) fn start(dir: &Path) -> std::io::Result<RunListLink> {
    let (update_sender, updates) = channel();
    let (requests, request_receiver) = channel();
    let mut reader = RunListReader { dir: dir.to_owned(), updates: update_sender, known: BTreeMap::new() };
    std::thread::Builder::new().name("run list".into()).spawn(move || reader.serve(&request_receiver))?;
    Ok(RunListLink { dir: dir.to_owned(), updates, requests })
}

/// The list is gone: nobody receives updates.
type Gone = SendError<RunListUpdate>;

struct RunListReader {
    dir: PathBuf,
    updates: Sender<RunListUpdate>,
    /// The runs that were read, each with what tells whether it must be read again.
    known: BTreeMap<PathBuf, ReadMark>,
}

/// Tells whether a run has changed since it was read.
#[derive(PartialEq)]
pub(super) struct ReadMark {
    is_running: bool,
    /// When its files were written.
    times: [Option<SystemTime>; 3],
}

impl ReadMark {
    pub fn new(row: &RunListRow) -> Self {
        Self { is_running: row.state == Some(RunState::Running), times: file_times(&row.folder) }
    }

    /// Whether the run in `folder` runs or was changed since it was read.
    pub fn is_due(&self, folder: &Path) -> bool {
        self.is_running || self.times != file_times(folder)
    }
}

fn file_times(run: &Path) -> [Option<SystemTime>; 3] {
    ["status.json", "labels.json", "config.toml"]
        .map(|name| std::fs::metadata(run.join(name)).and_then(|metadata| metadata.modified()).ok())
}

impl RunListReader {
    /// Reads the runs, then refreshes them and carries out requests until the list is gone.
    fn serve(&mut self, requests: &Receiver<RunListRequest>) {
        for done in manage::finish_deletions(&self.dir) {
            let message = match done {
                Ok(text) => (LogLevel::Info, text),
                Err(error) => (LogLevel::Warn, error.to_string()),
            };
            if self.updates.send(RunListUpdate::Message(message.0, message.1)).is_err() {
                return;
            }
        }
        while self.refresh(requests).is_ok() {
            let answered = match requests.recv_timeout(REFRESH_INTERVAL) {
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if answered.is_err() {
                return;
            }
        }
    }

    /// Reads runs that are new, run, or were changed, and forgets those that are gone.
    fn refresh(&mut self, requests: &Receiver<RunListRequest>) -> Result<(), Gone> {
        let folders: Vec<PathBuf> = run_lookup::run_folders(&self.dir).into_iter().rev().collect();
        let gone: Vec<PathBuf> = self.known.keys().filter(|known| !folders.contains(known)).cloned().collect();
        for folder in gone {
            self.forget(&folder)?;
        }
        let is_due = |folder: &&PathBuf| self.known.get(*folder).is_none_or(|mark| mark.is_due(folder));
        let due: Vec<PathBuf> = folders.iter().filter(is_due).cloned().collect();
        let (mut done, total) = (folders.len() - due.len(), folders.len());
        for batch in due.chunks(RUNS_PER_BATCH) {
            self.updates.send(RunListUpdate::Progress { done, total })?;
            for row in read_rows(batch, LastValues::Read) {
                self.send_row(row)?;
            }
            done += batch.len();
            while let Ok(request) = requests.try_recv() {
                self.answer(request)?;
            }
        }
        self.updates.send(RunListUpdate::Progress { done: total, total })
    }

    fn send_row(&mut self, row: RunListRow) -> Result<(), Gone> {
        // A run may have been deleted or renamed while it was read.
        if !row.folder.exists() {
            return Ok(());
        }
        self.known.insert(row.folder.clone(), ReadMark::new(&row));
        self.updates.send(RunListUpdate::Row(Box::new(row)))
    }

    fn forget(&mut self, folder: &Path) -> Result<(), Gone> {
        self.known.remove(folder);
        self.updates.send(RunListUpdate::Removed(folder.to_owned()))
    }

    fn send_message(&self, level: LogLevel, text: String) -> Result<(), Gone> {
        self.updates.send(RunListUpdate::Message(level, text))
    }

    fn answer(&mut self, request: RunListRequest) -> Result<(), Gone> {
        match request {
            RunListRequest::EditTags(runs, edit) => self.edit_tags(&runs, &edit),
            RunListRequest::Rename(run, name) => match manage::rename_run(&run, &name) {
                Ok(new) => {
                    self.known.remove(&run);
                    self.updates.send(RunListUpdate::Renamed(run, new.clone()))?;
                    self.send_row(read_row(&new, LastValues::Read))?;
                    self.send_message(LogLevel::Info, format!("renamed to {}", new.display()))
                }
                Err(error) => self.send_message(LogLevel::Error, error.to_string()),
            },
            RunListRequest::Delete(runs) => self.delete(&runs),
            RunListRequest::Compare(a, b) => match compare_runs((&a, None), (&b, None)) {
                Ok(found) => self.updates.send(RunListUpdate::Comparison(Box::new(found))),
                Err(error) => self.send_message(LogLevel::Error, error.to_string()),
            },
        }
    }

    fn edit_tags(&mut self, runs: &[PathBuf], edit: &TagEdit) -> Result<(), Gone> {
        for run in runs {
            if let Err(error) = manage::edit_tags(run, edit) {
                return self.send_message(LogLevel::Error, error.to_string());
            }
            self.send_row(read_row(run, LastValues::Read))?;
        }
        self.send_message(
            LogLevel::Info,
            format!("tagged {} {}", runs.len(), if runs.len() == 1 { "run" } else { "runs" }),
        )
    }

    fn delete(&mut self, runs: &[PathBuf]) -> Result<(), Gone> {
        let mut failed = Vec::new();
        for run in runs {
            let deleted = manage::delete_run(run);
            if !run.exists() {
                self.forget(run)?;
            }
            failed.extend(deleted.err());
        }
        let deleted = runs.len() - failed.len();
        match failed.first() {
            None => self.send_message(
                LogLevel::Info,
                format!("deleted {deleted} {}", if deleted == 1 { "run" } else { "runs" }),
            ),
            Some(error) => self.send_message(LogLevel::Error, format!("deleted {deleted} of {}: {error}", runs.len())),
        }
    }
}

/// Reads runs, several at a time: most of the time goes into waiting for files.
pub(super) fn read_rows(folders: &[PathBuf], last_values: LastValues) -> Vec<RunListRow> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let share = folders.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let read = |folders: &[PathBuf]| folders.iter().map(|folder| read_row(folder, last_values)).collect::<Vec<_>>();
        let readers: Vec<_> = folders.chunks(share).map(|folders| scope.spawn(move || read(folders))).collect();
        readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::run_folder::RunFolder;

    fn make_run(dir: &Path, name: &str) -> PathBuf {
        let folder = RunFolder::create(dir, name, chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), format!("[run]\nname = {name:?}\n")).unwrap();
        folder.path().to_owned()
    }

    /// Waits for the first update that `wanted` takes.
    fn wait_for<T>(link: &RunListLink, wanted: impl Fn(RunListUpdate) -> Option<T>) -> T {
        loop {
            let update = link.updates.recv_timeout(Duration::from_secs(60)).unwrap();
            if let Some(found) = wanted(update) {
                return found;
            }
        }
    }

    fn row(update: RunListUpdate) -> Option<RunListRow> {
        match update {
            RunListUpdate::Row(row) => Some(*row),
            _ => None,
        }
    }

    #[test]
    fn runs_are_read_and_requests_carried_out() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (make_run(dir.path(), "a"), make_run(dir.path(), "b"));
        let link = start(dir.path()).unwrap();
        let is_done = |update| matches!(update, RunListUpdate::Progress { done: 2, total: 2 }).then_some(());
        let first = wait_for(&link, row);
        assert_eq!(first.name(), "b", "the newest one first");
        wait_for(&link, is_done);
        let edit = TagEdit { add: vec!["x".into()], remove: Vec::new() };
        link.requests.send(RunListRequest::EditTags(vec![a.clone()], edit)).unwrap();
        assert_eq!(wait_for(&link, |update| row(update).filter(|row| row.name() == "a")).tags, ["x"]);
        link.requests.send(RunListRequest::Compare(a.clone(), b.clone())).unwrap();
        let found = wait_for(&link, |update| match update {
            RunListUpdate::Comparison(found) => Some(found),
            _ => None,
        });
        assert_eq!(found.current[0].key, "run.name");
        link.requests.send(RunListRequest::Rename(a.clone(), "c".into())).unwrap();
        let c = wait_for(&link, |update| match update {
            RunListUpdate::Renamed(old, new) => (old == a).then_some(new),
            _ => None,
        });
        assert_eq!(wait_for(&link, |update| row(update).filter(|row| row.folder == c)).tags, ["x"]);
        let lock = RunFolder::open(&b).unwrap().lock().unwrap();
        link.requests.send(RunListRequest::Delete(vec![b.clone(), c.clone()])).unwrap();
        let message = |update| match update {
            RunListUpdate::Message(LogLevel::Error, text) => Some(text),
            _ => None,
        };
        let text = wait_for(&link, message);
        assert!(text.starts_with("deleted 1 of 2: ") && text.contains("another process holds this run"), "{text}");
        assert!(b.exists() && !c.exists());
        drop(lock);
        // Another hand deletes it.
        std::fs::remove_dir_all(&b).unwrap();
        wait_for(&link, |update| matches!(update, RunListUpdate::Removed(folder) if folder == b).then_some(()));
    }
}
