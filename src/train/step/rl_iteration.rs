//! Owns: the rollouts of an iteration with their rewards and advantages, and the settings that rollouts and updates share.
//! Must not know: how rollouts are made, the loss, the row of the step.
//! Invariant: noise and masks follow from the settings and the rollout's number, so that an update draws them again.

use crate::model::{HeldDropout, LatentNoise, ModelShape, Transformer};
use crate::rl::trajectory::Trajectory;
use crate::rng::RngKey;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What rollouts and updates of an iteration share, whatever the config becomes meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSettings {
    pub seed: u64,
    /// The first update that learns from the rollouts.
    pub step: u64,
    pub temperature: f64,
    pub switch_temperature: f64,
    /// Standard deviation of the noise on latents, relative to their root mean square; 0: none.
    pub latent_noise: f64,
    /// Probability of dropping a channel for a whole rollout.
    pub dropout: f64,
}

impl RolloutSettings {
    fn key(&self) -> RngKey {
        RngKey { seed: self.seed, step: self.step, ..RngKey::default() }
    }

    /// Returns the noise on the latents of these rollouts.
    pub fn noise(&self, rollouts: Range<usize>) -> Option<LatentNoise> {
        let amplitude = self.latent_noise;
        (amplitude > 0.0).then(|| LatentNoise { amplitude, key: self.key(), rows: rollouts.collect() })
    }

    /// Returns the model with the masks that these rollouts hold.
    pub fn masked_model(&self, model: &Transformer, rollouts: Range<usize>) -> Transformer {
        model.clone().with_held_dropout(HeldDropout::new(self.dropout, self.key(), rollouts.collect()))
    }
}

/// Values of the reward functions of each rollout, in the order of their names; `None`: the function says nothing.
pub type RewardValues = Vec<Vec<Option<f64>>>;

/// The rollouts of an iteration, and what updates have found out about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RlIteration {
    pub settings: RolloutSettings,
    pub trajectories: Vec<Trajectory>,
    pub reward_values: RewardValues,
    /// Weighted sums of the values.
    pub rewards: Vec<Option<f64>>,
    pub advantages: Vec<f64>,
    /// Whether all rewards of the rollout's group are equal.
    pub is_equal: Vec<bool>,
    /// Log-probabilities of each event as the first update computed them; empty before it.
    pub old: Vec<Vec<f64>>,
    /// Log-probabilities under the reference model, if `rl.beta` is above 0.
    pub reference: Option<Vec<Vec<f64>>>,
    pub updates_done: usize,
    /// Seconds that the rollouts took, and of these the generation after the pass over the prompts.
    pub seconds: f64,
    pub generation_seconds: f64,
    /// Floating-point operations of the rollouts; older versions wrote none.
    #[serde(default)]
    pub flop: f64,
}

/// Returns the floating-point operations of making rollouts: a pass over each prompt, then one position after another.
pub fn rollout_flop(shape: &ModelShape, trajectories: &[Trajectory]) -> f64 {
    let flop = |trajectory: &Trajectory| {
        let (generated, all) = (trajectory.inputs.len(), trajectory.prompt.len() + trajectory.inputs.len());
        // A generated position attends to those before it and to itself; the last one is never fed.
        let keys: usize = (trajectory.prompt.len() + 1..all).sum();
        shape.blocks_flop(all.saturating_sub(1), 0)
            + shape.attention_flop(trajectory.prompt.len(), trajectory.prompt.len())
            + shape.attention_flop(1, keys)
            + shape.head_flop(generated)
    };
    trajectories.iter().map(flop).sum()
}

impl RlIteration {
    /// Whether no rollout has an advantage, so that an update would learn nothing.
    pub fn teaches_nothing(&self) -> bool {
        self.advantages.iter().all(|advantage| *advantage == 0.0)
    }
}

/// Log-probability and entropy (nats) of every event of some rollouts; 0 at events that have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoredEvents {
    pub log_probs: Vec<Vec<f64>>,
    pub entropies: Vec<Vec<f64>>,
}
