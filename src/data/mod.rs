//! The data room: token shards in and out, tokenizers, the ProsQA task, the batch loader.
//!
//! It turns files into [`Batch`]es and text into shards. It must not know tensors, the terminal, or any other room.
//! Invariant: nothing that is not a row of ids below the vocabulary ever leaves it; what is wrong with a file
//! comes out as a [`DataError`] that names the file and the row, never as a panic.
//!
//! A walk: [`make_text`] / [`make_prosqa`] → `writer` (Parquet shards, one document a row, column `input_ids`) →
//! [`Dataset::open`] → `shard` (one row group at a time) → `stream` (the endless order of tokens) → [`Loader`]
//! (windows `[B, T+1]`, prefetched on a thread).

pub mod dataset;
mod decode;
pub mod error;
pub mod inspect;
pub mod loader;
pub mod manifest;
pub mod prosqa;
pub mod questions;
mod shard;
mod source;
mod staging;
mod stream;
pub mod text;
pub mod tokenizer;
mod writer;

pub use dataset::{Dataset, Split};
pub use error::{DataError, Result};
pub use inspect::{Description, describe};
pub use loader::{Batch, Loader, LoaderOptions};
pub use manifest::{Made, Manifest};
pub use prosqa::{ProsqaOptions, make_prosqa};
pub use questions::{Question, read_questions};
pub use stream::Position;
pub use text::{TextOptions, make_text};
pub use tokenizer::Codec;

/// How far a long piece of work is; plain data for whoever draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done and, in it, the unit: "bytes read", "records", "rows".
    pub what: &'a str,
    pub done: u64,
    pub total: u64,
}

/// Who is told about progress: called often, from the thread that called the work.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>);
