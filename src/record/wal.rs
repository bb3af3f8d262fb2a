//! Owns: the format of the write-ahead log (WAL), to which rows are appended before they become a segment. It
//! consists of frames; each is an Arrow IPC stream.
//! Must not know: what the rows mean, when they are written.
//! Invariant: a frame is decoded completely or not at all; bytes that a killed process or a power cut left
//! after the last complete frame are never read as rows.
//!
//! A frame is `CLF1`, the length and CRC-32 of the payload (little-endian, 4 bytes each), and the payload: an
//! Arrow IPC stream of one batch.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::io::Cursor;

const MAGIC: &[u8; 4] = b"CLF1";
const HEADER_LEN: usize = 12;

/// Encodes `batch` as a frame. Fails if it takes 4 GiB or more.
pub fn encode_frame(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = vec![0; HEADER_LEN];
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    let length = u32::try_from(bytes.len() - HEADER_LEN)
        .map_err(|_| ArrowError::IpcError("a frame must be below 4 GiB".into()))?;
    let sum = crc32fast::hash(&bytes[HEADER_LEN..]);
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// Returns the batches of a WAL's frames and their length in bytes; the bytes after that are damaged.
pub fn decode_frames(log: &[u8]) -> (Vec<RecordBatch>, usize) {
    let (mut batches, mut offset) = (Vec::new(), 0);
    while let Some((batch, length)) = decode_first(&log[offset..]) {
        batches.push(batch);
        offset += length;
    }
    (batches, offset)
}

fn decode_first(log: &[u8]) -> Option<(RecordBatch, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(log.get(at..at + 4)?.try_into().ok()?));
    if log.get(..4)? != MAGIC {
        return None;
    }
    let end = HEADER_LEN.checked_add(number(4)? as usize)?;
    let payload = log.get(HEADER_LEN..end)?;
    if crc32fast::hash(payload) != number(8)? {
        return None;
    }
    let batch = StreamReader::try_new(Cursor::new(payload), None).ok()?.next()?.ok()?;
    Some((batch, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn batch(numbers: &[i64]) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([("step", column)]).unwrap()
    }

    #[test]
    fn a_log_cut_anywhere_gives_its_whole_frames() {
        let frames = [encode_frame(&batch(&[1, 2])).unwrap(), encode_frame(&batch(&[3])).unwrap()];
        let log = frames.concat();
        for cut in 0..=log.len() {
            let (batches, length) = decode_frames(&log[..cut]);
            let whole = usize::from(cut >= frames[0].len()) + usize::from(cut >= log.len());
            assert_eq!(batches.len(), whole, "cut at {cut}");
            assert_eq!(length, frames[..whole].iter().map(Vec::len).sum::<usize>());
        }
        assert_eq!(decode_frames(&log).0[1], batch(&[3]));
    }

    #[test]
    fn damage_and_what_follows_it_are_not_read() {
        let frames = [encode_frame(&batch(&[1])).unwrap(), encode_frame(&batch(&[2])).unwrap()];
        for at in 0..frames[1].len() {
            let mut log = frames.concat();
            log[frames[0].len() + at] ^= 0x40;
            let (batches, length) = decode_frames(&log);
            assert_eq!((batches.len(), length), (1, frames[0].len()), "byte {at}");
        }
        // Zeroed pages, which some file systems leave after a power cut.
        let log = [&frames[0][..], &[0; 4096]].concat();
        assert_eq!(decode_frames(&log).1, frames[0].len());
    }
}
