//! Owns: event files of TensorBoard: the metrics of a run once more, for other programs.
//! Must not know: what a metric means, when rows are written.
//! Invariant: a file holds whole records alone. Each process writes a file of its own, whose first record says from which
//! step on earlier ones no longer count; a run never reads these files.
//!
//! A file is a sequence of TFRecords, each an `Event` message (tensorflow/core/util/event.proto): the length (u64), its
//! masked CRC-32C, the message, its masked CRC-32C, all little-endian. The messages are few enough to encode here.

use super::RecordError;
use crate::schema::metrics::{Metric, StepRow};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Folder of the event files in a run folder.
pub const EVENT_FOLDER: &str = "tensorboard";
const PREFIX: &str = "events.out.tfevents.";

/// Whether a run writes event files, `record.tensorboard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFiles {
    Written,
    Omitted,
}

/// The event file of this process. Rows wait in memory until [`EventWriter::write_pending`].
pub struct EventWriter {
    folder: PathBuf,
    /// The file and its length in bytes.
    file: Option<(File, PathBuf, u64)>,
    pending: Vec<u8>,
}

impl EventWriter {
    /// Makes a writer for the run folder `run`. The file appears with the first row.
    pub fn new(run: &Path) -> Self {
        Self { folder: run.join(EVENT_FOLDER), file: None, pending: Vec::new() }
    }

    /// Adds a row. The first one of a process also makes what other processes wrote of its step and later ones void.
    pub fn push(&mut self, row: &StepRow) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        if self.file.is_none() && self.pending.is_empty() {
            self.pending.extend(record(&version_event(now)));
            self.pending.extend(record(&start_event(now, row.step())));
        }
        self.pending.extend(record(&metrics_event(now, row)));
    }

    /// Writes the rows that wait. If that fails they are kept, and the file has none of them.
    pub fn write_pending(&mut self) -> Result<(), RecordError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            let (file, path) = create_file(&self.folder)?;
            self.file = Some((file, path, 0));
        }
        let Some((file, path, length)) = &mut self.file else { return Ok(()) };
        if let Err(cause) = file.write_all(&self.pending) {
            // Without a part of a record the next attempt starts where this one did.
            let _ = file.set_len(*length);
            return Err(RecordError::io("write", path)(cause));
        }
        *length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Creates the next event file. Readers take the files of a folder in the order of their names, which hold a time in seconds.
fn create_file(folder: &Path) -> Result<(File, PathBuf), RecordError> {
    std::fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
    let entries = std::fs::read_dir(folder).map_err(RecordError::io("read", folder))?;
    let second = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok();
    let newest = entries.flatten().filter_map(|entry| second(entry.file_name().to_str()?)).max();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // A clock may have been set back.
    let mut at = newest.map_or(now, |newest| now.max(newest + 1));
    loop {
        let path = folder.join(format!("{PREFIX}{at:010}.coconut-lab"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => at += 1,
            Err(error) => return Err(RecordError::io("create", &path)(error)),
        }
    }
}

/// Wraps a message as a TFRecord.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(message.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(message);
    bytes.extend(masked_crc(message).to_le_bytes());
    bytes
}

/// Returns the checksum of a TFRecord: CRC-32C, rotated and with a constant added.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// `Event { wall_time, file_version }`, the first record of a file.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.add_double(1, wall_time);
    event.add_bytes(3, b"brain.Event:2");
    event.bytes
}

/// `Event { wall_time, step, session_log { status: START } }`: readers drop earlier values of this step and later ones.
fn start_event(wall_time: f64, step: u64) -> Vec<u8> {
    let mut session = Message::default();
    session.add_number(1, 1);
    let mut event = Message::default();
    event.add_double(1, wall_time);
    event.add_number(2, step);
    event.add_bytes(7, &session.bytes);
    event.bytes
}

