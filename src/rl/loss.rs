//! Owns: the clipped loss of group-relative policy optimization, and its gradient by the log-probabilities.
//! Must not know: tensors, where log-probabilities come from.
//! Invariant: the gradient is that of the loss by the new log-probabilities, with old ones, reference, advantages and the
//! entropy threshold held fixed.

use crate::config::{ImportanceLevel, RlLoss};
use std::ops::Range;

/// Log-ratios beyond this give the ratio of this: e^80 is far beyond any clip, and its products stay finite.
const MAX_LOG_RATIO: f64 = 80.0;
/// From this difference on the k3 estimate is a constant without gradient, so that a token that the policy has left behind does
/// not overflow it.
const MAX_KL_LOG_RATIO: f64 = 20.0;

#[derive(Clone, Debug, PartialEq)]
pub struct LossSettings {
    pub loss_type: RlLoss,
    pub level: ImportanceLevel,
    /// The ratio is clipped to `1 - epsilon` and `1 + epsilon_high`.
    pub epsilon: f64,
    pub epsilon_high: f64,
    /// Weight of the KL term; 0: none.
    pub beta: f64,
    /// Share of the counted events, those of highest entropy, whose policy term counts; 1: all.
    pub top_entropy: f64,
    pub max_completion_length: usize,
}

/// What of the loss depends only on the rollouts: which events count, and by how much.
#[derive(Clone, Debug, PartialEq)]
pub struct LossPlan {
    settings: LossSettings,
    counted: Vec<Vec<bool>>,
    advantages: Vec<f64>,
    /// Weight of each event of a rollout in the loss.
    weights: Vec<f64>,
}

/// Scores of the events of some rollouts, nats. At events that do not count they may be anything.
#[derive(Clone, Copy, Debug)]
pub struct EventScores<'a> {
    /// Log-probabilities under the policy now.
    pub new: &'a [Vec<f64>],
    /// Under the policy that made the rollouts.
    pub old: &'a [Vec<f64>],
    /// Under the reference model, if there is a KL term.
    pub reference: Option<&'a [Vec<f64>]>,
    pub entropies: &'a [Vec<f64>],
}

/// The loss of some rollouts. The lists have a number for each event, 0 at events that do not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartLoss {
    pub loss: f64,
    /// Gradient of the loss by the new log-probabilities.
    pub grads: Vec<Vec<f64>>,
    pub ratios: Vec<Vec<f64>>,
    /// k3 estimates of the KL divergence, nats; 0 without a KL term.
    pub kl: Vec<Vec<f64>>,
}

impl LossPlan {
    /// Plans the loss of rollouts with these `counted` events and `advantages`. Those that are not `included` are in no
    /// numerator and no denominator. `parts`: the rollouts that are computed together, in order.
    pub fn new(
        settings: LossSettings,
        mut counted: Vec<Vec<bool>>,
        advantages: Vec<f64>,
        included: &[bool],
        parts: &[Range<usize>],
    ) -> Self {
        for (counted, _) in counted.iter_mut().zip(included).filter(|(_, included)| !**included) {
            counted.fill(false);
        }
        let lengths: Vec<usize> = counted.iter().map(|events| events.iter().filter(|event| **event).count()).collect();
        let all: usize = lengths.iter().sum();
        let mut weights = vec![0.0; counted.len()];
        for part in parts {
            let events: usize = lengths[part.clone()].iter().sum();
            let rollouts = included[part.clone()].iter().filter(|included| **included).count();
            // Parts of the mean over rollouts count by their rollouts, so that dropped ones do not shift it.
            let every = included.iter().filter(|included| **included).count().max(1);
            for index in part.clone() {
                weights[index] = match settings.loss_type {
                    RlLoss::Grpo => 1.0 / (lengths[index].max(1) * every) as f64,
                    RlLoss::DrGrpo => 1.0 / (every * settings.max_completion_length.max(1)) as f64,
                    RlLoss::Bnpo => rollouts as f64 / (every * events.max(1)) as f64,
                    RlLoss::Dapo => 1.0 / all.max(1) as f64,
                };
            }
        }
        Self { settings, counted, advantages, weights }
    }

    /// Returns whether each event of each rollout counts; none of a rollout that is not included does.
    pub fn counted(&self) -> &[Vec<bool>] {
        &self.counted
    }

    /// Returns the entropy below which an event's policy term is left out: the quantile 1 - `top_entropy` of the counted
    /// events, linear between ranks (arXiv 2506.01939). `None`: all count.
    pub fn entropy_threshold(&self, entropies: &[Vec<f64>]) -> Option<f64> {
        let of_rollout = |(counted, entropies): (&Vec<bool>, &Vec<f64>)| {
            let pairs = counted.iter().zip(entropies);
            pairs.filter(|(counted, _)| **counted).map(|(_, entropy)| *entropy).collect::<Vec<_>>()
        };
        let mut known: Vec<f64> = self.counted.iter().zip(entropies).flat_map(of_rollout).collect();
        if self.settings.top_entropy >= 1.0 || known.is_empty() {
            return None;
        }
        known.sort_unstable_by(f64::total_cmp);
        let rank = (known.len() - 1) as f64 * (1.0 - self.settings.top_entropy);
        let (below, above) = (known[rank.floor() as usize], known[rank.ceil() as usize]);
        Some(below + (above - below) * rank.fract())
    }

