//! Owns: the creation of datasets from text files.
//! Must not know: the terminal, tasks.
//! Invariant: equal inputs and options give equal shards. Memory holds a chunk and a row group per split.

use super::error::{DataError, Result};
use super::manifest::{DatasetManifest, DatasetSummary};
use super::source::{TextDocument, for_each_document, input_size};
use super::staging::StagedDataset;
use super::writer::{DocumentRow, SplitWriters};
use super::{OnProgress, Progress, Split, Tokenizer};
use crate::rng::item_rng;
use rand::RngExt;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Default limit on the size of a document from a `.txt` file, in bytes.
pub const DEFAULT_DOC_BYTES: usize = 16 << 10;
/// Default share of documents held out for validation.
pub const DEFAULT_VALID_SHARE: f64 = 0.01;

/// Limits of a chunk of documents that are encoded together, on all cores.
const CHUNK_DOCUMENTS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub struct TextOptions {
    /// Input files (`.txt`, `.jsonl`, `.json`, plain or compressed, or `.parquet`), read in this order.
    pub inputs: Vec<PathBuf>,
    pub tokenizer: String,
    /// Token that ends documents, by its text or id; `None`: what the tokenizer's folder says, else a known one.
    pub end_token: Option<String>,
    pub out: PathBuf,
    /// Share of documents for the valid split, below 1. If it is above 0, at least one of several goes there.
    pub valid_share: f64,
    /// Limit on the size of a document from a `.txt` file, in bytes.
    pub doc_bytes: usize,
    /// Seed that decides which documents are held out.
    pub seed: u64,
    pub force: bool,
}

/// Makes a dataset from text files. Fails if `out` exists or cannot be written, the tokenizer cannot be
/// loaded or lacks an id for a text, or an input is missing, unreadable or without text.
pub fn make_text(options: &TextOptions, on_progress: OnProgress<'_>) -> Result<DatasetSummary> {
    check_options(options)?;
    let sizes = options.inputs.iter().map(|path| input_size(path)).collect::<Result<Vec<u64>>>()?;
    let staging = StagedDataset::create(&options.out, options.force)?;
    let mut tokenizer = Tokenizer::from_name_or_file(&options.tokenizer)?;
    if let Some(token) = &options.end_token {
        tokenizer = tokenizer.with_end_token(token)?;
    }
    let mut builder = TextDatasetBuilder {
        options,
        tokenizer: &tokenizer,
        writers: SplitWriters::new(staging.dir(), "text", &tokenizer, false),
        chunk: Vec::new(),
        chunk_bytes: 0,
        held_back: None,
        documents: 0,
        empty: 0,
        nulls: 0,
    };
    let mut bytes_before = 0;
    let total = sizes.iter().sum();
    for (path, size) in options.inputs.iter().zip(sizes) {
        for_each_document(path, options.doc_bytes, &mut |document: TextDocument| {
            let done = bytes_before + document.bytes_read.min(size);
            builder.add_document(document.text)?;
            on_progress(Progress { label: "bytes read", done, total });
            Ok(())
        })?;
        bytes_before += size;
    }
    let nulls = builder.nulls;
    let (splits, empty) = builder.finish()?;
    let manifest = DatasetManifest::new("text", options.manifest_settings(), options.seed, splits.clone(), &tokenizer);
    staging.commit_dataset(&tokenizer, manifest)?;
    let end_token = describe_end_token(&tokenizer);
    Ok(DatasetSummary {
        end_token,
        out: options.out.clone(),
        splits,
        vocab_size: tokenizer.vocab_size(),
        empty,
        nulls,
        graphs: None,
        published: None,
    })
}

/// Says which token ends documents, and what named it.
fn describe_end_token(tokenizer: &Tokenizer) -> Option<String> {
    let id = tokenizer.eos_id()?;
    Some(format!("{} (id {id}, from {})", tokenizer.token_text(id), tokenizer.end_token().source))
}

