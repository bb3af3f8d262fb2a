//! Owns: SIMD arithmetic over slices of numbers.
//! Must not know: tensors, threads.
//! Invariant: a result does not depend on the processor's vector width: sums run in `LANES` lanes everywhere.
//!
//! The functions are plain loops. [`dispatch`] has the compiler make a version for each instruction set (AVX-512,
//! AVX2, NEON, the target's baseline) and chooses one at run time. What is called inside must be
//! `#[inline(always)]`, or it is compiled for the baseline.

// One lane index is used for several arrays.
#![allow(clippy::needless_range_loop)]

/// Lanes of a sum, whatever the processor's vector width.
pub const LANES: usize = 16;

/// Runs `f` once, compiled for the processor's widest instruction set.
#[inline(always)]
pub fn dispatch<R>(f: impl FnMut() -> R) -> R {
    pulp::Arch::new().dispatch(Dispatched(f))
}

/// Calls the closure by reference, because a call by value goes through a function that is not inlined.
struct Dispatched<F>(F);

impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Dispatched<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// Returns `e^x` to 2 units in the last place (Cephes' `expf`, Moshier 1992).
///
/// `x` is clamped to -87.3 (where `e^x` is 1e-38) and 88.3. There are no branches, so that it runs in lanes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts; the first has so few bits that its products are exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    // Adding this rounds to an integer, which is left in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = x - whole * HIGH - whole * LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // 2^whole, from its exponent bits.
    value * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// Returns `Σ f(a, b, c)` over three slices of one length, in lanes.
///
/// It goes by arrays of `LANES`, because the compiler does not vectorise loops that index slices.
#[inline(always)]
fn sum_lanes(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (b, c) = (&b[..a.len()], &c[..a.len()]);
    let mut sums = [0.0_f32; LANES];
    let [(a, last_a), (b, last_b), (c, last_c)] =
        [a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>()];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane], c[lane]);
        }
    }
    for (lane, ((a, b), c)) in last_a.iter().zip(last_b).zip(last_c).enumerate() {
        sums[lane] += f(*a, *b, *c);
    }
    add_lanes(sums)
}

/// Returns the sum of the lanes, added in order. A tree of pairs would be faster here, but then the compiler
/// also pairs the lanes of the preceding loop, which runs at a fraction of the width.
#[inline(always)]
fn add_lanes(sums: [f32; LANES]) -> f32 {
    sums.iter().sum()
}

#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    sum_lanes(a, a, a, |a, _, _| a)
}

#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, b, |a, b, _| a * b)
}

#[inline(always)]
pub fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    sum_lanes(a, b, c, |a, b, c| a * b * c)
}

#[inline(always)]
pub fn squared_deviations(a: &[f32], mean: f32) -> f32 {
    sum_lanes(a, a, a, |a, _, _| (a - mean) * (a - mean))
}

/// Returns the largest number, or -inf of an empty slice.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut max = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
        }
    }
    rest.iter().chain(&max).fold(f32::NEG_INFINITY, |max, value| max.max(*value))
}

/// Returns the largest magnitude, 0 of an empty slice.
#[inline(always)]
pub fn max_abs(a: &[f32]) -> f32 {
    let mut max = [0.0_f32; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            let value = chunk[lane].abs();
            max[lane] = if value > max[lane] { value } else { max[lane] };
        }
    }
    rest.iter().map(|value| value.abs()).chain(max).fold(0.0, f32::max)
}

#[inline(always)]
pub fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, b, |a, b, _| (a - b) * (a - b))
}

/// Computes `out += a`.
#[inline(always)]
pub fn add(out: &mut [f32], a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += a;
    }
}

/// Computes `out += factor·a`.
#[inline(always)]
pub fn add_scaled(out: &mut [f32], factor: f32, a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += factor * a;
    }
}

/// Computes `out = factor·a`.
#[inline(always)]
pub fn copy_scaled(out: &mut [f32], factor: f32, a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out = factor * a;
    }
}

/// Replaces `a` by `e^(scale·a - shift)` and returns the sum.
#[inline(always)]
pub fn exp_sum(a: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = a.as_chunks_mut::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            chunk[lane] = exp(scale * chunk[lane] - shift);
            sums[lane] += chunk[lane];
        }
    }
    for (lane, value) in rest.iter_mut().enumerate() {
        *value = exp(scale * *value - shift);
        sums[lane] += *value;
    }
    add_lanes(sums)
}

/// Replaces `a` by `e^(a - shift)`. Returns the sum and `Σ e^(a - shift)·(a - shift)`.
#[inline(always)]
pub fn exp_sum_and_dot(a: &mut [f32], shift: f32) -> (f32, f32) {
    let (mut sums, mut dots) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let mut one = |lane: usize, value: &mut f32| {
        let shifted = *value - shift;
        *value = exp(shifted);
        sums[lane] += *value;
        dots[lane] += *value * shifted;
    };
    let (whole, rest) = a.as_chunks_mut::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            one(lane, &mut chunk[lane]);
        }
    }
    rest.iter_mut().enumerate().for_each(|(lane, value)| one(lane, value));
    (add_lanes(sums), add_lanes(dots))
}

/// Computes `a = factor·a` in place.
#[inline(always)]
pub fn scale(a: &mut [f32], factor: f32) {
    a.iter_mut().for_each(|a| *a *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn dispatch_uses_the_widest_instruction_set() {
        use std::arch::is_x86_feature_detected as has;
        let narrow = matches!(pulp::Arch::new(), pulp::Arch::Scalar);
        assert_eq!(narrow, !(has!("avx2") && has!("fma") && has!("bmi2")));
    }

    #[test]
    fn exp_matches_the_standard_library() {
        let mut worst = 0.0_f64;
        for at in -8_000..=8_000 {
            let x = at as f32 * 0.01;
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(dispatch(|| exp(x))) / wanted - 1.0).abs());
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
        assert!((tanh(0.3) - 0.3_f32.tanh()).abs() < 1e-6 && (sigmoid(-2.0) - 0.119_202_92).abs() < 1e-7);
    }

    #[test]
    fn sums_are_right_at_any_length() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|at| (at % 7) as f32 - 2.5).collect();
            let wanted: f32 = a.iter().sum();
            assert!((dispatch(|| sum(&a)) - wanted).abs() < 1e-3, "{length}");
            let squares: f32 = a.iter().map(|a| a * a).sum();
            assert!((dispatch(|| dot(&a, &a)) - squares).abs() < 1e-3, "{length}");
            let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(dispatch(|| max(&a)), largest, "{length}");
            let largest = a.iter().map(|a| a.abs()).fold(0.0, f32::max);
            assert_eq!(dispatch(|| max_abs(&a)), largest, "{length}");
            assert_eq!(dispatch(|| square_distance(&a, &a)), 0.0, "{length}");
            let mut exps = a.clone();
            let total = dispatch(|| exp_sum(&mut exps, 1.0, 0.5));
            assert!((total - a.iter().map(|a| (a - 0.5).exp()).sum::<f32>()).abs() < 1e-3, "{length}");
        }
    }
}
