//! Owns: planning a run from a recipe, from another run's checkpoint or changes, or from its own checkpoint.
//! Must not know: tensors, the training loop.
//! Invariant: a run folder is changed only after everything that could be refused has been checked.

use super::run_plan::{Origin, ResumedFolder, RunPlan, check_steps_left};
use super::{checkpoint, resume};
use crate::config::{self, Config};
use crate::record::changes;
use crate::record::run_folder::{RunFolder, read_json};
use crate::schema::protocol::{Lineage, RunInfo};
use crate::train::live::controller::PAUSED_KEY;
use crate::train::{ForkReset, Recipe, StartMode, TrainError};
use std::path::Path;

/// Plans a run, and checks everything that could be refused.
pub(in crate::train) fn plan_run(mode: StartMode) -> Result<(RunPlan, Option<ResumedFolder>), TrainError> {
    let plan = match mode {
        StartMode::New(recipe) => RunPlan::new(*recipe),
        StartMode::Replay { run, overrides } => plan_replay(&run, &overrides)?,
        StartMode::Fork { run, step, reset, overrides } => plan_fork(&run, step, reset, &overrides)?,
        StartMode::Resume { run, step, restart, overrides } => {
            let (plan, folder) = resume::plan_resume(&run, step, restart, &overrides)?;
            return Ok((plan, Some(folder)));
        }
    };
    Ok((plan, None))
}

/// Makes a recipe of another run's `config`, with the comments of its config file, and overrides.
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
    let parent = read_json::<RunInfo>(&folder.run_info_file())?.and_then(|info| info.lineage);
    let lineage = Some(Lineage { folder: run.to_owned(), step: None, left_out: Vec::new() });
    Ok(RunPlan { scheduled, lineage, ..RunPlan::new(recipe).with_parent(parent.as_ref())? })
}

/// Plans a run that starts from a checkpoint of `run`.
fn plan_fork(run: &Path, step: Option<u64>, reset: ForkReset, overrides: &[String]) -> Result<RunPlan, TrainError> {
    let folder = RunFolder::open(run)?;
    let (found, damaged) = checkpoint::find_checkpoint(&folder, step)?;
    let found = found.ok_or_else(|| TrainError::NoCheckpoint {
        run: run.display().to_string(),
        reason: match damaged.first() {
            Some((_, reason)) => format!("none of its checkpoints is intact: {reason}"),
            None => "it has none".into(),
        },
    })?;
    let recipe = recipe_from_run(&folder, &found.config, overrides)?;
    let lineage = Some(Lineage {
        folder: run.to_owned(),
        step: Some(found.state.step),
        left_out: reset.names().map(str::to_owned).collect(),
    });
    let plan = RunPlan { origin: Origin::Fork, checkpoint: Some(found), reset, lineage, ..RunPlan::new(recipe) };
    check_steps_left(&plan.work_done(), &plan.config)?;
    Ok(plan)
}
