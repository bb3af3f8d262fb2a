//! Owns: what a run begins with: a recipe, another run's checkpoint or changes, or its own last checkpoint.
//! Must not know: tensors, the loop.
//! Invariant: a run folder is changed only after everything that could be refused has been looked at.

use super::checkpoint::{self, Found};
use super::replay;
use super::steer::PAUSED;
use super::step::Learner;
use super::{Begin, Fresh, Recipe, TrainError};
use crate::config::change::{self, Edit};
use crate::config::{self, Config};
use crate::message::Lineage;
use crate::record::folder::{Lock, RunFolder, replace};
use crate::record::recorder::{self, Timing};
use crate::record::rows::ChangeRow;
use crate::record::{RecordError, changes};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All that a run begins with.
pub(super) struct Beginning {
    /// The config in force, but for what a loaded model brings along.
    pub config: Config,
    /// Its version.
    pub version: u64,
    /// What the config file is to hold, comments and all.
    pub text: String,
    pub recipe: Option<PathBuf>,
    /// The checkpoint to go on from.
    pub from: Option<Found>,
    /// What of it is left behind.
    pub fresh: Fresh,
    /// Recorded changes to be done again.
    pub scheduled: Vec<ChangeRow>,
    pub lineage: Option<Lineage>,
    /// The folder, where it is there already.
    pub resumed: Option<Resumed>,
}

/// A run folder that is gone on with.
pub(super) struct Resumed {
    pub folder: RunFolder,
    pub lock: Lock,
    /// Checkpoints that are damaged.
    damaged: Vec<u64>,
    /// Whether what came after the checkpoint is given up rather than done again.
    rewind: bool,
    /// What the config file is to hold, where it is another than it holds.
    rewrite: bool,
}

/// Looks at what is asked for.
pub(super) fn beginning(begin: Begin) -> Result<Beginning, TrainError> {
    match begin {
        Begin::New(recipe) => Ok(new(*recipe)),
        Begin::Replay { run, sets } => as_another(&run, &sets),
        Begin::Fork { run, step, fresh, sets } => fork(&run, step, fresh, &sets),
        Begin::Resume { run, step, sets } => resume(&run, step, &sets),
    }
}

fn new(recipe: Recipe) -> Beginning {
    Beginning {
        config: recipe.config,
        version: 0,
        text: recipe.text,
        recipe: recipe.follow,
        from: None,
        fresh: Fresh::default(),
        scheduled: Vec::new(),
        lineage: None,
        resumed: None,
    }
}

/// `config` with overrides, and the text of the run's config file, for its comments.
fn other(folder: &RunFolder, config: &Config, sets: &[String]) -> Result<Recipe, TrainError> {
    // Whether the other run holds is nothing to this one.
    let mut config = config.clone();
    config.run.paused = false;
    let config = config::from_text(&config.to_toml()?, &folder.path().display().to_string(), sets)?;
    let text = std::fs::read_to_string(folder.config()).unwrap_or_default();
    let text = if config::from_text(&text, "", &[]).is_ok() { text } else { String::new() };
    Ok(Recipe { config, text, follow: None })
}

fn as_another(run: &Path, sets: &[String]) -> Result<Beginning, TrainError> {
    let folder = RunFolder::open(run)?;
    let recipe = other(&folder, &config::load(&folder.version(0), &[])?, sets)?;
    let mut scheduled = recorded(&folder)?;
    scheduled.retain(|change| change.key.as_deref() != Some(PAUSED));
    tracing::info!("{} recorded changes of {} will be done again", scheduled.len(), run.display());
    let lineage = Some(Lineage { folder: run.to_owned(), step: None, without: Vec::new() });
    Ok(Beginning { scheduled, lineage, ..new(recipe) })
}

fn fork(run: &Path, step: Option<u64>, fresh: Fresh, sets: &[String]) -> Result<Beginning, TrainError> {
    let folder = RunFolder::open(run)?;
    let found = newest(&folder, step)?.0.ok_or_else(|| TrainError::NoCheckpoint {
        run: run.display().to_string(),
        reason: "it has none that is whole".into(),
    })?;
    let recipe = other(&folder, &found.config, sets)?;
    let done = if fresh.step { 0 } else { found.state.step };
    must_go_on(done, &recipe.config)?;
    let lineage = Some(Lineage {
        folder: run.to_owned(),
        step: Some(found.state.step),
        without: fresh.words().map(str::to_owned).collect(),
    });
    Ok(Beginning { from: Some(found), fresh, lineage, ..new(recipe) })
}

/// Refuses a run that has nothing left to do.
fn must_go_on(step: u64, config: &Config) -> Result<(), TrainError> {
    match config.run.steps {
        steps if step >= steps => Err(TrainError::Done { step, steps }),
        _ => Ok(()),
    }
}

