//! Owns: the streamed reading of documents from text files: `.txt`, `.jsonl`, `.json` and `.parquet`.
//! Must not know: tokens, shards, splits.
//! Invariant: memory holds one document, line or record batch at a time. Text that is not UTF-8 is an error.

use super::columns::type_name;
use super::error::{DataError, Result, json_error_text};
use super::json_text::{ALLOWED, JsonText, TEXT_KEY, read_json};
use super::parquet_input::{check_columns, for_each_batch, open_parquet, read_columns};
use super::text_input::{InputFormat, MAX_DOCUMENT_BYTES, TextInput, open_text};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::Path;
use std::rc::Rc;

const TEXT_ROWS: usize = 64;
/// Capacity of a line, in bytes, that is not kept for the next one.
const LONG_LINE: usize = 1 << 20;

pub(crate) struct TextDocument {
    /// `None` if it is null in the file.
    pub text: Option<String>,
    /// Number of bytes of the file read up to the end of this document, about.
    pub bytes_read: u64,
}

/// Calls `each` with every document, which may be empty. `doc_bytes` limits documents of `.txt` files.
pub(crate) fn for_each_document(
    path: &Path,
    doc_bytes: usize,
    each: &mut dyn FnMut(TextDocument) -> Result<()>,
) -> Result<()> {
    match InputFormat::of_file(path)? {
        Some(InputFormat::Text) => read_plain_text(path, doc_bytes, each),
        Some(InputFormat::JsonLines) => read_json_lines(path, each),
        Some(InputFormat::Json) => {
            read_json(path, open_text(path)?, &mut |text, bytes_read| each(TextDocument { text, bytes_read }))
        }
        Some(InputFormat::Parquet) => read_parquet(path, each),
        None => Err(unsupported_input(path)),
    }
}

/// Checks that an input file can be read and has a known extension. Returns its size in bytes.
pub(crate) fn input_size(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(DataError::io(path, "be opened"))?;
    match metadata.is_file() && InputFormat::of_file(path)?.is_some() {
        true => Ok(metadata.len()),
        false => Err(unsupported_input(path)),
    }
}

/// Returns the extension of a file name in lower case, or an empty string.
pub(super) fn lowercase_extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

fn unsupported_input(path: &Path) -> DataError {
    DataError::InvalidSetting {
        name: "in",
        found: format!("{}{}", path.display(), if path.is_dir() { " (a folder)" } else { "" }),
        allowed: "files that end in .txt, .jsonl, .json (key `text`), each also with .gz or .zst, or .parquet (column `text`)",
    }
}

/// Splits a `.txt` file at the last end of a paragraph, else of a line, before `doc_bytes`. It loses nothing.
fn read_plain_text(path: &Path, doc_bytes: usize, each: &mut dyn FnMut(TextDocument) -> Result<()>) -> Result<()> {
    let mut lines = LineReader::open(path, doc_bytes.max(4) as u64)?;
    let mut text = String::new();
    let mut paragraph_end = 0;
    loop {
        let bytes_read = lines.file_bytes.get();
        let Some(line) = lines.next_line()? else { break };
        if !text.is_empty() && text.len() + line.len() > doc_bytes {
            let end = if paragraph_end > 0 { paragraph_end } else { text.len() };
            let rest = text.split_off(end);
            each(TextDocument { text: Some(std::mem::replace(&mut text, rest)), bytes_read })?;
            paragraph_end = 0;
        }
        text.push_str(line);
        if line.trim().is_empty() {
            paragraph_end = text.len();
        }
    }
    each(TextDocument { text: Some(text), bytes_read: lines.file_bytes.get() })
}

fn read_json_lines(path: &Path, each: &mut dyn FnMut(TextDocument) -> Result<()>) -> Result<()> {
    let mut lines = LineReader::open(path, MAX_DOCUMENT_BYTES)?;
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        if line.len() as u64 >= MAX_DOCUMENT_BYTES {
            let found = format!("a line of more than {MAX_DOCUMENT_BYTES} bytes");
            return Err(lines.line_error(found, "shorter documents"));
        }
        let parsed: std::result::Result<JsonText, _> = serde_json::from_str(line);
        let JsonText(text) = parsed.map_err(|error| lines.line_error(json_error_text(&error), ALLOWED))?;
        lines.release_long_line();
        each(TextDocument { text, bytes_read: lines.file_bytes.get() })?;
    }
    Ok(())
}

/// Reads UTF-8 lines with their ends, without a byte order mark, in parts of at most `limit` bytes.
pub(super) struct LineReader<'a> {
    path: &'a Path,
    reader: Box<dyn BufRead>,
    limit: u64,
    buffer: Vec<u8>,
    /// First bytes of a character that the limit has split.
    carry: Vec<u8>,
    line_number: u64,
    is_started: bool,
    /// Bytes of the file read so far, compressed or not.
    file_bytes: Rc<Cell<u64>>,
}

