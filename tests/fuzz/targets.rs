//! Owns: what is mutated: for each reader of files, the original files, the call, and what must stay equal.
//! Must not know: how files are mutated, processes.
//! Invariant: the original of each target is read without an error.

#[path = "parquet_files.rs"]
mod parquet_files;

use crate::common::{TINY, lab, runs, stderr, temp_dir_with_recipe};
use coconut_lab::config;
use coconut_lab::data::tokenizer::{Tokenizer, generation_end_tokens};
use coconut_lab::data::{Dataset, RowReader, Split, TextOptions, make_text, read_questions};
use coconut_lab::model::hf::{self, Companions};
use coconut_lab::policy::switch::Policy;
use coconut_lab::record::check::{CheckedItem, check_record};
use coconut_lab::record::reader::current_events;
use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::record::run_list::read_row;
use coconut_lab::record::summary::LastValues;
use coconut_lab::record::{segments, wal};
use coconut_lab::train::check_checkpoints;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// What a reader found, as texts that can be compared: tokens, rows.
type Items = Result<Vec<String>, String>;

pub struct Target {
    pub name: &'static str,
    /// Makes the folder of original files.
    pub prepare: fn(&Path),
    /// The files of the folder that are mutated, one per input in turn.
    pub files: &'static [&'static str],
    /// Reads the folder as the program does.
    pub read: fn(&Path) -> Items,
    pub compare: Comparison,
}

/// How what is read of a mutated file relates to what is read of the original.
#[derive(Clone, Copy)]
pub enum Comparison {
    /// The format has no checksum: any result is allowed.
    None,
    Equal,
    /// Rows may be lost, none may change.
    Subset,
}

impl Comparison {
    /// Says what differs, if it may not.
    pub fn difference(self, expected: &[String], found: &[String]) -> Option<String> {
        match self {
            Self::Equal if expected != found => Some("other numbers, without an error".to_owned()),
            Self::Subset => found.iter().find(|item| !expected.contains(item)).map(|item| format!("a new row: {item}")),
            _ => None,
        }
    }
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "shard",
        prepare: prepare_dataset,
        files: &["train-00000.parquet"],
        read: read_dataset,
        compare: Comparison::Equal,
    },
    Target {
        name: "foreign-shard",
        prepare: parquet_files::write_foreign_shards,
        files: parquet_files::FOREIGN_SHARDS,
        read: read_foreign_shards,
        compare: Comparison::None,
    },
    Target {
        name: "dataset",
        prepare: prepare_dataset,
        files: &["dataset.json", "tokenizer.json"],
        read: describe_dataset,
        compare: Comparison::None,
    },
    Target {
        name: "config",
        prepare: prepare_configs,
        files: &["quickstart.toml", "article.toml", "interleaved.toml"],
        read: read_configs,
        compare: Comparison::None,
    },
    Target {
        name: "policy",
        prepare: prepare_policies,
        files: &["fixed", "entropy", "trend"],
        read: read_policies,
        compare: Comparison::None,
    },
    Target {
        name: "tokenizer",
        prepare: prepare_tokenizers,
        files: &["words.json", "byte.json", "bpe.json", "tokenizer_config.json", "generation_config.json"],
        read: read_tokenizers,
        compare: Comparison::None,
    },
    Target {
        name: "log",
        prepare: prepare_run,
        files: &["metrics/part-00001.log"],
        read: read_log,
        compare: Comparison::Subset,
    },
    Target {
        name: "table",
        prepare: prepare_run,
        files: &["metrics/part-00000.parquet", "tokens/part-00000.parquet"],
        read: read_tables,
        compare: Comparison::Equal,
    },
    Target {
        name: "run",
        prepare: prepare_run,
        files: &["run.json", "status.json", "changes.jsonl", "log.txt", "config.toml", "versions/config-0000.toml"],
        read: read_run,
        compare: Comparison::None,
    },
    Target {
        name: "checkpoint",
        prepare: prepare_run,
        files: &[
            "step-000006/model.safetensors",
            "step-000006/optimizer.safetensors",
            "step-000006/config.json",
            "step-000006/state.json",
            "step-000006/run.toml",
            "step-000006/tokenizer.json",
        ],
        read: read_checkpoints,
        compare: Comparison::Equal,
    },
    Target {
        name: "model",
        prepare: prepare_models,
        files: &["gpt2/model.safetensors", "gpt2/config.json", "llama3/model.safetensors", "llama3/config.json"],
        read: read_models,
        compare: Comparison::None,
    },
    Target {
        name: "questions",
        prepare: prepare_questions,
        files: &["q.jsonl", "q.json", "q.parquet"],
        read: read_all_questions,
        compare: Comparison::None,
    },
    Target {
        name: "text",
        prepare: prepare_texts,
        files: &["t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t.json", "t.txt", "t.parquet"],
        read: read_texts,
        compare: Comparison::None,
    },
];

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Trains the tiny recipe and returns its folder, which has a dataset and a run.
fn trained() -> tempfile::TempDir {
    let dir = temp_dir_with_recipe(TINY);
    let output = lab(dir.path(), &["run", "--config", "tiny.toml", "--headless"]);
    assert!(output.status.success(), "{}", stderr(&output));
    dir
}

