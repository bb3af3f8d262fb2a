//! Owns: what a rollout is worth: a right answer, its format, and the prices of tokens and latents.
//! Must not know: how rollouts are made, advantages, the loss.
//! Invariant: a value depends on the rollout and the right answer alone; weights are applied later, so that they may change.

use crate::config;
use crate::rl::trajectory::Trajectory;
use crate::train::eval::judge::Judge;

/// Returns the weight of each reward function.
pub(super) fn reward_weights(rl: &config::Rl) -> [f64; 4] {
    [rl.reward_exact, rl.reward_format, rl.price_token, rl.price_latent]
}

/// Returns the values of the reward functions for a rollout with this text, in the order of `step::rl_row::REWARD_NAMES`.
pub(super) fn reward_values(trajectory: &Trajectory, text: &str, right_answer: &str) -> Vec<Option<f64>> {
    let judge = Judge::for_answer(right_answer);
    let exact = judge.is_right(text, right_answer);
    let format = !trajectory.is_truncated && judge.states_an_answer(text);
    let share = |is_so: bool| Some(f64::from(u8::from(is_so)));
    vec![share(exact), share(format), Some(-(trajectory.tokens() as f64)), Some(-(trajectory.latents() as f64))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_of_answer_format_and_length() {
        let trajectory = |is_truncated| Trajectory {
            prompt: vec![1],
            inputs: vec![Some(1), None, None, Some(2), Some(3)],
            is_truncated,
            ..Trajectory::default()
        };
        let values = |text: &str, right: &str, is_truncated| reward_values(&trajectory(is_truncated), text, right);
        let wanted = |exact: f64, format: f64| vec![Some(exact), Some(format), Some(-3.0), Some(-2.0)];
        assert_eq!(values("3 + 4 = 7", "7", false), wanted(1.0, 1.0));
        assert_eq!(values("3 + 4 = 7", "7", true), wanted(1.0, 0.0));
        assert_eq!(values("3 + 4 = 8", "7", false), wanted(0.0, 1.0));
        assert_eq!(values("seven", "7", false), wanted(0.0, 0.0));
        assert_eq!(values("  \n", "a wug", false), wanted(0.0, 0.0));
        assert_eq!(values("a wug", "a wug", false), wanted(1.0, 1.0));
    }
}
