//! Owns: how many positions of a row a config asks for, at a step and at most.
//! Must not know: which positions they are.
//! Invariant: depends on (config, vocabulary, step) alone.

use super::{Curve, Recycle, Share};

/// How many positions of a row are recycled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// This fraction of the row's positions, at least one.
    Fraction(f64),
    /// This many.
    Count(usize),
    /// All whose plain entropy is at least this, nats. For the placements by entropy alone.
    Above(f64),
}

impl Wanted {
    /// Whether it asks for any position at all.
    pub fn some(self) -> bool {
        match self {
            Wanted::Fraction(fraction) => fraction > 0.0,
            Wanted::Count(count) => count > 0,
            Wanted::Above(_) => true,
        }
    }

    /// Positions a row of `seq_len` that it asks for at most.
    pub fn most(self, seq_len: usize) -> usize {
        match self {
            Wanted::Fraction(fraction) => ((fraction * seq_len as f64).round() as usize).max(1),
            Wanted::Count(count) => count,
            Wanted::Above(_) => seq_len,
        }
    }

    /// Whether a position of this plain entropy is among them.
    pub fn takes(self, entropy: f32) -> bool {
        !matches!(self, Wanted::Above(threshold) if f64::from(entropy) < threshold)
    }
}

impl Recycle {
    /// What is asked for at `step`. `vocab_size` is what relative thresholds are relative to.
    pub fn wanted_at(&self, vocab_size: usize, step: u64) -> Wanted {
        self.wanted(vocab_size, |curve| curve.at(step), |curve| curve.at(step))
    }

    /// The most that is ever asked for: by it validations and early looks are made, so that they can be compared over the
    /// whole run.
    pub fn wanted_at_most(&self, vocab_size: usize) -> Wanted {
        self.wanted(vocab_size, Curve::max, Curve::min)
    }

    fn wanted(
        &self,
        vocab_size: usize,
        number: impl Fn(&Curve) -> f64,
        threshold: impl Fn(&Curve) -> f64,
    ) -> Wanted {
        match self.share {
            Share::Fraction => Wanted::Fraction(number(&self.fraction)),
            Share::Count => Wanted::Count(number(&self.count).round() as usize),
            Share::Threshold => Wanted::Above(threshold(&self.threshold)),
            Share::RelativeThreshold => Wanted::Above(threshold(&self.threshold) * (vocab_size as f64).ln()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_says_which_number_counts() {
        let of = |share| Recycle { share, ..Default::default() }.wanted_at(100, 4);
        assert_eq!(of(Share::Fraction), Wanted::Fraction(0.125));
        assert_eq!(of(Share::Count), Wanted::Count(8));
        assert_eq!(of(Share::Threshold), Wanted::Above(0.5));
        assert_eq!(of(Share::RelativeThreshold), Wanted::Above(0.5 * 100_f64.ln()));
    }

    #[test]
    fn at_most_is_the_largest_number_or_the_lowest_threshold() {
        let curve = Curve::through(vec![(0, 0.25), (10, 0.75), (20, 0.5)]).unwrap();
        let of = |share| Recycle {
            share,
            fraction: curve.clone(),
            threshold: curve.clone(),
            ..Default::default()
        };
        assert_eq!(of(Share::Fraction).wanted_at_most(9), Wanted::Fraction(0.75));
        assert_eq!(of(Share::Threshold).wanted_at_most(9), Wanted::Above(0.25));
    }
}
