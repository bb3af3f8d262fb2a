//! Owns: the order of runs in a list.
//! Must not know: what a column holds.
//! Invariant: runs without a value, or with NaN, come last in both directions; runs that are equal keep the order of
//! their beginnings, the newest first.

use super::column::{CellValue, Column};
use crate::schema::run_list::RunListRow;
use std::cmp::{Ordering, Reverse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortDirection {
    Ascending,
    Descending,
}

impl SortDirection {
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// By which column runs are sorted, and in which direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SortOrder {
    pub column: Column,
    pub direction: SortDirection,
}

impl Default for SortOrder {
    /// The run that began last is the first.
    fn default() -> Self {
        Self { column: Column::Began, direction: SortDirection::Descending }
    }
}

impl SortOrder {
    /// Parses the name of a column; a `-` before it means descending.
    ///
    /// # Errors
    /// Returns that the column is unknown, and the nearest known one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, direction) = match text.strip_prefix('-') {
            Some(name) => (name, SortDirection::Descending),
            None => (text, SortDirection::Ascending),
        };
        Ok(Self { column: Column::parse(name.trim())?, direction })
    }

    /// Returns the text that [`parse`](Self::parse) takes.
    pub fn text(self) -> String {
        let sign = if self.direction == SortDirection::Descending { "-" } else { "" };
        format!("{sign}{}", self.column.name())
    }

    /// Returns the indices of `rows` in this order.
    pub fn order(self, rows: &[RunListRow]) -> Vec<usize> {
        let values: Vec<CellValue> = rows.iter().map(|row| self.column.value(row)).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| {
            let by_value = self.compare(&values[*a], &values[*b]);
            by_value.then_with(|| newest_first(&rows[*a]).cmp(&newest_first(&rows[*b])))
        });
        order
    }

    fn compare(self, a: &CellValue, b: &CellValue) -> Ordering {
        match (a.is_unknown(), b.is_unknown()) {
            (false, false) if self.direction == SortDirection::Descending => b.compare(a),
            (false, false) => a.compare(b),
            (a, b) => a.cmp(&b),
        }
    }
}

/// Returns a key that sorts by the beginning, the newest first.
fn newest_first(row: &RunListRow) -> impl Ord + '_ {
    (Reverse(row.began), row.run.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::metrics::Metric;
    use crate::schema::run_list::MetricRange;

    fn row(run: &str, began: i64, loss: Option<f64>) -> RunListRow {
        let mut row = RunListRow { run: run.into(), ..RunListRow::default() };
        row.began = chrono::DateTime::from_timestamp(began, 0);
        row.metrics = vec![MetricRange::default(); Metric::ALL.len()];
        row.metrics[Metric::LossPlain as usize].last = loss;
        row
    }

    fn sorted(rows: &[RunListRow], order: &str) -> String {
        let order = SortOrder::parse(order).unwrap().order(rows);
        order.into_iter().map(|index| rows[index].run.as_str()).collect()
    }

    #[test]
    fn missing_values_and_nan_come_last_in_both_directions() {
        let rows = [
            row("a", 1, Some(2.0)),
            row("b", 2, None),
            row("c", 3, Some(f64::NAN)),
            row("d", 4, Some(-1.0)),
            row("e", 5, Some(f64::INFINITY)),
        ];
        assert_eq!(sorted(&rows, "loss_plain_nats"), "daecb");
        assert_eq!(sorted(&rows, "-loss_plain"), "eadcb");
        assert_eq!(sorted(&rows, "began"), "abcde");
        assert_eq!(sorted(&rows, "-began"), "edcba");
        assert_eq!(sorted(&rows, "valid_accuracy"), "edcba", "equal ones by their beginning");
        assert_eq!(sorted(&rows, "-run"), "edcba");
    }

    #[test]
    fn an_order_comes_back_as_text_and_an_unknown_column_is_refused() {
        for text in ["-began", "optim.lr", "-valid_accuracy:max"] {
            assert_eq!(SortOrder::parse(text).unwrap().text(), text);
        }
        assert_eq!(SortOrder::default().text(), "-began");
        assert!(SortOrder::parse("-los_plain").unwrap_err().contains("nearest known one is `loss_plain_nats`"));
        assert!(SortOrder::parse("").is_err());
    }
}
