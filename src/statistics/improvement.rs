//! Owns: the probability that a run of one arm is better than a run of another one.
//! Must not know: what a task is.
//! Invariant: a tie counts half, so the two directions sum to 1.

use super::resample::{draw_runs, is_table, percentile_interval};
use crate::rng::{RngKey, RngPurpose};

/// Returns the mean over tasks of the share of pairs of runs in which `x[run][task]` is above `y[run][task]`, ties a half
/// (Agarwal et al., 2021, arXiv 2108.13264). The arms may differ in runs, not in tasks. `None` if they do, if there is
/// no score, or if one is not finite.
pub fn probability_of_improvement(x: &[Vec<f64>], y: &[Vec<f64>]) -> Option<f64> {
    (is_table(x) && is_table(y) && x[0].len() == y[0].len()).then(|| mean_share(x, y))
}

/// Returns the 95 % percentile interval of [`probability_of_improvement`]; both arms are drawn anew in each task
/// independently. `None` if an arm has fewer than two runs, without resamples, or without the probability itself.
pub fn improvement_interval(x: &[Vec<f64>], y: &[Vec<f64>], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    probability_of_improvement(x, y).filter(|_| x.len() > 1 && y.len() > 1)?;
    let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0);
    percentile_interval(resamples, || {
        let x = draw_runs(x, &mut stream);
        mean_share(&x, &draw_runs(y, &mut stream))
    })
}

fn mean_share(x: &[Vec<f64>], y: &[Vec<f64>]) -> f64 {
    let win = |x: f64, y: f64| if x > y { 1.0 } else { 0.5 * f64::from(u8::from(x == y)) };
    // Every task has the same number of pairs, so the mean over tasks is the mean over all pairs.
    let wins: f64 =
        x.iter().flat_map(|x| y.iter().map(move |y| x.iter().zip(y).map(|(x, y)| win(*x, *y)).sum::<f64>())).sum();
    wins / (x.len() * y.len() * x[0].len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half_and_directions_sum_to_one() {
        let (x, y) = (vec![vec![1.0, 5.0], vec![2.0, 0.0]], vec![vec![1.0, 1.0]]);
        // Task 1: a tie and a win; task 2: a win and a loss.
        assert_eq!(probability_of_improvement(&x, &y), Some(0.625));
        assert_eq!(probability_of_improvement(&y, &x), Some(0.375));
        assert_eq!(improvement_interval(&x, &y, 10, 0), None, "a single run");
        let [low, high] = improvement_interval(&x, &x, 500, 1).unwrap();
        assert!(low < 0.5 && 0.5 < high);
        assert_eq!(probability_of_improvement(&x, &[vec![1.0]]), None);
        assert_eq!(probability_of_improvement(&[], &y), None);
    }
}
