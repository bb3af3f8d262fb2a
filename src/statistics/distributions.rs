//! Owns: the probabilities and quantiles that the other files need, from the crate `statrs`.
//! Must not know: samples.
//! Invariant: arguments outside of a distribution's range give NaN, never a panic.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;
use std::sync::LazyLock;

/// Share of a distribution above the upper end of a 95 % interval, and below the lower end.
pub(super) const TAIL: f64 = 0.025;

/// Returns P(|T| ≥ |t|) of Student's t with `df` degrees of freedom: the regularized incomplete beta function.
pub(super) fn student_p(t: f64, df: f64) -> f64 {
    if !(t.is_finite() && df > 0.0) {
        return f64::NAN;
    }
    beta_reg(df / 2.0, 0.5, df / (df + t * t))
}

/// Returns the t that Student's t with `df` degrees of freedom exceeds with probability `tail`.
pub(super) fn student_quantile(df: f64, tail: f64) -> f64 {
    // A chart needs thousands of intervals of few values.
    static COMMON: LazyLock<[f64; 64]> =
        LazyLock::new(|| std::array::from_fn(|index| found_quantile(index as f64 + 1.0, TAIL)));
    match (1.0..=64.0).contains(&df) && df.fract() == 0.0 && tail == TAIL {
        true => COMMON[df as usize - 1],
        false => found_quantile(df, tail),
    }
}

fn found_quantile(df: f64, tail: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |distribution| distribution.inverse_cdf(1.0 - tail))
}

/// Returns P(Z ≤ z) of the standard normal distribution.
pub(super) fn normal_cdf(z: f64) -> f64 {
    erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

/// Returns the z with P(Z ≤ z) = `p`; NaN if `p` is not between 0 and 1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if (0.0..=1.0).contains(&p) { Normal::standard().inverse_cdf(p) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_tails_agree_with_tables() {
        // R: qt(0.975, df) and qnorm(0.975).
        for (df, quantile) in [(1.0, 12.706204736), (2.0, 4.302652730), (7.0, 2.364624252), (100.0, 1.983971519)] {
            assert!((student_quantile(df, TAIL) / quantile - 1.0).abs() < 1e-9, "{df}");
            assert!((student_p(quantile, df) - 0.05).abs() < 1e-9, "{df}");
        }
        assert!((normal_quantile(0.975) - 1.959963984540054).abs() < 1e-12);
        assert!((normal_cdf(-1.959963984540054) - 0.025).abs() < 1e-10);
        assert!(student_quantile(0.0, TAIL).is_nan() && student_p(1.0, 0.0).is_nan() && normal_quantile(2.0).is_nan());
    }
}
