//! Owns: what a run learns and how it is measured, behind one trait: batches, gradients, validation, samples, probes.
//! Must not know: the training loop, the optimizer, run folders, screens.
//! Invariant: the state of an objective is its position in the data; all else follows from the config and the number of
//! updates done, so that a resumed run continues exactly.

pub mod answers;
pub mod curriculum;
pub mod pretraining;
mod question_set;

use super::TrainError;
use super::step::update::UpdateBatches;
use crate::config::Config;
use crate::data::{StreamPosition, Tokenizer};
use crate::model::Transformer;
use crate::schema::metrics::StepRow;
use crate::schema::token_rows::TokenRow;

/// What a run learns.
pub trait Objective {
    /// Reads the batches of the next update.
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError>;

    /// Says that the update on the last batches is done. Returns the number of their input tokens and their epoch.
    fn count_update(&mut self) -> (u64, u64);

    /// Returns the position in the data after the last batches whose update is done.
    fn position(&self) -> StreamPosition;

    /// Takes over a changed config.
    fn set_config(&mut self, config: &Config) -> Result<(), TrainError>;

    /// Whether there is anything to validate on.
    fn can_validate(&self) -> bool;

    /// Sets the validation metrics of `row`. With `fit_pause`, the pause vector may be fitted first. Returns further figures
    /// with their names.
    fn validate(
        &mut self,
        config: &Config,
        model: &mut Transformer,
        fit_pause: bool,
        row: &mut StepRow,
    ) -> Result<Vec<(String, f64)>, TrainError>;

    /// Returns the phase of training in which the last update was, such as the stage of a curriculum. Validations of a later
    /// phase are about a harder task.
    fn phase(&self, _: &Config) -> u64 {
        0
    }

    /// Measures what a latent costs if latents are computed one after another.
    fn measure_sequential_cost(&self, config: &Config, model: &Transformer, row: &mut StepRow);

    /// Continues validation prompts.
    fn samples(&self, config: &Config, model: &Transformer, end_tokens: &[u32]) -> Result<Vec<Sample>, TrainError>;

    /// Probes a row of the last batches.
    fn probe_row(
        &self,
        config: &Config,
        model: &Transformer,
        tokenizer: Option<&Tokenizer>,
        step: u64,
    ) -> Result<Option<TokenRow>, TrainError>;
}

/// A prompt of the validation split, and what the model made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the decoding method, such as `greedy`.
    pub decoding: String,
    pub prompt: Vec<u32>,
    pub ids: Vec<u32>,
    /// Mean entropy of the distributions of the generated tokens, nats.
    pub entropy: Option<f64>,
}
