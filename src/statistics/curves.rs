//! Owns: comparisons of learning curves at equal operations, and of operations to reach a loss.
//! Must not know: how operations were counted.
//! Invariant: a curve is straight between its points, and neither smoothed nor extended.

use super::paired::PairedDifference;
use super::t_interval::SampleSpread;
use serde::Serialize;

/// A loss over the floating-point operations spent so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossCurve {
    /// Ascending.
    pub flop: Vec<f64>,
    /// One for each entry of `flop`.
    pub loss: Vec<f64>,
}

impl LossCurve {
    fn points(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.flop.iter().zip(&self.loss).map(|(flop, loss)| [*flop, *loss])
    }

    /// Returns the straight pieces between neighbouring points.
    fn segments(&self) -> impl Iterator<Item = [[f64; 2]; 2]> + '_ {
        self.points().zip(self.points().skip(1)).map(|(start, end)| [start, end])
    }
}

/// Returns the loss at `flop`, linear between the neighbouring points; `None` before the first and after the last.
pub fn loss_at(curve: &LossCurve, flop: f64) -> Option<f64> {
    let (first, last) = (curve.points().next()?, curve.points().last()?);
    if !(first[0]..=last[0]).contains(&flop) {
        return None;
    }
    if flop == first[0] {
        return Some(first[1]);
    }
    let [start, end] = curve.segments().find(|[_, end]| flop <= end[0])?;
    Some(start[1] + (end[1] - start[1]) * (flop - start[0]) / (end[0] - start[0]))
}

/// Returns the operations at which the curve is at `target` or below for the first time; those of its first point if it
/// starts there, `None` if it never gets there.
pub fn flop_to_reach(curve: &LossCurve, target: f64) -> Option<f64> {
    let first = curve.points().next()?;
    if first[1] <= target {
        return Some(first[0]);
    }
    let [start, end] = curve.segments().find(|[_, end]| end[1] <= target)?;
    if !start[1].is_finite() {
        return Some(end[0]);
    }
    Some(start[0] + (end[0] - start[0]) * (start[1] - target) / (start[1] - end[1]))
}

/// Compares two arms, one curve a seed, in their losses at `flop`. A curve that does not span `flop` is missing.
pub fn equal_flop_difference(a: &[LossCurve], b: &[LossCurve], flop: f64) -> PairedDifference {
    let losses = |curves: &[LossCurve]| curves.iter().map(|curve| loss_at(curve, flop)).collect::<Vec<_>>();
    PairedDifference::new(&losses(a), &losses(b))
}

/// How many times the operations of arm `b` arm `a` needs to reach a loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReachRatio {
    /// Seeds at which both arms reach it.
    pub n: usize,
    /// Geometric mean over these seeds.
    pub ratio: Option<f64>,
    /// 95 % t interval of the logarithm, as ratios. It leaves out the seeds at which an arm never arrives, so report it
    /// only together with `never_a` and `never_b`.
    pub interval: Option<[f64; 2]>,
    /// Curves of `a` that never reach it.
    pub never_a: usize,
    pub never_b: usize,
}

impl ReachRatio {
    /// Compares two arms, one curve a seed in the same order, in the operations to reach the loss `target`.
    pub fn to_reach(a: &[LossCurve], b: &[LossCurve], target: f64) -> Self {
        let reached =
            |curves: &[LossCurve]| curves.iter().map(|curve| flop_to_reach(curve, target)).collect::<Vec<_>>();
        let (a, b) = (reached(a), reached(b));
        let never = |arm: &[Option<f64>]| arm.iter().filter(|flop| flop.is_none()).count();
        // A curve that starts at 0 operations, and is there already, has no logarithm.
        let logs: Vec<f64> =
            a.iter().zip(&b).filter_map(|(a, b)| Some(((*a)? / (*b)?).ln())).filter(|log| log.is_finite()).collect();
        let spread = SampleSpread::from_values(&logs);
        Self {
            n: logs.len(),
            ratio: spread.map(|spread| spread.mean.exp()),
            interval: spread.and_then(|spread| spread.interval).map(|ends| ends.map(f64::exp)),
            never_a: never(&a),
            never_b: never(&b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[[f64; 2]]) -> LossCurve {
        LossCurve { flop: points.iter().map(|p| p[0]).collect(), loss: points.iter().map(|p| p[1]).collect() }
    }

    #[test]
    fn curves_are_straight_between_points_and_end_at_their_last() {
        let curve = curve(&[[1.0, 4.0], [3.0, 2.0], [4.0, 3.0], [6.0, 1.0]]);
        let losses = [0.9, 1.0, 2.0, 3.5, 6.0, 6.1].map(|flop| loss_at(&curve, flop));
        assert_eq!(losses, [None, Some(4.0), Some(3.0), Some(2.5), Some(1.0), None]);
        let reached = [5.0, 3.0, 2.0, 1.5, 0.5].map(|target| flop_to_reach(&curve, target));
        assert_eq!(reached, [Some(1.0), Some(2.0), Some(3.0), Some(5.5), None]);
        assert_eq!(loss_at(&curve, f64::NAN), None);
        assert_eq!((loss_at(&LossCurve::default(), 1.0), flop_to_reach(&LossCurve::default(), 9.0)), (None, None));
        assert_eq!(loss_at(&self::curve(&[[2.0, 7.0]]), 2.0), Some(7.0));
    }

    #[test]
    fn a_ratio_says_who_never_arrives() {
        let fast = curve(&[[1.0, 4.0], [2.0, 2.0]]);
        let slow = curve(&[[2.0, 4.0], [4.0, 2.0]]);
        let never = curve(&[[1.0, 4.0], [9.0, 3.5]]);
        let found = ReachRatio::to_reach(
            &[slow.clone(), slow.clone(), never.clone()],
            &[fast.clone(), fast.clone(), fast],
            3.0,
        );
        assert_eq!((found.n, found.never_a, found.never_b), (2, 1, 0));
        assert!((found.ratio.unwrap() - 2.0).abs() < 1e-12 && found.interval.is_some());
        let none = ReachRatio::to_reach(std::slice::from_ref(&never), std::slice::from_ref(&never), 3.0);
        assert_eq!((none.n, none.ratio, none.interval, none.never_a, none.never_b), (0, None, None, 1, 1));
        let at_three = equal_flop_difference(&[slow], &[curve(&[[0.0, 1.0], [3.0, 1.0]])], 3.0);
        assert_eq!((at_three.n, at_three.mean), (1, Some(2.0)));
    }
}
