//! Owns: a batch of windows of a token stream.
//! Must not know: tensors, order, what a batch is used for.
//! Invariant: tokens and marks have the same shape, unless no marks are known.

use super::marked_tokens::MarkedTokens;
use super::stream::StreamPosition;

/// A batch of B windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// B, rows of the batch.
    pub batch_size: usize,
    /// T, input tokens per row.
    pub seq_len: usize,
    /// Token ids `[B, T+1]`, row-major. Inputs are `[.., ..T]`, targets `[.., 1..]`.
    pub tokens: Vec<i32>,
    /// `[B, T+1]`, `true` at the first token of a document.
    pub doc_start: Vec<bool>,
    /// `[B, T+1]`, `true` at a token that is read but is no target of a loss (a label of -100).
    pub ignored: Vec<bool>,
    pub next_position: StreamPosition,
    /// Epoch in which this batch starts, counted from 0.
    pub epoch: u64,
}

impl Batch {
    /// Cuts the first B·T+1 tokens into B windows of T+1 tokens. Neighbouring windows share one token.
    pub(super) fn cut(tokens: &MarkedTokens, batch_size: usize, seq_len: usize) -> Self {
        Self {
            batch_size,
            seq_len,
            tokens: windows(&tokens.ids, batch_size, seq_len),
            doc_start: windows(&tokens.starts, batch_size, seq_len),
            ignored: windows(&tokens.ignored, batch_size, seq_len),
            ..Self::default()
        }
    }

    /// Returns the number of targets that count in a loss.
    pub fn target_count(&self) -> usize {
        match self.counted_targets() {
            Some(counted) => counted.iter().filter(|counted| **counted).count(),
            None => self.batch_size * self.seq_len,
        }
    }

    /// Returns whether each target `[B, T]` counts in a loss; `None` if all do.
    pub fn counted_targets(&self) -> Option<Vec<bool>> {
        let rows = self.ignored.chunks(self.seq_len + 1).map(|row| &row[1..]);
        let counted: Vec<bool> = rows.flatten().map(|ignored| !ignored).collect();
        counted.contains(&false).then_some(counted)
    }
}

fn windows<T: Copy>(values: &[T], batch_size: usize, seq_len: usize) -> Vec<T> {
    (0..batch_size).flat_map(|row| &values[row * seq_len..(row + 1) * seq_len + 1]).copied().collect()
}
