//! Owns: the GPU kernels of softmax. One cube has one row of numbers: its units stride over the row, then
//! combine their results in the cube's shared memory. Sums are f32 whatever the number type is.
//! Must not know: tensors of Burn, whose prelude has the same names.
//! Invariant: a row's result depends on that row alone; barriers order what units read and write.

use cubecl::prelude::*;

/// Start value of a maximum, below every logit or score; WGSL has no infinity.
const LOWEST: f32 = -3.0e38;

/// Returns the sum of the units' values. The number of units must be a power of two.
#[cube]
pub fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    all[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = all[unit + half];
            all[unit] += other;
        }
        half /= 2;
        sync_cube();
    }
    all[0]
}

/// Returns the largest of the units' values. The number of units must be a power of two.
#[cube]
fn cube_max(value: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    all[unit] = value;
    sync_cube();
    let mut half = CUBE_DIM as usize / 2;
    while half > 0 {
        if unit < half {
            let other = all[unit + half];
            all[unit] = max(all[unit], other);
        }
        half /= 2;
        sync_cube();
    }
    all[0]
}

/// Writes nll, then entropy, of the rows of `logits` `[n, V]` to `out` `[2, n]`. If `with_grads`, replaces
/// the logits by `weight·(softmax - onehot(target))`.
#[cube(launch)]
pub fn nll_entropy<F: Float, I: Int>(
    logits: &mut Tensor<F>,
    targets: &Tensor<I>,
    weights: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    columns: u32,
    #[comptime] with_grads: bool,
    #[comptime] units: usize,
    #[define(F, I)] _dtypes: [ElemType; 2],
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let (rows, columns) = (rows as usize, columns as usize);
    if row >= rows {
        terminate!();
    }
    let from = row * logits.stride(0);
    let target = u32::cast_from(targets[row]) as usize;
    // Read before any unit writes.
    let target_logit = f32::cast_from(logits[from + target]);
    let mut running_max = f32::new(LOWEST);
    let mut sum = 0.0f32;
    let mut dot = 0.0f32;
    let mut at = unit;
    while at < columns {
        let x = f32::cast_from(logits[from + at]);
        if x > running_max {
            let shift = running_max - x;
            let rescale = shift.exp();
            dot = rescale * (dot + shift * sum);
            sum = rescale * sum + 1.0;
            running_max = x;
        } else {
            let shifted = x - running_max;
            let term = shifted.exp();
            sum += term;
            dot += term * shifted;
        }
        at += units;
    }
    let row_max = cube_max(running_max, units);
    let shift = running_max - row_max;
    let rescale = shift.exp();
    let row_sum = cube_sum(rescale * sum, units);
    let row_dot = cube_sum(rescale * (dot + shift * sum), units);
    if unit == 0 {
        let log_sum = row_sum.ln();
        out[row] = log_sum - (target_logit - row_max);
        out[rows + row] = log_sum - row_dot / row_sum;
    }
    if comptime!(with_grads) {
        let weight = weights[row];
        let factor = weight / row_sum;
        let mut at = unit;
        while at < columns {
            let mut grad = factor * (f32::cast_from(logits[from + at]) - row_max).exp();
            if at == target {
                grad -= weight;
            }
            logits[from + at] = F::cast_from(grad);
            at += units;
        }
    }
}

