//! Owns: recorded changes as edits, and doing them again; and what the program last left in a run's config file.
//! Must not know: when a change takes hold.
//! Invariant: the first config with the record laid over it is the last config.

use crate::config::Config;
use crate::config::change::{self, Edit};
use crate::record::RecordError;
use crate::record::folder::{RunFolder, replace};
use crate::record::rows::ChangeRow;
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

/// A name for a set of changes, unlike all others.
pub(super) fn new_set() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = chrono::Utc::now().timestamp_micros();
    format!("{now:x}-{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn to_json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Notes what the run's config file holds, or will hold at the next moment: any other content is a person's.
pub(super) fn write_known(folder: &RunFolder, texts: &[&str]) -> Result<(), RecordError> {
    let file = folder.known_config();
    let json = serde_json::to_string(texts).map_err(|error| RecordError::table(&file, &error))?;
    replace(&file, json.as_bytes())
}

/// What was noted last; the newest at the end.
pub(super) fn read_known(folder: &RunFolder) -> Vec<String> {
    let json = std::fs::read_to_string(folder.known_config()).unwrap_or_default();
    serde_json::from_str(&json).unwrap_or_default()
}
