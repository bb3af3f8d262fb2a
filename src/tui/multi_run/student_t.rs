//! Owns: the half width of a 95 % confidence interval of a mean, after Student (1908, "The probable error of a mean").
//! Must not know: what is averaged.
//! Invariant: a mean of fewer than two values has no interval.

/// The 97.5 % quantiles of Student's t distribution for 1 to 30 degrees of freedom.
const QUANTILES: [f64; 30] = [
    12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004, 2.262_157, 2.228_139,
    2.200_985, 2.178_813, 2.160_369, 2.144_787, 2.131_450, 2.119_905, 2.109_816, 2.100_922, 2.093_024, 2.085_963,
    2.079_614, 2.073_873, 2.068_658, 2.063_899, 2.059_539, 2.055_529, 2.051_831, 2.048_407, 2.045_230, 2.042_272,
];
/// The same quantile of the normal distribution.
const NORMAL_QUANTILE: f64 = 1.959_963_985;

/// Returns the 97.5 % quantile for `degrees` degrees of freedom, at least 1. Above 30 it is the expansion of Cornish and
/// Fisher (1938) to the third order, with an error below 1e-5.
fn quantile(degrees: usize) -> f64 {
    let z = NORMAL_QUANTILE;
    let expanded = |n: f64| {
        let first = (z.powi(3) + z) / 4.0;
        let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
        let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
        z + first / n + second / n.powi(2) + third / n.powi(3)
    };
    QUANTILES.get(degrees.saturating_sub(1)).copied().unwrap_or_else(|| expanded(degrees as f64))
}

/// Returns the mean of `values`, and the half width of its 95 % t interval: the standard deviation (n - 1) divided by the
/// square root of n, times the quantile. None without a value.
pub fn mean_and_half_width(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return Some((mean, None));
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, Some(quantile(values.len() - 1) * (variance / count).sqrt())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // R: t.test(c(1, 2, 4)) gives 2.3333 and -1.4612 to 6.1278.
        let (mean, half) = mean_and_half_width(&[1.0, 2.0, 4.0]).unwrap();
        assert!((mean - 7.0 / 3.0).abs() < 1e-12 && (half.unwrap() - 3.794_516).abs() < 1e-4, "{half:?}");
        assert_eq!(mean_and_half_width(&[3.0]), Some((3.0, None)));
        assert_eq!(mean_and_half_width(&[]), None);
        assert_eq!(mean_and_half_width(&[5.0; 4]), Some((5.0, Some(0.0))));
    }

    #[test]
    fn quantiles_fall_to_that_of_the_normal_distribution() {
        assert!((1..200).all(|degrees| quantile(degrees) > quantile(degrees + 1)));
        for (degrees, wanted) in [(40, 2.021_075), (100, 1.983_972), (1000, 1.962_339)] {
            assert!((quantile(degrees) - wanted).abs() < 1e-5, "{degrees}: {}", quantile(degrees));
        }
    }
}
