//! Owns: whether a run is in progress and how it ended, as `status.json` holds it.
//! Must not know: files, locks.
//! Invariant: the words of a state are those of the file; they never change.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RunState {
    Running,
    Finished,
    /// It was stopped before its last step.
    Stopped,
    Failed,
    /// Its process died. The file never holds this word: readers conclude it from the lock.
    Interrupted,
}

/// The status of a run, as `status.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    pub state: RunState,
    /// Updates done when the status was written.
    pub step: u64,
    /// Number of updates of the whole run, `run.steps`.
    pub steps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub at: chrono::DateTime<chrono::Utc>,
    pub process: u32,
}

impl RunStatus {
    /// Creates the status of a run now, without an error.
    pub fn new(state: RunState, step: u64, steps: u64) -> Self {
        Self { state, step, steps, error: None, at: chrono::Utc::now(), process: std::process::id() }
    }

    pub fn failed(step: u64, steps: u64, error: String) -> Self {
        Self { error: Some(error), ..Self::new(RunState::Failed, step, steps) }
    }
}
