//! Owns: what a rollout did: the inputs it generated, and its events with the log-probabilities that they were taken with.
//! Must not know: how a rollout is made, rewards, tensors.
//! Invariant: events are in order; each says which position's output it was decided by.

use super::events::{RolloutEventKind, RolloutEvents};
use serde::{Deserialize, Serialize};

/// A rollout of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    pub prompt: Vec<u32>,
    /// What was generated: tokens, and `None` for a latent.
    pub inputs: Vec<Option<u32>>,
    pub events: Vec<TrajectoryEvent>,
    /// Whether it ran into its limit and has no end of its own.
    pub is_truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrajectoryEvent {
    /// The position in the row, prompt included, whose output decided it.
    pub output: usize,
    pub action: EventAction,
    /// Log-probability (nats) that it was taken with; 0 if it has none.
    pub log_prob: f64,
    /// Entropy (nats) of the plain softmax of that output.
    pub entropy: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventAction {
    /// A sampled token.
    Token(u32),
    /// A token that the policy inserted.
    Given(u32),
    Latent,
    /// A decision between a token and a latent, by an entropy and this threshold (nats).
    Decision {
        thinks: bool,
        threshold: f64,
    },
    /// A decision that a limit left no choice in.
    ForcedDecision {
        thinks: bool,
    },
}

impl EventAction {
    fn kind(self) -> RolloutEventKind {
        match self {
            Self::Token(_) => RolloutEventKind::Token,
            Self::Given(_) => RolloutEventKind::Given,
            Self::Latent => RolloutEventKind::Latent,
            Self::Decision { .. } => RolloutEventKind::SampledSwitch,
            Self::ForcedDecision { .. } => RolloutEventKind::ForcedSwitch,
        }
    }
}

impl Trajectory {
    /// Returns the row of ids: prompt and generated tokens, with `latent` in the place of latents.
    pub fn ids(&self, latent: u32) -> Vec<u32> {
        self.prompt.iter().copied().chain(self.inputs.iter().map(|input| input.unwrap_or(latent))).collect()
    }

    /// Returns the positions of the latents in the row.
    pub fn latent_positions(&self) -> Vec<usize> {
        let latents = self.inputs.iter().enumerate().filter(|(_, input)| input.is_none());
        latents.map(|(index, _)| self.prompt.len() + index).collect()
    }

    pub fn latents(&self) -> usize {
        self.inputs.iter().filter(|input| input.is_none()).count()
    }

    /// Returns the number of generated tokens, inserted ones included.
    pub fn tokens(&self) -> usize {
        self.inputs.len() - self.latents()
    }

    /// Returns the kinds of its events.
    pub fn to_events(&self) -> RolloutEvents {
        let kinds = self.events.iter().map(|event| event.action.kind()).collect();
        RolloutEvents { kinds, is_truncated: self.is_truncated }
    }

    /// Returns the log-probabilities of its events, nats.
    pub fn log_probs(&self) -> Vec<f64> {
        self.events.iter().map(|event| event.log_prob).collect()
    }
}
