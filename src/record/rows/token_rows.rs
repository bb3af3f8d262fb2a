//! Owns: the rows of forward probes (tokens with the model's outputs, and thoughts pass by pass), and their
//! conversion to and from columns.
//! Must not know: who probes, where rows are written.
//! Invariant: columns missing in an older version of the tables read as `None`, not as an error.

use super::{TableRow, count_column, real_column};
use crate::schema::metrics;
use crate::schema::metrics::ColumnSpec;
use crate::schema::token_rows::{DecodedState, EntropyHistogram, Thought, TokenCell, TokenProb, TokenRow};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float32Builder, Int32Builder, ListBuilder, RecordBatch,
};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use std::sync::Arc;

impl TableRow for TokenRow {
    const TABLE: &'static str = "tokens";
    const COLUMNS: &'static [ColumnSpec] = metrics::TOKENS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        // A row without a recycled pass has a null instead of a list of nulls.
        let has_recycled = |row: &Self| row.cells.iter().any(|cell| cell.entropy_recycled.is_some());
        let each = |value: fn(&TokenCell) -> Option<f32>| {
            move |row: &Self| Some(row.cells.iter().map(value).collect::<Vec<_>>())
        };
        let plain = top_tokens(rows, |cell| &cell.top_plain);
        let recycled = top_tokens(rows, |cell| &cell.top_recycled);
        vec![
            count_column(rows.iter().map(|row| row.step)),
            id_list_column(rows.iter().map(|row| Some(row.cells.iter().map(|cell| cell.id).collect()))),
            flag_list_column(rows, |cell| cell.doc_start),
            real_list_column(rows.iter().map(each(|cell| Some(cell.entropy_plain)))),
            real_list_column(
                rows.iter().map(|row| each(|cell| cell.entropy_recycled)(row).filter(|_| has_recycled(row))),
            ),
            real_list_column(rows.iter().map(each(|cell| Some(cell.nll_plain)))),
            flag_list_column(rows, |cell| cell.recycled),
            top_id_lists(&plain),
            top_prob_lists(&plain),
            top_id_lists(&recycled),
            top_prob_lists(&recycled),
        ]
    }
}

/// A row of the thoughts table: one recycled position after one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ThoughtRow {
    /// Updates done when the row was probed.
    pub step: u64,
    /// Recycled position t.
    pub position: u64,
    /// Pass number: 0 is the plain pass, k the k-th recycled pass.
    pub pass: u64,
    /// Id of the token at t, which recycling hides.
    pub token_id: u32,
    /// The head's output for the state at t-1, which the next pass is fed at t.
    pub fed: DecodedState,
    /// The output distribution at t.
    pub out: DecodedState,
}

impl ThoughtRow {
    /// Returns the thoughts of a probed row, position by position.
    pub fn from_token_row(row: &TokenRow) -> Vec<Self> {
        let rows_of = |thought: &Thought| {
            let token_id = row.cells.get(thought.position).map_or(0, |cell| cell.id);
            let passes = thought.fed_by_pass.iter().zip(&thought.output_by_pass).enumerate();
            let rows = passes.map(|(pass, (fed, out))| Self {
                step: row.step,
                position: thought.position as u64,
                pass: pass as u64,
                token_id,
                fed: fed.clone(),
                out: out.clone(),
            });
            rows.collect::<Vec<_>>()
        };
        row.thoughts.iter().flat_map(rows_of).collect()
    }
}

impl TableRow for ThoughtRow {
    const TABLE: &'static str = "thoughts";
    const COLUMNS: &'static [ColumnSpec] = metrics::THOUGHTS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let decoded_columns = |which: fn(&Self) -> &DecodedState| {
            let tops: Vec<_> = rows.iter().map(|row| Some(which(row).top.clone())).collect();
            let entropy = real_column(rows.iter().map(|row| Some(f64::from(which(row).entropy))));
            [entropy, top_id_lists(&tops), top_prob_lists(&tops)]
        };
        let keys = vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.position)),
            count_column(rows.iter().map(|row| row.pass)),
            count_column(rows.iter().map(|row| u64::from(row.token_id))),
        ];
        let (fed, out) = (decoded_columns(|row| &row.fed), decoded_columns(|row| &row.out));
        keys.into_iter().chain(fed).chain(out).collect()
    }
}