fn prepare_dataset(to: &Path) {
    let dir = trained();
    super::copy_folder(&dir.path().join("datasets/prosqa"), to);
}

/// Reads all tokens of a dataset after the check that `run` makes, too.
fn read_dataset(dir: &Path) -> Items {
    let dataset = Dataset::open(dir).map_err(text)?;
    dataset.check_split(Split::Train, 512, &mut |_| {}).map_err(text)?;
    read_tokens(&dataset)
}

fn read_tokens(dataset: &Dataset) -> Items {
    let mut reader = RowReader::open(dataset, Split::Train, 4, 32, 512).map_err(text)?;
    let mut rows = Vec::new();
    while let Some(batch) = reader.next_batch().map_err(text)? {
        rows.push(format!("{:?} {:?}", batch.tokens, batch.doc_start));
    }
    Ok(rows)
}

fn read_foreign_shards(dir: &Path) -> Items {
    let each = parquet_files::FOREIGN_SHARDS.iter().map(|name| {
        let dataset = Dataset::open(&dir.join(name)).map_err(text)?;
        read_tokens(&dataset).map(|rows| rows.concat())
    });
    each.collect()
}

fn describe_dataset(dir: &Path) -> Items {
    let description = coconut_lab::data::describe(dir, None, &mut |_| {}).map_err(text)?;
    let dataset = Dataset::open(dir).map_err(text)?;
    let tokens = dataset.tokenizer().map(|tokenizer| tokenizer.decode(&[0, 1, 2, 3]));
    Ok(vec![format!("{} {tokens:?} {:?}", description.splits.len(), dataset.warnings())])
}

fn prepare_configs(to: &Path) {
    super::copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs"), to);
}

/// Reads recipes. What is accepted must be accepted again as the program writes it, with the same values.
fn read_configs(dir: &Path) -> Items {
    let each = ["quickstart.toml", "article.toml", "interleaved.toml"].iter().map(|name| {
        let file = dir.join(name);
        let config = config::load(&file, &[]).map_err(text)?;
        let written = config.to_toml().expect("a valid config can be written");
        let again = config::from_text(&written, name, &[]).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again, config);
        Ok(written)
    });
    each.collect()
}

fn prepare_policies(to: &Path) {
    fs::create_dir(to).unwrap();
    fs::write(to.join("fixed"), "fixed:count=6,at=0+5,bot=3,eot=4").unwrap();
    fs::write(to.join("entropy"), "entropy:start=q0.9,stop=0.2lnV,least=1,most=8,all=40,at=own").unwrap();
    fs::write(to.join("trend"), "trend:dwell=2,least=1,most=8").unwrap();
}

