//! Owns: the display of single tokens: it converts a vocabulary's spelling to readable text.
//! Must not know: ids, files.
//! Invariant: it never fails and never returns a control character.

use tokenizers::{ModelWrapper, Tokenizer};

/// The way in which a vocabulary spells spaces and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenSpelling {
    /// Each byte is one printable character (GPT-2).
    ByteLevel,
    /// `▁` is a space and `<0xE2>` a single byte (SentencePiece).
    SentencePiece,
    /// A token is a word or a part of one; white space is lost (`words`, BERT).
    Words,
}

impl TokenSpelling {
    /// Detects the spelling from the tokenizer's decoder and pre-tokenizer.
    pub fn detect(tokenizer: &Tokenizer) -> Self {
        let is_byte_level = |json: Result<String, _>| json.is_ok_and(|json: String| json.contains("ByteLevel"));
        let decoder = tokenizer.get_decoder().map(serde_json::to_string);
        let splitter = tokenizer.get_pre_tokenizer().map(serde_json::to_string);
        let loses_spaces = matches!(tokenizer.get_model(), ModelWrapper::WordLevel(_) | ModelWrapper::WordPiece(_));
        match decoder.into_iter().chain(splitter).any(is_byte_level) {
            true => Self::ByteLevel,
            false if loses_spaces => Self::Words,
            false => Self::SentencePiece,
        }
    }

    /// Returns the number of bytes of text that a token spells, also if it is a part of a character. `None` if the
    /// vocabulary loses white space, so that a token alone does not tell.
    pub fn text_bytes(self, token: &str) -> Option<usize> {
        match self {
            Self::ByteLevel => Some(match token.chars().all(|letter| byte_for_char(letter).is_some()) {
                true => token.chars().count(),
                false => token.len(),
            }),
            Self::SentencePiece => Some(match parse_byte_token(token) {
                Some(_) => 1,
                None => token.replace('▁', " ").len(),
            }),
            Self::Words => None,
        }
    }

    /// Returns a token as readable text. Special tokens are unchanged.
    pub fn display_text(self, token: &str, tokenizer: &Tokenizer) -> String {
        if tokenizer.get_added_vocabulary().is_special_token(token) {
            return token.to_owned();
        }
        match self {
            Self::ByteLevel => match token.chars().map(byte_for_char).collect::<Option<Vec<u8>>>() {
                Some(bytes) => escape(&bytes),
                None => escape(token.as_bytes()),
            },
            Self::SentencePiece | Self::Words => match parse_byte_token(token) {
                Some(byte) => escape(&[byte]),
                None => escape(token.replace('▁', " ").as_bytes()),
            },
        }
    }
}

/// Returns the printable character for a byte in byte-level vocabularies (GPT-2's `bytes_to_unicode`): the
/// byte itself if it is printable in Latin-1, else the next free character from U+0100 on.
pub(super) fn char_for_byte(byte: u8) -> char {
    match is_printable(byte) {
        true => char::from(byte),
        false => {
            let preceding = (0..byte).filter(|other| !is_printable(*other)).count() as u32;
            char::from_u32(256 + preceding).unwrap_or('\u{fffd}')
        }
    }
}

/// Returns the byte that a character stands for: the inverse of [`char_for_byte`].
fn byte_for_char(letter: char) -> Option<u8> {
    match u8::try_from(letter) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !is_printable(*byte)).nth((letter as usize).checked_sub(256)?),
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// Parses a token of the form `<0xE2>`.
fn parse_byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// Converts bytes to text, with control characters and invalid UTF-8 escaped.
fn escape(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter.is_control() {
                true => shown.extend(letter.escape_default()),
                false => shown.push(letter),
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_characters_are_one_to_one() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_for_char(char_for_byte(byte)), Some(byte));
        }
        assert_eq!((char_for_byte(b' '), char_for_byte(b'\n'), char_for_byte(b'A')), ('Ġ', 'Ċ', 'A'));
    }

    #[test]
    fn bytes_of_a_token_are_those_of_its_text() {
        for (spelling, token, bytes) in [
            (TokenSpelling::ByteLevel, "Ġthe", Some(4)),
            // The first two bytes of a character of three.
            (TokenSpelling::ByteLevel, "âĢ", Some(2)),
            (TokenSpelling::ByteLevel, "日", Some(3)),
            (TokenSpelling::SentencePiece, "▁the", Some(4)),
            (TokenSpelling::SentencePiece, "<0xE2>", Some(1)),
            (TokenSpelling::SentencePiece, "é", Some(2)),
            (TokenSpelling::Words, "the", None),
        ] {
            assert_eq!(spelling.text_bytes(token), bytes, "{spelling:?} {token}");
        }
    }

    #[test]
    fn partial_characters_and_controls_are_escaped() {
        for (bytes, shown) in [
            (&b" the"[..], " the"),
            (b"\xe2\x80", "\\xe2\\x80"),
            (b"\n", "\\n"),
            (b"\x00", "\\u{0}"),
            ("é".as_bytes(), "é"),
        ] {
            assert_eq!(escape(bytes), shown);
        }
        assert_eq!(parse_byte_token("<0xE2>"), Some(0xe2));
        assert_eq!(parse_byte_token("<0x>"), None);
    }
}
