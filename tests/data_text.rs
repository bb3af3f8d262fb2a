//! Tests the conversion of text to shards and back, and the verb `data`.

use std::path::{Path, PathBuf};
use std::process::Command;

use coconut_lab::data::{Dataset, RowReader, Split, TextOptions, describe, make_text};

fn options(inputs: &[&Path], out: PathBuf) -> TextOptions {
    TextOptions {
        inputs: inputs.iter().map(|path| path.to_path_buf()).collect(),
        tokenizer: "byte".to_owned(),
        end_token: None,
        out,
        valid_share: 0.01,
        doc_bytes: 4096,
        seed: 1,
        force: false,
    }
}

/// Returns all tokens of a split of a byte dataset as text, with `|` at document ends.
fn split_text(dir: &Path, split: Split) -> String {
    let mut reader = RowReader::open(&Dataset::open(dir).unwrap(), split, 1, 1, 257).unwrap();
    let mut bytes = Vec::new();
    let mut last = None;
    while let Some(batch) = reader.next_batch().unwrap() {
        bytes.push(batch.tokens[0]);
        last = Some(batch.tokens[1]);
    }
    bytes.extend(last);
    String::from_utf8(bytes.into_iter().map(|id| u8::try_from(id).unwrap_or(b'|')).collect()).unwrap()
}

fn run_data_verb(args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_coconut-lab")).arg("data").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn tiny_inputs_of_every_kind_work() {
    let dir = tempfile::tempdir().unwrap();
    let txt = dir.path().join("a.txt");
    let jsonl = dir.path().join("b.jsonl");
    std::fs::write(&txt, "\u{feff}One.\r\n").unwrap();
    std::fs::write(&jsonl, "{\"id\": 1, \"text\": \"Two é.\"}\n\n{\"text\": \"\"}\n{\"text\": \"Three.\"}").unwrap();
    let out = dir.path().join("set");
    let made = make_text(&options(&[&txt, &jsonl], out.clone()), &mut |_| ()).unwrap();
    assert_eq!(made.empty, 1);
    assert_eq!(split_text(&out, Split::Train), "One.\r\n|Two é.|");
    assert_eq!(split_text(&out, Split::Valid), "Three.|");
    let alone = dir.path().join("alone");
    make_text(&options(&[&txt], alone.clone()), &mut |_| ()).unwrap();
    let dataset = Dataset::open(&alone).unwrap();
    assert!(dataset.has_split(Split::Train) && !dataset.has_split(Split::Valid));
    assert_eq!((dataset.vocab_size(), dataset.eos_id()), (Some(257), Some(256)));
}

#[test]
fn compressed_and_whole_json_inputs_work_and_nulls_are_counted() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name)
    };
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let (one, two) = ("{\"text\": \"One.\"}\n", "{\"text\": null}\n{\"text\": \"Two.\"}\n");
    // Several members, several frames, compression that the name hides, arrays, values one after the other.
    let inputs = [
        write("a.jsonl.gz", &[gzip(one), gzip(two)].concat()),
        write("b.jsonl.zst", &[zstd(one), zstd(two)].concat()),
        write("c.jsonl", &gzip(one)),
        write("d.json", "\u{feff} [{\"n\": [1], \"text\": \"One.\"}, \"Two.\", null]".as_bytes()),
        write("e.json", b"{\"text\":\n \"One.\"}\n{\"text\": \"Two.\"}"),
        write("f.txt.gz", &gzip("One.")),
    ];
    let paths: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let out = dir.path().join("set");
    let made = make_text(&TextOptions { valid_share: 0.0, ..options(&paths, out.clone()) }, &mut |_| ()).unwrap();
    assert_eq!((made.nulls, made.empty), (3, 0));
    assert_eq!(split_text(&out, Split::Train), "One.|Two.|".repeat(2) + "One.|" + &"One.|Two.|".repeat(2) + "One.|");
    let cut = gzip(one);
    let cases = [
        (write("g.jsonl.gz", &cut[..cut.len() - 4]), "g.jsonl.gz: cannot be read"),
        (write("h.json", b"[{\"text\": \"a\"},\n {\"body\": 1}]"), "h.json: line 2: missing field `text`"),
        (write("i.json", b"{\"data\": [{\"text\": \"a\"}]}"), "missing field `text`"),
        (write("j.jsonl", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (write("k.txt", b"\xff\xfea\0"), "UTF-16"),
    ];
    for (input, words) in cases {
        let out = dir.path().join("failed");
        let error = make_text(&options(&[&input], out.clone()), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(words) && !out.exists(), "{error}");
    }
}

#[test]
fn the_held_out_share_depends_on_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("many.jsonl");
    let lines: Vec<String> = (0..2000).map(|number| format!("{{\"text\": \"document {number}\"}}")).collect();
    std::fs::write(&input, lines.join("\n")).unwrap();
    let make = |name: &str, seed: u64, valid_share: f64| {
        let out = dir.path().join(name);
        let options = TextOptions { seed, valid_share, ..options(&[&input], out.clone()) };
        make_text(&options, &mut |_| ()).unwrap();
        let dataset = Dataset::open(&out).unwrap();
        assert_eq!(dataset.rows(Split::Train) + dataset.rows(Split::Valid), 2000);
        (dataset.rows(Split::Valid), if valid_share > 0.0 { split_text(&out, Split::Valid) } else { String::new() })
    };
    let (held_out, text) = make("a", 1, 0.1);
    assert!((150..250).contains(&held_out), "{held_out}");
    assert!(make("b", 1, 0.1).1 == text && make("c", 2, 0.1).1 != text);
    assert_eq!(make("d", 1, 0.0).0, 0);
    assert_eq!(make("e", 1, 1e-9).0, 1);
    assert!(make("f", 1, 0.999_999).0 < 2000);
}

