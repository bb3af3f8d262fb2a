//! Owns: products of a few rows, as decoding has them: the second matrix is read once, as it lies, which is most of what such
//! a product costs.
//! Must not know: threads, how many rows are few.
//! Invariant: a row of the result depends on the same row of the first matrix alone.

// A number is at one place in several arrays.
#![allow(clippy::needless_range_loop)]

use super::{View, ViewMut};
use crate::ops::vector::{self, wide};
use std::ops::Range;

/// Rows of the second matrix that are gone through at once.
const DEPTH: usize = 16;
/// Numbers of the result that are: they and what they are made of fit a processor's nearest caches.
const NEAR: usize = 2048;
/// Rows and columns of the result that stay in registers.
const GROUP: usize = 4;
const TILE: usize = 16;

/// `out = a·b`, or `out += a·b` (`add`), of a `b` whose rows lie in one piece.
pub(super) fn along(out: &mut ViewMut<'_>, a: View<'_>, b: View<'_>, add: bool) {
    let [rows, columns] = out.dims();
    let breadth = NEAR / rows / TILE * TILE;
    let mut out: Vec<&mut [f32]> = out.rows().collect();
    if !add {
        out.iter_mut().for_each(|row| row.fill(0.0));
    }
    wide(
        #[inline(always)]
        || {
            for from in (0..columns).step_by(breadth) {
                let across = from..(from + breadth).min(columns);
                for start in (0..b.form.rows).step_by(DEPTH) {
                    let down = start..(start + DEPTH).min(b.form.rows);
                    let (groups, rest) = out.as_chunks_mut::<GROUP>();
                    let grouped = groups.len() * GROUP;
                    // What comes next: rows below these, or the first ones of the next columns.
                    let next = if down.end < b.form.rows { (down.end, 0) } else { (0, breadth) };
                    let tiled = block(groups, a, b, down.clone(), across.clone(), next);
                    for (row, out) in groups.iter_mut().flatten().enumerate() {
                        one(out, &a.row(row)[down.clone()], b, start, tiled.end..across.end);
                    }
                    for (row, out) in rest.iter_mut().enumerate() {
                        one(out, &a.row(grouped + row)[down.clone()], b, start, across.clone());
                    }
                }
            }
        },
    );
}

/// Adds what rows `down` of `b` contribute to the columns `across` of all groups, as many of them as make whole tiles: which.
/// Meanwhile the rows from `next.0` on are fetched, `next.1` columns further.
#[inline(always)]
fn block(
    groups: &mut [[&mut [f32]; GROUP]],
    a: View<'_>,
    b: View<'_>,
    down: Range<usize>,
    across: Range<usize>,
    next: (usize, usize),
) -> Range<usize> {
    let start = down.start;
    if groups.is_empty() || down.len() < DEPTH {
        return across.start..across.start;
    }
    let end = across.start + across.len() / TILE * TILE;
    for at in (across.start..end).step_by(TILE) {
        for (index, group) in groups.iter_mut().enumerate() {
            let mut factors = [&[0.0; DEPTH]; GROUP];
            for row in 0..GROUP {
                if let Some(own) = a.row(index * GROUP + row)[start..].first_chunk() {
                    factors[row] = own;
                }
            }
            tile(group, factors, b, start, at);
        }
        b.ahead(next.0..next.0 + DEPTH, at + next.1);
    }
    across.start..end
}

/// DEPTH rows of `b` from `start` on, TILE columns from `at` on.
#[inline(always)]
fn tile(
    group: &mut [&mut [f32]; GROUP],
    factors: [&[f32; DEPTH]; GROUP],
    b: View<'_>,
    start: usize,
    at: usize,
) {
    let mut sums = [[0.0_f32; TILE]; GROUP];
    for row in 0..GROUP {
        sums[row].copy_from_slice(&group[row][at..at + TILE]);
    }
    for k in 0..DEPTH {
        let mut numbers = [0.0_f32; TILE];
        numbers.copy_from_slice(&b.row(start + k)[at..at + TILE]);
        for row in 0..GROUP {
            for column in 0..TILE {
                sums[row][column] += factors[row][k] * numbers[column];
            }
        }
    }
    for row in 0..GROUP {
        group[row][at..at + TILE].copy_from_slice(&sums[row]);
    }
}

/// Adds to the columns `across` of one row.
#[inline(always)]
fn one(out: &mut [f32], factors: &[f32], b: View<'_>, start: usize, across: Range<usize>) {
    const HALF: usize = DEPTH / 2;
    let out = &mut out[across.clone()];
    let (parts, rest) = factors.as_chunks::<HALF>();
    for (part, factors) in parts.iter().enumerate() {
        let mut rows = [&[][..]; HALF];
        for k in 0..HALF {
            rows[k] = &b.row(start + part * HALF + k)[across.clone()];
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
        vector::add_scaled(out, *factor, &b.row(start + parts.len() * HALF + k)[across.clone()]);
    }
}

/// The same of a `b` whose columns do, given as its transposed, `[columns, depth]`.
pub(super) fn across(out: &mut ViewMut<'_>, a: View<'_>, b: View<'_>, add: bool) {
    let mut out: Vec<&mut [f32]> = out.rows().collect();
    wide(
        #[inline(always)]
        || {
            for column in 0..b.form.rows {
                let other = b.row(column);
                for at in (0..other.len()).step_by(TILE) {
                    b.ahead(column + GROUP..column + GROUP + 1, at);
                }
                for (row, out) in out.iter_mut().enumerate() {
                    let dot = vector::dot(a.row(row), other);
                    out[column] = if add { out[column] + dot } else { dot };
                }
            }
        },
    );
}
