//! Owns: the interquartile mean of scores over runs and tasks.
//! Must not know: what a task is.
//! Invariant: runs are drawn anew in each task independently.

use super::resample::{draw_runs, is_table, percentile_interval};
use crate::rng::{RngKey, RngPurpose};

/// Returns the mean of `scores[run][task]` without the lowest and the highest quarter of all (Agarwal et al., 2021,
/// arXiv 2108.13264). `None` if there is no score, if runs have different numbers of tasks, or if a score is not finite.
pub fn iqm(scores: &[Vec<f64>]) -> Option<f64> {
    is_table(scores).then(|| middle_mean(scores))
}

/// Returns the 95 % percentile interval of [`iqm`] over `resamples` stratified draws: in each task the runs are drawn
/// anew, independently of the other tasks. `None` with fewer than two runs, without resamples, or without [`iqm`].
pub fn iqm_interval(scores: &[Vec<f64>], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    if scores.len() < 2 || !is_table(scores) {
        return None;
    }
    let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0);
    percentile_interval(resamples, || middle_mean(&draw_runs(scores, &mut stream)))
}

fn middle_mean(scores: &[Vec<f64>]) -> f64 {
    let mut all = scores.concat();
    all.sort_unstable_by(f64::total_cmp);
    let cut = all.len() / 4;
    let middle = &all[cut..all.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_on_each_side_has_no_influence() {
        let scores = vec![vec![-1e9, 1.0, 2.0, 3.0], vec![4.0, 1e9, 1e9, -1e9]];
        assert_eq!(iqm(&scores), Some(2.5));
        assert_eq!(iqm(&[vec![5.0]]), Some(5.0));
        let [low, high] = iqm_interval(&[vec![0.0, 1.0], vec![1.0, 2.0], vec![2.0, 3.0]], 500, 3).unwrap();
        assert!(low < 1.5 && 1.5 < high);
    }

    #[test]
    fn a_table_with_holes_has_no_mean() {
        for scores in [vec![], vec![vec![]], vec![vec![1.0], vec![1.0, 2.0]], vec![vec![1.0, f64::NAN]]] {
            assert_eq!((iqm(&scores), iqm_interval(&scores, 10, 0)), (None, None), "{scores:?}");
        }
        assert_eq!(iqm_interval(&[vec![1.0, 2.0]], 10, 0), None, "a single run");
    }
}
