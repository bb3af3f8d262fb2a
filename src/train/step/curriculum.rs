//! Owns: the batches of a curriculum: the gradients of rows with latents, and the row of the step.
//! Must not know: how rows are made, the optimizer, the training loop, files.
//! Invariant: gradients are the mean over all targets of the batches.

use super::readback::mean;
use super::update::{BatchGradients, BatchValues, UpdateBatches};
use crate::curriculum::passes::{self, LatentSettings};
use crate::curriculum::rows::CurriculumRow;
use crate::model::Transformer;
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::schema::metrics::{Metric, StepRow};

/// The batches of one update, and how they are learned from.
pub struct CurriculumBatches {
    /// The rows of each batch.
    pub rows: Vec<Vec<CurriculumRow>>,
    pub settings: LatentSettings,
    pub stage: usize,
    pub resets_optimizer: bool,
}

impl CurriculumBatches {
    /// Returns the number of targets of a batch.
    fn targets(rows: &[CurriculumRow]) -> usize {
        rows.iter().map(|row| row.ids.len() - row.given).sum()
    }
}

impl UpdateBatches for CurriculumBatches {
    fn count(&self) -> usize {
        self.rows.len()
    }

    /// Each batch counts by its number of targets, so that several batches are learned from as one large one.
    fn gradients(&mut self, model: &Transformer, index: usize, timing: Timing) -> BatchGradients {
        let all: usize = self.rows.iter().map(|rows| Self::targets(rows)).sum();
        let weight = Self::targets(&self.rows[index]) as f64 / all as f64;
        let mut accumulator = GradientAccumulator::new(model, 1.0, timing);
        let output = passes::add_rows(&mut accumulator, &self.rows[index], &self.settings, weight);
        let (grads, costs) = accumulator.finish();
        BatchGradients { grads, costs, values: vec![output.nll, output.entropy] }
    }

    fn row(&mut self, step: u64, values: BatchValues) -> StepRow {
        let mut row = StepRow::new(step);
        let all = |index: usize| mean(values.iter().flat_map(|batch| batch[index].iter().copied()));
        row.set_if_some(Metric::LossQuestions, all(0));
        row.set_if_some(Metric::EntropyQuestions, all(1));
        row.set(Metric::Stage, self.stage as f64);
        row.set(Metric::Latents, self.rows.iter().flatten().map(|row| row.latents.len()).sum::<usize>() as f64);
        row
    }

    fn resets_optimizer(&self) -> bool {
        self.resets_optimizer
    }

    fn trains_pause(&self, _: &StepRow) -> bool {
        false
    }
}
