//! Owns: `changes.jsonl`, the record of config changes during a run, one line per key; and which of them to replay.
//! Must not know: what a key means, when a change takes effect.
//! Invariant: a line is complete or absent; applying the record to the first config gives the last one.

use super::RecordError;
use crate::files::atomic::{append_synced, replace_file, sync_folder};
use crate::schema::rows::{ChangeOutcome, ChangeRow};
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::path::Path;

/// Reads the changes in `file`, in order. A missing file has none. Warns of an incomplete last line.
pub fn read_changes(file: &Path) -> Result<Vec<ChangeRow>, RecordError> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(RecordError::io("read", file))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    if complete < text.len() {
        tracing::warn!("{}: dropped an incomplete last line", file.display());
    }
    let parsed = text[..complete].lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line).map_err(|error| RecordError::table(file, &format!("line {}: {error}", index + 1)))
    });
    parsed.collect()
}

/// Appends `changes` to `file` and syncs them, so that they survive a power cut.
pub fn append_changes(file: &Path, changes: &[ChangeRow]) -> Result<(), RecordError> {
    let mut text = String::new();
    for change in changes {
        text += &json_line(file, change)?;
    }
    let write = || {
        let log = OpenOptions::new().create(true).append(true).open(file)?;
        let before = log.metadata()?.len();
        if before == 0 {
            file.parent().into_iter().for_each(sync_folder);
        }
        append_synced(&log, before, text.as_bytes())
    };
    write().map_err(RecordError::io("write", file))
}

/// Replaces the content of `file` with `changes`, atomically.
pub fn rewrite_changes(file: &Path, changes: &[ChangeRow]) -> Result<(), RecordError> {
    let lines: Result<String, _> = changes.iter().map(|change| json_line(file, change)).collect();
    Ok(replace_file(file, lines?.as_bytes())?)
}

fn json_line(file: &Path, change: &ChangeRow) -> Result<String, RecordError> {
    serde_json::to_string(change).map(|line| line + "\n").map_err(|error| RecordError::table(file, &error))
}

/// Returns the applied changes, in order.
pub fn applied_changes(changes: &[ChangeRow]) -> Vec<ChangeRow> {
    changes.iter().filter(|change| change.outcome == ChangeOutcome::Applied).cloned().collect()
}

/// Splits the record of a run that resumes from config `version` into rows to keep and rows to replay. Replayed are
/// the changes applied later, and those of `replay` not yet in the record. Refused changes and notes are always kept.
pub fn split_for_replay(
    record: Vec<ChangeRow>,
    replay: Vec<ChangeRow>,
    version: u64,
) -> (Vec<ChangeRow>, Vec<ChangeRow>) {
    let known: HashSet<(String, Option<String>)> =
        record.iter().map(|change| (change.set.clone(), change.key.clone())).collect();
    let pending = replay.into_iter().filter(|change| !known.contains(&(change.set.clone(), change.key.clone())));
    let keeps = |change: &ChangeRow| change.outcome != ChangeOutcome::Applied || change.version <= version;
    let (kept, mut to_replay): (Vec<_>, Vec<_>) = record.into_iter().partition(keeps);
    to_replay.extend(pending);
    (kept, to_replay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(step: u64, new: f64, outcome: ChangeOutcome) -> ChangeRow {
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
            source: crate::schema::rows::ChangeSource::Keys,
            outcome,
            reason: None,
        }
    }

    #[test]
    fn lines_survive_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("changes.jsonl");
        assert!(read_changes(&file).unwrap().is_empty());
        let both = [change(3, 0.5, ChangeOutcome::Applied), change(4, 0.25, ChangeOutcome::Refused)];
        append_changes(&file, &both[..1]).unwrap();
        append_changes(&file, &both[1..]).unwrap();
        assert_eq!(read_changes(&file).unwrap(), both);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 4]).unwrap();
        assert_eq!(read_changes(&file).unwrap(), both[..1]);
        rewrite_changes(&file, &both[1..]).unwrap();
        assert_eq!(read_changes(&file).unwrap(), both[1..]);
    }

    #[test]
    fn changes_that_the_config_lacks_are_replayed() {
        let row = |version, set: &str, step| ChangeRow {
            version,
            set: set.into(),
            ..change(step, 0.5, ChangeOutcome::Applied)
        };
        let refused = ChangeRow { set: "r".into(), ..change(9, 0.5, ChangeOutcome::Refused) };
        let note = ChangeRow { set: "n".into(), key: None, ..change(11, 0.5, ChangeOutcome::Noted) };
        // A value that returns is a separate change.
        let record = vec![row(1, "a", 3), row(2, "b", 7), refused.clone(), row(3, "c", 7), note];
        let replay = vec![row(1, "b", 7), row(2, "d", 20)];
        let (kept, again) = split_for_replay(record, replay, 1);
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
                ..change(1, number, ChangeOutcome::Applied)
            };
            let again: ChangeRow = serde_json::from_str(&serde_json::to_string(&change).unwrap()).unwrap();
            assert_eq!(again.value.parse::<f64>().unwrap(), number);
        }
    }
}
