//! Owns: probing a batch without training: all passes but the last, and the last one under every control.
//! Must not know: how the results are used.
//! Invariant: all controls use the same recycled positions and the same targets.

use crate::config::{Control, Recycle};
use crate::model::accumulator::PassOutput;
use crate::model::{HiddenStates, TokenBatch, Transformer, flatten_rows, head};
use crate::recycle::passes::{self, PlacementFn, RecycledPass};
use crate::recycle::placement::RecycledPositions;
use crate::rng::RngKey;
use burn::tensor::Tensor;

/// The forward passes of a batch up to the last recycled one.
pub(in crate::train) struct ForwardProbe<'a> {
    pub model: &'a Transformer,
    pub tokens: &'a TokenBatch,
    pub pass: RecycledPass,
    /// nll and entropy of the plain pass at all positions, `[B·T]`.
    pub plain: PassOutput,
    /// Hidden states of the plain pass at all positions, `[B·T, D]`.
    pub hidden: Tensor<2>,
    /// The recycled positions, and the states before the last recycled pass.
    pub recycled: Option<(RecycledPositions, HiddenStates)>,
}

/// Returns the settings of a recycled pass in a probe: it feeds the states themselves, without noise.
pub(in crate::train) fn probe_pass(recycle: &Recycle, scale: f64, key: RngKey) -> RecycledPass {
    RecycledPass { reach: recycle.reach, control: Control::None, scale, jitter: 0.0, rng_key: key }
}

impl<'a> ForwardProbe<'a> {
    /// Runs the plain pass and, with `place`, all but the last of `num_passes` recycled passes.
    pub fn run(
        model: &'a Transformer,
        tokens: &'a TokenBatch,
        pass: RecycledPass,
        num_passes: usize,
        place: Option<PlacementFn<'_>>,
    ) -> Self {
        let mut states = model.forward(model.embed(tokens.inputs.clone()));
        let hidden = flatten_rows(&states.hidden);
        let plain = score_states(model, hidden.clone(), tokens, None);
        let positions = place.map(|place| place(&plain.entropy)).filter(|found| found.count() > 0);
        let recycled = positions.map(|positions| {
            for _ in 1..num_passes {
                states = passes::recycled_pass(model, tokens, states.clone(), &positions, &pass).0;
            }
            (positions, states)
        });
        Self { model, tokens, pass, plain, hidden, recycled }
    }

    /// Runs the last recycled pass. Returns its states, and those at the recycled positions, `[N, D]`.
    pub fn last_pass(&self, control: Control) -> Option<(HiddenStates, Tensor<2>)> {
        let (positions, before) = self.recycled.as_ref()?;
        let pass = RecycledPass { control, ..self.pass };
        Some(passes::recycled_pass(self.model, self.tokens, before.clone(), positions, &pass))
    }

    /// Scores hidden states, `[N, D]` at the recycled positions or `[B·T, D]` at all positions.
    pub fn score(&self, hidden: Tensor<2>) -> PassOutput {
        let positions = self.recycled.as_ref().map(|(positions, _)| positions);
        let is_all = hidden.dims()[0] == self.tokens.inputs.dims().iter().product::<usize>();
        score_states(self.model, hidden, self.tokens, positions.filter(|_| !is_all))
    }
}

/// Scores hidden states on the targets at `at`, or at all positions.
fn score_states(
    model: &Transformer,
    hidden: Tensor<2>,
    tokens: &TokenBatch,
    at: Option<&RecycledPositions>,
) -> PassOutput {
    let targets = match at {
        Some(positions) => tokens.targets_at(&positions.flat_indices()),
        None => tokens.flat_targets(),
    };
    let scores = head::score_hidden(model, hidden, targets, None);
    PassOutput { nll: scores.nll, entropy: scores.entropy }
}
