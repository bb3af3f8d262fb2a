//! Owns: `Panel`: which panels there are, their names, their keys and their order.
//! Must not know: what panels show, where they are drawn.
//! Invariant: names and keys are unique.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// A panel, in the order of the panel numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Panel {
    /// Key figures of the run.
    Run,
    Loss,
    /// Curves of the live settings.
    Schedule,
    /// Token entropies: a row as text, or a heatmap over the whole run.
    Entropy,
    /// What recycled states decode to.
    Thoughts,
    Cost,
    /// Config changes and notes.
    Changes,
    Log,
    /// Samples that the model generates.
    Samples,
    /// The model's answers to the user's prompts.
    Playground,
    /// Norms of the layers.
    Layers,
    /// Rollouts of reinforcement learning, with their rewards.
    Rollouts,
}

impl Panel {
    pub const ALL: [Panel; 12] = [
        Panel::Run,
        Panel::Loss,
        Panel::Schedule,
        Panel::Entropy,
        Panel::Thoughts,
        Panel::Cost,
        Panel::Changes,
        Panel::Log,
        Panel::Samples,
        Panel::Playground,
        Panel::Layers,
        Panel::Rollouts,
    ];

    /// Returns the key that focuses the panel: a digit from 1, or a letter.
    pub fn key(self) -> char {
        match self {
            Panel::Playground => 'p',
            Panel::Layers => 'i',
            Panel::Rollouts => 'o',
            panel => char::from(b'1' + panel as u8),
        }
    }

    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|panel| panel.name() == name)
    }

    /// Returns the panel `by` places further on, cyclically.
    pub fn offset_by(self, by: usize) -> Panel {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}
