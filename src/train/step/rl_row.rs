//! Owns: the metrics row of an update from rollouts.
//! Must not know: how a metric is defined (`rl::metrics`), tensors.
//! Invariant: a metric of `rl::metrics` is a column of the same name.

use super::rl_iteration::{RlIteration, ScoredEvents};
use crate::config;
use crate::rl::events::RolloutEvents;
use crate::rl::loss::PartLoss;
use crate::rl::metrics::{MetricInputs, ThoughtInputs, thought_metrics};
use crate::rl::trajectory::{EventAction, Trajectory};
use crate::schema::metrics::{Metric, StepRow};
use crate::train::step::readback::mean;

/// Names of the reward functions, as metrics have them.
pub const REWARD_NAMES: [&str; 4] = ["exact", "format", "tokens", "latents"];

/// Sets loss, metrics of the rollouts, and, at the first update from them, how they were made.
pub(super) fn set_metrics(
    row: &mut StepRow,
    iteration: &RlIteration,
    counted: &[Vec<bool>],
    scored: &ScoredEvents,
    found: &PartLoss,
    rl: &config::Rl,
) {
    row.set(Metric::RlLoss, found.loss);
    let events: Vec<RolloutEvents> = iteration.trajectories.iter().map(Trajectory::to_events).collect();
    let inputs = MetricInputs {
        events: &events,
        counted,
        reward_names: &REWARD_NAMES,
        reward_values: &iteration.reward_values,
        rewards: &iteration.rewards,
        is_equal: &iteration.is_equal,
        advantages: &iteration.advantages,
        ratios: &found.ratios,
        kl: (rl.beta > 0.0).then_some(&found.kl[..]),
        entropies: &scored.entropies,
        level: rl.importance_sampling_level,
        epsilon: rl.epsilon,
        epsilon_high: if rl.epsilon_high == 0.0 { rl.epsilon } else { rl.epsilon_high },
    };
    for (name, value) in inputs.trl_metrics().into_iter().chain(thoughts(iteration, &events)) {
        if let Some(metric) = Metric::find(&name) {
            row.set(metric, value);
        }
    }
    if iteration.updates_done == 0 {
        set_sampling(row, iteration, counted, scored);
    }
}

fn thoughts(iteration: &RlIteration, events: &[RolloutEvents]) -> Vec<(String, f64)> {
    let thinks = |trajectory: &Trajectory| {
        let thinks = |action: EventAction| matches!(action, EventAction::Decision { thinks: true, .. });
        trajectory.events.iter().map(|event| thinks(event.action)).collect::<Vec<bool>>()
    };
    let entropies = |trajectory: &Trajectory| trajectory.events.iter().map(|event| event.entropy).collect::<Vec<f64>>();
    let details: Vec<_> =
        iteration.trajectories.iter().map(|trajectory| (thinks(trajectory), entropies(trajectory))).collect();
    let inputs = events.iter().zip(&details).map(|(events, (thinks, entropies))| ThoughtInputs {
        kinds: &events.kinds,
        thinks,
        entropies,
    });
    thought_metrics(&inputs.collect::<Vec<_>>())
}

/// Sets the speed of the rollouts, and how far their log-probabilities are from those that the update computed.
fn set_sampling(row: &mut StepRow, iteration: &RlIteration, counted: &[Vec<bool>], scored: &ScoredEvents) {
    let positions: usize = iteration.trajectories.iter().map(|trajectory| trajectory.inputs.len()).sum();
    row.set(Metric::RolloutMs, 1e3 * iteration.seconds);
    row.set(Metric::RolloutFlop, iteration.flop);
    row.set(Metric::RolloutTokensPerS, positions as f64 / iteration.generation_seconds.max(1e-9));
    let of_rollout = |(rollout, trajectory): (usize, &Trajectory)| {
        let pairs = trajectory.log_probs().into_iter().zip(&scored.log_probs[rollout]).zip(&counted[rollout]);
        pairs.filter(|(_, counted)| **counted).map(|((old, new), _)| (old - new).abs() as f32).collect::<Vec<_>>()
    };
    let differences: Vec<f32> = iteration.trajectories.iter().enumerate().flat_map(of_rollout).collect();
    row.set_if_some(Metric::LogpDifferenceMax, differences.iter().copied().max_by(f32::total_cmp).map(f64::from));
    row.set_if_some(Metric::LogpDifferenceMean, mean(differences));
}
