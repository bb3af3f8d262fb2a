//! Owns how one token is shown: from a vocabulary's own spelling back to text a person can read.
//!
//! Must not know: ids, files. Invariant: never fails, never emits a control character.

use tokenizers::Tokenizer;

/// How a vocabulary spells spaces and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Each byte as one printable character (GPT-2).
    ByteLevel,
    /// `▁` for a space, `<0xE2>` for a lone byte (SentencePiece).
    Pieces,
}

impl Style {
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let says = |json: Result<String, _>| json.is_ok_and(|json: String| json.contains("ByteLevel"));
        let decoder = tokenizer.get_decoder().map(serde_json::to_string);
        let splitter = tokenizer.get_pre_tokenizer().map(serde_json::to_string);
        match decoder.into_iter().chain(splitter).any(says) {
            true => Self::ByteLevel,
            false => Self::Pieces,
        }
    }

    /// The token as text; special tokens as they are.
    pub fn show(self, token: &str, tokenizer: &Tokenizer) -> String {
        if tokenizer.get_added_vocabulary().is_special_token(token) {
            return token.to_owned();
        }
        match self {
            Self::ByteLevel => match token.chars().map(byte_of).collect::<Option<Vec<u8>>>() {
                Some(bytes) => escape(&bytes),
                None => escape(token.as_bytes()),
            },
            Self::Pieces => match lone_byte(token) {
                Some(byte) => escape(&[byte]),
                None => escape(token.replace('▁', " ").as_bytes()),
            },
        }
    }
}

/// The printable character that stands for a byte in byte-level vocabularies: itself where it is printable in Latin-1,
/// else the next free one from U+0100 on. Source: GPT-2's `bytes_to_unicode`.
pub(super) fn char_of(byte: u8) -> char {
    match is_printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|other| !is_printable(*other)).count() as u32;
            char::from_u32(256 + before).unwrap_or('\u{fffd}')
        }
    }
}

fn byte_of(letter: char) -> Option<u8> {
    match u8::try_from(letter) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !is_printable(*byte)).nth((letter as usize).checked_sub(256)?),
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

fn lone_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

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
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'A')), ('Ġ', 'Ċ', 'A'));
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
        assert_eq!(lone_byte("<0xE2>"), Some(0xe2));
        assert_eq!(lone_byte("<0x>"), None);
    }
}
