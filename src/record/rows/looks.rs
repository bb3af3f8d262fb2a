//! Owns: the rows of looks: tokens with what the model made of them, and thoughts, pass by pass; to columns and back.
//! Must not know: who looks, where they are written.
//! Invariant: what an older version of the tables did not have is none, and no error.

use super::{Row, counts, reals as numbers};
use crate::message::{Choice, Decoded, Spread, Thought, TokenCell, TokenRow};
use crate::record::registry::{self, Spec};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float32Builder, Int32Builder, ListBuilder,
    RecordBatch,
};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use std::sync::Arc;

impl Row for TokenRow {
    const TABLE: &'static str = "tokens";

    fn columns() -> Vec<Spec> {
        registry::TOKENS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        // A row without a recycled pass has no list of its entropies, rather than one of nothing.
        let after = |row: &Self| row.cells.iter().any(|cell| cell.entropy_recycled.is_some());
        let each = |value: fn(&TokenCell) -> Option<f32>| {
            move |row: &Self| Some(row.cells.iter().map(value).collect::<Vec<_>>())
        };
        let plain = tops(rows, |cell| &cell.top_plain);
        let recycled = tops(rows, |cell| &cell.top_recycled);
        vec![
            counts(rows.iter().map(|row| row.step)),
            id_lists(rows.iter().map(|row| Some(row.cells.iter().map(|cell| cell.id).collect()))),
            flag_lists(rows, |cell| cell.doc_start),
            real_lists(rows.iter().map(each(|cell| Some(cell.entropy_plain)))),
            real_lists(rows.iter().map(|row| each(|cell| cell.entropy_recycled)(row).filter(|_| after(row)))),
            real_lists(rows.iter().map(each(|cell| Some(cell.nll_plain)))),
            flag_lists(rows, |cell| cell.recycled),
            ids_of(&plain),
            probs_of(&plain),
            ids_of(&recycled),
            probs_of(&recycled),
        ]
    }
}

/// One recycled position after one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ThoughtRow {
    /// Updates done when it was looked at.
    pub step: u64,
    /// t.
    pub position: u64,
    /// 0: the plain pass.
    pub pass: u64,
    /// The token at t, which recycling hides.
    pub token_id: u32,
    /// The state at t-1, which the next pass is fed at t.
    pub fed: Decoded,
    /// The output at t.
    pub out: Decoded,
}

impl ThoughtRow {
    /// Those of a row that was looked at, position by position.
    pub fn of(row: &TokenRow) -> Vec<Self> {
        let of = |thought: &Thought| {
            let token_id = row.cells.get(thought.position).map_or(0, |cell| cell.id);
            let passes = thought.fed.iter().zip(&thought.out).enumerate();
            let own = passes.map(|(pass, (fed, out))| Self {
                step: row.step,
                position: thought.position as u64,
                pass: pass as u64,
                token_id,
                fed: fed.clone(),
                out: out.clone(),
            });
            own.collect::<Vec<_>>()
        };
        row.thoughts.iter().flat_map(of).collect()
    }
}

impl Row for ThoughtRow {
    const TABLE: &'static str = "thoughts";

    fn columns() -> Vec<Spec> {
        registry::THOUGHTS.to_vec()
    }

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let of = |which: fn(&Self) -> &Decoded| {
            let tops: Vec<_> = rows.iter().map(|row| Some(which(row).top.clone())).collect();
            let entropy = numbers(rows.iter().map(|row| Some(f64::from(which(row).entropy))));
            [entropy, ids_of(&tops), probs_of(&tops)]
        };
        let places = vec![
            counts(rows.iter().map(|row| row.step)),
            counts(rows.iter().map(|row| row.position)),
            counts(rows.iter().map(|row| row.pass)),
            counts(rows.iter().map(|row| u64::from(row.token_id))),
        ];
        places.into_iter().chain(of(|row| &row.fed)).chain(of(|row| &row.out)).collect()
    }
}

/// The last row of tokens that `batch` of the tokens table holds, its texts made by `text`; without thoughts, which have a
/// table of their own.
pub fn last_tokens(batch: &RecordBatch, vocab_size: usize, text: impl Fn(u32) -> String) -> Option<TokenRow> {
    let last = batch.num_rows().checked_sub(1)?;
    let ids = ids(batch, last, "token_ids")?;
    let n = ids.len();
    let of = |name: &str| reals(batch, last, name).filter(|values| values.len() == n);
    let (starts, recycled) = (flags(batch, last, "document_starts")?, flags(batch, last, "recycled")?);
    let (plain, nll) = (of("entropy_plain_nats")?, of("nll_plain_nats")?);
    let after = of("entropy_recycled_nats");
    let mut top_plain = choices(batch, last, ["top_ids_plain", "top_probs_plain"], n);
    let mut top_recycled = choices(batch, last, ["top_ids_recycled", "top_probs_recycled"], n);
    if starts.len() < n || recycled.len() < n {
        return None;
    }
    let cell = |at: usize| TokenCell {
        id: ids[at],
        text: text(ids[at]),
        doc_start: starts.value(at),
        entropy_plain: plain[at],
        entropy_recycled: after.as_ref().map(|after| after[at]),
        nll_plain: nll[at],
        recycled: recycled.value(at),
        top_plain: std::mem::take(&mut top_plain[at]),
        top_recycled: std::mem::take(&mut top_recycled[at]),
    };
    let cells = (0..n).map(cell).collect();
    let mut row = TokenRow { step: step(batch, last)?, vocab_size, cells, ..TokenRow::default() };
    row.spell(text);
    Some(row)
}

