//! Tests shards of other programs: every valid layout gives the same rows, every invalid file one clear error.

use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, Int32Array, Int32Builder, ListBuilder, NullArray, RecordBatch, StringArray};
use coconut_lab::data::{
    DataError, Dataset, Loader, LoaderOptions, RowReader, Split, StreamPosition, TextOptions, describe, make_text,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression};
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Returns the folder of shards that other programs wrote, if it is there.
fn shards_dir() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/shards");
    if !dir.is_dir() {
        println!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir)
}

const OPTIONS: LoaderOptions =
    LoaderOptions { batch_size: 2, seq_len: 32, seed: 0, shuffle: false, vocab_size: 512, prefetch: 2 };

/// Returns all tokens of a file but the last, in order, and whether each begins a document.
fn read_stream(path: &Path) -> (Vec<i32>, Vec<bool>) {
    let mut reader = RowReader::open(&Dataset::open(path).unwrap(), Split::Train, 2, 32, 512).unwrap();
    let (mut tokens, mut starts) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.next_batch().unwrap() {
        tokens.extend(batch.tokens.chunks(batch.seq_len + 1).flat_map(|row| &row[..batch.seq_len]));
        starts.extend(batch.doc_start.chunks(batch.seq_len + 1).flat_map(|row| &row[..batch.seq_len]));
    }
    (tokens, starts)
}

#[test]
fn every_list_layout_gives_the_same_rows() {
    let Some(dir) = shards_dir() else { return };
    let expected = read_stream(&dir.join("good-list-int32.parquet"));
    assert_eq!(expected.0.len(), 60352 - 1);
    for name in ["good-largelist-int64", "good-list-uint16-nodict", "good-tokens-uint32"] {
        let path = dir.join(format!("{name}.parquet"));
        assert_eq!(Dataset::open(&path).unwrap().rows(Split::Train), 300, "{name}");
        assert!(read_stream(&path) == expected, "{name}");
    }
    // One token per row: the tokens are the same, and each row group is a document.
    let flat = read_stream(&dir.join("good-flat-uint16.parquet"));
    assert!(flat.0 == expected.0);
    assert_eq!(flat.1.iter().filter(|start| **start).count(), 7);
    assert!(flat.1[0]);
}

#[test]
fn fixed_size_rows_are_prefixes_of_the_same_rows() {
    let Some(dir) = shards_dir() else { return };
    let expected = read_stream(&dir.join("good-list-int32.parquet"));
    let (tokens, starts) = read_stream(&dir.join("good-fixedsizelist64.parquet"));
    let document_starts: Vec<usize> = (0..expected.1.len()).filter(|at| expected.1[*at]).collect();
    let mut seen = 0;
    for (row, at) in document_starts.windows(2).map(|pair| pair[0]..pair[1]).enumerate() {
        if (row + 1) * 64 > tokens.len() {
            break;
        }
        let fixed = &tokens[row * 64..(row + 1) * 64];
        let length = at.len().min(64);
        assert_eq!(fixed[..length], expected.0[at.start..at.start + length]);
        assert!(fixed[length..].iter().all(|id| *id == 0));
        assert!(starts[row * 64]);
        seen += 1;
    }
    assert!(seen > 290);
}

#[test]
fn every_invalid_file_gives_one_clear_error() {
    let Some(dir) = shards_dir() else { return };
    // Each file, and the texts that its error must contain.
    let cases: [(&str, &[&str]); 11] = [
        ("bad-all-empty", &["0 tokens", "at least 2"]),
        ("bad-corrupt-page", &["row 0 (counted from 0)", "0 to 511"]),
        ("bad-empty-file", &["empty (0 bytes)", "whole Parquet file"]),
        ("bad-float-ids", &["input_ids", "float", "integers"]),
        ("bad-id-over-vocab", &["row 1 (counted from 0)", "700000", "index 1", "0 to 511"]),
        ("bad-negative-id", &["row 1 (counted from 0)", "-5", "0 to 511"]),
        ("bad-no-token-column", &["text", "input_ids"]),
        ("bad-not-parquet", &["not a readable Parquet file"]),
        ("bad-null-id", &["row 0 (counted from 0)", "null token id", "index 1"]),
        ("bad-truncated", &["not a readable Parquet file"]),
        ("bad-zero-rows", &["no rows", "at least one row"]),
    ];
    let files = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    let bad = files.filter(|name| name.to_string_lossy().starts_with("bad-")).count();
    // A null row is a document without tokens, and `data inspect` says so.
    let null_row = describe(&dir.join("bad-null-row.parquet"), Some(512), &mut |_| ()).unwrap();
    assert_eq!(null_row.splits[0].counts.null_rows, 1);
    assert!(null_row.to_string().contains("null rows, which are documents without tokens: 1"));
    assert_eq!(bad, cases.len() + 1, "a bad file has no case here");
    for (name, words) in cases {
        let path = dir.join(format!("{name}.parquet"));
        for message in [read_all(&path), load_all(&path)].map(Result::unwrap_err) {
            for word in words.iter().chain([&path.to_str().unwrap()]) {
                assert!(message.contains(word), "{name}: no `{word}` in: {message}");
            }
        }
        assert!(describe(&path, Some(512), &mut |_| ()).is_err(), "{name}");
    }
}

