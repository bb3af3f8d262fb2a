//! Owns: the metadata of datasets: keys in the shards' footers, `dataset.json`, and the summary of a new dataset.
//! Must not know: how shards are read or text is encoded.
//! Invariant: each key and file name is defined here once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{DataError, Result, json_error_text};
use super::{Split, Tokenizer};
use crate::files::atomic::replace_json;

/// File name of the tokenizer in the dataset folder, in Hugging Face's format.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// File name of the manifest in the dataset folder.
pub const MANIFEST_FILE: &str = "dataset.json";
pub const VOCAB_SIZE_KEY: &str = "coconut.vocab_size";
pub const TOKENIZER_HASH_KEY: &str = "coconut.tokenizer_hash";
pub const EOS_ID_KEY: &str = "coconut.eos_id";
pub const KIND_KEY: &str = "coconut.kind";
pub const VERSION_KEY: &str = "coconut.version";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts {
    pub shards: usize,
    pub documents: u64,
    /// Number of tokens, including end-of-document tokens.
    pub tokens: u64,
}

/// The content of `dataset.json`: how a dataset was made and what it contains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// `prosqa` or `text`.
    pub kind: String,
    /// Sources and settings by name, for people to read.
    #[serde(rename = "made")]
    pub settings: BTreeMap<String, String>,
    pub seed: u64,
    /// Size of each split. A split without documents is absent.
    pub splits: BTreeMap<Split, SplitCounts>,
    pub vocab_size: usize,
    pub tokenizer_hash: String,
    pub eos_id: Option<u32>,
    pub version: String,
}

impl DatasetManifest {
    /// Creates the manifest of a dataset that was encoded with `tokenizer`.
    pub(crate) fn new(
        kind: &str,
        settings: BTreeMap<String, String>,
        seed: u64,
        splits: BTreeMap<Split, SplitCounts>,
        tokenizer: &Tokenizer,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            settings,
            seed,
            splits,
            vocab_size: tokenizer.vocab_size(),
            tokenizer_hash: tokenizer.hash(),
            eos_id: tokenizer.eos_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
        serde_json::from_slice(&text).map_err(|error| DataError::Line {
            file: path.to_path_buf(),
            line: error.line() as u64,
            found: json_error_text(&error),
            allowed: "the dataset.json that was written with the shards, or none",
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(replace_json(path, self)?)
    }
}

/// The summary of a dataset that was just made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetSummary {
    pub out: PathBuf,
    pub splits: BTreeMap<Split, SplitCounts>,
    pub vocab_size: usize,
    /// Number of documents without text, which were left out.
    pub empty: u64,
    /// Means over all records; only for ProsQA.
    pub graphs: Option<GraphMeans>,
}

/// Means over the graphs of ProsQA records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GraphMeans {
    pub nodes: f64,
    pub edges: f64,
    /// Number of steps of the shortest path from root to target.
    pub shortest_path: f64,
}
