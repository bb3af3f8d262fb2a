//! Owns: the batches of pre-training: the plain pass and the recycled passes of each, and the row of the step.
//! Must not know: the optimizer, the training loop, files.
//! Invariant: gradients are the mean over all targets of the batches that count.

use super::metrics_row::{self, BatchReadback, RecycledReadback, UpdateKind};
use super::readback::read_values;
use super::update::{BatchGradients, BatchValues, UpdateBatches};
use crate::config::{Config, Control, Placement, PositionBudget, Recycle};
use crate::data::Batch;
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::{TokenBatch, Transformer};
use crate::recycle::passes::{self, RecyclePlan, RecycledPass};
use crate::recycle::placement::{self, PlacementRows, RecycledPositions};
use crate::recycle::schedule::{self, StepSettings};
use crate::rng::RngKey;
use crate::schema::metrics::{Metric, StepRow};
use burn::tensor::{Device, Tensor};

/// The batches of one update, and how they are learned from.
pub struct PretrainingBatches<'a> {
    config: &'a Config,
    batches: &'a [Batch],
    settings: StepSettings,
    /// Of the update; each batch has its own.
    key: RngKey,
    /// The recycled positions of each batch that was run.
    positions: Vec<Option<RecycledPositions>>,
}

impl<'a> PretrainingBatches<'a> {
    /// Prepares update `step` of a model with this vocabulary.
    pub fn new(config: &'a Config, batches: &'a [Batch], vocab_size: usize, step: u64) -> Self {
        let settings = schedule::step_settings(&config.recycle, vocab_size, config.run.seed, step);
        let key = RngKey { seed: config.run.seed, step, batch: 0, pass: 0 };
        Self { config, batches, settings, key, positions: Vec::with_capacity(batches.len()) }
    }
}

impl PretrainingBatches<'_> {
    /// Returns the share of the update's targets that are in a batch, so that several batches are learned from as a large
    /// one, even if some targets do not count.
    fn batch_weight(&self, index: usize) -> f64 {
        let all: usize = self.batches.iter().map(Batch::target_count).sum();
        self.batches[index].target_count() as f64 / all.max(1) as f64
    }
}

impl UpdateBatches for PretrainingBatches<'_> {
    fn count(&self) -> usize {
        self.batches.len()
    }

    fn gradients(&mut self, model: &Transformer, index: usize, timing: Timing) -> BatchGradients {
        let (batch, recycle) = (&self.batches[index], &self.config.recycle);
        let key = RngKey { batch: index as u64, ..self.key };
        let tokens = upload_batch(batch, &model.device().without_autodiff());
        let mut place = placement_fn(batch, recycle, self.settings.budget, key);
        let outcome = passes::forward_backward(
            GradientAccumulator::new(model, self.batch_weight(index), timing),
            &tokens,
            &pass_plan(recycle, &self.settings, key),
            self.settings.recycles.then_some::<passes::PlacementFn>(&mut place),
        );
        let mut values = vec![outcome.plain.nll, outcome.plain.entropy];
        let (recycled, positions) = outcome.recycled.unzip();
        values.extend(recycled.map(|output| output.nll));
        self.positions.push(positions);
        BatchGradients { grads: outcome.grads, costs: outcome.costs, values }
    }

    fn row(&mut self, step: u64, values: BatchValues) -> StepRow {
        let covers = self.config.recycle.loss_on;
        let positions = std::mem::take(&mut self.positions);
        let readings = self.batches.iter().zip(values).zip(positions).map(|((batch, values), positions)| {
            let mut values = values.into_iter();
            let mut next = || values.next().unwrap_or_default();
            BatchReadback {
                counted: batch.counted_targets(),
                plain_nll: next(),
                plain_entropy: next(),
                recycled: positions.map(|positions| RecycledReadback { nll: next(), positions, covers }),
            }
        });
        let update = UpdateKind::new(&self.settings, &self.config.recycle);
        metrics_row::loss_row(step, &readings.collect::<Vec<_>>(), &self.settings, update)
    }

    fn trains_pause(&self, row: &StepRow) -> bool {
        self.settings.control == Control::Pause && row.get(Metric::Recycled).is_some()
    }
}

pub fn upload_batch(batch: &Batch, device: &Device) -> TokenBatch {
    let tokens = TokenBatch::upload(&batch.tokens, batch.batch_size, batch.seq_len, device);
    tokens.with_counted(batch.counted_targets())
}

/// Returns the recycled passes that a step makes: their weights, scope, control and gradient flow.
fn pass_plan(recycle: &Recycle, settings: &StepSettings, key: RngKey) -> RecyclePlan {
    let weight = |pass: usize| match recycle.pass_weights.last() {
        None if pass < settings.passes => 0.0,
        None => settings.weight,
        Some(last) => settings.weight * recycle.pass_weights.get(pass - 1).unwrap_or(last),
    };
    let pass = RecycledPass {
        reach: recycle.reach,
        control: settings.control,
        scale: settings.scale,
        jitter: recycle.jitter,
        rng_key: key,
    };
    RecyclePlan {
        pass,
        loss_weights: match UpdateKind::new(settings, recycle) {
            // One pass, whatever `recycle.pass_weights` says.
            UpdateKind::PauseVector => vec![settings.weight],
            UpdateKind::Model => (1..=settings.passes).map(weight).collect(),
        },
        flow: recycle.flow,
        cut: recycle.cut,
        loss_on: recycle.loss_on,
    }
}

/// Returns a function that chooses the recycled positions of `batch` from the plain entropy `[B·T]`.
pub(in crate::train) fn placement_fn<'a>(
    batch: &'a Batch,
    recycle: &'a Recycle,
    budget: PositionBudget,
    key: RngKey,
) -> impl FnMut(&Tensor<1>) -> RecycledPositions + 'a {
    let starts: Vec<bool> =
        batch.doc_start.chunks(batch.seq_len + 1).flat_map(|row| row[..batch.seq_len].to_vec()).collect();
    move |entropy| {
        let rows = PlacementRows {
            seq_len: batch.seq_len,
            doc_start: &starts,
            max_prefix_fraction: recycle.prefix,
            rng_key: key,
        };
        match recycle.placement {
            Placement::Random => placement::random(rows, budget),
            Placement::Span => placement::span(rows, budget, recycle.span),
            // READBACK: the host decides which positions are uncertain.
            Placement::EntropyAt | Placement::EntropyNext => match read_values(entropy) {
                Some(entropy) if recycle.placement == Placement::EntropyAt => {
                    placement::entropy_at(rows, budget, &entropy)
                }
                Some(entropy) => placement::entropy_next(rows, budget, &entropy),
                None => RecycledPositions { seq_len: batch.seq_len, rows: vec![Vec::new(); batch.batch_size] },
            },
        }
    }
}
