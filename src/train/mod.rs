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
