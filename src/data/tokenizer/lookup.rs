//! Owns: the fast encoder of the `words` vocabulary, which does one lookup per word.
//! Must not know: files, the tokenizer library.
//! Invariant: its ids equal those of the library. It returns nothing for text that needs more of the
//! library's rules (special tokens in the text, letters beyond ASCII).

use std::collections::HashMap;

pub(super) struct WordTable {
    ids: HashMap<String, u32>,
    unknown_id: u32,
}

impl WordTable {
    /// `ids` is the whole vocabulary; `unknown_id` that of any other word.
    pub fn new(ids: HashMap<String, u32>, unknown_id: u32) -> Self {
        Self { ids, unknown_id }
    }

    /// Encodes a text; `None` if only the library can.
    pub fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let is_simple = text.is_ascii() && !text.contains('<');
        is_simple
            .then(|| split_words(text).map(|word| self.ids.get(word).copied().unwrap_or(self.unknown_id)).collect())
    }
}

/// Splits a text into words and single punctuation marks, like the `words` tokenizer.
pub(crate) fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let is_mark = |letter: char| letter.is_ascii_punctuation();
    text.split_whitespace()
        .flat_map(move |chunk| {
            chunk.split_inclusive(is_mark).flat_map(move |part| match part.char_indices().next_back() {
                Some((index, last)) if is_mark(last) => [&part[..index], &part[index..]],
                _ => [part, ""],
            })
        })
        .filter(|word| !word.is_empty())
}
