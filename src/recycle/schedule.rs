//! Owns: which steps carry a recycled pass, and with which numbers.
//! Must not know: tensors, batches, terminals.
//! Invariant: what is decided for a step depends on (config, seed, step) alone.

use super::placement::Share;
use super::rng;
use crate::config::{self, Recycle};

/// The numbers in force at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    /// Probability with which an eligible step carries a recycled pass.
    pub probability: f64,
    /// How many positions of a row are recycled.
    pub share: Share,
    /// Weight of the recycled loss.
    pub weight: f64,
    /// Recycled passes of a step that recycles.
    pub passes: usize,
    /// Whether this step carries a recycled pass.
    pub recycles: bool,
}

/// What holds at `step` (1 is the first update): every `every`-th step is eligible, and an eligible step recycles
/// with the probability in force. `vocab_size` is what relative thresholds are relative to.
pub fn at(recycle: &Recycle, vocab_size: usize, seed: u64, step: u64) -> InForce {
    let probability = recycle.probability.at(step);
    let weight = recycle.weight.at(step);
    let share = share(recycle, vocab_size, step);
    let eligible = recycle.every > 0 && step.is_multiple_of(recycle.every);
    let drawn = eligible && rng::unit(&mut rng::stream(seed, rng::Purpose::When, step)) < probability;
    InForce {
        probability,
        share,
        weight,
        passes: recycle.passes.draw(rng::unit(&mut rng::stream(seed, rng::Purpose::Depth, step))),
        recycles: drawn && share.some() && weight > 0.0,
    }
}

/// The share of positions in force at `step`.
pub fn share(recycle: &Recycle, vocab_size: usize, step: u64) -> Share {
    match recycle.share {
        config::Share::Fraction => Share::Fraction(recycle.fraction.at(step)),
        config::Share::Count => Share::Count(recycle.count.at(step).round() as usize),
        config::Share::Threshold => Share::Above(recycle.threshold.at(step)),
        config::Share::RelativeThreshold => {
            Share::Above(recycle.threshold.at(step) * (vocab_size as f64).ln())
        }
    }
}

/// The share by which validations and early looks are made: the largest that the schedule ever reaches, so that they can
/// be compared over the whole run.
pub fn widest(recycle: &Recycle, vocab_size: usize) -> Share {
    match recycle.share {
        config::Share::Fraction => Share::Fraction(recycle.fraction.max()),
        config::Share::Count => Share::Count(recycle.count.max().round() as usize),
        config::Share::Threshold => Share::Above(recycle.threshold.min()),
        config::Share::RelativeThreshold => Share::Above(recycle.threshold.min() * (vocab_size as f64).ln()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Curve;

    fn steps(recycle: &Recycle) -> Vec<u64> {
        (1..=1000).filter(|step| at(recycle, 100, 7, *step).recycles).collect()
    }

    #[test]
    fn every_nth_step() {
        let recycle = Recycle { every: 100, ..Default::default() };
        assert_eq!(steps(&recycle), (1..=10).map(|n| 100 * n).collect::<Vec<_>>());
        assert_eq!(steps(&Recycle { every: 0, ..Default::default() }), Vec::<u64>::new());
    }

    #[test]
    fn starts_late_and_ramps_up() {
        let probability = Curve::through(vec![(0, 0.0), (500, 0.0), (1000, 1.0)]).unwrap();
        let found = steps(&Recycle { every: 1, probability, ..Default::default() });
        assert!(found.iter().all(|step| *step > 500));
        let early = found.iter().filter(|step| **step <= 750).count();
        let late = found.len() - early;
        assert!((40..90).contains(&early) && (160..220).contains(&late), "{early} {late}");
    }

    #[test]
    fn nothing_is_recycled_where_fraction_or_weight_is_nothing() {
        for recycle in [
            Recycle { every: 1, fraction: Curve::constant(0.0), ..Default::default() },
            Recycle { every: 1, weight: Curve::constant(0.0), ..Default::default() },
        ] {
            assert!(steps(&recycle).is_empty());
        }
    }

    #[test]
    fn deeper_steps_are_as_frequent_as_the_mixture_says() {
        let passes = config::Mixture::of(vec![(1, 0.9), (3, 0.1)]).unwrap();
        let recycle = Recycle { passes, ..Default::default() };
        let deep = (1..=5000).filter(|step| at(&recycle, 100, 7, *step).passes == 3).count();
        assert!((420..580).contains(&deep), "{deep}");
    }

    #[test]
    fn shares_are_what_the_config_says() {
        let of = |share| {
            let recycle = Recycle { share, ..Default::default() };
            at(&recycle, 100, 7, 1).share
        };
        assert_eq!(of(config::Share::Fraction), Share::Fraction(0.125));
        assert_eq!(of(config::Share::Count), Share::Count(8));
        assert_eq!(of(config::Share::Threshold), Share::Above(0.5));
        assert_eq!(of(config::Share::RelativeThreshold), Share::Above(0.5 * 100_f64.ln()));
    }
}
