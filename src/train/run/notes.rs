//! Owns: adding a note to the record of a run that has no trainer.
//! Must not know: who writes the note, screens.
//! Invariant: a run that another process has locked is not touched; the record and its table get the same
//! row.

use super::plan;
use crate::config;
use crate::record::rows::TableRow;
use crate::record::run_folder::RunFolder;
use crate::record::table::Table;
use crate::record::{RecordError, changes, recorder, segments};
use crate::schema::rows::{ChangeOutcome, ChangeRow, RunPosition};
use crate::train::live::replay::{change_row, new_set_id};
use std::path::Path;

/// Adds the note `text` to the record of the run in folder `run`, at the point `at`. Returns the row that was
/// written.
///
/// # Errors
/// If another process has locked the run, or a write fails.
pub fn append_note(run: &Path, at: RunPosition, text: &str) -> Result<ChangeRow, RecordError> {
    let folder = RunFolder::open(run)?;
    let _lock = folder.lock()?;
    let row = ChangeRow {
        tokens: at.tokens,
        version: at.version,
        outcome: ChangeOutcome::Noted,
        reason: Some(text.to_owned()),
        ..change_row(None, at.step, &new_set_id(), "keys")
    };
    changes::append_changes(&folder.changes_file(), std::slice::from_ref(&row))?;
    let hash = config::load(&folder.version_file(at.version), &[])
        .map_or_else(|_| String::new(), |c| plan::config_hash(&c));
    let footer = recorder::segment_footer(&folder.id(), &hash);
    // Recover the rows that a killed process left in its write-ahead log first.
    segments::recover_wals(&folder.path().join(ChangeRow::TABLE), &ChangeRow::schema(), &footer)?;
    let mut table = Table::<ChangeRow>::open(folder.path())?;
    table.push(row.clone());
    table.compact(&footer)?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_in_the_record_and_in_its_table() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "").unwrap();
        let at = RunPosition { step: 9, tokens: 90, version: 0 };
        for text in ["it was not worth it", "or was it"] {
            append_note(folder.path(), at, text).unwrap();
        }
        let written = changes::read_changes(&folder.changes_file()).unwrap();
        assert_eq!(written[1].reason.as_deref(), Some("or was it"));
        let rows: usize =
            segments::read_table(&folder.path().join("changes")).unwrap().iter().map(|b| b.num_rows()).sum();
        assert_eq!((written.len(), rows, written[0].step), (2, 2, 9));
        let _held = folder.lock().unwrap();
        assert!(matches!(append_note(folder.path(), at, "no"), Err(RecordError::Locked { .. })));
    }
}
