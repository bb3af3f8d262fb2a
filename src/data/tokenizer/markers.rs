//! Owns: the marker tokens around latents, as special tokens behind a vocabulary.
//! Must not know: how rows with markers are built.
//! Invariant: a tokenizer with markers gives every text without them the ids that it gave before, and has the same hash.

use serde_json::{Value, json};

/// The markers in the order of their ids: begin and end of the latents (named as in the code of arXiv 2412.06769), and the
/// one after which `frontier` asks for the answer.
pub const MARKERS: [&str; 3] = ["<|start-latent|>", "<|end-latent|>", "<|answer|>"];

/// Returns a `tokenizer.json` with these tokens as its last ones; `None` if it is no JSON object.
pub(super) fn add(json: &str, tokens: &[(&str, u32)]) -> Option<String> {
    let mut all: Value = serde_json::from_str(json).ok()?;
    let added = all.as_object_mut()?.entry("added_tokens").or_insert_with(|| json!([])).as_array_mut()?;
    added.extend(tokens.iter().map(|(content, id)| {
        json!({
            "id": id,
            "content": content,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": true
        })
    }));
    Some(format!("{all:#}\n"))
}

/// Returns a `tokenizer.json` without markers; `None` if it has none.
pub(super) fn remove(json: &str) -> Option<String> {
    if !MARKERS.iter().any(|marker| json.contains(marker)) {
        return None;
    }
    let mut all: Value = serde_json::from_str(json).ok()?;
    let added = all.get_mut("added_tokens")?.as_array_mut()?;
    let before = added.len();
    added.retain(|token| !token["content"].as_str().is_some_and(|content| MARKERS.contains(&content)));
    (added.len() < before).then(|| all.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Tokenizer;

    #[test]
    fn markers_follow_the_vocabulary_and_change_nothing_else() {
        for tokenizer in [Tokenizer::words().unwrap(), Tokenizer::byte().unwrap(), Tokenizer::gpt2().unwrap()] {
            let vocab_size = tokenizer.vocab_size();
            let with = tokenizer.clone().with_markers().unwrap();
            assert_eq!(with.vocab_size(), vocab_size + MARKERS.len());
            for (id, marker) in (vocab_size as u32..).zip(MARKERS) {
                assert_eq!((with.token_id(marker), with.token_text(id).as_str()), (Some(id), marker));
            }
            let text = "Every lempus is a wumpus.";
            assert_eq!(with.encode(text).unwrap(), tokenizer.encode(text).unwrap());
            assert_eq!((with.eos_id(), with.hash()), (tokenizer.eos_id(), tokenizer.hash()));
            assert_eq!(with.clone().with_markers().unwrap().json(), with.json());
        }
    }

    /// The published code adds markers of its own in another order, without the last.
    #[test]
    fn markers_that_are_there_keep_their_ids() {
        let words = Tokenizer::words().unwrap();
        let first = words.vocab_size() as u32;
        let json =
            add(words.json(), &[(MARKERS[1], first), (MARKERS[0], first + 1), ("<|latent|>", first + 2)]).unwrap();
        let tokenizer = Tokenizer::from_json("published", json).unwrap();
        assert_eq!(tokenizer.marker_ids(), [first + 1, first, first + 3]);
        let with = tokenizer.clone().with_markers().unwrap();
        assert_eq!((with.marker_ids(), with.vocab_size() as u32), (tokenizer.marker_ids(), first + 4));
        assert_eq!(with.hash(), tokenizer.hash());
    }
}
