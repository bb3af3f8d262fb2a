//! Owns batches: windows `[B, T+1]` cut from a split's stream of tokens, made ahead on a thread of its own.
//!
//! Must not know: tensors, what a batch is for. Invariant: the batches are a function of (dataset, options, start);
//! opening at a batch's `after` goes on with exactly the batches that would have come.
//!
//! Packing: window i takes T+1 tokens from token i·T of the stream on, so it shares one token with the next window
//! and every token is a target once. B windows one after the other make a batch.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::dataset::{Dataset, Split};
use super::error::{DataError, Result};
use super::shard::{Accept, MAX_VOCAB};
use super::stream::{Order, Position, TokenStream};

/// How to cut a split into batches.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// B, rows a batch, at least 1.
    pub batch: usize,
    /// T, inputs a row, at least 1.
    pub seq_len: usize,
    pub seed: u64,
    /// `false` keeps the order of the files.
    pub shuffle: bool,
    /// `true`: the next epoch follows. `false`: the data ends with its epoch; a last batch that cannot be filled is
    /// dropped, but a split smaller than one batch is read around until it fills one.
    pub repeat: bool,
    /// The model's vocabulary: every id must be below.
    pub vocab_size: usize,
    /// Batches made ahead.
    pub prefetch: usize,
}

/// One batch of B windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// B.
    pub batch: usize,
    /// T.
    pub seq_len: usize,
    /// `[B, T+1]`, row-major; inputs are `[.., ..T]`, targets `[.., 1..]`.
    pub tokens: Vec<i32>,
    /// `[B, T+1]`: `true` where a document's first token stands.
    pub doc_start: Vec<bool>,
    /// Where the batch after this one begins.
    pub after: Position,
    /// The epoch in which this batch begins.
    pub epoch: u64,
}

/// Batches of one split, made ahead by a thread that ends when this is dropped.
pub struct Loader {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts at `start`: the default position, or a batch's `after`.
    ///
    /// # Errors
    /// No such split, a vocabulary larger than the model's, a setting of 0, or a position that the dataset does not have.
    pub fn open(dataset: &Dataset, split: Split, options: LoaderOptions, start: Position) -> Result<Self> {
        check(&options)?;
        let shards = dataset.split(split)?.to_vec();
        if let Some(found) = dataset.vocab_size().filter(|size| *size > options.vocab_size) {
            let file = dataset.path().to_path_buf();
            return Err(DataError::Vocabulary { file, found, allowed: options.vocab_size });
        }
        let accept = Accept { vocab: options.vocab_size, eos: dataset.eos_id() };
        let order = Order { shards, accept, seed: options.seed, shuffle: options.shuffle };
        let (prefetch, mut packer) =
            (options.prefetch, Packer::new(TokenStream::open(order, start)?, options));
        let (send, batches) = sync_channel(prefetch);
        let work = move || {
            // Ends with the data, with the first error, or when the receiver is gone.
            while let Some(batch) = packer.next().transpose() {
                let last = batch.is_err();
                if send.send(batch).is_err() || last {
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

    /// The next batch; `None` once the data has ended (never with `repeat`), or after an error.
    ///
    /// # Errors
    /// What is wrong with the data, when the batch that it concerns is due.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        match self.batches.as_ref().map(Receiver::recv) {
            Some(Ok(batch)) => batch.map(Some),
            _ => self.end(),
        }
    }

    /// The thread is gone: did it finish, or fall over?
    fn end(&mut self) -> Result<Option<Batch>> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(DataError::Loader { found: "it ended in the middle of its work".to_owned() }),
            _ => Ok(None),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, so it ends after at most the batch in hand.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn check(options: &LoaderOptions) -> Result<()> {
    let zero = |name, allowed| Err(DataError::Setting { name, found: "0".to_owned(), allowed });
    match options {
        LoaderOptions { batch: 0, .. } => zero("batch", "at least 1 row a batch"),
        LoaderOptions { seq_len: 0, .. } => zero("seq_len", "at least 1 token a row"),
        LoaderOptions { vocab_size: 0, .. } => zero("vocab_size", "at least 1"),
        LoaderOptions { vocab_size, .. } if *vocab_size > MAX_VOCAB => Err(DataError::Setting {
            name: "vocab_size",
            found: vocab_size.to_string(),
            allowed: "at most 16777216",
        }),
        _ => Ok(()),
    }
}

/// Cuts the stream into batches.
struct Packer {
    stream: TokenStream,
    options: LoaderOptions,
    last_epoch: u64,
    /// The token that the next batch begins with, the last of the batch before.
    carry: Option<(i32, bool)>,
    /// Where the next batch begins.
    at: Position,
    ended: bool,
}

impl Packer {
    fn new(stream: TokenStream, options: LoaderOptions) -> Self {
        let at = stream.position().clone();
        let last_epoch = if options.repeat { u64::MAX } else { at.epoch };
        Self { stream, options, last_epoch, carry: None, at, ended: false }
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        if self.ended {
            return Ok(None);
        }
        let span = self.options.batch * self.options.seq_len;
        let (mut tokens, mut starts): (Vec<i32>, Vec<bool>) = self.carry.take().into_iter().unzip();
        let whole_split = tokens.is_empty() && self.at.is_epoch_start();
        self.stream.take(span - tokens.len(), self.last_epoch, &mut tokens, &mut starts)?;
        if tokens.len() == span && self.stream.settle(self.last_epoch)? {
            return self.emit(tokens, starts, span).map(Some);
        }
        self.ended = true;
        if !whole_split {
            return Ok(None);
        }
        self.stream.refuse_barren()?;
        self.stream.take(span + 1 - tokens.len(), u64::MAX, &mut tokens, &mut starts)?;
        let after = self.stream.epoch_end(self.at.epoch);
        Ok(Some(self.cut(&tokens, &starts, after, self.at.epoch)))
    }

    /// `tokens` has B·T tokens and the stream has at least one more.
    fn emit(&mut self, mut tokens: Vec<i32>, mut starts: Vec<bool>, span: usize) -> Result<Batch> {
        let after = self.stream.position().clone();
        let began = std::mem::replace(&mut self.at, after.clone());
        self.stream.take(1, self.last_epoch, &mut tokens, &mut starts)?;
        self.carry = Some((tokens[span], starts[span]));
        Ok(self.cut(&tokens, &starts, after, began.epoch))
    }

    /// Cuts B·T+1 tokens into B windows of T+1 that share their ends.
    fn cut(&self, tokens: &[i32], starts: &[bool], after: Position, epoch: u64) -> Batch {
        let (batch, seq_len) = (self.options.batch, self.options.seq_len);
        let windows = (0..batch).map(|row| row * seq_len..(row + 1) * seq_len + 1);
        Batch {
            batch,
            seq_len,
            tokens: windows.clone().flat_map(|window| &tokens[window]).copied().collect(),
            doc_start: windows.flat_map(|window| &starts[window]).copied().collect(),
            after,
            epoch,
        }
    }
}