/// `Event { wall_time, step, summary { value { tag, simple_value } … } }`, with a value for each metric that the row has.
fn metrics_event(wall_time: f64, row: &StepRow) -> Vec<u8> {
    let mut summary = Message::default();
    for metric in Metric::ALL.iter().filter(|metric| **metric != Metric::Step) {
        let Some(number) = row.get(*metric) else { continue };
        let mut value = Message::default();
        value.add_bytes(1, metric.spec().name.as_bytes());
        value.add_float(2, number as f32);
        summary.add_bytes(1, &value.bytes);
    }
    let mut event = Message::default();
    event.add_double(1, wall_time);
    event.add_number(2, row.step());
    event.add_bytes(5, &summary.bytes);
    event.bytes
}

/// A protobuf message while it is encoded.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn add_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Adds the head of a field: its number, and how it is encoded.
    fn add_head(&mut self, field: u64, wire_type: u64) {
        self.add_varint(field << 3 | wire_type);
    }

    fn add_number(&mut self, field: u64, number: u64) {
        self.add_head(field, 0);
        self.add_varint(number);
    }

    fn add_double(&mut self, field: u64, number: f64) {
        self.add_head(field, 1);
        self.bytes.extend(number.to_le_bytes());
    }

    /// Adds text, bytes or a message.
    fn add_bytes(&mut self, field: u64, bytes: &[u8]) {
        self.add_head(field, 2);
        self.add_varint(bytes.len() as u64);
        self.bytes.extend(bytes);
    }

    fn add_float(&mut self, field: u64, number: f32) {
        self.add_head(field, 5);
        self.bytes.extend(number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into its messages, and checks every checksum.
    fn messages(path: &Path) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(u32::from_le_bytes(rest[8..12].try_into().unwrap()), masked_crc(&rest[..8]));
            let message = &rest[12..12 + length];
            assert_eq!(u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap()), masked_crc(message));
            found.push(message.to_vec());
            rest = &rest[16 + length..];
        }
        found
    }

    fn files(run: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(run.join(EVENT_FOLDER)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn messages_are_encoded_as_protobuf() {
        // Written by TensorFlow's own protobuf classes.
        assert_eq!(start_event(0.5, 300), b"\x09\0\0\0\0\0\0\xe0\x3f\x10\xac\x02\x3a\x02\x08\x01");
        let mut row = StepRow::new(2);
        row.set(Metric::Lr, 1.5);
        assert_eq!(
            metrics_event(0.5, &row),
            b"\x09\0\0\0\0\0\0\xe0\x3f\x10\x02\x2a\x0b\x0a\x09\x0a\x02lr\x15\0\0\xc0\x3f"
        );
        assert_eq!(masked_crc(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn each_process_has_a_file_that_begins_at_its_first_step() {
        let run = tempfile::tempdir().unwrap();
        for first in [0, 4, 2] {
            let mut writer = EventWriter::new(run.path());
            writer.write_pending().unwrap();
            for step in first..first + 3 {
                writer.push(&StepRow::new(step));
                writer.write_pending().unwrap();
            }
        }
        let files = files(run.path());
        assert_eq!(files.len(), 3, "names of the same second differ");
        for (file, first) in files.iter().zip([0_u64, 4, 2]) {
            let messages = messages(file);
            assert_eq!(messages.len(), 2 + 3);
            assert!(messages[0].ends_with(b"brain.Event:2"));
            assert_eq!(messages[1][9..], start_event(0.0, first)[9..]);
        }
    }

    #[test]
    fn rows_that_cannot_be_written_are_kept() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join(EVENT_FOLDER);
        std::fs::write(&folder, "a file in the way").unwrap();
        let mut writer = EventWriter::new(run.path());
        writer.push(&StepRow::new(0));
        assert!(writer.write_pending().unwrap_err().to_string().contains(EVENT_FOLDER));
        std::fs::remove_file(&folder).unwrap();
        writer.push(&StepRow::new(1));
        writer.write_pending().unwrap();
        assert_eq!(messages(&files(run.path())[0]).len(), 4);
    }
}
