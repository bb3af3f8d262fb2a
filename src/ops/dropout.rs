//! Owns: dropout (Srivastava et al., 2014): each number becomes 0 with a given probability, the others are scaled so that
//! the expectation stays.
//! Must not know: which layers drop, where keys come from.
//! Invariant: whether a number is dropped depends on key, row and column alone, on any device. So a backward pass draws the
//! mask again, and nothing is kept for it.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use super::cube;
use super::graph::{CpuTensor, any_operand, cpu_op, cpu_tensor, is_native_cpu, operand, slice, with_custom_backward};
use super::graph::{CustomBackward, Gradient, gradient};
use super::simd::{self, dispatch};
use super::threads::{rows_per_chunk, unspecified_vec};
use super::trace::OpCost;
use super::{cast_like, to_f32};
use burn::backend::TensorMetadata;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

const DROPOUT: OpCost = OpCost::without_matmul("dropout");

/// Numbers of a row that are decided together: a hash of 32 bits decides two of them, 16 columns apart.
const BLOCK: usize = 32;

/// A dropout mask of any number of rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    keys: [u32; 2],
    /// How many of 65,536 numbers are dropped.
    dropped: u32,
    /// What the others are multiplied by.
    scale: f32,
}

impl Dropout {
    /// Creates the mask that drops a number with probability `rate`, rounded to 1/65,536; `None` if that is 0.
    pub fn new(rate: f64, key: u64) -> Option<Self> {
        let dropped = (rate * 65_536.0).round().clamp(0.0, 65_535.0);
        let scale = (65_536.0 / (65_536.0 - dropped)) as f32;
        (dropped > 0.0).then_some(Self { keys: [key as u32, (key >> 32) as u32], dropped: dropped as u32, scale })
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> RowMask {
        let first = mix(row as u32 ^ self.keys[0], 0);
        RowMask { keys: [first, mix(first, self.keys[1])], dropped: self.dropped, scale: self.scale }
    }

    /// Returns the factors of the mask's first row, over `columns` columns: 0 for a dropped number.
    pub fn first_row(&self, columns: usize) -> Vec<f32> {
        let mut factors = vec![1.0; columns];
        self.row(0).apply(&mut factors);
        factors
    }

    /// Returns another mask, for what is numbered apart.
    pub(super) fn other(self) -> Self {
        Self { keys: [mix(self.keys[0], 1), self.keys[1]], ..self }
    }

    /// Returns `x` `[.., rows, columns]` with numbers dropped, without autodiff; its first row is row `first_row`.
    pub(super) fn apply<const D: usize>(&self, x: Tensor<D>, first_row: usize) -> Tensor<D> {
        let shape = x.dims();
        let columns = shape[D - 1];
        let rows = shape.iter().product::<usize>() / columns.max(1);
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if cube::has_kernels_for(&x) {
            let mask = cube::DropoutMask {
                keys: self.keys,
                dropped: self.dropped,
                scale: self.scale,
                first_row: first_row as u32,
            };
            return cube::dropout(x.reshape([rows, columns]), mask).reshape(shape);
        }
        let mut factors = vec![1.0; rows * columns];
        for (row, factors) in factors.chunks_exact_mut(columns.max(1)).enumerate() {
            self.row(first_row + row).apply(factors);
        }
        let factors = Tensor::<2>::from_data(TensorData::new(factors, [rows, columns]), &x.device());
        cast_like(to_f32(x.clone()) * factors.reshape(shape), &x)
    }
}

/// The mask of one row.
#[derive(Clone, Copy, Debug)]
pub struct RowMask {
    keys: [u32; 2],
    dropped: u32,
    scale: f32,
}

impl RowMask {
    /// Multiplies the first numbers of the row by 0 or the scale.
    #[inline(always)]
    pub fn apply(&self, values: &mut [f32]) {
        let (whole, rest) = values.as_chunks_mut::<BLOCK>();
        for (block, values) in whole.iter_mut().enumerate() {
            self.apply_to_block(block, values);
        }
        if !rest.is_empty() {
            let mut values = [0.0; BLOCK];
            values[..rest.len()].copy_from_slice(rest);
            self.apply_to_block(whole.len(), &mut values);
            rest.copy_from_slice(&values[..rest.len()]);
        }
    }

    #[inline(always)]
    fn apply_to_block(&self, block: usize, values: &mut [f32; BLOCK]) {
        let first = (block * (BLOCK / 2)) as u32;
        for lane in 0..BLOCK / 2 {
            let hash = self.hash(first.wrapping_add(lane as u32));
            values[lane] *= self.factor(hash & 0xFFFF);
            values[lane + BLOCK / 2] *= self.factor(hash >> 16);
        }
    }

    /// Returns what the number in `column` is multiplied by.
    #[inline(always)]
    pub fn factor_at(&self, column: usize) -> f32 {
        let (block, at) = (column / BLOCK, column % BLOCK);
        let hash = self.hash((block * (BLOCK / 2) + at % (BLOCK / 2)) as u32);
        self.factor(if at < BLOCK / 2 { hash & 0xFFFF } else { hash >> 16 })
    }

