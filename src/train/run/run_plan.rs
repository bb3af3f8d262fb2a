//! Owns: the plan of a run as data, and fitting it to the model and the dataset that were found.
//! Must not know: how a plan is made, tensors, the training loop.
//! Invariant: fitting a plan touches no file.

use super::checkpoint::{self, LoadedCheckpoint};
use super::resume_journal::ResumeJournal;
use crate::config::{self, Config, ConfigError, ObjectiveKind, WorkDone};
use crate::model::ModelShape;
use crate::record::run_folder::{RunFolder, RunLock};
use crate::schema::protocol::Lineage;
use crate::schema::rows::ChangeRow;
use crate::train::objective::ObjectiveStart;
use crate::train::{ForkReset, Recipe, TrainError};
use std::path::PathBuf;

/// Where the weights of a run come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::train) enum Origin {
    New,
    /// A checkpoint of another run.
    Fork,
    /// The run's own checkpoint.
    Resume,
}

pub(in crate::train) struct RunPlan {
    pub config: Config,
    pub version: u64,
    /// Text of the run's config file, with comments.
    pub config_text: String,
    pub recipe: Option<PathBuf>,
    pub origin: Origin,
    pub checkpoint: Option<LoadedCheckpoint>,
    pub reset: ForkReset,
    /// Recorded changes to apply at their steps.
    pub scheduled: Vec<ChangeRow>,
    pub lineage: Option<Lineage>,
}

/// The locked folder of a resumed run, and what has to be done to it first.
pub(in crate::train) struct ResumedFolder {
    pub folder: RunFolder,
    pub lock: RunLock,
    pub journal: ResumeJournal,
}

impl RunPlan {
    /// Plans a new run from a recipe.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            config: recipe.config,
            version: 0,
            config_text: recipe.text,
            recipe: recipe.watched_file,
            origin: Origin::New,
            checkpoint: None,
            reset: ForkReset::default(),
            scheduled: Vec::new(),
            lineage: None,
        }
    }

    /// Starts from the parent's checkpoint, if `lineage` names one.
    pub fn with_parent(self, lineage: Option<&Lineage>) -> Result<Self, TrainError> {
        let Some(lineage) = lineage.filter(|lineage| lineage.step.is_some()) else { return Ok(self) };
        let (checkpoint, reset) = checkpoint::parent_checkpoint(lineage)?;
        let origin = if checkpoint.is_some() { Origin::Fork } else { Origin::New };
        Ok(Self { origin, checkpoint, reset, ..self })
    }

    /// Returns the number of updates that are done at the start.
    pub fn steps_done(&self) -> u64 {
        self.checkpoint.as_ref().filter(|_| !self.reset.step).map_or(0, |found| found.state.step)
    }

    /// Returns the work that is done at the start.
    pub fn work_done(&self) -> WorkDone {
        match self.checkpoint.as_ref().filter(|_| !self.reset.step).map(|found| &found.state) {
            Some(state) => WorkDone { step: state.step, tokens: state.tokens, flop: state.flop },
            None => WorkDone { flop: Some(0.0), ..WorkDone::default() },
        }
    }

    /// Writes the model's actual shape into the config. Fails if another is requested than a checkpoint's weights have.
    pub fn adopt_shape(&mut self, shape: &ModelShape) -> Result<(), TrainError> {
        let requested = self.config.clone();
        let model = &mut self.config.model;
        model.arch = shape.arch;
        model.width = shape.width;
        model.layers = shape.layers;
        model.heads = shape.heads;
        model.kv_heads = shape.kv_heads;
        model.mlp_width = shape.mlp_width;
        model.tied = shape.tied;
        model.max_len = shape.max_len;
        model.vocab_size = shape.vocab_size;
        model.rope_theta = shape.rope_theta;
        // 0 means that the value is derived.
        let is_derived = |value: &toml::Value| value.as_integer() == Some(0);
        let differences = config::change::diff(&self.config, &requested);
        match differences.iter().find(|edit| self.checkpoint.is_some() && !is_derived(&edit.new)) {
            Some(edit) => Err(TrainError::ShapeMismatch {
                key: edit.key.path(),
                value: edit.new.to_string(),
                found: edit.old.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Returns where the training data continues if data and order are the checkpoint's; else its beginning.
    pub fn objective_start(&mut self, dataset: &str) -> ObjectiveStart {
        let Some(found) = &self.checkpoint else { return ObjectiveStart::default() };
        let (old, new) = (&found.config, &self.config);
        let same_order = (old.run.seed, old.data.shuffle) == (new.run.seed, new.data.shuffle);
        // A curriculum leaves out questions that are too long, so its positions depend on its settings.
        let same_objective = match new.objective.kind {
            ObjectiveKind::Pretraining => old.objective.kind == ObjectiveKind::Pretraining,
            ObjectiveKind::Curriculum => old.objective == new.objective && old.data.seq_len == new.data.seq_len,
            ObjectiveKind::Rl => {
                old.objective.kind == ObjectiveKind::Rl
                    && old.objective.separator == new.objective.separator
                    && old.data.seq_len == new.data.seq_len
            }
        };
        let same = found.state.dataset == dataset && same_order && same_objective;
        if same && !self.reset.data {
            let level = found.state.level.filter(|_| !self.reset.step);
            return ObjectiveStart { position: found.state.loader.clone(), level, state_dir: Some(found.dir.clone()) };
        }
        if !self.reset.data {
            tracing::warn!(
                "the data, its order, the seed or the objective differs from the checkpoint's: starting at the beginning of the data"
            );
            self.lineage.iter_mut().for_each(|lineage| lineage.left_out.push("data".into()));
        }
        ObjectiveStart::default()
    }

    /// Returns an error if `dataset` is not the checkpoint's.
    pub fn check_same_dataset(&self, dataset: &str) -> Result<(), TrainError> {
        match self.checkpoint.as_ref().map(|found| &found.state.dataset) {
            Some(then) if then != dataset => Err(TrainError::DatasetMismatch {
                dir: self.config.data.dir.clone(),
                reason: format!("it was {then}; it is now {dataset}"),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns an error about the run's own config file.
pub(in crate::train) fn config_file_error(message: String) -> ConfigError {
    ConfigError::Rule { place: "config.toml".into(), message }
}

/// Returns an error if a run that has done so much has reached its end.
pub(in crate::train) fn check_steps_left(done: &WorkDone, config: &Config) -> Result<(), TrainError> {
    if config.run.max_flop > 0.0 && done.flop.is_none() {
        return Err(TrainError::InvalidSetting {
            key: "run.max_flop",
            value: config.run.max_flop.to_string(),
            reason: "the checkpoint is of an older version, which did not count operations; set it to 0".into(),
        });
    }
    if !config.run.is_complete(done) {
        return Ok(());
    }
    let WorkDone { step, tokens, flop } = *done;
    match config.run.steps {
        steps if step >= steps => Err(TrainError::AlreadyDone { step, steps }),
        _ => Err(TrainError::BudgetUsed {
            step,
            tokens,
            max_tokens: config.run.max_tokens,
            flop: flop.unwrap_or(0.0),
            max_flop: config.run.max_flop,
        }),
    }
}
