//! Owns: noticing that rollouts teach nothing: their rewards are equal, or all of them are cut off.
//! Must not know: the loop, who is told, how rollouts are made.
//! Invariant: a verdict depends on the rows so far alone. Rows without rollouts change nothing.

use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::AlertTopic;
use std::collections::VecDeque;

/// Last updates over which the share is averaged.
const AVERAGED_UPDATES: usize = 10;
/// A mean share above this is told; it is over below the second.
const ALERT_SHARES: (f64, f64) = (0.9, 0.8);

/// Sums of shares are as exact as this.
const ROUNDING: f64 = 1e-9;

/// Watches a share of the rollouts that should be small.
#[derive(Clone, Debug)]
struct ShareWatch {
    metric: Metric,
    /// The mean share above which it is told, and the one below which it is over.
    limits: (f64, f64),
    /// Number of last values that the mean is of. Before there are so many, nothing is told.
    window: usize,
    last: VecDeque<f64>,
    is_high: bool,
}

impl ShareWatch {
    fn new(metric: Metric, limits: (f64, f64), window: usize) -> Self {
        Self { metric, limits, window, last: VecDeque::new(), is_high: false }
    }

    /// Takes a row into account. Returns the mean share if it has become too high, or so no longer.
    fn observe(&mut self, row: &StepRow) -> Option<f64> {
        self.last.push_back(row.get(self.metric).filter(|share| share.is_finite())?);
        if self.last.len() > self.window {
            self.last.pop_front();
        }
        let mean = self.last.iter().sum::<f64>() / self.last.len() as f64;
        let changes = if self.is_high { mean < self.limits.1 } else { mean > self.limits.0 + ROUNDING };
        if !changes || self.last.len() < self.window {
            return None;
        }
        self.is_high = !self.is_high;
        Some(mean)
    }
}

/// Watches the rollouts of a run.
#[derive(Clone, Debug)]
pub(in crate::train) struct RolloutWatch {
    equal: ShareWatch,
    cut: ShareWatch,
}

/// A change of a verdict on rollouts.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) struct RolloutChange {
    pub topic: AlertTopic,
    /// What is wrong; `None` if it is over.
    pub text: Option<String>,
}

impl Default for RolloutWatch {
    fn default() -> Self {
        let equal = ShareWatch::new(Metric::FracRewardZeroStd, ALERT_SHARES, AVERAGED_UPDATES);
        // Told at once, and over as soon as a rollout ends by itself: the share is 1 or below.
        let cut = ShareWatch::new(Metric::CompletionClippedRatio, (1.0 - 1e-6, 1.0 - 1e-6), 1);
        Self { equal, cut }
    }
}

impl RolloutWatch {
    /// Takes the row of an update into account. Returns the verdicts that change.
    pub fn observe(&mut self, row: &StepRow) -> Vec<RolloutChange> {
        let equal = self.equal.observe(row).map(|share| RolloutChange {
            topic: AlertTopic::EqualRewards,
            text: self.equal.is_high.then(|| equal_text(row.step(), share)),
        });
        let cut = self.cut.observe(row).map(|_| RolloutChange {
            topic: AlertTopic::CutRollouts,
            text: self.cut.is_high.then(|| cut_text(row.step())),
        });
        equal.into_iter().chain(cut).collect()
    }
}

fn equal_text(step: u64, share: f64) -> String {
    format!(
        "step {step}: {:.0} % of the rollouts are in groups with equal rewards (mean of {AVERAGED_UPDATES} updates): \
         they teach nothing; raise `rl.temperature`, `rl.dropout` or `rl.latent_noise`, or ask questions that are \
         neither too hard nor too easy",
        100.0 * share
    )
}

fn cut_text(step: u64) -> String {
    format!(
        "step {step}: all rollouts were cut off before their end; raise `rl.max_completion_length`, or train on \
         answers first"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(equal: Option<f64>, cut: Option<f64>) -> StepRow {
        let mut row = StepRow::new(7);
        row.set_if_some(Metric::FracRewardZeroStd, equal);
        row.set_if_some(Metric::CompletionClippedRatio, cut);
        row
    }

    fn topics(changes: &[RolloutChange]) -> Vec<(&AlertTopic, bool)> {
        changes.iter().map(|change| (&change.topic, change.text.is_some())).collect()
    }

    #[test]
    fn equal_rewards_are_told_once_after_ten_updates_and_end_well_below_the_limit() {
        let mut watch = RolloutWatch::default();
        for _ in 0..9 {
            assert_eq!(watch.observe(&row(Some(1.0), None)), []);
        }
        assert_eq!(watch.observe(&row(None, None)), [], "a row without rollouts does not count");
        let told = watch.observe(&row(Some(1.0), None));
        assert_eq!(topics(&told), [(&AlertTopic::EqualRewards, true)]);
        let text = told[0].text.as_deref().unwrap();
        assert!(text.contains("step 7: 100 % of the rollouts"), "{text}");
        // The mean falls to 0.9, then 0.8, which is not below the lower limit yet.
        assert_eq!((watch.observe(&row(Some(0.0), None)), watch.observe(&row(Some(0.0), None))), (vec![], vec![]));
        assert_eq!(topics(&watch.observe(&row(Some(0.0), None))), [(&AlertTopic::EqualRewards, false)]);
        assert_eq!(watch.observe(&row(Some(0.9), None)), []);
    }

    #[test]
    fn a_share_at_the_limit_or_not_finite_is_not_told() {
        let mut watch = RolloutWatch::default();
        assert!((0..30).all(|_| watch.observe(&row(Some(0.9), Some(f64::NAN))).is_empty()));
    }

    #[test]
    fn rollouts_that_are_all_cut_are_told_at_once() {
        let mut watch = RolloutWatch::default();
        assert_eq!(watch.observe(&row(None, Some(0.99))), []);
        let told = watch.observe(&row(None, Some(1.0)));
        assert_eq!(topics(&told), [(&AlertTopic::CutRollouts, true)]);
        assert!(told[0].text.as_deref().unwrap().contains("rl.max_completion_length"));
        assert_eq!(watch.observe(&row(None, Some(1.0))), [], "said once");
        assert_eq!(topics(&watch.observe(&row(None, Some(0.5)))), [(&AlertTopic::CutRollouts, false)]);
    }
}