    #[inline(always)]
    fn factor(&self, number: u32) -> f32 {
        // Signed, because AVX2 compares no unsigned numbers.
        if (number as i32) < self.dropped as i32 { 0.0 } else { self.scale }
    }

    #[inline(always)]
    fn hash(&self, index: u32) -> u32 {
        mix(index.wrapping_mul(0x9E37_79B9) ^ self.keys[0], self.keys[1])
    }
}

/// A hash of 32 bits with little bias (C. Wellons' `lowbias32`), with a key within. `ops::cube` has the same one.
#[inline(always)]
fn mix(x: u32, key: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D).wrapping_add(key);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The reference: composed of Burn's operations.
#[cfg(test)]
pub(super) fn reference(x: Tensor<2>, residual: Option<Tensor<2>>, mask: Dropout) -> Tensor<2> {
    let factors = mask.apply(x.clone().inner().ones_like(), 0);
    let dropped = x * Tensor::from_inner(factors);
    match residual {
        Some(residual) => residual + to_f32(dropped),
        None => dropped,
    }
}

/// Returns `x` `[N, D]` with numbers dropped, plus `residual` `[N, D]` in f32 if given.
pub fn dropout(x: Tensor<2>, residual: Option<Tensor<2>>, mask: Dropout) -> Tensor<2> {
    if !is_native_cpu(&x) {
        let _span = DROPOUT.forward_span();
        let dropped =
            with_custom_backward(vec![any_operand(x.clone())], mask.apply(x.inner(), 0), DropoutBackward(mask));
        return match residual {
            Some(residual) => residual + to_f32(dropped),
            None => dropped,
        };
    }
    let operands: Vec<_> = std::iter::once(x).chain(residual).map(operand).collect();
    cpu_op(
        DROPOUT,
        operands,
        |operands| (masked(&operands[0], operands.get(1), mask), mask),
        |mask, grad, wanted| {
            let to_x = wanted[0].then(|| masked(&grad, None, mask));
            vec![to_x, Some(grad)]
        },
    )
}

#[derive(Clone, Debug)]
struct DropoutBackward(Dropout);

impl CustomBackward for DropoutBackward {
    fn backward(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        let _span = DROPOUT.backward_span();
        vec![gradient(self.0.apply(grad, 0))]
    }
}

fn masked(x: &CpuTensor, residual: Option<&CpuTensor>, mask: Dropout) -> CpuTensor {
    let [n, d] = [x.shape()[0], x.shape()[1]];
    let (mut out, x, residual) = (unspecified_vec(n * d), slice(x), residual.map(slice));
    let rows = rows_per_chunk(n, d);
    out.par_chunks_mut((rows * d).max(1)).enumerate().for_each(|(chunk, out)| {
        dispatch(
            #[inline(always)]
            || {
                for (row, out) in out.chunks_exact_mut(d).enumerate() {
                    let row = chunk * rows + row;
                    out.copy_from_slice(&x[row * d..(row + 1) * d]);
                    mask.row(row).apply(out);
                    if let Some(residual) = residual {
                        simd::add(out, &residual[row * d..(row + 1) * d]);
                    }
                }
            },
        );
    });
    cpu_tensor(out, [n, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(mask: &Dropout, rows: usize, columns: usize) -> Vec<f32> {
        let mut factors = vec![1.0; rows * columns];
        factors.chunks_exact_mut(columns).enumerate().for_each(|(row, factors)| mask.row(row).apply(factors));
        factors
    }

    #[test]
    fn numbers_are_dropped_at_the_rate_and_independently() {
        for rate in [0.1, 0.5, 0.9] {
            let mask = Dropout::new(rate, 7).unwrap();
            let (rows, columns) = (1_000, 200);
            let factors = factors(&mask, rows, columns);
            let kept = |at: usize| factors[at] > 0.0;
            let share = |of: &dyn Fn(usize) -> bool| {
                (0..rows * columns).filter(|at| of(*at)).count() as f64 / (rows * columns) as f64
            };
            // Three standard errors are 0.0034 at most.
            assert!((share(&|at| !kept(at)) - rate).abs() < 0.004, "{rate}");
            // Neighbours in a row, the two of a hash, and neighbours in a column are dropped together by chance alone.
            for distance in [1, 16, 32, columns] {
                let both = share(&|at| !kept(at) && !kept((at + distance) % (rows * columns)));
                assert!((both - rate * rate).abs() < 0.005, "{rate} {distance}: {both}");
            }
            let mean = factors.iter().sum::<f32>() / factors.len() as f32;
            assert!((f64::from(mean) - 1.0).abs() < 0.004 / (1.0 - rate), "{mean}");
        }
        assert_eq!(Dropout::new(0.0, 7), None);
    }

    #[test]
    fn a_mask_depends_on_its_key_and_row_only() {
        let [mask, same, other] = [7, 7, 8].map(|key| Dropout::new(0.5, key).unwrap());
        let all = factors(&mask, 3, 70);
        assert_eq!(all, factors(&same, 3, 70));
        assert_ne!(all, factors(&other, 3, 70));
        assert_ne!(all, factors(&mask.other(), 3, 70));
        assert_ne!(all[..70], all[70..140]);
        for column in 0..70 {
            assert_eq!(mask.row(2).factor_at(column), all[140 + column]);
        }
    }
}
