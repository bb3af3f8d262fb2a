//! Owns: probed rows of tokens with the states of their recycled positions, and entropy histograms, as plain data.
//! Must not know: columns, files, how a row is probed.
//! Invariant: entropies are in nats; likely tokens are in descending order.

use std::collections::BTreeMap;

/// A probed row of a batch: its input tokens `[T]` and the model's output distributions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRow {
    /// Number of updates done when the row was probed.
    pub step: u64,
    /// Vocabulary size V; ln V is the largest possible entropy, in nats.
    pub vocab_size: usize,
    pub cells: Vec<TokenCell>,
    /// The recycled positions, with their states pass by pass.
    pub thoughts: Vec<Thought>,
    /// Text of every token id among the likely tokens, written as in [`TokenCell::text`].
    pub token_texts: BTreeMap<u32, String>,
}

impl TokenRow {
    /// Fills in the text of every token id among the likely tokens, using `text`.
    pub fn fill_token_texts(&mut self, text: impl Fn(u32) -> String) {
        let cells = self.cells.iter().flat_map(|cell| cell.top_plain.iter().chain(&cell.top_recycled));
        let decoded =
            self.thoughts.iter().flat_map(|thought| thought.fed_by_pass.iter().chain(&thought.output_by_pass));
        let choices = cells.chain(decoded.flat_map(|decoded| &decoded.top));
        for choice in choices {
            self.token_texts.entry(choice.id).or_insert_with(|| text(choice.id));
        }
    }

    /// Replaces the texts of the recycled positions by their numbers, `‹1›`: in a curriculum's row the token in the place of
    /// a latent means nothing.
    pub fn number_latents(&mut self) {
        for (number, cell) in self.cells.iter_mut().filter(|cell| cell.recycled).enumerate() {
            cell.text = format!("‹{}›", number + 1);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenCell {
    pub id: u32,
    /// Text of the token, with partial UTF-8 and control characters escaped; its id without a tokenizer.
    pub text: String,
    pub doc_start: bool,
    /// Entropy of the plain pass's output, in nats.
    pub entropy_plain: f32,
    /// Entropy of the recycled pass's output, in nats; `None` if there was no recycled pass.
    pub entropy_recycled: Option<f32>,
    /// Negative log-likelihood of the next token in the plain pass, in nats.
    pub nll_plain: f32,
    /// Whether this position's input was recycled.
    pub recycled: bool,
    /// The [`TOP_TOKENS`] most likely next tokens after the plain pass, in descending order.
    pub top_plain: Vec<TokenProb>,
    /// The [`TOP_TOKENS`] most likely next tokens after the recycled pass; empty if there was none.
    pub top_recycled: Vec<TokenProb>,
}

/// Number of most likely tokens kept of a distribution.
pub const TOP_TOKENS: usize = 5;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenProb {
    pub id: u32,
    pub prob: f32,
}

/// A hidden state decoded by the head into a distribution over tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedState {
    /// Entropy of the distribution, in nats.
    pub entropy: f32,
    /// The [`TOP_TOKENS`] most likely tokens, in descending order.
    pub top: Vec<TokenProb>,
}

/// The states of one recycled position t, pass by pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thought {
    pub position: usize,
    /// State at t-1 after pass k = 0 (plain), 1, …; pass k+1 receives it as its input at t.
    pub fed_by_pass: Vec<DecodedState>,
    /// Output at t after pass k = 0 (plain), 1, ….
    pub output_by_pass: Vec<DecodedState>,
}

/// Number of equal bins of a [`EntropyHistogram`], which cover 0 to ln V nats.
pub const ENTROPY_BINS: usize = 48;

/// Histogram of the output entropies of a probed row: the number of positions in each bin.
#[derive(Clone, Debug, PartialEq)]
pub struct EntropyHistogram {
    /// Number of updates done when the row was probed.
    pub step: u64,
    /// Counts of the plain pass, over all positions.
    pub plain: [u32; ENTROPY_BINS],
    /// Counts of the recycled pass, over the recycled positions.
    pub recycled: [u32; ENTROPY_BINS],
}

impl EntropyHistogram {
    /// Counts the entropies of the plain pass and those at `recycled` positions, in nats, into bins up to
    /// ln `vocab_size`. Values that are not finite are skipped.
    pub fn from_entropies(
        step: u64,
        vocab_size: usize,
        plain: impl Iterator<Item = f32>,
        recycled: impl Iterator<Item = f32>,
    ) -> Self {
        let max_entropy = (vocab_size.max(2) as f32).ln();
        let count = |values: &mut dyn Iterator<Item = f32>| {
            let mut bins = [0; ENTROPY_BINS];
            for value in values.filter(|value| value.is_finite()) {
                bins[((value / max_entropy * ENTROPY_BINS as f32) as usize).min(ENTROPY_BINS - 1)] += 1;
            }
            bins
        };
        let (mut plain, mut recycled) = (plain, recycled);
        Self { step, plain: count(&mut plain), recycled: count(&mut recycled) }
    }
}

impl From<&TokenRow> for EntropyHistogram {
    fn from(row: &TokenRow) -> Self {
        let recycled = row.cells.iter().filter(|cell| cell.recycled).filter_map(|cell| cell.entropy_recycled);
        Self::from_entropies(row.step, row.vocab_size, row.cells.iter().map(|cell| cell.entropy_plain), recycled)
    }
}
