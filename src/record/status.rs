//! Owns: `status.json`: whether a run goes on, and how it last ended.
//! Must not know: who reads it.
//! Invariant: what it says is believed only as far as the lock agrees: a run that says it goes on and is not locked was
//! interrupted.

use super::RecordError;
use super::folder::{RunFolder, read_json, replace_json};
use serde::{Deserialize, Serialize};

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// running, finished, stopped, failed.
    pub state: String,
    /// Updates done, as far as they were when it was written.
    pub step: u64,
    /// Updates asked for.
    pub steps: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was written.
    pub at: chrono::DateTime<chrono::Utc>,
    /// The process.
    pub process: u32,
}

impl Status {
    /// It goes on.
    pub fn running(step: u64, steps: u64) -> Self {
        Self::of("running", step, steps, None)
    }

    /// It is over: `finished` or `stopped`.
    pub fn ended(word: &str, step: u64, steps: u64) -> Self {
        Self::of(word, step, steps, None)
    }

    /// It failed.
    pub fn failed(step: u64, steps: u64, error: String) -> Self {
        Self::of("failed", step, steps, Some(error))
    }

    fn of(state: &str, step: u64, steps: u64, error: Option<String>) -> Self {
        let (at, process) = (chrono::Utc::now(), std::process::id());
        Self { state: state.into(), step, steps, error, at, process }
    }
}

/// Writes it.
pub fn write(folder: &RunFolder, status: &Status) -> Result<(), RecordError> {
    replace_json(&folder.status(), status)
}

/// What it says; a run that says it goes on but has no process was interrupted.
pub fn read(folder: &RunFolder) -> Option<Status> {
    let mut status: Status = read_json(&folder.status())?;
    if folder.is_locked() {
        status.state = "running".into();
    } else if status.state == "running" {
        status.state = "interrupted".into();
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_process_was_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        assert_eq!(read(&folder), None);
        let lock = folder.lock().unwrap();
        write(&folder, &Status::running(3, 9)).unwrap();
        assert_eq!(read(&folder).unwrap().state, "running");
        drop(lock);
        assert_eq!(read(&folder).unwrap().state, "interrupted");
        write(&folder, &Status::failed(4, 9, "why".into())).unwrap();
        let found = read(&folder).unwrap();
        assert_eq!((found.state.as_str(), found.step, found.error.as_deref()), ("failed", 4, Some("why")));
    }
}
