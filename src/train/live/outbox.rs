//! Owns: writing down config changes: the record, the config versions, the run's config file.
//! Must not know: who made a change, whether it was allowed.
//! Invariant: writes happen in order, the record first; failed ones are kept; what a person has just saved stays.

use super::decision::{LiveConfig, RUN_CONFIG};
use super::replay::write_known_texts;
use crate::config::change::{self, KeyChange};
use crate::config::watch::Watcher;
use crate::config::{self, ConfigKey, edit};
use crate::files::atomic::{replace_file, replace_file_if};
use crate::record::run_folder::RunFolder;
use crate::record::{RecordError, changes};
use crate::schema::protocol::{Alert, AlertTopic};
use crate::schema::rows::ChangeRow;
use std::mem::{discriminant, take};
use toml::Value;

/// Subject of the alert about a config file that cannot be written.
const WRITE_ALERT: &str = "writing config.toml";

/// A write that a change requires.
#[derive(Debug)]
pub(super) enum PendingWrite {
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

/// What is still to be written for a run's config.
pub(super) struct Outbox {
    folder: RunFolder,
    writes: Vec<PendingWrite>,
    /// The last reported error of writing the config file, if it persists.
    write_error: Option<String>,
    /// Alerts for the next report.
    pub alerts: Vec<Alert>,
}

impl Outbox {
    pub fn new(folder: RunFolder) -> Self {
        Self { folder, writes: Vec::new(), write_error: None, alerts: Vec::new() }
    }

    /// Queues a write. One of the latest state replaces an earlier one of its kind, after the rows about that state.
    pub fn push(&mut self, mut write: PendingWrite) {
        if write.is_of_latest_state()
            && let Some(at) = self.writes.iter().position(|old| discriminant(old) == discriminant(&write))
        {
            let old = self.writes.remove(at);
            if let (PendingWrite::Keys(mut old), PendingWrite::Keys(keys)) = (old, &mut write) {
                old.retain(|key| !keys.contains(key));
                keys.extend(old);
            }
        }
        self.writes.push(write);
    }

    /// Leaves out `changes` of keys: a person has saved them in the run's config file.
    pub fn forget_keys(&mut self, changes: &[KeyChange]) {
        for write in &mut self.writes {
            if let PendingWrite::Keys(keys) = write {
                keys.retain(|key| !changes.iter().any(|change| change.key == *key));
            }
        }
    }

    /// Writes all that is queued, in order. What cannot be written stays queued for the next call.
    pub fn write_all(&mut self, live: &mut LiveConfig, watcher: &Watcher) -> Result<(), RecordError> {
        let mut result = Ok(());
        for write in take(&mut self.writes) {
            let done = result.is_ok()
                && self.write(&write, live, watcher).unwrap_or_else(|error| {
                    result = Err(error);
                    false
                });
            if !done {
                self.writes.push(write);
            }
        }
        result
    }

