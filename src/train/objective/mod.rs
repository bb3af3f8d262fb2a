//! Owns: what a run learns and how it is measured, behind one trait: batches, gradients, validation, samples, probes.
//! Must not know: the training loop, the optimizer, run folders, screens.
//! Invariant: the state of an objective is its position in the data; all else follows from the config and the number of
//! updates done, so that a resumed run continues exactly.

pub mod answers;
pub mod curriculum;
pub mod pretraining;
mod question_set;
pub mod rl;
mod validation_answers;

use super::TrainError;
use super::step::update::UpdateBatches;
use crate::config::Config;
use crate::data::{StreamPosition, Tokenizer};
use crate::model::Transformer;
use crate::schema::metrics::StepRow;
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::token_rows::TokenRow;
use std::path::{Path, PathBuf};

/// Where an objective begins or goes on.
#[derive(Clone, Debug, Default)]
pub struct ObjectiveStart {
    pub position: StreamPosition,
    /// Level of the last update; `None` before the first one.
    pub level: Option<u64>,
    /// Folder of the checkpoint, if the objective goes on in it.
    pub state_dir: Option<PathBuf>,
}

/// What a run learns.
pub trait Objective {
    /// Makes the batches of the next update of `model`.
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        model: &Transformer,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError>;

    /// Says that the update on the last batches is done. Returns the number of their input tokens and their epoch.
    fn count_update(&mut self) -> (u64, u64);

    /// Returns the position in the data after the last batches whose update is done.
    fn position(&self) -> StreamPosition;

    /// Writes what else of its state a checkpoint needs, as files of the folder `dir`.
    fn save_state(&self, _config: &Config, _dir: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// Returns the rollouts that were made for the last update; none when called again.
    fn take_rollouts(&mut self) -> Vec<RolloutRow> {
        Vec::new()
    }

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

    /// Returns the level of difficulty of the last update, such as the stage of a curriculum. Validations of a higher level are
    /// about a harder task.
    fn level(&self) -> u64 {
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

/// A piece of what a model made of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum SamplePiece {
    Token(u32),
    /// A latent, as the likeliest tokens of the state that was fed.
    Latent(Vec<u32>),
}

impl Sample {
    /// Returns the text of the pieces: latents as `⟨4 10⟩`, with the tokens that each decodes to.
    pub fn text(&self, decode: impl Fn(&[u32]) -> String) -> String {
        let mut text = String::new();
        for pieces in
            self.pieces.chunk_by(|one, other| matches!((one, other), (SamplePiece::Token(_), SamplePiece::Token(_))))
        {
            let ids = pieces.iter().filter_map(|piece| match piece {
                SamplePiece::Token(id) => Some(*id),
                SamplePiece::Latent(_) => None,
            });
            match &pieces[0] {
                SamplePiece::Latent(likely) => text += &format!("⟨{}⟩", decode(likely).trim()),
                SamplePiece::Token(_) => text += &decode(&ids.collect::<Vec<_>>()),
            }
        }
        text
    }
}

/// A prompt of the validation split, and what the model made of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Name of the decoding method, such as `greedy`.
    pub decoding: String,
    pub prompt: Vec<u32>,
    pub pieces: Vec<SamplePiece>,
    /// Mean entropy of the distributions of the generated tokens, nats.
    pub entropy: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latents_of_a_sample_are_shown_as_what_they_decode_to() {
        let pieces = vec![
            SamplePiece::Latent(vec![4, 7]),
            SamplePiece::Latent(Vec::new()),
            SamplePiece::Token(1),
            SamplePiece::Token(2),
            SamplePiece::Latent(vec![3]),
        ];
        let sample = Sample { decoding: String::new(), prompt: Vec::new(), pieces, entropy: None };
        let decode = |ids: &[u32]| ids.iter().map(|id| format!(" {id}")).collect::<String>();
        assert_eq!(sample.text(decode), "⟨4 7⟩⟨⟩ 1 2⟨3⟩");
    }
}
