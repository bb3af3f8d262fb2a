//! Owns: recorded changes as edits and back, replaying them, and the known texts of a run's config file.
//! Must not know: when a change is applied.
//! Invariant: replaying the record on the first config gives the last config.

use crate::config::Config;
use crate::config::change::{self, KeyChange};
use crate::files::atomic::replace_json;
use crate::record::RecordError;
use crate::record::run_folder::{RunFolder, read_json};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource, RunPosition};
use chrono::{DateTime, Utc};
use std::sync::atomic::{AtomicU64, Ordering};
use toml::{Table, Value};

/// Converts a recorded change to an edit of `config`; `None` if its key is unknown.
pub(in crate::train) fn as_edit(config: &Config, change: &ChangeRow) -> Option<KeyChange> {
    let path = change.key.as_deref()?;
    let key = Config::find_key(path)?;
    let value: Option<Value> =
        toml::from_str::<Table>(&format!("value = {}", change.value)).ok().and_then(|mut table| table.remove("value"));
    Some(KeyChange { key, old: config.value(key), new: value.or_else(|| Value::try_from(&change.new).ok())? })
}

/// Returns the config `first` after the recorded `changes`. A set that makes it invalid is skipped, as in a run.
pub fn replay_changes(first: &Config, changes: &[ChangeRow]) -> Config {
    changes.chunk_by(|a, b| a.set == b.set).fold(first.clone(), |config, set| {
        let edits: Vec<KeyChange> = set.iter().filter_map(|change| as_edit(&config, change)).collect();
        let values = edits.iter().map(|edit| (edit.key, &edit.new));
        change::apply_changes(&config, values, "the record of changes").unwrap_or(config)
    })
}

pub(in crate::train) fn has_same_key(change: &ChangeRow, edits: &[KeyChange]) -> bool {
    edits.iter().any(|edit| change.key.as_deref() == Some(&edit.key.path()))
}

/// What the rows of one set of changes have in common.
#[derive(Clone, Debug)]
pub(in crate::train) struct ChangeStamp {
    pub at: RunPosition,
    pub time: DateTime<Utc>,
    pub set: String,
}

impl ChangeStamp {
    /// Stamps a new set of changes with the present time and a unique id.
    pub fn new(at: RunPosition) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let time = Utc::now();
        let (now, count) = (time.timestamp_micros(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { at, time, set: format!("{now:x}-{:x}-{count:x}", std::process::id()) }
    }
}

/// Returns a row for the record: an applied change. Without `edit` the row is about no single key.
pub(in crate::train) fn change_row(edit: Option<&KeyChange>, stamp: &ChangeStamp, source: &ChangeSource) -> ChangeRow {
    let json = |value: &Value| serde_json::to_value(value).unwrap_or_default();
    ChangeRow {
        step: stamp.at.step,
        tokens: stamp.at.tokens,
        time: stamp.time,
        version: stamp.at.version,
        set: stamp.set.clone(),
        key: edit.map(|edit| edit.key.path()),
        old: edit.map_or(serde_json::Value::Null, |edit| json(&edit.old)),
        new: edit.map_or(serde_json::Value::Null, |edit| json(&edit.new)),
        value: edit.map_or_else(String::new, |edit| edit.new.to_string()),
        source: source.clone(),
        outcome: ChangeOutcome::Applied,
        reason: None,
    }
}

/// Stores the texts that the program writes to the run's config file. Any other text in it is a person's edit.
pub(in crate::train) fn write_known_texts(folder: &RunFolder, texts: &[&str]) -> Result<(), RecordError> {
    Ok(replace_json(&folder.known_config_file(), &texts)?)
}

pub(in crate::train) fn read_known_texts(folder: &RunFolder) -> Vec<String> {
    read_json(&folder.known_config_file()).ok().flatten().unwrap_or_default()
}
