//! Tests shards of other programs: every valid layout gives the same rows, every invalid file one clear error.

use std::path::{Path, PathBuf};

use coconut_lab::data::{Dataset, Loader, LoaderOptions, Split, StreamPosition, describe};

/// Returns the folder of shards that other programs wrote, if it is there.
fn shards_dir() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/shards");
    if !dir.is_dir() {
        println!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir)
}

fn options(vocab_size: usize) -> LoaderOptions {
    LoaderOptions { batch_size: 2, seq_len: 32, seed: 0, shuffle: false, repeat: false, vocab_size, prefetch: 2 }
}

/// Returns all tokens of a file in order, and whether each begins a document, up to the last complete batch.
fn read_stream(path: &Path) -> (Vec<i32>, Vec<bool>) {
    let dataset = Dataset::open(path).unwrap();
    let mut loader = Loader::open(&dataset, Split::Train, options(512), StreamPosition::default()).unwrap();
    let (mut tokens, mut starts) = (Vec::new(), Vec::new());
    while let Some(batch) = loader.next_batch().unwrap() {
        for row in 0..2 {
            tokens.extend(&batch.tokens[row * 33..row * 33 + 32]);
            starts.extend(&batch.doc_start[row * 33..row * 33 + 32]);
        }
    }
    (tokens, starts)
}

#[test]
fn every_list_layout_gives_the_same_rows() {
    let Some(dir) = shards_dir() else { return };
    let expected = read_stream(&dir.join("good-list-int32.parquet"));
    assert_eq!(expected.0.len(), (60352 - 1) / 64 * 64);
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
    let cases: [(&str, &[&str]); 12] = [
        ("bad-all-empty", &["0 tokens", "at least 2"]),
        ("bad-corrupt-page", &["row 0 (counted from 0)", "0 to 511"]),
        ("bad-empty-file", &["empty (0 bytes)", "whole Parquet file"]),
        ("bad-float-ids", &["input_ids", "float", "integers"]),
        ("bad-id-over-vocab", &["row 1 (counted from 0)", "700000", "index 1", "0 to 511"]),
        ("bad-negative-id", &["row 1 (counted from 0)", "-5", "0 to 511"]),
        ("bad-no-token-column", &["text", "input_ids"]),
        ("bad-not-parquet", &["not a readable Parquet file"]),
        ("bad-null-id", &["row 0 (counted from 0)", "null token id", "index 1"]),
        ("bad-null-row", &["row 1 (counted from 0)", "null", "list of token ids"]),
        ("bad-truncated", &["not a readable Parquet file"]),
        ("bad-zero-rows", &["no rows", "at least one row"]),
    ];
    let files = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    let bad = files.filter(|name| name.to_string_lossy().starts_with("bad-")).count();
    assert_eq!(bad, cases.len(), "a bad file has no case here");
    for (name, words) in cases {
        let path = dir.join(format!("{name}.parquet"));
        for repeat in [false, true] {
            let message = first_error(&path, LoaderOptions { repeat, ..options(512) });
            for word in words.iter().chain([&path.to_str().unwrap()]) {
                assert!(message.contains(word), "{name}: no `{word}` in: {message}");
            }
        }
        assert!(describe(&path, Some(512), &mut |_| ()).is_err(), "{name}");
    }
}

/// Reads a file to its end and returns the error, which must occur.
fn first_error(path: &Path, options: LoaderOptions) -> String {
    let dataset = match Dataset::open(path) {
        Ok(dataset) => dataset,
        Err(error) => return error.to_string(),
    };
    let mut loader = Loader::open(&dataset, Split::Train, options, StreamPosition::default()).unwrap();
    for _ in 0..10_000 {
        match loader.next_batch() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("{} was read without an error", path.display()),
            Err(error) => {
                assert!(loader.next_batch().unwrap().is_none(), "the stream ends after an error");
                return error.to_string();
            }
        }
    }
    panic!("{} does not end", path.display());
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
        let Ok(dataset) = Dataset::open(&path) else {
            errors += 1;
            continue;
        };
        let Ok(mut loader) = Loader::open(&dataset, Split::Train, options(512), StreamPosition::default()) else {
            errors += 1;
            continue;
        };
        loop {
            match loader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains("damaged.parquet"), "{error}");
                    break;
                }
            }
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
    let missing = Loader::open(&dataset, Split::Valid, options(512), StreamPosition::default()).err().unwrap();
    assert!(missing.to_string().contains("no valid split; found: only train"), "{missing}");
    std::fs::copy(&good, tmp.path().join("train-0.parquet")).unwrap();
    std::fs::copy(&good, tmp.path().join("validation-0.parquet")).unwrap();
    let dataset = Dataset::open(tmp.path()).unwrap();
    assert_eq!((dataset.rows(Split::Train), dataset.rows(Split::Valid)), (300, 300));
}
