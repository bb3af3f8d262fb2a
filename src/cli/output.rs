//! Owns: the way out to standard output and standard error: text from files, models and names is made visible on the way.
//! Must not know: what is printed.
//! Invariant: nothing that passes can steer a terminal or hide: control characters, direction changes and invisible
//! separators leave as `\u001b`, which JSON reads back as the character. All verbs print through this file.

use std::fmt::Display;
use std::io::{self, IsTerminal, StderrLock, StdoutLock, Write};

/// Returns standard output, guarded.
pub(super) fn stdout() -> VisibleWriter<StdoutLock<'static>> {
    VisibleWriter::new(io::stdout().lock(), true)
}

/// Returns standard output for generated text: guarded if it is a terminal, else as it is, for other programs.
pub(super) fn stdout_for_text() -> VisibleWriter<StdoutLock<'static>> {
    VisibleWriter::new(io::stdout().lock(), io::stdout().is_terminal())
}

/// Returns standard error, guarded.
pub(super) fn stderr() -> VisibleWriter<StderrLock<'static>> {
    VisibleWriter::new(io::stderr().lock(), true)
}

/// Prints a line to standard error. It may be closed with the terminal; then nobody reads it.
pub fn print_error_line(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}

/// Whether a character could steer a terminal, or change or hide text around it. Joiners (U+200C, U+200D) are kept: scripts
/// and emoji need them.
pub(super) fn is_unsafe(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        letter if letter.is_control() => true,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// A writer that makes unsafe characters visible, also if a character comes in several parts.
pub(super) struct VisibleWriter<W: Write> {
    inner: W,
    guarded: bool,
    /// First bytes of a character whose rest has not come yet.
    partial: Vec<u8>,
}

impl<W: Write> VisibleWriter<W> {
    fn new(inner: W, guarded: bool) -> Self {
        Self { inner, guarded, partial: Vec::new() }
    }
}

impl<W: Write> Write for VisibleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.guarded {
            return self.inner.write(bytes);
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let mut visible = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|letter| push_visible(&mut visible, letter));
            // At the end, the bytes may be the start of a character.
            match chunks.peek().is_none() && is_incomplete(chunk.invalid()) {
                true => self.partial = chunk.invalid().to_vec(),
                false => visible.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"))),
            }
        }
        self.inner.write_all(visible.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Drop for VisibleWriter<W> {
    fn drop(&mut self) {
        // The start of a character that never came.
        let rest: String = self.partial.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let _ = self.inner.write_all(rest.as_bytes());
        let _ = self.inner.flush();
    }
}

fn push_visible(text: &mut String, letter: char) {
    match is_unsafe(letter) {
        true => {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
        false => text.push(letter),
    }
}

/// Whether bytes that are no UTF-8 could become a character with the bytes that follow.
fn is_incomplete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = VisibleWriter::new(&mut out, true);
        parts.iter().for_each(|part| writer.write_all(part).unwrap());
        drop(writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_steers_a_terminal_is_made_visible() {
        for (text, visible) in [
            ("\u{1b}]0;x\u{7}", "\\u001b]0;x\\u0007"),
            ("a\r\nb\tc", "a\\u000d\nb\tc"),
            ("\u{9b}2J", "\\u009b2J"),
            ("abc\u{202e}cba", "abc\\u202ecba"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("naïve 日本語 שלום 👩\u{200d}🔬", "naïve 日本語 שלום 👩\u{200d}🔬"),
        ] {
            assert_eq!(written(&[text.as_bytes()]), visible);
        }
    }

    #[test]
    fn json_reads_the_escapes_back() {
        let text = "\u{202e}\u{9b}\u{1b}\u{e0041}";
        let json = written(&[serde_json::to_string(text).unwrap().as_bytes()]);
        assert!(json.is_ascii());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn characters_in_parts_survive_and_broken_ones_are_shown() {
        assert_eq!(written(&[b"\xe6\x97", b"\xa5!"]), "日!");
        assert_eq!(written(&[b"\xc2", b"\x9b"]), "\\u009b");
        assert_eq!(written(&[b"a\xff\xe6\x97"]), "a\\xff\\xe6\\x97");
    }
}
