//! Owns: which steps carry a recycled pass, and with which numbers.
//! Must not know: tensors, batches, terminals.
//! Invariant: what is decided for a step depends on (config, seed, step) alone.

use super::rng;
use crate::config::Recycle;

/// The numbers in force at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    /// Probability with which an eligible step carries a recycled pass.
    pub probability: f64,
    /// Fraction of a row's positions that are recycled.
    pub fraction: f64,
    /// Weight of the recycled loss.
    pub weight: f64,
    /// Whether this step carries a recycled pass.
    pub recycles: bool,
}

/// What holds at `step` (1 is the first update): every `every`-th step is eligible, and an eligible step recycles
/// with the probability in force.
pub fn at(recycle: &Recycle, seed: u64, step: u64) -> InForce {
    let probability = recycle.probability.at(step);
    let fraction = recycle.fraction.at(step);
    let weight = recycle.weight.at(step);
    let eligible = recycle.every > 0 && step.is_multiple_of(recycle.every);
    let drawn = eligible && rng::unit(&mut rng::stream(seed, rng::Purpose::When, step)) < probability;
    InForce { probability, fraction, weight, recycles: drawn && fraction > 0.0 && weight > 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Curve;

    fn steps(recycle: &Recycle) -> Vec<u64> {
        (1..=1000).filter(|step| at(recycle, 7, *step).recycles).collect()
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
}
