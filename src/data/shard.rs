//! Owns: the reading of one Parquet shard: its footer, its token column, and its row groups as documents.
//! Must not know: splits, order, batches, tokenizers.
//! Invariant: every id returned is below the caller's limit. Every fault of the file, including a panic of
//! the Parquet decoder, is a [`DataError`] with its path and row.
//!
//! The token column is named `input_ids`, `tokens`, `token_ids` or `token`. It has one of two layouts. Either
//! each row is a document, as a list of integers of any width (32 or 64 bit offsets, or fixed size). Or it is
//! flat: each row is one token. A flat file does not record where documents start. Each of its row groups is
//! then a document, split after every end-of-document token if that token is known. Row groups are what the
//! writer kept together, and they bound memory.

use super::decode::{ColumnLayout, Documents, TokenDecoder, find_token_column, type_name};
use super::error::{DataError, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Largest vocabulary size allowed: an id from here on means that a file of unknown vocabulary is corrupt.
pub(crate) const MAX_VOCAB: usize = 1 << 24;

/// Number of rows decoded at a time, which bounds the memory used in addition to the ids themselves.
const LIST_ROWS: usize = 512;
const FLAT_ROWS: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardReadOptions {
    pub vocab_size: usize,
    /// Id of the token that ends a document; it splits flat files into documents.
    pub eos_id: Option<u32>,
}

/// An opened shard: footer and schema have been read and checked, no page has been read yet.
#[derive(Clone)]
pub(crate) struct Shard {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    column: usize,
    layout: ColumnLayout,
}

impl Shard {
    /// Reads the footer and finds the token column, which must hold integers.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = open_parquet(path)?.1;
        let (column, layout) = find_token_column(path, metadata.schema())?;
        Ok(Self { path: path.to_path_buf(), metadata, column, layout })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    pub fn group_count(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Returns the name and type of the token column, such as `input_ids: list<int32>`.
    pub fn token_column_type(&self) -> String {
        let field = &self.metadata.schema().fields()[self.column];
        format!("{}: {}", field.name(), type_name(field.data_type()))
    }

    /// Returns the compression of the token column, and the number of rows in each row group.
    pub fn compression_and_group_rows(&self) -> (String, Vec<u64>) {
        let groups = self.metadata.metadata().row_groups();
        let leaf = self.token_leaf_index();
        let compression = groups.first().map_or("none".to_owned(), |group| {
            let name = format!("{:?}", group.column(leaf).compression()).to_lowercase();
            name.split('(').next().unwrap_or(&name).to_owned()
        });
        let rows = groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
        (compression, rows.collect())
    }

    /// Returns the key/value metadata in the footer. A key without a value gets an empty string.
    pub fn footer(&self) -> BTreeMap<String, String> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        (pairs.into_iter().flatten()).map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default())).collect()
    }

    /// Reads all of a row group. Fails on a broken page, a null, or an id that `options` does not allow.
    pub fn read_group(&self, group: usize, options: ShardReadOptions) -> Result<Documents> {
        let first_row: u64 = self.compression_and_group_rows().1.iter().take(group).sum();
        let mut documents = Documents::default();
        let mut decoder = TokenDecoder::new(&self.path, self.layout, first_row, options.vocab_size, &mut documents);
        let batch_rows = match self.layout {
            ColumnLayout::Flat => FLAT_ROWS,
            ColumnLayout::Lists => LIST_ROWS,
        };
        let reader = read_columns(&self.path, &self.metadata, &[self.column], group, batch_rows)?;
        for_each_batch(&self.path, first_row, reader, |batch, _| decoder.push(batch.column(0)))?;
        let rows_read = match self.layout {
            ColumnLayout::Flat => documents.token_count() as u64,
            ColumnLayout::Lists => documents.len() as u64,
        };
        if Some(rows_read) != self.compression_and_group_rows().1.get(group).copied() {
            let found = format!("row group {group} ends after {rows_read} rows");
            return Err(DataError::Corrupt { file: self.path.clone(), row: first_row + rows_read, found });
        }
        if self.layout == ColumnLayout::Flat {
            documents.split_after(options.eos_id);
        }
        Ok(documents)
    }

    /// Returns the index of the first leaf column of the token column, as row group metadata counts columns.
    fn token_leaf_index(&self) -> usize {
        let schema = self.metadata.parquet_schema();
        (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == self.column).unwrap_or(0)
    }
}

pub(crate) fn open_parquet(path: &Path) -> Result<(File, ArrowReaderMetadata)> {
    let file = File::open(path).map_err(DataError::io(path, "be opened"))?;
    let length = file.metadata().map_err(DataError::io(path, "be opened"))?.len();
    let broken = |found: String| DataError::NotParquet { file: path.to_path_buf(), found };
    if length == 0 {
        return Err(broken("the file is empty (0 bytes)".to_owned()));
    }
    let load = || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
    let metadata = match catch_unwind(AssertUnwindSafe(load)) {
        Ok(Ok(metadata)) => metadata,
        Ok(Err(error)) => return Err(broken(format!("{} ({length} bytes)", parquet_error_text(&error)))),
        Err(_) => return Err(broken(format!("the footer is corrupt ({length} bytes)"))),
    };
    Ok((file, metadata))
}

/// Creates a reader of the given root columns of one row group.
pub(crate) fn read_columns(
    path: &Path,
    metadata: &ArrowReaderMetadata,
    roots: &[usize],
    group: usize,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader> {
    let file = File::open(path).map_err(DataError::io(path, "be opened"))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
    let build = || builder.with_projection(mask).with_row_groups(vec![group]).with_batch_size(batch_rows).build();
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(reader)) => Ok(reader),
        Ok(Err(error)) => Err(DataError::NotParquet { file: path.to_path_buf(), found: parquet_error_text(&error) }),
        Err(_) => Err(DataError::NotParquet { file: path.to_path_buf(), found: "a row group is corrupt".to_owned() }),
    }
}

/// Calls `each` with every record batch and its first row. A panic of the decoder is returned as an error.
pub(crate) fn for_each_batch(
    path: &Path,
    first_row: u64,
    mut reader: ParquetRecordBatchReader,
    mut each: impl FnMut(&arrow::array::RecordBatch, u64) -> Result<()>,
) -> Result<()> {
    let mut row = first_row;
    let corrupt = |row: u64, found: String| DataError::Corrupt { file: path.to_path_buf(), row, found };
    loop {
        match catch_unwind(AssertUnwindSafe(|| reader.next())) {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(batch))) => {
                each(&batch, row)?;
                row += batch.num_rows() as u64;
            }
            Ok(Some(Err(error))) => return Err(corrupt(row, error.to_string())),
            Err(_) => return Err(corrupt(row, "the decoder panicked".to_owned())),
        }
    }
}

/// Returns the text of a Parquet error without the prefix of the crate.
fn parquet_error_text(error: &parquet::errors::ParquetError) -> String {
    let text = error.to_string();
    text.strip_prefix("Parquet error: ").unwrap_or(&text).to_owned()
}
