//! Owns looking at a dataset: what its shards hold, said to people and to machines.
//!
//! Must not know: the terminal, batches. Invariant: a description is given only of data that was read whole and found
//! sound; the first fault found is the error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::dataset::{Dataset, Split};
use super::error::{DataError, Result};
use super::shard::{Accept, Shard};
use super::{Codec, OnProgress, Progress};

/// Documents shown of each split, and tokens shown of the beginning and end of each.
const SAMPLES: usize = 2;
const HEAD_TOKENS: usize = 80;
const TAIL_TOKENS: usize = 48;
/// Longest footer value shown to people.
const VALUE_CHARS: usize = 72;

/// Everything there is to know about a dataset or a shard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    pub path: PathBuf,
    /// `prosqa` or `text`, for datasets of our own making.
    pub kind: Option<String>,
    pub vocab_size: Option<usize>,
    /// Hash of the tokenizer beside the shards.
    pub tokenizer_hash: Option<String>,
    pub eos_id: Option<u32>,
    pub splits: Vec<SplitDescription>,
}

/// One split, read whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitDescription {
    pub split: Split,
    pub documents: u64,
    pub tokens: u64,
    /// The largest id that occurs.
    pub max_id: u32,
    pub lengths: Lengths,
    pub shards: Vec<ShardDescription>,
    pub samples: Vec<Sample>,
}

/// How long documents are, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    pub min: usize,
    pub median: usize,
    pub mean: f64,
    pub p90: usize,
    pub p99: usize,
    pub max: usize,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardDescription {
    pub file: PathBuf,
    pub bytes: u64,
    /// Name and type of the token column.
    pub column: String,
    pub compression: String,
    /// Rows of each row group.
    pub row_groups: Vec<u64>,
    /// The footer's key/value metadata.
    pub footer: BTreeMap<String, String>,
}

/// The beginning and end of a document; short ones are whole in `head`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Tokens of the whole document.
    pub tokens: usize,
    pub head: Part,
    pub tail: Option<Part>,
}

/// Consecutive tokens of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    pub ids: Vec<u32>,
    /// Their text, where there is a tokenizer.
    pub text: Option<String>,
}

/// Reads a dataset folder or a shard whole and describes it. `vocab`: the vocabulary that ids must be below, where the
/// data itself does not say or a model's is smaller.
///
/// # Errors
/// Anything wrong with it.
pub fn describe(path: &Path, vocab: Option<usize>, on_progress: OnProgress<'_>) -> Result<Description> {
    let dataset = Dataset::open(path)?;
    let accept = dataset.accept();
    let accept = Accept { vocab: vocab.map_or(accept.vocab, |vocab| vocab.min(accept.vocab)), ..accept };
    let codec = dataset.tokenizer();
    let total = Split::ALL.iter().map(|split| dataset.rows(*split)).sum();
    let mut done = 0;
    let mut splits = Vec::new();
    for split in Split::ALL.into_iter().filter(|split| dataset.has(*split)) {
        splits.push(read_split(&dataset, split, accept, codec.as_ref(), &mut |rows| {
            done += rows;
            on_progress(Progress { what: "rows", done, total });
        })?);
    }
    Ok(Description {
        path: path.to_path_buf(),
        kind: dataset.manifest().map(|manifest| manifest.kind.clone()),
        vocab_size: dataset.vocab_size(),
        tokenizer_hash: codec.as_ref().map(Codec::hash),
        eos_id: dataset.eos_id(),
        splits,
    })
}

fn read_split(
    dataset: &Dataset,
    split: Split,
    accept: Accept,
    codec: Option<&Codec>,
    rows_read: &mut dyn FnMut(u64),
) -> Result<SplitDescription> {
    let mut lengths = BTreeMap::new();
    let (mut samples, mut shards, mut max_id) = (Vec::new(), Vec::new(), 0);
    for shard in dataset.opened(split) {
        let about = describe_shard(shard)?;
        for (group, rows) in about.row_groups.iter().enumerate() {
            let documents = shard.read_group(group, accept)?;
            for document in (0..documents.len()).map(|index| documents.get(index)) {
                *lengths.entry(document.len()).or_insert(0_u64) += 1;
                max_id = document.iter().copied().fold(max_id, u32::max);
                if samples.len() < SAMPLES && !document.is_empty() {
                    samples.push(sample(document, codec));
                }
            }
            rows_read(*rows);
        }
        shards.push(about);
    }
    let tokens = lengths.iter().map(|(length, count)| *length as u64 * count).sum();
    if tokens == 0 {
        return Err(DataError::Empty {
            file: dataset.shards(split)[0].clone(),
            found: format!("{} rows in the {split} split, all empty: no token at all", dataset.rows(split)),
            allowed: "rows that hold tokens",
        });
    }
    let documents = lengths.values().sum();
    let lengths = Lengths::of(&lengths, documents, tokens);
    Ok(SplitDescription { split, documents, tokens, max_id, lengths, shards, samples })
}

