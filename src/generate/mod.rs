//! Owns: generation whose next input is a token or a latent (a recycled hidden state), as a policy decides
//! from the entropy (Sebastian Müller, "COCONUT: Parallel pre-training", 2025; Hao et al., arXiv 2412.06769).
//! Must not know: training, files, terminals.
//! Invariant: a row's generation depends only on model, prompt, policy, sampling parameters, seed and stream
//! number, not on other rows (but for interventions that use their states).

mod beam;
mod generation;
mod intervention;
mod lens;

pub use generation::{EndReason, Generation, GenerationRequest, GenerationStep, InputKind};
pub use intervention::{Intervention, LatentSource};
pub use lens::{Latent, inspect_latents};

/// Why a generation could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("the prompt is empty; at least one token is needed")]
    EmptyPrompt,
    #[error("token {id} of the prompt is not in the model's vocabulary; allowed: ids 0 to {last}")]
    UnknownPromptToken { id: u32, last: usize },
    #[error(
        "the prompt has {tokens} tokens; the model takes {positions} positions, and generation needs at least one more"
    )]
    PromptTooLong { tokens: usize, positions: usize },
    #[error("{key}={id} of the policy is not in the model's vocabulary; allowed: ids 0 to {last}")]
    UnknownPolicyToken { key: &'static str, id: u32, last: usize },
    #[error("an output of the model is not finite (row {row} of the batch): its weights or its config.json are broken")]
    NonFiniteOutput { row: usize },
    #[error("reading from the device failed: {0}")]
    Device(String),
}
