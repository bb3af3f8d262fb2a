//! Owns: the decoding of the arrays of a token column into checked ids, without padding.
//! Must not know: files beyond their path in a message, row groups, splits.
//! Invariant: every decoded id is below the vocabulary size; any other id or null is an error with its row.
//!
//! A null row is a document without tokens. Tokens where `attention_mask` is 0 are padding and dropped. Tokens whose label
//! is -100 are kept and marked: they are read, but are no targets.

use super::columns::{ColumnLayout, IGNORED_LABEL};
use super::error::{DataError, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use std::path::Path;

/// The documents of one row group, stored one after the other.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Documents {
    tokens: Vec<u32>,
    /// End offset of each document in `tokens`. A document starts where the previous one ends.
    ends: Vec<usize>,
    /// Whether each token is no target; empty if the file has no labels.
    ignored: Vec<bool>,
    counts: ReadCounts,
}

/// What reading found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReadCounts {
    /// Rows that are null: documents without tokens.
    pub null_rows: u64,
    /// Tokens that `attention_mask` calls padding. They were dropped.
    pub padding_tokens: u64,
    /// Tokens, not padding, whose label is -100: they are read but not predicted.
    pub ignored_targets: u64,
    /// Tokens in all, without padding.
    pub tokens: u64,
}

impl ReadCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.null_rows += other.null_rows;
        self.padding_tokens += other.padding_tokens;
        self.ignored_targets += other.ignored_targets;
        self.tokens += other.tokens;
    }

    /// Says in sentences what was passed over, if anything.
    pub fn sentences(&self) -> impl Iterator<Item = String> + use<> {
        let Self { null_rows, padding_tokens, ignored_targets, .. } = *self;
        let sentences = [
            (null_rows, format!("null rows, which are documents without tokens: {null_rows}")),
            (padding_tokens, format!("tokens dropped as padding (`attention_mask` is 0): {padding_tokens}")),
            (ignored_targets, format!("tokens that are read but are no targets (`labels` is -100): {ignored_targets}")),
        ];
        sentences.into_iter().filter(|(count, _)| *count > 0).map(|(_, sentence)| sentence)
    }
}

impl Documents {
    pub fn counts(&self) -> ReadCounts {
        ReadCounts { tokens: self.tokens.len() as u64, ..self.counts }
    }

    /// Returns whether each token of a document is no target; `None` if the file has no labels.
    pub fn ignored(&self, index: usize) -> Option<&[bool]> {
        self.ignored.get(self.range(index)).filter(|_| !self.ignored.is_empty())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    pub fn get(&self, index: usize) -> &[u32] {
        &self.tokens[self.range(index)]
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    /// Splits the tokens of a flat row group into documents, after each `eos` token.
    pub fn split_after(&mut self, eos: Option<u32>) {
        self.ends =
            (self.tokens.iter().enumerate()).filter(|(_, id)| Some(**id) == eos).map(|(index, _)| index + 1).collect();
        if self.ends.last().copied().unwrap_or(0) < self.tokens.len() {
            self.ends.push(self.tokens.len());
        }
    }
}

/// Returns the values of one row of a column of lists; `None` if the row is null.
fn list_row(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    // A column of nothing but nulls has no type.
    if column.data_type().is_null() || column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => column.as_fixed_size_list().value(row),
    })
}

/// Decodes arrays of the token column into checked ids.
pub(crate) struct TokenDecoder<'a> {
    path: &'a Path,
    layout: ColumnLayout,
    /// Row of the file that is decoded next, counted from 0.
    next_row: u64,
    vocab_size: usize,
    documents: &'a mut Documents,
}

impl<'a> TokenDecoder<'a> {
    /// The first row pushed is row `first_row` of the file. Ids must be below `vocab_size`.
    pub fn new(
        path: &'a Path,
        layout: ColumnLayout,
        first_row: u64,
        vocab_size: usize,
        documents: &'a mut Documents,
    ) -> Self {
        Self { path, layout, next_row: first_row, vocab_size: vocab_size.max(1), documents }
    }

    /// Decodes the next rows. `mask` and `labels` are the columns of these names, if there are any.
    pub fn push(&mut self, tokens: &ArrayRef, mask: Option<&ArrayRef>, labels: Option<&ArrayRef>) -> Result<()> {
        if self.layout == ColumnLayout::Flat {
            self.push_ids(tokens)?;
            self.next_row += tokens.len() as u64;
            return Ok(());
        }
        for row in 0..tokens.len() {
            let of_row = |column: Option<&ArrayRef>| column.and_then(|column| list_row(column, row));
            self.push_row(list_row(tokens, row), of_row(mask), of_row(labels))?;
            if labels.is_some() {
                // A row without labels has no ignored tokens.
                self.documents.ignored.resize(self.documents.tokens.len(), false);
            }
        }
        Ok(())
    }

