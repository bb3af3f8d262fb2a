//! Owns: the checks before a Parquet file is decoded: the sizes that it declares, and the checksum of the whole file.
//! Must not know: the columns' meaning, what a caller does about a fault.
//! Invariant: memory is bounded whatever the file declares: no size is believed before it was held against the file.

use super::parquet::{CHECKSUM_KEY, CREATED_BY, NO_CHECKSUM, checksum_place};
use super::parquet_page::PageHeader;
use super::thrift::{LIST, STRUCT, ThriftReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};

/// Bytes of a footer that are read. Footers of files with thousands of columns and row groups stay below.
const MAX_FOOTER: u64 = 256 << 20;
/// Bytes of a page after decompression.
const MAX_PAGE: u64 = 1 << 30;
/// Values of a column in a row group that need no bytes: a run of one value is short.
const MAX_VALUES: u64 = 1 << 27;
/// Values beyond that for each byte that the row group has in the file.
const VALUES_PER_BYTE: u64 = 256;
/// Bytes read at a time for a page's header. Headers have statistics of bounded size.
const HEADER_BYTES: u64 = 64 << 10;
const MAGIC: &[u8] = b"PAR1";

/// What the checksum of a whole file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChecksum {
    Matches,
    /// The file was written by another program, or before there were checksums.
    Absent,
}

/// Reads the end of a file with the footer, and walks through the footer. Returns the indices of the encrypted columns
/// (as row groups count columns), or what is wrong with the footer.
///
/// Call this before the library parses the footer: it reserves memory for what the footer declares.
pub fn check_footer(file: &mut File) -> Result<std::result::Result<BTreeSet<usize>, String>> {
    let length = file.metadata()?.len();
    let Some(footer) = read_footer(file, length)? else {
        return Ok(Err("the end of the file is not that of a Parquet file: it is cut, or no Parquet file".to_owned()));
    };
    let damaged = || "the footer is damaged: it declares more than it has bytes for".to_owned();
    if ThriftReader::new(&footer).skip_struct().is_none() {
        return Ok(Err(damaged()));
    }
    Ok(encrypted_columns(&footer).ok_or_else(damaged))
}

/// Finds the columns that are encrypted in any row group: structures `ColumnChunk` with the field for it.
fn encrypted_columns(footer: &[u8]) -> Option<BTreeSet<usize>> {
    const ROW_GROUPS: i16 = 4;
    const COLUMNS: i16 = 1;
    const CRYPTO_METADATA: i16 = 8;
    let mut encrypted = BTreeSet::new();
    let mut reader = ThriftReader::new(footer);
    each_in_list(&mut reader, ROW_GROUPS, &mut |reader, _| {
        each_in_list(reader, COLUMNS, &mut |reader, column| {
            let mut previous = 0;
            while let Some(field) = reader.field(previous)? {
                if field.id == CRYPTO_METADATA {
                    encrypted.insert(column);
                }
                reader.skip(field.kind)?;
                previous = field.id;
            }
            Some(())
        })
    })?;
    Some(encrypted)
}

