//! Owns: the arithmetic of an AdamW update (Loshchilov and Hutter, arXiv 1711.05101) and of a gradient's norm, one pass over
//! the numbers each.
//! Must not know: which parameters there are.
//! Invariant: parameter and moments are changed in place where nobody else has them.

use super::graph::{Values, constant, ours, slice, tensor, whole};
use super::trace::{Of, span};
use super::vector::{self, wide};
use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Numbers a part: little enough to stay in a core's own cache, enough to be worth handing out.
const PART: usize = 1 << 15;

/// What all parameters of an update have in common.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// Multiplies every gradient, as clipping does.
    pub scale: f64,
    /// Updates of this parameter, this one included.
    pub time: i32,
}

impl Update {
    /// `lr / (1 - β₁ᵗ)` and `1 / √(1 - β₂ᵗ)`.
    fn corrections(&self) -> (f64, f64) {
        (self.lr / (1.0 - self.betas.0.powi(self.time)), (1.0 - self.betas.1.powi(self.time)).sqrt().recip())
    }

    /// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`, `p ← (1 - lr·decay)·p - lr/(1-β₁ᵗ) · m / (√(v/(1-β₂ᵗ)) + eps)`: the new
    /// parameter, and the new moments. All without autodiff.
    pub fn step<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let _span = span("adamw", Of::Whole, 0.0);
        if ours(&param) { self.own(param, grad, moments) } else { self.composed(param, grad, moments) }
    }

    fn own<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let grad = constant(grad);
        let [mut param, mut first, mut second] = [param, first, second].map(|tensor| whole(constant(tensor)));
        let (rate, root) = self.corrections();
        let (rate, root, eps, scale) = (rate as f32, root as f32, self.eps as f32, self.scale as f32);
        let (keep1, keep2, rest) =
            (self.betas.0 as f32, self.betas.1 as f32, (1.0 - self.lr * self.decay) as f32);
        let (new1, new2) = ((1.0 - self.betas.0) as f32, (1.0 - self.betas.1) as f32);
        let parts = (param.storage_mut::<f32>().par_chunks_mut(PART))
            .zip(first.storage_mut::<f32>().par_chunks_mut(PART))
            .zip(second.storage_mut::<f32>().par_chunks_mut(PART))
            .zip(slice(&grad).par_chunks(PART));
        parts.for_each(|(((param, first), second), grad)| {
            wide(
                #[inline(always)]
                || {
                    let moments = first.iter_mut().zip(&mut *second);
                    for ((p, (m, v)), g) in param.iter_mut().zip(moments).zip(grad) {
                        let g = g * scale;
                        *m = keep1 * *m + new1 * g;
                        *v = keep2 * *v + new2 * g * g;
                        *p = rest * *p - rate * *m / (v.sqrt() * root + eps);
                    }
                },
            );
        });
        let made = |values: Values| Tensor::from_primitive::<Flex>(values);
        (made(param), [made(first), made(second)])
    }

    /// The same of Burn's own operations.
    pub(super) fn composed<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let (rate, root) = self.corrections();
        let grad = grad * self.scale;
        let first = first * self.betas.0 + grad.clone() * (1.0 - self.betas.0);
        let second = second * self.betas.1 + grad.square() * (1.0 - self.betas.1);
        let step = first.clone() * rate / (second.clone().sqrt() * root + self.eps);
        (param * (1.0 - self.lr * self.decay) - step, [first, second])
    }
}

/// `Σ g²`, `[1]`.
pub fn square_sum<const D: usize>(grad: Tensor<D>) -> Tensor<1> {
    let _span = span("square_sum", Of::Whole, 0.0);
    if !ours(&grad) {
        return grad.square().sum();
    }
    let grad = constant(grad);
    // Each part in lanes of f32, the parts in f64.
    let parts: Vec<f32> = slice(&grad).par_chunks(PART).map(square).collect();
    tensor(vec![parts.into_iter().map(f64::from).sum::<f64>() as f32], [1])
}

fn square(part: &[f32]) -> f32 {
    wide(
        #[inline(always)]
        || vector::dot(part, part),
    )
}

/// `a + b`, in place where nobody else has `a`.
pub fn sum<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let _span = span("sum", Of::Whole, 0.0);
    if !ours(&a) || a.device().is_autodiff() {
        return a + b;
    }
    let (mut a, b) = (whole(constant(a)), constant(b));
    let parts = a.storage_mut::<f32>().par_chunks_mut(PART).zip(slice(&b).par_chunks(PART));
    parts.for_each(|(a, b)| {
        wide(
            #[inline(always)]
            || vector::add(a, b),
        );
    });
    Tensor::from_primitive::<Flex>(a)
}
