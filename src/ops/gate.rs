//! Owns: what an MLP does between its products: SwiGLU (Shazeer, arXiv 2002.05202) and GELU (Hendrycks and Gimpel, arXiv
//! 1606.08415, tanh form), each as one operation with its own backward pass.
//! Must not know: the products.
//! Invariant: each number depends on the same number, or pair of numbers, alone.

use super::graph::{
    Gradient, Recompute, Values, gradient, operand, operation, ours, place, recompute, slice, values,
};
use super::threads::{deal, unwritten};
use super::trace::Work;
use super::vector::{sigmoid, tanh, wide};
use super::{alike, f32};
use burn::backend::TensorMetadata;
use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

const SWIGLU: Work = Work::light("swiglu");
const GELU: Work = Work::light("gelu");

/// `silu(g)·u` `[N, F]` of `pairs` `[N, 2F]`, in whose rows `g` stands before `u`.
pub fn swiglu(pairs: Tensor<2>) -> Tensor<2> {
    if !ours(&pairs) {
        let _span = SWIGLU.goes();
        let kept = pairs.clone().inner();
        return recompute(vec![place(pairs)], swiglu_composed(kept.clone()), Swiglu(kept));
    }
    operation(
        SWIGLU,
        vec![operand(pairs)],
        |operands| (swiglu_forward(&operands[0]), operands[0].clone()),
        |pairs, grad, _| vec![Some(swiglu_backward(&pairs, &grad))],
    )
}

/// The same of Burn's own operations.
pub(super) fn swiglu_composed(pairs: Tensor<2>) -> Tensor<2> {
    let f = pairs.dims()[1] / 2;
    activation::silu(pairs.clone().narrow(1, 0, f)) * pairs.narrow(1, f, f)
}

/// The input of a SwiGLU elsewhere than on the CPU, which is all that its way back needs.
#[derive(Clone, Debug)]
struct Swiglu(Tensor<2>);

impl Recompute for Swiglu {
    fn back(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        let _span = SWIGLU.returns();
        let (f, grad) = (grad.dims()[1], f32(grad));
        let [g, u] = [0, f].map(|from| f32(self.0.clone().narrow(1, from, f)));
        let open = activation::sigmoid(g.clone());
        let silu = g * open.clone();
        let to_g = grad.clone() * u * (open.clone() + silu.clone() * (1.0 - open));
        let found = [to_g, grad * silu].map(|found| alike(found, &self.0));
        vec![gradient(Tensor::cat(found.into(), 1))]
    }
}

fn swiglu_forward(pairs: &Values) -> Values {
    let [n, f] = [pairs.shape()[0], pairs.shape()[1] / 2];
    let (mut out, pairs) = (unwritten(n * f), slice(pairs));
    let each = deal(n, f);
    let parts = out.par_chunks_mut(each * f).zip(pairs.par_chunks(each * 2 * f));
    parts.for_each(|(out, pairs)| {
        wide(
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
    values(out, [n, f])
}

fn swiglu_backward(pairs: &Values, grad: &Values) -> Values {
    let [n, f] = [pairs.shape()[0], pairs.shape()[1] / 2];
    let (mut out, pairs, grad) = (unwritten(n * 2 * f), slice(pairs), slice(grad));
    let each = deal(n, f);
    let from = pairs.par_chunks(each * 2 * f).zip(grad.par_chunks(each * f));
    out.par_chunks_mut(each * 2 * f).zip(from).for_each(|(out, (pairs, grad))| {
        wide(
            #[inline(always)]
            || {
                let rows = pairs.chunks_exact(2 * f).zip(grad.chunks_exact(f));
                for (out, (pairs, grad)) in out.chunks_exact_mut(2 * f).zip(rows) {
                    let ((to_g, to_u), (g, u)) = (out.split_at_mut(f), pairs.split_at(f));
                    let columns = g.iter().zip(u).zip(grad);
                    for ((to_g, to_u), ((g, u), grad)) in to_g.iter_mut().zip(to_u).zip(columns) {
                        let open = sigmoid(*g);
                        let silu = g * open;
                        *to_u = grad * silu;
                        *to_g = grad * u * (open + silu * (1.0 - open));
                    }
                }
            },
        );
    });
    values(out, [n, 2 * f])
}

/// `gelu(x)`, `[N, F]`.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if !ours(&x) {
        let _span = GELU.goes();
        let kept = x.clone().inner();
        return recompute(vec![place(x)], gelu_composed(kept.clone()), Gelu(kept));
    }
    operation(
        GELU,
        vec![operand(x)],
        |operands| (each(&operands[0], &operands[0], |x, _| x * half(x).0), operands[0].clone()),
        |x, grad, _| {
            vec![Some(each(&x, &grad, |x, grad| {
                let (half, slope) = half(x);
                grad * (half + x * slope)
            }))]
        },
    )
}

/// The same of Burn's own operations.
pub(super) fn gelu_composed(x: Tensor<2>) -> Tensor<2> {
    activation::gelu_approximate(x)
}

/// The input of a GELU elsewhere than on the CPU, which is all that its way back needs.
#[derive(Clone, Debug)]
struct Gelu(Tensor<2>);

impl Recompute for Gelu {
    fn back(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        let _span = GELU.returns();
        let x = f32(self.0.clone());
        let square = x.clone() * x.clone();
        let t = ((square.clone() * CUBE + 1.0) * x.clone() * ROOT).tanh();
        let slope = (1.0 - t.clone() * t.clone()) * x * (square * (3.0 * CUBE) + 1.0) * (0.5 * ROOT);
        vec![gradient(alike(f32(grad) * ((t + 1.0) * 0.5 + slope), &self.0))]
    }
}

const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// `(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2`, and its slope.
#[inline(always)]
fn half(x: f32) -> (f32, f32) {
    let t = tanh(ROOT * (x + CUBE * x * x * x));
    (0.5 * (1.0 + t), 0.5 * (1.0 - t * t) * ROOT * (1.0 + 3.0 * CUBE * x * x))
}

/// `f` of each number of `a` and the one of `b` at the same place.
fn each(a: &Values, b: &Values, f: impl Fn(f32, f32) -> f32 + Sync) -> Values {
    let shape = a.shape();
    let (mut out, a, b) = (unwritten(shape.num_elements()), slice(a), slice(b));
    let part = deal(out.len(), 1);
    let from = a.par_chunks(part).zip(b.par_chunks(part));
    out.par_chunks_mut(part).zip(from).for_each(|(out, (a, b))| {
        wide(
            #[inline(always)]
            || {
                for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                    *out = f(*a, *b);
                }
            },
        );
    });
    values(out, shape)
}
