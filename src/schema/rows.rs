//! Owns: the rows of the tables `events`, `changes` and `system`, as plain data.
//! Must not know: columns, files.
//! Invariant: the words of an enum are those of the files; they never change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    Start,
    Resume,
    /// A run ends; the name is the outcome.
    End,
    /// A pause begins (name [`PAUSE_STARTED`]) or ends.
    Pause,
    /// A validation measured the metric in the name.
    Validation,
    /// The model continued the prompt in the name.
    Sample,
    /// A checkpoint was written; the name is its folder.
    Checkpoint,
    /// A person asked the model in the playground; the name is the policy, the text the prompt.
    Asked,
    /// The answer to the last prompt has ended; the name is the policy, the text the answer as JSON.
    Answered,
    /// Something needs attention, or no longer does; the name is the topic.
    Alert,
}

pub const PAUSE_STARTED: &str = "paused";
/// Decoding method of all validation samples.
pub const GREEDY: &str = "greedy";

/// A row of the events table: an event, or a value that is measured occasionally.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Updates done when it happened.
    pub step: u64,
    /// Input tokens processed before it.
    pub tokens: u64,
    pub time: DateTime<Utc>,
    pub kind: EventKind,
    /// Name within the kind: the metric, or a word.
    pub name: String,
    /// Value of the metric, in its unit.
    pub value: Option<f64>,
    pub text: Option<String>,
}

/// A point in a run.
#[derive(Clone, Copy, Debug)]
pub struct RunPosition {
    /// Number of updates done, or the step that a change applies from.
    pub step: u64,
    /// Number of input tokens seen.
    pub tokens: u64,
    /// Version of the current config.
    pub version: u64,
}

/// Source of a config change. The files hold it as one string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum ChangeSource {
    /// The dashboard's keys: "keys".
    Keys,
    /// A saved config file, by its name.
    File(String),
    /// The run's config file, edited while no trainer was running.
    Offline,
    /// A recorded change of that source, applied again: "again: …".
    Replay(Box<ChangeSource>),
}

impl ChangeSource {
    const KEYS: &str = "keys";
    const OFFLINE: &str = "config.toml, while the run was not running";
    const REPLAY_PREFIX: &str = "again: ";

    /// Returns the source of the same change when it is applied again. It does not pile up.
    pub fn replayed(&self) -> Self {
        match self {
            Self::Replay(_) => self.clone(),
            first => Self::Replay(Box::new(first.clone())),
        }
    }
}

impl fmt::Display for ChangeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => f.write_str(Self::KEYS),
            Self::File(name) => f.write_str(name),
            Self::Offline => f.write_str(Self::OFFLINE),
            Self::Replay(first) => write!(f, "{}{first}", Self::REPLAY_PREFIX),
        }
    }
}

impl From<ChangeSource> for String {
    fn from(source: ChangeSource) -> Self {
        source.to_string()
    }
}

impl From<String> for ChangeSource {
    fn from(text: String) -> Self {
        match text.as_str() {
            Self::KEYS => Self::Keys,
            Self::OFFLINE => Self::Offline,
            other => match other.strip_prefix(Self::REPLAY_PREFIX) {
                Some(first) => Self::Replay(Box::new(first.to_owned().into())),
                None => Self::File(text),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ChangeOutcome {
    /// The change applies from its step on.
    Applied,
    /// The change was refused; the config is as before.
    Refused,
    /// The row is a person's note; nothing was changed.
    Noted,
}

/// A line of `changes.jsonl`: a config key that was changed or refused, or a note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// First step that the change applies to.
    pub step: u64,
    pub tokens: u64,
    pub time: DateTime<Utc>,
    /// Version of the config after the change.
    pub version: u64,
    /// Id shared by keys that were changed together. It stays the same when the change is replayed.
    pub set: String,
    /// Full name of the key, `section.key`. `None` for notes and for a file that could not be read.
    pub key: Option<String>,
    pub old: Value,
    /// New or refused value.
    pub new: Value,
    /// New or refused value as TOML, with all digits. This is what a replay applies.
    #[serde(default)]
    pub value: String,
    pub source: ChangeSource,
    pub outcome: ChangeOutcome,
    /// Reason of a refusal, or the text of a note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A row of the system table: CPU, memory, disk and GPU use.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemRow {
    /// Updates done by then.
    pub step: u64,
    pub time: DateTime<Utc>,
    /// Average CPU use of this process since the last row, in cores.
    pub process_cpu: f64,
    /// Average CPU use of the whole machine since the last row, in cores.
    pub machine_cpu: f64,
    pub cores: u64,
    pub process_bytes: u64,
    pub memory_used_bytes: u64,
    pub memory_bytes: u64,
    /// Free space on the disk that holds the run folder, if known.
    pub disk_free_bytes: Option<u64>,
    /// Use of the run's GPU, if it reports it.
    pub gpu: Option<GpuRow>,
}

/// Use of a GPU, part of a row of the system table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuRow {
    /// Share of recent time in which the GPU was busy.
    pub load: f64,
    pub memory_used_bytes: u64,
    pub memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_stored_as_its_string() {
        let file = ChangeSource::File("/a/recipe.toml".into());
        for (source, text) in [
            (ChangeSource::Keys, "keys"),
            (ChangeSource::Keys.replayed(), "again: keys"),
            (file.replayed().replayed(), "again: /a/recipe.toml"),
            (ChangeSource::Offline.replayed(), "again: config.toml, while the run was not running"),
            (file, "/a/recipe.toml"),
        ] {
            assert_eq!(serde_json::to_value(&source).unwrap(), text);
            assert_eq!(serde_json::from_value::<ChangeSource>(text.into()).unwrap(), source);
        }
    }
}
