//! Owns: the token entropy histograms of a run: steps by entropy bins, bounded for a run of any length.
//! Must not know: colours, how they are drawn.
//! Invariant: at most `MAX_COLUMNS` columns, ascending in step. Merging keeps every count.

use crate::schema::token_rows::{ENTROPY_BINS, EntropyHistogram};

pub const MAX_COLUMNS: usize = 512;

/// Histograms of adjacent steps, added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramColumn {
    pub first_step: u64,
    pub last_step: u64,
    /// Token counts of the plain pass, by entropy bin.
    pub plain: [u64; ENTROPY_BINS],
    /// Token counts of the recycled pass, by entropy bin.
    pub recycled: [u64; ENTROPY_BINS],
    pub count: u64,
}

impl HistogramColumn {
    fn add(&mut self, next: &HistogramColumn) {
        self.last_step = next.last_step;
        self.count += next.count;
        for bin in 0..ENTROPY_BINS {
            self.plain[bin] += next.plain[bin];
            self.recycled[bin] += next.recycled[bin];
        }
    }
}

impl From<&EntropyHistogram> for HistogramColumn {
    fn from(histogram: &EntropyHistogram) -> Self {
        let (plain, recycled) = (histogram.plain.map(u64::from), histogram.recycled.map(u64::from));
        Self { first_step: histogram.step, last_step: histogram.step, plain, recycled, count: 1 }
    }
}

#[derive(Clone, Debug)]
pub struct EntropyHistograms {
    columns: Vec<HistogramColumn>,
    histograms_per_column: u64,
}

impl Default for EntropyHistograms {
    fn default() -> Self {
        Self { columns: Vec::new(), histograms_per_column: 1 }
    }
}

impl EntropyHistograms {
    /// Adds a histogram. A step that does not ascend is ignored.
    pub fn push(&mut self, histogram: &EntropyHistogram) {
        let next = HistogramColumn::from(histogram);
        match self.columns.last_mut() {
            Some(last) if next.first_step <= last.last_step => return,
            Some(last) if last.count < self.histograms_per_column => return last.add(&next),
            _ => {}
        }
        if self.columns.len() == MAX_COLUMNS {
            self.merge_pairs();
        }
        self.columns.push(next);
    }

    fn merge_pairs(&mut self) {
        let merged = |pair: &[HistogramColumn]| {
            let mut first = pair[0];
            pair.iter().skip(1).for_each(|next| first.add(next));
            first
        };
        self.columns = self.columns.chunks(2).map(merged).collect();
        self.histograms_per_column *= 2;
    }

    pub fn columns(&self) -> &[HistogramColumn] {
        &self.columns
    }

    /// Returns the sum of the columns that overlap `first..=last`, or the last column before them.
    pub fn sum_of_range(&self, first: u64, last: u64) -> Option<HistogramColumn> {
        let start = self.columns.partition_point(|column| column.last_step < first);
        let end = self.columns.partition_point(|column| column.first_step <= last);
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

    fn histogram(step: u64) -> EntropyHistogram {
        EntropyHistogram::from_entropies(step, 100, [0.0, 4.6].into_iter(), [2.3].into_iter())
    }

    #[test]
    fn counts_are_kept_and_columns_are_bounded() {
        let mut histograms = EntropyHistograms::default();
        (1..=100_000).for_each(|step| histograms.push(&histogram(step)));
        histograms.push(&histogram(7));
        assert!(histograms.columns().len() <= MAX_COLUMNS);
        let sum = |of: fn(&HistogramColumn) -> u64| histograms.columns().iter().map(of).sum::<u64>();
        assert_eq!(sum(|column| column.plain.iter().sum()), 200_000);
        assert_eq!(sum(|column| column.recycled.iter().sum()), 100_000);
        assert_eq!(sum(|column| column.plain[0]), 100_000);
        assert!(histograms.columns().windows(2).all(|pair| pair[0].last_step < pair[1].first_step));
    }

    #[test]
    fn columns_in_a_range_are_added_up() {
        let mut histograms = EntropyHistograms::default();
        [10, 20, 30].iter().for_each(|step| histograms.push(&histogram(*step)));
        assert_eq!(histograms.sum_of_range(5, 25).unwrap().count, 2);
        assert_eq!(histograms.sum_of_range(21, 29).unwrap().first_step, 20, "the last column before the range");
        assert_eq!(histograms.sum_of_range(0, 9), None);
    }
}
