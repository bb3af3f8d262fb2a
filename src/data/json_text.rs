//! Owns: documents in JSON: an object with a string or null under `text`, a string, or null; alone, in lines, in arrays.
//! Must not know: files beyond their path in a message, tokens.
//! Invariant: memory holds one document at a time, without its other keys.

use super::error::{DataError, Result, json_error_text};
use super::text_input::{BudgetReader, MAX_DOCUMENT_BYTES, TextInput};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::rc::Rc;

/// Name of the JSON key and of the Parquet column that hold the text.
pub(super) const TEXT_KEY: &str = "text";
pub(super) const ALLOWED: &str = "objects with a string under `text`, or strings";

/// The text of a document; `None` if it is null.
pub(super) struct JsonText(pub Option<String>);

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(JsonTextVisitor)
    }
}

struct JsonTextVisitor;

impl<'de> Visitor<'de> for JsonTextVisitor {
    type Value = JsonText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a string under `text`, or a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> std::result::Result<JsonText, E> {
        Ok(JsonText(Some(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> std::result::Result<JsonText, E> {
        Ok(JsonText(Some(text)))
    }

    fn visit_unit<E: Error>(self) -> std::result::Result<JsonText, E> {
        Ok(JsonText(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<JsonText, A::Error> {
        let mut text: Option<Option<String>> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                TEXT_KEY => text = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        text.map(JsonText).ok_or_else(|| A::Error::missing_field(TEXT_KEY))
    }
}

/// Calls `each` with every document of a file of JSON (an array, or one value after the other) and the bytes of the
/// file read so far.
pub(super) fn read_json(
    path: &Path,
    input: TextInput,
    each: &mut dyn FnMut(Option<String>, u64) -> Result<()>,
) -> Result<()> {
    let TextInput { reader, file_bytes } = input;
    let left = Rc::new(Cell::new(MAX_DOCUMENT_BYTES));
    let mut reader = BufReader::new(BudgetReader { source: reader, left: left.clone() });
    let is_array = starts_as_array(&mut reader).map_err(DataError::io(path, "be read"))?;
    let mut failed = None;
    let mut give = |text: JsonText| {
        left.set(MAX_DOCUMENT_BYTES);
        each(text.0, file_bytes.get()).map_err(|error| failed = Some(error)).is_ok()
    };
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let read = if is_array {
        let read = deserializer.deserialize_seq(ArrayVisitor(&mut give));
        read.and_then(|complete| if complete { deserializer.end() } else { Ok(()) })
    } else {
        let mut values = deserializer.into_iter::<JsonText>();
        values.try_for_each(|value| value.map(&mut give).and_then(|taken| if taken { Ok(()) } else { Err(stop()) }))
    };
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(DataError::Line {
            file: path.to_path_buf(),
            line: error.line() as u64,
            found: json_error_text(&error),
            allowed: "JSON: an array of objects with a string under `text` (or of strings), or such objects one after the other",
        }),
    }
}

/// Ends the reading after an error of the caller, which is reported instead.
fn stop() -> serde_json::Error {
    serde_json::Error::custom("stopped")
}

/// Skips a byte order mark and white space. Returns whether an array starts there.
fn starts_as_array(reader: &mut impl BufRead) -> std::io::Result<bool> {
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    loop {
        match reader.fill_buf()?.first() {
            Some(byte) if byte.is_ascii_whitespace() => reader.consume(1),
            first => return Ok(first == Some(&b'[')),
        }
    }
}

/// Gives every element of an array away. Returns whether all were taken.
struct ArrayVisitor<'a>(&'a mut dyn FnMut(JsonText) -> bool);

impl<'de> Visitor<'de> for ArrayVisitor<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> std::result::Result<bool, A::Error> {
        while let Some(text) = array.next_element::<JsonText>()? {
            if !(self.0)(text) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(true)
    }
}
