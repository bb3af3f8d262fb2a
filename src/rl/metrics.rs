//! Owns: the metrics of an iteration under TRL's names, and ours about latents and decisions.
//! Must not know: tensors, who records them.
//! Invariant: a metric that has nothing to measure is absent.

use super::advantages::{mean, standard_deviation};
use super::events::{RolloutEventKind, RolloutEvents};
use crate::config::ImportanceLevel;

/// What the metrics are about: the rollouts of an iteration. Lists of lists have a number for each event.
pub struct MetricInputs<'a> {
    pub events: &'a [RolloutEvents],
    pub counted: &'a [Vec<bool>],
    /// Names of the reward functions.
    pub reward_names: &'a [&'a str],
    /// Values of the reward functions of each rollout.
    pub reward_values: &'a [Vec<Option<f64>>],
    pub rewards: &'a [Option<f64>],
    /// Whether the rewards of the rollout's group are all equal.
    pub is_equal: &'a [bool],
    pub advantages: &'a [f64],
    pub ratios: &'a [Vec<f64>],
    /// k3 estimates, if there is a KL term.
    pub kl: Option<&'a [Vec<f64>]>,
    /// Entropies under the policy now, nats.
    pub entropies: &'a [Vec<f64>],
    pub level: ImportanceLevel,
    /// The ratio is clipped to `1 - epsilon` and `1 + epsilon_high`.
    pub epsilon: f64,
    pub epsilon_high: f64,
}

impl MetricInputs<'_> {
    /// Returns the metrics under TRL's names.
    pub fn trl_metrics(&self) -> Vec<(String, f64)> {
        let mut found = self.reward_metrics();
        found.push(("entropy".into(), self.counted_mean(self.entropies)));
        if let Some(kl) = self.kl {
            found.push(("kl".into(), self.counted_mean(kl)));
        }
        found.extend(self.clip_metrics());
        found.extend(self.length_metrics());
        found
    }

    fn reward_metrics(&self) -> Vec<(String, f64)> {
        let known: Vec<f64> = self.rewards.iter().flatten().copied().collect();
        let equal: Vec<f64> = self.is_equal.iter().map(|equal| f64::from(u8::from(*equal))).collect();
        let mut found = vec![
            ("reward".into(), mean(&known)),
            ("reward_std".into(), standard_deviation(&known)),
            ("frac_reward_zero_std".into(), mean(&equal)),
        ];
        for (index, name) in self.reward_names.iter().enumerate() {
            let values: Vec<f64> = self.reward_values.iter().filter_map(|values| values[index]).collect();
            found.push((format!("rewards/{name}/mean"), mean(&values)));
            found.push((format!("rewards/{name}/std"), standard_deviation(&values)));
        }
        found
    }

    /// Returns the mean over counted events; 0 if none counts.
    fn counted_mean(&self, values: &[Vec<f64>]) -> f64 {
        let pairs = self.counted.iter().flatten().zip(values.iter().flatten());
        mean(&pairs.filter(|(counted, _)| **counted).map(|(_, value)| *value).collect::<Vec<_>>())
    }

    fn clip_metrics(&self) -> Vec<(String, f64)> {
        let is_low = |ratio: f64, advantage: f64| ratio < 1.0 - self.epsilon && advantage < 0.0;
        let is_high = |ratio: f64, advantage: f64| ratio > 1.0 + self.epsilon_high && advantage > 0.0;
        let low = self.clipped_shares(is_low);
        let high = self.clipped_shares(is_high);
        let region = self.clipped_shares(|ratio, advantage| is_low(ratio, advantage) || is_high(ratio, advantage));
        let mut found = vec![
            ("clip_ratio/low_mean".into(), self.overall_share(&low)),
            ("clip_ratio/high_mean".into(), self.overall_share(&high)),
            ("clip_ratio/region_mean".into(), self.overall_share(&region)),
        ];
        let shares = |of: &[ClippedShare]| of.iter().map(ClippedShare::share).collect::<Vec<_>>();
        let least = shares(&low).into_iter().min_by(f64::total_cmp);
        found.extend(least.map(|share| ("clip_ratio/low_min".into(), share)));
        let most = shares(&high).into_iter().max_by(f64::total_cmp);
        found.extend(most.map(|share| ("clip_ratio/high_max".into(), share)));
        found
    }

    /// Returns how many events are clipped in each rollout that has a counted event.
    fn clipped_shares(&self, is_clipped: impl Fn(f64, f64) -> bool) -> Vec<ClippedShare> {
        let of_rollout = |rollout: usize| {
            let ratios = self.counted[rollout].iter().zip(&self.ratios[rollout]).filter(|(counted, _)| **counted);
            let clipped: Vec<bool> = ratios.map(|(_, ratio)| is_clipped(*ratio, self.advantages[rollout])).collect();
            ClippedShare { clipped: clipped.iter().filter(|clipped| **clipped).count(), of: clipped.len() }
        };
        (0..self.counted.len()).map(of_rollout).filter(|share| share.of > 0).collect()
    }

    /// Returns the share of events, or of rollouts if they have one ratio each.
    fn overall_share(&self, shares: &[ClippedShare]) -> f64 {
        match self.level {
            ImportanceLevel::Sequence => mean(&shares.iter().map(ClippedShare::share).collect::<Vec<_>>()),
            ImportanceLevel::Token => {
                let (clipped, all) = shares.iter().fold((0, 0), |sum, share| (sum.0 + share.clipped, sum.1 + share.of));
                clipped as f64 / all.max(1) as f64
            }
        }
    }

    fn length_metrics(&self) -> Vec<(String, f64)> {
        let lengths = |of: &dyn Fn(&RolloutEvents) -> bool| {
            self.events.iter().filter(|events| of(events)).map(|events| events.tokens() as f64).collect::<Vec<_>>()
        };
        let (all, ended) = (lengths(&|_| true), lengths(&|events| !events.is_truncated));
        let least = |values: &[f64]| values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0);
        let most = |values: &[f64]| values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0);
        let cut = 1.0 - ended.len() as f64 / all.len().max(1) as f64;
        [
            ("mean_length", mean(&all)),
            ("min_length", least(&all)),
            ("max_length", most(&all)),
            ("clipped_ratio", cut),
            ("mean_terminated_length", mean(&ended)),
            ("min_terminated_length", least(&ended)),
            ("max_terminated_length", most(&ended)),
        ]
        .map(|(name, value)| (format!("completions/{name}"), value))
        .into()
    }
}

