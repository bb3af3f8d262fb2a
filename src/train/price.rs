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

/// Measures the price one after another of as many latents as `positions` has in its fullest row, in every row of `tokens`.
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
    let places = Places::new(&vec![columns.clone(); b], t, &model.device().without_autodiff());
    let mut ledger = Ledger::new(model, 1.0, true);
    let (hidden, flop) = sequential(model, tokens, &columns, scale);
    ledger.ran(Part::Recycled, flop, true);
    let targets = tokens.flat_targets().select(0, places.flat());
    ledger.score(Part::RecycledHead, places.take(&hidden), targets, 1.0);
    let (_, costs) = ledger.finish();
    let latents = (b * columns.len()) as f64;
    row.set(Metric::SequentialMs, costs.seconds(Part::RECYCLING) * 1e3 / latents);
    row.set(Metric::SequentialFlop, costs.flop(Part::RECYCLING) / latents);
}
