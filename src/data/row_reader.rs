//! Owns: the rows of a split for measuring: every token but the first of the stream is a target exactly once.
//! Must not know: tensors, what is measured.
//! Invariant: rows are the same for every batch size. The last row may be shorter than the others, and is then a batch
//! by itself. Nothing is repeated or left out.

use super::Split;
use super::batch::Batch;
use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::marked_tokens::MarkedTokens;
use super::shard::ShardReadOptions;
use super::stream::{StreamPosition, TokenOrder, TokenStream};

/// How much a split holds when it is cut into rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub rows: usize,
    /// Number of targets: the tokens of the split, less the first and those that labels of -100 ignore.
    pub targets: usize,
}

/// Reads a split in the order of its files, as rows of T inputs and T targets.
///
/// The rows are the windows of [`super::Loader`] without shuffling. Unlike it, the reader neither repeats a small split nor
/// drops what does not fill a batch: the last batches have fewer rows, and the very last one may be a single short row.
pub struct RowReader {
    stream: TokenStream,
    batch_size: usize,
    seq_len: usize,
    /// Tokens that were read and are not targets yet, the last target first.
    tokens: MarkedTokens,
}

impl RowReader {
    /// Opens a split that must have at least two tokens, all below `vocab_size`. `batch_size` and `seq_len` are at least 1.
    pub fn open(dataset: &Dataset, split: Split, batch_size: usize, seq_len: usize, vocab_size: usize) -> Result<Self> {
        let shards = dataset.require_split(split)?.to_vec();
        let read_options = ShardReadOptions { vocab_size, eos_id: dataset.eos_id() };
        let order = TokenOrder { shards, read_options, seed: 0, shuffle: false };
        let stream = TokenStream::open(order, StreamPosition::default())?;
        let (batch_size, seq_len) = (batch_size.max(1), seq_len.max(1));
        let mut reader = Self { stream, batch_size, seq_len, tokens: MarkedTokens::default() };
        reader.stream.append_tokens(2, 0, &mut reader.tokens)?;
        match reader.tokens.len() {
            2 => Ok(reader),
            count => Err(DataError::Empty {
                file: dataset.shard_paths(split)[0].clone(),
                found: format!("{count} tokens in all rows of the {} split", split.name()),
                allowed: "at least 2 tokens in a split: one to read and one to predict",
            }),
        }
    }

    /// Returns the next batch: `batch_size` rows, fewer near the end, at last a single row that may be shorter. `None` at
    /// the end of the split.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        let wanted = self.batch_size * self.seq_len + 1;
        let missing = wanted.saturating_sub(self.tokens.len());
        self.stream.append_tokens(missing, 0, &mut self.tokens)?;
        let targets = self.tokens.len().saturating_sub(1).min(wanted - 1);
        let batch = match targets / self.seq_len {
            0 if targets == 0 => return Ok(None),
            0 => Batch::cut(&self.tokens, 1, targets),
            rows => Batch::cut(&self.tokens, rows, self.seq_len),
        };
        // The last target is the first input of the next row.
        self.tokens.remove_first(batch.batch_size * batch.seq_len);
        Ok(Some(batch))
    }

    /// Reads the rest of the split and counts its rows and targets. Finds damaged pages and bad ids on the way.
    pub fn count(mut self) -> Result<RowCounts> {
        let mut counts = RowCounts::default();
        while let Some(batch) = self.next_batch()? {
            counts.rows += batch.batch_size;
            counts.targets += batch.target_count();
        }
        Ok(counts)
    }
}
