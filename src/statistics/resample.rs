//! Owns: what every bootstrap needs: the percentiles of resampled statistics, and drawing a table anew.
//! Must not know: the statistic.
//! Invariant: equal seeds give equal draws.

use super::distributions::TAIL;
use crate::rng::RngStream;

/// Returns the value below which the share `level` of the ascending `values` lies: that of the nearest rank.
///
/// # Panics
/// If there are no values.
pub(super) fn quantile(values: &[f64], level: f64) -> f64 {
    values[(level * (values.len() - 1) as f64).round() as usize]
}

/// Returns the percentile interval (Efron, 1979) of a statistic that `draw` computes from a new sample each time.
/// `None` without resamples.
pub(super) fn percentile_interval(resamples: usize, draw: impl FnMut() -> f64) -> Option<[f64; 2]> {
    if resamples == 0 {
        return None;
    }
    let mut values: Vec<f64> = std::iter::repeat_with(draw).take(resamples).collect();
    values.sort_unstable_by(f64::total_cmp);
    Some([quantile(&values, TAIL), quantile(&values, 1.0 - TAIL)])
}

/// Whether `scores[run][task]` is a table of finite numbers with at least one run and one task.
pub(super) fn is_table(scores: &[Vec<f64>]) -> bool {
    let tasks = scores.first().map_or(0, Vec::len);
    tasks > 0 && scores.iter().all(|run| run.len() == tasks && run.iter().all(|score| score.is_finite()))
}

/// Draws the runs of each task anew, with replacement and independently of the other tasks.
pub(super) fn draw_runs(scores: &[Vec<f64>], stream: &mut RngStream) -> Vec<Vec<f64>> {
    let tasks = scores.first().map_or(0, Vec::len);
    let draw = |_| (0..tasks).map(|task| scores[stream.uniform_below(scores.len())][task]).collect();
    (0..scores.len()).map(draw).collect()
}
