//! Owns: bootstrap intervals of a mean (Efron, 1979 and 1987), and what other bootstraps need: quantiles, resamples.
//! Must not know: what the numbers stand for.
//! Invariant: equal numbers and seeds give equal intervals.

use super::distributions::{normal_cdf, normal_quantile};
use crate::rng::{RngKey, RngPurpose, RngStream};

/// A mean with its two bootstrap intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BootstrapIntervals {
    pub mean: f64,
    pub percentile: [f64; 2],
    /// Corrected for bias and skew (BCa); the percentile interval if all values are equal.
    pub bca: [f64; 2],
}

/// Returns the intervals of the mean of `values` from `resamples` resamples; none without values.
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<BootstrapIntervals> {
    if values.is_empty() || resamples == 0 {
        return None;
    }
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let mut stream = resample_stream(seed);
    let draw = |stream: &mut RngStream| (0..n).map(|_| values[stream.uniform_below(n)]).sum::<f64>() / n as f64;
    let means = sorted((0..resamples).map(|_| draw(&mut stream)));
    let at = |levels: [f64; 2]| levels.map(|level| quantile(&means, level));
    let percentile = at([0.025, 0.975]);
    let bca = bca_levels(values, mean, &means).map_or(percentile, at);
    Some(BootstrapIntervals { mean, percentile, bca })
}

/// Returns the levels of the BCa interval; none if nothing varies.
fn bca_levels(values: &[f64], mean: f64, means: &[f64]) -> Option<[f64; 2]> {
    let (n, total) = (values.len() as f64, values.iter().sum::<f64>());
    let left_out: Vec<f64> = values.iter().map(|value| (total - value) / (n - 1.0)).collect();
    let center = left_out.iter().sum::<f64>() / n;
    let sum = |power: i32| left_out.iter().map(|value| (center - value).powi(power)).sum::<f64>();
    let acceleration = sum(3) / (6.0 * sum(2).powf(1.5));
    // Resamples with the mean itself count half. A sum of numbers is equal up to rounding.
    let scale = values.iter().fold(mean.abs(), |most, value| most.max(value.abs()));
    let is_same = |other: f64| (other - mean).abs() <= 1e-9 * scale;
    let below = means.iter().filter(|other| **other < mean && !is_same(**other)).count() as f64;
    let same = means.iter().filter(|other| is_same(**other)).count() as f64;
    let bias = normal_quantile((below + same / 2.0) / means.len() as f64);
    let level = |z: f64| normal_cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
    let z = normal_quantile(0.975);
    let levels = [level(-z), level(z)];
    levels.iter().all(|level| level.is_finite()).then_some(levels)
}

/// Returns the stream of a bootstrap.
pub fn resample_stream(seed: u64) -> RngStream {
    RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0)
}

pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Returns the quantile of ascending `values` at `level` (0 to 1), linear between neighbours.
pub fn quantile(values: &[f64], level: f64) -> f64 {
    let place = level.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let next = values[(low + 1).min(values.len() - 1)];
    values[low] + share * (next - values[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_linear_between_neighbours() {
        let values = [1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.25, 0.75, 1.0].map(|level| quantile(&values, level)), [1.0, 1.5, 3.0, 4.0]);
        assert_eq!(quantile(&[3.0], 0.4), 3.0);
    }

    #[test]
    fn equal_values_have_a_point_as_interval() {
        let found = bootstrap_mean(&[0.1, 0.1, 0.1], 200, 1).unwrap();
        assert!((found.percentile[0] - 0.1).abs() < 1e-12 && found.bca == found.percentile);
        assert_eq!(bootstrap_mean(&[], 200, 1), None);
    }
}
