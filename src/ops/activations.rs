//! Owns: the activations of an MLP: SwiGLU (Shazeer, arXiv 2002.05202) and GELU (Hendrycks and Gimpel, arXiv
//! 1606.08415, tanh form), each as one operation with its own backward pass.
//! Must not know: the matrix products around them.
//! Invariant: a number of the result depends on one number, or one pair of numbers, of the input.

use super::graph::{
    CpuTensor, CustomBackward, Gradient, any_operand, cpu_op, cpu_tensor, gradient, is_native_cpu, operand, slice,
    with_custom_backward,
};
use super::simd::{dispatch, sigmoid, tanh};
use super::threads::{rows_per_chunk, unspecified_vec};
use super::trace::OpCost;
use super::{cast_like, to_f32};
use burn::backend::TensorMetadata;
use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

const SWIGLU: OpCost = OpCost::without_matmul("swiglu");
const GELU: OpCost = OpCost::without_matmul("gelu");

/// Returns `silu(g)·u` `[N, F]` of `pairs` `[N, 2F]`, whose rows are `g` followed by `u`.
pub fn swiglu(pairs: Tensor<2>) -> Tensor<2> {
    if !is_native_cpu(&pairs) {
        let _span = SWIGLU.forward_span();
        let input = pairs.clone().inner();
        return with_custom_backward(vec![any_operand(pairs)], swiglu_reference(input.clone()), SwigluBackward(input));
    }
    cpu_op(
        SWIGLU,
        vec![operand(pairs)],
        |operands| (swiglu_forward(&operands[0]), operands[0].clone()),
        |pairs, grad, _| vec![Some(swiglu_backward(&pairs, &grad))],
    )
}

/// The reference: SwiGLU composed of Burn's operations.
pub(super) fn swiglu_reference(pairs: Tensor<2>) -> Tensor<2> {
    let f = pairs.dims()[1] / 2;
    activation::silu(pairs.clone().narrow(1, 0, f)) * pairs.narrow(1, f, f)
}

/// SwiGLU's backward pass on other devices than the CPU. It needs the input alone, `[N, 2F]`.
#[derive(Clone, Debug)]
struct SwigluBackward(Tensor<2>);

impl CustomBackward for SwigluBackward {
    fn backward(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        let _span = SWIGLU.backward_span();
        let (f, grad) = (grad.dims()[1], to_f32(grad));
        let [g, u] = [0, f].map(|from| to_f32(self.0.clone().narrow(1, from, f)));
        let sigmoid = activation::sigmoid(g.clone());
        let silu = g * sigmoid.clone();
        let to_g = grad.clone() * u * (sigmoid.clone() + silu.clone() * (1.0 - sigmoid));
        let grads = [to_g, grad * silu].map(|grad| cast_like(grad, &self.0));
        vec![gradient(Tensor::cat(grads.into(), 1))]
    }
}

fn swiglu_forward(pairs: &CpuTensor) -> CpuTensor {
    let [n, f] = [pairs.shape()[0], pairs.shape()[1] / 2];
    let (mut out, pairs) = (unspecified_vec(n * f), slice(pairs));
    let rows = rows_per_chunk(n, f);
    let chunks = out.par_chunks_mut(rows * f).zip(pairs.par_chunks(rows * 2 * f));
    chunks.for_each(|(out, pairs)| {
        dispatch(
            #[inline(always)]
            || {
                for (out, pairs) in out.chunks_exact_mut(f).zip(pairs.chunks_exact(2 * f)) {
                    let (g, u) = pairs.split_at(f);
                    for ((out, g), u) in out.iter_mut().zip(g).zip(u) {
                        *out = g * sigmoid(*g) * u;
                    }
                }
            },
        );
    });
    cpu_tensor(out, [n, f])
}

