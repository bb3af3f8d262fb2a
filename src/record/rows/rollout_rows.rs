//! Owns: the conversion of rollouts to and from columns.
//! Must not know: how rollouts are made or judged, where rows are written.
//! Invariant: a column that is missing or null reads as a default or an empty list, not as an error.

use super::token_rows::{count_value, id_list, id_list_column, real_list, real_list_column, step_value};
use super::{TableRow, count_column, real_column, real_value, text_column, text_values};
use crate::schema::metrics;
use crate::schema::metrics::ColumnSpec;
use crate::schema::rollout_rows::RolloutRow;
use arrow::array::{ArrayRef, RecordBatch};

/// Stands for a latent among the ids of tokens: the column has -1.
const LATENT_ID: u32 = u32::MAX;

impl TableRow for RolloutRow {
    const TABLE: &'static str = "rollouts";
    const COLUMNS: &'static [ColumnSpec] = metrics::ROLLOUTS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let count = |value: fn(&Self) -> usize| count_column(rows.iter().map(|row| value(row) as u64));
        let real = |value: fn(&Self) -> f64| real_column(rows.iter().map(|row| Some(value(row))));
        let text = |value: fn(&Self) -> &String| text_column(rows.iter().map(|row| Some(value(row).clone())));
        let reals = |list: fn(&Self) -> &Vec<f32>| {
            real_list_column(rows.iter().map(|row| Some(list(row).iter().copied().map(Some).collect())))
        };
        let ids = |row: &Self| Some(row.token_ids.iter().map(|id| id.unwrap_or(LATENT_ID)).collect());
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count(|row| row.group),
            count(|row| row.rollout),
            text(|row| &row.prompt),
            text(|row| &row.right_answer),
            text(|row| &row.text),
            real(|row| row.reward),
            real(|row| row.advantage),
            real(|row| row.exact),
            real(|row| row.format),
            count(|row| usize::from(row.is_truncated)),
            count(|row| row.tokens),
            count(|row| row.latents),
            id_list_column(rows.iter().map(ids)),
            reals(|row| &row.entropies),
            reals(|row| &row.log_probs),
        ]
    }
}

/// Reads the rows of `batch`, from the rollouts table. A row without step, text or reward is left out.
pub fn read_rollout_rows(batch: &RecordBatch) -> Vec<RolloutRow> {
    let columns = ["prompt", "right_answer", "text"].map(|name| text_values(batch, name));
    let read = |row: usize| {
        let [prompt, right_answer, text] = columns.map(|column| column.map(|column| column.value(row).to_owned()));
        let count = |name: &str| count_value(batch, row, name).unwrap_or_default();
        let real = |name: &str| real_value(batch, row, name);
        let ids = id_list(batch, row, "token_ids").unwrap_or_default();
        Some(RolloutRow {
            step: step_value(batch, row)?,
            group: count("group") as usize,
            rollout: count("rollout") as usize,
            prompt: prompt.unwrap_or_default(),
            right_answer: right_answer.unwrap_or_default(),
            text: text?,
            reward: real("reward")?,
            advantage: real("advantage").unwrap_or_default(),
            exact: real("exact").unwrap_or_default(),
            format: real("format").unwrap_or_default(),
            is_truncated: count("truncated") == 1,
            tokens: count("tokens") as usize,
            latents: count("latents") as usize,
            token_ids: ids.into_iter().map(|id| Some(id).filter(|id| *id != LATENT_ID)).collect(),
            entropies: real_list(batch, row, "entropy_nats").unwrap_or_default(),
            log_probs: real_list(batch, row, "log_prob_nats").unwrap_or_default(),
        })
    };
    (0..batch.num_rows()).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int32Array};

    fn rows() -> [RolloutRow; 2] {
        let right = RolloutRow {
            step: 50,
            group: 1,
            rollout: 3,
            prompt: "0 → 1 . from 0 to ?".into(),
            right_answer: "1".into(),
            text: "⟨4 10⟩ 1".into(),
            reward: 0.75,
            advantage: 1.5,
            exact: 1.0,
            format: 1.0,
            is_truncated: false,
            tokens: 1,
            latents: 1,
            token_ids: vec![None, Some(7)],
            entropies: vec![1.25, 0.5],
            log_probs: vec![0.0, -0.25],
        };
        let cut = RolloutRow { reward: f64::NAN, is_truncated: true, text: String::new(), ..RolloutRow::default() };
        [right, cut]
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let read = read_rollout_rows(&RolloutRow::batch(&rows()).unwrap());
        assert_eq!((read.len(), &read[0]), (2, &rows()[0]));
        assert!(read[1].reward.is_nan() && read[1].is_truncated && read[1].token_ids.is_empty());
        assert!(read_rollout_rows(&RolloutRow::batch(&[]).unwrap()).is_empty());
    }

    #[test]
    fn a_latent_has_the_id_minus_one() {
        let batch = RolloutRow::batch(&rows()).unwrap();
        let ids = batch.column_by_name("token_ids").unwrap().as_list::<i32>().value(0);
        assert_eq!(ids.as_any().downcast_ref::<Int32Array>().unwrap().values(), &[-1, 7]);
    }

    #[test]
    fn missing_columns_are_no_error() {
        let batch = RolloutRow::batch(&rows()).unwrap();
        let index = |name: &str| batch.schema().index_of(name).unwrap();
        let few = batch.project(&["step", "text", "reward"].map(index)).unwrap();
        let few = read_rollout_rows(&few);
        assert_eq!((few.len(), few[0].reward, few[0].tokens, few[0].prompt.as_str()), (2, 0.75, 0, ""));
        assert!(read_rollout_rows(&batch.project(&["step", "reward"].map(index)).unwrap()).is_empty());
    }
}
