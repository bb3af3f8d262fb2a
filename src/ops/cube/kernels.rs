//! Owns: the kernels, one cube a row of numbers: its units stride over the row, and what they have found is put together in the
//! cube's shared memory. Sums are f32 whatever the numbers are.
//! Must not know: tensors of Burn, whose prelude has the same names.
//! Invariant: a row's result depends on that row alone; a number is written by one unit, and by another than read it only after
//! all have met.

use cubecl::prelude::*;

/// Below every number that is meant; WGSL knows no infinity.
const LEAST: f32 = -3.0e38;

/// `Σ` of what the units have, who are a power of two.
#[cube]
pub fn total(mine: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    all[unit] = mine;
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

/// The largest of what the units have.
#[cube]
fn largest(mine: f32, #[comptime] units: usize) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    all[unit] = mine;
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

/// What is said of the rows of `logits` `[n, V]`: nll, then entropy, `[2, n]`; with `slopes` the logits become
/// `weight·(softmax - onehot(target))`.
#[cube(launch)]
pub fn said<F: Float, I: Int>(
    logits: &mut Tensor<F>,
    targets: &Tensor<I>,
    weights: &Tensor<f32>,
    out: &mut Tensor<f32>,
    rows: u32,
    columns: u32,
    #[comptime] slopes: bool,
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
    // Before anybody writes.
    let own = f32::cast_from(logits[from + target]);
    let mut most = f32::new(LEAST);
    let mut sum = 0.0f32;
    let mut dot = 0.0f32;
    let mut at = unit;
    while at < columns {
        let x = f32::cast_from(logits[from + at]);
        if x > most {
            let less = most - x;
            let shrunk = less.exp();
            dot = shrunk * (dot + less * sum);
            sum = shrunk * sum + 1.0;
            most = x;
        } else {
            let less = x - most;
            let share = less.exp();
            sum += share;
            dot += share * less;
        }
        at += units;
    }
    let top = largest(most, units);
    let less = most - top;
    let shrunk = less.exp();
    let all = total(shrunk * sum, units);
    let along = total(shrunk * (dot + less * sum), units);
    if unit == 0 {
        let log = all.ln();
        out[row] = log - (own - top);
        out[rows + row] = log - along / all;
    }
    if comptime!(slopes) {
        let weight = weights[row];
        let factor = weight / all;
        let mut at = unit;
        while at < columns {
            let mut slope = factor * (f32::cast_from(logits[from + at]) - top).exp();
            if at == target {
                slope -= weight;
            }
            logits[from + at] = F::cast_from(slope);
            at += units;
        }
    }
}

/// Scores become shares: `own` `[b·H·S, S]` and, `beside`, `before` `[b·H·S, C]`, together a row each. `reach`
/// `[b, S+C]`: how many of the C each of the S sees, then which of the C nobody sees. `lines`: rows of scores for each of b.
#[cube(launch)]
pub fn shares<F: Float, I: Int>(
    own: &mut Tensor<F>,
    before: &mut Tensor<F>,
    reach: &Tensor<I>,
    rows: u32,
    lines: u32,
    positions: u32,
    earlier: u32,
    scale: f32,
    #[comptime] joint: bool,
    #[comptime] beside: bool,
    #[comptime] units: usize,
    #[define(F, I)] _dtypes: [ElemType; 2],
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let (positions, earlier) = (positions as usize, earlier as usize);
    if row >= rows as usize {
        terminate!();
    }
    let from = row / lines as usize * (positions + earlier);
    let at = row % positions;
    let limit = u32::cast_from(reach[from + at]) as usize;
    let hidden = from + positions;
    let mine = row * own.stride(0);
    let theirs = row * before.stride(0);
    let mut first = at;
    if comptime!(joint) {
        first = 0usize.runtime();
    }
    let mut most = f32::new(LEAST);
    let mut sum = 0.0f32;
    if comptime!(beside) {
        let mut column = unit;
        while column < limit {
            if reach[hidden + column] == I::from_int(0) {
                let x = scale * f32::cast_from(before[theirs + column]);
                let top = max(most, x);
                sum = sum * (most - top).exp() + (x - top).exp();
                most = top;
            }
            column += units;
        }
    }
    let mut column = first + unit;
    while column <= at {
        let x = scale * f32::cast_from(own[mine + column]);
        let top = max(most, x);
        sum = sum * (most - top).exp() + (x - top).exp();
        most = top;
        column += units;
    }
    let top = largest(most, units);
    let part = 1.0 / total(sum * (most - top).exp(), units);
    if comptime!(beside) {
        let mut column = unit;
        while column < earlier {
            let mut share = 0.0f32;
            if column < limit && reach[hidden + column] == I::from_int(0) {
                share = part * (scale * f32::cast_from(before[theirs + column]) - top).exp();
            }
            before[theirs + column] = F::cast_from(share);
            column += units;
        }
    }
    let mut column = unit;
    while column < positions {
        let mut share = 0.0f32;
        if column >= first && column <= at {
            share = part * (scale * f32::cast_from(own[mine + column]) - top).exp();
        }
        own[mine + column] = F::cast_from(share);
        column += units;
    }
}

/// Gradients of shares become those of scores, `p·(dp - Σ p·dp)·scale`: shaped as in [`shares`], which gives the `_shares`.
#[cube(launch)]
pub fn slopes<F: Float>(
    own: &mut Tensor<F>,
    before: &mut Tensor<F>,
    own_shares: &Tensor<F>,
    before_shares: &Tensor<F>,
    rows: u32,
    positions: u32,
    earlier: u32,
    scale: f32,
    #[comptime] beside: bool,
    #[comptime] units: usize,
    #[define(F)] _dtype: ElemType,
) {
    let (row, unit) = (CUBE_POS, UNIT_POS as usize);
    let (positions, earlier) = (positions as usize, earlier as usize);
    if row >= rows as usize {
        terminate!();
    }
    let (mine, shares) = (row * own.stride(0), row * own_shares.stride(0));
    let (theirs, their_shares) = (row * before.stride(0), row * before_shares.stride(0));
    let mut sum = 0.0f32;
    if comptime!(beside) {
        let mut column = unit;
        while column < earlier {
            let share = f32::cast_from(before_shares[their_shares + column]);
            sum += share * f32::cast_from(before[theirs + column]);
            column += units;
        }
    }
    let mut column = unit;
    while column < positions {
        sum += f32::cast_from(own_shares[shares + column]) * f32::cast_from(own[mine + column]);
        column += units;
    }
    let mean = total(sum, units);
    if comptime!(beside) {
        let mut column = unit;
        while column < earlier {
            let share = f32::cast_from(before_shares[their_shares + column]);
            let slope = share * (f32::cast_from(before[theirs + column]) - mean) * scale;
            before[theirs + column] = F::cast_from(slope);
            column += units;
        }
    }
    let mut column = unit;
    while column < positions {
        let share = f32::cast_from(own_shares[shares + column]);
        let slope = share * (f32::cast_from(own[mine + column]) - mean) * scale;
        own[mine + column] = F::cast_from(slope);
        column += units;
    }
}
