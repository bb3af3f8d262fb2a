//! Owns: which steps carry a recycled pass, and with which numbers.
//! Must not know: tensors, batches, terminals.
//! Invariant: what is decided for a step depends on (config, seed, step) alone.

use crate::config::{Control, Recycle, Wanted};
use crate::rng::{Draw, Purpose};

/// The numbers in force at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    /// Probability with which an eligible step carries a recycled pass.
    pub probability: f64,
    /// How many positions of a row are recycled.
    pub wanted: Wanted,
    /// Weight of the recycled loss.
    pub weight: f64,
    /// Multiplies what is fed of the state.
    pub scale: f64,
    /// Recycled passes of a step that recycles.
    pub passes: usize,
    /// What stands in the place of the states.
    pub control: Control,
    /// Whether this step carries a recycled pass.
    pub recycles: bool,
}

/// What holds at `step` (1 is the first update): every `every`-th step is eligible, and an eligible step recycles
/// with the probability in force. A share of these feeds the pause vector instead, once, so that it is learned.
/// `vocab_size` is what relative thresholds are relative to.
pub fn at(recycle: &Recycle, vocab_size: usize, seed: u64, step: u64) -> InForce {
    let lot = |purpose| Draw { seed, step, ..Draw::default() }.stream(purpose, 0).unit();
    let (probability, weight) = (recycle.probability.at(step), recycle.weight.at(step));
    let wanted = recycle.wanted_at(vocab_size, step);
    let eligible = recycle.every > 0 && step.is_multiple_of(recycle.every);
    let drawn = eligible && lot(Purpose::When) < probability;
    let (control, passes) = match lot(Purpose::Pause) < recycle.pause_share {
        true => (Control::Pause, 1),
        false => (recycle.control, recycle.passes.draw(lot(Purpose::Depth))),
    };
    let recycles = drawn && wanted.some() && weight > 0.0;
    InForce { probability, wanted, weight, scale: recycle.scale.at(step), passes, control, recycles }
}
