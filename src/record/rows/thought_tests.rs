//! Owns: the rows of the tests of thoughts, and their conversion to columns.
//! Must not know: models, how a test is made.
//! Invariant: the first row of a policy is that of the unchanged thought.

use super::{TableRow, count_column, real_column, text_column};
use crate::schema::metrics::{self, ColumnSpec};
use arrow::array::ArrayRef;
use serde::Serialize;

/// A row of the thought tests: the questions answered under one test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThoughtTestRow {
    /// File of the questions.
    pub questions: String,
    pub policy: String,
    pub test: String,
    /// Number of questions.
    pub count: u64,
    /// Mean number of latents.
    pub latents: f64,
    pub accuracy: f64,
    pub accuracy_low: f64,
    pub accuracy_high: f64,
    /// Accuracy minus that of the unchanged thought.
    pub difference: f64,
    pub difference_low: f64,
    pub difference_high: f64,
    pub only_unchanged: u64,
    pub only_under_test: u64,
    pub p: f64,
    pub follows_donor: Option<f64>,
}

impl TableRow for ThoughtTestRow {
    const TABLE: &'static str = "thought_tests";
    const COLUMNS: &'static [ColumnSpec] = metrics::THOUGHT_TESTS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let real = |value: fn(&Self) -> f64| {
            real_column(rows.iter().map(|row| Some(value(row)).filter(|value| value.is_finite())))
        };
        vec![
            text_column(rows.iter().map(|row| Some(row.questions.clone()))),
            text_column(rows.iter().map(|row| Some(row.policy.clone()))),
            text_column(rows.iter().map(|row| Some(row.test.clone()))),
            count_column(rows.iter().map(|row| row.count)),
            real(|row| row.latents),
            real(|row| row.accuracy),
            real(|row| row.accuracy_low),
            real(|row| row.accuracy_high),
            real(|row| row.difference),
            real(|row| row.difference_low),
            real(|row| row.difference_high),
            count_column(rows.iter().map(|row| row.only_unchanged)),
            count_column(rows.iter().map(|row| row.only_under_test)),
            real(|row| row.p),
            real_column(rows.iter().map(|row| row.follows_donor)),
        ]
    }
}
