//! Owns: validation: all that is measured on fixed batches of the validation split.
//! Must not know: training, optimizers.
//! Invariant: every validation of a run sees the same batches; with random placement, at the same positions.

use super::look::{Look, pass};
use super::read::{Readback, mean};
use super::sample::{self, Written};
use super::step::{placer, upload};
use super::{TrainError, measure, pause, price};
use crate::config::Config;
use crate::data::{Batch, Dataset, Loader, LoaderOptions, Position, Split};
use crate::model::{Tokens, Transformer};
use crate::record::registry::{Metric, StepRow};
use crate::recycle::passes::Place;
use crate::rng::Draw;
use burn::module::Module;
use std::collections::BTreeMap;

/// The validation batches.
pub(super) struct Evaluator {
    batches: Vec<Batch>,
}

impl Evaluator {
    /// Reads the batches; `None` where the dataset has no validation split.
    pub fn new(config: &Config, dataset: &Dataset, vocab_size: usize) -> Result<Option<Self>, TrainError> {
        if !dataset.has(Split::Valid) {
            return Ok(None);
        }
        let options = LoaderOptions {
            batch: config.data.batch,
            seq_len: config.data.seq_len,
            seed: config.run.seed,
            shuffle: false,
            repeat: false,
            vocab_size,
            prefetch: 1,
        };
        let mut loader = Loader::open(dataset, Split::Valid, options, Position::default())?;
        let mut batches = Vec::new();
        while batches.len() < config.eval.batches {
            match loader.next_batch()? {
                Some(batch) => batches.push(batch),
                None => break,
            }
        }
        Ok(Some(Self { batches }))
    }

    /// Fits the pause vector on `last`, the training batch before, where there is one; then validates, and sets the
    /// validation metrics of `row`.
    pub fn run(
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
            let tokens = upload(batch, &model.device());
            let measured = measure::of(&look(config, &model, &tokens, batch, draw(config, index)));
            let mut readback = Readback::default();
            measured.iter().for_each(|(_, tensor)| readback.add(tensor));
            for ((metric, _), read) in measured.iter().zip(readback.now()?) {
                values.entry(*metric).or_default().extend(read);
            }
        }
        for (metric, values) in values {
            row.set_if(metric, mean(values));
        }
        Ok(())
    }

    /// What the model writes after prompts of the first rows, as many as the config says, with the prompts. `end` ends a
    /// document.
    pub fn samples(
        &self,
        config: &Config,
        model: &Transformer,
        end: Option<u32>,
    ) -> Result<Vec<(Vec<u32>, Written)>, TrainError> {
        let model = model.valid();
        let prompts = self.batches.iter().flat_map(sample::prompts).take(config.eval.samples);
        let written = |prompt: Vec<u32>| {
            let written = sample::greedy(&model, &prompt, config.eval.sample_tokens, end)?;
            Ok((prompt, written))
        };
        prompts.map(written).collect()
    }

    /// Sets the price of a latent one after another in `row`, measured on the first batch. `model` is with autodiff.
    pub fn price(&self, config: &Config, model: &Transformer, row: &mut StepRow) {
        let Some(batch) = self.batches.first() else { return };
        let (frozen, tokens) = (model.valid(), upload(batch, &model.device().without_autodiff()));
        let look = look(config, &frozen, &tokens, batch, draw(config, 0));
        if let Some((positions, _)) = look.recycled {
            price::one_after_another(model, &tokens, positions, config.recycle.scale.max(), row);
        }
    }
}

/// Step 0 belongs to validation: its positions are drawn once for the whole run.
fn draw(config: &Config, index: usize) -> Draw {
    Draw { seed: config.run.seed, step: 0, batch: index as u64, pass: 0 }
}

/// A batch recycled as the config says at its height, in a run that does not recycle too: it is the others' control.
fn look<'a>(
    config: &Config,
    model: &'a Transformer,
    tokens: &'a Tokens,
    batch: &Batch,
    draw: Draw,
) -> Look<'a> {
    let recycle = &config.recycle;
    let wanted = recycle.wanted_at_most(model.shape().vocab_size);
    let mut place = placer(batch, recycle, wanted, draw);
    let place = wanted.some().then_some::<Place>(&mut place);
    let pass = pass(recycle, recycle.scale.max(), draw);
    Look::at(model, tokens, pass, recycle.passes.usual(), place)
}

fn fit_pause(config: &Config, model: &mut Transformer, batch: &Batch, step: u64) {
    let frozen = model.valid();
    let tokens = upload(batch, &frozen.device());
    let look = look(config, &frozen, &tokens, batch, Draw { step, ..draw(config, 0) });
    if let Some((positions, before)) = &look.recycled {
        pause::fit(model, &tokens, before, positions, &look.pass, config.eval.pause_steps);
    }
}
