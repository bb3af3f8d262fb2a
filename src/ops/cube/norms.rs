//! Owns: the kernels of norms, forward and backward: one cube a row, and one a tile of columns for what weights learn.
//! Must not know: tensors of Burn, whose prelude has the same names.
//! Invariant: a row is normed on its own.

use super::kernels::total;
use cubecl::prelude::*;

/// `(x - mean)·scale·weight + bias` of the rows of `x` `[N, D]`, and their mean and scale `[N, 2]`; not `centred` the mean is
/// nothing and the bias not looked at.
#[cube(launch)]
pub fn forward(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    kept: &mut Tensor<f32>,
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
    let (from, to) = (row * x.stride(0), row * out.stride(0));
    let mut mean = 0.0f32;
    if comptime!(centred) {
        let mut sum = 0.0f32;
        let mut at = unit;
        while at < columns {
            sum += x[from + at];
            at += units;
        }
        mean = total(sum, units) / width;
    }
    let mut sum = 0.0f32;
    let mut at = unit;
    while at < columns {
        let off = x[from + at] - mean;
        sum += off * off;
        at += units;
    }
    let scale = 1.0 / (total(sum, units) / width + eps).sqrt();
    let mut at = unit;
    while at < columns {
        let mut y = (x[from + at] - mean) * scale * weight[at];
        if comptime!(centred) {
            y += bias[at];
        }
        out[to + at] = y;
        at += units;
    }
    if unit == 0 {
        kept[2 * row] = mean;
        kept[2 * row + 1] = scale;
    }
}

/// The gradient of `x` `[N, D]`. With `y = (x - mean)·scale` and `g = grad·weight`: `scale·(g - mean(g) - y·mean(g·y))`, without
/// `mean(g)` where no mean was taken off.
#[cube(launch)]
pub fn backward(
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    grad: &Tensor<f32>,
    kept: &Tensor<f32>,
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
    let (from, back, to) = (row * x.stride(0), row * grad.stride(0), row * out.stride(0));
    let (mean, scale) = (kept[2 * row], kept[2 * row + 1]);
    let mut along = 0.0f32;
    let mut level = 0.0f32;
    let mut at = unit;
    while at < columns {
        let g = grad[back + at] * weight[at];
        along += g * (x[from + at] - mean) * scale;
        level += g;
        at += units;
    }
    let along = total(along, units) / width;
    let mut flat = 0.0f32;
    if comptime!(centred) {
        flat = total(level, units) / width;
    }
    let mut at = unit;
    while at < columns {
        let y = (x[from + at] - mean) * scale;
        out[to + at] = scale * (grad[back + at] * weight[at] - flat - y * along);
        at += units;
    }
}

/// `Σ grad·y`, then `Σ grad`, over `chunk` rows each: `[N/chunk, 2, D]`. A cube has a chunk and as many columns as it has units.
#[cube(launch)]
pub fn columns(
    x: &Tensor<f32>,
    grad: &Tensor<f32>,
    kept: &Tensor<f32>,
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
    let mut along = 0.0f32;
    let mut level = 0.0f32;
    while row < end {
        let g = grad[row * grad.stride(0) + at];
        along += g * (x[row * x.stride(0) + at] - kept[2 * row]) * kept[2 * row + 1];
        level += g;
        row += 1;
    }
    out[2 * part * columns + at] = along;
    out[(2 * part + 1) * columns + at] = level;
}
