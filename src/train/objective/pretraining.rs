//! Owns: pre-training as an objective: batches of token shards, validation with all controls, greedy samples.
//! Must not know: the training loop, the optimizer, run folders, screens.
//! Invariant: the batches depend only on the dataset, the config and the position.

use super::{Objective, Sample, SamplePiece};
use crate::config::Config;
use crate::data::{Batch, Dataset, Loader, StreamPosition, Tokenizer};
use crate::model::Transformer;
use crate::schema::metrics::StepRow;
use crate::schema::rows::GREEDY;
use crate::schema::token_rows::TokenRow;
use crate::train::TrainError;
use crate::train::eval::evaluator::Evaluator;
use crate::train::eval::probe;
use crate::train::step::pretraining::PretrainingBatches;
use crate::train::step::readback::mean;
use crate::train::step::update::UpdateBatches;

pub(in crate::train) struct Pretraining {
    dataset: Dataset,
    loader: Loader,
    evaluator: Option<Evaluator>,
    /// The number of batches that the evaluator was made with.
    eval_batches: usize,
    vocab_size: usize,
    /// The batches of the last update.
    batches: Vec<Batch>,
    /// After the last update that is done.
    position: StreamPosition,
}

impl Pretraining {
    /// Creates the objective. `loader` begins at `position`.
    pub fn new(
        config: &Config,
        dataset: Dataset,
        loader: Loader,
        position: StreamPosition,
        vocab_size: usize,
    ) -> Result<Self, TrainError> {
        let evaluator = Evaluator::new(config, &dataset, vocab_size)?;
        let eval_batches = config.eval.batches;
        Ok(Self { dataset, loader, evaluator, eval_batches, vocab_size, batches: Vec::new(), position })
    }
}

impl Objective for Pretraining {
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        _: &Transformer,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError> {
        let mut batches = Vec::with_capacity(config.optim.accumulate);
        while batches.len() < config.optim.accumulate {
            batches.push(self.loader.next_batch()?);
        }
        self.batches = batches;
        Ok(Box::new(PretrainingBatches::new(config, &self.batches, self.vocab_size, updates_done + 1)))
    }

    fn count_update(&mut self) -> (u64, u64) {
        let tokens = self.batches.iter().map(|batch| (batch.batch_size * batch.seq_len) as u64).sum();
        let Some(last) = self.batches.last() else { return (0, 0) };
        self.position = last.next_position.clone();
        (tokens, last.epoch)
    }

    fn position(&self) -> StreamPosition {
        self.position.clone()
    }

    fn set_config(&mut self, config: &Config) -> Result<(), TrainError> {
        if config.eval.batches != self.eval_batches {
            self.evaluator = Evaluator::new(config, &self.dataset, self.vocab_size)?;
            self.eval_batches = config.eval.batches;
        }
        Ok(())
    }

    fn can_validate(&self) -> bool {
        self.evaluator.is_some()
    }

    fn validate(
        &mut self,
        config: &Config,
        model: &mut Transformer,
        fit_pause: bool,
        row: &mut StepRow,
    ) -> Result<Vec<(String, f64)>, TrainError> {
        if let Some(evaluator) = &self.evaluator {
            evaluator.validate(config, model, self.batches.first().filter(|_| fit_pause), row)?;
        }
        Ok(Vec::new())
    }

    fn measure_sequential_cost(&self, config: &Config, model: &Transformer, row: &mut StepRow) {
        if let Some(evaluator) = self.evaluator.as_ref().filter(|_| config.recycle.every > 0) {
            evaluator.measure_sequential_cost(config, model, row);
        }
    }

    fn samples(&self, config: &Config, model: &Transformer, end_tokens: &[u32]) -> Result<Vec<Sample>, TrainError> {
        let Some(evaluator) = &self.evaluator else { return Ok(Vec::new()) };
        let samples = evaluator.samples(config, model, end_tokens)?.into_iter();
        let sample = |(prompt, generated): (Vec<u32>, crate::train::eval::validation_samples::GreedySample)| Sample {
            decoding: GREEDY.to_owned(),
            prompt,
            entropy: mean(generated.entropies),
            pieces: generated.ids.into_iter().map(SamplePiece::Token).collect(),
        };
        Ok(samples.map(sample).collect())
    }

    fn probe_row(
        &self,
        config: &Config,
        model: &Transformer,
        tokenizer: Option<&Tokenizer>,
        step: u64,
    ) -> Result<Option<TokenRow>, TrainError> {
        let Some(batch) = self.batches.first() else { return Ok(None) };
        probe::probe_row(config, model, tokenizer, batch, step).map(Some)
    }
}