/// The checkpoint of `step`, or the newest one; with those that were passed over because they are damaged.
fn newest(folder: &RunFolder, step: Option<u64>) -> Result<(Option<Found>, Vec<u64>), TrainError> {
    let steps = folder.checkpoints();
    if let Some(step) = step {
        let dir = folder.checkpoint(step);
        let no =
            |reason: String| TrainError::NoCheckpoint { run: folder.path().display().to_string(), reason };
        if !steps.contains(&step) {
            let have: Vec<String> = steps.iter().map(u64::to_string).collect();
            let have = if have.is_empty() { "none".into() } else { have.join(", ") };
            return Err(no(format!("there is none of step {step}; there are: {have}")));
        }
        let found = checkpoint::read(&dir).map_err(|reason| no(format!("{}: {reason}", dir.display())))?;
        return Ok((Some(found), Vec::new()));
    }
    let mut damaged = Vec::new();
    for step in steps.into_iter().rev() {
        let dir = folder.checkpoint(step);
        match checkpoint::read(&dir) {
            Ok(found) => return Ok((Some(found), damaged)),
            Err(reason) => {
                tracing::warn!("{} is damaged, and is not used: {reason}", dir.display());
                damaged.push(step);
            }
        }
    }
    Ok((None, damaged))
}

/// Every change that took hold in a run, those included that a resumed one had still to do again.
fn recorded(folder: &RunFolder) -> Result<Vec<ChangeRow>, RecordError> {
    Ok(changes::applied([changes::read(&folder.replay())?, changes::read(&folder.changes())?]))
}

fn resume(run: &Path, step: Option<u64>, sets: &[String]) -> Result<Beginning, TrainError> {
    let folder = RunFolder::open(run)?;
    let lock = folder.lock()?;
    let (from, damaged) = newest(&folder, step)?;
    let at = from.as_ref().map_or(0, |found| found.state.step);
    let first = config::load(&folder.version(0), &[])?;
    let (base, version) = match &from {
        Some(found) => (found.config.clone(), found.state.config_version),
        None => (first.clone(), 0),
    };
    let name = folder.config().display().to_string();
    let text = std::fs::read_to_string(folder.config()).map_err(RecordError::io("read", &folder.config()))?;
    let record = recorded(&folder)?;
    let edits = meanwhile(&folder, &text, &replay::reapplied(&first, &record)?, sets)?;
    if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
        let line =
            config::line_of_key(&text, frozen.key).map_or(String::new(), |line| format!(" line {line}"));
        return Err(TrainError::Frozen {
            place: format!("{name}{line}"),
            key: frozen.key.path(),
            old: frozen.old.to_string(),
            new: frozen.new.to_string(),
            run: run.display().to_string(),
        });
    }
    let rewind = step.is_some();
    let mut scheduled: Vec<ChangeRow> = record.into_iter().filter(|change| change.step > at).collect();
    if rewind && !scheduled.is_empty() {
        tracing::info!("{} changes after step {at} are given up", scheduled.len());
        scheduled.clear();
    }
    // What a person has changed since is not changed back by the record.
    let edited =
        |change: &ChangeRow| edits.iter().any(|edit| change.key.as_deref() == Some(&edit.key.path()));
    scheduled.retain(|change| !edited(change));
    let text = if rewind || !sets.is_empty() { with_edits(&text, &base, &edits, rewind)? } else { text };
    let mut all: Vec<ChangeRow> = edits.iter().map(|edit| since(edit, at, version)).collect();
    all.extend(scheduled);
    must_go_on(at, &replay::reapplied(&base, &all)?)?;
    if from.is_none() {
        tracing::info!("there is no checkpoint yet: the run begins again");
    }
    if !all.is_empty() {
        tracing::info!("{} changes after step {at} will be made at their steps", all.len());
    }
    let about = std::fs::read_to_string(folder.about()).unwrap_or_default();
    let about: BTreeMap<String, serde_json::Value> = serde_json::from_str(&about).unwrap_or_default();
    let recipe = about.get("recipe").and_then(|path| path.as_str()).map(PathBuf::from);
    let lineage = about.get("lineage").and_then(|lineage| serde_json::from_value(lineage.clone()).ok());
    Ok(Beginning {
        config: base,
        version,
        text,
        recipe,
        from,
        fresh: Fresh::default(),
        scheduled: all,
        lineage,
        resumed: Some(Resumed { folder, lock, damaged, rewind, rewrite: rewind || !sets.is_empty() }),
    })
}

