//! Owns: the current config and its changes: by config files, by keys, and by recorded changes that are
//! replayed.
//! Must not know: tensors, what a setting does, screens.
//! Invariant: a change is applied whole or not at all. The current config, the record of changes and the
//! run's config file agree as soon as all writes have succeeded.

use super::replay::{as_edit, change_row, has_same_key, new_set_id};
use crate::config::change::{self, KeyChange};
use crate::config::watch::{Saved, Timing, Watcher};
use crate::config::{self, Config, ConfigError};
use crate::record::run_folder::RunFolder;
use crate::schema::protocol::{Alert, AlertTopic, ConfigUpdate, SetKeys};
use crate::schema::rows::{ChangeOutcome, ChangeRow};
use crate::train::TrainError;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::SystemTime;
use toml::Value;

/// Index of the run's own config file among the watched files.
pub(in crate::train) const RUN_CONFIG: usize = 0;
/// The key that pauses a run. It does not affect training, so replays leave it out.
pub(in crate::train) const PAUSED_KEY: &str = "run.paused";

/// A config file that is watched for edits.
pub(in crate::train) struct WatchedFile {
    /// Name for logs and alerts.
    pub name: String,
    pub path: PathBuf,
    /// The config in its last valid content.
    pub last_valid: Config,
    /// Its latest content, valid or not.
    pub text: String,
    /// Whether its latest content was refused.
    pub refused: bool,
}

/// Config changes and alerts of one step boundary.
#[derive(Debug, Default)]
pub(in crate::train) struct BoundaryReport {
    /// The changes, applied or refused, and notes.
    pub changes: Vec<ConfigUpdate>,
    pub alerts: Vec<Alert>,
}

/// A boundary between two steps.
#[derive(Clone, Copy)]
pub(in crate::train) struct Boundary {
    /// Number of the next step.
    pub step: u64,
    /// Number of input tokens seen before it.
    pub tokens: u64,
}

/// Checks a config against model and data, beyond the config's own rules.
pub(in crate::train) type CompatibilityCheck<'a> = &'a dyn Fn(&Config) -> Result<(), TrainError>;

/// Holds the current config, applies all changes to it, and persists them.
pub(in crate::train) struct ConfigController {
    pub config: Config,
    pub version: u64,
    pub folder: RunFolder,
    pub files: Vec<WatchedFile>,
    pub watcher: Watcher,
    /// Recorded changes to apply again, ascending by step.
    pub scheduled: VecDeque<ChangeRow>,
    /// Rows not yet appended to the record of changes.
    pub unrecorded: Vec<ChangeRow>,
    /// Config versions not yet written, each with its TOML text.
    pub unwritten_versions: Vec<(u64, String)>,
    /// Keys whose values are not yet in the run's config file, by path.
    pub unwritten_keys: BTreeMap<String, &'static config::ConfigKey>,
    /// Whether the known text of the run's config file has to be written again.
    pub known_text_stale: bool,
    /// Whether the file of scheduled changes has to be written again.
    pub schedule_stale: bool,
    /// Id of the set of changes that is being applied.
    change_set: String,
    /// The last reported error of writing the config file, if it persists.
    pub write_error: Option<String>,
    /// Alerts for the report of the next boundary.
    pub pending_alerts: Vec<Alert>,
}

impl ConfigController {
    /// Creates a controller for the current `config` of `version`, and starts to watch the config file in
    /// `folder`, which holds `text`. `recipe` is watched, too, if it can be read.
    pub fn new(
        folder: &RunFolder,
        (config, version): (Config, u64),
        text: String,
        recipe: Option<PathBuf>,
        scheduled: Vec<ChangeRow>,
    ) -> Result<Self, ConfigError> {
        let own = folder.config_file();
        let base = config::from_text(&text, &own.display().to_string(), &[])?;
        let mut files = vec![WatchedFile {
            name: "config.toml".into(),
            path: own,
            last_valid: base,
            text,
            refused: false,
        }];
        files.extend(recipe.and_then(|path| {
            let watched = read_recipe(path.clone());
            watched.inspect_err(|error| tracing::warn!("not watching {}: {error}", path.display())).ok()
        }));
        let (paths, texts) = files.iter().map(|file| (file.path.clone(), file.text.clone())).unzip();
        let watcher = Watcher::start(paths, texts, Timing::DEFAULT);
        Ok(Self {
            config,
            version,
            folder: folder.clone(),
            files,
            watcher,
            scheduled: scheduled.into(),
            unrecorded: Vec::new(),
            unwritten_versions: Vec::new(),
            unwritten_keys: BTreeMap::new(),
            known_text_stale: false,
            schedule_stale: false,
            change_set: String::new(),
            write_error: None,
            pending_alerts: Vec::new(),
        })
    }