/// Reads every row of a file as a measurement does.
fn read_all(path: &Path) -> Result<usize, String> {
    let text = |error: DataError| error.to_string();
    let dataset = Dataset::open(path).map_err(text)?;
    let reader = RowReader::open(&dataset, Split::Train, 2, 32, 512).map_err(text)?;
    Ok(reader.count().map_err(text)?.rows)
}

/// Reads an epoch of a file as training does.
fn load_all(path: &Path) -> Result<usize, String> {
    let text = |error: DataError| error.to_string();
    let dataset = Dataset::open(path).map_err(text)?;
    let mut loader = Loader::open(&dataset, Split::Train, OPTIONS, StreamPosition::default()).map_err(text)?;
    for _ in 0..10_000 {
        match loader.next_batch() {
            Ok(batch) if batch.epoch > 0 => return Ok(batch.epoch as usize),
            Ok(_) => {}
            Err(error) => {
                assert!(loader.next_batch().is_err(), "no batch follows an error");
                return Err(error.to_string());
            }
        }
    }
    panic!("{}: the epoch does not end", path.display());
}

/// Damages eight bytes of a valid file: the result may be an error or a batch, but never a panic or an endless wait.
#[test]
fn damaged_files_never_panic() {
    let Some(dir) = shards_dir() else { return };
    let valid_bytes = std::fs::read(dir.join("good-list-int32.parquet")).unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("damaged.parquet");
    let mut errors = 0;
    for number in 0..120_usize {
        let mut bytes = valid_bytes.clone();
        // Half of the damage goes to the footer, the last 4000 bytes.
        let region = if number % 2 == 0 { bytes.len() } else { 4000 };
        let at = bytes.len() - 1 - (number * 7919 * 31) % region;
        let damaged = at..(at + 8).min(bytes.len());
        bytes[damaged].iter_mut().for_each(|byte| *byte ^= 0x5a << (number % 3));
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = load_all(&path) {
            errors += 1;
            assert!(error.contains("damaged.parquet"), "{error}");
        }
    }
    // These Parquet pages have no checksum, so damage that decodes to ids of the vocabulary is not detected.
    assert!(errors > 15, "only {errors} of 120 damaged files gave an error");
}

#[test]
fn foreign_folders_are_split_by_file_name_or_are_all_train() {
    let Some(dir) = shards_dir() else { return };
    let tmp = tempfile::tempdir().unwrap();
    let good = dir.join("good-list-int32.parquet");
    std::fs::copy(&good, tmp.path().join("a.parquet")).unwrap();
    let dataset = Dataset::open(tmp.path()).unwrap();
    assert!(dataset.has_split(Split::Train) && !dataset.has_split(Split::Valid));
    assert_eq!((dataset.vocab_size(), dataset.eos_id()), (None, None));
    let missing = Loader::open(&dataset, Split::Valid, OPTIONS, StreamPosition::default()).err().unwrap();
    assert!(missing.to_string().contains("no valid split; found: only train"), "{missing}");
    std::fs::copy(&good, tmp.path().join("train-0.parquet")).unwrap();
    std::fs::copy(&good, tmp.path().join("validation-0.parquet")).unwrap();
    let dataset = Dataset::open(tmp.path()).unwrap();
    assert_eq!((dataset.rows(Split::Train), dataset.rows(Split::Valid)), (300, 300));
}

