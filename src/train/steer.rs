//! Owns: the config in force and how it changes: by its files, by keys, and by recorded changes that are done again.
//! Must not know: tensors, what a setting does, screens.
//! Invariant: a change is taken up whole or not at all; what is in force, the record of changes and the run's config file
//! say the same as soon as they could be written.

use super::TrainError;
use super::replay::{as_edit, as_row, is_of, new_set};
use crate::config::change::{self, Edit};
use crate::config::watch::{Saved, Timing, Watcher};
use crate::config::{self, Config, ConfigError};
use crate::message::{About, Alert, Changed, Set};
use crate::record::folder::RunFolder;
use crate::record::rows::{ChangeRow, Outcome};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::SystemTime;
use toml::Value;

/// The run's own config file among those that are followed.
pub(super) const OWN: usize = 0;
/// A key that says nothing of the training: another run does not hold where the one did that it does again.
pub(super) const PAUSED: &str = "run.paused";

/// A config file that is followed.
pub(super) struct Followed {
    /// As it is named to people.
    pub name: String,
    pub path: PathBuf,
    /// Its last content that was good.
    pub base: Config,
    /// Its content, good or not.
    pub text: String,
    /// Whether it holds what could not be taken up.
    pub refused: bool,
}

/// What a boundary between two steps has brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Each change, taken up or refused.
    pub changes: Vec<Changed>,
    pub alerts: Vec<Alert>,
}

/// Where a boundary is.
#[derive(Clone, Copy)]
pub(super) struct Boundary {
    /// The next step.
    pub step: u64,
    /// Tokens before it.
    pub tokens: u64,
}

/// What may be refused beyond the config's own rules: what does not fit the model or the data.
pub(super) type Fits<'a> = &'a dyn Fn(&Config) -> Result<(), TrainError>;

/// The config in force, and all that may change it.
pub(super) struct Steering {
    pub config: Config,
    pub version: u64,
    pub folder: RunFolder,
    pub files: Vec<Followed>,
    pub watcher: Watcher,
    /// Recorded changes that are to be done again, ascending.
    pub scheduled: VecDeque<ChangeRow>,
    /// What the disk does not have yet.
    pub unrecorded: Vec<ChangeRow>,
    pub unversioned: Vec<(u64, String)>,
    pub unwritten: BTreeMap<String, &'static config::Key>,
    pub unknown: bool,
    pub forgotten: bool,
    /// The set of changes that is being taken up.
    set: String,
    /// Why the config file could not be written, as was last told.
    pub unwritable: Option<String>,
    /// Alerts for the next boundary.
    pub alerts: Vec<Alert>,
}

impl Steering {
    /// `config` in force at `version`, in `folder`, whose config file holds `text`; `recipe` is followed beside it.
    pub fn new(
        folder: &RunFolder,
        (config, version): (Config, u64),
        text: String,
        recipe: Option<PathBuf>,
        scheduled: Vec<ChangeRow>,
    ) -> Result<Self, ConfigError> {
        let own = folder.config();
        let base = config::from_text(&text, &own.display().to_string(), &[])?;
        let mut files = vec![Followed { name: "config.toml".into(), path: own, base, text, refused: false }];
        files.extend(recipe.and_then(|path| {
            let followed = follow(path.clone());
            followed.inspect_err(|error| tracing::warn!("{} is not followed: {error}", path.display())).ok()
        }));
        let (paths, texts) = files.iter().map(|file| (file.path.clone(), file.text.clone())).unzip();
        let watcher = Watcher::start(paths, texts, Timing::default());
        Ok(Self {
            config,
            version,
            folder: folder.clone(),
            files,
            watcher,
            scheduled: scheduled.into(),
            unrecorded: Vec::new(),
            unversioned: Vec::new(),
            unwritten: BTreeMap::new(),
            unknown: false,
            forgotten: false,
            set: String::new(),
            unwritable: None,
            alerts: Vec::new(),
        })
    }

    /// Takes up, in the order of time, what was saved and `asked` since the last boundary, after what is recorded for it.
    pub fn boundary(&mut self, at: Boundary, asked: Vec<Set>, fits: Fits) -> News {
        let mut news = News { alerts: std::mem::take(&mut self.alerts), ..News::default() };
        self.again(at, fits, &mut news);
        // What was saved before a key was pressed must not be overwritten by what the key writes.
        let saved = if asked.is_empty() { self.watcher.take() } else { self.watcher.look() };
        let saved = saved.into_iter().map(|saved| (saved.at, Wish::File(saved)));
        let mut wishes: Vec<(SystemTime, Wish)> =
            saved.chain(asked.into_iter().map(|set| (set.at, Wish::Key(set)))).collect();
        wishes.sort_by_key(|(time, _)| *time);
        for (_, wish) in wishes {
            self.set = new_set();
            match wish {
                Wish::File(saved) => self.file(saved, at, fits, &mut news),
                Wish::Key(set) => self.key(&set, at, fits, &mut news),
            }
        }
        news
    }

