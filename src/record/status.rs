//! Owns: `status.json`: whether a run is in progress, and how it last ended.
//! Must not know: who reads it.
//! Invariant: the lock overrides the file: a run whose file says `running` but that is not locked was
//! interrupted.

use super::RecordError;
use super::run_folder::{RunFolder, read_json, replace_json};
use serde::{Deserialize, Serialize};

/// The status of a run, as `status.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// `running`, `finished`, `stopped` or `failed`; [`read`] also returns `interrupted`.
    pub state: String,
    /// Updates done when the status was written.
    pub step: u64,
    /// Number of updates of the whole run, `run.steps`.
    pub steps: u64,
    /// Error that ended a failed run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time at which the status was written.
    pub at: chrono::DateTime<chrono::Utc>,
    /// Id of the process that wrote the status.
    pub process: u32,
}

impl RunStatus {
    /// Creates the status of a run in progress.
    pub fn running(step: u64, steps: u64) -> Self {
        Self::new("running", step, steps, None)
    }

    /// Creates the status of a run that ended; `word` is `finished` or `stopped`.
    pub fn ended(word: &str, step: u64, steps: u64) -> Self {
        Self::new(word, step, steps, None)
    }

    /// Creates the status of a run that failed with `error`.
    pub fn failed(step: u64, steps: u64, error: String) -> Self {
        Self::new("failed", step, steps, Some(error))
    }

    fn new(state: &str, step: u64, steps: u64, error: Option<String>) -> Self {
        let (at, process) = (chrono::Utc::now(), std::process::id());
        Self { state: state.into(), step, steps, error, at, process }
    }
}

/// Writes `status.json` of the run in `folder`, atomically.
pub fn write_status(folder: &RunFolder, status: &RunStatus) -> Result<(), RecordError> {
    replace_json(&folder.status_file(), status)
}

/// Reads the status of the run in `folder`, corrected by the run's lock. Returns `None` if there is none.
pub fn read_status(folder: &RunFolder) -> Option<RunStatus> {
    let mut status: RunStatus = read_json(&folder.status_file())?;
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
        assert_eq!(read_status(&folder), None);
        let lock = folder.lock().unwrap();
        write_status(&folder, &RunStatus::running(3, 9)).unwrap();
        assert_eq!(read_status(&folder).unwrap().state, "running");
        drop(lock);
        assert_eq!(read_status(&folder).unwrap().state, "interrupted");
        write_status(&folder, &RunStatus::failed(4, 9, "why".into())).unwrap();
        let status = read_status(&folder).unwrap();
        assert_eq!((status.state.as_str(), status.step, status.error.as_deref()), ("failed", 4, Some("why")));
    }
}
