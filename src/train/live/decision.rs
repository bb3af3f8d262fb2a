//! Owns: the decision about one config edit: it is applied, is refused, or changes nothing.
//! Must not know: files, clocks, logs, tensors, what a setting does.
//! Invariant: an edit is applied whole or not at all. A decision follows from its arguments alone.

use super::replay::{ChangeStamp, as_edit, change_row, has_same_key};
use crate::config::change::{self, KeyChange};
use crate::config::{self, Config, ConfigError};
use crate::schema::protocol::{Alert, AlertTopic};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource};
use crate::train::TrainError;
use std::collections::VecDeque;
use std::path::PathBuf;
use toml::Value;

/// Index of the run's own config file among the watched files.
pub(super) const RUN_CONFIG: usize = 0;

/// A config file that is watched for edits.
pub(in crate::train) struct WatchedFile {
    /// Name for logs and alerts.
    pub name: String,
    pub path: PathBuf,
    /// The config in its last valid content.
    pub last_valid: Config,
    /// Its latest content, valid or not.
    pub text: String,
    /// Its content that was last accepted.
    pub accepted_text: String,
    /// Whether its latest content was refused.
    pub refused: bool,
}

/// The current config, and all that a decision about a change of it depends on.
pub(in crate::train) struct LiveConfig {
    /// Id of the run, for advice in errors.
    pub run: String,
    pub config: Config,
    pub version: u64,
    pub files: Vec<WatchedFile>,
    /// Recorded changes to apply again, ascending by step.
    pub scheduled: VecDeque<ChangeRow>,
}

/// A requested edit of the config.
#[derive(Debug)]
pub(in crate::train) enum ConfigEdit {
    /// A watched file was saved, with this text, or cannot be read for that reason.
    Saved { file: usize, text: Result<String, String> },
    /// New values from the dashboard's keys, as pairs of `section.key` and TOML.
    Keys(Vec<(String, String)>),
    /// A set of recorded changes that is due again.
    Replay(Vec<ChangeRow>),
    /// A person's note. It changes nothing.
    Note(String),
}

#[derive(Debug, PartialEq)]
pub(in crate::train) enum Verdict {
    /// The config that is current from now on.
    Applied(Box<Config>),
    /// The reason. The config stays as it was.
    Refused(String),
    /// The edit changes no value.
    Unchanged,
}

/// The decision about an edit, with all that follows from it.
#[derive(Debug)]
pub(in crate::train) struct Decision {
    pub verdict: Verdict,
    pub source: ChangeSource,
    /// Rows for the record of changes, all of one set.
    pub rows: Vec<ChangeRow>,
    /// The applied changes.
    pub changes: Vec<KeyChange>,
    /// What a person has set, even to the present value. Scheduled changes of these keys are cancelled.
    pub set_by_person: Vec<KeyChange>,
    /// The content of a watched file, if it is accepted.
    pub file_content: Option<Config>,
    pub alert: Option<Alert>,
}

/// Checks a config against model and data, beyond the config's own rules.
pub(in crate::train) type CompatibilityCheck<'a> = &'a dyn Fn(&Config) -> Result<(), TrainError>;

/// An edit that is allowed.
#[derive(Default)]
struct Accepted {
    /// The config with the edit; `None` if no value changes.
    config: Option<Config>,
    changes: Vec<KeyChange>,
    set_by_person: Vec<KeyChange>,
    file_content: Option<Config>,
}

/// Why an edit is refused, and the changes that the record lists for it.
struct Refusal {
    changes: Vec<KeyChange>,
    reason: String,
    /// Whether the file is torn: nobody asked for a change, so the record of changes does not list it.
    torn: bool,
}

