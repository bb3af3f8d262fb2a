//! Owns: linear layers as one operation with its own backward pass. It multiplies one input with several
//! weights, concatenates the results, and adds bias and residual.
//! Must not know: what the weights are for.
//! Invariant: a row of the result depends on the same row of the input alone.

use super::graph::{CpuTensor, cpu_op, cpu_tensor, is_native_cpu, operand, slice};
use super::matmul::{MatrixView, MatrixViewMut, WriteMode, matmul_parallel};
use super::simd::{self, dispatch};
use super::threads::{self, PARTIAL_SUM_ROWS, sum_in_order, unspecified_vec};
use super::trace::OpCost;
use super::{MatmulPrecision, to_f32};
use burn::backend::TensorMetadata;
use burn::nn::Linear;
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Returns `residual + [x·w₁ + b₁ | x·w₂ + b₂ | …]`, `[N, ΣF]`.
///
/// `x` is `[N, D]` and each weight `[D, F]`; either all weights have a bias `[F]` or none has. The result is
/// f32 if there is a `residual`, else it has the number type of `precision`.
pub fn linear(x: Tensor<2>, weights: &[&Linear], residual: Option<Tensor<2>>, precision: MatmulPrecision) -> Tensor<2> {
    if precision == MatmulPrecision::F32 && is_native_cpu(&x) {
        return fused(x, weights, residual);
    }
    let _span = op_cost(&x, weights).forward_span();
    reference(x, weights, residual, precision)
}

/// Counts two operations a multiply-add; the backward pass has two products.
fn op_cost(x: &Tensor<2>, weights: &[&Linear]) -> OpCost {
    let weights: usize = weights.iter().map(|weight| weight.weight.shape().num_elements()).sum();
    let forward = 2.0 * (x.dims()[0] * weights) as f64;
    OpCost { name: "linear", forward_flop: forward, backward_flop: 2.0 * forward }
}

