//! Tests the loader: packing, order, the end of the data, and exact continuation from a stored position.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch};
use coconut_lab::data::{Batch, Dataset, Loader, LoaderOptions, RowReader, Split, StreamPosition};
use parquet::arrow::ArrowWriter;

/// Writes documents of the given lengths with ascending ids, `group` rows per row group.
fn write_shard(path: &Path, first_id: i32, lengths: &[usize], group: usize) {
    let mut id = first_id;
    let mut writer: Option<ArrowWriter<std::fs::File>> = None;
    for rows in lengths.chunks(group) {
        let mut lists = ListBuilder::new(Int32Builder::new());
        for length in rows {
            (0..*length).for_each(|_| {
                lists.values().append_value(id);
                id += 1;
            });
            lists.append(true);
        }
        let column: ArrayRef = Arc::new(lists.finish());
        let batch = RecordBatch::try_from_iter([("input_ids", column)]).unwrap();
        let writer = writer.get_or_insert_with(|| {
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap()
        });
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
    }
    writer.unwrap().close().unwrap();
}

/// Makes two shards with five row groups and some empty documents: ids 0..60 and 60..100.
fn small_dataset() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    write_shard(&dir.path().join("train-0.parquet"), 0, &[7, 0, 13, 1, 19, 20], 2);
    write_shard(&dir.path().join("train-1.parquet"), 60, &[0, 0, 5, 35], 2);
    let path = dir.path().to_path_buf();
    (dir, path)
}

fn options() -> LoaderOptions {
    LoaderOptions { batch_size: 2, seq_len: 8, seed: 3, shuffle: true, vocab_size: 100, prefetch: 2 }
}

fn open(path: &Path, options: LoaderOptions, start: StreamPosition) -> Loader {
    Loader::open(&Dataset::open(path).unwrap(), Split::Train, options, start).unwrap()
}

fn batches(path: &Path, options: LoaderOptions, start: StreamPosition, count: usize) -> Vec<Batch> {
    let mut loader = open(path, options, start);
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn windows_share_one_token_and_mark_document_starts() {
    let (_dir, path) = small_dataset();
    let plain = LoaderOptions { shuffle: false, ..options() };
    let got = batches(&path, plain, StreamPosition::default(), 2);
    let window = |from: i32| (from..from + 9).collect::<Vec<i32>>();
    assert_eq!(got[0].tokens, [window(0), window(8)].concat());
    assert_eq!(got[1].tokens, [window(16), window(24)].concat());
    let starts = |batch: &Batch| {
        let marked = batch.tokens.iter().zip(&batch.doc_start).filter(|(_, start)| **start);
        marked.map(|(id, _)| *id).collect::<Vec<i32>>()
    };
    assert_eq!(starts(&got[0]), [0, 7]);
    // Token 20 begins the document that follows the 13 tokens from 7 on; 21 begins the next one.
    assert_eq!(starts(&got[1]), [20, 21]);
}

#[test]
fn an_epoch_has_every_token_once_and_the_next_has_another_order() {
    let (_dir, path) = small_dataset();
    let single = LoaderOptions { batch_size: 1, seq_len: 1, ..options() };
    let got = batches(&path, single, StreamPosition::default(), 200);
    let epoch = |number: u64| got.iter().filter(move |batch| batch.epoch == number).map(|batch| batch.tokens[0]);
    let (first, second): (Vec<i32>, Vec<i32>) = (epoch(0).collect(), epoch(1).collect());
    assert_ne!(first, second);
    for mut ids in [first, second] {
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<i32>>());
    }
}

#[test]
fn a_stored_position_continues_with_the_same_batches() {
    let (_dir, path) = small_dataset();
    for (batch, seq_len) in [(2, 8), (1, 1), (3, 5), (4, 40)] {
        let options = LoaderOptions { batch_size: batch, seq_len, ..options() };
        let whole = batches(&path, options.clone(), StreamPosition::default(), 40);
        for k in [0, 1, 2, 5, 11, 19, 30] {
            let stored = serde_json::to_string(&whole[k].next_position).unwrap();
            let start = serde_json::from_str(&stored).unwrap();
            let rest = batches(&path, options.clone(), start, 39 - k);
            assert!(rest == whole[k + 1..], "B {batch}, T {seq_len}, after batch {k}");
        }
        assert!(whole[39].epoch > 0 || batch * seq_len == 1);
    }
}

#[test]
fn the_order_depends_only_on_the_seed() {
    let (_dir, path) = small_dataset();
    let with = |seed: u64, prefetch: usize| {
        batches(&path, LoaderOptions { seed, prefetch, ..options() }, StreamPosition::default(), 20)
    };
    assert!(with(3, 0) == with(3, 7));
    assert!(with(3, 2) != with(4, 2));
}

