//! Owns: looking at a batch without training: the passes up to the last one, and the last one in every guise.
//! Must not know: who looks, what becomes of it.
//! Invariant: all guises are fed at the same positions and scored on the same targets.

use crate::config::{Control, Recycle};
use crate::model::ledger::Said;
use crate::model::{States, Tokens, Transformer, head, rows};
use crate::recycle::passes::{self, Pass, Place};
use crate::recycle::placement::Positions;
use crate::rng::Draw;
use burn::tensor::Tensor;

/// A batch, looked at.
pub(super) struct Look<'a> {
    pub model: &'a Transformer,
    pub tokens: &'a Tokens,
    /// Each recycled pass.
    pub pass: Pass,
    /// The plain pass at all positions, `[B·T]`, and its states there, `[B·T, D]`.
    pub plain: Said,
    pub hidden: Tensor<2>,
    /// Where it recycles, and the states before the last recycled pass; absent where `place` found no position.
    pub recycled: Option<(Positions, States)>,
}

/// One recycled pass as a look makes it: with the states themselves, without noise.
pub(super) fn pass(recycle: &Recycle, scale: f64, draw: Draw) -> Pass {
    Pass { reach: recycle.reach, control: Control::None, scale, jitter: 0.0, draw }
}

impl<'a> Look<'a> {
    /// Plain pass and all but the last of `passes` recycled passes on `model`, which is without autodiff. Without `place`
    /// the plain pass alone.
    pub fn at(
        model: &'a Transformer,
        tokens: &'a Tokens,
        pass: Pass,
        passes: usize,
        place: Option<Place<'_>>,
    ) -> Self {
        let mut states = model.row(model.embed(tokens.inputs.clone()));
        let hidden = rows(&states.hidden);
        let plain = said(model, hidden.clone(), tokens, None);
        let positions = place.map(|place| place(&plain.entropy)).filter(|found| found.count() > 0);
        let recycled = positions.map(|positions| {
            for _ in 1..passes {
                states = passes::recycled(model, tokens, states.clone(), &positions, &pass).0;
            }
            (positions, states)
        });
        Self { model, tokens, pass, plain, hidden, recycled }
    }

    /// The last recycled pass: its states, and its own at the recycled positions, `[N, D]`.
    pub fn last(&self, control: Control) -> Option<(States, Tensor<2>)> {
        let (positions, before) = self.recycled.as_ref()?;
        let pass = Pass { control, ..self.pass };
        Some(passes::recycled(self.model, self.tokens, before.clone(), positions, &pass))
    }

    /// What hidden states say: `[N, D]` at the recycled positions, or `[B·T, D]` at all.
    pub fn said(&self, hidden: Tensor<2>) -> Said {
        let positions = self.recycled.as_ref().map(|(positions, _)| positions);
        let all = hidden.dims()[0] == self.tokens.inputs.dims().iter().product::<usize>();
        said(self.model, hidden, self.tokens, positions.filter(|_| !all))
    }
}

fn said(model: &Transformer, hidden: Tensor<2>, tokens: &Tokens, at: Option<&Positions>) -> Said {
    let targets = match at {
        Some(positions) => tokens.targets_at(&positions.flat()),
        None => tokens.flat_targets(),
    };
    let scores = head::score(model, hidden, targets, None);
    Said { nll: scores.nll, entropy: scores.entropy }
}
