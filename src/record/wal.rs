//! Owns: the format of the write-ahead log (WAL), to which rows are appended before they become a segment. It
//! consists of frames; each is an Arrow IPC stream.
//! Must not know: what the rows mean, when they are written.
//! Invariant: a frame is decoded completely or not at all. Damage costs the rows of its frame alone, and is counted;
//! only a frame that is not complete at the end of the log is no damage.
//!
//! A frame is `CLF1`, the length and CRC-32 of the payload (little-endian, 4 bytes each), and the payload: an
//! Arrow IPC stream of one batch.

use crate::files::foreign::catch_panic;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::root_as_message;
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

/// What the bytes of a WAL hold.
#[derive(Default)]
pub struct DecodedLog {
    pub batches: Vec<RecordBatch>,
    /// Bytes up to the end of the last frame. What follows is a frame that is not written completely.
    pub length: usize,
    /// Bytes before that which are no whole frame, or a frame that no reader understands. Their rows are lost.
    pub damaged_bytes: usize,
}

/// Decodes the frames of a WAL. Goes on after a damaged frame: rows that were written later are not lost with it.
pub fn decode_frames(log: &[u8]) -> DecodedLog {
    let (mut decoded, mut offset) = (DecodedLog::default(), 0);
    // Bounds the time for bytes that look like the start of a frame again and again.
    let mut hashed_bytes_left = log.len().saturating_mul(8);
    while offset < log.len() && hashed_bytes_left > 0 {
        let Some(payload) = checked_payload(&log[offset..], &mut hashed_bytes_left) else {
            offset = next_magic(log, offset + 1);
            continue;
        };
        let end = offset + HEADER_LEN + payload.len();
        decoded.damaged_bytes += offset - decoded.length;
        match decode_payload(payload) {
            Some(batch) => decoded.batches.push(batch),
            None => decoded.damaged_bytes += end - offset,
        }
        (decoded.length, offset) = (end, end);
    }
    decoded
}

/// Returns where the next frame may start, at `from` or later; the end of the log if nowhere.
fn next_magic(log: &[u8], from: usize) -> usize {
    log[from..].windows(MAGIC.len()).position(|bytes| bytes == MAGIC).map_or(log.len(), |found| from + found)
}

/// Returns the payload of the frame at the start of `log`, if the frame is complete and its checksum right.
fn checked_payload<'a>(log: &'a [u8], hashed_bytes_left: &mut usize) -> Option<&'a [u8]> {
    let number = |at: usize| Some(u32::from_le_bytes(log.get(at..at + 4)?.try_into().ok()?));
    if log.get(..4)? != MAGIC {
        return None;
    }
    let payload = log.get(HEADER_LEN..HEADER_LEN.checked_add(number(4)? as usize)?)?;
    *hashed_bytes_left = hashed_bytes_left.saturating_sub(payload.len());
    (crc32fast::hash(payload) == number(8)?).then_some(payload)
}

/// Decodes the batch of a payload; `None` if it is not one. A right checksum does not mean that this program wrote it.
fn decode_payload(payload: &[u8]) -> Option<RecordBatch> {
    let decode = || {
        messages_fit(payload)?;
        StreamReader::try_new(Cursor::new(payload), None).ok()?.next()?.ok()
    };
    catch_panic(decode).ok()?
}

/// Checks that no message declares more bytes than the payload has: the reader would reserve them before it reads.
fn messages_fit(mut payload: &[u8]) -> Option<()> {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    while !payload.is_empty() {
        let rest = payload.strip_prefix(&CONTINUATION[..]).unwrap_or(payload);
        let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        if length == 0 {
            return Some(());
        }
        let message = root_as_message(rest.get(4..length.checked_add(4)?)?).ok()?;
        // This program writes no compressed batches, whose sizes would have to be checked too.
        if message.header_as_record_batch().is_some_and(|batch| batch.compression().is_some()) {
            return None;
        }
        let body = usize::try_from(message.bodyLength()).ok()?;
        payload = rest.get((4 + length).checked_add(body)?..)?;
    }
    Some(())
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
            let DecodedLog { batches, length, damaged_bytes } = decode_frames(&log[..cut]);
            let whole = usize::from(cut >= frames[0].len()) + usize::from(cut >= log.len());
            assert_eq!(batches.len(), whole, "cut at {cut}");
            assert_eq!((length, damaged_bytes), (frames[..whole].iter().map(Vec::len).sum::<usize>(), 0));
        }
        assert_eq!(decode_frames(&log).batches[1], batch(&[3]));
    }

    #[test]
    fn damage_costs_its_own_frame_and_is_counted() {
        let frames = [[1], [2], [3]].map(|steps| encode_frame(&batch(&steps)).unwrap());
        for at in 0..frames[1].len() {
            let mut log = frames.concat();
            log[frames[0].len() + at] ^= 0x40;
            let decoded = decode_frames(&log);
            assert_eq!(decoded.batches, [batch(&[1]), batch(&[3])], "byte {at}");
            assert_eq!((decoded.length, decoded.damaged_bytes), (log.len(), frames[1].len()), "byte {at}");
            // At the end of the log the same bytes are a frame that is not complete.
            let decoded = decode_frames(&log[..frames[0].len() + frames[1].len()]);
            assert_eq!((decoded.batches.len(), decoded.length, decoded.damaged_bytes), (1, frames[0].len(), 0));
        }
    }

    /// Frames whose checksum is right, but whose content no writer of Arrow makes.
    #[test]
    fn a_forged_frame_is_damage() {
        let whole = encode_frame(&batch(&[1, 2])).unwrap();
        for at in HEADER_LEN..whole.len() {
            let mut forged = whole.clone();
            forged[at] ^= 0xff;
            let sum = crc32fast::hash(&forged[HEADER_LEN..]);
            forged[8..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
            let decoded = decode_frames(&[&forged[..], &whole].concat());
            assert_eq!(decoded.batches.last(), Some(&batch(&[1, 2])), "byte {at}");
            assert_eq!(decoded.length, forged.len() + whole.len());
        }
    }

    #[test]
    fn a_log_of_nothing_but_frame_starts_takes_no_quadratic_time() {
        let log: Vec<u8> = [&MAGIC[..], &(1_u32 << 19).to_le_bytes()].concat().repeat(1 << 17);
        assert!(decode_frames(&log).batches.is_empty());
    }

    #[test]
    fn zeroed_pages_at_the_end_are_no_rows() {
        let frames = [encode_frame(&batch(&[1])).unwrap()];
        // Zeroed pages, which some file systems leave after a power cut.
        let log = [&frames[0][..], &[0; 4096]].concat();
        assert_eq!(decode_frames(&log).length, frames[0].len());
    }
}
