//! Owns: the recycled states computed sequentially, as after pre-training (Hao et al., arXiv 2412.06769).
//! Each piece of the row waits for the preceding state; keys and values are cached.
//! Must not know: where the columns come from.
//! Invariant: the result is the exact recurrence, which R dense recycled passes reach, too.

use crate::config::Control;
use crate::model::cost::BACKWARD_FACTOR;
use crate::model::{HiddenStates, KeysValues, TokenBatch, Transformer};
use burn::tensor::Tensor;

/// Runs the rows of `tokens` sequentially. The input at every position in `columns` (ascending, at least 1,
/// the same for all rows) is replaced by the state of the preceding position times `scale`. Returns the
/// hidden states `[B, T, D]` with all keys and values. Gradient flows through the whole chain.
pub fn run_sequential(model: &Transformer, tokens: &TokenBatch, columns: &[usize], scale: f64) -> HiddenStates {
    let embeddings = model.embed(tokens.inputs.clone());
    let [_, t, _] = embeddings.dims();
    let mut from = 0;
    let mut flop = model.feedback.flop(columns.len() * tokens.inputs.dims()[0], Control::None);
    let (mut context, mut hidden) = (Vec::<KeysValues>::new(), Vec::<Tensor<3>>::new());
    for &to in columns.iter().chain(&[t]) {
        let mut piece = embeddings.clone().narrow(1, from, to - from);
        if let Some(previous) = hidden.last() {
            let first = recycled_input(model, previous, piece.clone().narrow(1, 0, 1), scale);
            piece = match to - from {
                1 => first,
                len => Tensor::cat(vec![first, piece.narrow(1, 1, len - 1)], 1),
            };
        }
        let states = model.forward_from(piece, from, &context);
        context = match context.is_empty() {
            true => states.keys_values,
            false => context.iter().zip(&states.keys_values).map(|(cached, next)| cached.concat(next)).collect(),
        };
        flop += states.flop;
        hidden.push(states.hidden);
        from = to;
    }
    HiddenStates { hidden: Tensor::cat(hidden, 1), keys_values: context, flop, backward_flop: BACKWARD_FACTOR * flop }
}

/// Returns the input `[B, 1, D]` that the feedback makes of the last state and the token's embedding.
fn recycled_input(model: &Transformer, states: &Tensor<3>, token: Tensor<3>, scale: f64) -> Tensor<3> {
    let [_, s, _] = states.dims();
    let last = states.clone().narrow(1, s - 1, 1).squeeze_dim::<2>(1);
    let state = model.feedback.transform_state(last, model.embed.weight.val()) * scale;
    model.feedback.combine_input(state, || token.squeeze_dim(1)).unsqueeze_dim(1)
}
