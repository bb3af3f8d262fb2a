//! Owns: which positions of a batch are recycled.
//! Must not know: tensors, the model, the schedule.
//! Invariant: a position `t` is placed only where `t >= 1` and no document begins at `t`; positions of a row ascend;
//! the outcome depends on (seed, step, document starts, plain entropy) alone.

use super::rng;

/// The recycled positions of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Positions a row (T).
    pub seq_len: usize,
    /// Ascending positions, row by row. Rows may differ in number where documents are short.
    pub rows: Vec<Vec<usize>>,
}

impl Positions {
    /// How many there are in all rows.
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Positions of all rows as indices into `[B·T]`, row by row.
    pub fn flat(&self) -> Vec<usize> {
        self.rows
            .iter()
            .enumerate()
            .flat_map(|(row, positions)| positions.iter().map(move |t| row * self.seq_len + t))
            .collect()
    }

    /// `[B·T]`: whether a position is recycled.
    pub fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.rows.len() * self.seq_len];
        for index in self.flat() {
            mask[index] = true;
        }
        mask
    }
}

/// How many positions of a row are recycled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// This fraction of the row's positions, at least one.
    Fraction(f64),
    /// This many.
    Count(usize),
    /// All whose plain entropy is at least this, nats. For the placements by entropy alone.
    Above(f64),
}

impl Share {
    /// Whether it asks for any position at all.
    pub fn some(self) -> bool {
        match self {
            Share::Fraction(fraction) => fraction > 0.0,
            Share::Count(count) => count > 0,
            Share::Above(_) => true,
        }
    }

    /// Positions a row of `seq_len` that it asks for at most.
    fn most(self, seq_len: usize) -> usize {
        match self {
            Share::Fraction(fraction) => ((fraction * seq_len as f64).round() as usize).max(1),
            Share::Count(count) => count,
            Share::Above(_) => seq_len,
        }
    }

    fn takes(self, entropy: f32) -> bool {
        match self {
            Share::Above(threshold) => f64::from(entropy) >= threshold,
            _ => true,
        }
    }
}

/// A batch's rows as placement sees them.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Positions a row (T).
    pub seq_len: usize,
    /// `[B·T]`: whether a document begins at the position.
    pub doc_start: &'a [bool],
}

impl Rows<'_> {
    /// The positions of each row that may be recycled: all but the first of the row and the first of any document,
    /// because the state before them belongs to nothing or to another document.
    fn eligible(&self) -> impl Iterator<Item = Vec<usize>> {
        self.doc_start.chunks(self.seq_len).map(|row| (1..row.len()).filter(|t| !row[*t]).collect())
    }

    fn place(&self, choose: impl FnMut((usize, Vec<usize>)) -> Vec<usize>) -> Positions {
        Positions { seq_len: self.seq_len, rows: self.eligible().enumerate().map(choose).collect() }
    }
}

/// Positions drawn uniformly without repetition; fewer where a row has fewer eligible ones. `draw` tells apart the
/// batches of one step.
pub fn random(rows: Rows<'_>, share: Share, seed: u64, step: u64, draw: u64) -> Positions {
    span(rows, share, 1, seed, step, draw)
}

/// Runs of `length` neighbours, so that chains of latents are trained: run after run begins at a position drawn
/// uniformly among the free ones, and goes on to the right until it is long enough, meets a position that is taken or not
/// eligible, or the share is reached.
pub fn span(rows: Rows<'_>, share: Share, length: usize, seed: u64, step: u64, draw: u64) -> Positions {
    let wanted = share.most(rows.seq_len);
    let mut rng = rng::stream(seed.wrapping_add(draw << 32), rng::Purpose::Where, step);
    rows.place(|(_, mut free)| {
        let mut taken = Vec::with_capacity(wanted.min(free.len()));
        while taken.len() < wanted && !free.is_empty() {
            let begin = rng::below(&mut rng, free.len());
            let most = length.min(wanted - taken.len());
            let run = (0..most).take_while(|n| free.get(begin + n) == Some(&(free[begin] + n))).count();
            taken.extend(free.drain(begin..begin + run));
        }
        taken.sort_unstable();
        taken
    })
}

/// Where the plain output *at the position* is the most uncertain, so that the state from before the uncertain position is
/// recycled. `entropy` is `[B·T]`, nats. Of equal entropies the earlier position wins; not-a-number counts as the least.
pub fn entropy_at(rows: Rows<'_>, share: Share, entropy: &[f32]) -> Positions {
    by_entropy(rows, share, entropy, 0)
}

/// After the positions where the plain output is the most uncertain: the uncertain state itself goes into the next
/// position. Ties and not-a-number as for [`entropy_at`].
pub fn entropy_next(rows: Rows<'_>, share: Share, entropy: &[f32]) -> Positions {
    by_entropy(rows, share, entropy, 1)
}

