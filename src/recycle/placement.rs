//! Owns: which positions of a batch are recycled.
//! Must not know: tensors, the model, the schedule.
//! Invariant: a position `t` is placed only where `t >= 1` and no document begins at `t`; positions of a row ascend;
//! a row's depend on (draw, its document starts, its plain entropy) alone.

use crate::config::Wanted;
use crate::rng::{Draw, Purpose};

/// The recycled positions of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Positions a row (T).
    pub seq_len: usize,
    /// Ascending positions, row by row. Rows may differ in number where documents are short.
    pub rows: Vec<Vec<usize>>,
}

impl Positions {
    /// How many there are in all rows (N).
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Positions of all rows as indices into `[B·T]`, row by row.
    pub fn flat(&self) -> Vec<usize> {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(row, own)| own.iter().map(move |t| row * self.seq_len + t)).collect()
    }

    /// `[B·T]`: whether a position is recycled.
    pub fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.rows.len() * self.seq_len];
        self.flat().into_iter().for_each(|index| mask[index] = true);
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
    /// Fraction of a row that its plain prefix takes at most.
    pub prefix: f64,
    /// What random choices depend on.
    pub draw: Draw,
}

impl Rows<'_> {
    /// The positions of a row that may be recycled: all behind its plain prefix but the first of the row and the first of
    /// any document, because the state before them belongs to nothing or to another document.
    fn eligible(&self, row: usize) -> Vec<usize> {
        let own = &self.doc_start[row * self.seq_len..][..self.seq_len];
        let longest = self.prefix * self.seq_len as f64;
        let prefix = longest * self.draw.stream(Purpose::Prefix, row).unit();
        ((prefix as usize).max(1)..own.len()).filter(|t| !own[*t]).collect()
    }

    fn place(&self, choose: impl Fn(usize, Vec<usize>) -> Vec<usize>) -> Positions {
        let rows = self.doc_start.len() / self.seq_len;
        let rows = (0..rows).map(|row| choose(row, self.eligible(row))).collect();
        Positions { seq_len: self.seq_len, rows }
    }
}

/// Positions drawn uniformly without repetition; fewer where a row has fewer eligible ones.
pub fn random(rows: Rows<'_>, wanted: Wanted) -> Positions {
    span(rows, wanted, 1)
}

/// Runs of `length` neighbours, so that chains of latents are trained: run after run begins at a position drawn
/// uniformly among the free ones, and goes on to the right until it is long enough, meets a position that is taken or not
/// eligible, or the share is reached.
pub fn span(rows: Rows<'_>, wanted: Wanted, length: usize) -> Positions {
    let wanted = wanted.most(rows.seq_len);
    rows.place(|row, mut free| {
        let mut rng = rows.draw.stream(Purpose::Where, row);
        let mut taken = Vec::with_capacity(wanted.min(free.len()));
        while taken.len() < wanted && !free.is_empty() {
            let begin = rng.below(free.len());
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
pub fn entropy_at(rows: Rows<'_>, wanted: Wanted, entropy: &[f32]) -> Positions {
    by_entropy(rows, wanted, entropy, 0)
}

/// After the positions where the plain output is the most uncertain: the uncertain state itself goes into the next
/// position. Ties and not-a-number as for [`entropy_at`].
pub fn entropy_next(rows: Rows<'_>, wanted: Wanted, entropy: &[f32]) -> Positions {
    by_entropy(rows, wanted, entropy, 1)
}

/// The entropy that counts for position `t` is that at `t - back`.
fn by_entropy(rows: Rows<'_>, wanted: Wanted, entropy: &[f32], back: usize) -> Positions {
    rows.place(|row, mut candidates| {
        let of = |t: usize| match entropy[row * rows.seq_len + t - back] {
            value if value.is_nan() => f32::NEG_INFINITY,
            value => value,
        };
        candidates.retain(|t| wanted.takes(of(*t)));
        candidates.sort_by(|a, b| of(*b).total_cmp(&of(*a)).then(a.cmp(b)));
        candidates.truncate(wanted.most(rows.seq_len));
        candidates.sort_unstable();
        candidates
    })
}