fn check_options(options: &TextOptions) -> Result<()> {
    let error = |name, found, allowed| Err(DataError::InvalidSetting { name, found, allowed });
    match options {
        TextOptions { inputs, .. } if inputs.is_empty() => error("in", "nothing".to_owned(), "at least one file"),
        TextOptions { valid_share: share, .. } if !(0.0..1.0).contains(share) => {
            error("valid-share", share.to_string(), "at least 0 and below 1")
        }
        TextOptions { doc_bytes: bytes @ 0..64, .. } => error("doc-bytes", bytes.to_string(), "at least 64"),
        _ => Ok(()),
    }
}

impl TextOptions {
    fn manifest_settings(&self) -> BTreeMap<String, String> {
        let inputs: Vec<String> = self.inputs.iter().map(|path| path.display().to_string()).collect();
        BTreeMap::from([
            ("in".to_owned(), inputs.join(", ")),
            ("tokenizer".to_owned(), self.tokenizer.clone()),
            ("valid_share".to_owned(), self.valid_share.to_string()),
            ("doc_bytes".to_owned(), self.doc_bytes.to_string()),
        ])
    }
}

/// Encodes documents and assigns them to the train and valid splits.
struct TextDatasetBuilder<'a> {
    options: &'a TextOptions,
    tokenizer: &'a Tokenizer,
    writers: SplitWriters,
    chunk: Vec<String>,
    chunk_bytes: usize,
    /// Token ids of the latest document. It is held back so that it can fill a split that would be empty.
    held_back: Option<Vec<u32>>,
    documents: u64,
    empty: u64,
    nulls: u64,
}

impl TextDatasetBuilder<'_> {
    /// Adds a document, and encodes the chunk once it is full.
    fn add_document(&mut self, text: Option<String>) -> Result<()> {
        let Some(text) = text else {
            self.nulls += 1;
            return Ok(());
        };
        if text.trim().is_empty() {
            self.empty += 1;
            return Ok(());
        }
        self.chunk_bytes += text.len();
        self.chunk.push(text);
        match self.chunk.len() >= CHUNK_DOCUMENTS || self.chunk_bytes >= CHUNK_BYTES {
            true => self.encode_chunk(),
            false => Ok(()),
        }
    }

    /// Encodes the chunk and writes its documents, except the last one.
    fn encode_chunk(&mut self) -> Result<()> {
        self.chunk_bytes = 0;
        let texts = std::mem::take(&mut self.chunk);
        for ids in self.tokenizer.encode_documents(&texts)? {
            if ids.is_empty() {
                self.empty += 1;
                continue;
            }
            if let Some(ids) = self.held_back.replace(ids) {
                let split = self.draw_split();
                self.write_document(split, ids)?;
            }
        }
        Ok(())
    }

    /// Writes what remains. Returns the size of each split and the number of empty documents.
    fn finish(mut self) -> Result<(BTreeMap<Split, super::manifest::SplitCounts>, u64)> {
        self.encode_chunk()?;
        let Some(last) = self.held_back.take() else {
            return Err(DataError::Empty {
                file: self.options.inputs[0].clone(),
                found: format!(
                    "no text in any of the {} input files, of which this is the first",
                    self.options.inputs.len()
                ),
                allowed: "at least one document that is not empty",
            });
        };
        let is_empty = |split| self.writers.documents(split) == 0;
        let split = match self.draw_split() {
            _ if self.documents == 0 || is_empty(Split::Train) => Split::Train,
            _ if self.options.valid_share > 0.0 && is_empty(Split::Valid) => Split::Valid,
            drawn => drawn,
        };
        self.write_document(split, last)?;
        Ok((self.writers.finish()?, self.empty))
    }

    fn write_document(&mut self, split: Split, ids: Vec<u32>) -> Result<()> {
        self.documents += 1;
        self.writers.push(split, DocumentRow { ids, question: None })
    }

    /// Draws the split of the next document. It depends only on the seed and the document's number.
    fn draw_split(&self) -> Split {
        match item_rng([self.options.seed, u64::MAX, self.documents]).random::<f64>() < self.options.valid_share {
            true => Split::Valid,
            false => Split::Train,
        }
    }
}
