//! Owns: what a Hugging Face folder holds beside shape and weights: special token ids, generation settings, tokenizer files.
//! Must not know: what a token means, how weights are stored.
//! Invariant: what was read from a folder is written again unchanged, so that other programs find what they had.

use super::config_json::read_json;
use crate::files::foreign;
use crate::model::ModelError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys of `config.json` that name special tokens.
const SPECIAL_KEYS: [&str; 3] = ["bos_token_id", "eos_token_id", "pad_token_id"];

/// File with the settings of `generate` in transformers, the end tokens among them.
const GENERATION_FILE: &str = "generation_config.json";
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// Files that are kept as they are.
pub const COMPANION_FILES: [&str; 11] = [
    GENERATION_FILE,
    "tokenizer.json",
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
];

/// Largest size of a companion file, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// What a folder holds beside shape and weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Companions {
    /// Keys of `config.json` for special tokens, as they were found; null is kept.
    special_ids: Map<String, Value>,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Companions {
    /// Reads what the folder `dir` has.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let config = read_json(&dir.join(super::CONFIG_FILE))?;
        let special_ids = SPECIAL_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), config.get(key)?.clone())));
        let mut files = BTreeMap::new();
        for name in COMPANION_FILES {
            let file = dir.join(name);
            if file.exists() {
                let fail = |error: crate::files::FileError| ModelError::File {
                    file: file.display().to_string(),
                    message: error.cause.to_string(),
                };
                files.insert(name, foreign::read_regular(&file, MAX_BYTES).map_err(fail)?);
            }
        }
        Ok(Self { special_ids: special_ids.collect(), files })
    }

    /// Describes a model trained from scratch, whose documents end with the token `eos`.
    pub fn for_end_token(eos: Option<u32>) -> Self {
        let ids = ["bos_token_id", "eos_token_id"].map(|key| (key.to_owned(), Value::from(eos)));
        Self { special_ids: ids.into_iter().collect(), files: BTreeMap::new() }
    }

    /// Sets the `tokenizer.json`, and describes it for transformers if nothing else does. `eos` is the end token's text.
    pub fn with_tokenizer(mut self, tokenizer_json: &str, eos: Option<&str>) -> Self {
        self.files.insert("tokenizer.json", tokenizer_json.as_bytes().to_vec());
        let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": eos, "eos_token": eos });
        self.files.entry(TOKENIZER_CONFIG_FILE).or_insert_with(|| format!("{config:#}\n").into_bytes());
        self
    }

    pub fn tokenizer_json(&self) -> Option<&[u8]> {
        self.files.get("tokenizer.json").map(Vec::as_slice)
    }

    pub fn has_tokenizer_config(&self) -> bool {
        self.files.contains_key(TOKENIZER_CONFIG_FILE)
    }

    pub(super) fn special_ids(&self) -> &Map<String, Value> {
        &self.special_ids
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }
}
