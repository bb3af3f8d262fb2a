//! Owns: the power of a paired t test over seeds: what effect a number of seeds can show, and how many one needs.
//! Must not know: what the effect is.
//! Invariant: tests have two sides. Their level `alpha` is 0.05, or less if it is one of several tests.

use super::distributions::{normal_cdf, student_quantile};
use statrs::function::gamma::ln_gamma;

/// Intervals of the integration, an even number.
const INTERVALS: usize = 4096;
/// Most seeds that [`seeds_needed`] tries.
const MAX_SEEDS: usize = 1 << 20;

/// Returns the probability that a paired two-sided t test at `alpha` over `n` seeds finds `effect`, if differences have the
/// standard deviation `sd`: `P(|T| > quantile)`, T noncentral with `n - 1` degrees of freedom and shift `effect / sd · √n`.
/// 0 with fewer than two seeds, because there is no test; NaN if `sd` is not positive or a number is not finite.
pub fn power(n: usize, sd: f64, effect: f64, alpha: f64) -> f64 {
    if !(sd > 0.0 && sd.is_finite() && effect.is_finite()) {
        return f64::NAN;
    }
    if n < 2 {
        return 0.0;
    }
    exceeding_probability(n as f64 - 1.0, effect / sd * (n as f64).sqrt(), alpha / 2.0)
}

/// Returns P(|Z + shift| > c·s) with the quantile `c` of Student's t, Z standard normal and s² a chi-square over its `df`
/// degrees: one integral over s by Simpson's rule.
fn exceeding_probability(df: f64, shift: f64, tail: f64) -> f64 {
    let quantile = student_quantile(df, tail);
    let log_factor = std::f64::consts::LN_2 + df / 2.0 * (df / 2.0).ln() - ln_gamma(df / 2.0);
    let density = |s: f64| {
        // s⁰ is 1 also at 0.
        let log_power = if df == 1.0 { 0.0 } else { (df - 1.0) * s.ln() };
        (log_factor + log_power - df * s * s / 2.0).exp()
    };
    let integrand = |s: f64| density(s) * (normal_cdf(shift - quantile * s) + normal_cdf(-shift - quantile * s));
    // s has mean 1 and a standard deviation of about 1/√(2 df); beyond ten of these there is nothing.
    let reach = 10.0 / (2.0 * df).sqrt();
    let (low, high) = ((1.0 - reach).max(0.0), 1.0 + reach);
    let step = (high - low) / INTERVALS as f64;
    let weight = |at: usize| match at {
        0 | INTERVALS => 1.0,
        at if at % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let sum: f64 = (0..=INTERVALS).map(|at| weight(at) * integrand(low + at as f64 * step)).sum();
    (sum * step / 3.0).clamp(0.0, 1.0)
}

/// Returns the effect above 0 that `n` seeds find with probability `wanted`, between `alpha` and 1. `None` with fewer than two
/// seeds or if a number is out of range.
pub fn detectable_effect(n: usize, sd: f64, wanted: f64, alpha: f64) -> Option<f64> {
    if n < 2 || !(sd > 0.0 && sd.is_finite() && wanted > alpha && wanted < 1.0) {
        return None;
    }
    let (mut low, mut high) = (0.0, sd);
    while power(n, sd, high, alpha) < wanted {
        (low, high) = (high, high * 2.0);
        if !high.is_finite() {
            return None;
        }
    }
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        (low, high) = if power(n, sd, middle, alpha) < wanted { (middle, high) } else { (low, middle) };
    }
    Some((low + high) / 2.0)
}

/// Returns the fewest seeds, two or more, that find `effect` with probability `wanted`, between `alpha` and 1. `None` if a
/// number is out of range or more than a million seeds are needed.
pub fn seeds_needed(effect: f64, sd: f64, wanted: f64, alpha: f64) -> Option<usize> {
    if !(effect != 0.0 && effect.is_finite() && sd > 0.0 && sd.is_finite() && wanted > alpha && wanted < 1.0) {
        return None;
    }
    let is_enough = |n: usize| power(n, sd, effect, alpha) >= wanted;
    let mut high = 2;
    while !is_enough(high) {
        high *= 2;
        if high > MAX_SEEDS {
            return None;
        }
    }
    // More seeds never find less.
    let mut low = high / 2;
    while low + 1 < high {
        let middle = (low + high) / 2;
        (low, high) = if is_enough(middle) { (low, middle) } else { (middle, high) };
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_effect_the_power_is_the_level_of_the_test() {
        for n in [2, 3, 8, 50, 5000] {
            assert!((power(n, 0.3, 0.0, 0.05) - 0.05).abs() < 1e-8, "{n}: {}", power(n, 0.3, 0.0, 0.05));
            assert_eq!(power(n, 0.3, 0.1, 0.05), power(n, 0.3, -0.1, 0.05));
            assert!(power(n, 1.0, 1e6, 0.05) > 0.999_999, "{n}");
        }
        // Many seeds: the normal test, Φ(2 - 1.96).
        assert!((power(1_000_000, 1.0, 0.002, 0.05) - 0.515_98).abs() < 1e-3);
    }

    #[test]
    fn effect_and_seeds_are_inverses_of_power() {
        for n in [2, 5, 30] {
            let effect = detectable_effect(n, 0.02, 0.8, 0.05).unwrap();
            assert!((power(n, 0.02, effect, 0.05) - 0.8).abs() < 1e-8);
            assert_eq!(seeds_needed(effect * 1.0001, 0.02, 0.8, 0.05), Some(n));
        }
        assert_eq!(seeds_needed(100.0, 1.0, 0.8, 0.05), Some(2));
        assert_eq!(seeds_needed(1e-9, 1.0, 0.8, 0.05), None);
    }

    #[test]
    fn numbers_out_of_range_have_no_answer() {
        assert_eq!(power(1, 1.0, 1.0, 0.05), 0.0);
        assert!(power(5, 0.0, 1.0, 0.05).is_nan() && power(5, 1.0, f64::NAN, 0.05).is_nan());
        assert_eq!((detectable_effect(1, 1.0, 0.8, 0.05), detectable_effect(5, 1.0, 1.0, 0.05)), (None, None));
        assert_eq!((seeds_needed(0.0, 1.0, 0.8, 0.05), seeds_needed(1.0, f64::INFINITY, 0.8, 0.05)), (None, None));
    }
}