impl LiveConfig {
    /// Decides about `edit`. `stamp` is written into the rows; those of a replayed change keep its set.
    pub fn decide(&self, edit: &ConfigEdit, mut stamp: ChangeStamp, check: CompatibilityCheck) -> Decision {
        stamp.at.version = self.version;
        let (source, topic, result) = match edit {
            ConfigEdit::Saved { file, text } => {
                // The run's own config file lists every key.
                let is_complete = *file == RUN_CONFIG;
                let file = &self.files[*file];
                let topic = Some(AlertTopic::ConfigFile(file.name.clone()));
                (ChangeSource::File(file.name.clone()), topic, self.check_file(file, is_complete, text, check))
            }
            ConfigEdit::Keys(values) => {
                (ChangeSource::Keys, Some(AlertTopic::DashboardEdit), self.check_keys(values, check))
            }
            ConfigEdit::Replay(rows) => {
                stamp.set.clone_from(&rows[0].set);
                (rows[0].source.replayed(), None, self.check_replay(rows, check))
            }
            ConfigEdit::Note(_) => (ChangeSource::Keys, None, Ok(Accepted::default())),
        };
        let is_torn = matches!(&result, Err(Refusal { torn: true, .. }));
        let (verdict, changes, accepted) = match result {
            Err(Refusal { changes, reason, .. }) => (Verdict::Refused(reason), changes, Accepted::default()),
            Ok(mut accepted) => {
                let changes = std::mem::take(&mut accepted.changes);
                let verdict = accepted.config.take().map_or(Verdict::Unchanged, |config| {
                    stamp.at.version += 1;
                    Verdict::Applied(Box::new(config))
                });
                (verdict, changes, accepted)
            }
        };
        let (outcome, reason) = match (&verdict, edit) {
            (Verdict::Refused(reason), _) => (ChangeOutcome::Refused, Some(reason.clone())),
            (_, ConfigEdit::Note(text)) => (ChangeOutcome::Noted, Some(text.clone())),
            _ => (ChangeOutcome::Applied, None),
        };
        let mut listed: Vec<Option<&KeyChange>> = changes.iter().map(Some).collect();
        if reason.is_some() && listed.is_empty() && !is_torn {
            listed.push(None);
        }
        let row = |key| ChangeRow { outcome, reason: reason.clone(), ..change_row(key, &stamp, &source) };
        let rows = listed.into_iter().map(row).collect();
        let refused = outcome == ChangeOutcome::Refused;
        // An accepted file only ends an alert, if there is one.
        let alert = match edit {
            ConfigEdit::Saved { file, .. } if !refused && !self.files[*file].refused => None,
            _ => topic.map(|topic| Alert::now(topic, reason.clone().filter(|_| refused))),
        };
        let changes = if refused { Vec::new() } else { changes };
        let Accepted { set_by_person, file_content, .. } = accepted;
        Decision { verdict, source, rows, changes, set_by_person, file_content, alert }
    }

    pub fn accept(&mut self, edit: &ConfigEdit, decision: &Decision) {
        if let Verdict::Applied(config) = &decision.verdict {
            self.config = (**config).clone();
            self.version += 1;
        }
        self.scheduled.retain(|change| !has_same_key(change, &decision.set_by_person));
        let ConfigEdit::Saved { file, text } = edit else { return };
        let file = &mut self.files[*file];
        if let Ok(text) = text {
            file.text.clone_from(text);
        }
        file.refused = matches!(decision.verdict, Verdict::Refused(_));
        if !file.refused {
            file.accepted_text.clone_from(&file.text);
        }
        if let Some(content) = &decision.file_content {
            file.last_valid = content.clone();
        }
    }

    /// Removes and returns the next set of scheduled changes, if it is due at `step`.
    pub fn take_scheduled(&mut self, step: u64) -> Option<Vec<ChangeRow>> {
        let first = self.scheduled.pop_front_if(|change| change.step <= step)?;
        let mut set = vec![first];
        while let Some(change) = self.scheduled.pop_front_if(|next| next.set == set[0].set) {
            set.push(change);
        }
        Some(set)
    }

    /// Checks a saved file: the keys that differ from its last valid content.
    fn check_file(
        &self,
        file: &WatchedFile,
        is_complete: bool,
        text: &Result<String, String>,
        check: CompatibilityCheck,
    ) -> Result<Accepted, Refusal> {
        let name = &file.name;
        let text = text.as_ref().map_err(|error| Refusal {
            changes: Vec::new(),
            reason: format!("{name}: cannot be read: {error}"),
            torn: false,
        })?;
        config::refuse_torn(text, &file.accepted_text, name, is_complete).map_err(|error| Refusal {
            changes: Vec::new(),
            reason: error.to_string(),
            torn: true,
        })?;
        let content = config::from_text(text, name, &[]).map_err(|error| Refusal {
            changes: self.change_from_error(&error).into_iter().collect(),
            reason: error.to_string(),
            torn: false,
        })?;
        let set_by_person = change::diff(&file.last_valid, &content);
        let current = |edit: &KeyChange| KeyChange { old: self.config.value(edit.key), ..edit.clone() };
        let changes: Vec<KeyChange> = set_by_person.iter().map(current).filter(|edit| edit.old != edit.new).collect();
        let frozen: Vec<KeyChange> = changes.iter().filter(|edit| edit.is_frozen()).cloned().collect();
        if let Some(first) = frozen.first() {
            let reason = self.frozen_message(name, text, first);
            return Err(Refusal { changes: frozen, reason, torn: false });
        }
        let config = self.merge(&changes, name, check)?;
        Ok(Accepted { config, changes, set_by_person, file_content: Some(content) })
    }