/// Reads the last row of `batch`, from the tokens table. `text` gives the text of a token id. The row has no
/// thoughts, which are in their own table.
pub fn last_token_row(batch: &RecordBatch, vocab_size: usize, text: impl Fn(u32) -> String) -> Option<TokenRow> {
    let last = batch.num_rows().checked_sub(1)?;
    let ids = id_list(batch, last, "token_ids")?;
    let n = ids.len();
    let column = |name: &str| real_list(batch, last, name).filter(|values| values.len() == n);
    let (starts, recycled) = (flag_list(batch, last, "document_starts")?, flag_list(batch, last, "recycled")?);
    let (plain, nll) = (column("entropy_plain_nats")?, column("nll_plain_nats")?);
    let entropy_recycled = column("entropy_recycled_nats");
    let mut top_plain = token_probs(batch, last, ["top_ids_plain", "top_probs_plain"], n);
    let mut top_recycled = token_probs(batch, last, ["top_ids_recycled", "top_probs_recycled"], n);
    if starts.len() < n || recycled.len() < n {
        return None;
    }
    let cell = |at: usize| TokenCell {
        id: ids[at],
        text: text(ids[at]),
        doc_start: starts.value(at),
        entropy_plain: plain[at],
        entropy_recycled: entropy_recycled.as_ref().map(|entropies| entropies[at]),
        nll_plain: nll[at],
        recycled: recycled.value(at),
        top_plain: std::mem::take(&mut top_plain[at]),
        top_recycled: std::mem::take(&mut top_recycled[at]),
    };
    let cells = (0..n).map(cell).collect();
    let mut row = TokenRow { step: step_value(batch, last)?, vocab_size, cells, ..TokenRow::default() };
    row.fill_token_texts(text);
    Some(row)
}

/// Returns the entropy histogram of each row of `batch`, from the tokens table.
pub fn entropy_histograms(batch: &RecordBatch, vocab_size: usize) -> Vec<EntropyHistogram> {
    let histogram = |row: usize| {
        let plain = real_list(batch, row, "entropy_plain_nats")?;
        let mask = flag_list(batch, row, "recycled")?;
        let entropies = real_list(batch, row, "entropy_recycled_nats").unwrap_or_default();
        let masked = mask.iter().zip(entropies);
        let recycled = masked.filter(|(is, _)| *is == Some(true)).map(|(_, entropy)| entropy);
        Some(EntropyHistogram::from_entropies(step_value(batch, row)?, vocab_size, plain.into_iter(), recycled))
    };
    (0..batch.num_rows()).filter_map(histogram).collect()
}

/// Columns of the tokens table that [`entropy_histograms`] reads.
pub const HISTOGRAM_COLUMNS: &[&str] = &["step", "entropy_plain_nats", "entropy_recycled_nats", "recycled"];

/// Reads the thoughts probed at `at_step` from `batch`, of the thoughts table.
pub fn thoughts_at(batch: &RecordBatch, at_step: u64) -> Vec<Thought> {
    let mut found: Vec<Thought> = Vec::new();
    for row in (0..batch.num_rows()).filter(|row| step_value(batch, *row) == Some(at_step)) {
        let fed = decoded(batch, row, ["fed_entropy_nats", "fed_top_ids", "fed_top_probs"]);
        let out = decoded(batch, row, ["entropy_nats", "top_ids", "top_probs"]);
        let (Some(position), Some(fed), Some(out)) = (count_value(batch, row, "position"), fed, out) else {
            continue;
        };
        let position = position as usize;
        if found.last().is_none_or(|last| last.position != position) {
            found.push(Thought { position, ..Thought::default() });
        }
        if let Some(last) = found.last_mut() {
            last.fed_by_pass.push(fed);
            last.output_by_pass.push(out);
        }
    }
    found
}

