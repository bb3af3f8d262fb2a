//! Owns the three built-in vocabularies, written as `tokenizer.json` text.
//!
//! Must not know: how they are used. Invariant: the text depends on the program alone (`words`: on the list given), so
//! that its hash names the vocabulary.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::piece::char_of;
use crate::data::error::{DataError, Result};

/// What a word outside the `words` vocabulary becomes.
pub(super) const UNKNOWN: &str = "<unk>";
const END: &str = "<|endoftext|>";
/// Stand before the words: unknown, end of document, and the punctuation of ProsQA.
const WORD_SPECIALS: [&str; 2] = [UNKNOWN, "<eos>"];
const PUNCTUATION: [&str; 2] = [".", "?"];

/// Words and punctuation apart, one id each. Decodes to readable text ("Tom is a lempus.").
pub(super) fn words_json<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut vocab = Map::new();
    for word in WORD_SPECIALS.into_iter().chain(PUNCTUATION).chain(words) {
        let next = vocab.len();
        vocab.entry(word).or_insert_with(|| json!(next));
    }
    let specials: Vec<Value> =
        WORD_SPECIALS.iter().enumerate().map(|(id, token)| special(id, token)).collect();
    document(
        json!({"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN}),
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Punctuation", "behavior": "Isolated"},
        ]}),
        // Its clean-up is what pulls full stops back to the word before them.
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        specials,
    )
}

/// The 256 bytes as they are, and the end of a document.
pub(super) fn byte_json() -> String {
    let vocab = (0..=u8::MAX).map(|byte| (char_of(byte).to_string(), json!(byte)));
    byte_level(vocab.collect(), Vec::new(), 256)
}

/// GPT-2: ids are the ranks; merges are found again from the ranks.
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
    let ranks: HashMap<&[u8], usize> =
        tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let merges = tokens.iter().enumerate().filter(|(_, token)| token.len() > 1);
    let merges = merges.map(|(rank, token)| {
        let at = last_merge(token, rank, &ranks).ok_or_else(|| fault(format!("rank {rank} has no merge")))?;
        Ok(json!([spelled(&token[..at]), spelled(&token[at..])]))
    });
    let merges = merges.collect::<Result<Vec<Value>>>()?;
    let vocab = tokens.iter().enumerate().map(|(rank, token)| (spelled(token), json!(rank)));
    Ok(byte_level(vocab.collect(), merges, tokens.len()))
}

/// Where the two parts meet that are left when `token` is merged by all ranks below its own: these two are its merge.
fn last_merge(token: &[u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    // Borders of the parts, from single bytes on.
    let mut borders: Vec<usize> = (0..=token.len()).collect();
    while borders.len() > 3 {
        let pairs = borders.windows(3).enumerate();
        let ranked = pairs.filter_map(|(at, ends)| Some((*ranks.get(&token[ends[0]..ends[2]])?, at)));
        let (_, at) = ranked.filter(|(found, _)| *found < rank).min()?;
        borders.remove(at + 1);
    }
    (borders.len() == 3).then(|| borders[1])
}

fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char_of(*byte)).collect()
}

fn byte_level(vocab: Map<String, Value>, merges: Vec<Value>, end: usize) -> String {
    let mut vocab = vocab;
    vocab.insert(END.to_owned(), json!(end));
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    });
    document(model, level.clone(), level, vec![special(end, END)])
}

fn special(id: usize, token: &str) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn document(model: Value, pre_tokenizer: Value, decoder: Value, added_tokens: Vec<Value>) -> String {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    })
    .to_string()
}
