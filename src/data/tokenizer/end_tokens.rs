//! Owns: which tokens end a text: what the files of a model's folder say, else a list of known spellings.
//! Must not know: generation, shards.
//! Invariant: what a file says goes before any guess, and a file that cannot be read is an error, not a guess.

use crate::data::error::{DataError, Result};
use crate::files::foreign;
use serde_json::Value;
use std::path::Path;

/// Tokens that end a document in known vocabularies, in order of preference.
pub(super) const KNOWN_END_TOKENS: [&str; 15] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    // DeepSeek writes full-width bars (U+FF5C) and lower one-eighth blocks (U+2581).
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "<|end\u{2581}of\u{2581}sentence|>",
    "<|end_of_sentence|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<end_of_turn>",
    "<|end|>",
    "<|return|>",
    "<EOT>",
];

const GENERATION_FILE: &str = "generation_config.json";
const CONFIG_FILE: &str = "config.json";
/// Files with the text of the end token.
const TOKENIZER_FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// Largest size of such a file, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Token ids that end a text, and where they are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndTokens {
    pub ids: Vec<u32>,
    /// The file, or what else decided.
    pub source: String,
}

/// Returns the ids that end a generated text, as transformers does: those of `generation_config.json`, else of
/// `config.json`, else the end token of the tokenizer's own files.
pub fn generation_end_tokens(dir: &Path, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<EndTokens> {
    for name in [GENERATION_FILE, CONFIG_FILE] {
        let ids = read_ids(dir, name)?;
        if !ids.is_empty() {
            return Ok(EndTokens { ids, source: name.to_owned() });
        }
    }
    Ok(named_end_token(dir, token_id)?.unwrap_or_default())
}

/// Returns the one id that ends a document: the end token of the tokenizer's own files, else the first id of
/// `generation_config.json` or `config.json`, else the first known spelling. None of them need be there.
pub(super) fn document_end_token(dir: Option<&Path>, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<EndTokens> {
    if let Some(dir) = dir {
        if let Some(found) = named_end_token(dir, token_id)? {
            return Ok(found);
        }
        for name in [GENERATION_FILE, CONFIG_FILE] {
            if let Some(id) = read_ids(dir, name)?.first() {
                return Ok(EndTokens { ids: vec![*id], source: name.to_owned() });
            }
        }
    }
    let known = KNOWN_END_TOKENS.iter().find_map(|token| token_id(token));
    Ok(EndTokens { ids: known.into_iter().collect(), source: "a known spelling".to_owned() })
}

/// Returns the end token that the tokenizer's own files name, if the vocabulary has it.
fn named_end_token(dir: &Path, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<Option<EndTokens>> {
    for name in TOKENIZER_FILES {
        let Some(file) = read_json(dir, name)? else { continue };
        let eos = &file["eos_token"];
        let text = eos.as_str().or_else(|| eos["content"].as_str());
        if let Some(id) = text.and_then(token_id) {
            return Ok(Some(EndTokens { ids: vec![id], source: name.to_owned() }));
        }
    }
    Ok(None)
}

/// Reads `eos_token_id`, an id or a list of ids; empty if the file or the key is not there.
fn read_ids(dir: &Path, name: &str) -> Result<Vec<u32>> {
    let Some(file) = read_json(dir, name)? else { return Ok(Vec::new()) };
    let values = match &file["eos_token_id"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    values.iter().map(id).collect::<Option<Vec<u32>>>().ok_or_else(|| DataError::Tokenizer {
        tokenizer: dir.join(name).display().to_string(),
        found: format!("`eos_token_id` = {}", file["eos_token_id"]),
        allowed: "a token id, a list of token ids, or null",
    })
}

fn read_json(dir: &Path, name: &str) -> Result<Option<Value>> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let text = foreign::read_text(&path, MAX_BYTES).map_err(|error| DataError::io(&path, "be read")(error.cause))?;
    serde_json::from_str(&text).map(Some).map_err(|error| DataError::Tokenizer {
        tokenizer: path.display().to_string(),
        found: format!("not JSON: {error}"),
        allowed: "a JSON object",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the ids for generation and for documents in a folder of `files`; `<a>` has id 1, `</s>` 2.
    fn found(files: &[(&str, &str)]) -> (Vec<u32>, Vec<u32>) {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        let token_id =
            |token: &str| ["<pad>", "<a>", "</s>"].iter().position(|known| *known == token).map(|id| id as u32);
        let generation = generation_end_tokens(dir.path(), &token_id).unwrap();
        (generation.ids, document_end_token(Some(dir.path()), &token_id).unwrap().ids)
    }

    #[test]
    fn files_go_before_known_spellings() {
        let config = ("config.json", r#"{"eos_token_id": [5, 6]}"#);
        let generation = ("generation_config.json", r#"{"eos_token_id": [7, 8]}"#);
        let tokenizer = ("tokenizer_config.json", r#"{"eos_token": {"content": "<a>"}}"#);
        assert_eq!(found(&[config, generation, tokenizer]), (vec![7, 8], vec![1]));
        assert_eq!(found(&[config, tokenizer]), (vec![5, 6], vec![1]));
        assert_eq!(found(&[config, ("generation_config.json", "{}")]), (vec![5, 6], vec![5]));
        assert_eq!(found(&[("special_tokens_map.json", r#"{"eos_token": "<a>"}"#)]), (vec![1], vec![1]));
        assert_eq!(found(&[("config.json", r#"{"eos_token_id": null}"#)]), (vec![], vec![2]));
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{", r#"{"eos_token_id": "end"}"#] {
            std::fs::write(dir.path().join(CONFIG_FILE), text).unwrap();
            let error = generation_end_tokens(dir.path(), &|_| None).unwrap_err().to_string();
            assert!(error.contains("config.json"), "{error}");
        }
    }
}
