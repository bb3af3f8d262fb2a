//! Owns: arithmetic over slices of numbers, at the width of the processor at hand.
//! Must not know: tensors, threads.
//! Invariant: a result depends on the numbers alone, not on the processor's width: sums run in `LANES` lanes everywhere.
//!
//! Plain loops, which [`wide`] compiles once for each width (AVX-512, AVX2, NEON, what the target has at least) and chooses from at run
//! time. What is called inside must be `#[inline(always)]`, or it stays narrow.

// A lane is a place in several arrays at once.
#![allow(clippy::needless_range_loop)]

/// Lanes of a sum, whatever the processor has.
pub const LANES: usize = 16;

/// Runs `f`, once, as the widest of the processor's instruction sets.
#[inline(always)]
pub fn wide<R>(f: impl FnMut() -> R) -> R {
    pulp::Arch::new().dispatch(Wide(f))
}

/// Calls by reference: to call by value goes by way of a function that is not inlined.
struct Wide<F>(F);

impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Wide<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// `e^x` to 2 units in the last place, as of -87.3 below that (1e-38) and as of 88.3 above (Cephes' `expf`: Moshier 1992).
/// Without branches, so that it is computed in lanes.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first of which has so few bits that its products are exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    // Adding it rounds to a whole number, and leaves that in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let r = x - whole * HIGH - whole * LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // 2^whole, put together from its exponent bits.
    value * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `Σ f(a, b, c)` in lanes, of what is at the same place in three slices of one length. Whole arrays at a time: of an index
/// into a slice the compiler makes a number at a time.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
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
    total(sums)
}

/// One after the other: pairs and pairs of pairs would be faster here, but of them the compiler infers pairs for the loop
/// before, too, which then runs at a fraction of the width.
#[inline(always)]
fn total(sums: [f32; LANES]) -> f32 {
    sums.iter().sum()
}

/// `Σ a`.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    lanes(a, a, a, |a, _, _| a)
}

/// `Σ a·b`.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, b, |a, b, _| a * b)
}

/// `Σ a·b·c`.
#[inline(always)]
pub fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    lanes(a, b, c, |a, b, c| a * b * c)
}

/// `Σ (a - mean)²`.
#[inline(always)]
pub fn spread(a: &[f32], mean: f32) -> f32 {
    lanes(a, a, a, |a, _, _| (a - mean) * (a - mean))
}

/// The largest; -inf of nothing.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    rest.iter().chain(&most).fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

/// `out += a`.
#[inline(always)]
pub fn add(out: &mut [f32], a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += a;
    }
}

/// `out += factor·a`.
#[inline(always)]
pub fn add_scaled(out: &mut [f32], factor: f32, a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out += factor * a;
    }
}

/// `out = factor·a`.
#[inline(always)]
pub fn scaled(out: &mut [f32], factor: f32, a: &[f32]) {
    for (out, a) in out.iter_mut().zip(a) {
        *out = factor * a;
    }
}

/// `a ← e^(scale·a - shift)`, and their sum.
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
    total(sums)
}

/// `a ← e^(a - shift)`; their sum, and `Σ e^(a - shift)·(a - shift)`.
#[inline(always)]
pub fn exp_sums(a: &mut [f32], shift: f32) -> (f32, f32) {
    let (mut sums, mut dots) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let mut one = |lane: usize, value: &mut f32| {
        let less = *value - shift;
        *value = exp(less);
        sums[lane] += *value;
        dots[lane] += *value * less;
    };
    let (whole, rest) = a.as_chunks_mut::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            one(lane, &mut chunk[lane]);
        }
    }
    rest.iter_mut().enumerate().for_each(|(lane, value)| one(lane, value));
    (total(sums), total(dots))
}

/// `a ← factor·a`.
#[inline(always)]
pub fn scale(a: &mut [f32], factor: f32) {
    a.iter_mut().for_each(|a| *a *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn wide_is_as_wide_as_the_processor() {
        use std::arch::is_x86_feature_detected as has;
        let narrow = matches!(pulp::Arch::new(), pulp::Arch::Scalar);
        assert_eq!(narrow, !(has!("avx2") && has!("fma") && has!("bmi2")));
    }

    #[test]
    fn e_to_the_power_is_that_of_the_standard_library() {
        let mut worst = 0.0_f64;
        for at in -8_000..=8_000 {
            let x = at as f32 * 0.01;
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(wide(|| exp(x))) / wanted - 1.0).abs());
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
        assert!((tanh(0.3) - 0.3_f32.tanh()).abs() < 1e-6 && (sigmoid(-2.0) - 0.119_202_92).abs() < 1e-7);
    }

    #[test]
    fn sums_are_of_all_numbers_at_any_length() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|at| (at % 7) as f32 - 2.5).collect();
            let wanted: f32 = a.iter().sum();
            assert!((wide(|| sum(&a)) - wanted).abs() < 1e-3, "{length}");
            let squares: f32 = a.iter().map(|a| a * a).sum();
            assert!((wide(|| dot(&a, &a)) - squares).abs() < 1e-3, "{length}");
            let most = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(wide(|| max(&a)), most, "{length}");
            let mut own = a.clone();
            let total = wide(|| exp_sum(&mut own, 1.0, 0.5));
            assert!((total - a.iter().map(|a| (a - 0.5).exp()).sum::<f32>()).abs() < 1e-3, "{length}");
        }
    }
}
