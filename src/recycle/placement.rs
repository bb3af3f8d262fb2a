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

    /// Positions a row that `fraction` asks for: at least one.
    fn wanted(&self, fraction: f64) -> usize {
        ((fraction * self.seq_len as f64).round() as usize).max(1)
    }

    fn place(&self, choose: impl FnMut((usize, Vec<usize>)) -> Vec<usize>) -> Positions {
        Positions { seq_len: self.seq_len, rows: self.eligible().enumerate().map(choose).collect() }
    }
}

/// `fraction` of each row, drawn uniformly without repetition; fewer where a row has fewer eligible positions.
/// `draw` tells apart the batches of one step.
pub fn random(rows: Rows<'_>, fraction: f64, seed: u64, step: u64, draw: u64) -> Positions {
    let wanted = rows.wanted(fraction);
    let mut rng = rng::stream(seed.wrapping_add(draw << 32), rng::Purpose::Where, step);
    rows.place(|(_, mut eligible)| {
        let take = wanted.min(eligible.len());
        for i in 0..take {
            let j = i + rng::below(&mut rng, eligible.len() - i);
            eligible.swap(i, j);
        }
        eligible.truncate(take);
        eligible.sort_unstable();
        eligible
    })
}

/// The `fraction` of each row where the plain output *at the position* is the most uncertain, so that the state from
/// before the uncertain position is recycled. `entropy` is `[B·T]`, nats. Of equal entropies the earlier position wins;
/// not-a-number counts as the least.
pub fn entropy_at(rows: Rows<'_>, fraction: f64, entropy: &[f32]) -> Positions {
    let wanted = rows.wanted(fraction);
    rows.place(|(row, eligible)| {
        let of = |t: usize| match entropy[row * rows.seq_len + t] {
            value if value.is_nan() => f32::NEG_INFINITY,
            value => value,
        };
        largest(eligible, wanted, of)
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
        let found = entropy_at(rows(&starts, 6), 0.34, &entropy);
        assert_eq!(found.rows, vec![vec![2, 4]]);
        assert_eq!(entropy_at(rows(&starts, 6), 0.1, &entropy).rows, vec![vec![2]]);
    }

    #[test]
    fn short_rows_give_what_they_have() {
        let all_starts = [true; 4];
        assert_eq!(random(rows(&all_starts, 4), 0.9, 0, 1, 0).count(), 0);
        let one = [true, true, false, true];
        assert_eq!(random(rows(&one, 4), 0.9, 0, 1, 0).rows, vec![vec![2]]);
    }

    #[test]
    fn every_eligible_position_is_drawn_equally_often() {
        let starts = [false; 8];
        let mut seen = [0; 8];
        for step in 0..7000 {
            for t in &random(rows(&starts, 8), 0.125, 3, step, 0).rows[0] {
                seen[*t] += 1;
            }
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|n| (880..1120).contains(n)), "{seen:?}");
    }

    proptest! {
        #[test]
        fn positions_ascend_and_never_begin_a_document(
            starts in proptest::collection::vec(any::<bool>(), 24),
            entropy in proptest::collection::vec(0.0f32..5.0, 24),
            fraction in 0.01f64..1.0, seed in any::<u64>(), step in any::<u64>(),
        ) {
            let rows = rows(&starts, 8);
            let wanted = ((fraction * 8.0).round() as usize).max(1);
            for placed in [random(rows, fraction, seed, step, 0), entropy_at(rows, fraction, &entropy)] {
                for (row, positions) in placed.rows.iter().enumerate() {
                    let eligible = (1..8).filter(|t| !starts[row * 8 + t]).count();
                    prop_assert_eq!(positions.len(), wanted.min(eligible));
                    prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
                    prop_assert!(positions.iter().all(|t| *t >= 1 && !starts[row * 8 + t]));
                }
                prop_assert_eq!(placed.mask().iter().filter(|m| **m).count(), placed.count());
            }
            prop_assert_eq!(random(rows, fraction, seed, step, 0), random(rows, fraction, seed, step, 0));
        }
    }
}
