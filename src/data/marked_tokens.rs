//! Owns: consecutive tokens of a stream with their marks.
//! Must not know: files, order, batches.
//! Invariant: ids and marks have equal lengths.

/// Consecutive tokens, each with its marks.
#[derive(Default)]
pub(crate) struct MarkedTokens {
    pub ids: Vec<i32>,
    /// Whether a token is the first of a document.
    pub starts: Vec<bool>,
    /// Whether a token is read but is no target of a loss.
    pub ignored: Vec<bool>,
}

impl MarkedTokens {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Removes the first `count` tokens.
    pub fn remove_first(&mut self, count: usize) {
        self.ids.drain(..count);
        self.starts.drain(..count);
        self.ignored.drain(..count);
    }
}
