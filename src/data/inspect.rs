//! Owns: the description of a dataset and its shards, as text for people and as JSON for programs.
//! Must not know: the terminal, batches.
//! Invariant: only data that was read completely is described. The first fault is returned as an error.

use super::Split;
use super::dataset::Dataset;
use super::decode::ReadCounts;
use super::error::{DataError, Result};
use super::layout::PassedOver;
use super::shard::{Shard, ShardReadOptions};
use super::{OnProgress, Progress, Tokenizer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Number of sample documents per split.
const SAMPLES_PER_SPLIT: usize = 2;
/// Tokens shown of the start and the end of a long sample document.
const HEAD_TOKENS: usize = 80;
const TAIL_TOKENS: usize = 48;
const MAX_VALUE_CHARS: usize = 72;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetDescription {
    pub path: PathBuf,
    /// `prosqa` or `text` for datasets that this program made, otherwise `None`.
    pub kind: Option<String>,
    pub vocab_size: Option<usize>,
    pub tokenizer_hash: Option<String>,
    pub eos_id: Option<u32>,
    pub splits: Vec<SplitDescription>,
    /// Files that look like data and are not read.
    pub passed_over: Vec<PassedOver>,
    /// What a user should know: about files, columns, rows and checksums.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitDescription {
    pub split: Split,
    pub documents: u64,
    pub tokens: u64,
    pub max_id: u32,
    /// Null rows, padding and labels of -100, which reading passes over.
    pub counts: ReadCounts,
    pub lengths: DocumentLengths,
    pub shards: Vec<ShardDescription>,
    pub samples: Vec<SampleDocument>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DocumentLengths {
    pub min: usize,
    pub median: usize,
    pub mean: f64,
    pub p90: usize,
    pub p99: usize,
    pub max: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardDescription {
    pub file: PathBuf,
    pub bytes: u64,
    pub column: String,
    pub compression: String,
    pub row_groups: Vec<u64>,
    /// Key/value metadata in the footer.
    pub footer: BTreeMap<String, String>,
}

/// The start and end of a sample document. A short document is complete in `head`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleDocument {
    pub tokens: usize,
    pub head: DocumentExcerpt,
    pub tail: Option<DocumentExcerpt>,
}

/// Consecutive tokens of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentExcerpt {
    pub ids: Vec<u32>,
    /// Decoded text of `ids`, if there is a tokenizer.
    pub text: Option<String>,
}

/// Reads all of a dataset folder or a single shard and describes it. Ids must be below the data's own
/// vocabulary size and below `vocab_size`. Fails on the first fault in the data.
pub fn describe(path: &Path, vocab_size: Option<usize>, on_progress: OnProgress<'_>) -> Result<DatasetDescription> {
    let dataset = Dataset::open(path)?;
    let mut read_options = dataset.read_options();
    if let Some(vocab_size) = vocab_size {
        read_options.vocab_size = read_options.vocab_size.min(vocab_size);
    }
    let tokenizer = dataset.tokenizer();
    let total = Split::ALL.iter().map(|split| dataset.rows(*split)).sum();
    let mut done = 0;
    let mut splits = Vec::new();
    for split in Split::ALL.into_iter().filter(|split| dataset.has_split(*split)) {
        splits.push(read_split(&dataset, split, read_options, tokenizer.as_ref(), &mut |rows| {
            done += rows;
            on_progress(Progress { label: "rows", done, total });
        })?);
    }
    let warnings = warnings(&dataset, &splits);
    Ok(DatasetDescription {
        path: path.to_path_buf(),
        passed_over: dataset.passed_over().to_vec(),
        warnings,
        kind: dataset.manifest().map(|manifest| manifest.kind.clone()),
        vocab_size: dataset.vocab_size(),
        tokenizer_hash: tokenizer.as_ref().map(Tokenizer::hash),
        eos_id: dataset.eos_id(),
        splits,
    })
}

/// Returns the warnings of the dataset, and what reading has found.
fn warnings(dataset: &Dataset, splits: &[SplitDescription]) -> Vec<String> {
    let mut warnings = dataset.warnings();
    for SplitDescription { split, counts, .. } in splits {
        warnings.extend(counts.sentences().map(|sentence| format!("{split}: {sentence}")));
    }
    if dataset.manifest().is_some() && !dataset.has_hashes() {
        warnings.push("dataset.json has no hashes of the shards (an older version made it)".to_owned());
    }
    warnings
}

fn read_split(
    dataset: &Dataset,
    split: Split,
    read_options: ShardReadOptions,
    tokenizer: Option<&Tokenizer>,
    on_rows_read: &mut dyn FnMut(u64),
) -> Result<SplitDescription> {
    let mut lengths = BTreeMap::new();
    let (mut samples, mut shards, mut max_id) = (Vec::new(), Vec::new(), 0);
    let mut counts = ReadCounts::default();
    for shard in dataset.opened_shards(split) {
        dataset.check_bytes(shard)?;
        let description = describe_shard(shard)?;
        for (group, rows) in description.row_groups.iter().enumerate() {
            let documents = shard.read_group(group, read_options)?;
            counts.add(documents.counts());
            for document in (0..documents.len()).map(|index| documents.get(index)) {
                *lengths.entry(document.len()).or_insert(0_u64) += 1;
                max_id = document.iter().copied().fold(max_id, u32::max);
                if samples.len() < SAMPLES_PER_SPLIT && !document.is_empty() {
                    samples.push(sample_document(document, tokenizer));
                }
            }
            on_rows_read(*rows);
        }
        shards.push(description);
    }
    let tokens = lengths.iter().map(|(length, count)| *length as u64 * count).sum();
    if tokens == 0 {
        return Err(DataError::Empty {
            file: dataset.shard_paths(split)[0].clone(),
            found: format!("all {} rows of the {split} split are empty", dataset.rows(split)),
            allowed: "rows that hold tokens",
        });
    }
    let documents = lengths.values().sum();
    let lengths = DocumentLengths::from_counts(&lengths, documents, tokens);
    Ok(SplitDescription { split, documents, tokens, max_id, counts, lengths, shards, samples })
}

fn describe_shard(shard: &Shard) -> Result<ShardDescription> {
    let file = shard.path().to_path_buf();
    let bytes = std::fs::metadata(&file).map_err(DataError::io(&file, "be opened"))?.len();
    let (compression, row_groups) = shard.compression_and_group_rows();
    Ok(ShardDescription {
        bytes,
        column: shard.token_column_type(),
        compression,
        row_groups,
        footer: shard.footer(),
        file,
    })
}

fn sample_document(document: &[u32], tokenizer: Option<&Tokenizer>) -> SampleDocument {
    let excerpt =
        |ids: &[u32]| DocumentExcerpt { ids: ids.to_vec(), text: tokenizer.map(|tokenizer| tokenizer.decode(ids)) };
    let tokens = document.len();
    match tokens <= HEAD_TOKENS + TAIL_TOKENS {
        true => SampleDocument { tokens, head: excerpt(document), tail: None },
        false => SampleDocument {
            tokens,
            head: excerpt(&document[..HEAD_TOKENS]),
            tail: Some(excerpt(&document[tokens - TAIL_TOKENS..])),
        },
    }
}

impl DocumentLengths {
    /// Computes the statistics from `counts`, the number of documents of each length.
    fn from_counts(counts: &BTreeMap<usize, u64>, documents: u64, tokens: u64) -> Self {
        let quantile = |fraction: f64| {
            let rank = (fraction * documents as f64).ceil() as u64;
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

/// Returns a number with its noun in the right form: `1 shard`, `2 shards`.
pub fn pluralize(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for DatasetDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        let unknown = || "unknown".to_owned();
        let text = |value: Option<String>| value.unwrap_or_else(unknown);
        writeln!(f, "  kind        {}", self.kind.as_deref().unwrap_or("foreign (no dataset.json)"))?;
        writeln!(f, "  vocabulary  {}", text(self.vocab_size.map(|size| size.to_string())))?;
        let tokenizer = self.tokenizer_hash.as_ref().map(|hash| format!("tokenizer.json, hash {hash}"));
        writeln!(f, "  tokenizer   {}", tokenizer.unwrap_or_else(|| "none next to the shards".to_owned()))?;
        writeln!(f, "  end token   {}", text(self.eos_id.map(|id| id.to_string())))?;
        self.splits.iter().try_for_each(|split| split.fmt(f))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "\nnote: {warning}"))?;
        match self.splits.iter().any(|split| split.split == Split::Valid) {
            true => Ok(()),
            false => writeln!(f, "\nno valid split: nothing to evaluate on during training"),
        }
    }
}

impl fmt::Display for SplitDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, documents, tokens, max_id, lengths, .. } = self;
        let (documents, tokens) = (pluralize(*documents, "document"), pluralize(*tokens, "token"));
        let shards = pluralize(self.shards.len() as u64, "shard");
        writeln!(f, "\n{split}: {documents}, {tokens} in {shards}; largest id {max_id}")?;
        let DocumentLengths { min, median, mean, p90, p99, max } = lengths;
        writeln!(
            f,
            "  tokens per document: min {min}, median {median}, mean {mean:.1}, \
             p90 {p90}, p99 {p99}, max {max}"
        )?;
        self.shards.iter().try_for_each(|shard| shard.fmt(f))?;
        for (number, sample) in self.samples.iter().enumerate() {
            let shown = |part: &DocumentExcerpt| part.text.clone().unwrap_or_else(|| format!("{:?}", part.ids));
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
        writeln!(f, "  {}: {} bytes, {}, {}", self.file.display(), self.bytes, self.column, self.compression)?;
        let (rows, groups) = (pluralize(rows, "row"), pluralize(groups as u64, "row group"));
        writeln!(f, "    {rows} in {groups} of at most {largest}")?;
        for (key, value) in &self.footer {
            match value.chars().count() > MAX_VALUE_CHARS {
                true => writeln!(f, "    {key} = ({} bytes)", value.len())?,
                false => writeln!(f, "    {key} = {value}")?,
            }
        }
        Ok(())
    }
}
