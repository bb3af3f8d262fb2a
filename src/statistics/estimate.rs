//! Owns: estimates of means and ratios with bootstrap confidence intervals.
//! Must not know: what the numbers stand for.
//! Invariant: equal numbers and seeds give equal intervals.

use super::resample::percentile_interval;
use crate::rng::{RngKey, RngPurpose};
use serde::Serialize;

const RESAMPLES: usize = 2000;

/// A mean and its 95 % confidence interval from `low` to `high`. Both are NaN (null in JSON) if there is only one value,
/// because one value says nothing of how much others would differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Estimates the mean of `values`.
    pub fn from_values(values: impl IntoIterator<Item = f64>, seed: u64) -> Self {
        Self::from_ratio(&values.into_iter().map(|value| [value, 1.0]).collect::<Vec<_>>(), seed)
    }

    /// Estimates `Σ value / Σ weight` over `[value, weight]` pairs by percentile bootstrap (Efron 1979).
    pub fn from_ratio(pairs: &[[f64; 2]], seed: u64) -> Self {
        let quotient = |sums: [f64; 2]| if sums[1] > 0.0 { sums[0] / sums[1] } else { f64::NAN };
        let add = |sums: [f64; 2], pair: &[f64; 2]| [sums[0] + pair[0], sums[1] + pair[1]];
        let mean = quotient(pairs.iter().fold([0.0; 2], add));
        if pairs.len() < 2 {
            return Self { mean, low: f64::NAN, high: f64::NAN };
        }
        let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0);
        let mut sample =
            || (0..pairs.len()).fold([0.0; 2], |sums, _| add(sums, &pairs[stream.uniform_below(pairs.len())]));
        let [low, high] = percentile_interval(RESAMPLES, || quotient(sample())).unwrap_or([f64::NAN; 2]);
        Self { mean, low, high }
    }

    /// Returns the text of the interval with so many decimals, `–` if it is not known.
    pub fn interval_text(self, decimals: usize) -> String {
        match self.low.is_finite() && self.high.is_finite() {
            true => format!("{:.decimals$} to {:.decimals$}", self.low, self.high),
            false => "–".to_owned(),
        }
    }

    /// Applies a rising function to the mean and to both ends of the interval.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { mean: f(self.mean), low: f(self.low), high: f(self.high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_contains_the_mean_and_narrows_with_more_values() {
        let estimate = |count: usize| Estimate::from_values((0..count).map(|at| f64::from(at % 4 == 0)), 1);
        let (few, many) = (estimate(40), estimate(4000));
        assert_eq!((few.mean, many.mean), (0.25, 0.25));
        for Estimate { mean, low, high } in [few, many] {
            assert!(low < mean && mean < high);
        }
        // Two standard errors in each direction: √(0.25·0.75/n).
        assert!((few.high - few.low - 0.27).abs() < 0.05, "{few:?}");
        assert!((many.high - many.low - 0.027).abs() < 0.005, "{many:?}");
        assert_eq!(estimate(40), few);
        let single = Estimate::from_ratio(&[[3.0, 2.0]], 1);
        assert_eq!((single.mean, single.low.is_nan(), single.interval_text(2)), (1.5, true, "–".to_owned()));
    }
}
