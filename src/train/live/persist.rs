//! Owns: persisting config changes: the record, the config versions, the run's config file.
//! Must not know: who made a change, whether it was allowed.
//! Invariant: the record is written first; failed writes are kept and retried; a file that a person has just
//! saved is not overwritten.

use super::controller::{ConfigController, RUN_CONFIG};
use super::replay::write_known_texts;
use crate::config::{self, change, edit};
use crate::files::atomic::{replace_file, replace_file_if};
use crate::record::{RecordError, changes};
use crate::schema::protocol::{Alert, AlertTopic};
use toml::Value;

/// Subject of the alert about a config file that cannot be written.
const WRITE_ALERT: &str = "writing config.toml";

impl ConfigController {
    /// Writes all pending changes to the record and the files. Failed writes stay pending and are retried by
    /// the next call.
    pub fn persist(&mut self) -> Result<(), RecordError> {
        if !self.unrecorded.is_empty() {
            changes::append_changes(&self.folder.changes_file(), &self.unrecorded)?;
            self.unrecorded.clear();
        }
        while let Some((version, text)) = self.unwritten_versions.first() {
            replace_file(&self.folder.version_file(*version), text.as_bytes())?;
            self.unwritten_versions.remove(0);
        }
        if self.schedule_stale {
            changes::rewrite_changes(&self.folder.replay_file(), self.scheduled.make_contiguous())?;
            self.schedule_stale = false;
        }
        match self.write_config_file() {
            // The change is applied; report that the file lacks it, and retry later.
            Err(error) if !error.is_disk_full() => self.report_write_error(Some(error.to_string())),
            result => {
                result?;
                self.report_write_error(None);
            }
        }
        if self.known_text_stale && !self.files[RUN_CONFIG].refused {
            write_known_texts(&self.folder, &[&self.files[RUN_CONFIG].text])?;
            self.known_text_stale = false;
        }
        Ok(())
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

    /// Writes changes from keys, recipe and replay into the run's config file.
    fn write_config_file(&mut self) -> Result<(), RecordError> {
        if self.unwritten_keys.is_empty() {
            return Ok(());
        }
        let values: Vec<(&config::ConfigKey, Value)> =
            self.unwritten_keys.values().map(|key| (*key, self.config.value(key))).collect();
        let edits: Vec<(&config::ConfigKey, &Value)> =
            values.iter().map(|(key, value)| (*key, value)).collect();
        let own = &mut self.files[RUN_CONFIG];
        // A file that is not valid TOML gets the changes when it has been fixed.
        let Ok(text) = edit::set(&own.text, &edits) else { return Ok(()) };
        if text != own.text {
            write_known_texts(&self.folder, &[&own.text, &text])?;
            // Do not overwrite what a person has saved this moment; the next boundary applies it first.
            let is_unchanged = || {
                let unchanged = std::fs::read_to_string(&own.path).map_or(true, |now| now == own.text);
                if unchanged {
                    self.watcher.note_own_write(RUN_CONFIG, &text);
                }
                unchanged
            };
            if !replace_file_if(&own.path, text.as_bytes(), is_unchanged)? {
                return Ok(());
            }
        }
        if let Ok(base) = change::apply_changes(&own.last_valid, edits, "config.toml") {
            own.last_valid = base;
        }
        own.text = text;
        self.unwritten_keys.clear();
        // The write has restored a deleted file.
        if own.refused && config::from_text(&own.text, &own.name, &[]).is_ok_and(|now| now == self.config) {
            own.refused = false;
            self.pending_alerts.push(Alert { topic: AlertTopic::ConfigFile(own.name.clone()), text: None });
        }
        Ok(())
    }
}
