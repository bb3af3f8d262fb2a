//! Owns: the language model: one decoder-only transformer with two faces, `gpt2` and `llama`; its head, loss and
//! gradients; how a state becomes an input; what passes cost; Hugging Face import and export.
//! Must not know: recycling, training, data files, terminals.
//! Invariant: position `t` of any output depends on positions `0..=t` of its input alone.
//!
//! Shape letters in names and docs: `B` rows, `T` positions, `D` width, `H` heads, `G` key/value heads,
//! `K` head width, `V` vocabulary, `N` positions of all rows together, `R` recycled positions.

mod attention;
mod cache;
pub mod cost;
mod execution;
mod feedback;
pub mod head;
pub mod hf;
mod init;
mod layers;
pub mod ledger;
mod places;
mod rotary;
mod shape;
mod tokens;
mod transformer;

pub use attention::KeysValues;
pub use cache::Cache;
pub use execution::{Execution, Products};
pub use feedback::{Feedback, Form, rms};
pub use places::{Places, index, rows};
pub use shape::Shape;
pub use tokens::Tokens;
pub use transformer::{States, Transformer};

/// Why a model could not be built, read or written.
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
}
