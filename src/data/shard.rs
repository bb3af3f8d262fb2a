//! Owns reading one Parquet shard: its footer, which column holds the tokens, and its row groups as documents.
//!
//! Must not know: splits, order, batches, tokenizers. Invariant: what comes out is ids below the limit that the caller
//! gave; every fault of the file is a [`DataError`] with its path and row, a panic of the Parquet decoder included.
//!
//! Accepted layouts: a column `input_ids`, `tokens`, `token_ids` or `token` of lists (32 or 64 bit offsets, or fixed
//! size) of integers of any width, one document a row; or one flat integer column, one token a row. A flat file does
//! not say where documents begin, so each of its row groups is a document, cut after every end-of-document token
//! where one is known: row groups are what its writer kept together, and they bound memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::decode::{Documents, Sink, find_column, type_name};
use super::error::{DataError, Result};

/// No tokenizer has this many entries, so an id from here on is corruption even where the vocabulary is unknown.
pub(crate) const MAX_VOCAB: usize = 1 << 24;

/// Rows decoded at a time: bounds what stands in memory beside the ids themselves.
const LIST_ROWS: usize = 512;
const FLAT_ROWS: usize = 1 << 16;

/// What a reader accepts and knows: ids below `vocab`, and the token that ends a document, for flat files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept {
    pub vocab: usize,
    pub eos: Option<u32>,
}

/// One opened shard: footer and schema read and found usable, no page read yet.
#[derive(Clone)]
pub(crate) struct Shard {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    column: usize,
    flat: bool,
}

impl Shard {
    /// Reads the footer and finds the token column.
    ///
    /// # Errors
    /// The file is missing, not Parquet, or has no integer column under one of the known names.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = open_parquet(path)?.1;
        let (column, flat) = find_column(path, metadata.schema())?;
        Ok(Self { path: path.to_path_buf(), metadata, column, flat })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    pub fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Name and type of the token column, as a person would write it: `input_ids: list<int32>`.
    pub fn layout(&self) -> String {
        let field = &self.metadata.schema().fields()[self.column];
        format!("{}: {}", field.name(), type_name(field.data_type()))
    }

    /// Compression of the token column, and how many rows each group has.
    pub fn storage(&self) -> (String, Vec<u64>) {
        let groups = self.metadata.metadata().row_groups();
        let leaf = self.first_leaf();
        let compression = groups.first().map_or("none".to_owned(), |group| {
            let name = format!("{:?}", group.column(leaf).compression()).to_lowercase();
            name.split('(').next().unwrap_or(&name).to_owned()
        });
        let rows = groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
        (compression, rows.collect())
    }

    /// The footer's key/value metadata; a key without a value has an empty one.
    pub fn footer(&self) -> BTreeMap<String, String> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        (pairs.into_iter().flatten())
            .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
            .collect()
    }

    /// Reads row group `group` whole. Memory: four bytes a token of that group, and a few hundred rows beside.
    ///
    /// # Errors
    /// A page that cannot be decoded, a null, or an id not below `accept.vocab`.
    pub fn read_group(&self, group: usize, accept: Accept) -> Result<Documents> {
        let first_row: u64 = self.storage().1.iter().take(group).sum();
        let mut documents = Documents::default();
        let mut sink = Sink::new(&self.path, first_row, accept.vocab, &mut documents);
        let columns = vec![self.column];
        let batch_rows = if self.flat { FLAT_ROWS } else { LIST_ROWS };
        let reader = read_columns(&self.path, &self.metadata, &columns, group, batch_rows)?;
        for_each_batch(&self.path, first_row, reader, |batch, _| sink.push(batch.column(0), self.flat))?;
        let read = if self.flat { documents.tokens() } else { documents.len() } as u64;
        if Some(read) != self.storage().1.get(group).copied() {
            let found = format!("row group {group} ends after {read} rows");
            return Err(DataError::Corrupt { file: self.path.clone(), row: first_row + read, found });
        }
        if self.flat {
            documents.cut_after(accept.eos);
        }
        Ok(documents)
    }

    fn first_leaf(&self) -> usize {
        let schema = self.metadata.parquet_schema();
        (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == self.column).unwrap_or(0)
    }
}

/// Opens a Parquet file and reads its footer.
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
        Ok(Err(error)) => return Err(broken(format!("{} ({length} bytes)", plain(&error)))),
        Err(_) => return Err(broken(format!("the footer is corrupt ({length} bytes)"))),
    };
    Ok((file, metadata))
}

/// A reader of some root columns of one row group.
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
    let build =
        || builder.with_projection(mask).with_row_groups(vec![group]).with_batch_size(batch_rows).build();
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(Ok(reader)) => Ok(reader),
        Ok(Err(error)) => Err(DataError::NotParquet { file: path.to_path_buf(), found: plain(&error) }),
        Err(_) => Err(DataError::NotParquet {
            file: path.to_path_buf(),
            found: "a row group is corrupt".to_owned(),
        }),
    }
}

/// Hands each record batch and its first row's number in the file to `each`; a fault or panic of the decoder is an error.
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
            Err(_) => return Err(corrupt(row, "the decoder gave up".to_owned())),
        }
    }
}

/// The Parquet crate's words without its own prefix.
fn plain(error: &parquet::errors::ParquetError) -> String {
    let text = error.to_string();
    text.strip_prefix("Parquet error: ").unwrap_or(&text).to_owned()
}
