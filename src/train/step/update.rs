//! Owns: what an update needs of an objective: the gradients of each batch, and the row of the step.
//! Must not know: any objective, the optimizer.
//! Invariant: values stay on the device until the update reads them all at once.

use crate::model::Transformer;
use crate::model::accumulator::Timing;
use crate::model::cost::PartCosts;
use crate::schema::metrics::StepRow;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// The values of each batch of an update on the host, tensor by tensor.
pub type BatchValues = Vec<Vec<Vec<f32>>>;

/// What one batch contributes to an update.
pub struct BatchGradients {
    pub grads: GradientsParams,
    /// Operations and seconds of each part.
    pub costs: PartCosts,
    /// What the row of the step is made from, on the device.
    pub values: Vec<Tensor<1>>,
}

/// The batches of an update.
pub trait UpdateBatches {
    fn count(&self) -> usize;

    /// Runs the passes over batch `index`. The gradients of all batches together are those of the update's loss.
    fn gradients(&mut self, model: &Transformer, index: usize, timing: Timing) -> BatchGradients;

    /// Returns the row of the step from the values of each batch, in the order in which they were returned.
    fn row(&mut self, step: u64, values: BatchValues) -> StepRow;

    /// Whether the optimizer forgets its moments before this update.
    fn resets_optimizer(&self) -> bool {
        false
    }

    /// Whether the update is left out, because it has nothing to learn: weights and moments stay as they are.
    fn skips_update(&self) -> bool {
        false
    }

    /// Whether the update trains the pause vector instead of the states' use.
    fn trains_pause(&self, row: &StepRow) -> bool;
}
