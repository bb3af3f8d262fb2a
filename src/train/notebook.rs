//! Owns: writing a note into the record of a run that no trainer has.
//! Must not know: who writes it, screens.
//! Invariant: a run that another process has is not touched; the record and its table get the same line.

use super::begin;
use super::replay::{as_row, new_set};
use crate::config;
use crate::record::folder::RunFolder;
use crate::record::rows::{ChangeRow, Outcome, Row};
use crate::record::table::Table;
use crate::record::{RecordError, changes, parts, recorder};
use std::path::Path;

/// Where a run has come to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Updates done.
    pub step: u64,
    /// Input tokens seen.
    pub tokens: u64,
    /// Version of the config in force.
    pub version: u64,
}

/// Writes `text` into the record of the run in `run`, which has come to `at`; the line that was written.
///
/// # Errors
/// Where another process has the run, and where the disk cannot take it.
pub fn note(run: &Path, at: Place, text: &str) -> Result<ChangeRow, RecordError> {
    let folder = RunFolder::open(run)?;
    let _lock = folder.lock()?;
    let row = ChangeRow {
        tokens: at.tokens,
        version: at.version,
        outcome: Outcome::Noted,
        reason: Some(text.to_owned()),
        ..as_row(None, at.step, &new_set(), "keys")
    };
    changes::append(&folder.changes(), std::slice::from_ref(&row))?;
    let hash =
        config::load(&folder.version(at.version), &[]).map_or_else(|_| String::new(), |c| begin::hash(&c));
    let footer = recorder::footer(&folder.id(), &hash);
    // What a process that was killed had in its log comes first.
    parts::recover(&folder.path().join(ChangeRow::TABLE), &ChangeRow::schema(), &footer)?;
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
        std::fs::write(folder.config(), "").unwrap();
        let at = Place { step: 9, tokens: 90, version: 0 };
        for text in ["it was not worth it", "or was it"] {
            note(folder.path(), at, text).unwrap();
        }
        let written = changes::read(&folder.changes()).unwrap();
        assert_eq!(written[1].reason.as_deref(), Some("or was it"));
        let rows: usize =
            parts::read_all(&folder.path().join("changes")).unwrap().iter().map(|b| b.num_rows()).sum();
        assert_eq!((written.len(), rows, written[0].step), (2, 2, 9));
        let _held = folder.lock().unwrap();
        assert!(matches!(note(folder.path(), at, "no"), Err(RecordError::Locked { .. })));
    }
}
