//! Owns reading documents out of text files: `.txt`, `.jsonl`, `.parquet`, streamed.
//!
//! Must not know: tokens, shards, splits. Invariant: memory holds one piece, line or record batch at a time; what is
//! not UTF-8 text is an error with its line or row.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use serde::Deserialize;

use super::decode::type_name;
use super::error::{DataError, Result, json_fault};
use super::shard::{for_each_batch, open_parquet, read_columns};

/// Rows of a text column decoded at a time.
const TEXT_ROWS: usize = 64;
const TEXT_KEY: &str = "text";

/// A document, and how many bytes of its file have been read with it.
pub(crate) struct Piece {
    pub text: String,
    pub bytes_read: u64,
}

/// Hands each document of a file to `each`, in order. Texts may be empty.
///
/// # Errors
/// An unknown ending, an unreadable file, or a line or row without text; and whatever `each` returns.
pub(crate) fn for_each_document(
    path: &Path,
    doc_bytes: usize,
    each: &mut dyn FnMut(Piece) -> Result<()>,
) -> Result<()> {
    match ending(path).as_str() {
        "txt" => plain_text(path, doc_bytes, each),
        "jsonl" => json_lines(path, each),
        "parquet" => parquet_text(path, each),
        _ => Err(unknown_ending(path)),
    }
}

/// The size of an input.
///
/// # Errors
/// It is missing, a folder, or has an ending that nobody reads.
pub(crate) fn check_input(path: &Path) -> Result<u64> {
    let about = std::fs::metadata(path).map_err(DataError::io(path, "be opened"))?;
    match about.is_file() && matches!(ending(path).as_str(), "txt" | "jsonl" | "parquet") {
        true => Ok(about.len()),
        false => Err(unknown_ending(path)),
    }
}

pub(super) fn ending(path: &Path) -> String {
    path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn unknown_ending(path: &Path) -> DataError {
    DataError::Setting {
        name: "in",
        found: format!("{}{}", path.display(), if path.is_dir() { " (a folder)" } else { "" }),
        allowed: "files that end in .txt, .jsonl (key `text`) or .parquet (column `text`)",
    }
}

/// Pieces of at most about `doc_bytes`: cut at the last paragraph end before that, else at the line end before it, else
/// (a single line longer than that) within the line. Joined, the pieces are the file.
fn plain_text(path: &Path, doc_bytes: usize, each: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
    let mut lines = Lines::open(path, doc_bytes.max(4) as u64)?;
    let mut piece = String::new();
    let (mut paragraph_end, mut bytes_read) = (0, 0);
    while let Some(line) = lines.next()? {
        if !piece.is_empty() && piece.len() + line.len() > doc_bytes {
            let cut = if paragraph_end > 0 { paragraph_end } else { piece.len() };
            let rest = piece.split_off(cut);
            bytes_read += piece.len() as u64;
            each(Piece { text: std::mem::replace(&mut piece, rest), bytes_read })?;
            paragraph_end = 0;
        }
        piece.push_str(line);
        if line.trim().is_empty() {
            paragraph_end = piece.len();
        }
    }
    each(Piece { text: piece, bytes_read: lines.bytes })
}

#[derive(Deserialize)]
struct TextLine {
    text: String,
}

fn json_lines(path: &Path, each: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
    let mut lines = Lines::open(path, u64::MAX)?;
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: std::result::Result<TextLine, _> = serde_json::from_str(line);
        let TextLine { text } = parsed
            .map_err(|error| lines.fault(json_fault(&error), "a JSON object with a string under `text`"))?;
        each(Piece { text, bytes_read: lines.bytes })?;
    }
    Ok(())
}

