//! Owns every way in which data can be unusable, and how that is said to a user.
//!
//! Must not know: terminals, tensors, who reads the data. Invariant: a message names the file as the user
//! gave it, the row, line or record where there is one, what was found and what is allowed.

use std::path::{Path, PathBuf};

use super::Split;

/// The result of everything in the data room.
pub type Result<T> = std::result::Result<T, DataError>;

/// What can be wrong with data, its files, or what was asked of them.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused: missing, unreadable, unwritable, disk full. The cause is part of the message, not
    /// a `source`, so that a printed chain says it once.
    #[error("{}: cannot {action}: {cause}", file.display())]
    Io { file: PathBuf, action: &'static str, cause: std::io::Error },
    /// The file's frame (footer, schema) cannot be read.
    #[error("{}: not a readable Parquet file: {found}; allowed: a whole Parquet file", file.display())]
    NotParquet { file: PathBuf, found: String },
    /// The frame is sound, but pages cannot be decoded.
    #[error("{}: row {row} (counted from 0) or one soon after it: the data cannot be decoded, the file is corrupt: {found}", file.display())]
    Corrupt { file: PathBuf, row: u64, found: String },
    /// No column, or a column of the wrong type.
    #[error("{}: {found}; allowed: {allowed}", file.display())]
    Column { file: PathBuf, found: String, allowed: String },
    /// One row holds what may not be there.
    #[error("{}: row {row} (counted from 0): {found}; allowed: {allowed}", file.display())]
    Row { file: PathBuf, row: u64, found: String, allowed: String },
    /// One line of a text input is unusable.
    #[error("{}: line {line}: {found}; allowed: {allowed}", file.display())]
    Line { file: PathBuf, line: u64, found: String, allowed: &'static str },
    /// One record of a task file is unusable.
    #[error("{}: record {record} (counted from 0): {found}; allowed: {allowed}", file.display())]
    Record { file: PathBuf, record: usize, found: String, allowed: &'static str },
    /// Nothing to learn from.
    #[error("{}: {found}; allowed: {allowed}", file.display())]
    Empty { file: PathBuf, found: String, allowed: &'static str },
    /// The dataset has ids that the model has no embedding for.
    #[error("{}: the dataset's vocabulary has {found} tokens, the model's only {allowed}; allowed: a dataset vocabulary no larger than the model's", file.display())]
    Vocabulary { file: PathBuf, found: usize, allowed: usize },
    /// The dataset lacks a split that was asked for.
    #[error("{}: no {split} split; found: {found}; allowed: a shard whose name begins with `{split}`", file.display())]
    NoSplit { file: PathBuf, split: Split, found: String },
    /// A tokenizer cannot be loaded or cannot encode.
    #[error("{tokenizer}: {found}; allowed: {allowed}")]
    Tokenizer { tokenizer: String, found: String, allowed: &'static str },
    /// The output folder is taken.
    #[error("{}: {found}; allowed: {allowed}", dir.display())]
    Taken { dir: PathBuf, found: &'static str, allowed: &'static str },
    /// A setting outside its limits.
    #[error("{name} = {found}; allowed: {allowed}")]
    Setting { name: &'static str, found: String, allowed: &'static str },
    /// A stored position that this dataset does not have.
    #[error("{}: no such position in this dataset: {found}; allowed: {allowed}", file.display())]
    Position { file: PathBuf, found: String, allowed: String },
    /// The loader's thread could not start or ended without a word.
    #[error("the loader's thread failed: {found}")]
    Loader { found: String },
}

impl DataError {
    /// Wraps an operating system error; `action` completes "cannot …".
    pub(crate) fn io(file: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_path_buf();
        move |cause| Self::Io { file, action, cause }
    }
}

/// A JSON error without its line, which the caller states: the message already names it.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}