    fn push_row(&mut self, ids: Option<ArrayRef>, mask: Option<ArrayRef>, labels: Option<ArrayRef>) -> Result<()> {
        let start = self.documents.tokens.len();
        match &ids {
            Some(ids) if ids.data_type().is_null() && !ids.is_empty() => {
                return Err(self.id_error(0, "a null token id"));
            }
            Some(ids) if !ids.data_type().is_null() => self.push_ids(ids)?,
            Some(_) => {}
            None => self.documents.counts.null_rows += 1,
        }
        if self.documents.tokens.len() > start {
            let mask = mask.map(|mask| self.row_numbers("attention_mask", start, &mask)).transpose()?;
            let labels = labels.map(|labels| self.row_numbers("labels", start, &labels)).transpose()?;
            self.drop_padding(start, mask.as_deref(), labels.as_deref());
        }
        self.documents.ends.push(self.documents.tokens.len());
        self.next_row += 1;
        Ok(())
    }

    /// Returns the numbers of a column beside the tokens of the current row, which start at `start`.
    fn row_numbers(&self, name: &str, start: usize, values: &ArrayRef) -> Result<Vec<Option<i64>>> {
        let tokens = self.documents.tokens.len() - start;
        if values.len() != tokens {
            let found = format!("`{name}` has {} values for {tokens} tokens", values.len());
            return Err(self.row_error(0, &found, "as many values as tokens"));
        }
        let numbers = cast(values, &DataType::Int64);
        let numbers = numbers.map_err(|error| self.row_error(0, &format!("`{name}`: {error}"), "integers"))?;
        Ok(numbers.as_primitive::<Int64Type>().iter().collect())
    }

    /// Drops the tokens from `start` on that the mask calls padding, and marks those with a label of -100.
    fn drop_padding(&mut self, start: usize, mask: Option<&[Option<i64>]>, labels: Option<&[Option<i64>]>) {
        let documents = &mut *self.documents;
        let count = documents.tokens.len() - start;
        let kept: Vec<usize> = (0..count).filter(|index| mask.is_none_or(|mask| mask[*index] != Some(0))).collect();
        if let Some(labels) = labels {
            let ignored = |index: &usize| labels[*index] == Some(IGNORED_LABEL);
            // The first token of a row is not predicted from that row in any case.
            documents.counts.ignored_targets += kept.iter().skip(1).filter(|index| ignored(index)).count() as u64;
            documents.ignored.extend(kept.iter().map(ignored));
        }
        if mask.is_some() {
            let kept_ids: Vec<u32> = kept.iter().map(|index| documents.tokens[start + index]).collect();
            documents.counts.padding_tokens += (count - kept_ids.len()) as u64;
            documents.tokens.truncate(start);
            documents.tokens.extend(kept_ids);
        }
    }

    fn push_ids(&mut self, values: &ArrayRef) -> Result<()> {
        match values.data_type() {
            DataType::Int8 => self.push_typed_ids::<Int8Type>(values),
            DataType::Int16 => self.push_typed_ids::<Int16Type>(values),
            DataType::Int32 => self.push_typed_ids::<Int32Type>(values),
            DataType::Int64 => self.push_typed_ids::<Int64Type>(values),
            DataType::UInt8 => self.push_typed_ids::<UInt8Type>(values),
            DataType::UInt16 => self.push_typed_ids::<UInt16Type>(values),
            DataType::UInt32 => self.push_typed_ids::<UInt32Type>(values),
            _ => self.push_typed_ids::<UInt64Type>(values),
        }
    }

    fn push_typed_ids<P>(&mut self, values: &ArrayRef) -> Result<()>
    where
        P: ArrowPrimitiveType,
        P::Native: Copy + std::fmt::Display + TryInto<u32>,
    {
        let values = values.as_primitive::<P>();
        self.documents.tokens.reserve(values.len());
        for (index, id) in values.iter().enumerate() {
            match id.map(|id| (id, id.try_into())) {
                Some((_, Ok(id))) if (id as usize) < self.vocab_size => self.documents.tokens.push(id),
                Some((id, _)) => return Err(self.id_error(index, &format!("token id {id}"))),
                None => return Err(self.id_error(index, "a null token id")),
            }
        }
        Ok(())
    }

    /// Returns the error for a bad id at `index`: a row of a flat array, or a token within the current row.
    fn id_error(&self, index: usize, found: &str) -> DataError {
        let allowed = format!("ids 0 to {} (vocabulary of {})", self.vocab_size - 1, self.vocab_size);
        match self.layout {
            ColumnLayout::Flat => self.row_error(index, found, &allowed),
            ColumnLayout::Lists => self.row_error(0, &format!("{found} at index {index} of the row"), &allowed),
        }
    }

    /// Returns an error about the row `offset` rows after the current one.
    fn row_error(&self, offset: usize, found: &str, allowed: &str) -> DataError {
        DataError::Row {
            file: self.path.to_path_buf(),
            row: self.next_row + offset as u64,
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_groups_are_cut_after_each_end_token_and_lose_nothing() {
        let cases: [(&[u32], Option<u32>, &[usize]); 4] = [
            (&[1, 0, 2, 3, 0], Some(0), &[2, 5]),
            (&[1, 0, 2, 3], Some(0), &[2, 4]),
            (&[1, 0, 2, 3], None, &[4]),
            (&[], Some(0), &[]),
        ];
        for (tokens, eos, ends) in cases {
            let mut documents = Documents { tokens: tokens.to_vec(), ..Documents::default() };
            documents.split_after(eos);
            assert_eq!(documents.ends, ends, "{tokens:?}");
        }
    }
}
