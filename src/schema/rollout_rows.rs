//! Owns: one rollout of reinforcement learning as plain data: a row of `rollouts/`, and what a screen shows of it.
//! Must not know: how a rollout is made or judged, files, screens.
//! Invariant: the lists have one entry per generated position.

/// Most rollouts of a run that a screen keeps: the newest, in whole iterations.
pub const MAX_KEPT_ROLLOUTS: usize = 8192;

/// A rollout with its rewards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutRow {
    /// Updates done when it was made.
    pub step: u64,
    /// Index of its prompt in the iteration.
    pub group: usize,
    /// Index in its group.
    pub rollout: usize,
    pub prompt: String,
    pub right_answer: String,
    /// The completion, with latents as `⟨4 10⟩`: the likeliest tokens that each decodes to.
    pub text: String,
    pub reward: f64,
    pub advantage: f64,
    /// 1 if the answer is right, else 0.
    pub exact: f64,
    /// 1 if the completion ends by itself and states an answer of the kind asked for, else 0.
    pub format: f64,
    pub is_truncated: bool,
    pub tokens: usize,
    pub latents: usize,
    /// `None` for a latent.
    pub token_ids: Vec<Option<u32>>,
    /// Entropy of the output that each position was decided by, nats.
    pub entropies: Vec<f32>,
    /// Log-probability of each token, nats; 0 for a latent.
    pub log_probs: Vec<f32>,
}