/// Writes a file as other programs do, with the given columns.
fn write_foreign(path: &Path, columns: Vec<(&str, ArrayRef)>, compression: Compression) {
    let nullable = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Makes a column of lists; `None` is a null row.
fn lists(rows: &[Option<&[i32]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new());
    for row in rows {
        row.iter().for_each(|ids| builder.values().append_slice(ids));
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

#[test]
fn padding_is_dropped_and_labels_of_minus_100_are_read_but_are_no_targets() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.parquet");
    let rows = |row: &'static [i32]| lists(&[Some(row), Some(row), None]);
    let padded: &[i32] = &[5, 6, 7, 0, 0];
    let columns = |labels: &'static [i32]| {
        vec![
            ("labels", rows(labels)),
            ("attention_mask", rows(&[1, 1, 1, 0, 0])),
            ("input_ids", lists(&[Some(padded), Some(&[0, 0, 0, 6, 7]), None])),
        ]
    };
    write_foreign(&path, columns(&[-100, 6, 7, -100, -100]), Compression::SNAPPY);
    let counts = Dataset::open(&path).unwrap().check_split(Split::Train, 512, &mut |_| ()).unwrap();
    assert_eq!((counts.padding_tokens, counts.ignored_targets, counts.null_rows), (4, 0, 1));
    let description = describe(&path, None, &mut |_| ()).unwrap();
    assert_eq!((description.splits[0].tokens, description.splits[0].samples[0].head.ids.clone()), (6, vec![5, 6, 7]));
    assert!(description.to_string().contains("dropped as padding (`attention_mask` is 0): 4"));
    write_foreign(&path, columns(&[-100, -100, 7, -100, -100]), Compression::SNAPPY);
    assert!(describe(&path, None, &mut |_| ()).unwrap().to_string().contains("(`labels` is -100): 2"));
    // The second row of labels belongs to 0, 0, 0; the masked tokens behind them are gone.
    let mut reader = RowReader::open(&Dataset::open(&path).unwrap(), Split::Train, 1, 5, 512).unwrap();
    let batch = reader.next_batch().unwrap().unwrap();
    assert_eq!((batch.tokens, batch.ignored), (vec![5, 6, 7, 0, 0, 0], vec![true, true, false, true, true, false]));
    let reader = RowReader::open(&Dataset::open(&path).unwrap(), Split::Train, 1, 5, 512).unwrap();
    assert_eq!(reader.count().unwrap().targets, 2);
    let mask = vec![("attention_mask", lists(&[Some(&[1])])), ("input_ids", lists(&[Some(&[1, 2])]))];
    write_foreign(&path, mask, Compression::SNAPPY);
    let error = describe(&path, None, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("row 0") && error.contains("`attention_mask` has 1 values for 2 tokens"), "{error}");
}

#[test]
fn columns_of_other_types_are_read() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.parquet");
    let tokens = |path: &Path| describe(path, None, &mut |_| ()).map(|found| found.splits[0].tokens);
    // Dictionary values, flat; the file is compressed with brotli.
    let plain: ArrayRef = Arc::new(Int32Array::from(vec![5, 6, 5, 7]));
    let kind = arrow::datatypes::DataType::Int32;
    let dictionary = arrow::datatypes::DataType::Dictionary(Box::new(kind.clone()), Box::new(kind));
    let flat = arrow::compute::cast(&plain, &dictionary).unwrap();
    write_foreign(&path, vec![("tokens", flat)], Compression::BROTLI(BrotliLevel::default()));
    assert_eq!(tokens(&path).unwrap(), 4);
    // A shard of nothing but empty lists has no type for its items.
    let empty = arrow::array::ListArray::new(
        Arc::new(arrow::datatypes::Field::new("item", arrow::datatypes::DataType::Null, true)),
        arrow::buffer::OffsetBuffer::new(vec![0, 0, 0].into()),
        Arc::new(NullArray::new(0)),
        None,
    );
    let folder = tmp.path().join("set");
    std::fs::create_dir(&folder).unwrap();
    write_foreign(&folder.join("train-0.parquet"), vec![("input_ids", Arc::new(empty))], Compression::SNAPPY);
    write_foreign(&folder.join("train-1.parquet"), vec![("input_ids", lists(&[Some(&[1, 2])]))], Compression::SNAPPY);
    let nulls: ArrayRef = Arc::new(NullArray::new(3));
    write_foreign(&folder.join("train-2.parquet"), vec![("input_ids", nulls)], Compression::SNAPPY);
    assert_eq!(tokens(&folder).unwrap(), 2);
    // A flat column of numbers beside a text is a count.
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    write_foreign(&path, vec![("text", text), ("tokens", plain)], Compression::SNAPPY);
    assert!(tokens(&path).unwrap_err().to_string().contains("count of tokens"));
}

#[test]
fn files_of_other_kinds_are_called_what_they_are() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.parquet");
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
    let cases =
        [(lfs, "git lfs pull"), ("<!DOCTYPE html><html></html>", "web page"), ("PAREabcdefghPARE", "encrypted")];
    for (bytes, words) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = describe(&path, None, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("corrupt"), "{error}");
    }
    #[cfg(unix)]
    {
        let pipe = tmp.path().join("set/train-0.parquet");
        std::fs::create_dir(tmp.path().join("set")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Dataset::open(&tmp.path().join("set")).err().unwrap().to_string().contains("pipe"));
    }
}

/// Every changed bit of a shard of ours is found, by `dataset.json` or, without it, by the checksums in the file.
#[test]
fn changed_bytes_of_own_shards_are_found() {
    let tmp = tempfile::tempdir().unwrap();
    let (input, out) = (tmp.path().join("a.txt"), tmp.path().join("set"));
    std::fs::write(&input, "The quick brown fox jumps over the lazy dog.\n".repeat(200)).unwrap();
    let options = TextOptions {
        inputs: vec![input],
        tokenizer: "byte".to_owned(),
        end_token: None,
        out: out.clone(),
        valid_share: 0.0,
        doc_bytes: 512,
        seed: 1,
        force: false,
    };
    make_text(&options, &mut |_| ()).unwrap();
    describe(&out, None, &mut |_| ()).unwrap();
    let shard = out.join("train-00000.parquet");
    let whole = std::fs::read(&shard).unwrap();
    for hashes in [true, false] {
        if !hashes {
            std::fs::remove_file(out.join("dataset.json")).unwrap();
        }
        for at in (4..whole.len() - 8).step_by(61) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&shard, bytes).unwrap();
            let error = describe(&out, None, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains("train-00000.parquet"), "{error}");
        }
        std::fs::write(&shard, &whole).unwrap();
    }
    describe(&out, None, &mut |_| ()).unwrap();
}
