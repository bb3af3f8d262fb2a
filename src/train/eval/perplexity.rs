//! Owns: the nll of a split's tokens under a model's plain pass, row by row, and perplexity.
//! Must not know: how results are shown.
//! Invariant: rows are the loader's windows in the order of the files; every target counts once.

use super::bootstrap::Estimate;
use crate::data::{Dataset, Loader, LoaderOptions, Split, StreamPosition, Tokenizer};
use crate::model::{Transformer, flatten_rows, head};
use crate::train::TrainError;
use crate::train::step::learner::upload_batch;
use crate::train::step::readback::Readback;

/// Which rows to score, and in which batches.
#[derive(Clone, Copy, Debug)]
pub struct ScoringOptions {
    pub split: Split,
    pub seq_len: usize,
    pub batch: usize,
    pub max_rows: usize,
}

#[derive(Clone, Debug)]
pub struct SequenceNll {
    /// Sum of the nll over all targets, nats.
    pub total_nll: f64,
    pub targets: Vec<u32>,
}

/// How well a model predicts the tokens of some rows.
#[derive(Clone, Debug)]
pub struct PerplexitySummary {
    pub tokens: usize,
    pub rows: usize,
    pub perplexity: Estimate,
    pub nats_per_token: Estimate,
    /// Known if there is a tokenizer.
    pub bits_per_byte: Option<Estimate>,
}

impl PerplexitySummary {
    /// Summarizes rows; the bootstrap resamples whole rows.
    pub fn from_rows(rows: &[SequenceNll], tokenizer: Option<&Tokenizer>, seed: u64) -> Self {
        let pairs: Vec<_> = rows.iter().map(|row| [row.total_nll, row.targets.len() as f64]).collect();
        let nats_per_token = Estimate::from_ratio(&pairs, seed);
        let bits_per_byte = |tokenizer: &Tokenizer| {
            let bits = |row: &SequenceNll| row.total_nll / std::f64::consts::LN_2;
            let pair = |row: &SequenceNll| [bits(row), tokenizer.decode(&row.targets).len() as f64];
            Estimate::from_ratio(&rows.iter().map(pair).collect::<Vec<_>>(), seed)
        };
        Self {
            tokens: rows.iter().map(|row| row.targets.len()).sum(),
            rows: rows.len(),
            perplexity: nats_per_token.map(f64::exp),
            nats_per_token,
            bits_per_byte: tokenizer.map(bits_per_byte),
        }
    }
}

/// Scores the rows of a split with `model`, which is without autodiff.
pub fn score_rows(
    model: &Transformer,
    dataset: &Dataset,
    options: ScoringOptions,
) -> Result<Vec<SequenceNll>, TrainError> {
    let vocab_size = model.shape().vocab_size;
    dataset.check_split(options.split, vocab_size, &mut |_| {})?;
    let loader_options = LoaderOptions {
        batch_size: options.batch,
        seq_len: options.seq_len,
        seed: 0,
        shuffle: false,
        repeat: false,
        vocab_size,
        prefetch: 1,
    };
    let mut loader = Loader::open(dataset, options.split, loader_options, StreamPosition::default())?;
    let mut scored = Vec::new();
    while scored.len() < options.max_rows
        && let Some(batch) = loader.next_batch()?
    {
        let tokens = upload_batch(&batch, &model.device().without_autodiff());
        let hidden = model.forward(model.embed(tokens.inputs.clone())).hidden;
        let scores = head::score_hidden(model, flatten_rows(&hidden), tokens.flat_targets(), None);
        let mut readback = Readback::default();
        readback.add(&scores.nll);
        // READBACK: one for each batch.
        let nll = readback.read()?.remove(0);
        let windows = batch.tokens.chunks(batch.seq_len + 1).zip(nll.chunks(batch.seq_len));
        scored.extend(windows.map(|(tokens, nll)| SequenceNll {
            total_nll: nll.iter().map(|nll| f64::from(*nll)).sum(),
            targets: tokens[1..].iter().map(|id| *id as u32).collect(),
        }));
    }
    scored.truncate(options.max_rows);
    Ok(scored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_is_of_all_tokens_and_bits_are_of_the_bytes_of_their_text() {
        let rows = [
            SequenceNll { total_nll: 6.0, targets: b"abc".map(u32::from).to_vec() },
            SequenceNll { total_nll: 2.0, targets: b"d".map(u32::from).to_vec() },
        ];
        let found = PerplexitySummary::from_rows(&rows, Some(&Tokenizer::byte().unwrap()), 0);
        assert_eq!((found.rows, found.tokens, found.nats_per_token.mean), (2, 4, 2.0));
        assert_eq!(found.perplexity.mean, 2f64.exp());
        assert!((found.bits_per_byte.unwrap().mean - 2.0 / 2f64.ln()).abs() < 1e-12);
        assert_eq!(PerplexitySummary::from_rows(&rows, None, 0).bits_per_byte, None);
    }
}
