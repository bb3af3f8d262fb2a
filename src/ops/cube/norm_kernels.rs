//! Owns: the GPU kernels of norms. A cube has one row or, for gradients of weights, one tile of columns.
//! Must not know: tensors of Burn, whose prelude has the same names.
//! Invariant: a row is normalised on its own.

use super::kernels::cube_sum;
use cubecl::prelude::*;

/// Writes `(x - mean)·scale·weight + bias` of the rows of `x` `[N, D]` to `out`, and mean and scale to
/// `stats` `[N, 2]`. If not `centred`, the mean is 0 and the bias is ignored.
#[cube(launch)]
pub fn forward(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    stats: &mut Tensor<f32>,
    rows: u32,
    columns: u32,
    eps: f32,
    #[comptime] centred: bool,
    #[comptime] units: usize,
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let width = columns as f32;
    let columns = columns as usize;
    if row >= rows as usize {
        terminate!();
    }
    let (x_row, out_row) = (row * x.stride(0), row * out.stride(0));
    let mut mean = 0.0f32;
    if comptime!(centred) {
        let mut sum = 0.0f32;
        let mut at = unit;
        while at < columns {
            sum += x[x_row + at];
            at += units;
        }
        mean = cube_sum(sum, units) / width;
    }
    let mut sum = 0.0f32;
    let mut at = unit;
    while at < columns {
        let deviation = x[x_row + at] - mean;
        sum += deviation * deviation;
        at += units;
    }
    let scale = 1.0 / (cube_sum(sum, units) / width + eps).sqrt();
    let mut at = unit;
    while at < columns {
        let mut y = (x[x_row + at] - mean) * scale * weight[at];
        if comptime!(centred) {
            y += bias[at];
        }
        out[out_row + at] = y;
        at += units;
    }
    if unit == 0 {
        stats[2 * row] = mean;
        stats[2 * row + 1] = scale;
    }
}

/// Writes the gradient of `x` `[N, D]`.
///
/// With `y = (x - mean)·scale` and `g = grad·weight` it is `scale·(g - mean(g) - y·mean(g·y))`, without
/// `mean(g)` if not `centred`.
#[cube(launch)]
pub fn backward(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    grad: &Tensor<f32>,
    stats: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    columns: u32,
    #[comptime] centred: bool,
    #[comptime] units: usize,
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let width = columns as f32;
    let columns = columns as usize;
    if row >= rows as usize {
        terminate!();
    }
    let (x_row, grad_row, out_row) = (row * x.stride(0), row * grad.stride(0), row * out.stride(0));
    let (mean, scale) = (stats[2 * row], stats[2 * row + 1]);
    let mut sum_gy = 0.0f32;
    let mut sum_g = 0.0f32;
    let mut at = unit;
    while at < columns {
        let g = grad[grad_row + at] * weight[at];
        sum_gy += g * (x[x_row + at] - mean) * scale;
        sum_g += g;
        at += units;
    }
    let mean_gy = cube_sum(sum_gy, units) / width;
    let mut mean_g = 0.0f32;
    if comptime!(centred) {
        mean_g = cube_sum(sum_g, units) / width;
    }
    let mut at = unit;
    while at < columns {
        let y = (x[x_row + at] - mean) * scale;
        out[out_row + at] = scale * (grad[grad_row + at] * weight[at] - mean_g - y * mean_gy);
        at += units;
    }
}

/// Writes `Σ grad·y`, then `Σ grad`, of each `chunk` of rows, `[N/chunk, 2, D]`: a cube for each chunk.
#[cube(launch)]
pub fn weight_grads(
    x: &Tensor<f32>,
    grad: &Tensor<f32>,
    stats: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    columns: u32,
    chunk: u32,
) {
    let at = (CUBE_POS_X * CUBE_DIM + UNIT_POS) as usize;
    let (rows, columns, chunk) = (rows as usize, columns as usize, chunk as usize);
    if at >= columns {
        terminate!();
    }
    let part = CUBE_POS_Y as usize;
    let mut row = part * chunk;
    let end = min(row + chunk, rows);
    let mut sum_gy = 0.0f32;
    let mut sum_g = 0.0f32;
    while row < end {
        let g = grad[row * grad.stride(0) + at];
        sum_gy += g * (x[row * x.stride(0) + at] - stats[2 * row]) * stats[2 * row + 1];
        sum_g += g;
        row += 1;
    }
    out[2 * part * columns + at] = sum_gy;
    out[(2 * part + 1) * columns + at] = sum_g;
}
