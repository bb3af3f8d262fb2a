//! Owns: writing down what the config's changes require: the record, the config versions, the run's config
//! file.
//! Must not know: who made a change, whether it was allowed.
//! Invariant: writes happen in order, the record first; a failed write is kept and retried; a file that a
//! person has just saved is not overwritten.

use super::controller::{ConfigController, RUN_CONFIG};
use super::replay::write_known_texts;
use crate::config::{self, ConfigKey, change, edit};
use crate::record::run_folder::{replace_file, replace_file_if};
use crate::record::{RecordError, changes};
use crate::schema::protocol::{Alert, AlertTopic};
use crate::schema::rows::ChangeRow;
use std::mem::{discriminant, take};
use toml::Value;

/// Subject of the alert about a config file that cannot be written.
const WRITE_ALERT: &str = "writing config.toml";

/// A write that a change requires.
#[derive(Debug)]
pub(in crate::train) enum PendingWrite {
    /// Append these rows to the record of changes.
    Record(Vec<ChangeRow>),
    /// Store the config of a version, as TOML.
    Version(u64, String),
    /// Store the changes that are still scheduled.
    Schedule,
    /// Set these keys to their current values in the run's config file.
    Keys(Vec<&'static ConfigKey>),
    /// Store the text of the run's config file as known.
    KnownText,
}

impl PendingWrite {
    /// Whether it writes the state of that time, so that one such write is enough.
    fn is_of_latest_state(&self) -> bool {
        !matches!(self, Self::Record(_) | Self::Version(..))
    }
}

impl ConfigController {
    /// Queues a write. One of the latest state replaces an earlier one of its kind, behind the rows that
    /// explain that state.
    pub(super) fn queue_write(&mut self, mut write: PendingWrite) {
        if write.is_of_latest_state()
            && let Some(at) = self.outbox.iter().position(|old| discriminant(old) == discriminant(&write))
        {
            let old = self.outbox.remove(at);
            if let (PendingWrite::Keys(mut old), PendingWrite::Keys(keys)) = (old, &mut write) {
                old.retain(|key| !keys.contains(key));
                keys.extend(old);
            }
        }
        self.outbox.push(write);
    }

    /// Writes all that is queued, in order. What cannot be written stays queued for the next call.
    pub fn persist(&mut self) -> Result<(), RecordError> {
        let mut result = Ok(());
        for write in take(&mut self.outbox) {
            let done = result.is_ok()
                && self.write(&write).unwrap_or_else(|error| {
                    result = Err(error);
                    false
                });
            if !done {
                self.outbox.push(write);
            }
        }
        result
    }

    /// Does a write. Returns `false` if it has to wait for a person to fix or close a file.
    fn write(&mut self, write: &PendingWrite) -> Result<bool, RecordError> {
        let folder = &self.folder;
        match write {
            PendingWrite::Record(rows) => changes::append_changes(&folder.changes_file(), rows)?,
            PendingWrite::Version(version, text) => {
                replace_file(&folder.version_file(*version), text.as_bytes())?;
            }
            PendingWrite::Schedule => {
                changes::rewrite_changes(&folder.replay_file(), self.live.scheduled.make_contiguous())?;
            }
            PendingWrite::Keys(keys) => {
                return match self.write_keys(keys) {
                    // The change is applied; report that the file lacks it, and retry later.
                    Err(error) if !error.is_disk_full() => {
                        self.report_write_error(Some(error.to_string()));
                        Ok(false)
                    }
                    result => {
                        let done = result?;
                        self.report_write_error(None);
                        Ok(done)
                    }
                };
            }
            PendingWrite::KnownText if self.live.files[RUN_CONFIG].refused => return Ok(false),
            PendingWrite::KnownText => write_known_texts(folder, &[&self.live.files[RUN_CONFIG].text])?,
        }
        Ok(true)
    }

    /// Logs and alerts when the config file cannot be written (`error`) or can be written again.
    fn report_write_error(&mut self, error: Option<String>) {
        if self.write_error != error {
            error.iter().for_each(|error| tracing::warn!("{error}"));
            self.pending_alerts
                .push(Alert { topic: AlertTopic::ConfigFile(WRITE_ALERT.into()), text: error.clone() });
            self.write_error = error;
        }
    }

    /// Writes the current values of `keys` into the run's config file. Returns `false` if the file is not
    /// valid TOML, or was saved this moment: the next boundary applies it first.
    fn write_keys(&mut self, keys: &[&'static ConfigKey]) -> Result<bool, RecordError> {
        let values: Vec<(&ConfigKey, Value)> =
            keys.iter().map(|key| (*key, self.live.config.value(key))).collect();
        let edits: Vec<(&ConfigKey, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
        if edits.is_empty() {
            return Ok(true);
        }
        let own = &mut self.live.files[RUN_CONFIG];
        let Ok(text) = edit::set(&own.text, &edits) else { return Ok(false) };
        if text != own.text {
            write_known_texts(&self.folder, &[&own.text, &text])?;
            let is_unchanged = || {
                let unchanged = std::fs::read_to_string(&own.path).map_or(true, |now| now == own.text);
                if unchanged {
                    self.watcher.own(RUN_CONFIG, &text);
                }
                unchanged
            };
            if !replace_file_if(&own.path, text.as_bytes(), is_unchanged)? {
                return Ok(false);
            }
        }
        if let Ok(base) = change::apply_changes(&own.last_valid, edits, "config.toml") {
            own.last_valid = base;
        }
        own.text = text;
        // The write has restored a deleted file.
        if own.refused
            && config::from_text(&own.text, &own.name, &[]).is_ok_and(|now| now == self.live.config)
        {
            own.refused = false;
            self.pending_alerts.push(Alert { topic: AlertTopic::ConfigFile(own.name.clone()), text: None });
        }
        Ok(true)
    }
}
