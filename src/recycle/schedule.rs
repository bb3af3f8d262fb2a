//! Owns: which steps have recycled passes, and with which settings.
//! Must not know: tensors, batches, terminals.
//! Invariant: the settings of a step depend only on (config, seed, step).

use crate::config::{Control, PositionBudget, Recycle};
use crate::rng::{RngKey, RngPurpose};

/// The recycling settings of one step, with curves evaluated and random choices made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    pub probability: f64,
    pub budget: PositionBudget,
    pub weight: f64,
    pub scale: f64,
    /// Number of recycled passes, if the step recycles.
    pub passes: usize,
    pub control: Control,
    pub recycles: bool,
}

/// Returns the settings of update `step`, from 1. A fraction `pause_share` of the steps feeds the pause
/// vector in a single pass, so that it is learned. Relative thresholds are relative to ln `vocab_size`.
pub fn step_settings(recycle: &Recycle, vocab_size: usize, seed: u64, step: u64) -> StepSettings {
    let uniform = |purpose| RngKey { seed, step, ..RngKey::default() }.stream(purpose, 0).uniform();
    let (probability, weight) = (recycle.probability.value_at(step), recycle.weight.value_at(step));
    let wanted = recycle.budget_at(vocab_size, step);
    let eligible = recycle.every > 0 && step.is_multiple_of(recycle.every);
    let drawn = eligible && uniform(RngPurpose::RecycleDecision) < probability;
    let (control, passes) = match uniform(RngPurpose::PauseUpdate) < recycle.pause_share {
        true => (Control::Pause, 1),
        false => (recycle.control, recycle.passes.draw(uniform(RngPurpose::PassCount))),
    };
    let recycles = drawn && wanted.selects_any() && weight > 0.0;
    StepSettings { probability, budget: wanted, weight, scale: recycle.scale.value_at(step), passes, control, recycles }
}
