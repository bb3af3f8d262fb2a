//! Owns: the sequential cost of a latent.
//! Must not know: when a cost is measured.
//! Invariant: it is that of a pass with a loss at the latents, forward and backward, divided by their number.

use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::cost::{PartCosts, StepPart};
use crate::model::{GatherIndex, LossTargets, TokenBatch, Transformer};
use crate::recycle::placement::RecycledPositions;
use crate::recycle::sequential::run_sequential;
use crate::schema::metrics::{Metric, StepRow};

/// Maximum of cached keys and values, in f32 elements. The backward pass needs a copy for each piece of a row.
const MAX_CACHED: usize = 1 << 28;

/// Measures the sequential cost of a latent with the fullest row's positions, in as many rows as memory allows.
pub(in crate::train) fn measure_sequential_cost(
    model: &Transformer,
    tokens: &TokenBatch,
    positions: RecycledPositions,
    scale: f64,
    row: &mut StepRow,
) {
    let [b, t] = tokens.inputs.dims();
    // All rows share the same columns, as with padding on the left.
    let columns = positions.rows.into_iter().max_by_key(Vec::len).unwrap_or_default();
    let shape = model.shape();
    let cached = 2 * shape.layers * shape.kv_heads * shape.head_width * columns.iter().sum::<usize>();
    let b = b.min(MAX_CACHED / cached.max(1));
    if columns.is_empty() {
        tracing::info!("not measuring the sequential cost: no position of the batch is recycled");
        return;
    }
    if b == 0 {
        tracing::info!("not measuring the sequential cost: a row of {} latents needs too much memory", columns.len());
        return;
    }
    let tokens = tokens.first_rows(b);
    let index = GatherIndex::new(&vec![columns.clone(); b], t, &model.device().without_autodiff());
    // Only the second pass counts: a GPU compiles during the first.
    let [_, costs] = [(); 2].map(|()| sequential_pass(model, &tokens, &columns, &index, scale));
    let latents = (b * columns.len()) as f64;
    row.set(Metric::SequentialMs, costs.seconds(StepPart::RECYCLING) * 1e3 / latents);
    row.set(Metric::SequentialFlop, costs.flop(StepPart::RECYCLING) / latents);
}

/// Runs one sequential pass, forward and backward, and returns its cost.
fn sequential_pass(
    model: &Transformer,
    tokens: &TokenBatch,
    columns: &[usize],
    index: &GatherIndex,
    scale: f64,
) -> PartCosts {
    let mut accumulator = GradientAccumulator::new(model, 1.0, Timing::On);
    let states = run_sequential(model, tokens, columns, scale);
    accumulator.record_forward(StepPart::Recycled, &states);
    let targets = LossTargets::new(tokens.flat_targets().select(0, index.flat_indices()), None);
    accumulator.add_loss(StepPart::RecycledHead, index.gather(&states.hidden), targets, 1.0);
    accumulator.finish().1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Control;
    use crate::config::{Feedback, StateTransform};
    use crate::model::FeedbackSpec;
    use crate::train::tests::{SEQ_LEN, batch, model};

    #[test]
    fn the_sequential_cost_counts_every_piece_and_the_feedback() {
        let gated = FeedbackSpec { mode: Feedback::Gated, state: StateTransform::Raw, add_scale: 0.0 };
        let (model, tokens) = (model(5).with_feedback(gated, 5), batch(5));
        let positions = RecycledPositions { seq_len: SEQ_LEN, rows: vec![vec![3], vec![2, 6]] };
        let mut row = StepRow::new(1);
        measure_sequential_cost(&model, &tokens, positions, 1.0, &mut row);
        // Two rows, pieces 0..2, 2..6 and 6..8; gradient flows through all of it.
        let shape = model.shape();
        let pieces: f64 = [(2, 2), (4, 6), (2, 8)].iter().map(|(s, keys)| shape.blocks_flop(2 * s, *keys)).sum();
        let fed = model.feedback.flop(4, Control::None);
        let expected = 3.0 * (pieces + fed + shape.head_flop(4)) / 4.0;
        assert_eq!(row.get(Metric::SequentialFlop), Some(expected));
        assert!(row.get(Metric::SequentialMs).is_some_and(|ms| ms > 0.0));
    }

    #[test]
    fn without_latents_nothing_is_measured() {
        let (model, tokens) = (model(5), batch(5));
        let mut row = StepRow::new(1);
        measure_sequential_cost(
            &model,
            &tokens,
            RecycledPositions { seq_len: SEQ_LEN, rows: vec![vec![]; 2] },
            1.0,
            &mut row,
        );
        assert!(row.get(Metric::SequentialMs).is_none());
    }
}
