//! Owns: carrying out config changes at step boundaries: gathers edits, has each decided, and queues the writes.
//! Must not know: tensors, what a setting does, screens.
//! Invariant: once all writes have succeeded, the current config, the record and the run's config file agree.

use super::decision::{CompatibilityCheck, ConfigEdit, Decision, LiveConfig, RUN_CONFIG, Verdict, WatchedFile};
use super::outbox::{Outbox, PendingWrite};
use super::replay::ChangeStamp;
use crate::config::change::KeyChange;
use crate::config::watch::{Saved, Timing, Watcher};
use crate::config::{self, Config, ConfigError};
use crate::record::RecordError;
use crate::record::run_folder::RunFolder;
use crate::schema::protocol::{Alert, AlertTopic, ConfigUpdate, SetKeys};
use crate::schema::rows::{ChangeRow, RunPosition};
use std::path::PathBuf;

/// The key that pauses a run. It does not affect training, so replays leave it out.
pub(in crate::train) const PAUSED_KEY: &str = "run.paused";

/// Config changes and alerts of one step boundary.
#[derive(Debug, Default)]
pub(in crate::train) struct BoundaryReport {
    /// The changes, applied or refused, and notes.
    pub changes: Vec<ConfigUpdate>,
    pub alerts: Vec<Alert>,
    /// The edits from commands that were refused, by their position, each with the reason.
    pub refused_edits: Vec<(usize, String)>,
}

/// Holds the current config, and carries out and persists its changes.
pub(in crate::train) struct ConfigController {
    pub live: LiveConfig,
    watcher: Watcher,
    outbox: Outbox,
}

impl ConfigController {
    /// Starts to control `config`. Watches the run's config file, which holds `text`, and the `recipe`.
    pub fn new(
        folder: &RunFolder,
        (config, version): (Config, u64),
        text: String,
        recipe: Option<PathBuf>,
        scheduled: Vec<ChangeRow>,
    ) -> Result<Self, ConfigError> {
        let own = folder.config_file();
        let last_valid = config::from_text(&text, &own.display().to_string(), &[])?;
        let own = WatchedFile {
            name: "config.toml".into(),
            path: own,
            last_valid,
            accepted_text: text.clone(),
            text,
            refused: false,
        };
        let mut files = vec![own];
        files.extend(recipe.and_then(|path| {
            let watched = read_recipe(path.clone());
            watched.inspect_err(|error| tracing::warn!("not watching {}: {error}", path.display())).ok()
        }));
        let (paths, texts) = files.iter().map(|file| (file.path.clone(), file.text.clone())).unzip();
        let watcher = Watcher::start(paths, texts, Timing::DEFAULT);
        Ok(Self {
            live: LiveConfig { run: folder.id(), config, version, files, scheduled: scheduled.into() },
            watcher,
            outbox: Outbox::new(folder.clone()),
        })
    }

    /// Applies the scheduled changes that are due, then saved files and `edits` in order of time.
    pub fn process_boundary(
        &mut self,
        at: RunPosition,
        edits: Vec<SetKeys>,
        check: CompatibilityCheck,
    ) -> BoundaryReport {
        let mut report =
            BoundaryReport { alerts: std::mem::take(&mut self.outbox.alerts), ..BoundaryReport::default() };
        while let Some(set) = self.live.take_scheduled(at.step) {
            self.process_edit(ConfigEdit::Replay(set), at, check, &mut report);
        }
        // An edit from the keys is written to the file, so files saved before it must be read first.
        let saved = if edits.is_empty() { self.watcher.drain_saved() } else { self.watcher.read_now() };
        for (position, edit) in in_order_of_time(saved, edits) {
            let refused = self.process_edit(edit, at, check, &mut report);
            report.refused_edits.extend(position.zip(refused));
        }
        report
    }

    pub fn record_note(&mut self, text: &str, at: RunPosition) -> BoundaryReport {
        let mut report = BoundaryReport::default();
        self.process_edit(ConfigEdit::Note(text.to_owned()), at, &|_| Ok(()), &mut report);
        report
    }

