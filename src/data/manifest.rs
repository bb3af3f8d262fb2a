//! Owns the names and notes that travel with shards: footer keys, `dataset.json`, and what a making reports.
//!
//! Must not know: how shards are read or text is encoded. Invariant: each key and file name stands here once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{DataError, Result, json_fault};
use super::{Codec, Split};

/// Beside the shards: the tokenizer, in Hugging Face's format.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Beside the shards: how they were made.
pub const MANIFEST_FILE: &str = "dataset.json";
/// Footer keys.
pub const VOCAB_KEY: &str = "coconut.vocab_size";
pub const HASH_KEY: &str = "coconut.tokenizer_hash";
pub const EOS_KEY: &str = "coconut.eos_id";
pub const KIND_KEY: &str = "coconut.kind";
pub const VERSION_KEY: &str = "coconut.version";

/// How much a split holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub shards: usize,
    pub documents: u64,
    /// Tokens, the end-of-document tokens included.
    pub tokens: u64,
}

/// `dataset.json`: how a dataset was made and what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `prosqa` or `text`.
    pub kind: String,
    /// The sources and settings, for people.
    pub made: BTreeMap<String, String>,
    pub seed: u64,
    /// By split name; a split without documents is absent.
    pub splits: BTreeMap<Split, Counts>,
    pub vocab_size: usize,
    pub tokenizer_hash: String,
    pub eos_id: Option<u32>,
    /// Version of the program that wrote it.
    pub version: String,
}

impl Manifest {
    /// The notes on a dataset made with `codec`.
    pub(crate) fn new(
        kind: &str,
        made: BTreeMap<String, String>,
        seed: u64,
        splits: BTreeMap<Split, Counts>,
        codec: &Codec,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            made,
            seed,
            splits,
            vocab_size: codec.vocab_size(),
            tokenizer_hash: codec.hash(),
            eos_id: codec.eos_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
        serde_json::from_slice(&text).map_err(|error| DataError::Line {
            file: path.to_path_buf(),
            line: error.line() as u64,
            found: json_fault(&error),
            allowed: "the dataset.json that was written with the shards, or none",
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        std::fs::write(path, text).map_err(DataError::io(path, "be written"))
    }
}

/// What a making made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Made {
    /// The dataset's folder.
    pub out: PathBuf,
    pub splits: BTreeMap<Split, Counts>,
    pub vocab_size: usize,
    /// Inputs without text, left out.
    pub empty: u64,
    /// Means over all records, for ProsQA only.
    pub graphs: Option<GraphMeans>,
}

/// Means over generated (or read) ProsQA records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GraphMeans {
    pub nodes: f64,
    pub edges: f64,
    /// Steps of the shortest chain.
    pub shortest_path: f64,
}