/// The entropy that counts for position `t` is that at `t - back`.
fn by_entropy(rows: Rows<'_>, share: Share, entropy: &[f32], back: usize) -> Positions {
    let wanted = share.most(rows.seq_len);
    rows.place(|(row, eligible)| {
        let of = |t: usize| match entropy[row * rows.seq_len + t - back] {
            value if value.is_nan() => f32::NEG_INFINITY,
            value => value,
        };
        let candidates = eligible.into_iter().filter(|t| share.takes(of(*t))).collect();
        largest(candidates, wanted, of)
    })
}

/// The `wanted` candidates (ascending) of largest value, ascending; the earlier of equals.
fn largest(mut candidates: Vec<usize>, wanted: usize, value: impl Fn(usize) -> f32) -> Vec<usize> {
    candidates.sort_by(|a, b| value(*b).total_cmp(&value(*a)).then(a.cmp(b)));
    candidates.truncate(wanted);
    candidates.sort_unstable();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(doc_start: &[bool], seq_len: usize) -> Rows<'_> {
        Rows { seq_len, doc_start }
    }

    #[test]
    fn the_most_uncertain_positions_are_taken_and_ties_go_to_the_earlier() {
        let starts = [true, false, false, true, false, false];
        let entropy = [9.0, 1.0, 2.0, 9.0, 2.0, f32::NAN];
        let found = entropy_at(rows(&starts, 6), Share::Fraction(0.34), &entropy);
        assert_eq!(found.rows, vec![vec![2, 4]]);
        assert_eq!(entropy_at(rows(&starts, 6), Share::Fraction(0.1), &entropy).rows, vec![vec![2]]);
    }

    #[test]
    fn short_rows_give_what_they_have() {
        let all_starts = [true; 4];
        assert_eq!(random(rows(&all_starts, 4), Share::Fraction(0.9), 0, 1, 0).count(), 0);
        let one = [true, true, false, true];
        assert_eq!(random(rows(&one, 4), Share::Fraction(0.9), 0, 1, 0).rows, vec![vec![2]]);
    }

    #[test]
    fn every_eligible_position_is_drawn_equally_often() {
        let starts = [false; 8];
        let mut seen = [0; 8];
        for step in 0..7000 {
            for t in &random(rows(&starts, 8), Share::Fraction(0.125), 3, step, 0).rows[0] {
                seen[*t] += 1;
            }
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|n| (880..1120).contains(n)), "{seen:?}");
    }

    #[test]
    fn the_uncertain_state_itself_goes_into_the_next_position() {
        let starts = [true, false, false, true, false, false];
        let entropy = [3.0, 1.0, 2.0, 9.0, 2.0, 8.0];
        // 2 → position 3 begins a document; 5 has no next one.
        let found = entropy_next(rows(&starts, 6), Share::Count(2), &entropy);
        assert_eq!(found.rows, vec![vec![1, 4]]);
        let above = |least| entropy_next(rows(&starts, 6), Share::Above(least), &entropy).rows[0].clone();
        assert_eq!(above(2.0), [1, 4, 5]);
        assert_eq!(above(99.0), [0; 0]);
    }

    #[test]
    fn spans_are_runs_of_neighbours_that_stop_at_documents() {
        let mut starts = [false; 64];
        starts[20] = true;
        for step in 0..200 {
            let found = span(rows(&starts, 64), Share::Count(12), 4, 9, step, 0).rows[0].clone();
            assert_eq!(found.len(), 12);
            assert!(!found.contains(&20));
            let lonely = |t: &usize| !found.contains(&(t + 1)) && !found.contains(&(t - 1));
            // A run is cut short only at a document's start, a taken position or the row's end.
            assert!(found.iter().filter(|t| lonely(t)).count() <= 6, "{found:?}");
        }
        assert_eq!(span(rows(&starts, 64), Share::Fraction(1.0), 4, 9, 1, 0).count(), 62);
    }

    proptest! {
        #[test]
        fn positions_ascend_and_never_begin_a_document(
            starts in proptest::collection::vec(any::<bool>(), 24),
            entropy in proptest::collection::vec(0.0f32..5.0, 24),
            fraction in 0.01f64..1.0, length in 1usize..6, seed in any::<u64>(), step in any::<u64>(),
        ) {
            let rows = rows(&starts, 8);
            let wanted = ((fraction * 8.0).round() as usize).max(1);
            let share = Share::Fraction(fraction);
            for placed in [
                random(rows, share, seed, step, 0),
                span(rows, share, length, seed, step, 0),
                entropy_at(rows, share, &entropy),
                entropy_next(rows, share, &entropy),
            ] {
                for (row, positions) in placed.rows.iter().enumerate() {
                    let eligible = (1..8).filter(|t| !starts[row * 8 + t]).count();
                    prop_assert_eq!(positions.len(), wanted.min(eligible));
                    prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
                    prop_assert!(positions.iter().all(|t| *t >= 1 && !starts[row * 8 + t]));
                }
                prop_assert_eq!(placed.mask().iter().filter(|m| **m).count(), placed.count());
            }
            prop_assert_eq!(random(rows, share, seed, step, 0), random(rows, share, seed, step, 0));
        }
    }
}
