//! Owns: the log that rows are appended to before they are a part: frames, each an Arrow IPC stream of its own.
//! Must not know: what the rows mean, when they are written.
//! Invariant: a frame is read whole or not at all; whatever a killed process or a power cut left after the last whole
//! frame is never taken for rows.
//!
//! A frame: `CLF1`, length and CRC-32 of what follows (both little-endian, 4 bytes), an Arrow IPC stream of one batch.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::io::Cursor;

const MAGIC: &[u8; 4] = b"CLF1";
const HEAD: usize = 12;

/// `batch` as a frame.
pub fn frame(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = vec![0; HEAD];
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    let length = u32::try_from(bytes.len() - HEAD)
        .map_err(|_| ArrowError::IpcError("a frame must be below 4 GiB".into()))?;
    let sum = crc32fast::hash(&bytes[HEAD..]);
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// The frames of a log, and how many bytes they take: what stands behind them is torn.
pub fn read(log: &[u8]) -> (Vec<RecordBatch>, usize) {
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some((batch, length)) = first(&log[at..]) {
        batches.push(batch);
        at += length;
    }
    (batches, at)
}

fn first(log: &[u8]) -> Option<(RecordBatch, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(log.get(at..at + 4)?.try_into().ok()?));
    if log.get(..4)? != MAGIC {
        return None;
    }
    let end = HEAD.checked_add(number(4)? as usize)?;
    let payload = log.get(HEAD..end)?;
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
        let frames = [frame(&batch(&[1, 2])).unwrap(), frame(&batch(&[3])).unwrap()];
        let log = frames.concat();
        for cut in 0..=log.len() {
            let (batches, length) = read(&log[..cut]);
            let whole = usize::from(cut >= frames[0].len()) + usize::from(cut >= log.len());
            assert_eq!(batches.len(), whole, "cut at {cut}");
            assert_eq!(length, frames[..whole].iter().map(Vec::len).sum::<usize>());
        }
        assert_eq!(read(&log).0[1], batch(&[3]));
    }

    #[test]
    fn damage_and_what_follows_it_are_not_read() {
        let frames = [frame(&batch(&[1])).unwrap(), frame(&batch(&[2])).unwrap()];
        for at in 0..frames[1].len() {
            let mut log = frames.concat();
            log[frames[0].len() + at] ^= 0x40;
            let (batches, length) = read(&log);
            assert_eq!((batches.len(), length), (1, frames[0].len()), "byte {at}");
        }
        // Pages of nothing, as some file systems leave them after a power cut.
        let log = [&frames[0][..], &[0; 4096]].concat();
        assert_eq!(read(&log).1, frames[0].len());
    }
}