    /// Applies all changes since the last boundary: first the scheduled ones, then saved files and `edits` in
    /// order of time.
    pub fn process_boundary(
        &mut self,
        at: Boundary,
        edits: Vec<SetKeys>,
        check: CompatibilityCheck,
    ) -> BoundaryReport {
        let mut report =
            BoundaryReport { alerts: std::mem::take(&mut self.pending_alerts), ..BoundaryReport::default() };
        self.apply_scheduled(at, check, &mut report);
        // An edit from the keys is written to the file, so files saved before it must be read first.
        let saved = if edits.is_empty() { self.watcher.drain_saved() } else { self.watcher.read_now() };
        let saved = saved.into_iter().map(|saved| (saved.at, RequestedChange::File(saved)));
        let mut requests: Vec<(SystemTime, RequestedChange)> =
            saved.chain(edits.into_iter().map(|set| (set.requested_at, RequestedChange::Key(set)))).collect();
        requests.sort_by_key(|(time, _)| *time);
        for (_, request) in requests {
            self.change_set = new_set_id();
            match request {
                RequestedChange::File(saved) => self.apply_file(saved, at, check, &mut report),
                RequestedChange::Key(set) => self.apply_keys(&set, at, check, &mut report),
            }
        }
        report
    }

    /// Applies the scheduled changes that are due, set by set.
    fn apply_scheduled(&mut self, at: Boundary, check: CompatibilityCheck, report: &mut BoundaryReport) {
        while let Some(first) = self.scheduled.front().filter(|change| change.step <= at.step).cloned() {
            let mut edits = Vec::new();
            while let Some(change) = self.scheduled.pop_front_if(|next| next.set == first.set) {
                edits.extend(as_edit(&self.config, &change));
            }
            self.change_set.clone_from(&first.set);
            edits.retain(|edit: &KeyChange| edit.old != edit.new);
            if edits.is_empty() {
                continue;
            }
            let source = match first.source.strip_prefix(REPLAY_PREFIX) {
                Some(_) => first.source.clone(),
                None => format!("{REPLAY_PREFIX}{}", first.source),
            };
            match self.merge(&edits, "the record of changes", check) {
                Ok(config) => {
                    self.apply_edits(config, &edits, &source, at, report);
                    self.unwritten_keys.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
                }
                Err(reason) => self.refuse(&edits, &source, reason, at, report),
            }
        }
    }

