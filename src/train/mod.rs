//! Owns: the training run: device, data, optimizer, loop, checkpoints; the thread they live on.
//! Must not know: screens. It says `Event`s and takes `Command`s.
//! Invariant: every tensor of a run belongs to the one thread that `spawn` starts.

mod answer;
mod begin;
pub mod bench;
mod checkpoint;
pub mod device;
mod evaluate;
mod intent;
#[cfg(feature = "gpu")]
mod kernels;
mod latents;
mod look;
mod measure;
mod moments;
mod notebook;
mod obey;
mod optim;
mod past;
mod pause;
pub mod perplexity;
mod prepare;
mod price;
mod probe;
pub mod profile;
mod publish;
mod read;
mod replay;
mod report;
mod resume;
mod run;
mod sample;
mod save;
pub mod sequential;
mod settle;
mod shown;
mod steer;
mod step;
mod thread;

pub use notebook::{Place, note};
pub use replay::reapplied;
pub use step::Learner;
pub use thread::{Trainer, Wants, spawn};

use crate::config::{Config, ConfigError};
use crate::data::DataError;
use crate::model::ModelError;
use crate::record::RecordError;
use std::path::PathBuf;

/// How a run begins.
#[derive(Clone, Debug)]
pub enum Begin {
    /// At the beginning.
    New(Box<Recipe>),
    /// At the beginning of another run, whose recorded changes are done again at their steps.
    Replay {
        /// The other's run folder.
        run: PathBuf,
        /// Overrides, `section.key=value`.
        sets: Vec<String>,
    },
    /// With a checkpoint of another run: that of `step`, or the newest.
    Fork {
        /// The other's run folder.
        run: PathBuf,
        /// The step of its checkpoint.
        step: Option<u64>,
        /// What does not come along.
        fresh: Fresh,
        /// Overrides, `section.key=value`.
        sets: Vec<String>,
    },
    /// Where the run in a folder stopped.
    Resume {
        /// The run folder.
        run: PathBuf,
        /// The step to go back to; what came after it is given up.
        step: Option<u64>,
        /// Overrides, `section.key=value`, of live keys.
        sets: Vec<String>,
    },
}

/// A config and where it comes from.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The config, overrides included.
    pub config: Config,
    /// The text that it came from, whose comments the run's config file keeps.
    pub text: String,
    /// The file that it came from, where that is to be followed.
    pub follow: Option<PathBuf>,
}

/// What a fork begins afresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// The optimizer's state.
    pub optimizer: bool,
    /// The place in the data.
    pub data: bool,
    /// The count of steps, and with it the schedules.
    pub step: bool,
}

impl Fresh {
    /// What it is of, in words.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let words = [(self.optimizer, "optimizer"), (self.data, "data"), (self.step, "step")];
        words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word)
    }
}

/// Why a run ended.
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
    #[error("`run.device` = \"{wanted}\": {reason}")]
    Device { wanted: String, reason: String },
    #[error("`{key}` = {value}: {reason}")]
    Setting { key: &'static str, value: String, reason: String },
    #[error(
        "step {step}: {what} is {value}; stopped before the update, so that the weights are those of step {}. \
         Lower `optim.lr` (now {lr:.1e}), or clip gradients (`optim.clip`)", step - 1
    )]
    NotFinite { step: u64, what: &'static str, value: f64, lr: f64 },
    #[error("{run}: no checkpoint to go on from: {reason}")]
    NoCheckpoint { run: String, reason: String },
    #[error(
        "{place}: `{key}` = {new} cannot change when a run is resumed, where it is {old}. Set it back, or start a new run \
         from the checkpoint: coconut-lab run --from {run} --set {key}={new}"
    )]
    Frozen { place: String, key: String, old: String, new: String, run: String },
    #[error("`{key}` = {value}: the checkpoint's weights have {found}, and cannot have another")]
    Shape { key: String, value: String, found: String },
    #[error("step {step} of {steps} is done; raise `run.steps` to go on (--steps N)")]
    Done { step: u64, steps: u64 },
    #[error("{dir} is not the dataset that the checkpoint was trained on: {reason}")]
    OtherData { dir: String, reason: String },
    #[error("the device failed: {0}")]
    DeviceFailed(String),
    #[error("cannot record: {0}")]
    Recording(String),
}

impl TrainError {
    /// Whether there was no room on the disk: what has room again can be done then.
    fn is_full(&self) -> bool {
        match self {
            TrainError::Record(error) => error.is_full(),
            TrainError::Model(ModelError::Write { cause, .. })
            | TrainError::Data(DataError::Io { cause, .. }) => crate::record::no_room(cause.kind()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    //! What the tests of this room run on.

    use crate::config::{Control, Model, Reach};
    use crate::model::{Shape, Tokens, Transformer};
    use crate::recycle::passes::Pass;
    use crate::rng::Draw;
    use burn::tensor::Device;

    pub const SEQ_LEN: usize = 8;

    pub fn model(seed: u64) -> Transformer {
        let config = Model { width: 16, layers: 2, heads: 2, ..Default::default() };
        Transformer::new(Shape::from_config(&config, 13, SEQ_LEN), seed, 0.25, &Device::flex().autodiff())
    }

    /// Two rows.
    pub fn batch(seed: u64) -> Tokens {
        let ids: Vec<i32> =
            (0..2 * (SEQ_LEN as u64 + 1)).map(|i| ((i * 7919 + seed * 31) % 101 % 13) as i32).collect();
        Tokens::upload(&ids, 2, SEQ_LEN, &Device::flex())
    }

    pub fn pass() -> Pass {
        let draw = Draw { seed: 3, step: 1, ..Draw::default() };
        Pass { reach: Reach::Dense, control: Control::None, scale: 1.0, jitter: 0.0, draw }
    }
}
