//! Owns: the opening of text inputs: compression (by the first bytes), mistaken files, progress, bounded reading.
//! Must not know: documents, tokens.
//! Invariant: memory does not depend on the size of the file, compressed or not. The bytes decide what a file is, its
//! name only where they do not.

use super::error::{DataError, Result};
use super::parquet_input::open_input;
use crate::files::foreign::{HEAD_BYTES, mistaken_kind};
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek};
use std::path::Path;
use std::rc::Rc;

/// Largest line of JSON or document in a file of JSON, in bytes.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// What a text input holds, apart from its compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputFormat {
    Text,
    JsonLines,
    Json,
    Parquet,
}

impl InputFormat {
    /// Returns the format that the name says, without an end for compression; `None` if it is not a known one.
    pub fn from_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let ends = [".gz", ".gzip", ".zst", ".zstd"];
        let name = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "txt" => Some(Self::Text),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// Returns the format of a file: Parquet if it starts so, else what its name says.
    pub fn of_file(path: &Path) -> Result<Option<Self>> {
        Ok(match read_head(&mut open_input(path)?, path)?.starts_with(b"PAR1") {
            true => Some(Self::Parquet),
            false => Self::from_name(path),
        })
    }
}

fn read_head(file: &mut File, path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).and_then(|_| file.rewind());
    read.map_err(DataError::io(path, "be read"))?;
    Ok(head)
}

/// An opened text input, decompressed.
pub(super) struct TextInput {
    pub reader: Box<dyn BufRead>,
    /// Bytes of the file read so far, compressed or not.
    pub file_bytes: Rc<Cell<u64>>,
}

/// Opens a file of text. A file that is known to be of another kind is an error that names the kind.
pub(super) fn open_text(path: &Path) -> Result<TextInput> {
    let mut file = open_input(path)?;
    let head = read_head(&mut file, path)?;
    let file_bytes = Rc::new(Cell::new(0));
    let counted = BufReader::with_capacity(1 << 16, CountedReader { source: file, bytes: file_bytes.clone() });
    let fail = DataError::io(path, "be decompressed");
    let reader: Box<dyn BufRead> = match () {
        () if head.starts_with(b"\x1f\x8b") => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(counted))),
        () if head.starts_with(b"\x28\xb5\x2f\xfd") => {
            Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(counted).map_err(fail)?))
        }
        () => match unreadable_kind(&head) {
            Some(kind) => return Err(DataError::NotText { file: path.to_path_buf(), found: kind.to_owned() }),
            None => Box::new(counted),
        },
    };
    Ok(TextInput { reader, file_bytes })
}

fn unreadable_kind(head: &[u8]) -> Option<&'static str> {
    match () {
        () if head.starts_with(b"\xfd7zXZ\0") => Some("compressed with xz, which this program does not read"),
        () if head.starts_with(b"BZh") => Some("compressed with bzip2, which this program does not read"),
        () if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") => Some("text in UTF-16"),
        () => mistaken_kind(head),
    }
}

struct CountedReader {
    source: File,
    bytes: Rc<Cell<u64>>,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

/// Fails after `left` bytes. The owner sets `left` anew at the start of each document.
pub(super) struct BudgetReader<R> {
    pub source: R,
    pub left: Rc<Cell<u64>>,
}

impl<R: Read> Read for BudgetReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        let too_large =
            || Error::new(ErrorKind::FileTooLarge, format!("a document of more than {MAX_DOCUMENT_BYTES} bytes"));
        self.left.set(self.left.get().checked_sub(count as u64).ok_or_else(too_large)?);
        Ok(count)
    }
}