    /// Applies a saved config file: the keys that differ from its last valid content.
    fn apply_file(
        &mut self,
        saved: Saved,
        at: Boundary,
        check: CompatibilityCheck,
        report: &mut BoundaryReport,
    ) {
        let index = saved.file;
        let (name, base) = (self.files[index].name.clone(), self.files[index].last_valid.clone());
        let text = match saved.text {
            Ok(text) => text,
            Err(error) => {
                return self.refuse_file(index, &[], format!("{name}: cannot be read: {error}"), at, report);
            }
        };
        self.files[index].text.clone_from(&text);
        let new = match config::from_text(&text, &name, &[]) {
            Ok(new) => new,
            Err(error) => {
                let wrong = self.edits_from_error(&error);
                return self.refuse_file(index, &wrong, error.to_string(), at, report);
            }
        };
        let touched = change::diff(&base, &new);
        let mut edits = touched.clone();
        edits.iter_mut().for_each(|edit| edit.old = self.config.value(edit.key));
        edits.retain(|edit| edit.old != edit.new);
        if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
            let reason = self.frozen_message(&name, &text, frozen);
            let frozen: Vec<KeyChange> = edits.iter().filter(|edit| edit.is_frozen()).cloned().collect();
            return self.refuse_file(index, &frozen, reason, at, report);
        }
        match self.merge(&edits, &name, check) {
            Err(reason) => return self.refuse_file(index, &edits, reason, at, report),
            Ok(config) if !edits.is_empty() => {
                self.apply_edits(config, &edits, &name, at, report);
                if index == RUN_CONFIG {
                    self.unwritten_keys.retain(|path, _| !edits.iter().any(|edit| edit.key.path() == *path));
                } else {
                    self.unwritten_keys.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
                }
            }
            Ok(_) => {}
        }
        self.drop_scheduled(&touched);
        self.files[index].last_valid = new;
        self.known_text_stale |= index == RUN_CONFIG;
        if std::mem::take(&mut self.files[index].refused) {
            tracing::info!("{name} is valid again");
            report.alerts.push(Alert { topic: AlertTopic::ConfigFile(name), text: None });
        }
    }

    /// Applies an edit from the keys, all its values or none.
    fn apply_keys(
        &mut self,
        set: &SetKeys,
        at: Boundary,
        check: CompatibilityCheck,
        report: &mut BoundaryReport,
    ) {
        let alert = |text| Alert { topic: AlertTopic::DashboardEdit, text };
        let edits: Result<Vec<KeyChange>, String> =
            set.values.iter().map(|(key, value)| self.parse_edit(key, value)).collect();
        let edits = match edits {
            Ok(edits) => edits,
            Err(reason) => {
                report.alerts.push(alert(Some(reason.clone())));
                return self.refuse(&[], KEYS_SOURCE, reason, at, report);
            }
        };
        let (unchanged, edits): (Vec<KeyChange>, Vec<KeyChange>) =
            edits.into_iter().partition(|edit| edit.old == edit.new);
        if edits.is_empty() {
            self.log_unchanged(&unchanged);
            return report.alerts.push(alert(None));
        }
        let merged = match edits.iter().find(|edit| edit.is_frozen()) {
            Some(frozen) => Err(self.frozen_message("", "", frozen)),
            None => self.merge(&edits, "as set", check),
        };
        report.alerts.push(alert(merged.as_ref().err().cloned()));
        match merged {
            Ok(config) => {
                self.log_unchanged(&unchanged);
                self.drop_scheduled(&edits);
                self.apply_edits(config, &edits, KEYS_SOURCE, at, report);
                self.unwritten_keys.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
            }
            Err(reason) => self.refuse(&edits, KEYS_SOURCE, reason, at, report),
        }
    }

    /// Parses one edit. The error names the key and the value.
    fn parse_edit(&self, key: &str, value: &str) -> Result<KeyChange, String> {
        change::parse(&self.config, key, value).map_err(|error| {
            let reason = error.to_string();
            if reason.contains(&format!("`{key}`")) { reason } else { format!("{key} = {value}: {reason}") }
        })
    }

    /// Logs edits that do not change a value, and drops scheduled changes that would.
    fn log_unchanged(&mut self, unchanged: &[KeyChange]) {
        self.drop_scheduled(unchanged);
        for edit in unchanged {
            tracing::info!("`{}` is already {}", edit.key.path(), edit.new);
        }
    }

    /// Adds a person's note at `at` to the record of changes.
    pub fn record_note(&mut self, text: &str, at: Boundary) -> BoundaryReport {
        self.change_set = new_set_id();
        let row = self.build_row(None, KEYS_SOURCE, ChangeOutcome::Noted, Some(text.to_owned()), at);
        let mut report = BoundaryReport::default();
        self.push_changes(vec![row], &mut report);
        report
    }

    /// Returns the key and value that an error is about, as an edit for the record.
    fn edits_from_error(&self, error: &ConfigError) -> Vec<KeyChange> {
        let edit = error.key_and_value().and_then(|(path, value)| {
            let key = Config::find_key(path)?;
            let value = value.unwrap_or_default();
            let new = value.parse().map_or_else(|_| Value::String(value.to_owned()), Value::Float);
            Some(KeyChange { key, old: self.config.value(key), new })
        });
        edit.into_iter().collect()
    }

    /// Returns the current config with `edits`, if it is valid. `source` names their origin in errors.
    fn merge(&self, edits: &[KeyChange], source: &str, check: CompatibilityCheck) -> Result<Config, String> {
        let values = edits.iter().map(|edit| (edit.key, &edit.new));
        let config =
            change::apply_changes(&self.config, values, source).map_err(|error| error.to_string())?;
        check(&config).map_err(|error| format!("{source}: {error}"))?;
        Ok(config)
    }

    /// Returns the error text for an edit of a frozen key: its place, its value, and what to do instead.
    fn frozen_message(&self, name: &str, text: &str, edit: &KeyChange) -> String {
        let line =
            config::line_of_key(text, edit.key).map_or(String::new(), |line| format!("{name} line {line}: "));
        let (key, new) = (edit.key.path(), &edit.new);
        let instead = match edit.key.section {
            // A model of another shape cannot start from this run's weights.
            "model" => "start a new run with it".to_owned(),
            _ => {
                let run = self.folder.id();
                format!(
                    "start a new run from this one's checkpoint: coconut-lab run --from {run} --set {key}={new}"
                )
            }
        };
        format!(
            "{line}`{key}` = {new} cannot change during a run (now {}); the whole change is refused. Set it back, \
             or {instead}",
            edit.old
        )
    }

    /// Drops scheduled changes of keys that a person has just edited, so that a replay does not undo the
    /// edit.
    fn drop_scheduled(&mut self, edits: &[KeyChange]) {
        let before = self.scheduled.len();
        self.scheduled.retain(|change| !has_same_key(change, edits));
        self.schedule_stale |= self.scheduled.len() < before;
    }

    /// Makes `config` the current config, and logs and records the edits that led to it.
    fn apply_edits(
        &mut self,
        config: Config,
        edits: &[KeyChange],
        source: &str,
        at: Boundary,
        report: &mut BoundaryReport,
    ) {
        self.config = config;
        self.version += 1;
        let rows: Vec<ChangeRow> = edits
            .iter()
            .map(|edit| self.build_row(Some(edit), source, ChangeOutcome::Applied, None, at))
            .collect();
        for edit in edits {
            tracing::info!(
                "changed `{}` from {} to {}, from step {} on ({source}; config version {})",
                edit.key.path(),
                edit.old,
                edit.new,
                at.step,
                self.version
            );
        }
        config::ineffective_settings(&self.config).iter().for_each(|warning| tracing::warn!("{warning}"));
        if let Ok(text) = self.config.to_toml() {
            self.unwritten_versions.push((self.version, text));
        }
        self.push_changes(rows, report);
    }

    /// Refuses the latest content of a file, and alerts until it is fixed.
    fn refuse_file(
        &mut self,
        index: usize,
        edits: &[KeyChange],
        reason: String,
        at: Boundary,
        report: &mut BoundaryReport,
    ) {
        let name = self.files[index].name.clone();
        self.files[index].refused = true;
        report.alerts.push(Alert { topic: AlertTopic::ConfigFile(name.clone()), text: Some(reason.clone()) });
        self.refuse(edits, &name, reason, at, report);
    }

    /// Logs and records a refused change.
    fn refuse(
        &mut self,
        edits: &[KeyChange],
        source: &str,
        reason: String,
        at: Boundary,
        report: &mut BoundaryReport,
    ) {
        tracing::warn!("refused ({source}): {reason}");
        let row = |edit| self.build_row(edit, source, ChangeOutcome::Refused, Some(reason.clone()), at);
        let rows = match edits {
            [] => vec![row(None)],
            edits => edits.iter().map(|edit| row(Some(edit))).collect(),
        };
        self.push_changes(rows, report);
    }

    /// Queues rows for the record, and adds them to the report.
    fn push_changes(&mut self, rows: Vec<ChangeRow>, report: &mut BoundaryReport) {
        self.unrecorded.extend(rows.iter().cloned());
        report.changes.push(ConfigUpdate { config: self.config.clone(), version: self.version, rows });
    }

    /// Returns a row for the record of changes, about `edit` or about no single key.
    fn build_row(
        &self,
        edit: Option<&KeyChange>,
        source: &str,
        outcome: ChangeOutcome,
        reason: Option<String>,
        at: Boundary,
    ) -> ChangeRow {
        let row = change_row(edit, at.step, &self.change_set, source);
        ChangeRow { tokens: at.tokens, version: self.version, outcome, reason, ..row }
    }
}

/// Prefix of the recorded source of a replayed change.
const REPLAY_PREFIX: &str = "again: ";
/// Recorded source of a change from the dashboard's keys.
const KEYS_SOURCE: &str = "keys";

/// Reads a recipe that is to be watched.
fn read_recipe(path: PathBuf) -> Result<WatchedFile, ConfigError> {
    let (text, name) = (config::read_file(&path)?, path.display().to_string());
    let base = config::from_text(&text, &name, &[])?;
    Ok(WatchedFile { name, path, last_valid: base, text, refused: false })
}

/// A change that was requested since the last boundary.
enum RequestedChange {
    File(Saved),
    Key(SetKeys),
}
