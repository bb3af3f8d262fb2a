//! Owns: the random streams of the recycling: one a purpose, step, batch and row.
//! Must not know: what is drawn.
//! Invariant: a stream depends on (draw, purpose, row) alone, so that any step can be drawn anew, on any device.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What random choices depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// Of the run.
    pub seed: u64,
    /// The update (1 is the first).
    pub step: u64,
    /// Which batch of the update.
    pub batch: u64,
    /// Which recycled pass; 0 for what is drawn once for all of them.
    pub pass: u64,
}

/// What a stream is for; each has its own, so that one cannot shift another.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Whether a step recycles.
    When = 1,
    /// Which positions.
    Where = 2,
    /// How many passes.
    Depth = 3,
    /// How long the plain prefix is.
    Prefix = 4,
    /// Noise on what is fed.
    Jitter = 5,
    /// Whose state is fed, in the shuffled control.
    Shuffle = 6,
    /// Whether a step feeds the pause vector.
    Pause = 7,
    /// Which token, of a generation.
    Choice = 8,
    /// Which samples a bootstrap draws.
    Bootstrap = 9,
}

/// A stream of random numbers.
pub struct Stream(Xoshiro256PlusPlus);

impl Draw {
    /// The stream of one purpose, for one row of a batch.
    pub fn stream(self, purpose: Purpose, row: usize) -> Stream {
        // Odd constants spread neighbours; the generator's own seeding mixes them.
        let key = self.seed
            ^ self.step.wrapping_mul(0xA076_1D64_78BD_642F)
            ^ (self.batch << 16 | self.pass << 8 | purpose as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
            ^ (row as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Stream(Xoshiro256PlusPlus::seed_from_u64(key))
    }

    /// As many numbers in [-1, 1) as `counts` says for each row, each row's from its own stream.
    pub fn noise(self, counts: impl Iterator<Item = usize>) -> Vec<f32> {
        let row = |(row, count): (usize, usize)| {
            let mut stream = self.stream(Purpose::Jitter, row);
            (0..count).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect::<Vec<_>>()
        };
        counts.enumerate().flat_map(row).collect()
    }
}

impl Stream {
    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A number in 0..n; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }
}