/// How the entropies lie in each row of tokens that `batch` of the tokens table holds.
pub fn spreads(batch: &RecordBatch, vocab_size: usize) -> Vec<Spread> {
    let of = |row: usize| {
        let plain = reals(batch, row, "entropy_plain_nats")?;
        let (mask, after) = (flags(batch, row, "recycled")?, reals(batch, row, "entropy_recycled_nats"));
        let there = mask.iter().zip(after.unwrap_or_default());
        let recycled = there.filter(|(is, _)| *is == Some(true)).map(|(_, entropy)| entropy);
        Some(Spread::of(step(batch, row)?, vocab_size, plain.into_iter(), recycled))
    };
    (0..batch.num_rows()).filter_map(of).collect()
}

/// The columns of the tokens table that [`spreads`] reads.
pub const SPREAD_COLUMNS: &[&str] = &["step", "entropy_plain_nats", "entropy_recycled_nats", "recycled"];

/// The thoughts of `wanted` that `batch` of the thoughts table holds.
pub fn thoughts(batch: &RecordBatch, wanted: u64) -> Vec<Thought> {
    let mut found: Vec<Thought> = Vec::new();
    for row in (0..batch.num_rows()).filter(|row| step(batch, *row) == Some(wanted)) {
        let fed = decoded(batch, row, ["fed_entropy_nats", "fed_top_ids", "fed_top_probs"]);
        let out = decoded(batch, row, ["entropy_nats", "top_ids", "top_probs"]);
        let (Some(position), Some(fed), Some(out)) = (count(batch, row, "position"), fed, out) else {
            continue;
        };
        let position = position as usize;
        if found.last().is_none_or(|last| last.position != position) {
            found.push(Thought { position, ..Thought::default() });
        }
        if let Some(last) = found.last_mut() {
            last.fed.push(fed);
            last.out.push(out);
        }
    }
    found
}

fn decoded(batch: &RecordBatch, row: usize, [entropy, ids, probs]: [&str; 3]) -> Option<Decoded> {
    let entropy = batch.column_by_name(entropy)?.as_primitive_opt::<Float64Type>()?.value(row) as f32;
    Some(Decoded { entropy, top: choices(batch, row, [ids, probs], 1).pop()? })
}

/// The step of the last row of a batch of any table.
pub fn last_step(batch: &RecordBatch) -> Option<u64> {
    step(batch, batch.num_rows().checked_sub(1)?)
}

fn step(batch: &RecordBatch, row: usize) -> Option<u64> {
    count(batch, row, "step")
}

fn count(batch: &RecordBatch, row: usize, name: &str) -> Option<u64> {
    Some(batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.value(row) as u64)
}

