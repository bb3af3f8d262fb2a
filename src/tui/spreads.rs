//! Owns: how the entropies lay over the whole run: steps by entropy bins, bounded however long the run is.
//! Must not know: colours, how it is drawn.
//! Invariant: at most `CAPACITY` columns, ascending in step; every count ever added is still there.

use crate::message::{BINS, Spread};

/// Most columns.
pub const CAPACITY: usize = 512;

/// Neighbouring spreads, added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// Step of its first spread.
    pub first: u64,
    /// Step of its last spread.
    pub last: u64,
    /// Counts of the plain pass, by bin.
    pub plain: [u64; BINS],
    /// Counts of the recycled pass, by bin.
    pub recycled: [u64; BINS],
    /// How many spreads.
    pub count: u64,
}

impl Column {
    fn add(&mut self, next: &Column) {
        self.last = next.last;
        self.count += next.count;
        for bin in 0..BINS {
            self.plain[bin] += next.plain[bin];
            self.recycled[bin] += next.recycled[bin];
        }
    }
}

impl From<&Spread> for Column {
    fn from(spread: &Spread) -> Self {
        let (plain, recycled) = (spread.plain.map(u64::from), spread.recycled.map(u64::from));
        Self { first: spread.step, last: spread.step, plain, recycled, count: 1 }
    }
}

/// The spreads of a run.
#[derive(Clone, Debug)]
pub struct Spreads {
    columns: Vec<Column>,
    per_column: u64,
}

impl Default for Spreads {
    fn default() -> Self {
        Self { columns: Vec::new(), per_column: 1 }
    }
}

impl Spreads {
    /// Adds one; steps that do not ascend are left out.
    pub fn push(&mut self, spread: &Spread) {
        let next = Column::from(spread);
        match self.columns.last_mut() {
            Some(last) if next.first <= last.last => return,
            Some(last) if last.count < self.per_column => return last.add(&next),
            _ => {}
        }
        if self.columns.len() == CAPACITY {
            self.halve();
        }
        self.columns.push(next);
    }

    fn halve(&mut self) {
        let merged = |pair: &[Column]| {
            let mut first = pair[0];
            pair.iter().skip(1).for_each(|next| first.add(next));
            first
        };
        self.columns = self.columns.chunks(2).map(merged).collect();
        self.per_column *= 2;
    }

    /// The columns, ascending.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Counts by bin of what lies in `first..=last`; the nearest column before where nothing does, none before the first.
    pub fn within(&self, first: u64, last: u64) -> Option<Column> {
        let start = self.columns.partition_point(|column| column.last < first);
        let end = self.columns.partition_point(|column| column.first <= last);
        if start >= end {
            return self.columns[..end].last().copied();
        }
        let mut sum = self.columns[start];
        self.columns[start + 1..end].iter().for_each(|column| sum.add(column));
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(step: u64) -> Spread {
        Spread::of(step, 100, [0.0, 4.6].into_iter(), [2.3].into_iter())
    }

    #[test]
    fn nothing_is_lost_and_it_stays_bounded() {
        let mut spreads = Spreads::default();
        (1..=100_000).for_each(|step| spreads.push(&spread(step)));
        spreads.push(&spread(7));
        assert!(spreads.columns().len() <= CAPACITY);
        let sum = |of: fn(&Column) -> u64| spreads.columns().iter().map(of).sum::<u64>();
        assert_eq!(sum(|column| column.plain.iter().sum()), 200_000);
        assert_eq!(sum(|column| column.recycled.iter().sum()), 100_000);
        assert_eq!(sum(|column| column.plain[0]), 100_000);
        assert!(spreads.columns().windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn what_lies_within_is_added_up() {
        let mut spreads = Spreads::default();
        [10, 20, 30].iter().for_each(|step| spreads.push(&spread(*step)));
        assert_eq!(spreads.within(5, 25).unwrap().count, 2);
        assert_eq!(spreads.within(21, 29).unwrap().first, 20, "what was last holds on");
        assert_eq!(spreads.within(0, 9), None);
    }
}
