//! Owns: an AdamW update (Loshchilov and Hutter, arXiv 1711.05101) and a gradient's norm, in one pass each.
//! Must not know: which parameters there are.
//! Invariant: parameter and moments are changed in place if nobody else holds them.

use super::graph::{CpuTensor, detach, is_native_cpu, make_unique, slice, tensor_from_vec};
use super::simd::{self, dispatch};
use super::trace::{SpanKind, span};
use burn::backend::Flex;
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Numbers per parallel chunk: few enough to stay in a core's own cache, enough to be worth a task.
pub(super) const CHUNK: usize = 1 << 15;

/// The coefficients of one AdamW update of a parameter.
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    /// Decoupled weight decay; an update multiplies the parameter by `1 - lr·weight_decay`.
    pub weight_decay: f64,
    /// Factor on every gradient, such as the one that clips them.
    pub grad_scale: f64,
    /// Updates of this parameter so far, including this one: `t`, at least 1.
    pub update_count: i32,
}

impl AdamWUpdate {
    /// Returns the bias corrections `lr / (1 - β₁ᵗ)` and `1 / √(1 - β₂ᵗ)`.
    fn bias_corrections(&self) -> (f64, f64) {
        (
            self.lr / (1.0 - self.betas.0.powi(self.update_count)),
            (1.0 - self.betas.1.powi(self.update_count)).sqrt().recip(),
        )
    }

    /// Returns the updated parameter and moments; all tensors are without autodiff.
    ///
    /// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`,
    /// `p ← (1 - lr·weight_decay)·p - lr/(1-β₁ᵗ) · m / (√(v/(1-β₂ᵗ)) + eps)`.
    pub fn apply<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let _span = span("adamw", SpanKind::NoGraph, 0.0);
        if is_native_cpu(&param) { self.fused(param, grad, moments) } else { self.reference(param, grad, moments) }
    }

    fn fused<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let grad = detach(grad);
        let [mut param, mut first, mut second] = [param, first, second].map(|tensor| make_unique(detach(tensor)));
        let (rate, root) = self.bias_corrections();
        let (rate, root, eps, scale) = (rate as f32, root as f32, self.eps as f32, self.grad_scale as f32);
        let (beta1, beta2, shrink) =
            (self.betas.0 as f32, self.betas.1 as f32, (1.0 - self.lr * self.weight_decay) as f32);
        let (gain1, gain2) = ((1.0 - self.betas.0) as f32, (1.0 - self.betas.1) as f32);
        let chunks = (param.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(first.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(second.storage_mut::<f32>().par_chunks_mut(CHUNK))
            .zip(slice(&grad).par_chunks(CHUNK));
        chunks.for_each(|(((param, first), second), grad)| {
            dispatch(
                #[inline(always)]
                || {
                    let moments = first.iter_mut().zip(&mut *second);
                    for ((p, (m, v)), g) in param.iter_mut().zip(moments).zip(grad) {
                        let g = g * scale;
                        *m = beta1 * *m + gain1 * g;
                        *v = beta2 * *v + gain2 * g * g;
                        *p = shrink * *p - rate * *m / (v.sqrt() * root + eps);
                    }
                },
            );
        });
        let wrap = |values: CpuTensor| Tensor::from_primitive::<Flex>(values);
        (wrap(param), [wrap(first), wrap(second)])
    }

    /// The reference: the same update composed of Burn's operations.
    pub(super) fn reference<const D: usize>(
        &self,
        param: Tensor<D>,
        grad: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let (rate, root) = self.bias_corrections();
        let grad = grad * self.grad_scale;
        let first = first * self.betas.0 + grad.clone() * (1.0 - self.betas.0);
        let second = second * self.betas.1 + grad.square() * (1.0 - self.betas.1);
        let step = first.clone() * rate / (second.clone().sqrt() * root + self.eps);
        (param * (1.0 - self.lr * self.weight_decay) - step, [first, second])
    }
}

/// Returns `Σ g²`, `[1]`.
pub fn square_sum<const D: usize>(grad: Tensor<D>) -> Tensor<1> {
    let _span = span("square_sum", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&grad) {
        return grad.square().sum();
    }
    let grad = detach(grad);
    // Each chunk is summed in f32 lanes, the sums of chunks in f64.
    let chunks: Vec<f32> = slice(&grad).par_chunks(CHUNK).map(chunk_square_sum).collect();
    tensor_from_vec(vec![chunks.into_iter().map(f64::from).sum::<f64>() as f32], [1])
}

fn chunk_square_sum(chunk: &[f32]) -> f32 {
    dispatch(
        #[inline(always)]
        || simd::dot(chunk, chunk),
    )
}

/// Returns `a + b`, computed in place if nobody else holds `a`.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let _span = span("sum", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&a) || a.device().is_autodiff() {
        return a + b;
    }
    let (mut a, b) = (make_unique(detach(a)), detach(b));
    let chunks = a.storage_mut::<f32>().par_chunks_mut(CHUNK).zip(slice(&b).par_chunks(CHUNK));
    chunks.for_each(|(a, b)| {
        dispatch(
            #[inline(always)]
            || simd::add(a, b),
        );
    });
    Tensor::from_primitive::<Flex>(a)
}
