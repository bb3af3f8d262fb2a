//! Owns: the rows of the latent lens, to columns.
//! Must not know: models, who looks.
//! Invariant: a row is one latent; that of the control stands beside it with the same place.

use super::looks::{ids_of, probs_of};
use super::{Row, counts, reals, texts};
use crate::message::Choice;
use crate::record::registry::{self, Spec};
use arrow::array::ArrayRef;

/// One latent of a thought.
#[derive(Clone, Debug, PartialEq)]
pub struct LensRow {
    /// Which prompt of the data set, from 0.
    pub prompt: u64,
    /// The policy that led to it.
    pub policy: String,
    /// Whether another row's state was fed in its place.
    pub shuffled: bool,
    /// Which thought of the prompt, from 0.
    pub thought: u64,
    /// Which latent of the thought, from 0.
    pub index: u64,
    /// The position that it stands at.
    pub position: u64,
    /// Of the state that is fed, and after it, nats.
    pub entropy: f64,
    pub after: f64,
    /// What the state decodes to, the likeliest first.
    pub top: Vec<Choice>,
    /// Share of the beam's tokens among them.
    pub overlap: Option<f64>,
}

impl Row for LensRow {
    const TABLE: &'static str = "lens";

    fn columns() -> Vec<Spec> {
        registry::LENS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let tops: Vec<_> = rows.iter().map(|row| Some(row.top.clone())).collect();
        let control = |row: &Self| if row.shuffled { "shuffled" } else { "none" };
        vec![
            counts(rows.iter().map(|row| row.prompt)),
            texts(rows.iter().map(|row| Some(row.policy.clone()))),
            texts(rows.iter().map(|row| Some(control(row).to_owned()))),
            counts(rows.iter().map(|row| row.thought)),
            counts(rows.iter().map(|row| row.index)),
            counts(rows.iter().map(|row| row.position)),
            reals(rows.iter().map(|row| Some(row.entropy))),
            reals(rows.iter().map(|row| Some(row.entropy.exp()))),
            reals(rows.iter().map(|row| Some(row.after))),
            ids_of(&tops),
            probs_of(&tops),
            reals(rows.iter().map(|row| row.overlap)),
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
        let top = vec![Choice { id: 7, prob: 0.5 }, Choice { id: 3, prob: 0.25 }];
        let row = LensRow {
            prompt: 4,
            policy: "fixed:count=2,at=0".into(),
            shuffled: true,
            thought: 1,
            index: 2,
            position: 30,
            entropy: 2f64.ln(),
            after: 0.25,
            top,
            overlap: None,
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
