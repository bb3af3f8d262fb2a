//! Owns: LayerNorm (Ba et al., arXiv 1607.06450) and RMSNorm (Zhang and Sennrich, arXiv 1910.07467) as one operation with its
//! own backward pass.
//! Must not know: which norm of a model it is.
//! Invariant: each row is normed on its own.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use super::cube;
use super::graph::{Values, operand, operation, ours, slice, values};
use super::threads::{SUMMED, deal, summed, unwritten};
use super::trace::Work;
use super::vector::{self, wide};
use burn::tensor::Tensor;
use rayon::prelude::*;

const WORK: Work = Work::light("norm");

/// The norm of the rows of `x` `[N, D]`: `x / √(mean(x²) + eps) · weight`; with a `bias` the mean is taken off first, and it
/// is added. `weight`, `bias`: `[D]`.
pub fn norm(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<2> {
    if ours(&x) {
        return own(x, weight, bias, eps as f32);
    }
    let _span = WORK.goes();
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if cube::takes(&x) && x.dtype() == burn::tensor::DType::F32 {
        return cube::norm(x, weight, bias, eps, WORK);
    }
    composed(x, weight, bias, eps)
}

/// The same of Burn's own operations.
pub(super) fn composed(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<2> {
    let x = match bias {
        Some(_) => x.clone() - x.mean_dim(1),
        None => x,
    };
    let scale = (x.clone().square().mean_dim(1) + eps).sqrt().recip();
    let normed = x * scale * weight.unsqueeze();
    match bias {
        Some(bias) => normed + bias.unsqueeze(),
        None => normed,
    }
}

/// What the way back needs: the input, the weight, and of each row its mean and one over its standard deviation.
type State = (Values, Values, Vec<[f32; 2]>);

fn own(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f32) -> Tensor<2> {
    let mut operands = vec![operand(x), operand(weight)];
    operands.extend(bias.map(operand));
    operation(
        WORK,
        operands,
        |operands| {
            let [x, weight] = [operands[0].clone(), operands[1].clone()];
            let bias = operands.get(2);
            let (result, rows) = forward(&x, slice(&weight), bias.map(slice), eps);
            (result, (x, weight, rows))
        },
        |state, grad, wanted| backward(state, &grad, wanted.len() > 2),
    )
}

fn forward(x: &Values, weight: &[f32], bias: Option<&[f32]>, eps: f32) -> (Values, Vec<[f32; 2]>) {
    let (d, x) = (weight.len(), slice(x));
    let n = x.len() / d;
    let (mut out, mut kept) = (unwritten(x.len()), vec![[0.0; 2]; n]);
    let each = deal(n, d);
    let parts = out.par_chunks_mut(each * d).zip(x.par_chunks(each * d)).zip(kept.par_chunks_mut(each));
    parts.for_each(|((out, x), kept)| {
        wide(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(d).zip(x.chunks_exact(d));
                for ((out, x), kept) in rows.zip(&mut *kept) {
                    let mean = if bias.is_some() { vector::sum(x) / d as f32 } else { 0.0 };
                    let scale = 1.0 / (vector::spread(x, mean) / d as f32 + eps).sqrt();
                    *kept = [mean, scale];
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                        *out = (x - mean) * scale * weight;
                    }
                    if let Some(bias) = bias {
                        vector::add(out, bias);
                    }
                }
            },
        );
    });
    (values(out, [n, d]), kept)
}

/// With `y = (x - mean)·scale` and `g = grad·weight`: `dx = scale·(g - mean(g) - y·mean(g·y))`, without `mean(g)` where no
/// mean was taken off; `dweight = Σ grad·y`, `dbias = Σ grad` over the rows.
fn backward((x, weight, kept): State, grad: &Values, centred: bool) -> Vec<Option<Values>> {
    let (x, weight, grad) = (slice(&x), slice(&weight), slice(grad));
    let (n, d) = (kept.len(), weight.len());
    let (mut out, each) = (unwritten(n * d), SUMMED);
    let rows = x.par_chunks(each * d).zip(grad.par_chunks(each * d)).zip(kept.par_chunks(each));
    let sums = out.par_chunks_mut(each * d).zip(rows).map(|(out, ((x, grad), kept))| {
        let mut sums = vec![0.0; 2 * d];
        wide(
            #[inline(always)]
            || {
                let (to_weight, to_bias) = sums.split_at_mut(d);
                let rows = x.chunks_exact(d).zip(grad.chunks_exact(d)).zip(kept);
                for (out, ((x, grad), [mean, scale])) in out.chunks_exact_mut(d).zip(rows) {
                    let along = vector::dot3(grad, weight, x);
                    let level = if centred { vector::dot(grad, weight) } else { 0.0 };
                    // Σ g·y = scale·(Σ g·x - mean·Σ g)
                    let slope = scale * (along - mean * level) / d as f32;
                    let level = level / d as f32;
                    let columns = x.iter().zip(grad).zip(weight);
                    for ((out, to), ((x, grad), weight)) in out.iter_mut().zip(&mut *to_weight).zip(columns) {
                        let y = (x - mean) * scale;
                        *out = scale * (grad * weight - level - y * slope);
                        *to += grad * y;
                    }
                    if centred {
                        vector::add(to_bias, grad);
                    }
                }
            },
        );
        sums
    });
    let sums = summed(2 * d, sums);
    let [to_weight, to_bias] = [0, d].map(|from| values(sums[from..from + d].to_vec(), [d]));
    vec![Some(values(out, [n, d])), Some(to_weight), centred.then_some(to_bias)]
}
