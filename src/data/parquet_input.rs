//! Owns: the opening of Parquet files that other programs wrote, and the reading of their columns.
//! Must not know: tokens, splits, what a column means.
//! Invariant: nothing that a file declares is believed before it was checked. A file of another kind, an encrypted
//! column and a compression that is not read are called what they are. A panic of the decoder is an error.
//!
//! The schema of Arrow in a file is not used: dictionaries, run-end encoding, list views and large lists are stored as
//! plain values and lists, and are read as those.

use super::error::{DataError, Result};
use crate::files::foreign::{catch_panic, mistaken_kind_of_file, open_regular};
use crate::files::parquet_check::{check_footer, check_group};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use std::fs::File;
use std::path::Path;

/// Opens a regular file to read data from.
pub(crate) fn open_input(path: &Path) -> Result<File> {
    open_regular(path).map_err(|error| DataError::Io { file: error.path, action: "be opened", cause: error.cause })
}

pub(crate) fn open_parquet(path: &Path) -> Result<(File, ArrowReaderMetadata)> {
    let mut file = open_input(path)?;
    let length = file.metadata().map_err(DataError::io(path, "be opened"))?.len();
    let broken = |found: String| DataError::NotParquet { file: path.to_path_buf(), found };
    if length == 0 {
        return Err(broken("the file is empty (0 bytes)".to_owned()));
    }
    let unreadable = |found: String| match mistaken_kind_of_file(path) {
        Some(kind) => broken(kind.to_owned()),
        None => broken(format!("{found} ({length} bytes)")),
    };
    let encrypted = check_footer(&mut file).map_err(DataError::io(path, "be read"))?.map_err(unreadable)?;
    let load = || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new().with_skip_arrow_metadata(true));
    let metadata = match catch_panic(load) {
        Ok(Ok(metadata)) => metadata,
        _ if !encrypted.is_empty() => return Err(broken("the columns are encrypted".to_owned())),
        Ok(Err(error)) => return Err(unreadable(parquet_error_text(&error))),
        Err(_) => return Err(unreadable("the footer is damaged".to_owned())),
    };
    Ok((file, metadata))
}

/// Returns the indices of the leaf columns of the given root columns.
fn leaves_of(metadata: &ArrowReaderMetadata, roots: &[usize]) -> Vec<usize> {
    let schema = metadata.parquet_schema();
    (0..schema.num_columns()).filter(|leaf| roots.contains(&schema.get_column_root_idx(*leaf))).collect()
}

/// Fails if one of the given root columns is encrypted, or compressed in a way that is not read.
pub(crate) fn check_columns(path: &Path, metadata: &ArrowReaderMetadata, roots: &[usize]) -> Result<()> {
    let fault = |found: String, allowed: &str| {
        let (file, allowed) = (path.to_path_buf(), allowed.to_owned());
        Err(DataError::Column { file, found, allowed })
    };
    let encrypted = check_footer(&mut open_input(path)?).map_err(DataError::io(path, "be read"))?.unwrap_or_default();
    for leaf in leaves_of(metadata, roots) {
        let name = metadata.parquet_schema().column(leaf).path().string();
        if encrypted.contains(&leaf) {
            return fault(format!("the column `{name}` is encrypted"), "a column without encryption");
        }
        let mut groups = metadata.metadata().row_groups().iter();
        if groups.any(|group| group.column(leaf).compression() == Compression::LZO) {
            let found = format!("the column `{name}` is compressed with lzo, which this program does not read");
            return fault(found, "zstd, snappy, gzip, brotli, lz4 or no compression");
        }
    }
    Ok(())
}

/// Creates a reader of the given root columns of one row group.
pub(crate) fn read_columns(
    path: &Path,
    metadata: &ArrowReaderMetadata,
    roots: &[usize],
    group: usize,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader> {
    let mut file = open_input(path)?;
    let leaves = leaves_of(metadata, roots);
    let checked = check_group(&mut file, metadata.metadata(), group, &leaves);
    let checked = checked.map_err(DataError::io(path, "be read"))?;
    checked.map_err(|found| DataError::DeclaredSize { file: path.to_path_buf(), found })?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
    let build = || builder.with_projection(mask).with_row_groups(vec![group]).with_batch_size(batch_rows).build();
    let broken = |found: String| DataError::NotParquet { file: path.to_path_buf(), found };
    match catch_panic(build) {
        Ok(Ok(reader)) => Ok(reader),
        Ok(Err(error)) => Err(broken(parquet_error_text(&error))),
        Err(_) => Err(broken("a row group is damaged".to_owned())),
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
        match catch_panic(|| reader.next()) {
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
