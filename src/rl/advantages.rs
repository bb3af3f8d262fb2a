//! Owns: rewards of rollouts, and their advantages in the group of their prompt.
//! Must not know: which events count, losses.
//! Invariant: an advantage is exactly 0 in a group whose rewards are all equal, and for a rollout without a reward.

use crate::config::RewardScale;

/// Added to a standard deviation before dividing by it.
const STD_EPSILON: f64 = 1e-4;

/// A reward that is not finite.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the reward {name} of rollout {rollout} is {value}: it must be finite")]
pub struct RewardError {
    /// Index in the iteration.
    pub rollout: usize,
    /// Name of the reward function, or `sum`.
    pub name: String,
    pub value: f64,
}

/// Returns the weighted sum of each rollout's values. A missing value counts 0; a rollout without any has no reward.
///
/// # Errors
/// A value or a sum is not finite.
pub fn weighted_rewards(
    values: &[Vec<Option<f64>>],
    names: &[&str],
    weights: &[f64],
) -> Result<Vec<Option<f64>>, RewardError> {
    let of_rollout = |(rollout, values): (usize, &Vec<Option<f64>>)| {
        let error = |name: &str, value| RewardError { rollout, name: name.to_owned(), value };
        let mut sum = None;
        for ((value, name), weight) in values.iter().zip(names).zip(weights) {
            let Some(value) = *value else { continue };
            if !value.is_finite() {
                return Err(error(name, value));
            }
            sum = Some(sum.unwrap_or(0.0) + weight * value);
        }
        match sum {
            Some(sum) if !f64::is_finite(sum) => Err(error("sum", sum)),
            sum => Ok(sum),
        }
    };
    values.iter().enumerate().map(of_rollout).collect()
}

/// Advantages of rollouts, group after group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupAdvantages {
    pub values: Vec<f64>,
    /// Whether the rewards of the rollout's group are all equal, or it has at most one.
    pub is_equal: Vec<bool>,
}

/// Returns (reward - mean of the group) / (standard deviation + 1e-4) (DeepSeekMath, arXiv 2402.03300, section 4.1.2); the
/// standard deviation has n - 1 and is that of `scale`.
pub fn group_advantages(rewards: &[Option<f64>], group_size: usize, scale: RewardScale) -> GroupAdvantages {
    let of_batch = standard_deviation(&present(rewards));
    let mut found = GroupAdvantages::default();
    for group in rewards.chunks(group_size.max(1)) {
        let known = present(group);
        let is_equal = has_no_spread(&known);
        let mean = mean(&known);
        let divisor = match scale {
            RewardScale::Group => standard_deviation(&known) + STD_EPSILON,
            RewardScale::Batch => of_batch + STD_EPSILON,
            RewardScale::None => 1.0,
        };
        let advantage = |reward: &Option<f64>| match reward {
            Some(reward) if !is_equal => (reward - mean) / divisor,
            _ => 0.0,
        };
        found.values.extend(group.iter().map(advantage));
        found.is_equal.extend(group.iter().map(|_| is_equal));
    }
    found
}

/// Whether the values are equal up to rounding: sums of prices may differ in their last bit.
fn has_no_spread(values: &[f64]) -> bool {
    let largest = values.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
    values.iter().all(|value| (value - values[0]).abs() <= 1e-12 * largest)
}

fn present(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().flatten().copied().collect()
}

/// Returns the mean; 0 without values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Returns the standard deviation with n - 1; 0 for fewer than two values.
pub(super) fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (square / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rewards_have_no_advantage() {
        // The first differs from the others in the last bit.
        let rewards = [0.1 + 0.2, 0.3, 0.3].map(Some);
        assert_ne!(rewards[0], rewards[1]);
        for scale in [RewardScale::Group, RewardScale::Batch, RewardScale::None] {
            let found = group_advantages(&[&rewards[..], &[Some(1.0), None, Some(3.0)]].concat(), 3, scale);
            assert_eq!(found.values[..3], [0.0; 3]);
            assert_eq!(found.is_equal, [true, true, true, false, false, false]);
            assert!(found.values[3] < 0.0 && found.values[4] == 0.0 && found.values[5] > 0.0);
        }
    }

    #[test]
    fn a_reward_that_is_not_finite_is_named() {
        let names = ["exact", "format"];
        let found = weighted_rewards(&[vec![Some(1.0), None], vec![None, None]], &names, &[2.0, 1.0]);
        assert_eq!(found, Ok(vec![Some(2.0), None]));
        let error = weighted_rewards(&[vec![Some(1.0), Some(f64::NAN)]], &names, &[1.0, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "the reward format of rollout 0 is NaN: it must be finite");
        let error = weighted_rewards(&[vec![Some(1e308), Some(1e308)]], &names, &[1.0, 1.0]).unwrap_err();
        assert_eq!((error.rollout, error.name.as_str()), (0, "sum"));
    }
}
