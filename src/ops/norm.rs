//! Owns: LayerNorm (arXiv 1607.06450) and RMSNorm (arXiv 1910.07467), with their own backward pass.
//! Must not know: which norm of a model it is.
//! Invariant: each row is normalised on its own.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use super::cube;
use super::graph::{CpuTensor, cpu_op, cpu_tensor, is_native_cpu, operand, slice};
use super::simd::{self, dispatch};
use super::threads::{PARTIAL_SUM_ROWS, rows_per_chunk, sum_in_order, unspecified_vec};
use super::trace::OpCost;
use burn::tensor::Tensor;
use rayon::prelude::*;

const COST: OpCost = OpCost::without_matmul("norm");

/// Returns the normalised rows of `x` `[N, D]`; `weight` and `bias` are `[D]`.
///
/// Without a `bias` this is RMSNorm, `x / √(mean(x²) + eps) · weight`. With one it is LayerNorm: the mean is
/// subtracted first, and the bias is added.
pub fn norm(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<2> {
    if is_native_cpu(&x) {
        return fused(x, weight, bias, eps as f32);
    }
    let _span = COST.forward_span();
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if cube::has_kernels_for(&x) && x.dtype() == burn::tensor::DType::F32 {
        return cube::norm(x, weight, bias, eps, COST);
    }
    reference(x, weight, bias, eps)
}

/// The reference, composed of Burn's operations. Also used on other devices that have no kernel.
pub(super) fn reference(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<2> {
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

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct SavedNorm {
    x: CpuTensor,
    weight: CpuTensor,
    /// Mean of each row (0 for RMSNorm), and `1 / √(… + eps)`.
    stats: Vec<[f32; 2]>,
    /// Whether the mean is subtracted, as in LayerNorm.
    centred: bool,
}

fn fused(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f32) -> Tensor<2> {
    let mut operands = vec![operand(x), operand(weight)];
    operands.extend(bias.map(operand));
    cpu_op(
        COST,
        operands,
        |operands| {
            let [x, weight] = [operands[0].clone(), operands[1].clone()];
            let bias = operands.get(2);
            let (result, stats) = forward(&x, slice(&weight), bias.map(slice), eps);
            (result, SavedNorm { x, weight, stats, centred: bias.is_some() })
        },
        |state, grad, _| backward(state, &grad),
    )
}

fn forward(x: &CpuTensor, weight: &[f32], bias: Option<&[f32]>, eps: f32) -> (CpuTensor, Vec<[f32; 2]>) {
    let (d, x) = (weight.len(), slice(x));
    let n = x.len() / d;
    let (mut out, mut stats) = (unspecified_vec(x.len()), vec![[0.0; 2]; n]);
    let rows = rows_per_chunk(n, d);
    let chunks = out.par_chunks_mut(rows * d).zip(x.par_chunks(rows * d)).zip(stats.par_chunks_mut(rows));
    chunks.for_each(|((out, x), stats)| {
        dispatch(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(d).zip(x.chunks_exact(d));
                for ((out, x), stats) in rows.zip(&mut *stats) {
                    let mean = if bias.is_some() { simd::sum(x) / d as f32 } else { 0.0 };
                    let scale = 1.0 / (simd::squared_deviations(x, mean) / d as f32 + eps).sqrt();
                    *stats = [mean, scale];
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                        *out = (x - mean) * scale * weight;
                    }
                    if let Some(bias) = bias {
                        simd::add(out, bias);
                    }
                }
            },
        );
    });
    (cpu_tensor(out, [n, d]), stats)
}

/// Returns the gradients of input, weight and, if `centred`, bias.
///
/// With `y = (x - mean)·scale` and `g = grad·weight`: `dx = scale·(g - mean(g) - y·mean(g·y))`, without
/// `mean(g)` if not `centred`; `dweight = Σ grad·y` and `dbias = Σ grad` over the rows.
fn backward(SavedNorm { x, weight, stats, centred }: SavedNorm, grad: &CpuTensor) -> Vec<Option<CpuTensor>> {
    let (x, weight, grad) = (slice(&x), slice(&weight), slice(grad));
    let (n, d) = (stats.len(), weight.len());
    let mut out = unspecified_vec(n * d);
    let chunk = PARTIAL_SUM_ROWS * d;
    let inputs = x.par_chunks(chunk).zip(grad.par_chunks(chunk)).zip(stats.par_chunks(PARTIAL_SUM_ROWS));
    let sums = out.par_chunks_mut(chunk).zip(inputs).map(|(out, ((x, grad), stats))| {
        let mut sums = vec![0.0; 2 * d];
        dispatch(
            #[inline(always)]
            || {
                let (to_weight, to_bias) = sums.split_at_mut(d);
                let rows = x.chunks_exact(d).zip(grad.chunks_exact(d)).zip(stats);
                for (out, ((x, grad), [mean, scale])) in out.chunks_exact_mut(d).zip(rows) {
                    let sum_gx = simd::dot3(grad, weight, x);
                    let sum_g = if centred { simd::dot(grad, weight) } else { 0.0 };
                    // Σ g·y = scale·(Σ g·x - mean·Σ g)
                    let mean_gy = scale * (sum_gx - mean * sum_g) / d as f32;
                    let mean_g = sum_g / d as f32;
                    let columns = x.iter().zip(grad).zip(weight);
                    for ((out, to), ((x, grad), weight)) in out.iter_mut().zip(&mut *to_weight).zip(columns) {
                        let y = (x - mean) * scale;
                        *out = scale * (grad * weight - mean_g - y * mean_gy);
                        *to += grad * y;
                    }
                    if centred {
                        simd::add(to_bias, grad);
                    }
                }
            },
        );
        sums
    });
    let sums = sum_in_order(2 * d, sums);
    let [to_weight, to_bias] = [0, d].map(|from| cpu_tensor(sums[from..from + d].to_vec(), [d]));
    vec![Some(cpu_tensor(out, [n, d])), Some(to_weight), centred.then_some(to_bias)]
}
