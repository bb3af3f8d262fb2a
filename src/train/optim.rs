//! Owns: AdamW over the model's parameters, which of them decay, and the global gradient norm.
//! Must not know: where gradients come from.
//! Invariant: norms and biases never decay.

use crate::config::Optim;
use crate::model::Transformer;
use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;

/// AdamW with decoupled weight decay on matrices alone.
pub(super) fn adamw(optim: &Optim, model: &Transformer) -> ModuleOptimizer {
    let with_decay = |decay: f64| {
        AdamWConfig::new()
            .with_beta_1(optim.beta1 as f32)
            .with_beta_2(optim.beta2 as f32)
            .with_epsilon(optim.eps as f32)
            .with_weight_decay(decay as f32)
            .build()
    };
    let mut vectors = Vectors(Vec::new());
    model.visit(&mut vectors);
    ModuleOptimizer::from(with_decay(optim.weight_decay)).with_group(
        ParamGroup::from_ids(vectors.0),
        with_decay(0.0),
        None,
    )
}

/// Collects the parameters that are no matrices.
struct Vectors(Vec<ParamId>);

impl ModuleVisitor for Vectors {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D < 2 {
            self.0.push(param.id);
        }
    }
}

/// Square of the global norm of `grads`, `[1]`, on the device.
pub(super) fn square_norm(model: &Transformer, grads: &GradientsParams) -> Option<Tensor<1>> {
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
            let square = grad.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

/// `grads` times `factor`.
pub(super) fn scale(model: &Transformer, grads: GradientsParams, factor: f64) -> GradientsParams {
    let mut scaled = Scale { from: grads, to: GradientsParams::new(), factor };
    model.visit(&mut scaled);
    scaled.to
}

struct Scale {
    from: GradientsParams,
    to: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.from.remove::<D>(param.id) {
            self.to.register(param.id, grad * self.factor);
        }
    }
}