impl<'a> LineReader<'a> {
    pub fn open(path: &'a Path, limit: u64) -> Result<Self> {
        let TextInput { reader, file_bytes } = open_text(path)?;
        let (buffer, carry) = (Vec::new(), Vec::new());
        Ok(Self { path, reader, limit, buffer, carry, line_number: 0, is_started: false, file_bytes })
    }

    /// Gives the memory of a long line back.
    fn release_long_line(&mut self) {
        if self.buffer.capacity() > LONG_LINE {
            // The end of the line stays: it tells that the next line is a new one.
            self.buffer.drain(..self.buffer.len() - 1);
            self.buffer.shrink_to_fit();
        }
    }

    /// Returns the next line or part of a line, or `None` at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        let line_ended = self.buffer.last().is_none_or(|byte| *byte == b'\n');
        self.line_number += u64::from(line_ended);
        self.buffer.clear();
        self.buffer.append(&mut self.carry);
        let mut limited = self.reader.by_ref().take(self.limit);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(DataError::io(self.path, "be read"))?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let is_first = !std::mem::replace(&mut self.is_started, true);
        if let Err(error) = str::from_utf8(&self.buffer) {
            if error.error_len().is_some() || read == 0 {
                let found = format!("bytes that are not UTF-8, {} bytes into the line", error.valid_up_to());
                return Err(self.line_error(found, "UTF-8 text"));
            }
            self.carry = self.buffer.split_off(error.valid_up_to());
        }
        let line = str::from_utf8(&self.buffer).unwrap_or_default();
        Ok(Some(if is_first { line.trim_start_matches('\u{feff}') } else { line }))
    }

    pub fn line_error(&self, found: String, allowed: &'static str) -> DataError {
        DataError::Line { file: self.path.to_path_buf(), line: self.line_number, found, allowed }
    }
}

/// Reads the text column of a Parquet file, one document per row. A null is an empty document.
fn read_parquet(path: &Path, each: &mut dyn FnMut(TextDocument) -> Result<()>) -> Result<()> {
    let (file, metadata) = open_parquet(path)?;
    let bytes = file.metadata().map_err(DataError::io(path, "be opened"))?.len();
    let column = find_text_column(path, &metadata)?;
    check_columns(path, &metadata, &[column])?;
    let footer = metadata.metadata().clone();
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0).max(1);
    let mut first_row = 0;
    for (group, group_metadata) in footer.row_groups().iter().enumerate() {
        let reader = read_columns(path, &metadata, &[column], group, TEXT_ROWS)?;
        for_each_batch(path, first_row, reader, |batch, row| {
            let texts = texts_of_column(path, batch.column(0), row)?;
            let indexed = texts.into_iter().enumerate();
            let mut documents = indexed.map(|(index, text)| {
                let fraction = (row + index as u64 + 1) as f64 / rows as f64;
                TextDocument { text, bytes_read: (fraction * bytes as f64) as u64 }
            });
            documents.try_for_each(&mut *each)
        })?;
        first_row += u64::try_from(group_metadata.num_rows()).unwrap_or(0);
    }
    Ok(())
}

fn find_text_column(path: &Path, metadata: &parquet::arrow::arrow_reader::ArrowReaderMetadata) -> Result<usize> {
    let schema = metadata.schema();
    let fault = |found: String| DataError::Column {
        file: path.to_path_buf(),
        found,
        allowed: format!("a column `{TEXT_KEY}` of strings"),
    };
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let index = schema.index_of(TEXT_KEY).map_err(|_| fault(format!("only the columns `{}`", columns.join("`, `"))))?;
    match schema.field(index).data_type() {
        // Older writers store strings as bytes.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary => Ok(index),
        other => Err(fault(format!("column `{TEXT_KEY}` is {}", type_name(other)))),
    }
}

/// Returns the texts of a column that starts at `first_row` of the file; `None` for a null.
fn texts_of_column(path: &Path, column: &ArrayRef, first_row: u64) -> Result<Vec<Option<String>>> {
    if *column.data_type() != DataType::Binary {
        let texts = string_values(column).into_iter().enumerate();
        return Ok(texts.map(|(row, text)| (!column.is_null(row)).then_some(text)).collect());
    }
    let decode = |(row, bytes): (usize, Option<&[u8]>)| {
        let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        text.map_err(|error| DataError::Row {
            file: path.to_path_buf(),
            row: first_row + row as u64,
            found: format!("bytes that are not UTF-8, {} bytes into the text", error.utf8_error().valid_up_to()),
            allowed: "UTF-8 text".to_owned(),
        })
    };
    column.as_binary::<i32>().iter().enumerate().map(decode).collect()
}

/// Returns the strings of a text column; a null is an empty string.
pub(super) fn string_values(column: &ArrayRef) -> Vec<String> {
    let to_owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    match column.data_type() {
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(to_owned).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(to_owned).collect(),
        _ => column.as_string::<i32>().iter().map(to_owned).collect(),
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
            pieces.push(piece.text.unwrap());
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
