//! Owns: the batches: windows `[B, T+1]` cut from a split's token stream, prefetched on a thread.
//! Must not know: tensors, what a batch is used for.
//! Invariant: the batches are a function of dataset, options and start position. A loader opened at a batch's
//! [`Batch::next_position`] yields exactly the batches that follow it.
//!
//! Packing: window i takes T+1 tokens of the stream, starting at token i·T. It shares one token with the next
//! window, so every token is a target once. B consecutive windows form a batch.

use super::Split;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::shard::{MAX_VOCAB, ShardReadOptions};
use super::stream::{StreamPosition, TokenOrder, TokenStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Options for cutting a split into batches.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// B, rows per batch, at least 1.
    pub batch_size: usize,
    /// T, input tokens per row, at least 1.
    pub seq_len: usize,
    pub seed: u64,
    /// Whether to shuffle row groups and documents; `false` keeps the order of the files.
    pub shuffle: bool,
    /// Whether to start the next epoch at the end of one. With `false` the data ends there, and an incomplete
    /// last batch is dropped. A split smaller than one batch is repeated until it fills one.
    pub repeat: bool,
    /// Vocabulary size of the model; every token id must be below it.
    pub vocab_size: usize,
    /// Number of batches prepared in advance.
    pub prefetch: usize,
}

/// A batch of B windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// B, rows of the batch.
    pub batch_size: usize,
    /// T, input tokens per row.
    pub seq_len: usize,
    /// Token ids `[B, T+1]`, row-major. Inputs are `[.., ..T]`, targets `[.., 1..]`.
    pub tokens: Vec<i32>,
    /// `[B, T+1]`, `true` at the first token of a document.
    pub doc_start: Vec<bool>,
    pub next_position: StreamPosition,
    /// Epoch in which this batch starts, counted from 0.
    pub epoch: u64,
}

