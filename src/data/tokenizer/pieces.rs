//! Owns: the encoding of a long text in overlapping pieces, so that memory does not grow with the text.
//! Must not know: files, special tokens of templates.
//! Invariant: two pieces are joined only where all tokens in the middle of their overlap are the same, with the same
//! places in the text. If there is no such place, a longer piece is encoded, at last the whole text.
//!
//! For byte-pair encoding this gives the ids of the whole text: a sequence of tokens is that of the text if each pair of
//! neighbours is, and every pair here comes from one piece. Rules about the text around (pre-tokenizers, normalizers,
//! Unigram's best path) must not reach farther than [`MARGIN`] bytes; those of published tokenizers do not in text.

use tokenizers::Tokenizer as HfTokenizer;

/// Texts up to this size in bytes are encoded whole.
pub(super) const WHOLE_BYTES: usize = 256 << 10;
const PIECE_BYTES: usize = 128 << 10;
/// Bytes that two pieces share.
const OVERLAP_BYTES: usize = 16 << 10;
/// Bytes at both ends of the overlap that are not compared: the ends of a piece may be encoded differently.
const MARGIN: usize = 4 << 10;
/// Fewest tokens that must be the same in the middle of the overlap.
const MIN_EQUAL: usize = 4;
/// Number of places that are tried as the start of a piece.
const STARTS: usize = 8;

/// A part of the text, encoded.
struct Piece {
    start: usize,
    end: usize,
    /// Each token with its place in the whole text.
    tokens: Vec<(u32, (usize, usize))>,
}

impl Piece {
    fn encode(tokenizer: &HfTokenizer, text: &str, start: usize, bytes: usize) -> tokenizers::Result<Self> {
        let end = text.floor_char_boundary(start.saturating_add(bytes).min(text.len()));
        let encoding = tokenizer.encode(&text[start..end], false)?;
        let places = encoding.get_offsets().iter().map(|(from, to)| (start + from, start + to));
        let tokens = encoding.get_ids().iter().copied().zip(places).collect();
        Ok(Self { start, end, tokens })
    }

    /// Returns the range of the tokens that lie within the given bytes of the text.
    fn tokens_within(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let first = self.tokens.partition_point(|(_, place)| place.0 < from);
        let last = self.tokens.partition_point(|(_, place)| place.1 <= to);
        first..last.max(first)
    }
}

/// Encodes a text without special tokens. Returns the ids of the whole text.
pub(super) fn encode_long(tokenizer: &HfTokenizer, text: &str) -> tokenizers::Result<Vec<u32>> {
    encode_in_pieces(tokenizer, text, PIECE_BYTES)
}

fn encode_in_pieces(tokenizer: &HfTokenizer, text: &str, bytes: usize) -> tokenizers::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut piece = Piece::encode(tokenizer, text, 0, bytes)?;
    // Index of the first token of the piece that is not among the ids yet.
    let mut next = 0;
    while piece.end < text.len() {
        if let Some((last, following, first)) = following_piece(tokenizer, text, &piece, next, bytes)? {
            ids.extend(piece.tokens[next..last].iter().map(|(id, _)| id));
            (piece, next) = (following, first);
            continue;
        }
        let longer = Piece::encode(tokenizer, text, piece.start, 2 * (piece.end - piece.start))?;
        if longer.tokens.get(..=next) != piece.tokens.get(..=next) {
            return Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec());
        }
        piece = longer;
    }
    ids.extend(piece.tokens[next..].iter().map(|(id, _)| id));
    Ok(ids)
}

/// Encodes the piece after `piece`, overlapping it. Returns the end of the tokens to take from `piece`, which are
/// `next` and those after it, the new piece, and its first token to take; nothing if the two nowhere agree.
fn following_piece(
    tokenizer: &HfTokenizer,
    text: &str,
    piece: &Piece,
    next: usize,
    bytes: usize,
) -> tokenizers::Result<Option<(usize, Piece, usize)>> {
    let overlap = OVERLAP_BYTES.min(bytes / 2);
    let margin = MARGIN.min(overlap / 4);
    let from = piece.end - overlap.min(piece.end - piece.start);
    let mut starts: Vec<usize> = (piece.tokens[piece.tokens_within(from, piece.end)].iter())
        .map(|(_, place)| place.0)
        .filter(|start| text.is_char_boundary(*start))
        .collect();
    starts.dedup();
    for start in starts.into_iter().take(STARTS) {
        let following = Piece::encode(tokenizer, text, start, bytes.max(2 * overlap))?;
        let (low, high) = (start + margin, piece.end.saturating_sub(margin));
        let (old, new) = (piece.tokens_within(low, high), following.tokens_within(low, high));
        let equal = piece.tokens[old.clone()] == following.tokens[new.clone()];
        if equal && old.len() >= MIN_EQUAL && old.start >= next && following.end > piece.end {
            return Ok(Some((old.start, following, new.start)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Tokenizer;
    use proptest::prelude::*;
    use std::str::FromStr;

    /// A tokenizer as Llama 2's: a mark for spaces, also before the text, merges, and bytes for the rest.
    fn metaspace() -> HfTokenizer {
        let words = ["<unk>", "▁", "a", "b", "n", "▁a", "an", "▁b", "ab", "anan", "▁ab", "aa", "aaaa"];
        let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
        let all = words.iter().map(|word| (*word).to_owned()).chain(bytes);
        let vocab: serde_json::Map<_, _> = all.enumerate().map(|(id, token)| (token, id.into())).collect();
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "pre_tokenizer": null,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab,
                "merges": [["▁", "a"], ["a", "n"], ["▁", "b"], ["a", "b"], ["an", "an"], ["▁a", "b"], ["a", "a"], ["aa", "aa"]]},
        });
        HfTokenizer::from_str(&json.to_string()).unwrap()
    }

    fn unigram() -> HfTokenizer {
        let scores = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("b", -3.1), ("n", -3.2), ("an", -4.0), ("▁ab", -5.0)];
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
            "post_processor": null, "decoder": null,
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": scores},
        });
        HfTokenizer::from_str(&json.to_string()).unwrap()
    }

    fn assert_equal_to_whole(tokenizer: &HfTokenizer, text: &str, bytes: usize) {
        let whole = tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        let pieces = encode_in_pieces(tokenizer, text, bytes).unwrap();
        assert!(pieces == whole, "{} of {} tokens in {text:?}", pieces.len(), whole.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn pieces_give_the_ids_of_the_whole_text(
            words in prop::collection::vec("(banana|ab|a{1,9}|an|[a-zé日]{1,6}|[0-9]{1,7}|\\.|'s|<s>)( {0,3}|\n{1,2})", 100..600)
        ) {
            let text = words.concat();
            let byte_level = Tokenizer::byte().unwrap();
            for tokenizer in [&metaspace(), &unigram(), &byte_level.inner.tokenizer] {
                assert_equal_to_whole(tokenizer, &text, 256);
            }
        }
    }

    #[test]
    fn texts_of_one_letter_and_published_merges_are_equal_too() {
        let gpt2 = Tokenizer::gpt2().unwrap();
        let text = "She said: \"1234567 naïve 日本語 don't!\"  \n\n\tyes   no ".repeat(2000) + &"x".repeat(100_000);
        for tokenizer in [&metaspace(), &unigram(), &gpt2.inner.tokenizer] {
            assert_equal_to_whole(tokenizer, &text, 4 << 10);
        }
        assert_equal_to_whole(&metaspace(), &"a".repeat(50_001), 2 << 10);
        assert_equal_to_whole(&gpt2.inner.tokenizer, &" ".repeat(50_001), 2 << 10);
    }
}
