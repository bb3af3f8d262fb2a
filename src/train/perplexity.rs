//! Owns: how well a model's plain pass foretells the tokens of shards, row by row.
//! Must not know: what is made of it, who asks.
//! Invariant: rows are the loader's windows in the order of the files; every target counts once.

use super::TrainError;
use super::read::Readback;
use super::step::upload;
use crate::data::{Dataset, Loader, LoaderOptions, Position, Split};
use crate::model::{Transformer, head, rows};

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub split: Split,
    /// Positions a row.
    pub seq_len: usize,
    /// Rows a batch.
    pub batch: usize,
    /// Most rows.
    pub most: usize,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Foretold {
    /// Sum over its targets.
    pub nats: f64,
    pub targets: Vec<u32>,
}

/// Reads the rows, with `model` without autodiff.
///
/// # Errors
/// Where the dataset cannot be read, or has a larger vocabulary than the model, and where the device fails.
pub fn foretold(
    model: &Transformer,
    dataset: &Dataset,
    reading: Reading,
) -> Result<Vec<Foretold>, TrainError> {
    let vocab_size = model.shape().vocab_size;
    dataset.check(reading.split, vocab_size, &mut |_| {})?;
    let options = LoaderOptions {
        batch: reading.batch,
        seq_len: reading.seq_len,
        seed: 0,
        shuffle: false,
        repeat: false,
        vocab_size,
        prefetch: 1,
    };
    let mut loader = Loader::open(dataset, reading.split, options, Position::default())?;
    let mut found = Vec::new();
    while found.len() < reading.most
        && let Some(batch) = loader.next_batch()?
    {
        let tokens = upload(&batch, &model.device().without_autodiff());
        let hidden = model.row(model.embed(tokens.inputs.clone())).hidden;
        let said = head::score(model, rows(&hidden), tokens.flat_targets(), None);
        let mut readback = Readback::default();
        readback.add(&said.nll);
        // READBACK: a batch.
        let nll = readback.now()?.remove(0);
        let windows = batch.tokens.chunks(batch.seq_len + 1).zip(nll.chunks(batch.seq_len));
        found.extend(windows.map(|(tokens, nll)| Foretold {
            nats: nll.iter().map(|nll| f64::from(*nll)).sum(),
            targets: tokens[1..].iter().map(|id| *id as u32).collect(),
        }));
    }
    found.truncate(reading.most);
    Ok(found)
}
