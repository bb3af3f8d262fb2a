//! Owns: the metadata of datasets: keys in the shards' footers, `dataset.json`, and the summary of a new dataset.
//! Must not know: how shards are read or text is encoded.
//! Invariant: each key and file name is defined here once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{DataError, Result, json_error_text};
use super::parquet_input::open_input;
use super::{Split, Tokenizer};
use crate::files::atomic::replace_json;
use crate::files::foreign::read_regular;
use sha2::{Digest, Sha256};
use std::io::Read;

/// File name of the tokenizer in the dataset folder, in Hugging Face's format.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// File name of the manifest in the dataset folder.
pub const MANIFEST_FILE: &str = "dataset.json";
/// Largest `dataset.json` that is read, in bytes.
const MAX_MANIFEST: u64 = 256 << 20;
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
    /// Size and hash of every shard by its file name. Empty in datasets from before there were hashes.
    #[serde(default)]
    pub shards: BTreeMap<String, ShardRecord>,
}

/// What a shard was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

impl ShardRecord {
    /// Reads a whole file.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let mut file = open_input(path)?;
        let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 20], 0);
        loop {
            match file.read(&mut buffer).map_err(DataError::io(path, "be read"))? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    bytes += count as u64;
                }
            }
        }
        let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, sha256 })
    }

    /// Fails if the file is not what it was.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let found = Self::of_file(path)?;
        let fault = |found: String| Err(DataError::Checksum { file: path.to_path_buf(), found });
        match found {
            _ if found.bytes != self.bytes => {
                fault(format!("{MANIFEST_FILE} says {} bytes, found {}", self.bytes, found.bytes))
            }
            _ if found.sha256 != self.sha256 => {
                fault(format!("{MANIFEST_FILE} says SHA-256 {}, found {}", self.sha256, found.sha256))
            }
            _ => Ok(()),
        }
    }
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
            shards: BTreeMap::new(),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = read_regular(path, MAX_MANIFEST).map_err(|error| DataError::Io {
            file: error.path,
            action: "be read",
            cause: error.cause,
        })?;
        serde_json::from_slice(&text).map_err(|error| DataError::Line {
            file: path.to_path_buf(),
            line: error.line() as u64,
            found: json_error_text(&error),
            allowed: "the dataset.json that was written with the shards, or none",
        })
    }

    /// Writes the manifest to `dir`, with size and hash of every shard that is there.
    pub(crate) fn write(mut self, dir: &Path) -> Result<()> {
        for entry in std::fs::read_dir(dir).map_err(DataError::io(dir, "be listed"))? {
            let path = entry.map_err(DataError::io(dir, "be listed"))?.path();
            if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "parquet")) {
                self.shards.insert(name.to_string_lossy().into_owned(), ShardRecord::of_file(&path)?);
            }
        }
        Ok(replace_json(&dir.join(MANIFEST_FILE), &self)?)
    }
}

/// The summary of a dataset that was just made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetSummary {
    pub out: PathBuf,
    pub splits: BTreeMap<Split, SplitCounts>,
    pub vocab_size: usize,
    /// The token that ends documents, and what named it; only of text datasets.
    pub end_token: Option<String>,
    /// Number of documents without text, which were left out.
    pub empty: u64,
    /// Number of documents whose text is null, which were left out, too.
    pub nulls: u64,
    /// Means over all graphs; only for questions about graphs.
    pub graphs: Option<GraphMeans>,
    /// The same means of the published dataset; only for ProsQA.
    pub published: Option<GraphMeans>,
}

/// Means over the graphs of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GraphMeans {
    pub nodes: f64,
    pub edges: f64,
    /// Number of steps of the shortest path from root to target.
    pub shortest_path: f64,
}
