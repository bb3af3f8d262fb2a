//! Owns: the plan of a run: its start from a recipe, from another run's checkpoint or changes, or from its
//! own checkpoint.
//! Must not know: tensors, the training loop.
//! Invariant: a run folder is changed only after everything that could be refused has been checked.

use super::checkpoint::{self, LoadedCheckpoint};
use super::resume;
use super::resume_journal::ResumeJournal;
use crate::config::{self, Config};
use crate::record::changes;
use crate::record::recorder::RecordTiming;
use crate::record::run_folder::{RunFolder, RunLock, read_json};
use crate::schema::protocol::{Lineage, RunInfo};
use crate::schema::rows::ChangeRow;
use crate::train::live::controller::PAUSED_KEY;
use crate::train::step::learner::Learner;
use crate::train::{ForkReset, Recipe, StartMode, TrainError};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that a run starts with.
pub(in crate::train) struct RunPlan {
    /// The config at the start, except for the shape of a loaded model.
    pub config: Config,
    /// Version of that config.
    pub version: u64,
    /// Text of the run's config file, with comments.
    pub config_text: String,
    pub recipe: Option<PathBuf>,
    /// The checkpoint to start from.
    pub checkpoint: Option<LoadedCheckpoint>,
    /// Parts of the checkpoint that are reset.
    pub reset: ForkReset,
    /// Recorded changes to apply at their steps.
    pub scheduled: Vec<ChangeRow>,
    pub lineage: Option<Lineage>,
    /// The existing folder, if the run is resumed.
    pub resumed: Option<ResumedFolder>,
}

impl RunPlan {
    /// Returns the id of the run whose checkpoint this one starts from; empty without a checkpoint.
    pub fn parent_run(&self) -> &str {
        self.checkpoint.as_ref().map_or("", |found| &found.state.run)
    }
}

/// The locked folder of a resumed run, and what has to be done to it first.
pub(in crate::train) struct ResumedFolder {
    pub folder: RunFolder,
    pub lock: RunLock,
    pub journal: ResumeJournal,
}

/// Plans a run, and checks everything that could be refused.
pub(in crate::train) fn plan_run(mode: StartMode) -> Result<RunPlan, TrainError> {
    match mode {
        StartMode::New(recipe) => Ok(plan_new(*recipe)),
        StartMode::Replay { run, overrides } => plan_replay(&run, &overrides),
        StartMode::Fork { run, step, reset, overrides } => plan_fork(&run, step, reset, &overrides),
        StartMode::Resume { run, step, overrides } => resume::plan_resume(&run, step, &overrides),
    }
}

/// Plans a new run from a recipe.
fn plan_new(recipe: Recipe) -> RunPlan {
    RunPlan {
        config: recipe.config,
        version: 0,
        config_text: recipe.text,
        recipe: recipe.watched_file,
        checkpoint: None,
        reset: ForkReset::default(),
        scheduled: Vec::new(),
        lineage: None,
        resumed: None,
    }
}

/// Makes a recipe from another run's `config` and overrides. Its text is that run's config file, for the
/// comments.
fn recipe_from_run(folder: &RunFolder, config: &Config, overrides: &[String]) -> Result<Recipe, TrainError> {
    // A pause of the other run does not carry over.
    let mut config = config.clone();
    config.run.paused = false;
    let config = config::from_text(&config.to_toml()?, &folder.path().display().to_string(), overrides)?;
    let text = std::fs::read_to_string(folder.config_file()).unwrap_or_default();
    let text = if config::from_text(&text, "", &[]).is_ok() { text } else { String::new() };
    Ok(Recipe { config, text, watched_file: None })
}

/// Plans a run that starts as `run` started and applies its recorded changes again.
fn plan_replay(run: &Path, overrides: &[String]) -> Result<RunPlan, TrainError> {
    let folder = RunFolder::open(run)?;
    let recipe = recipe_from_run(&folder, &config::load(&folder.version_file(0), &[])?, overrides)?;
    let record = changes::applied_changes(&changes::read_changes(&folder.changes_file())?);
    let mut scheduled = changes::split_for_replay(record, changes::read_changes(&folder.replay_file())?, 0).1;
    scheduled.retain(|change| change.key.as_deref() != Some(PAUSED_KEY));
    tracing::info!("{} recorded changes of {} will be applied again", scheduled.len(), run.display());
    // A replay of a fork starts from the same parent checkpoint.
    let parent = read_json::<RunInfo>(&folder.run_info_file()).and_then(|info| info.lineage);
    let parent = parent.filter(|lineage| lineage.step.is_some());
    let (checkpoint, reset) = parent.as_ref().map_or(Ok((None, ForkReset::default())), parent_checkpoint)?;
    let lineage = Some(Lineage { folder: run.to_owned(), step: None, left_out: Vec::new() });
    Ok(RunPlan { scheduled, lineage, checkpoint, reset, ..plan_new(recipe) })
}

