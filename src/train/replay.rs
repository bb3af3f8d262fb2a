//! Owns: recorded changes as edits, and doing them again; and what the program last left in a run's config file.
//! Must not know: when a change takes hold.
//! Invariant: the first config with the record laid over it is the last config.

use crate::config::change::{self, Edit};
use crate::config::{Config, ConfigError};
use crate::record::RecordError;
use crate::record::folder::{RunFolder, replace};
use crate::record::rows::ChangeRow;
use toml::Value;

/// A recorded change as an edit of `config`; none where this program does not know its key.
pub(super) fn as_edit(config: &Config, change: &ChangeRow) -> Option<Edit> {
    let path = change.key.as_deref()?;
    let key = Config::keys().find(|key| key.path() == path)?;
    let new = Value::try_from(&change.new).ok()?;
    Some(Edit { key, old: config.value(key), new })
}

/// `first` with the recorded `changes` laid over it in their order.
pub fn reapplied(first: &Config, changes: &[ChangeRow]) -> Result<Config, ConfigError> {
    changes.chunk_by(|a, b| (a.step, a.version) == (b.step, b.version)).try_fold(
        first.clone(),
        |config, set| {
            let edits: Vec<Edit> = set.iter().filter_map(|change| as_edit(&config, change)).collect();
            change::with(&config, edits.iter().map(|edit| (edit.key, &edit.new)), "the record of changes")
        },
    )
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
