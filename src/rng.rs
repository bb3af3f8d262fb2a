//! Owns: all random generators: seeded ones, and streams for each purpose, step, batch, pass and row.
//! Must not know: what the random numbers decide.
//! Invariant: a generator depends only on its seed, a stream only on (key, purpose, row), on any device.

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The generator behind every random number.
pub type SeededRng = Xoshiro256PlusPlus;

/// Returns a generator for numbers that are drawn in one sequence, such as initial weights.
pub fn seeded_rng(seed: u64) -> SeededRng {
    SeededRng::seed_from_u64(seed)
}

/// Returns a generator for one of many items, such as (seed, split, record).
pub fn item_rng(numbers: [u64; 3]) -> SeededRng {
    let mixed = numbers.iter().fold(0, |state: u64, number| SplitMix64::seed_from_u64(state ^ number).next_u64());
    seeded_rng(mixed)
}

/// The key of a family of random streams. Equal keys give equal numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RngKey {
    pub seed: u64,
    pub step: u64,
    /// Index of the batch within the update.
    pub batch: u64,
    /// Number of the recycled pass; 0 for numbers that all passes of a step share.
    pub pass: u64,
}

/// What a stream is used for. Each purpose has its own stream, so that one cannot shift another.
#[derive(Clone, Copy, Debug)]
pub enum RngPurpose {
    /// Whether a step recycles.
    RecycleDecision = 1,
    /// Which positions are recycled.
    Placement = 2,
    /// How many recycled passes a step has.
    PassCount = 3,
    /// How long the plain prefix of a row is.
    PrefixLength = 4,
    /// Noise added to the fed states.
    Jitter = 5,
    /// Whose state is fed, with the shuffled control.
    Shuffle = 6,
    /// Whether a step feeds the pause vector.
    PauseUpdate = 7,
    /// Which token a generation samples.
    TokenSampling = 8,
    /// Which pairs a bootstrap resamples.
    Bootstrap = 9,
    /// Which stage of the curriculum a row takes.
    RowStage = 10,
    /// Which numbers of a forward pass are dropped.
    Dropout = 11,
    /// Whether a rollout thinks, where its policy leaves it to chance.
    SwitchDecision = 12,
    /// Noise on the latents of a rollout.
    LatentNoise = 13,
    /// Which channels a rollout drops from its first position to its last.
    HeldDropout = 14,
}

/// A reproducible stream of random numbers.
pub struct RngStream(SeededRng);

impl RngKey {
    pub fn stream(self, purpose: RngPurpose, row: usize) -> RngStream {
        // Odd constants spread neighbouring keys; the generator's own seeding mixes the bits.
        let key = self.seed
            ^ self.step.wrapping_mul(0xA076_1D64_78BD_642F)
            ^ (self.batch << 16 | self.pass << 8 | purpose as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
            ^ (row as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        RngStream(seeded_rng(key))
    }

    /// Returns uniform noise in [-1, 1): `counts` numbers for each row, each row from its own stream.
    pub fn uniform_noise(self, counts: impl Iterator<Item = usize>) -> Vec<f32> {
        let row_noise = |(row, count): (usize, usize)| {
            let mut stream = self.stream(RngPurpose::Jitter, row);
            (0..count).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect::<Vec<_>>()
        };
        counts.enumerate().flat_map(row_noise).collect()
    }
}

impl RngStream {
    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a uniform number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Returns a number of the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), std::f64::consts::TAU * self.uniform());
        (-2.0 * radius.ln()).sqrt() * angle.cos()
    }

    /// Returns a uniform integer in `0..n`; `n` must not be 0.
    pub fn uniform_below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }
}