/// Plans a run that starts from a checkpoint of `run`.
fn plan_fork(
    run: &Path,
    step: Option<u64>,
    reset: ForkReset,
    overrides: &[String],
) -> Result<RunPlan, TrainError> {
    let folder = RunFolder::open(run)?;
    let found = find_checkpoint(&folder, step)?.0.ok_or_else(|| TrainError::NoCheckpoint {
        run: run.display().to_string(),
        reason: "none of its checkpoints is intact".into(),
    })?;
    let recipe = recipe_from_run(&folder, &found.config, overrides)?;
    let steps_done = if reset.step { 0 } else { found.state.step };
    check_steps_left(steps_done, &recipe.config)?;
    let lineage = Some(Lineage {
        folder: run.to_owned(),
        step: Some(found.state.step),
        left_out: reset.names().map(str::to_owned).collect(),
    });
    Ok(RunPlan { checkpoint: Some(found), reset, lineage, ..plan_new(recipe) })
}

/// Returns an error if a run at `step` has no steps left.
pub(in crate::train) fn check_steps_left(step: u64, config: &Config) -> Result<(), TrainError> {
    match config.run.steps {
        steps if step >= steps => Err(TrainError::AlreadyDone { step, steps }),
        _ => Ok(()),
    }
}

/// Loads the checkpoint of `step`, or the newest intact one. Also returns the steps of the damaged ones that
/// were skipped.
pub(in crate::train) fn find_checkpoint(
    folder: &RunFolder,
    step: Option<u64>,
) -> Result<(Option<LoadedCheckpoint>, Vec<u64>), TrainError> {
    let steps = folder.checkpoint_steps();
    if let Some(step) = step {
        let dir = folder.checkpoint_folder(step);
        let error =
            |reason: String| TrainError::NoCheckpoint { run: folder.path().display().to_string(), reason };
        if !steps.contains(&step) {
            let existing: Vec<String> = steps.iter().map(u64::to_string).collect();
            let existing = if existing.is_empty() { "none".into() } else { existing.join(", ") };
            return Err(error(format!("there is none of step {step}; existing steps: {existing}")));
        }
        let found = checkpoint::read_checkpoint(&dir)
            .map_err(|reason| error(format!("{}: {reason}", dir.display())))?;
        return Ok((Some(found), Vec::new()));
    }
    let mut damaged = Vec::new();
    for step in steps.into_iter().rev() {
        let dir = folder.checkpoint_folder(step);
        match checkpoint::read_checkpoint(&dir) {
            Ok(found) => return Ok((Some(found), damaged)),
            Err(reason) => {
                tracing::warn!("{} is damaged; skipping it: {reason}", dir.display());
                damaged.push(step);
            }
        }
    }
    Ok((None, damaged))
}

/// Loads the parent checkpoint that `lineage` names, and which parts of it are reset.
pub(in crate::train) fn parent_checkpoint(
    lineage: &Lineage,
) -> Result<(Option<LoadedCheckpoint>, ForkReset), TrainError> {
    let (found, _) = find_checkpoint(&RunFolder::open(&lineage.folder)?, lineage.step)?;
    let without = |what: &str| lineage.left_out.iter().any(|word| word == what);
    let reset = ForkReset { optimizer: without("optimizer"), data: without("data"), step: without("step") };
    Ok((found, reset))
}

/// Restores optimizer and step count of a new `learner` from the plan's checkpoint, except for the parts that
/// are reset.
pub(in crate::train) fn restore_learner(plan: &RunPlan, learner: Learner) -> Result<Learner, TrainError> {
    let Some(found) = &plan.checkpoint else { return Ok(learner) };
    let (step, pause_updates) =
        if plan.reset.step { (0, 0) } else { (found.state.step, found.state.pause_updates.0) };
    if plan.reset.optimizer {
        let optimizer = learner.optimizer().clone();
        return Ok(learner.with_state(optimizer, step, pause_updates));
    }
    let (optimizer, unmatched) = checkpoint::load_optimizer(found, &learner)?;
    if unmatched > 0 {
        tracing::warn!("ignoring {unmatched} tensors of the checkpoint's optimizer: they match no parameter");
    }
    Ok(learner.with_state(optimizer, step, pause_updates))
}

/// Returns how often the recorder syncs, closes segments and measures the system.
pub(in crate::train) fn recorder_timing(record: &config::Record) -> RecordTiming {
    RecordTiming {
        sync_time: Duration::from_secs_f64(record.sync_seconds),
        sync_rows: record.sync_rows,
        part_rows: record.part_rows,
        part_time: Duration::from_secs_f64(record.part_seconds),
        system_time: Duration::from_secs_f64(record.system_seconds),
    }
}

/// Returns the SHA-256 of a config as TOML, in hexadecimal.
pub(in crate::train) fn config_hash(config: &Config) -> String {
    let text = config.to_toml().unwrap_or_default();
    checkpoint::hex(&Sha256::digest(text.as_bytes()))
}

/// Returns an error about the run's own config file.
pub(in crate::train) fn config_file_error(message: String) -> config::ConfigError {
    config::ConfigError::Rule { place: "config.toml".into(), message }
}
