//! Owns: which steps carry a recycled pass, and with which numbers.
//! Must not know: tensors, batches, terminals.
//! Invariant: what is decided for a step depends on (config, seed, step) alone.

use super::placement::Share;
use crate::config::{self, Curve, Recycle};
use crate::rng::{Draw, Purpose};

/// The numbers in force at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    /// Probability with which an eligible step carries a recycled pass.
    pub probability: f64,
    /// How many positions of a row are recycled.
    pub share: Share,
    /// Weight of the recycled loss.
    pub weight: f64,
    /// Multiplies what is fed of the state.
    pub scale: f64,
    /// Recycled passes of a step that recycles.
    pub passes: usize,
    /// Whether this step carries a recycled pass.
    pub recycles: bool,
}

/// What holds at `step` (1 is the first update): every `every`-th step is eligible, and an eligible step recycles
/// with the probability in force. `vocab_size` is what relative thresholds are relative to.
pub fn at(recycle: &Recycle, vocab_size: usize, seed: u64, step: u64) -> InForce {
    let lot = |purpose| Draw { seed, step, batch: 0 }.stream(purpose, 0).unit();
    let (probability, weight) = (recycle.probability.at(step), recycle.weight.at(step));
    let share = share(recycle, vocab_size, step);
    let eligible = recycle.every > 0 && step.is_multiple_of(recycle.every);
    let drawn = eligible && lot(Purpose::When) < probability;
    InForce {
        probability,
        share,
        weight,
        scale: recycle.scale.at(step),
        passes: recycle.passes.draw(lot(Purpose::Depth)),
        recycles: drawn && share.some() && weight > 0.0,
    }
}

/// The share of positions in force at `step`.
pub fn share(recycle: &Recycle, vocab_size: usize, step: u64) -> Share {
    share_of(recycle, vocab_size, |curve| curve.at(step), |curve| curve.at(step))
}

/// The share by which validations and early looks are made: the largest that the schedule ever reaches, so that they can
/// be compared over the whole run.
pub fn widest(recycle: &Recycle, vocab_size: usize) -> Share {
    share_of(recycle, vocab_size, Curve::max, Curve::min)
}

fn share_of(
    recycle: &Recycle,
    vocab_size: usize,
    number: impl Fn(&Curve) -> f64,
    least: impl Fn(&Curve) -> f64,
) -> Share {
    match recycle.share {
        config::Share::Fraction => Share::Fraction(number(&recycle.fraction)),
        config::Share::Count => Share::Count(number(&recycle.count).round() as usize),
        config::Share::Threshold => Share::Above(least(&recycle.threshold)),
        config::Share::RelativeThreshold => {
            Share::Above(least(&recycle.threshold) * (vocab_size as f64).ln())
        }
    }
}
