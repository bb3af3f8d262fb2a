//! Owns: the batches: windows `[B, T+1]` cut from a split's token stream, prefetched on a thread.
//! Must not know: tensors, what a batch is used for.
//! Invariant: the batches are an endless function of dataset, options and start position. A loader opened at a batch's
//! [`Batch::next_position`] yields exactly the batches that follow it.
//!
//! Packing: window i takes T+1 tokens of the stream, starting at token i·T. It shares one token with the next
//! window, so every token is a target once. B consecutive windows form a batch.

use super::MAX_VOCAB;
use super::Split;
use super::batch::Batch;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::marked_tokens::MarkedTokens;
use super::shard::ShardReadOptions;
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
    /// Vocabulary size of the model; every token id must be below it.
    pub vocab_size: usize,
    /// Number of batches prepared in advance.
    pub prefetch: usize,
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
            // The thread ends after the first error, or when the receiver is dropped.
            loop {
                let batch = packer.next();
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

    /// Returns the next batch. At the end of an epoch the next one begins, within a batch if need be. A fault in the data
    /// is returned once the batch that it affects is due; no batch follows it.
    pub fn next_batch(&mut self) -> Result<Batch> {
        match self.batches.as_ref().map(Receiver::recv) {
            Some(Ok(batch)) => batch,
            _ => Err(self.ended()),
        }
    }

    /// Joins the thread, which has ended, and says why there are no more batches.
    fn ended(&mut self) -> DataError {
        let found = match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => "it panicked",
            _ => "it ended after an error",
        };
        DataError::Loader { found: found.to_owned() }
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
    /// First token of the next batch: the last of the previous one.
    carry: MarkedTokens,
    next_position: StreamPosition,
}

impl BatchPacker {
    fn new(stream: TokenStream, options: LoaderOptions) -> Self {
        let start = stream.position().clone();
        Self { stream, options, carry: MarkedTokens::default(), next_position: start }
    }

    /// Returns the next batch. The position after it is before its last target, which the next batch reads first.
    fn next(&mut self) -> Result<Batch> {
        let LoaderOptions { batch_size, seq_len, .. } = self.options;
        let batch_tokens = batch_size * seq_len;
        let mut tokens = std::mem::take(&mut self.carry);
        self.stream.append_tokens(batch_tokens - tokens.len(), u64::MAX, &mut tokens)?;
        // Ends an epoch here, if this is its end: the position then is the start of the next one.
        self.stream.seek_next_token(u64::MAX)?;
        let next_position = self.stream.position().clone();
        let start = std::mem::replace(&mut self.next_position, next_position.clone());
        self.stream.append_tokens(1, u64::MAX, &mut tokens)?;
        let batch = Batch { next_position, epoch: start.epoch, ..Batch::cut(&tokens, batch_size, seq_len) };
        tokens.remove_first(batch_tokens);
        self.carry = tokens;
        Ok(batch)
    }
}
