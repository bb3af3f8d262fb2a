//! Owns: AdamW over the model's parameters, which of them decay, and the global gradient norm.
//! Must not know: where gradients come from.
//! Invariant: norms and biases never decay.

use crate::config::Optim;
use crate::model::Transformer;
use crate::ops::adamw::{AdamWUpdate, square_sum};
use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamWState, AdaptiveMomentumState, GradientsParams, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns AdamW with weight decay on matrices only, and the handle that scales its next step's gradients.
pub(in crate::train) fn adamw(optim: &Optim, model: &Transformer) -> (ModuleOptimizer, GradScale) {
    let grad_scale = GradScale::default();
    let with_decay = |decay: f64| AdamW {
        betas: (optim.beta1, optim.beta2),
        eps: optim.eps,
        weight_decay: decay,
        grad_scale: grad_scale.clone(),
    };
    let mut vectors = VectorParams(Vec::new());
    model.visit(&mut vectors);
    let optimizer = ModuleOptimizer::from(with_decay(optim.weight_decay)).with_group(
        ParamGroup::from_ids(vectors.0),
        with_decay(0.0),
        None,
    );
    (optimizer, grad_scale)
}

/// A factor on all gradients of a step, for clipping. Applied in the update, it saves a pass over the gradients.
#[derive(Clone)]
pub(in crate::train) struct GradScale(Arc<AtomicU64>);

impl Default for GradScale {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1.0_f64.to_bits())))
    }
}

impl GradScale {
    pub fn set(&self, scale: f64) {
        self.0.store(scale.to_bits(), Ordering::Relaxed);
    }
}

/// Applies the update of `ops::adamw`, and keeps its moments in the form of Burn's AdamW.
#[derive(Clone)]
struct AdamW {
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    grad_scale: GradScale,
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (moments, time) = match state.map(|state| state.momentum) {
            Some(kept) => ([kept.moment_1, kept.moment_2], kept.time + 1),
            None => ([grad.zeros_like(), grad.zeros_like()], 1),
        };
        let update = AdamWUpdate {
            lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            grad_scale: f64::from_bits(self.grad_scale.0.load(Ordering::Relaxed)),
            update_count: time as i32,
        };
        let (param, [first, second]) = update.apply(tensor, grad, moments);
        (param, Some(AdamWState::new(AdaptiveMomentumState::new(time, first, second))))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// Collects the ids of the parameters that are not matrices.
struct VectorParams(Vec<ParamId>);

impl ModuleVisitor for VectorParams {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D < 2 {
            self.0.push(param.id);
        }
    }
}

/// Returns the square of the global norm of `grads`, `[1]`, on the device; `None` without gradients.
pub fn grad_square_norm(model: &Transformer, grads: &GradientsParams) -> Option<Tensor<1>> {
    let mut sum = SquareSum { grads, sum: None };
    model.visit(&mut sum);
    sum.sum
}

struct SquareSum<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SquareSum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let square = square_sum(grad);
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::optim::AdamWConfig;

    fn model() -> Transformer {
        let config = config::Model { arch: config::Arch::Gpt2, width: 8, layers: 1, heads: 2, ..Default::default() };
        Transformer::new(ModelShape::from_config(&config, 11, 6), 1, 0.1, &Device::flex().autodiff())
    }

    /// Registers a constant as every gradient.
    struct Fill(GradientsParams, f64);

    impl ModuleVisitor for Fill {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register(param.id, param.val().inner().zeros_like() + self.1);
        }
    }

    fn filled(model: &Transformer, value: f64) -> GradientsParams {
        let mut fill = Fill(GradientsParams::new(), value);
        model.visit(&mut fill);
        fill.0
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    #[test]
    fn matrices_decay_and_vectors_do_not() {
        let before = model();
        let optim = Optim { weight_decay: 0.5, ..Default::default() };
        let after = adamw(&optim, &before).0.step(0.1, before.clone(), filled(&before, 0.0));
        let ratio = |a: Vec<f32>, b: Vec<f32>| a[0] / b[0];
        let (up, old) = (&after.blocks[0].mlp.up, &before.blocks[0].mlp.up);
        assert!((ratio(values(up.weight.val()), values(old.weight.val())) - 0.95).abs() < 1e-5);
        assert_eq!(values(after.norm.weight.val()), values(before.norm.weight.val()));
        assert!((ratio(values(after.embed.weight.val()), values(before.embed.weight.val())) - 0.95).abs() < 1e-5);
    }

    #[test]
    fn a_step_goes_against_the_gradient_by_the_learning_rate() {
        let before = model();
        let optim = Optim { weight_decay: 0.0, ..Default::default() };
        let after = adamw(&optim, &before).0.step(0.1, before.clone(), filled(&before, 3.0));
        for (a, b) in values(after.embed.weight.val()).iter().zip(values(before.embed.weight.val())) {
            assert!((b - a - 0.1).abs() < 1e-4, "{b} {a}");
        }
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let model = model();
        let norm = f64::from(values(grad_square_norm(&model, &filled(&model, 2.0)).unwrap())[0]).sqrt();
        assert!((norm - 2.0 * (model.num_params() as f64).sqrt()).abs() < 1e-3 * norm);
    }

    #[test]
    fn a_scale_multiplies_the_gradients() {
        let before = model();
        let optim = Optim { eps: 1.0, ..Default::default() };
        let step = |grad: f64, scale: f64| {
            let (mut optimizer, grad_scale) = adamw(&optim, &before);
            grad_scale.set(scale);
            values(optimizer.step(0.1, before.clone(), filled(&before, grad)).embed.weight.val())
        };
        assert_eq!(step(3.0, 0.5), step(1.5, 1.0));
        assert_ne!(step(3.0, 1.0), step(1.5, 1.0));
    }

    #[test]
    fn burns_own_optimizer_does_the_same() {
        let before = model();
        let optim = Optim { weight_decay: 0.3, ..Default::default() };
        let mut ours = adamw(&optim, &before).0;
        let mut theirs = AdamWConfig::new()
            .with_beta_1(optim.beta1 as f32)
            .with_beta_2(optim.beta2 as f32)
            .with_epsilon(optim.eps as f32)
            .with_weight_decay(optim.weight_decay as f32)
            .init();
        let (mut a, mut b) = (before.clone(), before.clone());
        for grad in [0.3, -0.2, 0.05] {
            a = ours.step(0.01, a, filled(&before, grad));
            b = theirs.step(0.01, b, filled(&before, grad));
        }
        for (a, b) in values(a.embed.weight.val()).iter().zip(values(b.embed.weight.val())) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