#[test]
fn real_texts_round_trip() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/text");
    if !shared.is_dir() {
        return println!("skipped: {} is absent", shared.display());
    }
    let dir = tempfile::tempdir().unwrap();
    let txt = shared.join("tinyshakespeare.txt");
    let out = dir.path().join("plain");
    make_text(&TextOptions { valid_share: 0.0, ..options(&[&txt], out.clone()) }, &mut |_| ()).unwrap();
    let text = split_text(&out, Split::Train).replace('|', "");
    assert!(text == std::fs::read_to_string(&txt).unwrap());
    let inputs = [shared.join("state-union.jsonl"), shared.join("wikitext2-valid.parquet")];
    let out = dir.path().join("mixed");
    let gpt2 = TextOptions { tokenizer: "gpt2".to_owned(), ..options(&[&inputs[0], &inputs[1]], out.clone()) };
    let mut last = (0, 0);
    make_text(&gpt2, &mut |progress| {
        assert!(progress.done >= last.0 && progress.done <= progress.total, "{progress:?}");
        last = (progress.done, progress.total);
    })
    .unwrap();
    assert_eq!(last.0, last.1);
    let summary = describe(&out, None, &mut |_| ()).unwrap();
    assert_eq!(summary.splits.iter().map(|split| split.documents).sum::<u64>(), 65 + 60);
    assert_eq!(summary.vocab_size, Some(50257));
}

#[test]
fn invalid_inputs_are_reported_with_file_and_line_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name)
    };
    let cases = [
        (write("broken.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n"), "broken.jsonl: line 2"),
        (write("other.jsonl", b"{\"body\": \"a\"}\n"), "other.jsonl: line 1: missing field `text`"),
        (write("latin.txt", b"fine\ncaf\xe9 au lait\n"), "latin.txt: line 2: bytes that are not UTF-8, 3 bytes"),
        (write("empty.txt", b""), "empty.txt: no text"),
        (write("blank.txt", b"\n \n"), "blank.txt: no text"),
        (write("a.pdf", b"x"), "a.pdf; allowed: files that end in .txt"),
        (write("a.parquet", b"PAR1"), "a.parquet: not a readable Parquet file"),
        (dir.path().to_path_buf(), "(a folder)"),
        (dir.path().join("missing.txt"), "missing.txt: cannot be opened"),
    ];
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    for (input, expected) in cases {
        let out = dir.path().join("set");
        let error = make_text(&options(&[&input], out), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "no `{expected}` in: {error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before, "{expected}: a file is left");
    }
}

#[test]
fn the_verbs_work_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("prosqa").display().to_string();
    let small = ["prosqa", "--out", &out, "--train", "50", "--valid", "5", "--test", "5"];
    let (ok, stdout, stderr) = run_data_verb(&small);
    assert!(ok && stdout.contains("shortest path") && stderr.is_empty(), "{stdout}{stderr}");
    let (ok, _, stderr) = run_data_verb(&small);
    assert!(!ok && stderr.contains("the folder is not empty") && stderr.contains("--force"), "{stderr}");
    assert!(run_data_verb(&[&small[..], &["--force"]].concat()).0);
    let (ok, stdout, _) = run_data_verb(&["inspect", "--json", &out]);
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(ok && summary[0]["splits"][0]["documents"] == 50 && summary[0]["vocab_size"] == 101, "{stdout}");
    let shard = format!("{out}/valid-00000.parquet");
    let (ok, stdout, _) = run_data_verb(&["inspect", &shard]);
    assert!(ok && stdout.contains("5 documents") && stdout.contains("coconut.vocab_size = 101"), "{stdout}");
    let (ok, _, stderr) = run_data_verb(&["inspect", "--vocab", "50", &shard]);
    assert!(!ok && stderr.contains("ids 0 to 49"), "{stderr}");
    let (ok, _, stderr) = run_data_verb(&["text", "--in", "none.txt", "--tokenizer", "byte", "--out", &out]);
    assert!(!ok && stderr.contains("none.txt: cannot be opened"), "{stderr}");
}

#[test]
fn the_end_token_is_the_named_one_else_that_of_the_tokenizers_folder() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("a.txt");
    std::fs::write(&text, "some text").unwrap();
    let tokenizer = dir.path().join("tokenizer.json");
    coconut_lab::data::Tokenizer::byte().unwrap().save(&tokenizer).unwrap();
    std::fs::write(dir.path().join("config.json"), r#"{"eos_token_id": [10, 13]}"#).unwrap();
    for (end_token, expected) in [(None, 10), (Some("!"), 33), (Some("256"), 256)] {
        let options = TextOptions {
            tokenizer: tokenizer.display().to_string(),
            end_token: end_token.map(str::to_owned),
            force: true,
            ..options(&[&text], dir.path().join("data"))
        };
        let made = make_text(&options, &mut |_| ()).unwrap();
        assert!(made.end_token.unwrap().contains(&format!("id {expected}")));
        assert_eq!(Dataset::open(&options.out).unwrap().eos_id(), Some(expected));
    }
}
