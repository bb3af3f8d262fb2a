//! Owns: percentile and BCa bootstrap intervals of a mean.
//! Must not know: what the values are.
//! Invariant: equal numbers and seeds give equal intervals.

use super::distributions::{TAIL, normal_cdf, normal_quantile};
use super::resample::quantile;
use crate::rng::{RngKey, RngPurpose};
use serde::Serialize;

/// A mean and two 95 % bootstrap intervals of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BootstrapMean {
    pub mean: f64,
    /// Percentile interval (Efron, 1979).
    pub percentile: [f64; 2],
    /// Interval corrected for bias and skewness, "bias-corrected and accelerated" (Efron, 1987).
    pub bca: [f64; 2],
}

/// Draws `values` anew `resamples` times and returns the intervals of their mean. `None` with fewer than two values,
/// without resamples, or if a value is not finite.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<BootstrapMean> {
    let count = values.len();
    if count < 2 || resamples == 0 || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0);
    let mut draw = || (0..count).map(|_| values[stream.uniform_below(count)]).sum::<f64>() / count as f64;
    let mut means: Vec<f64> = (0..resamples).map(|_| draw()).collect();
    means.sort_unstable_by(f64::total_cmp);
    let levels = bca_levels(values, mean, &means);
    Some(BootstrapMean {
        mean,
        percentile: [TAIL, 1.0 - TAIL].map(|level| quantile(&means, level)),
        bca: levels.map(|level| quantile(&means, level)),
    })
}

/// Returns the levels at which the distribution of `means`, in ascending order, is cut: `Φ(z0 + (z0 + z) / (1 - a (z0 + z)))`
/// with the bias `z0` and the acceleration `a` of the leave-one-out means (Efron, 1987, equation 6.8).
fn bca_levels(values: &[f64], mean: f64, means: &[f64]) -> [f64; 2] {
    // A sum in another order is the same mean, up to rounding.
    let slack = 1e-12 * values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let below = means.partition_point(|drawn| *drawn < mean - slack);
    let up_to = means.partition_point(|drawn| *drawn <= mean + slack);
    let drawn = means.len() as f64;
    let share = (below as f64 + (up_to - below) as f64 / 2.0) / drawn;
    let bias = normal_quantile(share.clamp(0.5 / drawn, 1.0 - 0.5 / drawn));
    // The mean without a value lies (mean - value) / (n - 1) above that of all: u is the same with the sign turned.
    let scale = 1.0 / (values.len() - 1) as f64;
    let influence = || values.iter().map(|value| (value - mean) * scale);
    let squares: f64 = influence().map(|u| u * u).sum();
    let cubes: f64 = influence().map(|u| u.powi(3)).sum();
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    [TAIL, 1.0 - TAIL].map(|level| {
        let shifted = bias + normal_quantile(level);
        let stretch = 1.0 - acceleration * shifted;
        // Only far outside of the usual range is the stretch not positive; then the level is that of the outermost value.
        if stretch > 0.0 { normal_cdf(bias + shifted / stretch) } else { f64::from(u8::from(shifted > 0.0)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_intervals_agree_without_skewness_and_move_apart_with_it() {
        let symmetric: Vec<f64> = (0..21).map(|at| f64::from(at) - 10.0).collect();
        let found = bootstrap_mean(&symmetric, 4000, 1).unwrap();
        for (percentile, bca) in found.percentile.iter().zip(found.bca) {
            assert!((percentile - bca).abs() < 0.25, "{found:?}");
        }
        assert!(found.percentile[0] < 0.0 && found.percentile[1] > 0.0 && found.mean == 0.0);
        let skewed: Vec<f64> = (0..21).map(|at| (f64::from(at) / 4.0).exp()).collect();
        let found = bootstrap_mean(&skewed, 4000, 1).unwrap();
        assert!(found.bca[0] > found.percentile[0] && found.bca[1] > found.percentile[1], "{found:?}");
        assert_eq!(bootstrap_mean(&skewed, 4000, 1), Some(found));
    }

    #[test]
    fn too_few_values_have_no_interval() {
        assert_eq!(bootstrap_mean(&[1.0], 100, 0), None);
        assert_eq!(bootstrap_mean(&[1.0, 2.0], 0, 0), None);
        assert_eq!(bootstrap_mean(&[1.0, f64::NAN], 100, 0), None);
        let equal = bootstrap_mean(&[0.1; 5], 100, 0).unwrap();
        assert!(equal.bca.iter().chain(&equal.percentile).all(|end| (end - 0.1).abs() < 1e-12), "{equal:?}");
    }
}