    /// Returns the loss of the rollouts `rows`, whose scores are given; the losses of all parts add up to that of the update.
    pub fn part_loss(&self, rows: Range<usize>, scores: &EventScores<'_>, entropy_threshold: Option<f64>) -> PartLoss {
        let mut part = PartLoss::default();
        for (index, row) in rows.enumerate() {
            let rollout = RolloutScores {
                counted: &self.counted[row],
                new: &scores.new[index],
                old: &scores.old[index],
                reference: scores.reference.filter(|_| self.settings.beta > 0.0).map(|scores| &scores[index][..]),
                entropies: &scores.entropies[index],
            };
            let found = self.rollout_loss(&rollout, self.advantages[row], entropy_threshold);
            let weight = self.weights[row];
            part.loss += weight * found.loss;
            part.grads.push(found.grads.iter().map(|grad| weight * grad).collect());
            part.ratios.push(found.ratios);
            part.kl.push(found.kl);
        }
        part
    }

    /// Returns the sum of the losses of a rollout's events.
    fn rollout_loss(&self, scores: &RolloutScores<'_>, advantage: f64, threshold: Option<f64>) -> RolloutLoss {
        let settings = &self.settings;
        let ratios = scores.ratios(settings.level);
        let length = scores.counted.iter().filter(|counted| **counted).count().max(1) as f64;
        let mut found = RolloutLoss { loss: 0.0, grads: vec![0.0; ratios.len()], kl: vec![0.0; ratios.len()], ratios };
        let mut slopes = vec![0.0; found.ratios.len()];
        for event in (0..found.ratios.len()).filter(|event| scores.counted[*event]) {
            if threshold.is_none_or(|threshold| scores.entropies[event] >= threshold) {
                let (loss, slope) = settings.policy_loss(found.ratios[event], advantage);
                found.loss += loss;
                slopes[event] = slope;
            }
        }
        for event in (0..found.ratios.len()).filter(|event| scores.counted[*event]) {
            found.grads[event] = match settings.level {
                ImportanceLevel::Token => slopes[event],
                // Every event moves the ratio of the whole rollout.
                ImportanceLevel::Sequence => slopes.iter().sum::<f64>() / length,
            };
            if let Some(reference) = scores.reference {
                let (kl, slope) = kl_estimate(reference[event] - scores.new[event]);
                found.kl[event] = kl;
                found.loss += settings.beta * kl;
                found.grads[event] += settings.beta * slope;
            }
        }
        found
    }
}

impl LossSettings {
    /// Returns -min(ρA, clip(ρ)A) and its derivative by ln ρ.
    fn policy_loss(&self, ratio: f64, advantage: f64) -> (f64, f64) {
        let (free, clipped) = (ratio * advantage, ratio.clamp(1.0 - self.epsilon, 1.0 + self.epsilon_high) * advantage);
        match free <= clipped {
            true => (-free, -free),
            false => (-clipped, 0.0),
        }
    }
}

/// Returns the k3 estimate e^d - d - 1 of the KL divergence at `d`, reference minus new log-probability, and its derivative by
/// the new one.
fn kl_estimate(difference: f64) -> (f64, f64) {
    let d = difference.min(MAX_KL_LOG_RATIO);
    let slope = if difference < MAX_KL_LOG_RATIO { 1.0 - d.exp() } else { 0.0 };
    (d.exp() - d - 1.0, slope)
}

/// The scores of one rollout.
struct RolloutScores<'a> {
    counted: &'a [bool],
    new: &'a [f64],
    old: &'a [f64],
    reference: Option<&'a [f64]>,
    entropies: &'a [f64],
}

impl RolloutScores<'_> {
    /// Returns the importance ratio at each counted event; 0 at the others.
    fn ratios(&self, level: ImportanceLevel) -> Vec<f64> {
        let difference = |event: usize| if self.counted[event] { self.new[event] - self.old[event] } else { 0.0 };
        let events = 0..self.counted.len();
        let logs: Vec<f64> = match level {
            ImportanceLevel::Token => events.map(difference).collect(),
            ImportanceLevel::Sequence => {
                let length = self.counted.iter().filter(|counted| **counted).count().max(1) as f64;
                vec![events.map(difference).sum::<f64>() / length; self.counted.len()]
            }
        };
        let ratio = |(log, counted): (f64, &bool)| if *counted { log.min(MAX_LOG_RATIO).exp() } else { 0.0 };
        logs.into_iter().zip(self.counted).map(ratio).collect()
    }
}

struct RolloutLoss {
    loss: f64,
    grads: Vec<f64>,
    ratios: Vec<f64>,
    kl: Vec<f64>,
}
