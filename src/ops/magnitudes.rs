//! Owns: how large the numbers of a tensor are: their square sum and largest magnitude, a histogram of a sample of them,
//! and the distance between two tensors.
//! Must not know: what the numbers are, who shows them.
//! Invariant: nothing is changed, and nothing is read back: every result is a small tensor on the same device.

use super::adamw::{CHUNK, square_sum};
use super::graph::{detach, is_native_cpu, slice, tensor_from_vec};
use super::simd::{self, dispatch};
use super::to_f32;
use super::trace::{SpanKind, span};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

/// Counts of a histogram: magnitudes below `2^LEAST_EXPONENT` (zeros included), one for each power of two, and the rest.
pub const BUCKETS: usize = 32;

/// The first bucket ends at two to this power, the last one begins `BUCKETS - 2` powers above it, at 4.
pub const LEAST_EXPONENT: i32 = -28;

/// Returns `[Σ x², max |x|]`, `[2]`, without autodiff.
pub fn square_sum_and_max<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    let _span = span("magnitudes", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&values) {
        return square_sum_and_max_reference(values);
    }
    let values = detach(values);
    let chunks: Vec<(f32, f32)> = slice(&values).par_chunks(CHUNK).map(chunk_square_sum_and_max).collect();
    let sum = chunks.iter().map(|(sum, _)| f64::from(*sum)).sum::<f64>() as f32;
    tensor_from_vec(vec![sum, chunks.iter().map(|(_, max)| *max).fold(0.0, f32::max)], [2])
}

/// The reference: the same numbers composed of Burn's operations.
fn square_sum_and_max_reference<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    let values = to_f32(if values.device().is_autodiff() { values.inner() } else { values });
    Tensor::cat(vec![values.clone().square().sum(), values.max_abs()], 0)
}

fn chunk_square_sum_and_max(chunk: &[f32]) -> (f32, f32) {
    dispatch(
        #[inline(always)]
        || (simd::dot(chunk, chunk), simd::max_abs(chunk)),
    )
}

/// Returns `Σ (a - b)²`, `[1]`, of two tensors of one shape without autodiff.
pub fn square_distance<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<1> {
    let _span = span("square_distance", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&a) || !is_native_cpu(&b) {
        return square_sum(a - b);
    }
    let (a, b) = (detach(a), detach(b));
    let pairs = slice(&a).par_chunks(CHUNK).zip(slice(&b).par_chunks(CHUNK));
    let chunks: Vec<f32> = pairs.map(|(a, b)| chunk_square_distance(a, b)).collect();
    tensor_from_vec(vec![chunks.into_iter().map(f64::from).sum::<f64>() as f32], [1])
}

fn chunk_square_distance(a: &[f32], b: &[f32]) -> f32 {
    dispatch(
        #[inline(always)]
        || simd::square_distance(a, b),
    )
}

/// Returns every `stride`-th number in row-major order, `[N]`, from the first one on; `stride` is at least 1.
pub fn every_nth<const D: usize>(values: Tensor<D>, stride: usize) -> Tensor<1> {
    let _span = span("every_nth", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&values) {
        return every_nth_reference(values, stride);
    }
    let values = detach(values);
    let sample: Vec<f32> = slice(&values).iter().step_by(stride.max(1)).copied().collect();
    let count = sample.len();
    tensor_from_vec(sample, [count])
}

/// The reference: the same numbers selected by Burn's operations.
fn every_nth_reference<const D: usize>(values: Tensor<D>, stride: usize) -> Tensor<1> {
    let count = values.shape().num_elements();
    let at = Tensor::<1, Int>::arange_step(0..count as i64, stride.max(1), &values.device());
    values.reshape([count]).select(0, at)
}

/// Returns how many numbers of `[N]` lie in each bucket, `[BUCKETS]`: counts, exact below 2²⁴ numbers.
///
/// Bucket 0 has the magnitudes below `2^LEAST_EXPONENT`, bucket `k` those from `2^(LEAST_EXPONENT+k-1)` to twice that, the
/// last one all larger ones.
pub fn magnitude_histogram(values: Tensor<1>) -> Tensor<1> {
    let _span = span("histogram", SpanKind::NoGraph, 0.0);
    if !is_native_cpu(&values) {
        return histogram_reference(values);
    }
    let values = detach(values);
    let mut counts = vec![0.0_f32; BUCKETS];
    slice(&values).iter().for_each(|value| counts[bucket_of(*value)] += 1.0);
    tensor_from_vec(counts, [BUCKETS])
}

