//! Owns: the three built-in vocabularies, written as `tokenizer.json` text.
//! Must not know: how they are used.
//! Invariant: the text depends only on the program (and the list of `words`), so its hash identifies it.

use super::spelling::char_for_byte;
use crate::data::error::{DataError, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Token that replaces a word outside the `words` vocabulary.
pub(super) const UNKNOWN: &str = "<unk>";
const END_OF_TEXT: &str = "<|endoftext|>";
/// Tokens that come before the words: unknown, end of document, and then the punctuation of ProsQA.
const WORD_SPECIALS: [&str; 2] = [UNKNOWN, "<eos>"];
const PUNCTUATION: [&str; 2] = [".", "?"];

/// Builds the `words` tokenizer: one id per word and punctuation mark. It decodes to readable text.
pub(super) fn words_json<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut vocab = Map::new();
    for word in WORD_SPECIALS.into_iter().chain(PUNCTUATION).chain(words) {
        let next = vocab.len();
        vocab.entry(word).or_insert_with(|| json!(next));
    }
    let specials: Vec<Value> = WORD_SPECIALS.iter().enumerate().map(|(id, token)| special_token(id, token)).collect();
    tokenizer_json(
        json!({"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN}),
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Punctuation", "behavior": "Isolated"},
        ]}),
        // The clean-up of this decoder joins a full stop to the preceding word.
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        specials,
    )
}

/// Builds the `byte` tokenizer: the 256 bytes and the end-of-document token.
pub(super) fn byte_json() -> String {
    let vocab = (0..=u8::MAX).map(|byte| (char_for_byte(byte).to_string(), json!(byte)));
    byte_level_json(vocab.collect(), Vec::new(), 256)
}

/// Builds the `gpt2` tokenizer. Ids are the ranks; the merges are reconstructed from the ranks.
pub(super) fn gpt2_json() -> Result<String> {
    let fault = |found: String| DataError::Tokenizer {
        tokenizer: "gpt2".to_owned(),
        found,
        allowed: "the ranks of r50k_base in tiktoken-rs",
    };
    let bpe = tiktoken_rs::r50k_base().map_err(|error| fault(error.to_string()))?;
    let tokens: Vec<Vec<u8>> = (0..50256_u32)
        .map(|rank| bpe.decode_bytes(&[rank]).map_err(|error| fault(format!("rank {rank}: {error:?}"))))
        .collect::<Result<_>>()?;
    let ranks: HashMap<&[u8], usize> = tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let merges = tokens.iter().enumerate().filter(|(_, token)| token.len() > 1);
    let merges = merges.map(|(rank, token)| {
        let end = last_merge_offset(token, rank, &ranks).ok_or_else(|| fault(format!("rank {rank} has no merge")))?;
        Ok(json!([byte_chars(&token[..end]), byte_chars(&token[end..])]))
    });
    let merges = merges.collect::<Result<Vec<Value>>>()?;
    let vocab = tokens.iter().enumerate().map(|(rank, token)| (byte_chars(token), json!(rank)));
    Ok(byte_level_json(vocab.collect(), merges, tokens.len()))
}

/// Merges the bytes of `token` by all ranks below its own, and returns the offset between the two parts left.
fn last_merge_offset(token: &[u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    // Boundaries of the parts, which are single bytes at first.
    let mut boundaries: Vec<usize> = (0..=token.len()).collect();
    while boundaries.len() > 3 {
        let pairs = boundaries.windows(3).enumerate();
        let ranked = pairs.filter_map(|(index, ends)| Some((*ranks.get(&token[ends[0]..ends[2]])?, index)));
        let (_, index) = ranked.filter(|(pair_rank, _)| *pair_rank < rank).min()?;
        boundaries.remove(index + 1);
    }
    (boundaries.len() == 3).then(|| boundaries[1])
}

/// Writes bytes as the printable characters of a byte-level vocabulary.
fn byte_chars(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char_for_byte(*byte)).collect()
}

/// Builds a byte-level BPE tokenizer, whose end-of-document token has the id `end`.
fn byte_level_json(vocab: Map<String, Value>, merges: Vec<Value>, end: usize) -> String {
    let mut vocab = vocab;
    vocab.insert(END_OF_TEXT.to_owned(), json!(end));
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    });
    tokenizer_json(model, level.clone(), level, vec![special_token(end, END_OF_TEXT)])
}

fn special_token(id: usize, token: &str) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn tokenizer_json(model: Value, pre_tokenizer: Value, decoder: Value, added_tokens: Vec<Value>) -> String {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    })
    .to_string()
}
