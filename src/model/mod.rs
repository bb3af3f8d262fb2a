//! Owns: the language model: one decoder-only transformer in two architectures, `gpt2` and `llama` (with Mistral, Qwen2 and
//! Qwen3); its head,
//! loss and gradients; how a hidden state becomes an input; what passes cost; Hugging Face import and export.
//! Must not know: recycling, training, data files, terminals.
//! Invariant: position `t` of any output depends only on positions `0..=t` of its input.
//!
//! Shape letters in names and docs: `B` rows, `T` positions of a row, `D` model width, `H` query heads, `G`
//! key/value heads, `K` head width, `V` vocabulary size, `N` selected positions of all rows together, `R`
//! largest number of recycled positions in a row, `S` new positions of a row, `C` cached positions of a row.

pub mod accumulator;
mod activation_tap;
mod attention;
mod block;
mod block_context;
mod cache;
pub mod cost;
mod dropout;
mod execution;
mod feedback;
mod gather_index;
pub mod gradients;
pub mod head;
mod held_dropout;
pub mod hf;
mod init;
mod keys_values;
mod latent_noise;
mod layers;
mod ragged;
mod rotary;
mod shape;
mod tokens;
mod transformer;

pub use activation_tap::{ActivationTap, MeasuredActivations};
pub use cache::KvCache;
pub use dropout::ModelDropout;
pub use execution::{Execution, MatmulPrecision};
pub use feedback::{Feedback, FeedbackSpec, rms};
pub use gather_index::{GatherIndex, Visibility, flatten_rows, index_tensor};
pub use held_dropout::HeldDropout;
pub use keys_values::KeysValues;
pub use latent_noise::LatentNoise;
pub use ragged::RaggedContext;
pub use shape::{Family, ModelShape, RopeScaling};
pub use tokens::{LossTargets, TokenBatch};
pub use transformer::{HiddenStates, Transformer};

/// Why a model could not be built, read or written. Every error names the file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("cannot write {file}: {cause}")]
    Write { file: String, cause: std::io::Error },
    #[error("{file}: `{key}` = {found} is not supported; supported: {allowed}")]
    Unsupported { file: String, key: String, found: String, allowed: String },
    #[error("{file}: tensor `{tensor}` has shape {found:?}, but the config asks for {wanted:?}")]
    TensorShape { file: String, tensor: String, found: Vec<usize>, wanted: Vec<usize> },
    #[error("{file}: tensor `{tensor}` is missing")]
    Missing { file: String, tensor: String },
    #[error(
        "{file}: tensor `{tensor}` has {count} of {total} numbers that are not finite, the first is {value} at index \
         {first}: the weights are damaged"
    )]
    NotFinite { file: String, tensor: String, count: usize, total: usize, first: usize, value: f32 },
}