/// Lines of a file with their ends kept, checked to be UTF-8; a byte order mark is left out. A line longer than `limit`
/// bytes comes in parts.
pub(super) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    limit: u64,
    buffer: Vec<u8>,
    /// The first bytes of a character that the limit cut apart.
    carry: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<'a> Lines<'a> {
    pub fn open(path: &'a Path, limit: u64) -> Result<Self> {
        let file = File::open(path).map_err(DataError::io(path, "be opened"))?;
        let reader = BufReader::new(file);
        Ok(Self { path, reader, limit, buffer: Vec::new(), carry: Vec::new(), number: 0, bytes: 0 })
    }

    pub fn next(&mut self) -> Result<Option<&str>> {
        let line_ended = self.buffer.last().is_none_or(|byte| *byte == b'\n');
        self.number += u64::from(line_ended);
        self.buffer.clear();
        self.buffer.append(&mut self.carry);
        let mut part = self.reader.by_ref().take(self.limit);
        let read = part.read_until(b'\n', &mut self.buffer).map_err(DataError::io(self.path, "be read"))?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let first = self.bytes == 0;
        self.bytes += read as u64;
        if let Err(error) = str::from_utf8(&self.buffer) {
            if error.error_len().is_some() || read == 0 {
                let found = format!("bytes that are not UTF-8, {} bytes into the line", error.valid_up_to());
                return Err(self.fault(found, "UTF-8 text"));
            }
            self.carry = self.buffer.split_off(error.valid_up_to());
        }
        let line = str::from_utf8(&self.buffer).unwrap_or_default();
        Ok(Some(if first { line.trim_start_matches('\u{feff}') } else { line }))
    }

    pub fn fault(&self, found: String, allowed: &'static str) -> DataError {
        DataError::Line { file: self.path.to_path_buf(), line: self.number, found, allowed }
    }
}

/// Null texts count as empty.
fn parquet_text(path: &Path, each: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
    let (file, metadata) = open_parquet(path)?;
    let bytes = file.metadata().map_err(DataError::io(path, "be opened"))?.len();
    let column = text_column(path, &metadata)?;
    let footer = metadata.metadata().clone();
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0).max(1);
    let mut first_row = 0;
    for (group, about) in footer.row_groups().iter().enumerate() {
        let reader = read_columns(path, &metadata, &[column], group, TEXT_ROWS)?;
        for_each_batch(path, first_row, reader, |batch, row| {
            let texts = strings(batch.column(0));
            let sized = texts.into_iter().enumerate();
            let mut pieces = sized.map(|(at, text)| {
                let share = (row + at as u64 + 1) as f64 / rows as f64;
                Piece { text, bytes_read: (share * bytes as f64) as u64 }
            });
            pieces.try_for_each(&mut *each)
        })?;
        first_row += u64::try_from(about.num_rows()).unwrap_or(0);
    }
    Ok(())
}

fn text_column(path: &Path, metadata: &parquet::arrow::arrow_reader::ArrowReaderMetadata) -> Result<usize> {
    let schema = metadata.schema();
    let fault = |found: String| DataError::Column {
        file: path.to_path_buf(),
        found,
        allowed: format!("a column `{TEXT_KEY}` of strings"),
    };
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let index = schema
        .index_of(TEXT_KEY)
        .map_err(|_| fault(format!("only the columns `{}`", columns.join("`, `"))))?;
    match schema.field(index).data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(index),
        other => Err(fault(format!("column `{TEXT_KEY}` is {}", type_name(other)))),
    }
}

pub(super) fn strings(column: &ArrayRef) -> Vec<String> {
    let own = |text: Option<&str>| text.unwrap_or_default().to_owned();
    match column.data_type() {
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(own).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(own).collect(),
        _ => column.as_string::<i32>().iter().map(own).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, doc_bytes: usize) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, text).unwrap();
        let mut pieces = Vec::new();
        for_each_document(&path, doc_bytes, &mut |piece| {
            pieces.push(piece.text);
            Ok(())
        })
        .unwrap();
        pieces
    }

    #[test]
    fn text_is_cut_at_paragraphs_then_lines_and_loses_nothing() {
        assert_eq!(pieces("a\nb\n\nc\nd\n", 7), ["a\nb\n\n", "c\nd\n"]);
        assert_eq!(pieces("a\r\nb\r\n\r\nc\r\n", 9), ["a\r\nb\r\n\r\n", "c\r\n"]);
        assert_eq!(pieces("abc\ndef\n", 4), ["abc\n", "def\n"]);
        assert_eq!(pieces("longer than", 4), ["long", "er t", "han"]);
        assert_eq!(pieces("aaaé€", 4), ["aaa", "é€"]);
        assert_eq!(pieces("", 4), [""]);
    }
}
