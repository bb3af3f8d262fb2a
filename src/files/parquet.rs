//! Owns: how Parquet files are written: zstd compression, bounded row groups, key-value metadata in the footer, a
//! checksum of every page, and one of the whole file.
//! Must not know: what the columns mean.
//! Invariant: every Parquet file of the program is written by this file. A changed bit anywhere between the first and
//! the last four bytes (`PAR1`) of such a file is found by [`check_file`](super::parquet_check::check_file).

use super::parquet_page::with_checksums;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, encode_arrow_schema};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use std::io::Write;
use std::sync::Arc;

/// Key-value metadata of a Parquet footer.
pub type Footer = Vec<(String, String)>;

/// Rows of a row group, unless a writer asks for less.
const GROUP_ROWS: usize = 1 << 20;

/// Key in the footer of the checksum of the whole file, with [`NO_CHECKSUM`] in its own place.
pub(super) const CHECKSUM_KEY: &str = "coconut.file_crc32";
pub(super) const NO_CHECKSUM: &[u8; 8] = b"00000000";
/// Start of `created_by` in the footer of every file that has the checksum.
pub(super) const CREATED_BY: &str = "coconut-lab version ";
/// Key of the schema of Arrow, as all implementations of Arrow name it.
const ARROW_SCHEMA_KEY: &str = "ARROW:schema";

/// Starts a Parquet file in `sink` with at most `group_rows` rows in a row group.
pub fn start_parquet<W: Write + Send>(
    sink: W,
    schema: SchemaRef,
    group_rows: usize,
    footer: &[(String, String)],
) -> Result<ParquetWriter<W>> {
    let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
    let mut pairs = vec![KeyValue::new(ARROW_SCHEMA_KEY.to_owned(), encode_arrow_schema(&schema))];
    pairs.extend(footer.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())));
    let properties = WriterProperties::builder()
        .set_created_by(format!("{CREATED_BY}{}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(pairs))
        .build();
    let properties = Arc::new(properties);
    let file = SerializedFileWriter::new(ChecksumSink::new(sink), root, properties.clone())?;
    Ok(ParquetWriter { file, schema, properties, group_rows: group_rows.max(1), group: None, rows: 0 })
}

/// Writes `batches`, all of `schema`, to `sink` as one Parquet file.
pub fn write_parquet<W: Write + Send>(
    sink: W,
    schema: SchemaRef,
    batches: &[RecordBatch],
    footer: &[(String, String)],
) -> Result<()> {
    let mut writer = start_parquet(sink, schema, GROUP_ROWS, footer)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.close()
}

/// Writes a Parquet file. Memory holds one row group, compressed.
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<ChecksumSink<W>>,
    schema: SchemaRef,
    properties: WriterPropertiesPtr,
    group_rows: usize,
    /// The row group in the making, as a file of its own in memory: the library writes pages without checksums.
    group: Option<ArrowWriter<Vec<u8>>>,
    /// Rows of `group`.
    rows: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Appends rows, and writes row groups as they become full.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let count = (batch.num_rows() - start).min(self.group_rows - self.rows);
            let mut group = match self.group.take() {
                Some(group) => group,
                None => {
                    let properties = self.properties.as_ref().clone();
                    ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties))?
                }
            };
            group.write(&batch.slice(start, count))?;
            self.group = Some(group);
            self.rows += count;
            start += count;
            if self.rows == self.group_rows {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the row group, if it has rows.
    pub fn flush(&mut self) -> Result<()> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        self.rows = 0;
        let metadata = group.finish()?;
        self.append_group(&metadata, group.inner())
    }

    /// Copies the row groups of a file in memory, with a checksum in every page.
    fn append_group(&mut self, metadata: &ParquetMetaData, bytes: &[u8]) -> Result<()> {
        for group in metadata.row_groups() {
            let mut out = self.file.next_row_group()?;
            for column in group.columns() {
                let (start, length) = column.byte_range();
                let chunk = usize::try_from(start).ok().and_then(|start| bytes.get(start..)?.get(..length as usize));
                let pages = chunk.and_then(with_checksums);
                let (pages, dictionary) = pages
                    .ok_or_else(|| ParquetError::General("a page that was just written cannot be read".to_owned()))?;
                let rows_written = u64::try_from(group.num_rows()).unwrap_or(0);
                let closed = ColumnCloseResult {
                    bytes_written: pages.len() as u64,
                    rows_written,
                    metadata: moved_to_start(column, pages.len(), dictionary)?,
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                out.append_column(&bytes::Bytes::from(pages), closed)?;
            }
            out.close()?;
        }
        Ok(())
    }

    /// Writes what remains and the footer with the checksum of the file.
    pub fn close(mut self) -> Result<()> {
        self.flush()?;
        self.file.flush()?;
        self.file.inner_mut().tail = Some(Vec::new());
        let empty = String::from_utf8_lossy(NO_CHECKSUM).into_owned();
        self.file.append_key_value_metadata(KeyValue::new(CHECKSUM_KEY.to_owned(), empty));
        self.file.into_inner()?.finish()
    }
}

/// Returns the metadata of a column chunk of `length` bytes that stands at the start of its bytes.
fn moved_to_start(column: &ColumnChunkMetaData, length: usize, dictionary: usize) -> Result<ColumnChunkMetaData> {
    let grown = length as i64 - column.compressed_size();
    let has_dictionary = column.dictionary_page_offset().is_some();
    (column.clone().into_builder())
        .set_total_compressed_size(length as i64)
        .set_total_uncompressed_size(column.uncompressed_size() + grown)
        .set_dictionary_page_offset(has_dictionary.then_some(0))
        .set_data_page_offset(dictionary as i64)
        .build()
}

/// Passes bytes on and computes their checksum. The tail of the file is held back until the checksum is known.
struct ChecksumSink<W: Write> {
    sink: W,
    checksum: crc32fast::Hasher,
    tail: Option<Vec<u8>>,
}

impl<W: Write> ChecksumSink<W> {
    fn new(sink: W) -> Self {
        Self { sink, checksum: crc32fast::Hasher::new(), tail: None }
    }

    /// Writes the tail with the checksum in it.
    fn finish(mut self) -> Result<()> {
        let mut tail = self.tail.take().unwrap_or_default();
        self.checksum.update(&tail);
        let digits = format!("{:08x}", self.checksum.finalize());
        let place = checksum_place(&tail).ok_or_else(|| ParquetError::General("the footer lacks a key".to_owned()))?;
        tail[place..place + NO_CHECKSUM.len()].copy_from_slice(digits.as_bytes());
        self.sink.write_all(&tail)?;
        Ok(self.sink.flush()?)
    }
}

impl<W: Write> Write for ChecksumSink<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.tail {
            Some(tail) => tail.extend_from_slice(bytes),
            None => {
                self.sink.write_all(bytes)?;
                self.checksum.update(bytes);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

/// Returns where the digits of the checksum start in the end of a file: behind its key and the length of a string.
pub(super) fn checksum_place(tail: &[u8]) -> Option<usize> {
    let key = CHECKSUM_KEY.as_bytes();
    let found = tail.windows(key.len()).rposition(|window| window == key)?;
    let start = found + key.len() + 2;
    (start + NO_CHECKSUM.len() <= tail.len()).then_some(start)
}
