//! Owns: what a latent costs: here, and one after another.
//! Must not know: when it is asked.
//! Invariant: both prices are of a pass with a loss at the latents, forward and backward, by the number of latents.

use super::sequential::sequential;
use crate::model::cost::{Costs, Part};
use crate::model::ledger::Ledger;
use crate::model::{Places, Tokens, Transformer};
use crate::record::registry::{Metric, StepRow};
use crate::recycle::placement::Positions;

/// Sets what the parts of a step cost, and the price of each of its `recycled` positions. `params` were updated.
pub(super) fn of_step(costs: &Costs, timed: bool, recycled: Option<usize>, row: &mut StepRow) {
    let mut set = |ms: Metric, flop: Metric, parts: &[Part], each: f64| {
        row.set(flop, costs.flop(parts) / each);
        if timed {
            row.set(ms, costs.seconds(parts) * 1e3 / each);
        }
    };
    set(Metric::PlainMs, Metric::PlainFlop, &[Part::Plain], 1.0);
    set(Metric::HeadMs, Metric::HeadFlop, Part::HEAD, 1.0);
    set(Metric::UpdateMs, Metric::UpdateFlop, &[Part::Update], 1.0);
    if let Some(recycled) = recycled {
        set(Metric::RecycledMs, Metric::RecycledFlop, &[Part::Recycled], 1.0);
        set(Metric::LatentMs, Metric::LatentFlop, Part::RECYCLING, recycled as f64);
    }
}

/// What the kept keys and values of a measurement may take, in numbers: each piece of a row has its own copy, which its
/// backward pass needs.
const KEPT: usize = 1 << 28;

/// Measures the price one after another of as many latents as `positions` has in its fullest row, in every row of `tokens`,
/// or in as many rows as memory allows; in none where it does not allow one.
pub(super) fn one_after_another(
    model: &Transformer,
    tokens: &Tokens,
    positions: Positions,
    scale: f64,
    row: &mut StepRow,
) {
    let [b, t] = tokens.inputs.dims();
    // One set of columns for all rows, as padding on the left gives.
    let columns = positions.rows.into_iter().max_by_key(Vec::len).unwrap_or_default();
    let shape = model.shape();
    let kept = 2 * shape.layers * shape.kv_heads * shape.head_width * columns.iter().sum::<usize>();
    let b = b.min(KEPT / kept.max(1));
    if b == 0 || columns.is_empty() {
        tracing::info!("a row of {} latents is too much to be computed one after another", columns.len());
        return;
    }
    let tokens = tokens.first_rows(b);
    let places = Places::new(&vec![columns.clone(); b], t, &model.device().without_autodiff());
    // The second counts: in the first, a GPU compiles.
    let [_, costs] = [(); 2].map(|()| one_pass(model, &tokens, &columns, &places, scale));
    let latents = (b * columns.len()) as f64;
    row.set(Metric::SequentialMs, costs.seconds(Part::RECYCLING) * 1e3 / latents);
    row.set(Metric::SequentialFlop, costs.flop(Part::RECYCLING) / latents);
}

fn one_pass(model: &Transformer, tokens: &Tokens, columns: &[usize], places: &Places, scale: f64) -> Costs {
    let mut ledger = Ledger::new(model, 1.0, true);
    let states = sequential(model, tokens, columns, scale);
    ledger.ran(Part::Recycled, &states, true);
    let targets = tokens.flat_targets().select(0, places.flat());
    ledger.score(Part::RecycledHead, places.take(&states.hidden), targets, 1.0);
    ledger.finish().1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Feedback, State};
    use crate::model::Form;
    use crate::train::tests::{SEQ_LEN, batch, model};

    #[test]
    fn the_price_one_after_another_counts_every_piece_and_the_feedback() {
        let gated = Form { feedback: Feedback::Gated, state: State::Raw, add_scale: 0.0 };
        let (model, tokens) = (model(5).with_feedback(gated, 5), batch(5));
        let positions = Positions { seq_len: SEQ_LEN, rows: vec![vec![3], vec![2, 6]] };
        let mut row = StepRow::new(1);
        one_after_another(&model, &tokens, positions, 1.0, &mut row);
        // Two rows, pieces 0..2, 2..6 and 6..8; gradient flows through all of it.
        let shape = model.shape();
        let pieces: f64 =
            [(2, 2), (4, 6), (2, 8)].iter().map(|(s, keys)| shape.blocks_flop(2 * s, *keys)).sum();
        let fed = model.feedback.flop(4, true);
        let wanted = 3.0 * (pieces + fed + shape.head_flop(4)) / 4.0;
        assert_eq!(row.get(Metric::SequentialFlop), Some(wanted));
        assert!(row.get(Metric::SequentialMs).is_some_and(|ms| ms > 0.0));
    }

    #[test]
    fn what_memory_does_not_allow_is_not_measured() {
        let (model, tokens) = (model(5), batch(5));
        let mut row = StepRow::new(1);
        one_after_another(
            &model,
            &tokens,
            Positions { seq_len: SEQ_LEN, rows: vec![vec![]; 2] },
            1.0,
            &mut row,
        );
        assert!(row.get(Metric::SequentialMs).is_none());
    }
}
