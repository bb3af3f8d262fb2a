//! Owns: mean, standard deviation, standard error and t interval of a sample.
//! Must not know: what the values are.
//! Invariant: values that differ by rounding alone count as equal, so their spread is 0.

use super::distributions::{TAIL, student_quantile};

/// Relative spread below which values count as equal.
const ROUNDING: f64 = 1e-12;

/// Mean and spread of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleSpread {
    pub mean: f64,
    /// Standard deviation with `n - 1`; `None` for a single value.
    pub sd: Option<f64>,
    /// Standard error of the mean.
    pub se: Option<f64>,
    pub interval: Option<[f64; 2]>,
}

impl SampleSpread {
    /// Returns `None` if there are no values, or if one is not finite. The interval has level 95 %.
    pub fn from_values(values: &[f64]) -> Option<Self> {
        Self::with_tail(values, TAIL)
    }

    /// Returns the same with an interval that leaves out `tail` on either side.
    fn with_tail(values: &[f64], tail: f64) -> Option<Self> {
        if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        if values.len() < 2 {
            return Some(Self { mean, sd: None, se: None, interval: None });
        }
        let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        if sd < ROUNDING * mean.abs().max(1.0) {
            return Some(Self { mean, sd: Some(0.0), se: Some(0.0), interval: Some([mean; 2]) });
        }
        let se = sd / n.sqrt();
        let half = student_quantile(n - 1.0, tail) * se;
        Some(Self { mean, sd: Some(sd), se: Some(se), interval: Some([mean - half, mean + half]) })
    }
}

/// Returns the 95 % t interval of the mean of `values` (Student, 1908). `None` with fewer than two values, or if one is
/// not finite.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    SampleSpread::from_values(values)?.interval
}

/// Returns the t interval of the mean at another level, such as 0.99, under the same conditions.
pub fn t_interval_at(values: &[f64], level: f64) -> Option<[f64; 2]> {
    SampleSpread::with_tail(values, (1.0 - level) / 2.0)?.interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_the_quantile_times_the_standard_error() {
        // Mean 2, standard deviation 1, standard error 1/√3, quantile of two degrees 4.302653.
        let [low, high] = t_interval(&[1.0, 2.0, 3.0]).unwrap();
        assert!((low - (2.0 - 2.484138)).abs() < 1e-5 && (high - (2.0 + 2.484138)).abs() < 1e-5, "{low} {high}");
        assert_eq!(t_interval(&[0.1 + 0.2, 0.3, 0.3]).map(|[low, high]| low == high), Some(true));
        assert_eq!(t_interval_at(&[1.0, 2.0, 3.0], 0.95), t_interval(&[1.0, 2.0, 3.0]));
        // The quantile of two degrees at 0.995 is 9.924843.
        let [low, high] = t_interval_at(&[1.0, 2.0, 3.0], 0.99).unwrap();
        assert!((high - low - 2.0 * 9.924843 / 3.0_f64.sqrt()).abs() < 1e-5, "{low} {high}");
        assert_eq!(t_interval(&[1.0]), None);
        assert_eq!(t_interval(&[]), None);
        assert_eq!(t_interval(&[1.0, f64::NAN]), None);
    }
}
