//! Owns: the negative log-likelihood (nll) of the tokens of a split under a model's plain pass, row by row.
//! Must not know: which statistics are computed from it.
//! Invariant: rows are the loader's windows in the order of the files; every target counts once.

use crate::data::{Dataset, Loader, LoaderOptions, Split, StreamPosition};
use crate::model::{Transformer, flatten_rows, head};
use crate::train::TrainError;
use crate::train::step::learner::upload_batch;
use crate::train::step::readback::Readback;

/// Which rows to score, and in which batches.
#[derive(Clone, Copy, Debug)]
pub struct ScoringOptions {
    pub split: Split,
    /// Positions in each row (T).
    pub seq_len: usize,
    /// Rows in each batch (B).
    pub batch: usize,
    /// Maximum number of rows to score.
    pub max_rows: usize,
}

/// The nll of one row, and its targets.
#[derive(Clone, Debug)]
pub struct SequenceNll {
    /// Sum of the nll over all targets, nats.
    pub total_nll: f64,
    pub targets: Vec<u32>,
}

/// Scores the rows of a split with `model`, which is without autodiff.
///
/// # Errors
/// If the dataset cannot be read, its vocabulary is larger than the model's, or the device fails.
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
