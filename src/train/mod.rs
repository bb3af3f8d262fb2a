//! Owns: the training run (device, data, optimizer, loop, checkpoints) and the thread that it runs on.
//! Must not know: screens. It emits `Event`s and receives `Command`s.
//! Invariant: every tensor of a run belongs to the one thread that `spawn` starts.
//!
//! What is learned is an objective (`train::objective`): it hands over batches with their gradients and measures the model. Loop, optimizer,
//! checkpoints and record are the same for all.

pub use live::replay::replay_changes;
pub use objective::answers::{AnswerPlan, answer_by_plan};
pub use run::checkpoint::check_checkpoints;
pub use run::notes::append_note;
pub use run::thread::{Trainer, cancel_step, spawn};
pub use step::learner::Learner;

use crate::config::{Config, ConfigError};
use crate::data::DataError;
use crate::device::DeviceError;
use crate::files::{FileError, means_disk_full};
use crate::model::ModelError;
use crate::record::RecordError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a trainer emits besides metrics.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// Emit what only a screen needs: probed rows, which cost a few forward passes, system rows, past history.
    pub screen_events: bool,
    /// Whether the run has no folder yet. The trainer sets it.
    pub preparing: Arc<AtomicBool>,
}

impl TrainerOptions {
    pub fn new(screen_events: bool) -> Self {
        Self { screen_events, preparing: Arc::new(AtomicBool::new(true)) }
    }
}

/// How a run starts.
#[derive(Clone, Debug)]
pub enum StartMode {
    /// Starts at step 0 from a recipe.
    New(Box<Recipe>),
    /// Starts as another run started, and applies its recorded changes again at their steps.
    Replay { run: PathBuf, overrides: Vec<String> },
    /// Starts from a checkpoint of another run: that of `step`, or else its newest.
    Fork { run: PathBuf, step: Option<u64>, reset: ForkReset, overrides: Vec<String> },
    /// Continues the run in a folder from one of its own checkpoints.
    Resume {
        run: PathBuf,
        /// Step of the checkpoint to rewind to; later steps are discarded. `None`: the newest checkpoint.
        step: Option<u64>,
        /// Begin again at step 0 if no checkpoint can be read, which discards all recorded rows.
        restart: bool,
        overrides: Vec<String>,
    },
}

#[derive(Clone, Debug)]
pub struct Recipe {
    pub config: Config,
    /// The TOML text it was read from. The run's config file keeps its comments.
    pub text: String,
    /// The file to watch for edits during the run, if any.
    pub watched_file: Option<PathBuf>,
}

/// Which parts of the parent's state a fork resets instead of taking over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkReset {
    pub optimizer: bool,
    /// Start at the beginning of the training data.
    pub data: bool,
    /// Count steps from 0 again, which restarts all schedules.
    pub step: bool,
}

impl ForkReset {
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let parts = [(self.optimizer, "optimizer"), (self.data, "data"), (self.step, "step")];
        parts.into_iter().filter(|(reset, _)| *reset).map(|(_, word)| word)
    }
}

/// Why a run could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("`{key}` = {value}: {reason}")]
    InvalidSetting { key: &'static str, value: String, reason: String },
    #[error(
        "step {step}: {what} is {value}; stopped before the update, so that the weights are those of step {}. \
         Lower `optim.lr` (now {lr:.1e}), or clip gradients (`optim.clip`)", step - 1
    )]
    NotFinite { step: u64, what: &'static str, value: f64, lr: f64 },
    #[error("{run}: no checkpoint to continue from: {reason}")]
    NoCheckpoint { run: String, reason: String },
    #[error(
        "{place}: `{key}` = {new} cannot change when a run is resumed (now {old}). Set it back, or start a new \
         run from the checkpoint: coconut-lab run --from {run} --set {key}={new}"
    )]
    FrozenKey { place: String, key: String, old: String, new: String, run: String },
    #[error("`{key}` = {value}: the checkpoint's weights have {found}, which cannot change")]
    ShapeMismatch { key: String, value: String, found: String },
    #[error("step {step} of {steps} is done; raise `run.steps` to continue (--steps N)")]
    AlreadyDone { step: u64, steps: u64 },
    #[error(
        "the run has ended after step {step}: {tokens} tokens of `run.max_tokens` = {max_tokens}, {flop:.3e} operations of \
         `run.max_flop` = {max_flop:.3e}; raise the limit that is reached to continue"
    )]
    BudgetUsed { step: u64, tokens: u64, max_tokens: u64, flop: f64, max_flop: f64 },
    #[error("{dir}: not the dataset that the checkpoint was trained on: {reason}")]
    DatasetMismatch { dir: String, reason: String },
    /// The step was given up because the process is to end soon; nothing of it is kept.
    #[error("stopped within a step; the step is not counted")]
    Cancelled,
    #[error("the device failed: {0}")]
    DeviceFailed(String),
    #[error("{0}; check `rl.reward_exact`, `rl.reward_format`, `rl.price_token` and `rl.price_latent`")]
    InvalidReward(String),
    #[error("cannot record: {0}")]
    Recording(String),
}

impl From<FileError> for TrainError {
    fn from(error: FileError) -> Self {
        Self::Record(error.into())
    }
}

impl TrainError {
    /// Whether the disk was full. Such an operation can be retried when there is space again.
    fn is_disk_full(&self) -> bool {
        match self {
            TrainError::Record(error) => error.is_disk_full(),
            TrainError::Model(ModelError::Write { cause, .. }) | TrainError::Data(DataError::Io { cause, .. }) => {
                means_disk_full(cause.kind())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shared fixtures: a tiny model, a batch and a recycled pass.

    use crate::config::{Control, Model, PassScope};
    use crate::model::{ModelShape, TokenBatch, Transformer};
    use crate::recycle::passes::RecycledPass;
    use crate::rng::RngKey;
    use burn::tensor::Device;

    pub const SEQ_LEN: usize = 8;

    pub fn model(seed: u64) -> Transformer {
        let config = Model { width: 16, layers: 2, heads: 2, ..Default::default() };
        Transformer::new(ModelShape::from_config(&config, 13, SEQ_LEN), seed, 0.25, &Device::flex().autodiff())
    }

    /// Returns two rows of [`SEQ_LEN`] positions, ids below 13.
    pub fn batch(seed: u64) -> TokenBatch {
        let ids: Vec<i32> = (0..2 * (SEQ_LEN as u64 + 1)).map(|i| ((i * 7919 + seed * 31) % 101 % 13) as i32).collect();
        TokenBatch::upload(&ids, 2, SEQ_LEN, &Device::flex())
    }

    pub fn pass() -> RecycledPass {
        let key = RngKey { seed: 3, step: 1, ..RngKey::default() };
        RecycledPass { reach: PassScope::Dense, control: Control::None, scale: 1.0, jitter: 0.0, rng_key: key }
    }
}
pub mod eval;
mod live;
pub mod objective;
pub mod run;
pub mod step;
