//! Owns: the normal distribution and Student's t, central and noncentral.
//! Must not know: what is tested.
//! Invariant: relative errors are below 1e-9, far tails included.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::ln_gamma;
use std::f64::consts::SQRT_2;

/// Returns P(Z <= z) of the standard normal distribution.
pub fn normal_cdf(z: f64) -> f64 {
    erfc(-z / SQRT_2) / 2.0
}

/// Returns the z with P(Z <= z) = `p`.
pub fn normal_quantile(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * p)
}

/// Returns P(T > |t|) with `df` degrees of freedom.
pub fn t_tail(t: f64, df: f64) -> f64 {
    beta_reg(df / 2.0, 0.5, df / (df + t * t)) / 2.0
}

/// Returns the t with P(T > t) = `tail`, which is at most one half.
pub fn t_quantile(tail: f64, df: f64) -> f64 {
    let mut high = 1.0;
    while t_tail(high, df) > tail && high < 1e300 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| t_tail(t, df) > tail)
}

/// Returns where `is_below` changes from true to false between `low` and `high`, to the last bits.
pub fn bisect(mut low: f64, mut high: f64, is_below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if is_below(middle) { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Returns P(|T| > `limit`), T noncentral t of `df` degrees and noncentrality `shift`.
///
/// That is the mean of P(|Z + shift| > limit · s) over s = sqrt(V / df), V chi-square of `df` degrees, integrated by
/// Simpson's rule.
pub fn noncentral_t_tail(limit: f64, df: f64, shift: f64) -> f64 {
    const PIECES: usize = 8192;
    let ln_scale = 2f64.ln() + df / 2.0 * (df / 2.0).ln() - ln_gamma(df / 2.0);
    let integrand = |s: f64| {
        // At 0 the density is 0, but for one degree of freedom.
        let ln_power = if df == 1.0 { 0.0 } else { (df - 1.0) * s.ln() };
        let density = (ln_scale + ln_power - df * s * s / 2.0).exp();
        density * (normal_cdf(shift - limit * s) + normal_cdf(-shift - limit * s))
    };
    // The standard deviation of s is below 1 / sqrt(2 df).
    let spread = 12.0 / (2.0 * df).sqrt();
    let (low, high) = ((1.0 - spread).max(0.0), 1.0 + spread);
    let width = (high - low) / PIECES as f64;
    let weight = |index: usize| match index {
        0 | PIECES => 1.0,
        index if index % 2 == 1 => 4.0,
        _ => 2.0,
    };
    (0..=PIECES).map(|index| weight(index) * integrand(low + index as f64 * width)).sum::<f64>() * width / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_distributions_are_met() {
        let is_close = |found: f64, known: f64| (found / known - 1.0).abs() < 1e-9;
        assert!(is_close(normal_cdf(-6.0), 9.865_876_450_376_946e-10));
        assert!(is_close(normal_quantile(0.975), 1.959_963_984_540_054));
        // With one degree of freedom it is the distribution of Cauchy.
        assert!(is_close(t_tail(1.0, 1.0), 0.25));
        assert!(is_close(t_quantile(0.025, 1.0), 12.706_204_736_174_7));
        assert!(is_close(t_quantile(0.025, 2.0), 4.302_652_729_749_46));
        // Without a shift it is the central distribution.
        for df in [1.0, 2.0, 7.0, 40.0, 400.0] {
            let limit = t_quantile(0.025, df);
            assert!((noncentral_t_tail(limit, df, 0.0) - 0.05).abs() < 1e-9, "{df}");
        }
    }
}