/// Reads the batches of one split. A thread prefetches them, and ends when the loader is dropped.
pub struct Loader {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Opens a loader at `start`, the default or a batch's [`Batch::next_position`]. Fails if the dataset has
    /// no such split or position, its vocabulary is larger than the model's, or a setting is 0.
    pub fn open(dataset: &Dataset, split: Split, options: LoaderOptions, start: StreamPosition) -> Result<Self> {
        check_options(&options)?;
        let shards = dataset.require_split(split)?.to_vec();
        if let Some(found) = dataset.vocab_size().filter(|size| *size > options.vocab_size) {
            let file = dataset.path().to_path_buf();
            return Err(DataError::Vocabulary { file, found, allowed: options.vocab_size });
        }
        let read_options = ShardReadOptions { vocab_size: options.vocab_size, eos_id: dataset.eos_id() };
        let order = TokenOrder { shards, read_options, seed: options.seed, shuffle: options.shuffle };
        let (prefetch, mut packer) = (options.prefetch, BatchPacker::new(TokenStream::open(order, start)?, options));
        let (send, batches) = sync_channel(prefetch);
        let work = move || {
            // The thread ends at the end of the data, after the first error, or when the receiver is dropped.
            while let Some(batch) = packer.next().transpose() {
                let failed = batch.is_err();
                if send.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(work)
            .map_err(|error| DataError::Loader { found: error.to_string() })?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// Returns the next batch; `None` at the end of the data (never with `repeat`), or after an error. A
    /// fault in the data is returned once the batch that it affects is due.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        match self.batches.as_ref().map(Receiver::recv) {
            Some(Ok(batch)) => batch.map(Some),
            _ => self.join_thread(),
        }
    }

    /// Joins the thread once it has ended, and reports a panic.
    fn join_thread(&mut self) -> Result<Option<Batch>> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(DataError::Loader { found: "it panicked".to_owned() }),
            _ => Ok(None),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, so it ends after at most the current batch.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn check_options(options: &LoaderOptions) -> Result<()> {
    let zero = |name, allowed| Err(DataError::InvalidSetting { name, found: "0".to_owned(), allowed });
    match options {
        LoaderOptions { batch_size: 0, .. } => zero("batch", "at least 1 row per batch"),
        LoaderOptions { seq_len: 0, .. } => zero("seq_len", "at least 1 token per row"),
        LoaderOptions { vocab_size: 0, .. } => zero("vocab_size", "at least 1"),
        LoaderOptions { vocab_size, .. } if *vocab_size > MAX_VOCAB => Err(DataError::InvalidSetting {
            name: "vocab_size",
            found: vocab_size.to_string(),
            allowed: "at most 16777216",
        }),
        _ => Ok(()),
    }
}

/// Packs the token stream into batches.
struct BatchPacker {
    stream: TokenStream,
    options: LoaderOptions,
    /// Epoch after which the data ends.
    last_epoch: u64,
    /// First token of the next batch, the last of the previous one, and whether a document starts at it.
    carry: Option<(i32, bool)>,
    next_position: StreamPosition,
    ended: bool,
}

impl BatchPacker {
    fn new(stream: TokenStream, options: LoaderOptions) -> Self {
        let start = stream.position().clone();
        let last_epoch = if options.repeat { u64::MAX } else { start.epoch };
        Self { stream, options, last_epoch, carry: None, next_position: start, ended: false }
    }

    /// Returns the next batch, or `None` at the end of the data.
    fn next(&mut self) -> Result<Option<Batch>> {
        if self.ended {
            return Ok(None);
        }
        let batch_tokens = self.options.batch_size * self.options.seq_len;
        let (mut tokens, mut starts): (Vec<i32>, Vec<bool>) = self.carry.take().into_iter().unzip();
        let is_first_batch = tokens.is_empty() && self.next_position.is_epoch_start();
        self.stream.append_tokens(batch_tokens - tokens.len(), self.last_epoch, &mut tokens, &mut starts)?;
        if tokens.len() == batch_tokens && self.stream.seek_next_token(self.last_epoch)? {
            return self.complete_batch(tokens, starts, batch_tokens).map(Some);
        }
        self.ended = true;
        if !is_first_batch {
            return Ok(None);
        }
        // The whole split is smaller than one batch: repeat it until it fills one.
        self.stream.check_epoch_has_tokens()?;
        self.stream.append_tokens(batch_tokens + 1 - tokens.len(), u64::MAX, &mut tokens, &mut starts)?;
        let next_position = self.stream.epoch_end(self.next_position.epoch);
        Ok(Some(self.cut_batch(&tokens, &starts, next_position, self.next_position.epoch)))
    }

    /// Adds the last target to the B·T tokens in `tokens`, and returns the batch.
    fn complete_batch(&mut self, mut tokens: Vec<i32>, mut starts: Vec<bool>, batch_tokens: usize) -> Result<Batch> {
        let next_position = self.stream.position().clone();
        let start = std::mem::replace(&mut self.next_position, next_position.clone());
        self.stream.append_tokens(1, self.last_epoch, &mut tokens, &mut starts)?;
        self.carry = Some((tokens[batch_tokens], starts[batch_tokens]));
        Ok(self.cut_batch(&tokens, &starts, next_position, start.epoch))
    }

    fn cut_batch(&self, tokens: &[i32], starts: &[bool], next_position: StreamPosition, epoch: u64) -> Batch {
        let windows = cut_windows(tokens, starts, self.options.batch_size, self.options.seq_len);
        Batch { next_position, epoch, ..windows }
    }
}

/// Cuts the first B·T+1 tokens into B windows of T+1 tokens. Neighbouring windows share one token.
pub(super) fn cut_windows(tokens: &[i32], starts: &[bool], batch_size: usize, seq_len: usize) -> Batch {
    let windows = (0..batch_size).map(|row| row * seq_len..(row + 1) * seq_len + 1);
    Batch {
        batch_size,
        seq_len,
        tokens: windows.clone().flat_map(|window| &tokens[window]).copied().collect(),
        doc_start: windows.flat_map(|window| &starts[window]).copied().collect(),
        next_position: StreamPosition::default(),
        epoch: 0,
    }
}
