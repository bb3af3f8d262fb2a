//! Owns: matrix products with few rows (skinny GEMM). The second matrix is read once, as it lies.
//! Must not know: threads, how many rows count as few.
//! Invariant: a row of the result depends on the same row of the first matrix alone.

// One index is used for several arrays.
#![allow(clippy::needless_range_loop)]

use super::{MatrixView, MatrixViewMut, WriteMode};
use crate::ops::simd::{self, dispatch};
use std::ops::Range;

/// Rows of the second matrix that are processed at a time.
const DEPTH: usize = 16;
/// Numbers of the result that are processed at a time: with their operands they fit the nearest caches.
const BLOCK_NUMBERS: usize = 2048;
/// Rows of the result that stay in registers.
const GROUP_ROWS: usize = 4;
/// Columns of the result that stay in registers.
const TILE_COLUMNS: usize = 16;

/// Computes `a·b` for a row-major `b`.
pub(super) fn matmul(out: &mut MatrixViewMut<'_>, a: MatrixView<'_>, b: MatrixView<'_>, mode: WriteMode) {
    let [rows, columns] = out.dims();
    let block_columns = BLOCK_NUMBERS / rows / TILE_COLUMNS * TILE_COLUMNS;
    let mut out: Vec<&mut [f32]> = out.rows().collect();
    if mode == WriteMode::Overwrite {
        out.iter_mut().for_each(|row| row.fill(0.0));
    }
    dispatch(
        #[inline(always)]
        || {
            for from in (0..columns).step_by(block_columns) {
                let columns = from..(from + block_columns).min(columns);
                for start in (0..b.layout.rows).step_by(DEPTH) {
                    let depth = start..(start + DEPTH).min(b.layout.rows);
                    let (groups, rest) = out.as_chunks_mut::<GROUP_ROWS>();
                    let grouped = groups.len() * GROUP_ROWS;
                    // What follows: rows below these, or the first rows of the next columns.
                    let next = if depth.end < b.layout.rows { (depth.end, 0) } else { (0, block_columns) };
                    let tiled = add_block(groups, a, b, depth.clone(), columns.clone(), next);
                    for (row, out) in groups.iter_mut().flatten().enumerate() {
                        add_row(out, &a.row(row)[depth.clone()], b, start, tiled.end..columns.end);
                    }
                    for (row, out) in rest.iter_mut().enumerate() {
                        add_row(out, &a.row(grouped + row)[depth.clone()], b, start, columns.clone());
                    }
                }
            }
        },
    );
}

/// Adds what rows `depth` of `b` contribute to `columns` of all groups, as far as these make whole tiles.
/// Returns the columns done. Prefetches the rows from `next.0` on, `next.1` columns further.
#[inline(always)]
fn add_block(
    groups: &mut [[&mut [f32]; GROUP_ROWS]],
    a: MatrixView<'_>,
    b: MatrixView<'_>,
    depth: Range<usize>,
    columns: Range<usize>,
    next: (usize, usize),
) -> Range<usize> {
    let start = depth.start;
    if groups.is_empty() || depth.len() < DEPTH {
        return columns.start..columns.start;
    }
    let end = columns.start + columns.len() / TILE_COLUMNS * TILE_COLUMNS;
    for at in (columns.start..end).step_by(TILE_COLUMNS) {
        for (index, group) in groups.iter_mut().enumerate() {
            let mut factors = [&[0.0; DEPTH]; GROUP_ROWS];
            for row in 0..GROUP_ROWS {
                if let Some(chunk) = a.row(index * GROUP_ROWS + row)[start..].first_chunk() {
                    factors[row] = chunk;
                }
            }
            add_tile(group, factors, b, start, at);
        }
        b.prefetch(next.0..next.0 + DEPTH, at + next.1);
    }
    columns.start..end
}

/// Adds what `DEPTH` rows of `b` from `start` on contribute to `TILE_COLUMNS` columns from `at` on.
#[inline(always)]
fn add_tile(
    group: &mut [&mut [f32]; GROUP_ROWS],
    factors: [&[f32; DEPTH]; GROUP_ROWS],
    b: MatrixView<'_>,
    start: usize,
    at: usize,
) {
    let mut sums = [[0.0_f32; TILE_COLUMNS]; GROUP_ROWS];
    for row in 0..GROUP_ROWS {
        sums[row].copy_from_slice(&group[row][at..at + TILE_COLUMNS]);
    }
    for k in 0..DEPTH {
        let mut numbers = [0.0_f32; TILE_COLUMNS];
        numbers.copy_from_slice(&b.row(start + k)[at..at + TILE_COLUMNS]);
        for row in 0..GROUP_ROWS {
            for column in 0..TILE_COLUMNS {
                sums[row][column] += factors[row][k] * numbers[column];
            }
        }
    }
    for row in 0..GROUP_ROWS {
        group[row][at..at + TILE_COLUMNS].copy_from_slice(&sums[row]);
    }
}

/// Adds what rows of `b` from `start` on contribute to `columns` of one row.
#[inline(always)]
fn add_row(out: &mut [f32], factors: &[f32], b: MatrixView<'_>, start: usize, columns: Range<usize>) {
    const HALF: usize = DEPTH / 2;
    let out = &mut out[columns.clone()];
    let (parts, rest) = factors.as_chunks::<HALF>();
    for (part, factors) in parts.iter().enumerate() {
        let mut rows = [&[][..]; HALF];
        for k in 0..HALF {
            rows[k] = &b.row(start + part * HALF + k)[columns.clone()];
        }
        for at in 0..out.len() {
            let mut sum = out[at];
            for k in 0..HALF {
                sum += factors[k] * rows[k][at];
            }
            out[at] = sum;
        }
    }
    for (k, factor) in rest.iter().enumerate() {
        simd::add_scaled(out, *factor, &b.row(start + parts.len() * HALF + k)[columns.clone()]);
    }
}

/// Computes `a·bᵀ` for a row-major `b` `[columns, depth]`.
pub(super) fn matmul_transposed(out: &mut MatrixViewMut<'_>, a: MatrixView<'_>, b: MatrixView<'_>, mode: WriteMode) {
    let mut out: Vec<&mut [f32]> = out.rows().collect();
    dispatch(
        #[inline(always)]
        || {
            for column in 0..b.layout.rows {
                let b_row = b.row(column);
                for at in (0..b_row.len()).step_by(TILE_COLUMNS) {
                    b.prefetch(column + GROUP_ROWS..column + GROUP_ROWS + 1, at);
                }
                for (row, out) in out.iter_mut().enumerate() {
                    let dot = simd::dot(a.row(row), b_row);
                    match mode {
                        WriteMode::Overwrite => out[column] = dot,
                        WriteMode::Add => out[column] += dot,
                    }
                }
            }
        },
    );
}