/// Reads policies. The text form of what is accepted must give the same policy.
fn read_policies(dir: &Path) -> Items {
    let each = ["fixed", "entropy", "trend"].iter().map(|name| {
        let bytes = fs::read(dir.join(name)).unwrap();
        let policy: Policy = String::from_utf8(bytes).map_err(text)?.parse()?;
        let again: Policy = policy.to_string().parse().unwrap_or_else(|error| panic!("{policy}: {error}"));
        assert_eq!(again, policy);
        Ok(policy.to_string())
    });
    each.collect()
}

fn prepare_tokenizers(to: &Path) {
    fs::create_dir(to).unwrap();
    let words = Tokenizer::from_words(["every", "alpha", "is", "a", "beta", "."]).unwrap();
    words.save(&to.join("words.json")).unwrap();
    Tokenizer::byte().unwrap().save(&to.join("byte.json")).unwrap();
    fs::write(to.join("bpe.json"), BPE).unwrap();
    fs::write(to.join("tokenizer_config.json"), r#"{"eos_token": {"content": "</s>"}, "bos_token": "<s>"}"#).unwrap();
    fs::write(to.join("generation_config.json"), r#"{"eos_token_id": [1, 2], "bos_token_id": 0}"#).unwrap();
}

/// A byte-pair tokenizer with the parts that pretrained ones have.
const BPE: &str = r###"{"version":"1.0","truncation":null,"padding":null,
"added_tokens":[{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
{"id":1,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":{"type":"NFC"},
"pre_tokenizer":{"type":"Sequence","pretokenizers":[
{"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+"},"behavior":"Isolated","invert":false},
{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
"fuse_unk":false,"byte_fallback":false,"ignore_merges":true,
"vocab":{"<s>":0,"</s>":1,"e":2,"v":3,"r":4,"y":5,"a":6,"l":7,"p":8,"h":9,"Ġ":10,"i":11,"s":12,".":13,"al":14,"Ġi":15,"Ġis":16,"ph":17},
"merges":[["a","l"],["Ġ","i"],["Ġi","s"],["p","h"]]}}
"###;

fn read_tokenizers(dir: &Path) -> Items {
    let mut items = Vec::new();
    for name in ["words.json", "byte.json", "bpe.json"] {
        let tokenizer = Tokenizer::from_file(&dir.join(name)).map_err(text)?;
        let ids = tokenizer.encode("every alpha is a beta .").map_err(text)?;
        let ends = generation_end_tokens(dir, &|token| tokenizer.token_id(token)).map_err(text)?;
        tokenizer.encode_prompt("<s> every \u{fffd}\u{1f600}").map_err(text)?;
        items.push(format!("{ids:?} {} {} {ends:?}", tokenizer.decode(&ids), tokenizer.text_bytes(&ids)));
    }
    Ok(items)
}

/// Makes a run folder that has a write-ahead log, as a killed process leaves it.
fn prepare_run(to: &Path) {
    let dir = trained();
    super::copy_folder(&runs(dir.path())[0], to);
    for table in ["metrics", "tokens"] {
        let parts = segments::file_numbers(&to.join(table), "parquet");
        let read = segments::read_table(&to.join(table)).unwrap();
        for number in parts.into_iter().skip(1) {
            fs::remove_file(segments::segment_path(&to.join(table), number)).unwrap();
        }
        let rows = read.batches[0].num_rows();
        let frames = (0..rows).map(|row| wal::encode_frame(&read.batches[0].slice(row, 1)).unwrap());
        fs::write(segments::wal_path(&to.join(table), 1), frames.flatten().collect::<Vec<u8>>()).unwrap();
    }
    fs::write(to.join("changes.jsonl"), fs::read(OLD_RUN.to_owned() + "/changes.jsonl").unwrap()).unwrap();
}

const OLD_RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/old-run/checkpoints/20261126-021842-old");

fn read_log(dir: &Path) -> Items {
    let log = segments::read_wal(&dir.join("metrics/part-00001.log")).map_err(text)?.unwrap_or_default();
    Ok(log.batches.iter().map(|batch| format!("{batch:?}")).collect())
}

fn read_tables(dir: &Path) -> Items {
    let each = ["metrics", "tokens"].iter().map(|name| {
        let table = segments::read_table(&dir.join(name)).map_err(text)?;
        match table.damage.first() {
            Some(damage) => Err(damage.clone()),
            None => Ok(format!("{:?}", table.batches)),
        }
    });
    each.collect()
}

/// Reads a run as `watch`, `runs` and `check` do.
fn read_run(dir: &Path) -> Items {
    let folder = RunFolder::open(dir).map_err(text)?;
    let _ = read_row(dir, LastValues::Read);
    let events: Vec<String> = current_events(folder.clone()).map(|event| format!("{event:?}")).collect();
    problems(check_record(&folder))?;
    Ok(events)
}

fn read_checkpoints(dir: &Path) -> Items {
    let folder = RunFolder::open(dir).map_err(text)?;
    problems(check_checkpoints(&folder).map_err(text)?)
}

/// Returns the names of what was checked, or the first problem.
fn problems(items: Vec<CheckedItem>) -> Items {
    items.into_iter().map(|item| item.problem.map_or(Ok(item.name), Err)).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn prepare_models(to: &Path) {
    for (name, from) in [("gpt2", "gpt2"), ("llama3", "families/llama3")] {
        super::copy_folder(&fixture(from), &to.join(name));
    }
}

fn read_models(dir: &Path) -> Items {
    let each = ["gpt2", "llama3"].iter().map(|name| {
        let folder = dir.join(name);
        let model = hf::load(&folder, &Default::default()).map_err(text)?;
        Companions::read(&folder).map_err(text)?;
        Ok(format!("{:?}", model.shape()))
    });
    each.collect()
}

fn prepare_questions(to: &Path) {
    fs::create_dir(to).unwrap();
    let lines = [
        r#"{"question": "2 + 2?", "steps": ["<<2+2=4>>"], "answer": "4"}"#,
        r#"{"question": "Is \u00e9 a letter?", "steps": [], "answer": true}"#,
        r#"{"question": "How many?", "answer": 1234.5}"#,
    ];
    fs::write(to.join("q.jsonl"), lines.join("\n")).unwrap();
    fs::write(to.join("q.json"), format!("[{}]", lines.join(",\n"))).unwrap();
    parquet_files::write_questions(&to.join("q.parquet"));
}

fn read_all_questions(dir: &Path) -> Items {
    let each = ["q.jsonl", "q.json", "q.parquet"].iter().map(|name| {
        let found = read_questions(&dir.join(name), usize::MAX).map_err(text)?;
        Ok(format!("{found:?}"))
    });
    each.collect()
}

fn prepare_texts(to: &Path) {
    use std::io::Write;
    fs::create_dir(to).unwrap();
    let record = |number: u32| format!("{{\"text\": \"document {number} has \\u00e9 words.\"}}");
    let lines: Vec<String> = (0..20).map(record).collect();
    let text = lines.join("\n");
    fs::write(to.join("t.jsonl"), &text).unwrap();
    fs::write(to.join("t.json"), format!("[{}]", lines.join(",\n"))).unwrap();
    fs::write(to.join("t.txt"), "\u{feff}First paragraph.\n\nSecond é paragraph.\n").unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    fs::write(to.join("t.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(to.join("t.jsonl.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    parquet_files::write_texts(&to.join("t.parquet"));
}

fn read_texts(dir: &Path) -> Items {
    let names = ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t.json", "t.txt", "t.parquet"];
    let options = TextOptions {
        inputs: names.iter().map(|name| dir.join(name)).collect(),
        tokenizer: "byte".to_owned(),
        end_token: None,
        out: dir.join("out"),
        valid_share: 0.0,
        doc_bytes: 1 << 20,
        seed: 0,
        force: true,
    };
    let summary = make_text(&options, &mut |_| {}).map_err(text)?;
    Ok(vec![format!("{summary:?}")])
}
