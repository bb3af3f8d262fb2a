//! Owns: Parquet files as other programs write them: without checksums, in several encodings and compressions.
//! Must not know: what reads them.

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Files that [`write_foreign_shards`] writes.
pub const FOREIGN_SHARDS: &[&str] = &["lists.parquet", "flat.parquet", "masked.parquet", "dictionary.parquet"];

pub fn write_foreign_shards(to: &Path) {
    std::fs::create_dir(to).unwrap();
    let lists = |seed: i64| -> ArrayRef {
        let row = |row: i64| Some((0..20).map(|at| Some((row * 7 + at * at + seed) % 300)).collect::<Vec<_>>());
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..30).map(row)))
    };
    write(&to.join("lists.parquet"), vec![("input_ids", lists(0))], Compression::SNAPPY);
    let flat: ArrayRef = Arc::new(Int32Array::from_iter_values((0..600).map(|at| at * 31 % 256)));
    write(&to.join("flat.parquet"), vec![("tokens", flat)], Compression::ZSTD(ZstdLevel::default()));
    let ones = |_: i64| Some((0..20).map(|_| Some(1)).collect::<Vec<_>>());
    let mask: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..30).map(ones)));
    let columns = vec![("input_ids", lists(3)), ("attention_mask", mask)];
    write(&to.join("masked.parquet"), columns, Compression::UNCOMPRESSED);
    let keys = Int32Array::from_iter_values((0..600).map(|at| at % 5));
    let values = Arc::new(Int64Array::from(vec![11, 22, 33, 44, 55]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    write(&to.join("dictionary.parquet"), vec![("tokens", dictionary)], Compression::SNAPPY);
}

pub fn write_questions(file: &Path) {
    let question: ArrayRef = Arc::new(StringArray::from(vec!["2 + 2?", "3 + 3?", "True?"]));
    let answer: ArrayRef = Arc::new(StringArray::from(vec![Some("4"), Some("6"), None]));
    write(file, vec![("question", question), ("answer", answer)], Compression::SNAPPY);
}

pub fn write_texts(file: &Path) {
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter((0..40).map(|row| (row % 9 != 0).then(|| format!("text é {row}")))));
    let keep: ArrayRef = Arc::new(BooleanArray::from_iter((0..40).map(|row| Some(row % 2 == 0))));
    write(file, vec![("text", texts), ("keep", keep)], Compression::SNAPPY);
}

fn write(file: &Path, columns: Vec<(&str, ArrayRef)>, compression: Compression) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap();
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(16)).build();
    let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
