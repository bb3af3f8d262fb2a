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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::Shape;
    use burn::tensor::Device;

    fn model() -> Transformer {
        let config =
            config::Model { arch: config::Arch::Gpt2, width: 8, layers: 1, heads: 2, ..Default::default() };
        Transformer::new(Shape::from_config(&config, 11, 6), 1, 0.1, &Device::flex().autodiff())
    }

    /// `value` as every gradient.
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
        let after = adamw(&optim, &before).step(0.1, before.clone(), filled(&before, 0.0));
        let ratio = |a: Vec<f32>, b: Vec<f32>| a[0] / b[0];
        let (up, old) = (&after.blocks[0].mlp.up, &before.blocks[0].mlp.up);
        assert!((ratio(values(up.weight.val()), values(old.weight.val())) - 0.95).abs() < 1e-5);
        assert_eq!(values(after.norm.weight.val()), values(before.norm.weight.val()));
        assert!(
            (ratio(values(after.embed.weight.val()), values(before.embed.weight.val())) - 0.95).abs() < 1e-5
        );
    }

    #[test]
    fn a_step_goes_against_the_gradient_by_the_learning_rate() {
        let before = model();
        let optim = Optim { weight_decay: 0.0, ..Default::default() };
        let after = adamw(&optim, &before).step(0.1, before.clone(), filled(&before, 3.0));
        for (a, b) in values(after.embed.weight.val()).iter().zip(values(before.embed.weight.val())) {
            assert!((b - a - 0.1).abs() < 1e-4, "{b} {a}");
        }
    }

    #[test]
    fn scaling_brings_the_norm_to_the_limit() {
        let model = model();
        let grads = filled(&model, 2.0);
        let norm = |grads: &GradientsParams| f64::from(values(square_norm(&model, grads).unwrap())[0]).sqrt();
        let before = norm(&grads);
        assert!((before - 2.0 * (model.num_params() as f64).sqrt()).abs() < 1e-3 * before);
        let after = norm(&scale(&model, grads, 1.0 / before));
        assert!((after - 1.0).abs() < 1e-5, "{after}");
    }
}
