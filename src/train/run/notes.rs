//! Owns: adding a note to the record of a run that has no trainer.
//! Must not know: who writes the note, screens.
//! Invariant: a run that another process has locked is not touched.

use crate::record::run_folder::RunFolder;
use crate::record::{RecordError, changes};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource, RunPosition};
use crate::train::live::replay::{ChangeStamp, change_row};
use std::path::Path;

/// Adds a note to the record of the run in folder `run`, and returns its row. Fails if the run is locked.
pub fn append_note(run: &Path, at: RunPosition, text: &str) -> Result<ChangeRow, RecordError> {
    let folder = RunFolder::open(run)?;
    let _lock = folder.lock()?;
    let row = ChangeRow {
        outcome: ChangeOutcome::Noted,
        reason: Some(text.to_owned()),
        ..change_row(None, &ChangeStamp::new(at), &ChangeSource::Keys)
    };
    changes::append_changes(&folder.changes_file(), std::slice::from_ref(&row))?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_in_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "").unwrap();
        let at = RunPosition { step: 9, tokens: 90, version: 0 };
        for text in ["it was not worth it", "or was it"] {
            append_note(folder.path(), at, text).unwrap();
        }
        let written = changes::read_changes(&folder.changes_file()).unwrap();
        assert_eq!(written[1].reason.as_deref(), Some("or was it"));
        assert_eq!((written.len(), written[0].step), (2, 9));
        let _held = folder.lock().unwrap();
        assert!(matches!(append_note(folder.path(), at, "no"), Err(RecordError::Locked { .. })));
    }
}
