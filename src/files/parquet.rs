//! Owns: how Parquet files are written: zstd compression, bounded row groups, key-value metadata in the footer.
//! Must not know: what the columns mean.
//! Invariant: every Parquet file of the program is written by this file.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::io::Write;

/// Key-value metadata of a Parquet footer.
pub type Footer = Vec<(String, String)>;

/// Rows of a row group, unless a writer asks for less.
const GROUP_ROWS: usize = 1 << 20;

/// Starts a Parquet file in `sink` with at most `group_rows` rows in a row group.
pub fn start_parquet<W: Write + Send>(
    sink: W,
    schema: SchemaRef,
    group_rows: usize,
    footer: &[(String, String)],
) -> Result<ArrowWriter<W>> {
    let pairs = footer.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(group_rows))
        .set_key_value_metadata(Some(pairs))
        .build();
    ArrowWriter::try_new(sink, schema, Some(properties))
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
    writer.close().map(drop)
}
