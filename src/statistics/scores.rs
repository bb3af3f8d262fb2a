//! Owns: scores of runs on tasks: interquartile mean, probability of improvement, and their stratified bootstraps (Agarwal et
//! al., arXiv 2108.13264).
//! Must not know: what a score or a task is.
//! Invariant: a bootstrap draws runs anew in every task independently, so each task keeps its number of runs.

use super::bootstrap::{quantile, resample_stream, sorted};
use crate::rng::RngStream;

/// Returns the mean of all scores without the lowest and the highest quarter, `[runs][tasks]`; none without scores.
pub fn iqm(scores: &[Vec<f64>]) -> Option<f64> {
    let all = sorted(scores.iter().flatten().copied());
    let cut = all.len() / 4;
    let kept = &all[cut..all.len() - cut];
    (!kept.is_empty()).then(|| kept.iter().sum::<f64>() / kept.len() as f64)
}

/// Returns the 95 % percentile interval of [`iqm`].
pub fn iqm_interval(scores: &[Vec<f64>], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    iqm(scores)?;
    let mut stream = resample_stream(seed);
    interval((0..resamples).filter_map(|_| iqm(&redraw(scores, &mut stream))))
}

/// Returns the mean over tasks of the share of pairs of runs in which x is above y, a tie counting half, `[runs][tasks]`.
pub fn probability_of_improvement(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
    let tasks = x.first()?.len();
    let above = |x: f64, y: f64| {
        if x > y {
            1.0
        } else if x == y {
            0.5
        } else {
            0.0
        }
    };
    let pairs = x.len() * y.len();
    let of_task = |task: usize| x.iter().flat_map(|x| y.iter().map(move |y| above(x[task], y[task]))).sum::<f64>();
    (pairs > 0 && tasks > 0).then(|| (0..tasks).map(of_task).sum::<f64>() / (pairs * tasks) as f64)
}

/// Returns the 95 % percentile interval of [`probability_of_improvement`].
pub fn improvement_interval(x: &[Vec<f64>], y: &[Vec<f64>], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    probability_of_improvement(x, y)?;
    let mut stream = resample_stream(seed);
    let draw = |_| probability_of_improvement(&redraw(x, &mut stream), &redraw(y, &mut stream));
    interval((0..resamples).filter_map(draw))
}

/// Draws as many runs with replacement, in each task independently.
fn redraw(scores: &[Vec<f64>], stream: &mut RngStream) -> Vec<Vec<f64>> {
    let runs = scores.len();
    let redrawn = |row: &Vec<f64>| (0..row.len()).map(|task| scores[stream.uniform_below(runs)][task]).collect();
    scores.iter().map(redrawn).collect()
}

fn interval(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let values = sorted(values);
    (!values.is_empty()).then(|| [0.025, 0.975].map(|level| quantile(&values, level)))
}