/// The reference, composed of Burn's operations. Also used on other devices than the CPU.
pub(super) fn reference(
    x: Tensor<2>,
    weights: &[&Linear],
    residual: Option<Tensor<2>>,
    precision: MatmulPrecision,
) -> Tensor<2> {
    let x = precision.cast_operand(x);
    let concat = |parts: Vec<Tensor<2>>| match &parts[..] {
        [one] => one.clone(),
        _ => Tensor::cat(parts, 1),
    };
    let matrix = concat(weights.iter().map(|weight| precision.cast_operand(weight.weight.val())).collect());
    let biases = weights.iter().filter_map(|weight| weight.bias.as_ref()).map(|bias| bias.val().unsqueeze());
    let biases: Vec<_> = biases.map(|bias| precision.cast_operand(bias)).collect();
    let mut all = x.matmul(matrix);
    if !biases.is_empty() {
        all = all + concat(biases);
    }
    match residual {
        Some(residual) => residual + to_f32(all),
        None => all,
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
struct SavedLinear {
    x: CpuTensor,
    weights: Vec<CpuTensor>,
    /// Biases among the operands: as many as weights, or 0.
    bias_count: usize,
}

fn fused(x: Tensor<2>, weights: &[&Linear], residual: Option<Tensor<2>>) -> Tensor<2> {
    let cost = op_cost(&x, weights);
    let biases = weights.iter().filter(|weight| weight.bias.is_some()).count();
    let mut operands = vec![operand(x)];
    operands.extend(weights.iter().map(|weight| operand(weight.weight.val())));
    operands.extend(weights.iter().filter_map(|weight| weight.bias.as_ref()).map(|bias| operand(bias.val())));
    operands.extend(residual.map(operand));
    let count = weights.len();
    cpu_op(
        cost,
        operands,
        |operands| {
            let (x, rest) = (operands[0].clone(), &operands[1..]);
            let (weights, rest) = rest.split_at(count);
            let (offsets, residual) = rest.split_at(biases);
            let result = forward(&x, weights, offsets, residual.first());
            (result, SavedLinear { x, weights: weights.to_vec(), bias_count: biases })
        },
        backward,
    )
}

fn forward(x: &CpuTensor, weights: &[CpuTensor], biases: &[CpuTensor], residual: Option<&CpuTensor>) -> CpuTensor {
    let [n, d] = [x.shape()[0], x.shape()[1]];
    let width: usize = weights.iter().map(|weight| weight.shape()[1]).sum();
    let (mut out, mode) = match residual {
        Some(residual) => (slice(residual).to_vec(), WriteMode::Add),
        None => (unspecified_vec(n * width), WriteMode::Overwrite),
    };
    let x = MatrixView::new(slice(x), n, d, d);
    let mut from = 0;
    for weight in weights {
        let f = weight.shape()[1];
        let columns = MatrixViewMut::new(&mut out[from..], n, f, width);
        matmul_parallel(columns, x, MatrixView::new(slice(weight), d, f, f), mode);
        from += f;
    }
    if !biases.is_empty() {
        let bias: Vec<f32> = biases.iter().flat_map(slice).copied().collect();
        threads::for_each_chunk(&mut out, width, |_, rows| {
            dispatch(
                #[inline(always)]
                || rows.chunks_exact_mut(width).for_each(|row| simd::add(row, &bias)),
            );
        });
    }
    cpu_tensor(out, [n, width])
}

/// Returns `dx = Σ grad·wᵀ`, `dw = xᵀ·grad`, `db = Σ grad` over the rows, and `grad` itself for the residual.
fn backward(state: SavedLinear, grad: CpuTensor, wanted: &[bool]) -> Vec<Option<CpuTensor>> {
    let SavedLinear { x, weights, bias_count: biases } = state;
    let [n, d] = [x.shape()[0], x.shape()[1]];
    let width = grad.shape()[1];
    let numbers = slice(&grad);
    let mut from = 0;
    let mut to_x = wanted[0].then(|| unspecified_vec(n * d));
    let mut to_weights = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let f = weight.shape()[1];
        let columns = MatrixView::new(&numbers[from..], n, f, width);
        if let Some(to_x) = &mut to_x {
            let transposed = MatrixView::new(slice(weight), d, f, f).t();
            let mode = if index > 0 { WriteMode::Add } else { WriteMode::Overwrite };
            matmul_parallel(MatrixViewMut::new(to_x, n, d, d), columns, transposed, mode);
        }
        to_weights.push(wanted[1 + index].then(|| {
            let mut to = unspecified_vec(d * f);
            let x = MatrixView::new(slice(&x), n, d, d).t();
            matmul_parallel(MatrixViewMut::new(&mut to, d, f, f), x, columns, WriteMode::Overwrite);
            cpu_tensor(to, [d, f])
        }));
        from += f;
    }
    let mut grads = vec![to_x.map(|to_x| cpu_tensor(to_x, [n, d]))];
    grads.extend(to_weights);
    if biases > 0 {
        let sums = column_sums(numbers, width);
        let mut from = 0;
        for weight in &weights {
            let f = weight.shape()[1];
            grads.push(Some(cpu_tensor(sums[from..from + f].to_vec(), [f])));
            from += f;
        }
    }
    if grads.len() < wanted.len() {
        grads.push(Some(grad));
    }
    grads
}

/// Returns the sums of the columns of rows of `width` numbers, `[width]`.
fn column_sums(numbers: &[f32], width: usize) -> Vec<f32> {
    let chunks = numbers.par_chunks(PARTIAL_SUM_ROWS * width).map(|rows| {
        let mut sums = vec![0.0; width];
        dispatch(
            #[inline(always)]
            || rows.chunks_exact(width).for_each(|row| simd::add(&mut sums, row)),
        );
        sums
    });
    sum_in_order(width, chunks)
}
