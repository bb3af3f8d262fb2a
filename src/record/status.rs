//! Owns: `status.json`: whether a run is in progress, and how it last ended.
//! Must not know: who reads it.
//! Invariant: the lock overrides the file: a run whose file says `running` but that is not locked was interrupted.

use super::RecordError;
use super::run_folder::{RunFolder, read_json};
use crate::files::atomic::replace_json;
use crate::schema::status::{RunState, RunStatus};

pub fn write_status(folder: &RunFolder, status: &RunStatus) -> Result<(), RecordError> {
    Ok(replace_json(&folder.status_file(), status)?)
}

/// Reads the status of the run in `folder`, corrected by the run's lock. Returns `None` if there is none.
pub fn read_status(folder: &RunFolder) -> Result<Option<RunStatus>, RecordError> {
    let Some(mut status) = read_json::<RunStatus>(&folder.status_file())? else { return Ok(None) };
    if folder.is_locked() {
        status.state = RunState::Running;
    } else if status.state == RunState::Running {
        status.state = RunState::Interrupted;
    }
    Ok(Some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_process_was_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        assert_eq!(read_status(&folder).unwrap(), None);
        let lock = folder.lock().unwrap();
        write_status(&folder, &RunStatus::new(RunState::Running, 3, 9)).unwrap();
        assert_eq!(read_status(&folder).unwrap().unwrap().state, RunState::Running);
        drop(lock);
        assert_eq!(read_status(&folder).unwrap().unwrap().state, RunState::Interrupted);
        write_status(&folder, &RunStatus::failed(4, 9, "why".into())).unwrap();
        let status = read_status(&folder).unwrap().unwrap();
        assert_eq!((status.state, status.step, status.error.as_deref()), (RunState::Failed, 4, Some("why")));
    }
}
