//! Owns: the accepted types of a token column, and the decoding of its arrays into checked ids.
//! Must not know: files beyond their path in a message, row groups, splits.
//! Invariant: every decoded id is below the vocabulary size; any other id or null is an error with its row.

use super::error::{DataError, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use std::path::Path;

/// Accepted names of the token column, in order of preference.
const TOKEN_COLUMNS: [&str; 4] = ["input_ids", "tokens", "token_ids", "token"];

/// The documents of one row group, stored one after the other.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Documents {
    tokens: Vec<u32>,
    /// End offset of each document in `tokens`. A document starts where the previous one ends.
    ends: Vec<usize>,
}

impl Documents {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    pub fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.tokens[start..self.ends[index]]
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

/// How the token column holds ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnLayout {
    /// A row is a document: a list of ids.
    Lists,
    /// A row is a single id.
    Flat,
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

    pub fn push(&mut self, column: &ArrayRef) -> Result<()> {
        if self.layout == ColumnLayout::Flat {
            self.push_ids(column)?;
            self.next_row += column.len() as u64;
            return Ok(());
        }
        match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().iter().try_for_each(|row| self.push_row(row)),
            DataType::LargeList(_) => column.as_list::<i64>().iter().try_for_each(|row| self.push_row(row)),
            _ => column.as_fixed_size_list().iter().try_for_each(|row| self.push_row(row)),
        }
    }

    fn push_row(&mut self, ids: Option<ArrayRef>) -> Result<()> {
        let Some(ids) = ids else {
            return Err(self.row_error(0, "the row is null", "a list of token ids"));
        };
        self.push_ids(&ids)?;
        self.documents.ends.push(self.documents.tokens.len());
        self.next_row += 1;
        Ok(())
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

/// Finds the token column, which holds integers. Returns its index and its layout.
pub(crate) fn find_token_column(path: &Path, schema: &Schema) -> Result<(usize, ColumnLayout)> {
    let fault = |found: String, allowed: String| DataError::Column { file: path.to_path_buf(), found, allowed };
    let names = format!("`{}`", TOKEN_COLUMNS.join("`, `"));
    let Some(index) = TOKEN_COLUMNS.iter().find_map(|name| schema.index_of(name).ok()) else {
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("`{}: {}`", field.name(), type_name(field.data_type())))
            .collect();
        let found = format!("no token column, only {}", columns.join(", "));
        return Err(fault(found, format!("a column named {names}, of lists of integers")));
    };
    let field = schema.field(index);
    let (item, layout) = match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            (item.data_type(), ColumnLayout::Lists)
        }
        other => (other, ColumnLayout::Flat),
    };
    if !item.is_integer() {
        let found = format!("column `{}` is {}", field.name(), type_name(field.data_type()));
        return Err(fault(found, "lists of integers, or one integer per row".to_owned()));
    }
    Ok((index, layout))
}

/// Returns the readable name of an Arrow type, such as `list<int32>` or `fixed_size_list<int32, 64>`.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::LargeList(item) => format!("large_list<{}>", type_name(item.data_type())),
        DataType::FixedSizeList(item, n) => format!("fixed_size_list<{}, {n}>", type_name(item.data_type())),
        other => format!("{other:?}").to_lowercase(),
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
            let mut documents = Documents { tokens: tokens.to_vec(), ends: Vec::new() };
            documents.split_after(eos);
            assert_eq!(documents.ends, ends, "{tokens:?}");
        }
    }

    #[test]
    fn type_names_are_readable() {
        let item = |data_type| std::sync::Arc::new(arrow::datatypes::Field::new("item", data_type, true));
        assert_eq!(type_name(&DataType::LargeList(item(DataType::Int64))), "large_list<int64>");
        assert_eq!(type_name(&DataType::FixedSizeList(item(DataType::UInt16), 8)), "fixed_size_list<uint16, 8>");
    }
}