/// Reads a structure, and calls `each` at every element of its list `id` of structures; `each` reads the element.
fn each_in_list(
    reader: &mut ThriftReader<'_>,
    id: i16,
    each: &mut dyn FnMut(&mut ThriftReader<'_>, usize) -> Option<()>,
) -> Option<()> {
    let mut previous = 0;
    while let Some(field) = reader.field(previous)? {
        if (field.id, field.kind) == (id, LIST) {
            let (count, kind) = reader.list()?;
            let count = usize::try_from(count).ok().filter(|_| kind == STRUCT)?;
            (0..count).try_for_each(|index| each(reader, index))?;
        } else {
            reader.skip(field.kind)?;
        }
        previous = field.id;
    }
    Some(())
}

/// Reads the footer; `None` if the file has none.
fn read_footer(file: &mut File, length: u64) -> Result<Option<Vec<u8>>> {
    if length < 12 {
        return Ok(None);
    }
    let mut end = [0; 8];
    file.seek(SeekFrom::Start(length - 8))?;
    file.read_exact(&mut end)?;
    let size = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if &end[4..] != MAGIC || size > MAX_FOOTER || size > length - 8 {
        return Ok(None);
    }
    let mut footer = vec![0; size as usize];
    file.seek(SeekFrom::Start(length - 8 - size))?;
    file.read_exact(&mut footer)?;
    Ok(Some(footer))
}

/// Checks what a row group declares about the columns `leaves`: the values, and the sizes in the pages' headers.
/// Returns what is wrong, if anything.
pub fn check_group(
    file: &mut File,
    metadata: &ParquetMetaData,
    group: usize,
    leaves: &[usize],
) -> Result<std::result::Result<(), String>> {
    for leaf in leaves {
        let column = metadata.row_group(group).column(*leaf);
        if let Err(found) = check_column(file, column)? {
            return Ok(Err(format!("row group {group}, column `{}`: {found}", column.column_path().string())));
        }
    }
    Ok(Ok(()))
}

fn check_column(file: &mut File, column: &ColumnChunkMetaData) -> Result<std::result::Result<(), String>> {
    let length = file.metadata()?.len();
    // Some writers say 0 where there is no dictionary.
    let data = column.data_page_offset();
    let start = column.dictionary_page_offset().filter(|offset| (1..data).contains(offset)).unwrap_or(data);
    let (Ok(start), Ok(size)) = (u64::try_from(start), u64::try_from(column.compressed_size())) else {
        return Ok(Err("a negative offset or size".to_owned()));
    };
    if start.checked_add(size).is_none_or(|end| end > length) {
        return Ok(Err(format!("{size} bytes from byte {start}, but the file has {length} bytes")));
    }
    let allowed = MAX_VALUES.saturating_add(size.saturating_mul(VALUES_PER_BYTE));
    let declared = u64::try_from(column.num_values()).unwrap_or(u64::MAX);
    if declared > allowed {
        return Ok(Err(format!("{declared} values in {size} bytes; allowed: at most {allowed}")));
    }
    check_pages(file, start, size, allowed)
}

fn check_pages(file: &mut File, start: u64, size: u64, allowed: u64) -> Result<std::result::Result<(), String>> {
    let (mut position, end, mut values) = (start, start + size, 0_u64);
    while position < end {
        let Some(header) = read_page_header(file, position, end)? else {
            return Ok(Err(format!("the header of the page at byte {position} is damaged")));
        };
        let fault = |found: String| Ok(Err(format!("the page at byte {position} declares {found}")));
        if header.compressed_size as u64 > end - position - header.length as u64 {
            return fault(format!("{} bytes, but the column ends before", header.compressed_size));
        }
        if header.uncompressed_size > MAX_PAGE {
            return fault(format!("{} bytes; allowed: at most {MAX_PAGE}", header.uncompressed_size));
        }
        if header.is_dictionary && header.values > header.uncompressed_size {
            let (values, bytes) = (header.values, header.uncompressed_size);
            return fault(format!("a dictionary of {values} values in {bytes} bytes"));
        }
        values = values.saturating_add(header.values);
        if values > allowed {
            return fault(format!(
                "more values than allowed: {values} in the column so far; allowed: at most {allowed}"
            ));
        }
        position += (header.length + header.compressed_size) as u64;
    }
    Ok(Ok(()))
}

fn read_page_header(file: &mut File, position: u64, end: u64) -> Result<Option<PageHeader>> {
    // Most headers are short; one with long statistics is read again.
    for limit in [256, HEADER_BYTES, 256 * HEADER_BYTES] {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(position))?;
        (&mut *file).take(limit.min(end - position)).read_to_end(&mut bytes)?;
        if let Some(header) = PageHeader::read(&bytes) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// Reads a whole file and compares it with the checksum in its footer, if this program wrote it. Returns what is
/// wrong, if anything.
pub fn check_file(file: &mut File) -> Result<std::result::Result<FileChecksum, String>> {
    let length = file.metadata()?.len();
    let Some(footer) = read_footer(file, length)? else {
        return Ok(Err("the file has no footer".to_owned()));
    };
    let Some(place) = checksum_place(&footer) else {
        let is_ours = footer.windows(CREATED_BY.len()).any(|window| window == CREATED_BY.as_bytes());
        let lost = format!("the footer has lost its checksum `{CHECKSUM_KEY}`: the file is damaged");
        return Ok(if is_ours { Err(lost) } else { Ok(FileChecksum::Absent) });
    };
    let recorded = String::from_utf8_lossy(&footer[place..place + NO_CHECKSUM.len()]).into_owned();
    let found = format!("{:08x}", checksum_without(file, length - 8 - footer.len() as u64 + place as u64)?);
    Ok(match recorded == found {
        true => Ok(FileChecksum::Matches),
        false => Err(format!("the bytes of the file do not match its checksum: expected {recorded}, found {found}")),
    })
}

/// Computes the checksum of a file with [`NO_CHECKSUM`] at `place`.
fn checksum_without(file: &mut File, place: u64) -> Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0))?;
    let mut before = (&mut *file).take(place);
    update_to_end(&mut hasher, &mut before, &mut buffer)?;
    hasher.update(NO_CHECKSUM);
    file.seek(SeekFrom::Start(place + NO_CHECKSUM.len() as u64))?;
    update_to_end(&mut hasher, file, &mut buffer)?;
    Ok(hasher.finalize())
}

