//! Owns the quick way from words to ids: one look-up a word, for the `words` vocabulary alone.
//!
//! Must not know: files, the tokenizer library. Invariant: where it answers, its ids are the library's; where the
//! library's rules go further than its own (special tokens in the text, letters beyond ASCII) it does not answer.

use std::collections::HashMap;

/// Word → id.
pub(super) struct Lookup {
    ids: HashMap<String, u32>,
    unknown: u32,
}

impl Lookup {
    /// `ids` must be the whole vocabulary, `unknown` what any other word becomes.
    pub fn new(ids: HashMap<String, u32>, unknown: u32) -> Self {
        Self { ids, unknown }
    }

    /// Ids of a text, or `None` where only the library knows them.
    pub fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let plain = text.is_ascii() && !text.contains('<');
        plain.then(|| {
            split_words(text).map(|word| self.ids.get(word).copied().unwrap_or(self.unknown)).collect()
        })
    }
}

/// Words and single punctuation marks, as the `words` tokenizer splits them.
pub(crate) fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let is_mark = |letter: char| letter.is_ascii_punctuation();
    text.split_whitespace()
        .flat_map(move |run| {
            run.split_inclusive(is_mark).flat_map(move |part| match part.char_indices().next_back() {
                Some((at, last)) if is_mark(last) => [&part[..at], &part[at..]],
                _ => [part, ""],
            })
        })
        .filter(|word| !word.is_empty())
}
