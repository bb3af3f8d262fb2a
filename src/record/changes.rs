//! Owns: `changes.jsonl`, the record of what was changed during a run, one line a key; and doing it again.
//! Must not know: what a key means, when a change takes hold.
//! Invariant: a line is whole or not there; applying the record to the first config gives the last one.

use super::RecordError;
use super::folder::replace;
use super::rows::{ChangeRow, Outcome};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The changes in `file`, in order; none where it is not there. A last line that is torn is left out.
pub fn read(file: &Path) -> Result<Vec<ChangeRow>, RecordError> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(RecordError::io("read", file))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        tracing::warn!("{}: its last line is torn off, and left out", file.display());
    }
    let parsed = text[..whole].lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line)
            .map_err(|error| RecordError::table(file, &format!("line {}: {error}", index + 1)))
    });
    parsed.collect()
}

/// Appends `changes` and makes them safe against a power cut.
pub fn append(file: &Path, changes: &[ChangeRow]) -> Result<(), RecordError> {
    let mut text = String::new();
    for change in changes {
        text += &line(file, change)?;
    }
    let write = || {
        let mut log = OpenOptions::new().create(true).append(true).open(file)?;
        let before = log.metadata()?.len();
        log.write_all(text.as_bytes()).and_then(|()| log.sync_data()).inspect_err(|_| {
            // Half a line would spoil the one after it.
            let _ = log.set_len(before);
        })
    };
    write().map_err(RecordError::io("write", file))
}

/// Puts `changes` in the place of the file.
pub fn rewrite(file: &Path, changes: &[ChangeRow]) -> Result<(), RecordError> {
    let lines: Result<String, _> = changes.iter().map(|change| line(file, change)).collect();
    replace(file, lines?.as_bytes())
}

fn line(file: &Path, change: &ChangeRow) -> Result<String, RecordError> {
    serde_json::to_string(change).map(|line| line + "\n").map_err(|error| RecordError::table(file, &error))
}

/// Those that took hold, in the order in which they did: of `records` in turn, each change once.
pub fn applied(records: [Vec<ChangeRow>; 2]) -> Vec<ChangeRow> {
    let mut changes: Vec<ChangeRow> = Vec::new();
    for change in records.into_iter().flatten().filter(|change| change.outcome == Outcome::Applied) {
        let known = changes
            .iter()
            .any(|one| (one.step, &one.key, &one.new) == (change.step, &change.key, &change.new));
        if !known {
            changes.push(change);
        }
    }
    changes.sort_by_key(|change| (change.step, change.version));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(step: u64, new: f64, outcome: Outcome) -> ChangeRow {
        ChangeRow {
            step,
            tokens: 0,
            time: chrono::Utc::now(),
            version: step,
            key: Some("optim.lr".into()),
            old: json!(0.0),
            new: json!(new),
            source: "keys".into(),
            outcome,
            reason: None,
        }
    }

    #[test]
    fn lines_survive_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("changes.jsonl");
        assert!(read(&file).unwrap().is_empty());
        let both = [change(3, 0.5, Outcome::Applied), change(4, 0.25, Outcome::Refused)];
        append(&file, &both[..1]).unwrap();
        append(&file, &both[1..]).unwrap();
        assert_eq!(read(&file).unwrap(), both);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 4]).unwrap();
        assert_eq!(read(&file).unwrap(), both[..1]);
        rewrite(&file, &both[1..]).unwrap();
        assert_eq!(read(&file).unwrap(), both[1..]);
    }

    #[test]
    fn a_change_that_stands_in_both_records_is_one() {
        let (a, b) = (change(3, 0.5, Outcome::Applied), change(2, 0.25, Outcome::Applied));
        let refused = change(1, 9.0, Outcome::Refused);
        let all = applied([vec![a.clone(), refused], vec![a.clone(), b.clone()]]);
        assert_eq!(all, [b, a]);
    }
}