fn update_to_end(hasher: &mut crc32fast::Hasher, source: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    loop {
        match source.read(buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parquet::start_parquet;
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, RecordBatch};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::Arc;

    /// Writes 3,000 numbers in row groups of 1,000.
    fn written(path: &std::path::Path) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values((0..3000).map(|number| number * 7 % 500)));
        let batch = RecordBatch::try_from_iter([("a", numbers)]).unwrap();
        let footer = [("key".to_owned(), "value".to_owned())];
        let mut writer = start_parquet(File::create(path).unwrap(), batch.schema(), 1000, &footer).unwrap();
        writer.write(&batch.slice(0, 1500)).unwrap();
        writer.write(&batch.slice(1500, 1500)).unwrap();
        writer.close().unwrap();
        batch
    }

    #[test]
    fn a_written_file_reads_back_with_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let batch = written(&path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 3);
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        assert!(pairs.iter().any(|pair| pair.key == "key" && pair.value.as_deref() == Some("value")));
        let read: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
        let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(read.columns(), batch.columns());
        let mut file = File::open(&path).unwrap();
        assert_eq!(check_file(&mut file).unwrap(), Ok(FileChecksum::Matches));
        assert_eq!(check_footer(&mut file).unwrap(), Ok(BTreeSet::new()));
    }

    #[test]
    fn every_changed_byte_is_found_and_pages_carry_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        written(&path);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            let found = check_file(&mut File::open(&path).unwrap()).unwrap();
            assert!(found.is_err(), "byte {at} of {}", whole.len());
        }
        // The checksum of a page alone: the library finds the change without the file's checksum.
        let mut bytes = whole.clone();
        bytes[200] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let error = reader.filter_map(|batch| batch.err()).next().unwrap().to_string();
        assert!(error.contains("CRC"), "{error}");
    }

    #[test]
    fn sizes_in_footers_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        // Row groups: a list of 2^31 structures in a footer of 8 bytes.
        let footer = [0x49, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x08, 0];
        let bytes = [MAGIC, &footer, &(footer.len() as u32).to_le_bytes(), MAGIC].concat();
        std::fs::write(&path, bytes).unwrap();
        assert!(check_footer(&mut File::open(&path).unwrap()).unwrap().unwrap_err().contains("damaged"));
    }
}
