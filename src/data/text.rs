//! Owns making a dataset from text files.
//!
//! Must not know: the terminal, tasks. Invariant: the same inputs, tokenizer, seed and share give the same shards;
//! memory holds a chunk of documents and one row group a split.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::RngExt;

use super::error::{DataError, Result};
use super::manifest::{MANIFEST_FILE, Made, Manifest, TOKENIZER_FILE};
use super::source::{Piece, check_input, for_each_document};
use super::staging::Staging;
use super::stream::rng;
use super::writer::{Row, Writers};
use super::{Codec, OnProgress, Progress, Split};

/// Bytes of a `.txt` document where nothing else is asked for.
pub const DOC_BYTES: usize = 16 << 10;
/// Share of documents held out for validation where nothing else is asked for.
pub const VALID_SHARE: f64 = 0.01;

/// Documents are encoded together, on all cores, until there are this many of them or of their bytes.
const CHUNK_DOCUMENTS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct TextOptions {
    /// `.txt`, `.jsonl` and `.parquet` files, read in this order.
    pub inputs: Vec<PathBuf>,
    /// Name or file of a tokenizer.
    pub tokenizer: String,
    /// The folder to create.
    pub out: PathBuf,
    /// Share of documents that go to the valid split, 0 or more and below 1. Above 0, at least one does if there are two.
    pub valid_share: f64,
    /// Longest document cut from a `.txt` file, in bytes; the cut is at a paragraph's end where there is one.
    pub doc_bytes: usize,
    pub seed: u64,
    /// Replace a dataset that is there.
    pub force: bool,
}

/// Makes a dataset from text.
///
/// # Errors
/// `out` is taken or cannot be written, the tokenizer cannot be loaded or has no id for something, an input is missing
/// or unreadable, or there is no text in any.
pub fn make_text(options: &TextOptions, on_progress: OnProgress<'_>) -> Result<Made> {
    check(options)?;
    let sizes = options.inputs.iter().map(|path| check_input(path)).collect::<Result<Vec<u64>>>()?;
    let staging = Staging::begin(&options.out, options.force)?;
    let codec = Codec::from_name_or_file(&options.tokenizer)?;
    let mut maker = Maker {
        options,
        codec: &codec,
        writers: Writers::new(staging.dir(), "text", &codec, false),
        chunk: Vec::new(),
        chunk_bytes: 0,
        held: None,
        documents: 0,
        empty: 0,
    };
    let mut before = 0;
    let total = sizes.iter().sum();
    for (path, size) in options.inputs.iter().zip(sizes) {
        for_each_document(path, options.doc_bytes, &mut |piece: Piece| {
            let done = before + piece.bytes_read.min(size);
            maker.take(piece.text)?;
            on_progress(Progress { what: "bytes read", done, total });
            Ok(())
        })?;
        before += size;
    }
    let (splits, empty) = maker.finish()?;
    codec.save(&staging.dir().join(TOKENIZER_FILE))?;
    let manifest = Manifest::new("text", options.notes(), options.seed, splits.clone(), &codec);
    manifest.write(&staging.dir().join(MANIFEST_FILE))?;
    staging.commit()?;
    Ok(Made { out: options.out.clone(), splits, vocab_size: codec.vocab_size(), empty, graphs: None })
}

fn check(options: &TextOptions) -> Result<()> {
    let fault = |name, found, allowed| Err(DataError::Setting { name, found, allowed });
    match options {
        TextOptions { inputs, .. } if inputs.is_empty() => {
            fault("in", "nothing".to_owned(), "at least one file")
        }
        TextOptions { valid_share: share, .. } if !(0.0..1.0).contains(share) => {
            fault("valid-share", share.to_string(), "0 or more, and below 1")
        }
        TextOptions { doc_bytes: bytes @ 0..64, .. } => fault("doc-bytes", bytes.to_string(), "at least 64"),
        _ => Ok(()),
    }
}

impl TextOptions {
    fn notes(&self) -> BTreeMap<String, String> {
        let inputs: Vec<String> = self.inputs.iter().map(|path| path.display().to_string()).collect();
        BTreeMap::from([
            ("in".to_owned(), inputs.join(", ")),
            ("tokenizer".to_owned(), self.tokenizer.clone()),
            ("valid_share".to_owned(), self.valid_share.to_string()),
            ("doc_bytes".to_owned(), self.doc_bytes.to_string()),
        ])
    }
}

/// Encodes documents and deals them out to train and valid.
struct Maker<'a> {
    options: &'a TextOptions,
    codec: &'a Codec,
    writers: Writers,
    chunk: Vec<String>,
    chunk_bytes: usize,
    /// The last document, kept back: it makes up for a valid or train split that would be empty.
    held: Option<Vec<u32>>,
    documents: u64,
    empty: u64,
}

impl Maker<'_> {
    fn take(&mut self, text: String) -> Result<()> {
        if text.trim().is_empty() {
            self.empty += 1;
            return Ok(());
        }
        self.chunk_bytes += text.len();
        self.chunk.push(text);
        match self.chunk.len() >= CHUNK_DOCUMENTS || self.chunk_bytes >= CHUNK_BYTES {
            true => self.encode(),
            false => Ok(()),
        }
    }

    fn encode(&mut self) -> Result<()> {
        self.chunk_bytes = 0;
        let texts = std::mem::take(&mut self.chunk);
        for ids in self.codec.encode_documents(&texts)? {
            if ids.is_empty() {
                self.empty += 1;
                continue;
            }
            if let Some(ids) = self.held.replace(ids) {
                let split = self.split_by_chance();
                self.push(split, ids)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(BTreeMap<Split, super::manifest::Counts>, u64)> {
        self.encode()?;
        let Some(last) = self.held.take() else {
            return Err(DataError::Empty {
                file: self.options.inputs[0].clone(),
                found: format!(
                    "no text in this or any other of the {} input files",
                    self.options.inputs.len()
                ),
                allowed: "at least one document that is not empty",
            });
        };
        let without = |split| self.writers.documents(split) == 0;
        let split = match self.split_by_chance() {
            _ if self.documents == 0 || without(Split::Train) => Split::Train,
            _ if self.options.valid_share > 0.0 && without(Split::Valid) => Split::Valid,
            by_chance => by_chance,
        };
        self.push(split, last)?;
        Ok((self.writers.finish()?, self.empty))
    }

    fn push(&mut self, split: Split, ids: Vec<u32>) -> Result<()> {
        self.documents += 1;
        self.writers.push(split, Row { ids, solved: None })
    }

    /// A function of the seed and the document's number alone.
    fn split_by_chance(&self) -> Split {
        match rng([self.options.seed, u64::MAX, self.documents]).random::<f64>() < self.options.valid_share {
            true => Split::Valid,
            false => Split::Train,
        }
    }
}