/// The reference: the same counts composed of Burn's operations. Each is a difference of two cumulative counts.
fn histogram_reference(values: Tensor<1>) -> Tensor<1> {
    let (count, device) = (values.dims()[0], values.device());
    let bounds: Vec<f32> = (0..BUCKETS - 1).map(|bucket| bucket_end(bucket) as f32).collect();
    let bounds = Tensor::<1>::from_floats(&bounds[..], &device).unsqueeze::<2>();
    let values = values.abs().reshape([count, 1]).expand([count, BUCKETS - 1]);
    let at_least = values.greater_equal(bounds.expand([count, BUCKETS - 1])).float().sum_dim(0).reshape([BUCKETS - 1]);
    let all = Tensor::<1>::from_floats([count as f32], &device);
    let none = Tensor::<1>::zeros([1], &device);
    Tensor::cat(vec![all, at_least.clone()], 0) - Tensor::cat(vec![at_least, none], 0)
}

/// Returns the magnitude at which a bucket ends; infinity for the last one.
fn bucket_end(bucket: usize) -> f64 {
    if bucket + 1 < BUCKETS { 2.0_f64.powi(LEAST_EXPONENT + bucket as i32) } else { f64::INFINITY }
}

/// Returns the bucket of a number, by the exponent in its bits.
fn bucket_of(value: f32) -> usize {
    let exponent = ((value.to_bits() >> 23) & 0xff) as i32 - 127;
    (exponent - LEAST_EXPONENT + 1).clamp(0, BUCKETS as i32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    fn tensor(numbers: &[f32]) -> Tensor<1> {
        Tensor::from_floats(numbers, &Device::flex())
    }

    #[test]
    fn sums_maxima_and_distances_are_those_of_the_numbers() {
        for count in [1, 17, CHUNK + 5] {
            let a: Vec<f32> = (0..count).map(|at| ((at * 7919) % 1013) as f32 / 100.0 - 6.0).collect();
            let b: Vec<f32> = a.iter().map(|a| a * 0.5 + 0.25).collect();
            let square: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            let largest = a.iter().map(|a| a.abs()).fold(0.0, f32::max);
            for found in [square_sum_and_max(tensor(&a)), square_sum_and_max_reference(tensor(&a))] {
                let found = values(found);
                assert!((f64::from(found[0]) / square - 1.0).abs() < 1e-4 && found[1] == largest, "{found:?}");
            }
            let apart: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let found = f64::from(values(square_distance(tensor(&a), tensor(&b)))[0]);
            assert!((found / apart - 1.0).abs() < 1e-5, "{found} {apart}");
        }
    }

    #[test]
    fn a_sample_is_every_nth_number_in_row_major_order() {
        let matrix = tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).reshape([2, 4]);
        for sample in [every_nth, every_nth_reference] {
            assert_eq!(values(sample(matrix.clone(), 3)), [0.0, 3.0, 6.0]);
            assert_eq!(values(sample(matrix.clone().transpose(), 3)), [0.0, 5.0, 3.0]);
            assert_eq!(values(sample(matrix.clone(), 99)), [0.0]);
        }
    }

    #[test]
    fn a_number_is_counted_between_its_powers_of_two() {
        let least = 2.0_f32.powi(LEAST_EXPONENT);
        let numbers = [0.0, least * 0.99, -least, least * 1.99, 0.5, -0.75, 1.0, 3.99, 4.0, -1e30];
        for counts in [magnitude_histogram(tensor(&numbers)), histogram_reference(tensor(&numbers))] {
            let mut wanted = vec![0.0; BUCKETS];
            for (bucket, count) in [(0, 2.0), (1, 2.0), (28, 2.0), (29, 1.0), (30, 1.0), (31, 2.0)] {
                wanted[bucket] = count;
            }
            assert_eq!(values(counts), wanted);
        }
        assert_eq!((bucket_end(0), bucket_end(30), bucket_end(31)), (f64::from(least), 4.0, f64::INFINITY));
    }

    #[test]
    fn both_histograms_count_the_same() {
        let random = Tensor::<1>::random([5000], Distribution::Normal(0.0, 0.02), &Device::flex());
        assert_eq!(values(magnitude_histogram(random.clone())), values(histogram_reference(random)));
    }
}
