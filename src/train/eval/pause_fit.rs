//! Owns: fitting the pause vector, which shows how well one constant input can replace all states.
//! Must not know: validation, files.
//! Invariant: no other parameter of the model changes.

use crate::config::Control;
use crate::model::head::RequestedGradients;
use crate::model::{HiddenStates, TokenBatch, Transformer, head, rms};
use crate::recycle::passes::{self, RecycledPass};
use crate::recycle::placement::RecycledPositions;
use burn::module::{Module, Param};

/// Step size, relative to the root mean square of the embeddings.
const RELATIVE_RATE: f64 = 0.1;
/// Decay rates of the two moments (Adam, arXiv 1412.6980).
const BETA: (f64, f64) = (0.9, 0.99);

/// Fits `model`'s pause vector by `steps` updates on the mean nll at `positions` of `tokens`, where the pause
/// vector replaces every state. `states` are those before the recycled pass, without autodiff.
pub(in crate::train) fn fit_pause_vector(
    model: &mut Transformer,
    tokens: &TokenBatch,
    states: &HiddenStates,
    positions: &RecycledPositions,
    pass: &RecycledPass,
    steps: usize,
) {
    let mut frozen = model.valid();
    let pass = RecycledPass { control: Control::Pause, ..*pass };
    let indices = positions.flat_indices();
    let rate = rms(frozen.embed.weight.val().reshape([1, -1]), 1).reshape([1]) * RELATIVE_RATE;
    let mut pause = frozen.feedback.pause.val();
    let (mut first, mut second) = (pause.zeros_like(), pause.zeros_like());
    for step in 1..=steps as i32 {
        let leaf = pause.clone().autodiff().require_grad();
        frozen.feedback.pause = Param::initialized(frozen.feedback.pause.id, leaf.clone());
        let (_, hidden) = passes::recycled_pass(&frozen, tokens, states.clone(), positions, &pass);
        let targets = tokens.loss_targets_at(&indices);
        let requested = RequestedGradients { loss_weights: targets.weights, weight_grad_sum: None };
        let Some(grads) = head::score_hidden(&frozen, hidden.clone(), targets.ids, Some(requested)).grads else {
            return;
        };
        let Some(grad) = leaf.grad(&head::surrogate_loss(hidden, grads.hidden).backward()) else { return };
        first = first * BETA.0 + grad.clone() * (1.0 - BETA.0);
        second = second * BETA.1 + grad.square() * (1.0 - BETA.1);
        let (bias1, bias2) = (1.0 - BETA.0.powi(step), 1.0 - BETA.1.powi(step));
        pause = pause - first.clone() / bias1 / ((second.clone() / bias2).sqrt() + 1e-12) * rate.clone();
    }
    let id = model.feedback.pause.id;
    model.feedback.pause = Param::initialized(id, pause.autodiff().require_grad());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{SEQ_LEN, batch, model, pass};
    use burn::tensor::Tensor;

    #[test]
    fn fitting_lowers_the_loss_and_changes_nothing_else() {
        let (mut model, tokens) = (model(3), batch(3));
        let positions = RecycledPositions { seq_len: SEQ_LEN, rows: vec![vec![2, 5, 6], vec![4]] };
        let frozen = model.valid();
        let before = frozen.forward(frozen.embed(tokens.inputs.clone()));
        let loss = |model: &Transformer| {
            let (model, pass) = (model.valid(), RecycledPass { control: Control::Pause, ..pass() });
            let (_, hidden) = passes::recycled_pass(&model, &tokens, before.clone(), &positions, &pass);
            let scores = head::score_hidden(&model, hidden, tokens.targets_at(&positions.flat_indices()), None);
            scores.nll.mean().try_into_scalar::<f32>().unwrap()
        };
        let (first, weights) = (loss(&model), others(&model));
        fit_pause_vector(&mut model, &tokens, &before, &positions, &pass(), 40);
        assert!(loss(&model) < first - 0.3, "{first} {}", loss(&model));
        assert_eq!(weights, others(&model));
        assert!(model.feedback.pause.val().is_require_grad());
    }

    /// Returns the values of every parameter except the pause vector.
    fn others(model: &Transformer) -> Vec<f32> {
        struct ParamValues(Vec<f32>);
        impl burn::module::ModuleVisitor for ParamValues {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().try_into_vec_as::<f32>().unwrap());
            }
        }
        let mut model = model.clone();
        model.feedback.pause = model.feedback.pause.clone().map(|pause| pause * 0.0);
        let mut values = ParamValues(Vec::new());
        model.visit(&mut values);
        values.0
    }
}
