//! Owns: the random streams of the recycling: one a purpose and step.
//! Must not know: what is drawn.
//! Invariant: a stream depends on (seed, purpose, step) alone, so that any step can be drawn anew.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a stream is for; each has its own, so that one cannot shift another.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Whether a step recycles.
    When = 1,
    /// Which positions.
    Where = 2,
    /// How many passes.
    Depth = 3,
}

/// The stream of one purpose at one step.
pub(super) fn stream(seed: u64, purpose: Purpose, step: u64) -> Xoshiro256PlusPlus {
    // Odd constants (golden ratio, and a prime) spread neighbouring steps; the generator's own seeding mixes them.
    let key = seed
        ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (purpose as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    Xoshiro256PlusPlus::seed_from_u64(key)
}

/// A number in [0, 1).
pub(super) fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    rng.random()
}

/// A number in 0..n; `n` must not be 0.
pub(super) fn below(rng: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    rng.random_range(0..n)
}