/// What was changed while the run was not running: in its config file, and by `sets`. `last` is the config that the
/// record of changes leads to.
fn meanwhile(
    folder: &RunFolder,
    text: &str,
    last: &Config,
    sets: &[String],
) -> Result<Vec<Edit>, TrainError> {
    let name = folder.config().display().to_string();
    let known = replay::read_known(folder);
    let mut now = last.clone();
    if !known.iter().any(|known| known == text) {
        let saved = config::from_text(text, &name, &[])?;
        let known = known.last().and_then(|known| config::from_text(known, &name, &[]).ok());
        let known = known.unwrap_or_else(|| last.clone());
        let edits = change::between(&known, &saved);
        now = change::with(last, edits.iter().map(|edit| (edit.key, &edit.new)), &name)?;
    }
    let asked = config::from_text(&now.to_toml()?, &name, sets)?;
    Ok(change::between(last, &asked))
}

/// The text with `edits`, and with the values of `base` where the run is rewound to it.
fn with_edits(text: &str, base: &Config, edits: &[Edit], rewind: bool) -> Result<String, TrainError> {
    let rule = |message| config::ConfigError::Rule { place: "config.toml".into(), message };
    let text = match rewind {
        true => config::edit::complete(text, base).map_err(rule)?,
        false => text.to_owned(),
    };
    let laid: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
    Ok(config::edit::set(&text, &laid).map_err(rule)?)
}

/// An edit that was made while the run was not running, as a change of its next step.
fn since(edit: &Edit, at: u64, version: u64) -> ChangeRow {
    ChangeRow {
        step: at + 1,
        tokens: 0,
        time: chrono::Utc::now(),
        version,
        key: Some(edit.key.path()),
        old: json!(edit.old),
        new: json!(edit.new),
        source: "config.toml, while the run was not running".into(),
        outcome: crate::record::rows::Outcome::Applied,
        reason: None,
    }
}

/// `learner`, fresh but for its model, with what the checkpoint knows of it.
pub(super) fn learner(beginning: &Beginning, learner: Learner) -> Result<Learner, TrainError> {
    let Some(found) = &beginning.from else { return Ok(learner) };
    let (step, lessons) =
        if beginning.fresh.step { (0, 0) } else { (found.state.step, found.state.lessons.0) };
    if beginning.fresh.optimizer {
        let optimizer = learner.optimizer().clone();
        return Ok(learner.at(optimizer, step, lessons));
    }
    let (optimizer, left) = checkpoint::optimizer(found, &learner)?;
    if left > 0 {
        tracing::warn!("{left} tensors of the checkpoint's optimizer fit nothing here, and are left out");
    }
    Ok(learner.at(optimizer, step, lessons))
}

/// When what is recorded.
pub(super) fn timing(record: &config::Record) -> Timing {
    Timing {
        sync_time: Duration::from_secs_f64(record.sync_seconds),
        sync_rows: record.sync_rows,
        part_rows: record.part_rows,
        part_time: Duration::from_secs_f64(record.part_seconds),
        system_time: Duration::from_secs_f64(record.system_seconds),
    }
}

/// A config in short.
pub(super) fn hash(config: &Config) -> String {
    let text = config.to_toml().unwrap_or_default();
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Resumed {
    /// Makes the folder that of a run that has come to `step` and no further. Can be done again where it is interrupted.
    pub fn cut(&self, step: Option<u64>, beginning: &Beginning) -> Result<(), RecordError> {
        let folder = &self.folder;
        changes::rewrite(&folder.replay(), &beginning.scheduled)?;
        if self.rewrite {
            let before = std::fs::read_to_string(folder.config()).unwrap_or_default();
            replay::write_known(folder, &[&before, &beginning.text])?;
            replace(&folder.config(), beginning.text.as_bytes())?;
        }
        replay::write_known(folder, &[&beginning.text])?;
        for damaged in &self.damaged {
            let aside = folder.put_aside(*damaged)?;
            tracing::info!("the damaged checkpoint is now {}", aside.display());
        }
        let later = folder.checkpoints().into_iter().filter(|found| step.is_none_or(|step| *found > step));
        for later in later.filter(|later| !self.damaged.contains(later)) {
            let aside = folder.put_aside(later)?;
            tracing::info!("a checkpoint after step {} is now {}", step.unwrap_or(0), aside.display());
        }
        let until = step.map_or(-1, |step| step as i64);
        recorder::recover(folder, "", Some(until))?;
        let kept = changes::read(&folder.changes())?;
        let kept: Vec<ChangeRow> = kept.into_iter().filter(|change| change.step as i64 <= until).collect();
        changes::rewrite(&folder.changes(), &kept)?;
        if self.rewind {
            let stale = beginning.version + 1..;
            for version in stale.map(|version| folder.version(version)).take_while(|path| path.exists()) {
                std::fs::remove_file(&version).map_err(RecordError::io("remove", &version))?;
            }
        }
        Ok(())
    }
}