    /// Carries out an edit, and adds it to the report. Returns why it was refused, if it was.
    fn process_edit(
        &mut self,
        edit: ConfigEdit,
        at: RunPosition,
        check: CompatibilityCheck,
        report: &mut BoundaryReport,
    ) -> Option<String> {
        let decision = self.live.decide(&edit, ChangeStamp::new(at), check);
        let scheduled = self.live.scheduled.len();
        self.live.accept(&edit, &decision);
        log_decision(&decision, at.step, self.live.version);
        if !decision.rows.is_empty() {
            self.outbox.push(PendingWrite::Record(decision.rows.clone()));
        }
        if let Verdict::Applied(config) = &decision.verdict
            && let Ok(text) = config.to_toml()
        {
            self.outbox.push(PendingWrite::Version(self.live.version, text));
        }
        if self.live.scheduled.len() < scheduled {
            self.outbox.push(PendingWrite::Schedule);
        }
        match edit {
            ConfigEdit::Saved { file: RUN_CONFIG, .. } => {
                self.outbox.forget_keys(&decision.changes);
                if decision.file_content.is_some() {
                    self.outbox.push(PendingWrite::KnownText);
                }
            }
            _ if decision.changes.is_empty() => {}
            // A change from elsewhere belongs into the run's config file, too.
            _ => {
                let keys = decision.changes.iter().map(|change| change.key).collect();
                self.outbox.push(PendingWrite::Keys(keys));
            }
        }
        report.alerts.extend(decision.alert);
        if !decision.rows.is_empty() {
            let (config, version) = (self.live.config.clone(), self.live.version);
            report.changes.push(ConfigUpdate { config, version, rows: decision.rows });
        }
        match decision.verdict {
            Verdict::Refused(reason) => Some(reason),
            _ => None,
        }
    }

    /// Writes down all changes so far. What cannot be written is tried again by the next call.
    pub fn persist(&mut self) -> Result<(), RecordError> {
        self.outbox.write_all(&mut self.live, &self.watcher)
    }
}

/// Logs a decision about a change from `step` on; `version` is that of the config after it.
fn log_decision(decision: &Decision, step: u64, version: u64) {
    let source = &decision.source;
    for set in decision.set_by_person.iter().filter(|set| set.old == set.new) {
        tracing::info!("`{}` is already {}", set.key.path(), set.new);
    }
    for KeyChange { key, old, new } in &decision.changes {
        tracing::info!(
            "changed `{}` from {old} to {new}, from step {step} on ({source}; config version {version})",
            key.path()
        );
    }
    match &decision.verdict {
        Verdict::Applied(config) => {
            config::ineffective_settings(config).iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        Verdict::Refused(reason) => tracing::warn!("refused ({source}): {reason}"),
        Verdict::Unchanged => {}
    }
    if let Some(Alert { topic: AlertTopic::ConfigFile(name), text: None, .. }) = &decision.alert {
        tracing::info!("{name} is valid again");
    }
}

fn read_recipe(path: PathBuf) -> Result<WatchedFile, ConfigError> {
    let (text, name) = (config::read_file(&path)?, path.display().to_string());
    let last_valid = config::from_text(&text, &name, &[])?;
    Ok(WatchedFile { name, path, last_valid, accepted_text: text.clone(), text, refused: false })
}

/// Merges saved files and edits from commands, so that the later of two changes of a key wins. Edits from commands have
/// their position.
fn in_order_of_time(saved: Vec<Saved>, edits: Vec<SetKeys>) -> impl Iterator<Item = (Option<usize>, ConfigEdit)> {
    let saved = saved.into_iter().map(|Saved { file, text, at }| {
        (at, None, ConfigEdit::Saved { file, text: text.map_err(|error| error.to_string()) })
    });
    let keys = edits.into_iter().enumerate();
    let keys = keys.map(|(position, set)| (set.requested_at, Some(position), ConfigEdit::Keys(set.values)));
    let mut requests: Vec<_> = saved.chain(keys).collect();
    requests.sort_by_key(|(time, ..)| *time);
    requests.into_iter().map(|(_, position, edit)| (position, edit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn saved_files_and_keys_are_merged_by_time() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let saved = |file, seconds| Saved { file, text: Ok(String::new()), at: at(seconds) };
        let set = |seconds| SetKeys { values: Vec::new(), requested_at: at(seconds) };
        let order = in_order_of_time(vec![saved(0, 3), saved(1, 1)], vec![set(2), set(3)]);
        let order: Vec<String> = order
            .map(|(position, edit)| match edit {
                ConfigEdit::Saved { file, .. } => file.to_string(),
                _ => format!("keys {}", position.unwrap()),
            })
            .collect();
        assert_eq!(order, ["1", "keys 0", "0", "keys 1"]);
    }
}