/// Replaces scores by attention probabilities: `current` `[b·H·S, S]` and, if `with_prefix`, `prefix`
/// `[b·H·S, C]`. A row of both together sums to 1.
///
/// `mask` `[b, S+C]` has the prefix length that each of the S attends to, then 1 for each hidden one of the
/// C. `batch_rows` is the number of score rows for each of b.
#[cube(launch)]
pub fn attention_probs<F: Float, I: Int>(
    current: &mut Tensor<F>,
    prefix: &mut Tensor<F>,
    mask: &Tensor<I>,
    rows: u32,
    batch_rows: u32,
    query_positions: u32,
    prefix_positions: u32,
    scale: f32,
    #[comptime] joint: bool,
    #[comptime] with_prefix: bool,
    #[comptime] units: usize,
    #[define(F, I)] _dtypes: [ElemType; 2],
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let (query_positions, prefix_positions) = (query_positions as usize, prefix_positions as usize);
    if row >= rows as usize {
        terminate!();
    }
    let mask_row = row / batch_rows as usize * (query_positions + prefix_positions);
    let at = row % query_positions;
    let limit = u32::cast_from(mask[mask_row + at]) as usize;
    let hidden = mask_row + query_positions;
    let current_row = row * current.stride(0);
    let prefix_row = row * prefix.stride(0);
    let mut first = at;
    if comptime!(joint) {
        first = 0usize.runtime();
    }
    let mut running_max = f32::new(LOWEST);
    let mut sum = 0.0f32;
    if comptime!(with_prefix) {
        let mut column = unit;
        while column < limit {
            if mask[hidden + column] == I::from_int(0) {
                let x = scale * f32::cast_from(prefix[prefix_row + column]);
                let new_max = max(running_max, x);
                sum = sum * (running_max - new_max).exp() + (x - new_max).exp();
                running_max = new_max;
            }
            column += units;
        }
    }
    let mut column = first + unit;
    while column <= at {
        let x = scale * f32::cast_from(current[current_row + column]);
        let new_max = max(running_max, x);
        sum = sum * (running_max - new_max).exp() + (x - new_max).exp();
        running_max = new_max;
        column += units;
    }
    let row_max = cube_max(running_max, units);
    let factor = 1.0 / cube_sum(sum * (running_max - row_max).exp(), units);
    if comptime!(with_prefix) {
        let mut column = unit;
        while column < prefix_positions {
            let mut prob = 0.0f32;
            if column < limit && mask[hidden + column] == I::from_int(0) {
                prob = factor * (scale * f32::cast_from(prefix[prefix_row + column]) - row_max).exp();
            }
            prefix[prefix_row + column] = F::cast_from(prob);
            column += units;
        }
    }
    let mut column = unit;
    while column < query_positions {
        let mut prob = 0.0f32;
        if column >= first && column <= at {
            prob = factor * (scale * f32::cast_from(current[current_row + column]) - row_max).exp();
        }
        current[current_row + column] = F::cast_from(prob);
        column += units;
    }
}

/// Replaces gradients `dp` of attention probabilities `p` by those of scores, `p·(dp - Σ p·dp)·scale`. Shapes
/// are those of [`attention_probs`], whose results are `current_probs` and `prefix_probs`.
#[cube(launch)]
pub fn score_grads<F: Float>(
    current: &mut Tensor<F>,
    prefix: &mut Tensor<F>,
    current_probs: &Tensor<F>,
    prefix_probs: &Tensor<F>,
    rows: u32,
    query_positions: u32,
    prefix_positions: u32,
    scale: f32,
    #[comptime] with_prefix: bool,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let (query_positions, prefix_positions) = (query_positions as usize, prefix_positions as usize);
    if row >= rows as usize {
        terminate!();
    }
    let (current_row, current_probs_row) = (row * current.stride(0), row * current_probs.stride(0));
    let (prefix_row, prefix_probs_row) = (row * prefix.stride(0), row * prefix_probs.stride(0));
    let mut sum = 0.0f32;
    if comptime!(with_prefix) {
        let mut column = unit;
        while column < prefix_positions {
            let prob = f32::cast_from(prefix_probs[prefix_probs_row + column]);
            sum += prob * f32::cast_from(prefix[prefix_row + column]);
            column += units;
        }
    }
    let mut column = unit;
    while column < query_positions {
        let prob = f32::cast_from(current_probs[current_probs_row + column]);
        sum += prob * f32::cast_from(current[current_row + column]);
        column += units;
    }
    let mean = cube_sum(sum, units);
    if comptime!(with_prefix) {
        let mut column = unit;
        while column < prefix_positions {
            let prob = f32::cast_from(prefix_probs[prefix_probs_row + column]);
            let grad = prob * (f32::cast_from(prefix[prefix_row + column]) - mean) * scale;
            prefix[prefix_row + column] = F::cast_from(grad);
            column += units;
        }
    }
    let mut column = unit;
    while column < query_positions {
        let prob = f32::cast_from(current_probs[current_probs_row + column]);
        let grad = prob * (f32::cast_from(current[current_row + column]) - mean) * scale;
        current[current_row + column] = F::cast_from(grad);
        column += units;
    }
}
