//! Owns: files that grow: what stands in them that did not before.
//! Must not know: what it means.
//! Invariant: each row and each line is handed on once, whether it was found in a log or in a part.

use crate::record::{frames, parts};
use arrow::array::RecordBatch;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of a table that grows.
pub(super) struct Tail {
    dir: PathBuf,
    /// The next part, and how many of its rows are known from its log.
    part: usize,
    rows: usize,
    /// How much of that log is read.
    bytes: u64,
}

impl Tail {
    pub fn of(dir: PathBuf) -> Self {
        Self { dir, part: 0, rows: 0, bytes: 0 }
    }

    /// Rows that were not there before. What cannot be read now is tried again.
    pub fn news(&mut self) -> Vec<RecordBatch> {
        let mut news = Vec::new();
        self.each(Depth::Whole, &mut |batch| news.push(batch));
        news
    }

    /// Hands on the rows that were not there before, a part at a time: a run may have more of them than fit into memory.
    pub fn each(&mut self, old: Depth, take: &mut dyn FnMut(RecordBatch)) {
        let numbers = parts::numbers(&self.dir, "parquet");
        let last = numbers.last().copied();
        if last.map_or(0, |last| last + 1) < self.part {
            // Its history was cut: it is read again from the beginning.
            (self.part, self.rows, self.bytes) = (0, 0, 0);
        }
        for number in numbers.into_iter().filter(|number| *number >= self.part).collect::<Vec<_>>() {
            let path = parts::part(&self.dir, number);
            let read = match old {
                // What belongs to the last row of another table may have begun in the part before.
                Depth::Nothing if Some(number + 1) < last => Ok(Vec::new()),
                Depth::Columns(columns) if Some(number) != last => parts::read_columns(&path, columns),
                _ => parts::read(&path),
            };
            let Ok(batches) = read else { return };
            for batch in batches {
                let known = self.rows.min(batch.num_rows());
                self.rows -= known;
                take(batch.slice(known, batch.num_rows() - known));
            }
            (self.part, self.rows, self.bytes) = (number + 1, 0, 0);
        }
        let log = parts::log(&self.dir, self.part);
        let (batches, whole) = frames::read(&read_from(&log, self.bytes).unwrap_or_default());
        self.bytes += whole as u64;
        self.rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        batches.into_iter().for_each(take);
    }
}

/// How much of parts before the last is wanted.
#[derive(Clone, Copy)]
pub(super) enum Depth {
    Whole,
    Columns(&'static [&'static str]),
    Nothing,
}

/// The end of a text file that grows.
pub(super) struct TextTail {
    path: PathBuf,
    bytes: u64,
}

impl TextTail {
    pub fn of(path: PathBuf) -> Self {
        Self { path, bytes: 0 }
    }

    /// Whole lines that were not there before.
    pub fn lines(&mut self) -> Vec<String> {
        if std::fs::metadata(&self.path).is_ok_and(|about| about.len() < self.bytes) {
            self.bytes = 0;
        }
        let text = read_from(&self.path, self.bytes).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.bytes += whole as u64;
        String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect()
    }
}

fn read_from(path: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
