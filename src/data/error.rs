//! Owns: the errors of the data module and their messages to the user.
//! Must not know: terminals, tensors, who reads the data.
//! Invariant: a message names the file as given, the row, line or record, what was found, what is allowed.

use super::Split;
use crate::files::FileError;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, DataError>;

/// A fault in data or its files, or a request that they cannot satisfy.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system reported an error: the file is missing, unreadable or unwritable, or the disk is
    /// full. The cause is part of the message, not a `source`, so that a printed error chain shows it once.
    #[error("{}: cannot {action}: {cause}", file.display())]
    Io { file: PathBuf, action: &'static str, cause: std::io::Error },
    /// The footer or schema of a Parquet file cannot be read.
    #[error("{}: not a readable Parquet file: {found}; allowed: a whole Parquet file", file.display())]
    NotParquet { file: PathBuf, found: String },
    /// A text input is a file of another kind.
    #[error("{}: not a text file: {found}; allowed: UTF-8 text, plain or compressed with gzip or zstd", file.display())]
    NotText { file: PathBuf, found: String },
    /// The footer is intact, but a page cannot be decoded.
    #[error("{}: cannot decode the data at row {row} (counted from 0) or shortly after it, the file is corrupt: {found}", file.display())]
    Corrupt { file: PathBuf, row: u64, found: String },
    /// A file or folder name says two splits at once.
    #[error("{}: {found}; allowed: a name with one of train, valid and test in it", file.display())]
    SplitName { file: PathBuf, found: String },
    /// A file declares sizes that it cannot have. Decoding it would need memory without bound.
    #[error("{}: the file declares more than its bytes can hold, or more than fits into memory: {found}", file.display())]
    DeclaredSize { file: PathBuf, found: String },
    /// The bytes of a file are not those that were written.
    #[error("{}: the file has changed since it was written: {found}; allowed: the file as it was written (make the dataset again, or restore the file)", file.display())]
    Checksum { file: PathBuf, found: String },
    /// A required column is missing or has the wrong type.
    #[error("{}: {found}; allowed: {allowed}", file.display())]
    Column { file: PathBuf, found: String, allowed: String },
    #[error("{}: row {row} (counted from 0): {found}; allowed: {allowed}", file.display())]
    Row { file: PathBuf, row: u64, found: String, allowed: String },
    /// A line of a text input cannot be used.
    #[error("{}: line {line}: {found}; allowed: {allowed}", file.display())]
    Line { file: PathBuf, line: u64, found: String, allowed: &'static str },
    /// A record of a task file cannot be used.
    #[error("{}: record {record} (counted from 0): {found}; allowed: {allowed}", file.display())]
    Record { file: PathBuf, record: usize, found: String, allowed: &'static str },
    /// The input has no data.
    #[error("{}: {found}; allowed: {allowed}", file.display())]
    Empty { file: PathBuf, found: String, allowed: &'static str },
    /// The dataset's vocabulary is larger than the model's embedding table.
    #[error("{}: the dataset's vocabulary has {found} tokens, the model's only {allowed}; allowed: a dataset vocabulary no larger than the model's", file.display())]
    Vocabulary { file: PathBuf, found: usize, allowed: usize },
    /// The dataset lacks a requested split.
    #[error("{}: no {split} split; found: {found}; allowed: a shard with `{split}` in its name or in that of its folder", file.display())]
    NoSplit { file: PathBuf, split: Split, found: String },
    /// A tokenizer cannot be loaded, or cannot encode a text.
    #[error("{tokenizer}: {found}; allowed: {allowed}")]
    Tokenizer { tokenizer: String, found: String, allowed: &'static str },
    /// The output folder exists already and may not be replaced.
    #[error("{}: {found}; allowed: {allowed}", dir.display())]
    OutputExists { dir: PathBuf, found: &'static str, allowed: &'static str },
    /// A setting is outside its limits.
    #[error("{name} = {found}; allowed: {allowed}")]
    InvalidSetting { name: &'static str, found: String, allowed: &'static str },
    /// A stored stream position does not exist in this dataset.
    #[error("{}: no such position in this dataset: {found}; allowed: {allowed}", file.display())]
    InvalidPosition { file: PathBuf, found: String, allowed: String },
    /// The loader thread could not start, or panicked.
    #[error("the loader thread failed: {found}")]
    Loader { found: String },
}

impl DataError {
    /// Returns a function that wraps an operating system error. `action` completes "cannot …".
    pub(crate) fn io(file: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_path_buf();
        move |cause| Self::Io { file, action, cause }
    }
}

impl From<FileError> for DataError {
    fn from(error: FileError) -> Self {
        Self::Io { file: error.path, action: "be written", cause: error.cause }
    }
}

/// Returns the text of a JSON error with its column but without its line, which the caller reports itself.
pub(crate) fn json_error_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    format!("{reason} (column {})", error.column())
}
