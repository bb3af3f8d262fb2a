//! Owns: which positions of a batch are recycled.
//! Must not know: tensors, the model, the schedule.
//! Invariant: a position `t` is chosen only if `t >= 1` and no document begins at `t`; positions of a row
//! ascend; they depend only on (RNG key, the row's document starts, its plain entropy).

use crate::config::PositionBudget;
use crate::rng::{RngKey, RngPurpose};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecycledPositions {
    pub seq_len: usize,
    /// Ascending positions of each row. Rows with short documents may have fewer.
    pub rows: Vec<Vec<usize>>,
}

impl RecycledPositions {
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// Returns the positions of all rows as indices into `[B·T]`, row by row.
    pub fn flat_indices(&self) -> Vec<usize> {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(row, positions)| positions.iter().map(move |t| row * self.seq_len + t)).collect()
    }

    /// Returns whether each position is recycled, `[B·T]`.
    pub fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.rows.len() * self.seq_len];
        self.flat_indices().into_iter().for_each(|index| mask[index] = true);
        mask
    }
}

/// What placement needs to know of a batch.
#[derive(Clone, Copy)]
pub struct PlacementRows<'a> {
    /// Number of positions of a row (T).
    pub seq_len: usize,
    /// Whether a document begins at each position, `[B·T]`.
    pub doc_start: &'a [bool],
    /// Largest fraction of a row that its plain prefix takes. The prefix's length is drawn for each row.
    pub max_prefix_fraction: f64,
    pub rng_key: RngKey,
}

impl PlacementRows<'_> {
    /// Returns the positions that may be recycled: after the plain prefix, and not the first of row or
    /// document, whose preceding state does not exist or belongs to another document.
    fn eligible_positions(&self, row: usize) -> Vec<usize> {
        let doc_start = &self.doc_start[row * self.seq_len..][..self.seq_len];
        let max_prefix = self.max_prefix_fraction * self.seq_len as f64;
        let prefix = max_prefix * self.rng_key.stream(RngPurpose::PrefixLength, row).uniform();
        ((prefix as usize).max(1)..doc_start.len()).filter(|t| !doc_start[*t]).collect()
    }

    fn place_each_row(&self, choose: impl Fn(usize, Vec<usize>) -> Vec<usize>) -> RecycledPositions {
        let rows = self.doc_start.len() / self.seq_len;
        let rows = (0..rows).map(|row| choose(row, self.eligible_positions(row))).collect();
        RecycledPositions { seq_len: self.seq_len, rows }
    }
}

/// Draws positions uniformly without repetition. A row with too few eligible positions gets fewer.
pub fn random(rows: PlacementRows<'_>, budget: PositionBudget) -> RecycledPositions {
    span(rows, budget, 1)
}

/// Draws runs of `length` consecutive positions, so that chains of latents are trained. A run extends from a
/// free position until it is complete, meets a position that is not free, or the budget is used up.
pub fn span(rows: PlacementRows<'_>, budget: PositionBudget, length: usize) -> RecycledPositions {
    let max_positions = budget.max_positions(rows.seq_len);
    rows.place_each_row(|row, mut free| {
        let mut rng = rows.rng_key.stream(RngPurpose::Placement, row);
        let mut taken = Vec::with_capacity(max_positions.min(free.len()));
        while taken.len() < max_positions && !free.is_empty() {
            let begin = rng.uniform_below(free.len());
            let max_run = length.min(max_positions - taken.len());
            let run = (0..max_run).take_while(|n| free.get(begin + n) == Some(&(free[begin] + n))).count();
            taken.extend(free.drain(begin..begin + run));
        }
        taken.sort_unstable();
        taken
    })
}

/// Chooses the positions `t` whose own plain output is the most uncertain. `entropy` is `[B·T]`, in nats. Of
/// equal entropies the earlier position wins; NaN counts as lowest.
pub fn entropy_at(rows: PlacementRows<'_>, budget: PositionBudget, entropy: &[f32]) -> RecycledPositions {
    by_entropy(rows, budget, entropy, 0)
}

/// Chooses the positions `t` whose preceding output, at `t-1`, is the most uncertain; see [`entropy_at`].
pub fn entropy_next(rows: PlacementRows<'_>, budget: PositionBudget, entropy: &[f32]) -> RecycledPositions {
    by_entropy(rows, budget, entropy, 1)
}

/// Chooses the positions `t` with the largest entropy at `t - offset`.
fn by_entropy(rows: PlacementRows<'_>, budget: PositionBudget, entropy: &[f32], offset: usize) -> RecycledPositions {
    rows.place_each_row(|row, mut candidates| {
        let score = |t: usize| match entropy[row * rows.seq_len + t - offset] {
            value if value.is_nan() => f32::NEG_INFINITY,
            value => value,
        };
        candidates.retain(|t| budget.admits(score(*t)));
        candidates.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        candidates.truncate(budget.max_positions(rows.seq_len));
        candidates.sort_unstable();
        candidates
    })
}
