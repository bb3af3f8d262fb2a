//! Owns: recorded changes as edits, and doing them again; and what the program last left in a run's config file.
//! Must not know: when a change takes hold.
//! Invariant: the first config with the record laid over it is the last config.

use crate::config::Config;
use crate::config::change::{self, Edit};
use crate::record::RecordError;
use crate::record::folder::{RunFolder, read_json, replace_json};
use crate::record::rows::{ChangeRow, Outcome};
use std::sync::atomic::{AtomicU64, Ordering};
use toml::{Table, Value};

/// A recorded change as an edit of `config`; none where this program does not know its key.
pub(super) fn as_edit(config: &Config, change: &ChangeRow) -> Option<Edit> {
    let path = change.key.as_deref()?;
    let key = Config::keys().find(|key| key.path() == path)?;
    let value: Option<Value> = toml::from_str::<Table>(&format!("value = {}", change.value))
        .ok()
        .and_then(|mut table| table.remove("value"));
    Some(Edit { key, old: config.value(key), new: value.or_else(|| Value::try_from(&change.new).ok())? })
}

/// `first` with the recorded `changes` laid over it in their order. A set that no longer goes with the rest is passed over,
/// as a run refuses it.
pub fn reapplied(first: &Config, changes: &[ChangeRow]) -> Config {
    changes.chunk_by(|a, b| a.set == b.set).fold(first.clone(), |config, set| {
        let edits: Vec<Edit> = set.iter().filter_map(|change| as_edit(&config, change)).collect();
        let laid = edits.iter().map(|edit| (edit.key, &edit.new));
        change::with(&config, laid, "the record of changes").unwrap_or(config)
    })
}

/// Whether `change` is of a key that one of `edits` changes.
pub(super) fn is_of(change: &ChangeRow, edits: &[Edit]) -> bool {
    edits.iter().any(|edit| change.key.as_deref() == Some(&edit.key.path()))
}

/// `edit`, or an attempt that was about no single key, as a row of the record: an applied change of `step`, made by `source`.
pub(super) fn as_row(edit: Option<&Edit>, step: u64, set: &str, source: &str) -> ChangeRow {
    let json = |value: &Value| serde_json::to_value(value).unwrap_or_default();
    ChangeRow {
        step,
        tokens: 0,
        time: chrono::Utc::now(),
        version: 0,
        set: set.to_owned(),
        key: edit.map(|edit| edit.key.path()),
        old: edit.map_or(serde_json::Value::Null, |edit| json(&edit.old)),
        new: edit.map_or(serde_json::Value::Null, |edit| json(&edit.new)),
        value: edit.map_or_else(String::new, |edit| edit.new.to_string()),
        source: source.to_owned(),
        outcome: Outcome::Applied,
        reason: None,
    }
}

/// A name for a set of changes, unlike all others.
pub(super) fn new_set() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = chrono::Utc::now().timestamp_micros();
    format!("{now:x}-{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Notes what the run's config file holds, or will hold at the next moment: any other content is a person's.
pub(super) fn write_known(folder: &RunFolder, texts: &[&str]) -> Result<(), RecordError> {
    replace_json(&folder.known_config(), &texts)
}

/// What was noted last; the newest at the end.
pub(super) fn read_known(folder: &RunFolder) -> Vec<String> {
    read_json(&folder.known_config()).unwrap_or_default()
}
