//! Owns: validation: all measurements on fixed batches of the validation split.
//! Must not know: training, optimizers.
//! Invariant: all validations of a run use the same batches and, with random placement, the same positions.

use super::forward_probe::{ForwardProbe, probe_pass};
use super::validation_samples::{self, GreedySample};
use super::{pause_fit, validation_metrics};
use crate::config::Config;
use crate::data::{Batch, Dataset, RowReader, Split};
use crate::model::{TokenBatch, Transformer};
use crate::recycle::passes::PlacementFn;
use crate::rng::RngKey;
use crate::schema::metrics::{Metric, StepRow};
use crate::train::TrainError;
use crate::train::step::latent_cost;
use crate::train::step::pretraining::{placement_fn, upload_batch};
use crate::train::step::readback::{Readback, mean};
use burn::module::Module;
use std::collections::BTreeMap;

/// Holds the validation batches and measures a model on them.
pub(in crate::train) struct Evaluator {
    batches: Vec<Batch>,
}

impl Evaluator {
    /// Reads the first `eval.batches` batches, fewer if the validation split has fewer; its last rows may be a smaller
    /// batch. Returns `None` if the dataset has no validation split.
    pub fn new(config: &Config, dataset: &Dataset, vocab_size: usize) -> Result<Option<Self>, TrainError> {
        if !dataset.has_split(Split::Valid) {
            return Ok(None);
        }
        let mut reader = RowReader::open(dataset, Split::Valid, config.data.batch, config.data.seq_len, vocab_size)?;
        let mut batches = Vec::new();
        while batches.len() < config.eval.batches
            && let Some(batch) = reader.next_batch()?
        {
            batches.push(batch);
        }
        Ok(Some(Self { batches }))
    }

    /// Sets the validation metrics of `row`, after fitting the pause vector on the batch `last`, if given.
    pub fn validate(
        &self,
        config: &Config,
        model: &mut Transformer,
        last: Option<&Batch>,
        row: &mut StepRow,
    ) -> Result<(), TrainError> {
        if let Some(batch) = last {
            fit_pause(config, model, batch, row.step());
        }
        let model = model.valid();
        let mut values: BTreeMap<Metric, Vec<f32>> = BTreeMap::new();
        for (index, batch) in self.batches.iter().enumerate() {
            let tokens = upload_batch(batch, &model.device());
            let measured = validation_metrics::validation_values(&probe_batch(
                config,
                &model,
                &tokens,
                batch,
                validation_key(config, index),
            ));
            let mut readback = Readback::default();
            measured.iter().for_each(|(_, tensor)| readback.add(tensor));
            for ((metric, _), read) in measured.iter().zip(readback.read()?) {
                values.entry(*metric).or_default().extend(read);
            }
        }
        for (metric, values) in values {
            row.set_if_some(metric, mean(values));
        }
        Ok(())
    }

    /// Continues `eval.samples` prompts from the first rows. Returns prompts and continuations.
    pub fn samples(
        &self,
        config: &Config,
        model: &Transformer,
        end_tokens: &[u32],
    ) -> Result<Vec<(Vec<u32>, GreedySample)>, TrainError> {
        let model = model.valid();
        let prompts = self.batches.iter().flat_map(validation_samples::prompts).take(config.eval.samples);
        let generate = |prompt: Vec<u32>| {
            let generated =
                validation_samples::generate_greedy(&model, &prompt, config.eval.sample_tokens, end_tokens)?;
            Ok((prompt, generated))
        };
        prompts.map(generate).collect()
    }

    /// Measures the sequential cost of a latent on the first batch. `model` is with autodiff.
    pub fn measure_sequential_cost(&self, config: &Config, model: &Transformer, row: &mut StepRow) {
        let Some(batch) = self.batches.first() else { return };
        let (frozen, tokens) = (model.valid(), upload_batch(batch, &model.device().without_autodiff()));
        let probe = probe_batch(config, &frozen, &tokens, batch, validation_key(config, 0));
        if let Some((positions, _)) = probe.recycled {
            latent_cost::measure_sequential_cost(model, &tokens, positions, config.recycle.scale.max(), row);
        }
    }
}

/// Returns the key of a validation batch; its step is always 0, so that positions are the same all run long.
fn validation_key(config: &Config, index: usize) -> RngKey {
    RngKey { seed: config.run.seed, step: 0, batch: index as u64, pass: 0 }
}

/// Probes a batch with the largest budget and scale of the schedule; a run without recycling is a control.
fn probe_batch<'a>(
    config: &Config,
    model: &'a Transformer,
    tokens: &'a TokenBatch,
    batch: &Batch,
    key: RngKey,
) -> ForwardProbe<'a> {
    let recycle = &config.recycle;
    let budget = recycle.max_budget(model.shape().vocab_size);
    let mut place = placement_fn(batch, recycle, budget, key);
    let place = budget.selects_any().then_some::<PlacementFn>(&mut place);
    let pass = probe_pass(recycle, recycle.scale.max(), key);
    ForwardProbe::run(model, tokens, pass, recycle.passes.most_probable(), place)
}

/// Fits the pause vector at the recycled positions of a training batch.
fn fit_pause(config: &Config, model: &mut Transformer, batch: &Batch, step: u64) {
    let frozen = model.valid();
    let tokens = upload_batch(batch, &frozen.device());
    let probe = probe_batch(config, &frozen, &tokens, batch, RngKey { step, ..validation_key(config, 0) });
    if let Some((positions, states)) = &probe.recycled {
        pause_fit::fit_pause_vector(model, &tokens, states, positions, &probe.pass, config.eval.pause_steps);
    }
}