struct ClippedShare {
    clipped: usize,
    of: usize,
}

impl ClippedShare {
    fn share(&self) -> f64 {
        self.clipped as f64 / self.of.max(1) as f64
    }
}

/// A rollout as the metrics of its thoughts see it: what was decided, fed, and how uncertain the output before it was.
pub struct ThoughtInputs<'a> {
    pub kinds: &'a [RolloutEventKind],
    /// Whether each decision is for a latent; `false` at other events.
    pub thinks: &'a [bool],
    /// Entropy of the output that each event was decided by, nats.
    pub entropies: &'a [f64],
}

/// Returns the metrics of latents and decisions under our names.
pub fn thought_metrics(rollouts: &[ThoughtInputs<'_>]) -> Vec<(String, f64)> {
    let (mut positions, mut latents) = (0, 0);
    let (mut lengths, mut before, mut after, mut decisions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for rollout in rollouts {
        let mut thought = 0;
        for (event, kind) in rollout.kinds.iter().enumerate() {
            match kind {
                RolloutEventKind::SampledSwitch => decisions.push(f64::from(u8::from(rollout.thinks[event]))),
                RolloutEventKind::ForcedSwitch => {}
                RolloutEventKind::Latent => {
                    if thought == 0 {
                        before.push(rollout.entropies[event]);
                    }
                    thought += 1;
                    (latents, positions) = (latents + 1, positions + 1);
                }
                RolloutEventKind::Token | RolloutEventKind::Given => {
                    if thought > 0 {
                        lengths.push(thought as f64);
                        after.push(rollout.entropies[event]);
                    }
                    (thought, positions) = (0, positions + 1);
                }
            }
        }
        if thought > 0 {
            lengths.push(thought as f64);
        }
    }
    let share = (positions > 0).then(|| f64::from(latents) / f64::from(positions));
    let mean_of = |values: &[f64]| (!values.is_empty()).then(|| mean(values));
    let found = [
        ("latents/share", share),
        ("latents/mean_length", mean_of(&lengths)),
        ("switch/rate", mean_of(&decisions)),
        ("latents/entropy_before", mean_of(&before)),
        ("latents/entropy_after", mean_of(&after)),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_measured_from_their_first_latent_to_the_token_after_them() {
        use RolloutEventKind::{ForcedSwitch, Latent, SampledSwitch, Token};
        let kinds = [SampledSwitch, Latent, ForcedSwitch, Latent, SampledSwitch, Token, SampledSwitch, Token];
        let thinks = [true, false, true, false, false, false, false, false];
        let entropies = [2.0, 2.0, 1.5, 1.5, 0.5, 0.5, 0.1, 0.1];
        let found = thought_metrics(&[ThoughtInputs { kinds: &kinds, thinks: &thinks, entropies: &entropies }]);
        let wanted = [
            ("latents/share", 0.5),
            ("latents/mean_length", 2.0),
            ("switch/rate", 1.0 / 3.0),
            ("latents/entropy_before", 2.0),
            ("latents/entropy_after", 0.5),
        ];
        assert_eq!(found, wanted.map(|(name, value)| (name.to_owned(), value)));
        let tokens = ThoughtInputs { kinds: &[Token], thinks: &[false], entropies: &[1.0] };
        assert_eq!(thought_metrics(&[tokens]), [("latents/share".to_owned(), 0.0)]);
    }
}
