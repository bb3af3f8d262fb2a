//! Owns: the header of a Parquet page: its sizes, and the checksum of the page (CRC-32), read and put in.
//! Must not know: how the values of a page are encoded.
//! Invariant: a header whose sizes are negative or do not fit into the bytes at hand is `None`.

use super::thrift::{I32, ThriftReader, encode_number};

/// Fields of the structure `PageHeader` in Parquet's `parquet.thrift`.
const COMPRESSED_SIZE: i16 = 3;
const CHECKSUM: i16 = 4;
const DATA_PAGE: i16 = 5;
const DICTIONARY_PAGE: i16 = 7;
const DATA_PAGE_V2: i16 = 8;

/// The sizes that the header of a page declares.
#[derive(Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// Bytes of the header itself.
    pub length: usize,
    /// Bytes of the page behind the header.
    pub compressed_size: usize,
    pub uncompressed_size: u64,
    /// Values of the page; of a dictionary, its entries.
    pub values: u64,
    pub is_dictionary: bool,
    pub has_checksum: bool,
    /// End of the field before the checksum's, where the checksum is put in.
    sizes_end: usize,
}

impl PageHeader {
    /// Reads the header at the start of `bytes`, which may end within the page.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = ThriftReader::new(bytes);
        let (mut uncompressed_size, mut compressed_size, mut values) = (None, None, 0);
        let (mut is_dictionary, mut has_checksum, mut sizes_end) = (false, false, 0);
        let mut previous = 0;
        while let Some(field) = reader.field(previous)? {
            match field.id {
                2 => uncompressed_size = Some(reader.number()?),
                COMPRESSED_SIZE => {
                    compressed_size = Some(reader.number()?);
                    sizes_end = reader.position();
                }
                DATA_PAGE | DICTIONARY_PAGE | DATA_PAGE_V2 => {
                    is_dictionary = field.id == DICTIONARY_PAGE;
                    values = read_values(&mut reader)?;
                }
                _ => {
                    has_checksum |= field.id == CHECKSUM;
                    reader.skip(field.kind)?;
                }
            }
            previous = field.id;
        }
        Some(Self {
            length: reader.position(),
            compressed_size: usize::try_from(compressed_size?).ok()?,
            uncompressed_size: u64::try_from(uncompressed_size?).ok()?,
            values: u64::try_from(values).ok()?,
            is_dictionary,
            has_checksum,
            sizes_end,
        })
    }
}

/// Reads the number of values, the first field of every page's own header, and skips the rest of that header.
fn read_values(reader: &mut ThriftReader<'_>) -> Option<i64> {
    let (mut values, mut previous) = (0, 0);
    while let Some(field) = reader.field(previous)? {
        match field.id {
            1 => values = reader.number()?,
            _ => reader.skip(field.kind)?,
        }
        previous = field.id;
    }
    Some(values)
}

/// Puts a checksum into every page of a column chunk that has none. Returns the new bytes, and the length of the
/// dictionary page, which comes first if there is one.
pub(super) fn with_checksums(mut chunk: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut out = Vec::with_capacity(chunk.len() + 64);
    let mut dictionary_length = 0;
    while !chunk.is_empty() {
        let header = PageHeader::read(chunk)?;
        let end = header.length.checked_add(header.compressed_size).filter(|end| *end <= chunk.len())?;
        let page = &chunk[header.length..end];
        match header.has_checksum {
            true => out.extend_from_slice(&chunk[..header.length]),
            false => push_header_with_checksum(&mut out, &chunk[..header.length], header.sizes_end, page)?,
        }
        out.extend_from_slice(page);
        if header.is_dictionary {
            dictionary_length = out.len();
        }
        chunk = &chunk[end..];
    }
    Some((out, dictionary_length))
}

/// Appends a header with the field for the checksum between the sizes and the field behind them.
fn push_header_with_checksum(out: &mut Vec<u8>, header: &[u8], sizes_end: usize, page: &[u8]) -> Option<()> {
    let next = *header.get(sizes_end)?;
    // The field behind is written relative to the one before it, which is now the checksum's.
    let step = (next >> 4).checked_sub(1).filter(|step| *step > 0)?;
    out.extend_from_slice(&header[..sizes_end]);
    out.push(1 << 4 | I32);
    out.extend(encode_number(i64::from(crc32fast::hash(page) as i32)));
    out.push(step << 4 | next & 0x0f);
    out.extend_from_slice(&header[sizes_end + 1..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_goes_between_sizes_and_page_header() {
        // type 0, 4 bytes, 4 bytes; data page of 3 values in encoding 0.
        let page = [0x15, 0, 0x15, 8, 0x15, 8, 0x2c, 0x15, 6, 0x15, 0, 0, 0, 1, 2, 3, 4];
        let (out, dictionary) = with_checksums(&page).unwrap();
        let header = PageHeader::read(&out).unwrap();
        assert_eq!((header.values, header.compressed_size, header.has_checksum, dictionary), (3, 4, true, 0));
        assert_eq!(&out[header.length..], [1, 2, 3, 4]);
        let again = with_checksums(&out).unwrap();
        assert_eq!(again.0, out);
        assert_eq!(with_checksums(&page[..page.len() - 1]), None);
        assert_eq!(PageHeader::read(&[0x15, 0, 0x15, 8, 0x15, 7, 0]), None);
    }
}
