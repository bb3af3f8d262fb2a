//! Owns: writing down what was changed: the record, the versions, the run's config file.
//! Must not know: who changed it, whether it was allowed.
//! Invariant: the record comes first; what cannot be written is kept and tried again; what a person has just saved is not
//! written over.

use super::replay::write_known;
use super::steer::{OWN, Steering};
use crate::config::{self, change, edit};
use crate::message::{About, Alert};
use crate::record::folder::{replace, replace_if};
use crate::record::{RecordError, changes};
use toml::Value;

/// What an alert about a config file that cannot be written is about.
const WRITING: &str = "writing config.toml";

impl Steering {
    /// Brings record and files up to what is in force. What fails is kept, to be tried again.
    pub fn settle(&mut self) -> Result<(), RecordError> {
        if !self.unrecorded.is_empty() {
            changes::append(&self.folder.changes(), &self.unrecorded)?;
            self.unrecorded.clear();
        }
        while let Some((version, text)) = self.unversioned.first() {
            replace(&self.folder.version(*version), text.as_bytes())?;
            self.unversioned.remove(0);
        }
        if self.forgotten {
            changes::rewrite(&self.folder.replay(), self.scheduled.make_contiguous())?;
            self.forgotten = false;
        }
        match self.write_own() {
            // The run has what was asked for; that the file has not is told, and tried again.
            Err(error) if !error.is_full() => self.tell_unwritable(Some(error.to_string())),
            written => {
                written?;
                self.tell_unwritable(None);
            }
        }
        if self.unknown && !self.files[OWN].refused {
            write_known(&self.folder, &[&self.files[OWN].text])?;
            self.unknown = false;
        }
        Ok(())
    }

    fn tell_unwritable(&mut self, error: Option<String>) {
        if self.unwritable != error {
            error.iter().for_each(|error| tracing::warn!("{error}"));
            self.alerts.push(Alert { about: About::File(WRITING.into()), text: error.clone() });
            self.unwritable = error;
        }
    }

    /// Writes into the run's config file what others have changed.
    fn write_own(&mut self) -> Result<(), RecordError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let values: Vec<(&config::Key, Value)> =
            self.unwritten.values().map(|key| (*key, self.config.value(key))).collect();
        let laid: Vec<(&config::Key, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
        let own = &mut self.files[OWN];
        // A file that is no TOML now gets them when it is good again.
        let Ok(text) = edit::set(&own.text, &laid) else { return Ok(()) };
        if text != own.text {
            write_known(&self.folder, &[&own.text, &text])?;
            // What a person has saved this moment is not written over: it is taken up first.
            let still = || {
                let still = std::fs::read_to_string(&own.path).map_or(true, |now| now == own.text);
                if still {
                    self.watcher.own(OWN, &text);
                }
                still
            };
            if !replace_if(&own.path, text.as_bytes(), still)? {
                return Ok(());
            }
        }
        if let Ok(base) = change::with(&own.base, laid, "config.toml") {
            own.base = base;
        }
        own.text = text;
        self.unwritten.clear();
        // A file that was gone is there again.
        if own.refused && config::from_text(&own.text, &own.name, &[]).is_ok_and(|now| now == self.config) {
            own.refused = false;
            self.alerts.push(Alert { about: About::File(own.name.clone()), text: None });
        }
        Ok(())
    }
}
