//! Owns: thinking: generation that takes tokens or goes on in latent space, as a policy says from the entropy (Sebastian
//! Müller, "COCONUT: Parallel pre-training", 2025; Hao et al., arXiv 2412.06769).
//! Must not know: training, files, terminals.
//! Invariant: a generation depends on model, prompt, policy, choice, seed and the number of its stream alone, not on the rows
//! beside it (but for the shuffled control, which is made of them).

mod answer;
mod beam;
mod choose;
mod generate;
mod lens;
mod policy;
mod spec;
mod threshold;

pub use answer::{ends_with, ratio};
pub use choose::{Choice, Said};
pub use generate::{End, Generation, Kind, Request, Step};
pub use lens::{Latent, look};
pub use policy::{At, Bounds, Entropy, Fixed, Machine, Move, Places, Policy, Trend};
pub use spec::POLICIES;
pub use threshold::Threshold;

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
pub enum ThinkError {
    #[error("the prompt is empty; at least one token is needed")]
    Empty,
    #[error("token {id} of the prompt: the model's vocabulary has the ids 0 to {last}")]
    Unknown { id: u32, last: usize },
    #[error("the prompt has {found} tokens; the model takes {most} positions, and one is needed to go on")]
    TooLong { found: usize, most: usize },
    #[error("{key}={id} of the policy: the model's vocabulary has the ids 0 to {last}")]
    Token { key: &'static str, id: u32, last: usize },
    #[error(
        "an output of the model is not finite (row {row} of those at once): its weights or its config.json are broken"
    )]
    NotFinite { row: usize },
    #[error("reading from the device failed: {0}")]
    Device(String),
}
