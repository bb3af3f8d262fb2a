//! Owns: reading what is new in growing files: rows of tables and lines of text.
//! Must not know: what rows and lines mean.
//! Invariant: each row and each line is returned once, whether it is in the write-ahead log or in a segment. What
//! cannot be read is passed over and said.

use crate::files::foreign::open_regular;
use crate::record::segments;
use crate::record::wal::{self, DecodedLog};
use arrow::array::RecordBatch;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Reads the new rows of a growing table.
pub struct TableTail {
    dir: PathBuf,
    segment: usize,
    /// Rows of that segment that were read from its log already.
    known_rows: usize,
    log_bytes: u64,
    /// What could not be read, in words.
    damage: Vec<String>,
}

impl TableTail {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, segment: 0, known_rows: 0, log_bytes: 0, damage: Vec::new() }
    }

    /// Returns what could not be read since the last call, in words.
    pub fn take_damage(&mut self) -> Vec<String> {
        std::mem::take(&mut self.damage)
    }

    /// Returns the new rows. What cannot be read now is read by a later call.
    pub fn new_rows(&mut self) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        self.for_each_new(ReadDepth::AllColumns, &mut |batch| batches.push(batch));
        batches
    }

    /// Passes the new rows to `consume`, one segment at a time, since a run may have more rows than fit into
    /// memory. `depth` says how much of old segments is read.
    pub fn for_each_new(&mut self, depth: ReadDepth, consume: &mut dyn FnMut(RecordBatch)) {
        let numbers = segments::file_numbers(&self.dir, "parquet");
        let last = numbers.last().copied();
        if last.map_or(0, |last| last + 1) < self.segment {
            // The table was cut: it is read again from the beginning.
            (self.segment, self.known_rows, self.log_bytes) = (0, 0, 0);
        }
        for number in numbers.into_iter().filter(|number| *number >= self.segment).collect::<Vec<_>>() {
            let path = segments::segment_path(&self.dir, number);
            let read = match depth {
                // Rows that belong to the last row of another table may start in the last segment but one.
                ReadDepth::Skip if Some(number + 1) < last => Ok(Vec::new()),
                ReadDepth::Columns(columns) if Some(number) != last => segments::read_columns(&path, columns),
                _ => segments::read_segment(&path),
            };
            let batches = match read {
                Ok(batches) => batches,
                // A resume has removed it just now.
                Err(_) if !path.exists() => return,
                Err(error) => {
                    self.damage.push(error.to_string());
                    Vec::new()
                }
            };
            for batch in batches {
                let known = self.known_rows.min(batch.num_rows());
                self.known_rows -= known;
                consume(batch.slice(known, batch.num_rows() - known));
            }
            (self.segment, self.known_rows, self.log_bytes) = (number + 1, 0, 0);
        }
        let log = segments::wal_path(&self.dir, self.segment);
        let bytes = match read_from(&log, self.log_bytes) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => {
                self.damage.push(format!("{}: cannot be read: {error}", log.display()));
                return;
            }
        };
        let DecodedLog { batches, length, damaged_bytes } = wal::decode_frames(&bytes);
        if damaged_bytes > 0 {
            self.damage.push(segments::wal_damage(&log, damaged_bytes));
        }
        self.log_bytes += length as u64;
        self.known_rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        batches.into_iter().for_each(consume);
    }
}

/// How much is read of segments before the last one.
#[derive(Clone, Copy)]
pub enum ReadDepth {
    AllColumns,
    Columns(&'static [&'static str]),
    /// Nothing, except of the last but one.
    Skip,
}

/// Reads the new lines of a growing text file.
pub struct TextTail {
    path: PathBuf,
    read_bytes: u64,
}

impl TextTail {
    pub fn new(path: PathBuf) -> Self {
        Self { path, read_bytes: 0 }
    }

    /// Returns the new whole lines; starts again if the file has become shorter.
    pub fn new_lines(&mut self) -> Vec<String> {
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() < self.read_bytes) {
            self.read_bytes = 0;
        }
        let text = read_from(&self.path, self.read_bytes).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read_bytes += whole as u64;
        String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect()
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = open_regular(path).map_err(|error| error.cause)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
