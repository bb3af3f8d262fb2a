//! Owns: `changes.jsonl`, the record of what was changed during a run, one line a key; and doing it again.
//! Must not know: what a key means, when a change takes hold.
//! Invariant: a line is whole or not there; applying the record to the first config gives the last one.

use super::RecordError;
use super::folder::replace;
use super::parts::sync_folder;
use super::rows::{ChangeRow, Outcome};
use std::collections::HashSet;
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
        if before == 0 {
            file.parent().into_iter().for_each(sync_folder);
        }
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

/// Those that took hold, in their order.
pub fn applied(changes: &[ChangeRow]) -> Vec<ChangeRow> {
    changes.iter().filter(|change| change.outcome == Outcome::Applied).cloned().collect()
}

/// The record of a run that goes on from a config of `version`: what stays in it, and what is to be done again: what took
/// hold later, and what of `replay` had still to be done. What changed nothing stays: it was refused, or is a note.
pub fn split(
    record: Vec<ChangeRow>,
    replay: Vec<ChangeRow>,
    version: u64,
) -> (Vec<ChangeRow>, Vec<ChangeRow>) {
    let known: HashSet<(String, Option<String>)> =
        record.iter().map(|change| (change.set.clone(), change.key.clone())).collect();
    let left = replay.into_iter().filter(|change| !known.contains(&(change.set.clone(), change.key.clone())));
    let stays = |change: &ChangeRow| change.outcome != Outcome::Applied || change.version <= version;
    let (kept, mut again): (Vec<_>, Vec<_>) = record.into_iter().partition(stays);
    again.extend(left);
    (kept, again)
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
            set: String::new(),
            value: new.to_string(),
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
    fn what_is_done_again_is_what_the_config_has_not_seen() {
        let row = |version, set: &str, step| ChangeRow {
            version,
            set: set.into(),
            ..change(step, 0.5, Outcome::Applied)
        };
        let refused = ChangeRow { set: "r".into(), ..change(9, 0.5, Outcome::Refused) };
        let note = ChangeRow { set: "n".into(), key: None, ..change(11, 0.5, Outcome::Noted) };
        // A value may come back: it is another change.
        let record = vec![row(1, "a", 3), row(2, "b", 7), refused.clone(), row(3, "c", 7), note];
        let replay = vec![row(1, "b", 7), row(2, "d", 20)];
        let (kept, again) = split(record, replay, 1);
        let sets = |rows: &[ChangeRow]| rows.iter().map(|row| row.set.clone()).collect::<Vec<_>>();
        assert_eq!(
            (sets(&kept), sets(&again)),
            (vec!["a".into(), "r".into(), "n".into()], vec!["b".into(), "c".into(), "d".into()])
        );
    }

    #[test]
    fn numbers_come_back_to_the_last_digit() {
        let mut seed = 7_u64;
        for _ in 0..500 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (seed >> 11) as f64 / (1_u64 << 53) as f64;
            let change = ChangeRow {
                value: toml::Value::Float(number).to_string(),
                ..change(1, number, Outcome::Applied)
            };
            let again: ChangeRow = serde_json::from_str(&serde_json::to_string(&change).unwrap()).unwrap();
            assert_eq!(again.value.parse::<f64>().unwrap(), number);
        }
    }
}
