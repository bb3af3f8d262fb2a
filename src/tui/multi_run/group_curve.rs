//! Owns: the mean of a group's curves and the band around it, at places of an x axis.
//! Must not know: runs, colours, cells.
//! Invariant: a run counts only between its first and its last point and not across a gap. Where the number of runs
//! changes, the mean is not joined.

use super::run_series::CurvePoint;
use crate::statistics::t_interval;

/// Which band is drawn around the mean of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBand {
    /// The 95 % t interval of the mean.
    #[default]
    TInterval,
    /// From the smallest to the largest run.
    MinMax,
    None,
}

impl GroupBand {
    pub fn next(self) -> Self {
        match self {
            GroupBand::TInterval => GroupBand::MinMax,
            GroupBand::MinMax => GroupBand::None,
            GroupBand::None => GroupBand::TInterval,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            GroupBand::TInterval => "band: 95 % t interval of the mean",
            GroupBand::MinMax => "band: min to max",
            GroupBand::None => "no band",
        }
    }
}

/// The mean of a group at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanPoint {
    /// Place on the axis, as the places that were given.
    pub x: f64,
    pub mean: f64,
    /// The band, if there is one: two runs at least.
    pub band: Option<(f64, f64)>,
    pub runs: usize,
}

/// Returns the mean of `curves` at each of `places`, which ascend with one distance; none where no run has a value.
/// `curves` are points `(x, y)` as `places` measures x, ascending in x.
pub fn mean_curve(curves: &[Vec<CurvePoint>], places: &[f64], band: GroupBand) -> Vec<Option<MeanPoint>> {
    let half = places.windows(2).next().map_or(0.5, |pair| (pair[1] - pair[0]) / 2.0);
    let sampled: Vec<Vec<Option<f64>>> = curves.iter().map(|curve| sample(curve, places, half)).collect();
    let at = |(index, x): (usize, &f64)| {
        let values: Vec<f64> = sampled.iter().filter_map(|curve| curve[index]).collect();
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let band = match band {
            GroupBand::TInterval => t_interval(&values).map(|[low, high]| (low, high)),
            GroupBand::MinMax if values.len() > 1 => {
                Some(values.iter().fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(*y), high.max(*y))))
            }
            _ => None,
        };
        Some(MeanPoint { x: *x, mean, band, runs: values.len() })
    };
    places.iter().enumerate().map(at).collect()
}

/// Returns the value of a curve at each place: between two points that of the line between them; up to `half` beyond its
/// ends that of the end.
fn sample(curve: &[CurvePoint], places: &[f64], half: f64) -> Vec<Option<f64>> {
    let mut next = 0;
    let value = |x: &f64| {
        while curve.get(next).is_some_and(|point| point.x < *x) {
            next += 1;
        }
        let (before, after) = (next.checked_sub(1).map(|index| curve[index]), curve.get(next).copied());
        match (before, after) {
            (Some(before), Some(after)) if !after.gap_before => {
                let share = (x - before.x) / (after.x - before.x).max(f64::MIN_POSITIVE);
                Some(before.y + (after.y - before.y) * share)
            }
            (before, after) => {
                let near = [before, after].into_iter().flatten().find(|point| (point.x - x).abs() <= half);
                near.map(|point| point.y)
            }
        }
    };
    places.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Vec<CurvePoint> {
        points.iter().map(|(x, y)| CurvePoint { x: *x, y: *y, gap_before: false }).collect()
    }

    #[test]
    fn runs_of_other_steps_are_averaged_at_the_same_place() {
        let places: Vec<f64> = (0..=10).map(f64::from).collect();
        let curves = [curve(&[(0.0, 0.0), (10.0, 10.0)]), curve(&[(1.0, 3.0), (4.0, 6.0)])];
        let mean = mean_curve(&curves, &places, GroupBand::MinMax);
        assert_eq!(mean[0], Some(MeanPoint { x: 0.0, mean: 0.0, band: None, runs: 1 }));
        assert_eq!(mean[2], Some(MeanPoint { x: 2.0, mean: 3.0, band: Some((2.0, 4.0)), runs: 2 }));
        assert_eq!(mean[5].map(|point| (point.mean, point.runs)), Some((5.0, 1)), "beyond the end of the second");
    }

    #[test]
    fn the_t_interval_is_around_the_mean_and_one_run_has_none() {
        let curves = [curve(&[(0.0, 1.0)]), curve(&[(0.0, 2.0)]), curve(&[(0.0, 4.0)])];
        let point = mean_curve(&curves, &[0.0, 1.0], GroupBand::TInterval)[0].unwrap();
        let (low, high) = point.band.unwrap();
        assert!((low + 1.461_183).abs() < 1e-4 && (high - 6.127_849).abs() < 1e-4, "{low} {high}");
        assert_eq!(mean_curve(&curves[..1], &[0.0], GroupBand::TInterval)[0].unwrap().band, None);
        assert_eq!(mean_curve(&curves, &[0.0], GroupBand::None)[0].unwrap().band, None);
    }

    #[test]
    fn nothing_is_drawn_across_a_gap_or_without_runs() {
        let mut gapped = curve(&[(0.0, 1.0), (10.0, 2.0)]);
        gapped[1].gap_before = true;
        let places: Vec<f64> = (0..=10).map(f64::from).collect();
        let mean = mean_curve(&[gapped], &places, GroupBand::None);
        let drawn: Vec<bool> = mean.iter().map(Option::is_some).collect();
        assert_eq!(drawn.iter().filter(|drawn| **drawn).count(), 2, "{drawn:?}");
        assert!(mean_curve(&[], &places, GroupBand::TInterval).iter().all(Option::is_none));
    }
}
