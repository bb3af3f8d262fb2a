//! Owns: the training run: device, data, optimizer, loop, checkpoints; the thread they live on.
//! Must not know: screens. It says `Event`s and takes `Command`s.
//! Invariant: every tensor of a run belongs to the one thread that `spawn` starts.

mod checkpoint;
pub mod device;
mod evaluate;
mod latents;
mod look;
mod measure;
mod optim;
mod pause;
mod prepare;
mod price;
mod probe;
mod publish;
mod read;
mod report;
mod run;
pub mod sequential;
mod step;
mod thread;

pub use step::Learner;
pub use thread::{Trainer, Wants, spawn};

use crate::config::ConfigError;
use crate::data::DataError;
use crate::model::ModelError;
use crate::record::RecordError;

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
    #[error("the device failed: {0}")]
    DeviceFailed(String),
}
