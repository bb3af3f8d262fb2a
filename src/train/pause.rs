//! Owns: fitting the pause vector: what one constant input can do in the place of all states.
//! Must not know: validation, files.
//! Invariant: nothing else of the model changes.

use crate::config::Control;
use crate::model::head::Wanted;
use crate::model::{States, Tokens, Transformer, head, rms};
use crate::recycle::passes::{self, Pass};
use crate::recycle::placement::Positions;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Step size, in shares of the embeddings' root mean square.
const RATE: f64 = 0.1;
/// Decays of the moments (Adam, arXiv 1412.6980).
const BETA: (f64, f64) = (0.9, 0.99);

/// `steps` updates of `model`'s pause vector on the mean nll at `positions` of `tokens`, a pause standing in the place of
/// every state. `before` are the states before the pass, without autodiff.
pub(super) fn fit(
    model: &mut Transformer,
    tokens: &Tokens,
    before: &States,
    positions: &Positions,
    pass: &Pass,
    steps: usize,
) {
    let mut frozen = model.valid();
    let pass = Pass { control: Control::Pause, ..*pass };
    let targets = tokens.targets_at(&positions.flat());
    let rate = rms(frozen.embed.weight.val().reshape([1, -1]), 1).reshape([1]) * RATE;
    let mut pause = frozen.feedback.pause.val();
    let (mut first, mut second) = (pause.zeros_like(), pause.zeros_like());
    for step in 1..=steps as i32 {
        let leaf = pause.clone().autodiff().require_grad();
        frozen.feedback.pause = Param::initialized(frozen.feedback.pause.id, leaf.clone());
        let (_, own) = passes::recycled(&frozen, tokens, before.clone(), positions, &pass);
        let n = own.dims()[0];
        let weights = Tensor::full([n], 1.0 / n as f64, &own.device().without_autodiff());
        let wanted = Wanted { weights, sum: None };
        let Some(grads) = head::score(&frozen, own.clone(), targets.clone(), Some(wanted)).grads else {
            return;
        };
        let Some(grad) = leaf.grad(&head::surrogate(own, grads.hidden).backward()) else { return };
        first = first * BETA.0 + grad.clone() * (1.0 - BETA.0);
        second = second * BETA.1 + grad.square() * (1.0 - BETA.1);
        let (bias, spread) = (1.0 - BETA.0.powi(step), 1.0 - BETA.1.powi(step));
        pause = pause - first.clone() / bias / ((second.clone() / spread).sqrt() + 1e-12) * rate.clone();
    }
    let id = model.feedback.pause.id;
    model.feedback.pause = Param::initialized(id, pause.autodiff().require_grad());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{SEQ_LEN, batch, model, pass};

    #[test]
    fn fitting_lowers_the_loss_and_changes_nothing_else() {
        let (mut model, tokens) = (model(3), batch(3));
        let positions = Positions { seq_len: SEQ_LEN, rows: vec![vec![2, 5, 6], vec![4]] };
        let frozen = model.valid();
        let before = frozen.row(frozen.embed(tokens.inputs.clone()));
        let loss = |model: &Transformer| {
            let (model, pass) = (model.valid(), Pass { control: Control::Pause, ..pass() });
            let (_, own) = passes::recycled(&model, &tokens, before.clone(), &positions, &pass);
            let said = head::score(&model, own, tokens.targets_at(&positions.flat()), None);
            said.nll.mean().try_into_scalar::<f32>().unwrap()
        };
        let (first, weights) = (loss(&model), others(&model));
        fit(&mut model, &tokens, &before, &positions, &pass(), 40);
        assert!(loss(&model) < first - 0.3, "{first} {}", loss(&model));
        assert_eq!(weights, others(&model));
        assert!(model.feedback.pause.val().is_require_grad());
    }

    /// Every parameter but the pause.
    fn others(model: &Transformer) -> Vec<f32> {
        struct Values(Vec<f32>);
        impl burn::module::ModuleVisitor for Values {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().try_into_vec_as::<f32>().unwrap());
            }
        }
        let mut model = model.clone();
        model.feedback.pause = model.feedback.pause.clone().map(|pause| pause * 0.0);
        let mut values = Values(Vec::new());
        model.visit(&mut values);
        values.0
    }
}