#[test]
fn a_split_smaller_than_a_batch_is_repeated() {
    let (_dir, path) = small_dataset();
    let large = LoaderOptions { shuffle: false, seq_len: 70, ..options() };
    let got = batches(&path, large, StreamPosition::default(), 2);
    let stream = |from: i32| (from..from + 71).map(|at| at % 100).collect::<Vec<i32>>();
    assert_eq!(got[0].tokens, [stream(0), stream(70)].concat());
    assert_eq!(got[1].tokens, [stream(140), stream(210)].concat());
    assert_eq!((got[0].epoch, got[1].epoch), (0, 1));
}

#[test]
fn too_few_tokens_are_an_error_and_not_an_endless_loop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.parquet");
    write_shard(&path, 0, &[0, 1, 0], 1);
    let error = open(&path, options(), StreamPosition::default()).next_batch().unwrap_err();
    assert!(error.to_string().contains("1 tokens in all rows"), "{error}");
}

#[test]
fn invalid_options_and_positions_are_refused_at_once() {
    let (_dir, path) = small_dataset();
    let dataset = Dataset::open(&path).unwrap();
    let refuse = |options: LoaderOptions, start: StreamPosition| {
        Loader::open(&dataset, Split::Train, options, start).err().unwrap().to_string()
    };
    assert!(refuse(LoaderOptions { batch_size: 0, ..options() }, StreamPosition::default()).contains("batch = 0"));
    assert!(refuse(LoaderOptions { seq_len: 0, ..options() }, StreamPosition::default()).contains("seq_len = 0"));
    for start in [
        StreamPosition { group: 6, ..StreamPosition::default() },
        StreamPosition { document: 3, ..StreamPosition::default() },
        StreamPosition { token: 99, ..StreamPosition::default() },
        StreamPosition { group: 5, token: 1, ..StreamPosition::default() },
    ] {
        let message = refuse(options(), start);
        assert!(message.contains("no such position"), "{message}");
    }
}

#[test]
fn dropping_a_loader_ends_its_thread() {
    let (_dir, path) = small_dataset();
    for prefetch in [0, 1, 100] {
        let began = std::time::Instant::now();
        let mut loader = open(&path, LoaderOptions { prefetch, ..options() }, StreamPosition::default());
        loader.next_batch().unwrap();
        drop(loader);
        assert!(began.elapsed().as_secs() < 5);
    }
}

#[test]
fn an_id_outside_the_vocabulary_is_reported_with_its_row() {
    let (_dir, path) = small_dataset();
    let narrow = LoaderOptions { vocab_size: 70, shuffle: false, ..options() };
    let mut loader = open(&path, narrow, StreamPosition::default());
    let error = loop {
        if let Err(error) = loader.next_batch() {
            break error.to_string();
        }
    };
    assert!(error.contains("train-1.parquet: row 3 (counted from 0): token id 70 at index 5"), "{error}");
}

/// Returns the rows of the reader for measuring, as (inputs, targets).
fn measured_rows(path: &Path, batch_size: usize, seq_len: usize) -> Vec<(Vec<i32>, Vec<i32>)> {
    let mut reader = RowReader::open(&Dataset::open(path).unwrap(), Split::Train, batch_size, seq_len, 100).unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        assert!(batch.batch_size <= batch_size && batch.tokens.len() == batch.batch_size * (batch.seq_len + 1));
        assert_eq!(batch.tokens.len(), batch.doc_start.len());
        rows.extend(
            batch.tokens.chunks(batch.seq_len + 1).map(|row| (row[..batch.seq_len].to_vec(), row[1..].to_vec())),
        );
    }
    rows
}

#[test]
fn rows_for_measuring_hold_every_target_once_for_any_batch_size() {
    let (_dir, path) = small_dataset();
    let stream: Vec<i32> = (0..100).collect();
    for seq_len in [1, 7, 8, 9, 33, 98, 99, 100, 1000] {
        let rows = measured_rows(&path, 1, seq_len);
        let (inputs, targets): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
        assert_eq!(targets.concat(), stream[1..], "{seq_len}");
        assert_eq!(inputs.concat(), stream[..99], "{seq_len}");
        assert!(targets[..targets.len() - 1].iter().all(|row| row.len() == seq_len));
        for batch_size in [2, 3, 5, 64] {
            assert_eq!(measured_rows(&path, batch_size, seq_len), rows, "{batch_size} rows of {seq_len}");
        }
        let counts = RowReader::open(&Dataset::open(&path).unwrap(), Split::Train, 3, seq_len, 100).unwrap().count();
        let counts = counts.unwrap();
        assert_eq!((counts.rows, counts.targets), (rows.len(), 99));
    }
    write_shard(&path.join("train-0.parquet"), 0, &[1], 1);
    std::fs::remove_file(path.join("train-1.parquet")).unwrap();
    let error = RowReader::open(&Dataset::open(&path).unwrap(), Split::Train, 2, 8, 100).err().unwrap().to_string();
    assert!(error.contains("1 tokens in all rows of the train split"), "{error}");
}