fn decoded(batch: &RecordBatch, row: usize, [entropy, ids, probs]: [&str; 3]) -> Option<DecodedState> {
    let entropy = batch.column_by_name(entropy)?.as_primitive_opt::<Float64Type>()?.value(row) as f32;
    Some(DecodedState { entropy, top: token_probs(batch, row, [ids, probs], 1).pop()? })
}

/// Returns the step of the last row of a batch of any table.
pub fn last_step(batch: &RecordBatch) -> Option<u64> {
    step_value(batch, batch.num_rows().checked_sub(1)?)
}

pub(super) fn step_value(batch: &RecordBatch, row: usize) -> Option<u64> {
    count_value(batch, row, "step")
}

pub(super) fn count_value(batch: &RecordBatch, row: usize, name: &str) -> Option<u64> {
    Some(batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.value(row) as u64)
}

/// Returns the list in a column of `row`, if the column exists and the list is not null.
fn list_value(batch: &RecordBatch, row: usize, name: &str) -> Option<ArrayRef> {
    let column = batch.column_by_name(name)?.as_list_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

pub(super) fn real_list(batch: &RecordBatch, row: usize, name: &str) -> Option<Vec<f32>> {
    Some(list_value(batch, row, name)?.as_primitive_opt::<Float32Type>()?.values().to_vec())
}

pub(super) fn id_list(batch: &RecordBatch, row: usize, name: &str) -> Option<Vec<u32>> {
    let ids = list_value(batch, row, name)?;
    Some(ids.as_primitive_opt::<Int32Type>()?.values().iter().map(|id| *id as u32).collect())
}

fn flag_list(batch: &RecordBatch, row: usize, name: &str) -> Option<BooleanArray> {
    list_value(batch, row, name)?.as_boolean_opt().cloned()
}

/// Returns the likeliest tokens at each of `n` positions, which are empty if they were not recorded.
fn token_probs(batch: &RecordBatch, row: usize, [ids_in, probs_in]: [&str; 2], n: usize) -> Vec<Vec<TokenProb>> {
    let found = id_list(batch, row, ids_in).zip(real_list(batch, row, probs_in));
    let is_complete = |(ids, probs): &(Vec<u32>, Vec<f32>)| {
        n > 0 && !ids.is_empty() && ids.len() == probs.len() && ids.len().is_multiple_of(n)
    };
    let Some((ids, probs)) = found.filter(is_complete) else { return vec![Vec::new(); n] };
    let all: Vec<TokenProb> = ids.into_iter().zip(probs).map(|(id, prob)| TokenProb { id, prob }).collect();
    all.chunks(all.len() / n).map(<[TokenProb]>::to_vec).collect()
}

/// Returns the likeliest tokens of each row, position after position, or `None` if a row has none.
fn top_tokens(rows: &[TokenRow], of: fn(&TokenCell) -> &Vec<TokenProb>) -> Vec<Option<Vec<TokenProb>>> {
    let flat = |row: &TokenRow| -> Vec<TokenProb> { row.cells.iter().flat_map(of).copied().collect() };
    rows.iter().map(|row| Some(flat(row)).filter(|flat| !flat.is_empty())).collect()
}

pub(super) fn top_id_lists(tops: &[Option<Vec<TokenProb>>]) -> ArrayRef {
    id_list_column(tops.iter().map(|top| Some(top.as_ref()?.iter().map(|choice| choice.id).collect())))
}

pub(super) fn top_prob_lists(tops: &[Option<Vec<TokenProb>>]) -> ArrayRef {
    real_list_column(tops.iter().map(|top| Some(top.as_ref()?.iter().map(|choice| Some(choice.prob)).collect())))
}

pub(super) fn id_list_column(rows: impl Iterator<Item = Option<Vec<u32>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in rows {
        lists.append_option(row.map(|row| row.into_iter().map(|id| Some(id as i32))));
    }
    Arc::new(lists.finish())
}

pub(super) fn real_list_column(rows: impl Iterator<Item = Option<Vec<Option<f32>>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    rows.for_each(|row| lists.append_option(row));
    Arc::new(lists.finish())
}

fn flag_list_column(rows: &[TokenRow], of: fn(&TokenCell) -> bool) -> ArrayRef {
    let mut lists = ListBuilder::new(BooleanBuilder::new());
    rows.iter().for_each(|row| lists.append_value(row.cells.iter().map(|cell| Some(of(cell)))));
    Arc::new(lists.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(from: u32) -> Vec<TokenProb> {
        (0..3).map(|at| TokenProb { id: from + at, prob: 0.5 / (at + 1) as f32 }).collect()
    }

    fn cell(id: u32, after: Option<f32>) -> TokenCell {
        TokenCell {
            id,
            text: format!("t{id}"),
            doc_start: id == 4,
            entropy_plain: 0.5,
            entropy_recycled: after,
            nll_plain: 0.25,
            recycled: id == 5,
            top_plain: top(id),
            top_recycled: after.map_or_else(Vec::new, |_| top(id + 1)),
        }
    }

    fn row(step: u64, after: Option<f32>) -> TokenRow {
        let cells = vec![cell(4, after), cell(5, after)];
        let mut row = TokenRow { step, vocab_size: 30, cells, ..TokenRow::default() };
        row.fill_token_texts(text);
        row
    }

    fn text(id: u32) -> String {
        format!("t{id}")
    }

    #[test]
    fn a_row_of_tokens_is_read_as_it_was_written() {
        for after in [None, Some(0.125)] {
            let batch = TokenRow::batch(&[row(8, after), row(9, after)]).unwrap();
            assert_eq!(last_token_row(&batch, 30, text).unwrap(), row(9, after));
            let wanted: Vec<EntropyHistogram> =
                [row(8, after), row(9, after)].iter().map(EntropyHistogram::from).collect();
            assert_eq!(entropy_histograms(&batch, 30), wanted);
        }
    }

    #[test]
    fn a_row_of_an_older_version_has_no_choices() {
        let mut old = row(9, Some(0.125));
        let batch = TokenRow::batch(std::slice::from_ref(&old)).unwrap().project(&[0, 1, 2, 3, 4, 5, 6]).unwrap();
        for cell in &mut old.cells {
            (cell.top_plain, cell.top_recycled) = (Vec::new(), Vec::new());
        }
        old.token_texts.clear();
        assert_eq!(last_token_row(&batch, 30, text).unwrap(), old);
        assert_eq!(entropy_histograms(&batch, 30).len(), 1);
        // A row written without the likeliest tokens reads the same.
        let batch = TokenRow::batch(std::slice::from_ref(&old)).unwrap();
        assert_eq!(last_token_row(&batch, 30, text).unwrap(), old);
    }

    #[test]
    fn thoughts_are_read_as_they_were_written() {
        let decoded = |at: u32| DecodedState { entropy: at as f32 / 7.0, top: top(at) };
        let thought = |position: usize, passes: u32| Thought {
            position,
            fed_by_pass: (0..passes).map(decoded).collect(),
            output_by_pass: (0..passes).map(|pass| decoded(pass + 9)).collect(),
        };
        let mut probed = row(9, Some(0.5));
        probed.thoughts = vec![thought(1, 4), thought(3, 4)];
        let mut earlier = row(8, Some(0.5));
        earlier.thoughts = vec![thought(3, 2)];
        let rows = [ThoughtRow::from_token_row(&earlier), ThoughtRow::from_token_row(&probed)].concat();
        assert_eq!((rows.len(), rows[2].token_id, rows[2].position), (10, 5, 1));
        let batch = ThoughtRow::batch(&rows).unwrap();
        assert_eq!(thoughts_at(&batch, 9), probed.thoughts);
        assert_eq!(thoughts_at(&batch, 8), earlier.thoughts);
        assert!(thoughts_at(&batch, 7).is_empty());
        assert!(ThoughtRow::batch(&[]).is_ok());
    }
}
