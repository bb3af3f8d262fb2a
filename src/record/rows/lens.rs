//! Owns: the rows of the latent lens, and their conversion to columns.
//! Must not know: models, who uses the lens.
//! Invariant: a row is one latent; the row of its control has the same prompt, thought, latent and position.

use super::token_rows::{top_id_lists, top_prob_lists};
use super::{TableRow, count_column, real_column, text_column};
use crate::schema::metrics;
use crate::schema::metrics::ColumnSpec;
use crate::schema::token_rows::TokenProb;
use arrow::array::ArrayRef;

/// A row of the latent lens: one latent of a thought.
#[derive(Clone, Debug, PartialEq)]
pub struct LensRow {
    /// Index of the prompt in the dataset, from 0.
    pub prompt: u64,
    pub policy: String,
    /// Whether another row's state was fed instead, as a control.
    pub shuffled: bool,
    /// Index of the thought within the prompt, from 0.
    pub thought: u64,
    /// Index of the latent within the thought, from 0.
    pub index: u64,
    /// Position of the latent in the row, from 0.
    pub position: u64,
    /// Entropy of the head's output for the state that is fed, in nats.
    pub state_entropy: f64,
    /// Entropy of the output distribution at the latent's position, in nats.
    pub output_entropy: f64,
    /// Tokens that the state decodes to, the likeliest first.
    pub top: Vec<TokenProb>,
    /// Share of the tokens reached by a beam of plain continuations that are among `top`.
    pub beam_overlap: Option<f64>,
}

impl TableRow for LensRow {
    const TABLE: &'static str = "lens";
    const COLUMNS: &'static [ColumnSpec] = metrics::LENS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let tops: Vec<_> = rows.iter().map(|row| Some(row.top.clone())).collect();
        let control = |row: &Self| if row.shuffled { "shuffled" } else { "none" };
        vec![
            count_column(rows.iter().map(|row| row.prompt)),
            text_column(rows.iter().map(|row| Some(row.policy.clone()))),
            text_column(rows.iter().map(|row| Some(control(row).to_owned()))),
            count_column(rows.iter().map(|row| row.thought)),
            count_column(rows.iter().map(|row| row.index)),
            count_column(rows.iter().map(|row| row.position)),
            real_column(rows.iter().map(|row| Some(row.state_entropy))),
            real_column(rows.iter().map(|row| Some(row.state_entropy.exp()))),
            real_column(rows.iter().map(|row| Some(row.output_entropy))),
            top_id_lists(&tops),
            top_prob_lists(&tops),
            real_column(rows.iter().map(|row| row.beam_overlap)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int32Type};

    #[test]
    fn rows_become_columns_by_their_names() {
        let top = vec![TokenProb { id: 7, prob: 0.5 }, TokenProb { id: 3, prob: 0.25 }];
        let row = LensRow {
            prompt: 4,
            policy: "fixed:count=2,at=0".into(),
            shuffled: true,
            thought: 1,
            index: 2,
            position: 30,
            state_entropy: 2f64.ln(),
            output_entropy: 0.25,
            top,
            beam_overlap: None,
        };
        let batch = LensRow::batch(&[row]).unwrap();
        let real = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
        assert!((real("candidates").value(0) - 2.0).abs() < 1e-12);
        assert_eq!(real("after_entropy_nats").value(0), 0.25);
        assert!(real("beam_overlap").is_null(0));
        let ids = batch.column_by_name("top_ids").unwrap().as_list::<i32>().value(0);
        assert_eq!(ids.as_primitive::<Int32Type>().values(), &[7, 3]);
        assert_eq!(batch.column_by_name("control").unwrap().as_string::<i32>().value(0), "shuffled");
    }
}
