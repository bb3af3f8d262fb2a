//! Owns: the same recycled states computed one after another, as after pre-training (Hao et al., arXiv 2412.06769): each
//! piece of the row waits for the state before it; keys and values are kept.
//! Must not know: where the columns come from.
//! Invariant: what it computes is the exact recurrence, which R dense recycled passes reach too.

use crate::model::cost::BACKWARD;
use crate::model::{KeysValues, States, Tokens, Transformer};
use burn::tensor::Tensor;

/// Runs the rows of `tokens` with the input at every position of `columns` (ascending, at least 1, the same for all rows)
/// replaced by the state of the position before, times `scale`. Hidden states `[B, T, D]`, with all keys and values;
/// gradient flows through the whole chain.
pub fn sequential(model: &Transformer, tokens: &Tokens, columns: &[usize], scale: f64) -> States {
    let embeddings = model.embed(tokens.inputs.clone());
    let [_, t, _] = embeddings.dims();
    let mut from = 0;
    let mut flop = model.feedback.flop(columns.len() * tokens.inputs.dims()[0], true);
    let (mut context, mut hidden) = (Vec::<KeysValues>::new(), Vec::<Tensor<3>>::new());
    for &to in columns.iter().chain(&[t]) {
        let mut piece = embeddings.clone().narrow(1, from, to - from);
        if let Some(before) = hidden.last() {
            let first = fed(model, before, piece.clone().narrow(1, 0, 1), scale);
            piece = match to - from {
                1 => first,
                more => Tensor::cat(vec![first, piece.narrow(1, 1, more - 1)], 1),
            };
        }
        let states = model.next(piece, from, &context);
        context = match context.is_empty() {
            true => states.context,
            false => context.iter().zip(&states.context).map(|(kept, next)| kept.then(next)).collect(),
        };
        flop += states.flop;
        hidden.push(states.hidden);
        from = to;
    }
    States { hidden: Tensor::cat(hidden, 1), context, flop, backward_flop: BACKWARD * flop }
}

/// The input `[B, 1, D]` made of the last state of `before` `[B, S, D]` and the token's embedding `[B, 1, D]`.
fn fed(model: &Transformer, before: &Tensor<3>, token: Tensor<3>, scale: f64) -> Tensor<3> {
    let [_, s, _] = before.dims();
    let last = before.clone().narrow(1, s - 1, 1).squeeze_dim::<2>(1);
    let state = model.feedback.state(last, model.embed.weight.val()) * scale;
    model.feedback.input(state, || token.squeeze_dim(1)).unsqueeze_dim(1)
}