fn describe_shard(shard: &Shard) -> Result<ShardDescription> {
    let file = shard.path().to_path_buf();
    let bytes = std::fs::metadata(&file).map_err(DataError::io(&file, "be opened"))?.len();
    let (compression, row_groups) = shard.storage();
    Ok(ShardDescription {
        bytes,
        column: shard.layout(),
        compression,
        row_groups,
        footer: shard.footer(),
        file,
    })
}

fn sample(document: &[u32], codec: Option<&Codec>) -> Sample {
    let part = |ids: &[u32]| Part { ids: ids.to_vec(), text: codec.map(|codec| codec.decode(ids)) };
    let tokens = document.len();
    match tokens <= HEAD_TOKENS + TAIL_TOKENS {
        true => Sample { tokens, head: part(document), tail: None },
        false => Sample {
            tokens,
            head: part(&document[..HEAD_TOKENS]),
            tail: Some(part(&document[tokens - TAIL_TOKENS..])),
        },
    }
}

impl Lengths {
    /// From how many documents (`counts`) have each length.
    fn of(counts: &BTreeMap<usize, u64>, documents: u64, tokens: u64) -> Self {
        let quantile = |share: f64| {
            let rank = (share * documents as f64).ceil() as u64;
            let mut seen = 0;
            let found = counts.iter().find(|(_, count)| {
                seen += **count;
                seen >= rank
            });
            found.map_or(0, |(length, _)| *length)
        };
        Self {
            min: counts.keys().next().copied().unwrap_or(0),
            median: quantile(0.5),
            mean: tokens as f64 / documents.max(1) as f64,
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: counts.keys().last().copied().unwrap_or(0),
        }
    }
}

/// A number with its noun: `1 shard`, `2 shards`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        let unknown = || "unknown".to_owned();
        let text = |value: Option<String>| value.unwrap_or_else(unknown);
        writeln!(f, "  kind        {}", self.kind.as_deref().unwrap_or("foreign (no dataset.json)"))?;
        writeln!(f, "  vocabulary  {}", text(self.vocab_size.map(|size| size.to_string())))?;
        let tokenizer = self.tokenizer_hash.as_ref().map(|hash| format!("tokenizer.json, hash {hash}"));
        writeln!(f, "  tokenizer   {}", tokenizer.unwrap_or_else(|| "none beside the shards".to_owned()))?;
        writeln!(f, "  end token   {}", text(self.eos_id.map(|id| id.to_string())))?;
        self.splits.iter().try_for_each(|split| split.fmt(f))?;
        match self.splits.iter().any(|split| split.split == Split::Valid) {
            true => Ok(()),
            false => writeln!(f, "\nno valid split: nothing to evaluate on during training"),
        }
    }
}

impl fmt::Display for SplitDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, documents, tokens, max_id, lengths, .. } = self;
        let (documents, tokens) = (counted(*documents, "document"), counted(*tokens, "token"));
        let shards = counted(self.shards.len() as u64, "shard");
        writeln!(f, "\n{split}: {documents}, {tokens} in {shards}; largest id {max_id}")?;
        let Lengths { min, median, mean, p90, p99, max } = lengths;
        writeln!(
            f,
            "  tokens a document: min {min}, median {median}, mean {mean:.1}, 90% {p90}, 99% {p99}, max {max}"
        )?;
        self.shards.iter().try_for_each(|shard| shard.fmt(f))?;
        for (number, sample) in self.samples.iter().enumerate() {
            let shown = |part: &Part| part.text.clone().unwrap_or_else(|| format!("{:?}", part.ids));
            let tail = sample.tail.as_ref().map(|tail| format!(" …\n… {}", shown(tail))).unwrap_or_default();
            writeln!(f, "  document {number}, {} tokens:", sample.tokens)?;
            (shown(&sample.head) + &tail).lines().try_for_each(|line| writeln!(f, "    | {line}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for ShardDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: u64 = self.row_groups.iter().sum();
        let groups = self.row_groups.len();
        let largest = self.row_groups.iter().max().copied().unwrap_or(0);
        writeln!(
            f,
            "  {}: {} bytes, {}, {}",
            self.file.display(),
            self.bytes,
            self.column,
            self.compression
        )?;
        let (rows, groups) = (counted(rows, "row"), counted(groups as u64, "row group"));
        writeln!(f, "    {rows} in {groups} of at most {largest}")?;
        for (key, value) in &self.footer {
            match value.chars().count() > VALUE_CHARS {
                true => writeln!(f, "    {key} = ({} bytes)", value.len())?,
                false => writeln!(f, "    {key} = {value}")?,
            }
        }
        Ok(())
    }
}
