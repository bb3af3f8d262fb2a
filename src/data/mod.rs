//! Owns: token shards, tokenizers, the ProsQA task, and the loader that turns shards into [`Batch`]es.
//! Must not know: tensors, the terminal, or any other module of the crate but `files` and `rng`.
//! Invariant: every token id that leaves this module is below the vocabulary size. A fault in a file is a
//! [`DataError`] that names the file and the row, never a panic.
//!
//! The path of the data: [`make_text`] or [`make_prosqa`] → `writer` (Parquet shards with one document per
//! row, in the column `input_ids`) → [`Dataset::open`] → `shard` (one row group at a time) → `stream` (the
//! endless order of tokens) → [`Loader`] (windows `[B, T+1]`, prefetched on a thread).

mod batch;
mod columns;
pub mod dataset;
mod decode;
pub mod error;
pub mod graph_task;
pub mod inspect;
mod json_text;
pub mod layout;
pub mod loader;
pub mod manifest;
mod marked_tokens;
mod parquet_input;
pub mod prosqa;
mod prosqa_words;
pub mod question_shards;
pub mod questions;
mod row_reader;
mod shard;
mod source;
mod split;
mod staging;
mod stream;
pub mod text;
mod text_input;
pub mod tokenizer;
mod writer;

pub use batch::Batch;
pub use dataset::Dataset;
pub use decode::ReadCounts;
pub use error::{DataError, Result};
pub use graph_task::{GraphTaskOptions, HopRange, make_graph_task};
pub use inspect::{DatasetDescription, describe};
pub use loader::{Loader, LoaderOptions};
pub use manifest::{DatasetManifest, DatasetSummary};
pub use prosqa::{ProsqaOptions, make_prosqa};
pub use question_shards::{QuestionShardsOptions, make_question_shards};
pub use questions::{Question, Questions, read_questions};
pub use row_reader::{RowCounts, RowReader};
pub use split::Split;
pub use stream::StreamPosition;
pub use text::{TextOptions, make_text};
pub use tokenizer::{EndTokens, MARKERS, Tokenizer, generation_end_tokens};

/// Largest vocabulary size allowed: an id from here on means that a file of unknown vocabulary is corrupt.
pub(crate) const MAX_VOCAB: usize = 1 << 24;

/// Progress of a long operation, as plain data for the caller to display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What `done` and `total` count, such as "bytes read" or "records".
    pub label: &'a str,
    pub done: u64,
    pub total: u64,
}

/// Callback that receives progress. It is called often, on the thread that runs the operation.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>);
