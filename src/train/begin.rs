//! Owns: what a run begins with: a recipe, another run's checkpoint or changes, or its own last checkpoint.
//! Must not know: tensors, the loop.
//! Invariant: a run folder is changed only after everything that could be refused has been looked at.

use super::checkpoint::{self, Found};
use super::intent::Intent;
use super::resume;
use super::steer::PAUSED;
use super::step::Learner;
use super::{Begin, Fresh, Recipe, TrainError};
use crate::config::{self, Config};
use crate::message::{Lineage, RunInfo};
use crate::record::changes;
use crate::record::folder::{Lock, RunFolder, read_json};
use crate::record::recorder::Timing;
use crate::record::rows::ChangeRow;
use sha2::{Digest, Sha256};
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

impl Beginning {
    /// The id of the run whose checkpoint it begins with; empty without one.
    pub fn run_before(&self) -> &str {
        self.from.as_ref().map_or("", |found| &found.state.run)
    }
}

/// A run folder that is gone on with.
pub(super) struct Resumed {
    pub folder: RunFolder,
    pub lock: Lock,
    pub intent: Intent,
}

/// Looks at what is asked for.
pub(super) fn beginning(begin: Begin) -> Result<Beginning, TrainError> {
    match begin {
        Begin::New(recipe) => Ok(new(*recipe)),
        Begin::Replay { run, sets } => as_another(&run, &sets),
        Begin::Fork { run, step, fresh, sets } => fork(&run, step, fresh, &sets),
        Begin::Resume { run, step, sets } => resume::resume(&run, step, &sets),
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
    let record = changes::applied(&changes::read(&folder.changes())?);
    let mut scheduled = changes::split(record, changes::read(&folder.replay())?, 0).1;
    scheduled.retain(|change| change.key.as_deref() != Some(PAUSED));
    tracing::info!("{} recorded changes of {} will be done again", scheduled.len(), run.display());
    // A fork begins with the checkpoint that it began with.
    let begun = read_json::<RunInfo>(&folder.about()).and_then(|about| about.lineage);
    let begun = begun.filter(|lineage| lineage.step.is_some());
    let (from, fresh) = begun.as_ref().map_or(Ok((None, Fresh::default())), parents)?;
    let lineage = Some(Lineage { folder: run.to_owned(), step: None, without: Vec::new() });
    Ok(Beginning { scheduled, lineage, from, fresh, ..new(recipe) })
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
pub(super) fn must_go_on(step: u64, config: &Config) -> Result<(), TrainError> {
    match config.run.steps {
        steps if step >= steps => Err(TrainError::Done { step, steps }),
        _ => Ok(()),
    }
}

/// The checkpoint of `step`, or the newest one; with those that were passed over because they are damaged.
pub(super) fn newest(folder: &RunFolder, step: Option<u64>) -> Result<(Option<Found>, Vec<u64>), TrainError> {
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

/// The checkpoint that a fork began with, for one that was killed before its own first.
pub(super) fn parents(lineage: &Lineage) -> Result<(Option<Found>, Fresh), TrainError> {
    let (found, _) = newest(&RunFolder::open(&lineage.folder)?, lineage.step)?;
    let without = |what: &str| lineage.without.iter().any(|word| word == what);
    let fresh = Fresh { optimizer: without("optimizer"), data: without("data"), step: without("step") };
    Ok((found, fresh))
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
    checkpoint::hex(&Sha256::digest(text.as_bytes()))
}

/// What is wrong with the text of the run's own config file.
pub(super) fn own_file(message: String) -> config::ConfigError {
    config::ConfigError::Rule { place: "config.toml".into(), message }
}