    /// Does a write. Returns `false` if it has to wait for a person to fix or close a file.
    fn write(&mut self, write: &PendingWrite, live: &mut LiveConfig, watcher: &Watcher) -> Result<bool, RecordError> {
        let folder = &self.folder;
        match write {
            PendingWrite::Record(rows) => changes::append_changes(&folder.changes_file(), rows)?,
            PendingWrite::Version(version, text) => {
                replace_file(&folder.version_file(*version), text.as_bytes())?;
            }
            PendingWrite::Schedule => {
                changes::rewrite_changes(&folder.replay_file(), live.scheduled.make_contiguous())?;
            }
            PendingWrite::Keys(keys) => {
                return match self.write_keys(keys, live, watcher) {
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
            PendingWrite::KnownText if live.files[RUN_CONFIG].refused => return Ok(false),
            PendingWrite::KnownText => write_known_texts(folder, &[&live.files[RUN_CONFIG].text])?,
        }
        Ok(true)
    }

    /// Logs and alerts when the config file cannot be written (`error`) or can be written again.
    fn report_write_error(&mut self, error: Option<String>) {
        if self.write_error != error {
            error.iter().for_each(|error| tracing::warn!("{error}"));
            self.alerts.push(Alert::now(AlertTopic::ConfigFile(WRITE_ALERT.into()), error.clone()));
            self.write_error = error;
        }
    }

    /// Sets `keys` in the run's config file. Returns `false` if it is not TOML, or was saved this moment.
    fn write_keys(
        &mut self,
        keys: &[&'static ConfigKey],
        live: &mut LiveConfig,
        watcher: &Watcher,
    ) -> Result<bool, RecordError> {
        let values: Vec<(&ConfigKey, Value)> = keys.iter().map(|key| (*key, live.config.value(key))).collect();
        let edits: Vec<(&ConfigKey, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
        if edits.is_empty() {
            return Ok(true);
        }
        let own = &mut live.files[RUN_CONFIG];
        let Ok(text) = edit::set(&own.text, &edits) else { return Ok(false) };
        if text != own.text {
            write_known_texts(&self.folder, &[&own.text, &text])?;
            let is_unchanged = || {
                let unchanged = std::fs::read_to_string(&own.path).map_or(true, |now| now == own.text);
                if unchanged {
                    watcher.note_own_write(RUN_CONFIG, &text);
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
        own.accepted_text.clone_from(&text);
        own.text = text;
        // The write has restored a deleted file.
        if own.refused && config::from_text(&own.text, &own.name, &[]).is_ok_and(|now| now == live.config) {
            own.refused = false;
            self.alerts.push(Alert::now(AlertTopic::ConfigFile(own.name.clone()), None));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::watch::Timing;
    use crate::train::live::decision::WatchedFile;
    use std::path::PathBuf;

    /// Returns an outbox for a new run folder, and the state and the watcher of its config file.
    fn outbox(dir: &std::path::Path) -> (Outbox, LiveConfig, Watcher) {
        let folder = RunFolder::create(dir, "x", chrono::Local::now()).unwrap();
        let path = folder.config_file();
        std::fs::write(&path, "").unwrap();
        let own = WatchedFile {
            name: "config.toml".into(),
            path: path.clone(),
            last_valid: Config::default(),
            text: String::new(),
            accepted_text: String::new(),
            refused: false,
        };
        let config = Config::default();
        let live = LiveConfig { run: folder.id(), config, version: 0, files: vec![own], scheduled: [].into() };
        let watcher = Watcher::start(vec![path], vec![String::new()], Timing::DEFAULT);
        (Outbox::new(folder), live, watcher)
    }

    fn key(path: &str) -> &'static ConfigKey {
        Config::keys().find(|key| key.path() == path).unwrap()
    }

    #[test]
    fn keys_are_queued_once_and_after_the_rows_about_them() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outbox, ..) = outbox(dir.path());
        let (lr, clip) = (key("optim.lr"), key("optim.clip"));
        outbox.push(PendingWrite::Keys(vec![lr]));
        outbox.push(PendingWrite::Record(Vec::new()));
        outbox.push(PendingWrite::Keys(vec![clip, lr]));
        assert!(matches!(&outbox.writes[..], [PendingWrite::Record(_), PendingWrite::Keys(keys)] if keys.len() == 2));
        let change = |key| KeyChange { key, old: Value::Boolean(false), new: Value::Boolean(true) };
        outbox.forget_keys(&[change(lr)]);
        assert!(matches!(&outbox.writes[1], PendingWrite::Keys(keys) if keys[..] == [clip]));
    }

    #[test]
    fn a_file_that_a_person_has_just_saved_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outbox, mut live, watcher) = outbox(dir.path());
        live.config.optim.lr = 0.5;
        outbox.push(PendingWrite::Keys(vec![key("optim.lr")]));
        outbox.push(PendingWrite::Version(1, "# one".into()));
        let file: PathBuf = live.files[RUN_CONFIG].path.clone();
        std::fs::write(&file, "# mine\n").unwrap();
        outbox.write_all(&mut live, &watcher).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
        assert!(outbox.folder.version_file(1).exists(), "the others do not wait");
        live.files[RUN_CONFIG].text = "# mine\n".into();
        outbox.write_all(&mut live, &watcher).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n\n[optim]\nlr = 0.5\n");
        assert_eq!((outbox.writes.len(), &live.files[RUN_CONFIG].last_valid), (0, &live.config));
    }

    #[test]
    fn a_failed_write_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (mut outbox, mut live, watcher) = outbox(dir.path());
        let (blocked, later) = (outbox.folder.version_file(1), outbox.folder.version_file(2));
        std::fs::create_dir_all(blocked.join("in the way")).unwrap();
        outbox.push(PendingWrite::Version(1, String::new()));
        outbox.push(PendingWrite::Version(2, String::new()));
        assert!(outbox.write_all(&mut live, &watcher).is_err());
        assert!(outbox.writes.len() == 2 && !later.exists());
        std::fs::remove_dir_all(blocked).unwrap();
        outbox.write_all(&mut live, &watcher).unwrap();
        assert!(outbox.writes.is_empty() && later.exists());
    }
}
