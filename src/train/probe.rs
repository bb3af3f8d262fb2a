//! Owns: looking at one row of a batch: its tokens, entropies, nll, and recycled positions.
//! Must not know: who looks at it.
//! Invariant: a look changes nothing that is trained.

use super::TrainError;
use super::look::{Look, pass};
use super::read::Readback;
use super::step::{placer, upload};
use crate::config::Config;
use crate::data::{Batch, Codec};
use crate::message::{TokenCell, TokenRow};
use crate::model::{Transformer, rows};
use crate::recycle::passes::Place;
use crate::rng::Draw;
use burn::module::Module;

/// Looks at the first row of `batch`, `step` updates after the start. The row is recycled as the config says for that
/// step, or, while the schedule has not begun, as it will be at its height.
pub(super) fn look(
    config: &Config,
    model: &Transformer,
    codec: Option<&Codec>,
    batch: &Batch,
    step: u64,
) -> Result<TokenRow, TrainError> {
    let batch = first_row(batch);
    let model = model.valid();
    let recycle = &config.recycle;
    let vocab_size = model.shape().vocab_size;
    let wanted = match recycle.wanted_at(vocab_size, step) {
        now if now.some() => now,
        _ => recycle.wanted_at_most(vocab_size),
    };
    let tokens = upload(&batch, &model.device());
    let draw = Draw { seed: config.run.seed, step, ..Draw::default() };
    let mut place = placer(&batch, recycle, wanted, draw);
    let place = (recycle.every > 0 && wanted.some()).then_some::<Place>(&mut place);
    let pass = pass(recycle, recycle.scale.at(step), draw);
    let look = Look::at(&model, &tokens, pass, recycle.passes.usual(), place);
    let mut readback = Readback::default();
    readback.add(&look.plain.nll);
    readback.add(&look.plain.entropy);
    let mask = look.recycled.as_ref().map(|(positions, _)| positions.mask());
    if let Some((states, _)) = look.last(recycle.control) {
        readback.add(&look.said(rows(&states.hidden)).entropy);
    }
    let read = readback.now()?;
    let cell = |t: usize| TokenCell {
        id: batch.tokens[t] as u32,
        text: text(codec, batch.tokens[t] as u32),
        doc_start: batch.doc_start[t],
        entropy_plain: read[1][t],
        entropy_recycled: read.get(2).map(|entropy| entropy[t]),
        nll_plain: read[0][t],
        recycled: mask.as_ref().is_some_and(|mask| mask[t]),
        ..TokenCell::default()
    };
    let cells = (0..batch.seq_len).map(cell).collect();
    Ok(TokenRow { step, vocab_size: model.shape().vocab_size, cells, ..TokenRow::default() })
}

fn text(codec: Option<&Codec>, id: u32) -> String {
    codec.map_or_else(|| format!("{id} "), |codec| codec.piece(id))
}

fn first_row(batch: &Batch) -> Batch {
    let width = batch.seq_len + 1;
    Batch {
        batch: 1,
        tokens: batch.tokens[..width].to_vec(),
        doc_start: batch.doc_start[..width].to_vec(),
        ..batch.clone()
    }
}
