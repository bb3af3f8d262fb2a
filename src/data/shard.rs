//! Owns: the reading of one Parquet shard: its footer, its token column, and its row groups as documents.
//! Must not know: splits, order, batches, tokenizers.
//! Invariant: every id returned is below the caller's limit. Every fault of the file, including a panic of
//! the Parquet decoder, is a [`DataError`] with its path and row.
//!
//! The token column has one of two layouts. Either each row is a document, as a list of integers. Or it is flat: each
//! row is one token. A flat file does not record where documents start. Each of its row groups is then a document,
//! split after every end-of-document token if that token is known. Row groups are what the writer kept together, and
//! they bound memory.

use super::columns::{ColumnLayout, ShardColumns, find_columns, type_name};
use super::decode::{Documents, TokenDecoder};
use super::error::{DataError, Result};
use super::parquet_input::{check_columns, for_each_batch, open_parquet, read_columns};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    columns: ShardColumns,
}

impl Shard {
    /// Reads the footer and finds the token column, which must hold integers.
    pub fn open(path: &Path) -> Result<Self> {
        let (_, metadata) = open_parquet(path)?;
        let columns = find_columns(path, metadata.schema())?;
        check_columns(path, &metadata, &columns.indices())?;
        Ok(Self { path: path.to_path_buf(), metadata, columns })
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
        let field = &self.metadata.schema().fields()[self.columns.tokens];
        format!("{}: {}", field.name(), type_name(field.data_type()))
    }

    /// Returns what a reader of the dataset should know about the choice of columns.
    pub fn notes(&self) -> &[String] {
        &self.columns.notes
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
        let mut decoder =
            TokenDecoder::new(&self.path, self.columns.layout, first_row, options.vocab_size, &mut documents);
        let batch_rows = match self.columns.layout {
            ColumnLayout::Flat => FLAT_ROWS,
            ColumnLayout::Lists => LIST_ROWS,
        };
        let indices = self.columns.indices();
        let place = |column: usize| indices.iter().position(|index| *index == column).unwrap_or(0);
        let (tokens, mask, labels) =
            (place(self.columns.tokens), self.columns.mask.map(place), self.columns.labels.map(place));
        let reader = read_columns(&self.path, &self.metadata, &indices, group, batch_rows)?;
        for_each_batch(&self.path, first_row, reader, |batch, _| {
            let column = |index: usize| batch.column(index);
            decoder.push(column(tokens), mask.map(column), labels.map(column))
        })?;
        let rows_read = match self.columns.layout {
            ColumnLayout::Flat => documents.token_count() as u64,
            ColumnLayout::Lists => documents.len() as u64,
        };
        if Some(rows_read) != self.compression_and_group_rows().1.get(group).copied() {
            let found = format!("row group {group} ends after {rows_read} rows");
            return Err(DataError::Corrupt { file: self.path.clone(), row: first_row + rows_read, found });
        }
        if self.columns.layout == ColumnLayout::Flat {
            documents.split_after(options.eos_id);
        }
        Ok(documents)
    }

    /// Returns the index of the first leaf column of the token column, as row group metadata counts columns.
    fn token_leaf_index(&self) -> usize {
        let schema = self.metadata.parquet_schema();
        (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == self.columns.tokens).unwrap_or(0)
    }
}