    /// Checks values from the keys.
    fn check_keys(&self, values: &[(String, String)], check: CompatibilityCheck) -> Result<Accepted, Refusal> {
        let parsed: Result<Vec<KeyChange>, String> =
            values.iter().map(|(key, value)| self.parse_edit(key, value)).collect();
        let set_by_person = parsed.map_err(|reason| Refusal { changes: Vec::new(), reason, torn: false })?;
        let changes: Vec<KeyChange> = set_by_person.iter().filter(|edit| edit.old != edit.new).cloned().collect();
        if let Some(frozen) = changes.iter().find(|edit| edit.is_frozen()) {
            let reason = self.frozen_message("", "", frozen);
            return Err(Refusal { changes, reason, torn: false });
        }
        let config = self.merge(&changes, "set", check)?;
        Ok(Accepted { config, changes, set_by_person, file_content: None })
    }

    /// Checks a set of recorded changes that is due again.
    fn check_replay(&self, rows: &[ChangeRow], check: CompatibilityCheck) -> Result<Accepted, Refusal> {
        let edits = rows.iter().filter_map(|row| as_edit(&self.config, row));
        let changes: Vec<KeyChange> = edits.filter(|edit| edit.old != edit.new).collect();
        let config = self.merge(&changes, "the record of changes", check)?;
        Ok(Accepted { config, changes, ..Accepted::default() })
    }

    /// Returns the current config with `changes`; `None` without changes. `source` names their origin in errors.
    fn merge(&self, changes: &[KeyChange], source: &str, check: CompatibilityCheck) -> Result<Option<Config>, Refusal> {
        if changes.is_empty() {
            return Ok(None);
        }
        let refuse = |reason| Refusal { changes: changes.to_vec(), reason, torn: false };
        let values = changes.iter().map(|edit| (edit.key, &edit.new));
        let config = change::apply_changes(&self.config, values, source).map_err(|error| refuse(error.to_string()))?;
        check(&config).map_err(|error| refuse(format!("{source}: {error}")))?;
        Ok(Some(config))
    }

    fn parse_edit(&self, key: &str, value: &str) -> Result<KeyChange, String> {
        change::parse(&self.config, key, value).map_err(|error| {
            let reason = error.to_string();
            if reason.contains(&format!("`{key}`")) { reason } else { format!("{key} = {value}: {reason}") }
        })
    }

    /// Returns the key and value that an error is about, as a change for the record.
    fn change_from_error(&self, error: &ConfigError) -> Option<KeyChange> {
        let (path, value) = error.key_and_value()?;
        let key = Config::find_key(path)?;
        let value = value.unwrap_or_default();
        let new = value.parse().map_or_else(|_| Value::String(value.to_owned()), Value::Float);
        Some(KeyChange { key, old: self.config.value(key), new })
    }

    /// Returns the error text for an edit of a frozen key: its place, its value, and what to do instead.
    fn frozen_message(&self, name: &str, text: &str, edit: &KeyChange) -> String {
        let line = config::line_of_key(text, edit.key).map_or(String::new(), |line| format!("{name} line {line}: "));
        let (key, new, run) = (edit.key.path(), &edit.new, &self.run);
        let instead = match edit.key.section {
            // A model of another shape cannot start from this run's weights.
            "model" => "start a new run with it".to_owned(),
            _ => format!("start a new run from this one's checkpoint: coconut-lab run --from {run} --set {key}={new}"),
        };
        format!(
            "{line}`{key}` = {new} cannot change during a run (now {}); the whole change is refused. Set it back, \
             or {instead}",
            edit.old
        )
    }
}

#[cfg(test)]
mod tests;