    /// Recorded changes that are due.
    fn again(&mut self, at: Boundary, fits: Fits, news: &mut News) {
        while let Some(first) = self.scheduled.front().filter(|change| change.step <= at.step).cloned() {
            let mut edits = Vec::new();
            while let Some(change) = self.scheduled.pop_front_if(|next| next.set == first.set) {
                edits.extend(as_edit(&self.config, &change));
            }
            self.set.clone_from(&first.set);
            edits.retain(|edit: &Edit| edit.old != edit.new);
            if edits.is_empty() {
                continue;
            }
            let source = match first.source.strip_prefix(AGAIN) {
                Some(_) => first.source.clone(),
                None => format!("{AGAIN}{}", first.source),
            };
            match self.merged(&edits, "the record of changes", fits) {
                Ok(config) => {
                    self.apply(config, &edits, &source, at, news);
                    self.unwritten.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
                }
                Err(reason) => self.refuse(&edits, &source, reason, at, news),
            }
        }
    }

    fn file(&mut self, saved: Saved, at: Boundary, fits: Fits, news: &mut News) {
        let index = saved.file;
        let (name, base) = (self.files[index].name.clone(), self.files[index].base.clone());
        let text = match saved.text {
            Ok(text) => text,
            Err(error) => {
                return self.refuse_file(index, &[], format!("{name}: cannot be read: {error}"), at, news);
            }
        };
        self.files[index].text.clone_from(&text);
        let new = match config::from_text(&text, &name, &[]) {
            Ok(new) => new,
            Err(error) => {
                let wrong = self.wrong(&error);
                return self.refuse_file(index, &wrong, error.to_string(), at, news);
            }
        };
        let touched = change::between(&base, &new);
        let mut edits = touched.clone();
        edits.iter_mut().for_each(|edit| edit.old = self.config.value(edit.key));
        edits.retain(|edit| edit.old != edit.new);
        if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
            let reason = self.frozen(&name, &text, frozen);
            let frozen: Vec<Edit> = edits.iter().filter(|edit| edit.is_frozen()).cloned().collect();
            return self.refuse_file(index, &frozen, reason, at, news);
        }
        match self.merged(&edits, &name, fits) {
            Err(reason) => return self.refuse_file(index, &edits, reason, at, news),
            Ok(config) if !edits.is_empty() => {
                self.apply(config, &edits, &name, at, news);
                if index == OWN {
                    self.unwritten.retain(|path, _| !edits.iter().any(|edit| edit.key.path() == *path));
                } else {
                    self.unwritten.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
                }
            }
            Ok(_) => {}
        }
        self.forget_scheduled(&touched);
        self.files[index].base = new;
        self.unknown |= index == OWN;
        if std::mem::take(&mut self.files[index].refused) {
            tracing::info!("{name} is good again");
            news.alerts.push(Alert { about: About::File(name), text: None });
        }
    }

    fn key(&mut self, set: &Set, at: Boundary, fits: Fits, news: &mut News) {
        let alert = |text| Alert { about: About::Keys, text };
        let edits: Result<Vec<Edit>, String> =
            set.values.iter().map(|(key, value)| self.parsed(key, value)).collect();
        let edits = match edits {
            Ok(edits) => edits,
            Err(reason) => {
                news.alerts.push(alert(Some(reason.clone())));
                return self.refuse(&[], KEYS, reason, at, news);
            }
        };
        let (same, edits): (Vec<Edit>, Vec<Edit>) = edits.into_iter().partition(|edit| edit.old == edit.new);
        if edits.is_empty() {
            self.stays(&same);
            return news.alerts.push(alert(None));
        }
        let merged = match edits.iter().find(|edit| edit.is_frozen()) {
            Some(frozen) => Err(self.frozen("", "", frozen)),
            None => self.merged(&edits, "as set", fits),
        };
        news.alerts.push(alert(merged.as_ref().err().cloned()));
        match merged {
            Ok(config) => {
                self.stays(&same);
                self.forget_scheduled(&edits);
                self.apply(config, &edits, KEYS, at, news);
                self.unwritten.extend(edits.iter().map(|edit| (edit.key.path(), edit.key)));
            }
            Err(reason) => self.refuse(&edits, KEYS, reason, at, news),
        }
    }

    fn parsed(&self, key: &str, value: &str) -> Result<Edit, String> {
        change::parse(&self.config, key, value).map_err(|error| {
            let reason = error.to_string();
            if reason.contains(&format!("`{key}`")) { reason } else { format!("{key} = {value}: {reason}") }
        })
    }

    /// What is asked for is so already, and is to stay so.
    fn stays(&mut self, same: &[Edit]) {
        self.forget_scheduled(same);
        for edit in same {
            tracing::info!("`{}` is {} already", edit.key.path(), edit.new);
        }
    }

    /// Writes what a person says of `at` into the record of changes.
    pub fn note(&mut self, text: &str, at: Boundary) -> News {
        self.set = new_set();
        let row = self.row(None, KEYS, Outcome::Noted, Some(text.to_owned()), at);
        let mut news = News::default();
        self.tell(vec![row], &mut news);
        news
    }

    /// What an error is about, as an edit.
    fn wrong(&self, error: &ConfigError) -> Vec<Edit> {
        let edit = error.about().and_then(|(path, value)| {
            let key = Config::keys().find(|key| key.path() == path)?;
            let value = value.unwrap_or_default();
            let new = value.parse().map_or_else(|_| Value::String(value.to_owned()), Value::Float);
            Some(Edit { key, old: self.config.value(key), new })
        });
        edit.into_iter().collect()
    }

    fn merged(&self, edits: &[Edit], place: &str, fits: Fits) -> Result<Config, String> {
        let laid = edits.iter().map(|edit| (edit.key, &edit.new));
        let config = change::with(&self.config, laid, place).map_err(|error| error.to_string())?;
        fits(&config).map_err(|error| format!("{place}: {error}"))?;
        Ok(config)
    }

    fn frozen(&self, name: &str, text: &str, edit: &Edit) -> String {
        let line =
            config::line_of_key(text, edit.key).map_or(String::new(), |line| format!("{name} line {line}: "));
        let (key, new) = (edit.key.path(), &edit.new);
        let instead = match edit.key.section {
            // Other weights have nothing to begin with.
            "model" => "start a new run with it".to_owned(),
            _ => {
                let run = self.folder.id();
                format!(
                    "start a new run from this one's checkpoint: coconut-lab run --from {run} --set {key}={new}"
                )
            }
        };
        format!(
            "{line}`{key}` = {new} cannot change during a run, where it is {}; nothing of this change is taken up. Set it \
             back, or {instead}",
            edit.old
        )
    }

    /// What a person has changed is not changed back by the record.
    fn forget_scheduled(&mut self, edits: &[Edit]) {
        let before = self.scheduled.len();
        self.scheduled.retain(|change| !is_of(change, edits));
        self.forgotten |= self.scheduled.len() < before;
    }

    fn apply(&mut self, config: Config, edits: &[Edit], source: &str, at: Boundary, news: &mut News) {
        self.config = config;
        self.version += 1;
        let rows: Vec<ChangeRow> =
            edits.iter().map(|edit| self.row(Some(edit), source, Outcome::Applied, None, at)).collect();
        for edit in edits {
            tracing::info!(
                "`{}` from {} to {}, from step {} on ({source}; config version {})",
                edit.key.path(),
                edit.old,
                edit.new,
                at.step,
                self.version
            );
        }
        config::idle(&self.config).iter().for_each(|what| tracing::warn!("{what}"));
        if let Ok(text) = self.config.to_toml() {
            self.unversioned.push((self.version, text));
        }
        self.tell(rows, news);
    }

    fn refuse_file(&mut self, index: usize, edits: &[Edit], reason: String, at: Boundary, news: &mut News) {
        let name = self.files[index].name.clone();
        self.files[index].refused = true;
        news.alerts.push(Alert { about: About::File(name.clone()), text: Some(reason.clone()) });
        self.refuse(edits, &name, reason, at, news);
    }

    fn refuse(&mut self, edits: &[Edit], source: &str, reason: String, at: Boundary, news: &mut News) {
        tracing::warn!("refused ({source}): {reason}");
        let row = |edit| self.row(edit, source, Outcome::Refused, Some(reason.clone()), at);
        let rows = match edits {
            [] => vec![row(None)],
            edits => edits.iter().map(|edit| row(Some(edit))).collect(),
        };
        self.tell(rows, news);
    }

    fn tell(&mut self, rows: Vec<ChangeRow>, news: &mut News) {
        self.unrecorded.extend(rows.iter().cloned());
        news.changes.push(Changed { config: self.config.clone(), version: self.version, rows });
    }

    fn row(
        &self,
        edit: Option<&Edit>,
        source: &str,
        outcome: Outcome,
        reason: Option<String>,
        at: Boundary,
    ) -> ChangeRow {
        let row = as_row(edit, at.step, &self.set, source);
        ChangeRow { tokens: at.tokens, version: self.version, outcome, reason, ..row }
    }
}

/// How the source of a change that is done again begins.
const AGAIN: &str = "again: ";
/// The source of what a key of the dashboard changed.
const KEYS: &str = "keys";

/// A recipe as it is now.
fn follow(path: PathBuf) -> Result<Followed, ConfigError> {
    let (text, name) = (config::read(&path)?, path.display().to_string());
    let base = config::from_text(&text, &name, &[])?;
    Ok(Followed { name, path, base, text, refused: false })
}

enum Wish {
    File(Saved),
    Key(Set),
}
