//! Owns: loss over floating-point operations: the loss at a budget, and the operations until a loss is reached.
//! Must not know: runs, metrics.
//! Invariant: a curve is linear between its points; it is neither smoothed nor extended.

use super::paired::t_interval;

/// A loss over operations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossCurve {
    /// Floating-point operations, ascending.
    pub flop: Vec<f64>,
    pub loss: Vec<f64>,
}

impl LossCurve {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        self.flop.iter().copied().zip(self.loss.iter().copied())
    }
}

/// Returns the loss at `flop`; none before the first point and behind the last.
pub fn loss_at(curve: &LossCurve, flop: f64) -> Option<f64> {
    let next = curve.flop.partition_point(|at| *at < flop);
    let (at, loss) = (*curve.flop.get(next)?, *curve.loss.get(next)?);
    if at == flop {
        return Some(loss);
    }
    let before = next.checked_sub(1)?;
    let (from, start) = (curve.flop[before], curve.loss[before]);
    Some(start + (loss - start) * (flop - from) / (at - from))
}

/// Returns the operations at which the loss is at `target` or below it for the first time; none if it never is.
pub fn flop_to_reach(curve: &LossCurve, target: f64) -> Option<f64> {
    let (first, start) = curve.points().next()?;
    if start <= target {
        return Some(first);
    }
    let pairs = curve.points().zip(curve.points().skip(1));
    let crossing = |((x0, y0), (x1, y1)): ((f64, f64), (f64, f64))| {
        (y1 <= target).then(|| x0 + (x1 - x0) * (y0 - target) / (y0 - y1))
    };
    pairs.into_iter().find_map(crossing)
}

/// How many operations one arm needs to reach a loss, relative to another.
#[derive(Clone, Debug, PartialEq)]
pub struct ReachRatio {
    /// Seeds with which both arms reach it.
    pub n: usize,
    /// Geometric mean over these seeds of the operations of a by those of b.
    pub ratio: Option<f64>,
    /// Its 95 % interval, of t over logarithms. It leaves out the seeds with which an arm never arrives.
    pub interval: Option<[f64; 2]>,
    pub never_a: usize,
    pub never_b: usize,
}

impl ReachRatio {
    /// Compares operations by seed; none if the arm never reaches the loss.
    pub fn new(a: &[Option<f64>], b: &[Option<f64>]) -> Self {
        let logs: Vec<f64> = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)? / (*b)?).ln())).collect();
        let never = |flop: &[Option<f64>]| flop.iter().filter(|flop| flop.is_none()).count();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        Self {
            n: logs.len(),
            ratio: (!logs.is_empty()).then(|| mean.exp()),
            interval: t_interval(&logs).map(|ends| ends.map(f64::exp)),
            never_a: never(a),
            never_b: never(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_its_ends() {
        let curve = LossCurve { flop: vec![1.0, 3.0, 4.0], loss: vec![5.0, 3.0, 3.5] };
        assert_eq!(
            [0.5, 1.0, 2.0, 3.5, 4.0, 4.1].map(|flop| loss_at(&curve, flop)),
            [None, Some(5.0), Some(4.0), Some(3.25), Some(3.5), None]
        );
        assert_eq!(
            [6.0, 4.0, 3.0, 2.9].map(|target| flop_to_reach(&curve, target)),
            [Some(1.0), Some(2.0), Some(3.0), None]
        );
        assert_eq!((loss_at(&LossCurve::default(), 1.0), flop_to_reach(&LossCurve::default(), 1.0)), (None, None));
    }
}