fn swiglu_backward(pairs: &CpuTensor, grad: &CpuTensor) -> CpuTensor {
    let [n, f] = [pairs.shape()[0], pairs.shape()[1] / 2];
    let (mut out, pairs, grad) = (unspecified_vec(n * 2 * f), slice(pairs), slice(grad));
    let rows = rows_per_chunk(n, f);
    let inputs = pairs.par_chunks(rows * 2 * f).zip(grad.par_chunks(rows * f));
    out.par_chunks_mut(rows * 2 * f).zip(inputs).for_each(|(out, (pairs, grad))| {
        dispatch(
            #[inline(always)]
            || {
                let rows = pairs.chunks_exact(2 * f).zip(grad.chunks_exact(f));
                for (out, (pairs, grad)) in out.chunks_exact_mut(2 * f).zip(rows) {
                    let ((to_g, to_u), (g, u)) = (out.split_at_mut(f), pairs.split_at(f));
                    let columns = g.iter().zip(u).zip(grad);
                    for ((to_g, to_u), ((g, u), grad)) in to_g.iter_mut().zip(to_u).zip(columns) {
                        let gate = sigmoid(*g);
                        let silu = g * gate;
                        *to_u = grad * silu;
                        *to_g = grad * u * (gate + silu * (1.0 - gate));
                    }
                }
            },
        );
    });
    cpu_tensor(out, [n, 2 * f])
}

/// Returns `gelu(x)` in its tanh form, `[N, F]`.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if !is_native_cpu(&x) {
        let _span = GELU.forward_span();
        let input = x.clone().inner();
        return with_custom_backward(vec![any_operand(x)], gelu_reference(input.clone()), GeluBackward(input));
    }
    cpu_op(
        GELU,
        vec![operand(x)],
        |operands| (zip_map(&operands[0], &operands[0], |x, _| x * normal_cdf(x).0), operands[0].clone()),
        |x, grad, _| {
            vec![Some(zip_map(&x, &grad, |x, grad| {
                let (cdf, slope) = normal_cdf(x);
                grad * (cdf + x * slope)
            }))]
        },
    )
}

/// The reference: GELU composed of Burn's operations.
pub(super) fn gelu_reference(x: Tensor<2>) -> Tensor<2> {
    activation::gelu_approximate(x)
}

/// GELU's backward pass on other devices than the CPU. It needs the input alone, `[N, F]`.
#[derive(Clone, Debug)]
struct GeluBackward(Tensor<2>);

impl CustomBackward for GeluBackward {
    fn backward(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        let _span = GELU.backward_span();
        let x = to_f32(self.0.clone());
        let square = x.clone() * x.clone();
        let t = ((square.clone() * CUBIC_COEFFICIENT + 1.0) * x.clone() * SQRT_2_OVER_PI).tanh();
        let slope =
            (1.0 - t.clone() * t.clone()) * x * (square * (3.0 * CUBIC_COEFFICIENT) + 1.0) * (0.5 * SQRT_2_OVER_PI);
        vec![gradient(cast_like(to_f32(grad) * ((t + 1.0) * 0.5 + slope), &self.0))]
    }
}

/// `√(2/π)`, the factor in GELU's tanh form.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// The coefficient of x³ in GELU's tanh form.
const CUBIC_COEFFICIENT: f32 = 0.044_715;

/// Returns `(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2`, a normal distribution function, and its slope.
#[inline(always)]
fn normal_cdf(x: f32) -> (f32, f32) {
    let t = tanh(SQRT_2_OVER_PI * (x + CUBIC_COEFFICIENT * x * x * x));
    (0.5 * (1.0 + t), 0.5 * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC_COEFFICIENT * x * x))
}

/// Applies `f` to each number of `a` and the number of `b` at the same index.
fn zip_map(a: &CpuTensor, b: &CpuTensor, f: impl Fn(f32, f32) -> f32 + Sync) -> CpuTensor {
    let shape = a.shape();
    let (mut out, a, b) = (unspecified_vec(shape.num_elements()), slice(a), slice(b));
    let chunk = rows_per_chunk(out.len(), 1);
    let inputs = a.par_chunks(chunk).zip(b.par_chunks(chunk));
    out.par_chunks_mut(chunk).zip(inputs).for_each(|(out, (a, b))| {
        dispatch(
            #[inline(always)]
            || {
                for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                    *out = f(*a, *b);
                }
            },
        );
    });
    cpu_tensor(out, shape)
}
