//! Owns: the mean of curves that differ in the seed alone, and the band around it.
//! Must not know: runs, metrics, drawing.
//! Invariant: a mean is over all curves; there is none where a curve has no points on both sides.

use crate::statistics::t_interval;

/// Curves of several seeds as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeedCurves {
    /// Mean over the curves, as `(x, mean)`.
    pub mean: Vec<(f64, f64)>,
    /// 95 % t interval of the mean, as `(x, low, high)`; empty with fewer than three curves.
    pub band: Vec<(f64, f64, f64)>,
}

/// What the band of [`SeedCurves`] shows, for a legend.
pub const BAND_NAME: &str = "95 % interval";
/// Fewest curves that have a band.
const FEWEST_WITH_BAND: usize = 3;

impl SeedCurves {
    /// Averages curves of `(x, y)` with x ascending: at each x of any curve within the range that all have, with straight
    /// lines between a curve's points.
    pub fn from_lines(lines: &[Vec<(f64, f64)>]) -> Self {
        let low = lines.iter().map(|line| line.first().map_or(f64::INFINITY, |point| point.0));
        let high = lines.iter().map(|line| line.last().map_or(f64::NEG_INFINITY, |point| point.0));
        let (low, high) = (low.fold(f64::NEG_INFINITY, f64::max), high.fold(f64::INFINITY, f64::min));
        let mut xs: Vec<f64> = lines.iter().flatten().map(|point| point.0).collect();
        xs.retain(|x| (low..=high).contains(x));
        xs.sort_unstable_by(f64::total_cmp);
        xs.dedup();
        let mut curves = Self::default();
        for x in xs {
            let values: Vec<f64> = lines.iter().filter_map(|line| value_at(line, x)).collect();
            curves.mean.push((x, values.iter().sum::<f64>() / values.len() as f64));
            if values.len() >= FEWEST_WITH_BAND {
                // A value that is not finite is a gap of the band, too.
                let [low, high] = t_interval(&values).unwrap_or([f64::NAN; 2]);
                curves.band.push((x, low, high));
            }
        }
        curves
    }
}

/// Returns the value of a curve at `x`, on the straight line between its points; none outside of them.
fn value_at(line: &[(f64, f64)], x: f64) -> Option<f64> {
    let next = line.partition_point(|point| point.0 < x);
    let (at, value) = *line.get(next)?;
    if at == x {
        return Some(value);
    }
    let (before, start) = line[next.checked_sub(1)?];
    Some(start + (value - start) * (x - before) / (at - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_all_curves_and_without_extrapolation() {
        let a = vec![(0.0, 0.0), (2.0, 4.0), (4.0, 4.0)];
        let b = vec![(1.0, 0.0), (3.0, 2.0), (9.0, 2.0)];
        let two = SeedCurves::from_lines(&[a.clone(), b.clone()]);
        assert_eq!(two.mean, [(1.0, 1.0), (2.0, 2.5), (3.0, 3.0), (4.0, 3.0)]);
        assert!(two.band.is_empty());
        let three = SeedCurves::from_lines(&[a.clone(), b, vec![(0.0, 7.0), (3.0, 7.0)]]);
        let [low, high] = t_interval(&[4.0, 1.0, 7.0]).unwrap();
        assert_eq!((three.band.len(), three.band[1]), (3, (2.0, low, high)));
        assert_eq!(SeedCurves::from_lines(std::slice::from_ref(&a)).mean, a);
        assert_eq!(SeedCurves::from_lines(&[a, Vec::new()]), SeedCurves::default());
        assert_eq!(SeedCurves::from_lines(&[]), SeedCurves::default());
    }

    #[test]
    fn a_value_that_is_not_finite_is_a_gap_of_the_mean() {
        let line = |y| vec![(0.0, 1.0), (1.0, y), (2.0, 3.0)];
        let curves = SeedCurves::from_lines(&[line(f64::NAN), line(1.0), line(2.0)]);
        assert!(curves.mean[1].1.is_nan() && curves.band[1].1.is_nan());
        assert_eq!((curves.mean[0], curves.mean[2], curves.band[2]), ((0.0, 1.0), (2.0, 3.0), (2.0, 3.0, 3.0)));
    }
}