/// The list in a column; none where there is no such column, or nothing in it.
fn list(batch: &RecordBatch, row: usize, name: &str) -> Option<ArrayRef> {
    let column = batch.column_by_name(name)?.as_list_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn reals(batch: &RecordBatch, row: usize, name: &str) -> Option<Vec<f32>> {
    Some(list(batch, row, name)?.as_primitive_opt::<Float32Type>()?.values().to_vec())
}

fn ids(batch: &RecordBatch, row: usize, name: &str) -> Option<Vec<u32>> {
    let ids = list(batch, row, name)?;
    Some(ids.as_primitive_opt::<Int32Type>()?.values().iter().map(|id| *id as u32).collect())
}

fn flags(batch: &RecordBatch, row: usize, name: &str) -> Option<BooleanArray> {
    list(batch, row, name)?.as_boolean_opt().cloned()
}

/// The choices at each of `n` positions; none where they were not recorded.
fn choices(batch: &RecordBatch, row: usize, [ids_in, probs_in]: [&str; 2], n: usize) -> Vec<Vec<Choice>> {
    let found = ids(batch, row, ids_in).zip(reals(batch, row, probs_in));
    let whole = |(ids, probs): &(Vec<u32>, Vec<f32>)| {
        n > 0 && !ids.is_empty() && ids.len() == probs.len() && ids.len().is_multiple_of(n)
    };
    let Some((ids, probs)) = found.filter(whole) else { return vec![Vec::new(); n] };
    let all: Vec<Choice> = ids.into_iter().zip(probs).map(|(id, prob)| Choice { id, prob }).collect();
    all.chunks(all.len() / n).map(<[Choice]>::to_vec).collect()
}

/// The choices of each row, one position after another; none where a row has none.
fn tops(rows: &[TokenRow], of: fn(&TokenCell) -> &Vec<Choice>) -> Vec<Option<Vec<Choice>>> {
    let all = |row: &TokenRow| -> Vec<Choice> { row.cells.iter().flat_map(of).copied().collect() };
    rows.iter().map(|row| Some(all(row)).filter(|all| !all.is_empty())).collect()
}

pub(super) fn ids_of(tops: &[Option<Vec<Choice>>]) -> ArrayRef {
    id_lists(tops.iter().map(|top| Some(top.as_ref()?.iter().map(|choice| choice.id).collect())))
}

pub(super) fn probs_of(tops: &[Option<Vec<Choice>>]) -> ArrayRef {
    real_lists(tops.iter().map(|top| Some(top.as_ref()?.iter().map(|choice| Some(choice.prob)).collect())))
}

fn id_lists(rows: impl Iterator<Item = Option<Vec<u32>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in rows {
        lists.append_option(row.map(|row| row.into_iter().map(|id| Some(id as i32))));
    }
    Arc::new(lists.finish())
}

fn real_lists(rows: impl Iterator<Item = Option<Vec<Option<f32>>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    rows.for_each(|row| lists.append_option(row));
    Arc::new(lists.finish())
}

fn flag_lists(rows: &[TokenRow], of: fn(&TokenCell) -> bool) -> ArrayRef {
    let mut lists = ListBuilder::new(BooleanBuilder::new());
    rows.iter().for_each(|row| lists.append_value(row.cells.iter().map(|cell| Some(of(cell)))));
    Arc::new(lists.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(from: u32) -> Vec<Choice> {
        (0..3).map(|at| Choice { id: from + at, prob: 0.5 / (at + 1) as f32 }).collect()
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
        row.spell(text);
        row
    }

    fn text(id: u32) -> String {
        format!("t{id}")
    }

    #[test]
    fn a_row_of_tokens_is_read_as_it_was_written() {
        for after in [None, Some(0.125)] {
            let batch = TokenRow::batch(&[row(8, after), row(9, after)]).unwrap();
            assert_eq!(last_tokens(&batch, 30, text).unwrap(), row(9, after));
            let wanted: Vec<Spread> = [row(8, after), row(9, after)].iter().map(Spread::from).collect();
            assert_eq!(spreads(&batch, 30), wanted);
        }
    }

    #[test]
    fn a_row_of_an_older_version_has_no_choices() {
        let mut old = row(9, Some(0.125));
        let batch =
            TokenRow::batch(std::slice::from_ref(&old)).unwrap().project(&[0, 1, 2, 3, 4, 5, 6]).unwrap();
        for cell in &mut old.cells {
            (cell.top_plain, cell.top_recycled) = (Vec::new(), Vec::new());
        }
        old.words.clear();
        assert_eq!(last_tokens(&batch, 30, text).unwrap(), old);
        assert_eq!(spreads(&batch, 30).len(), 1);
        // And one that was written without them is the same.
        let batch = TokenRow::batch(std::slice::from_ref(&old)).unwrap();
        assert_eq!(last_tokens(&batch, 30, text).unwrap(), old);
    }

    #[test]
    fn thoughts_are_read_as_they_were_written() {
        let decoded = |at: u32| Decoded { entropy: at as f32 / 7.0, top: top(at) };
        let thought = |position: usize, passes: u32| Thought {
            position,
            fed: (0..passes).map(decoded).collect(),
            out: (0..passes).map(|pass| decoded(pass + 9)).collect(),
        };
        let mut looked = row(9, Some(0.5));
        looked.thoughts = vec![thought(1, 4), thought(3, 4)];
        let mut earlier = row(8, Some(0.5));
        earlier.thoughts = vec![thought(3, 2)];
        let rows = [ThoughtRow::of(&earlier), ThoughtRow::of(&looked)].concat();
        assert_eq!((rows.len(), rows[2].token_id, rows[2].position), (10, 5, 1));
        let batch = ThoughtRow::batch(&rows).unwrap();
        assert_eq!(thoughts(&batch, 9), looked.thoughts);
        assert_eq!(thoughts(&batch, 8), earlier.thoughts);
        assert!(thoughts(&batch, 7).is_empty());
        assert!(ThoughtRow::batch(&[]).is_ok());
    }
}
