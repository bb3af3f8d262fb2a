//! Owns: the power of a paired t test: the smallest effect that a number of pairs shows, and the pairs that an effect needs.
//! Must not know: what is compared.
//! Invariant: tests have two sides, at 0.05.

use super::distributions::{bisect, noncentral_t_tail, t_quantile};

/// Most pairs that [`seeds_needed`] looks at.
const MAX_SEEDS: usize = 100_000;

/// Returns the power of a test of `n` pairs whose differences have this standard deviation and mean. `n` is at least 2.
pub fn power(n: usize, sd: f64, effect: f64) -> f64 {
    let df = (n - 1) as f64;
    noncentral_t_tail(t_quantile(0.025, df), df, effect / sd * (n as f64).sqrt())
}

/// Returns the effect (above 0) at which `n` pairs have this power; none with fewer than two pairs or without spread.
pub fn detectable_effect(n: usize, sd: f64, wanted: f64) -> Option<f64> {
    if n < 2 || !(sd > 0.0 && sd.is_finite()) || !(0.05..1.0).contains(&wanted) {
        return None;
    }
    let mut high = sd;
    while power(n, sd, high) < wanted {
        high *= 2.0;
    }
    Some(bisect(0.0, high, |effect| power(n, sd, effect) < wanted))
}

/// Returns the least number of pairs (2 at least) with which an effect is found with this power; none beyond 100,000.
pub fn seeds_needed(effect: f64, sd: f64, wanted: f64) -> Option<usize> {
    if !(sd > 0.0 && effect.abs() > 0.0) {
        return None;
    }
    let is_enough = |n: usize| power(n, sd, effect) >= wanted;
    let mut high = 2;
    while !is_enough(high) {
        high *= 2;
        if high > MAX_SEEDS {
            return None;
        }
    }
    // The power rises with the number of pairs.
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if is_enough(middle) { high = middle } else { low = middle }
    }
    Some(high.max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effect_and_number_of_pairs_belong_together() {
        for n in [2, 3, 8, 40] {
            let effect = detectable_effect(n, 0.02, 0.8).unwrap();
            assert!((power(n, 0.02, effect) - 0.8).abs() < 1e-9);
            assert_eq!(seeds_needed(effect * 1.000_001, 0.02, 0.8), Some(n));
        }
        assert_eq!(
            (detectable_effect(1, 0.02, 0.8), detectable_effect(3, 0.0, 0.8), seeds_needed(0.0, 1.0, 0.8)),
            (None, None, None)
        );
        assert_eq!(seeds_needed(1e-9, 1.0, 0.8), None, "too many");
    }
}
