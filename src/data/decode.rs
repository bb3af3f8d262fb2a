//! Owns what a token column may look like, and taking checked ids out of its arrays.
//!
//! Must not know: files beyond their path in a message, row groups, splits. Invariant: an id that gets through is
//! below the vocabulary; a null row, a null id or any other id is an error that names the row of the file.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use super::error::{DataError, Result};

/// Column names that hold tokens, in the order in which they are looked for.
const TOKEN_COLUMNS: [&str; 4] = ["input_ids", "tokens", "token_ids", "token"];

/// Documents of one row group, one after the other.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Documents {
    tokens: Vec<u32>,
    /// Where each document ends in `tokens`; it begins where the one before ends.
    ends: Vec<usize>,
}

impl Documents {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Tokens of all documents together.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    pub fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.tokens[start..self.ends[index]]
    }

    /// Flat groups arrive as one run of tokens: cut after each `eos`.
    pub fn cut_after(&mut self, eos: Option<u32>) {
        self.ends = (self.tokens.iter().enumerate())
            .filter(|(_, id)| Some(**id) == eos)
            .map(|(at, _)| at + 1)
            .collect();
        if self.ends.last().copied().unwrap_or(0) < self.tokens.len() {
            self.ends.push(self.tokens.len());
        }
    }
}

/// Takes checked ids out of arrays; `row` counts rows of the file.
pub(crate) struct Sink<'a> {
    path: &'a Path,
    row: u64,
    vocab: usize,
    out: &'a mut Documents,
}

impl<'a> Sink<'a> {
    /// Ids must be below `vocab` (at least 1); the first row pushed is row `row` of the file.
    pub fn new(path: &'a Path, row: u64, vocab: usize, out: &'a mut Documents) -> Self {
        Self { path, row, vocab: vocab.max(1), out }
    }

    /// Takes one array of the token column: lists (a document each) or, where `flat`, bare ids.
    pub fn push(&mut self, column: &ArrayRef, flat: bool) -> Result<()> {
        if flat {
            let rows = column.len() as u64;
            self.ids(column, flat)?;
            self.row += rows;
            return Ok(());
        }
        match column.data_type() {
            DataType::List(_) => self.lists::<i32>(column),
            DataType::LargeList(_) => self.lists::<i64>(column),
            _ => {
                let lists = column.as_fixed_size_list();
                (0..lists.len()).try_for_each(|at| self.row(lists.is_null(at), || lists.value(at)))
            }
        }
    }

    fn lists<O: OffsetSizeTrait>(&mut self, column: &ArrayRef) -> Result<()> {
        let lists = column.as_list::<O>();
        (0..lists.len()).try_for_each(|at| self.row(lists.is_null(at), || lists.value(at)))
    }

    fn row(&mut self, null: bool, ids: impl FnOnce() -> ArrayRef) -> Result<()> {
        if null {
            return Err(self.fault(0, "the row is null", "a list of token ids"));
        }
        self.ids(&ids(), false)?;
        self.out.ends.push(self.out.tokens.len());
        self.row += 1;
        Ok(())
    }

    fn ids(&mut self, values: &ArrayRef, flat: bool) -> Result<()> {
        match values.data_type() {
            DataType::Int8 => self.typed::<Int8Type>(values, flat),
            DataType::Int16 => self.typed::<Int16Type>(values, flat),
            DataType::Int32 => self.typed::<Int32Type>(values, flat),
            DataType::Int64 => self.typed::<Int64Type>(values, flat),
            DataType::UInt8 => self.typed::<UInt8Type>(values, flat),
            DataType::UInt16 => self.typed::<UInt16Type>(values, flat),
            DataType::UInt32 => self.typed::<UInt32Type>(values, flat),
            _ => self.typed::<UInt64Type>(values, flat),
        }
    }

    fn typed<P>(&mut self, values: &ArrayRef, flat: bool) -> Result<()>
    where
        P: ArrowPrimitiveType,
        P::Native: Copy + std::fmt::Display + TryInto<u32>,
    {
        let values = values.as_primitive::<P>();
        self.out.tokens.reserve(values.len());
        for (at, id) in values.iter().enumerate() {
            match id.map(|id| (id, id.try_into())) {
                Some((_, Ok(id))) if (id as usize) < self.vocab => self.out.tokens.push(id),
                Some((id, _)) => return Err(self.id_fault(at, flat, &format!("token id {id}"))),
                None => return Err(self.id_fault(at, flat, "a null token id")),
            }
        }
        Ok(())
    }

    /// In a flat file the place in the array is the row; in a list it is the place within the row.
    fn id_fault(&self, at: usize, flat: bool, found: &str) -> DataError {
        let allowed = format!("ids 0 to {} (vocabulary of {})", self.vocab - 1, self.vocab);
        match flat {
            true => self.fault(at, found, &allowed),
            false => self.fault(0, &format!("{found} at place {at} of the row"), &allowed),
        }
    }

    fn fault(&self, row: usize, found: &str, allowed: &str) -> DataError {
        DataError::Row {
            file: self.path.to_path_buf(),
            row: self.row + row as u64,
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

/// Finds the token column: its index, and whether it is flat (one token a row).
///
/// # Errors
/// No column has a known name, or the first that has one does not hold integers.
pub(crate) fn find_column(path: &Path, schema: &Schema) -> Result<(usize, bool)> {
    let fault =
        |found: String, allowed: String| DataError::Column { file: path.to_path_buf(), found, allowed };
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
    let (item, flat) = match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            (item.data_type(), false)
        }
        other => (other, true),
    };
    if !item.is_integer() {
        let found = format!("column `{}` is {}", field.name(), type_name(field.data_type()));
        return Err(fault(found, "lists of integers, or one integer a row".to_owned()));
    }
    Ok((index, flat))
}

/// An Arrow type as a person would write it: `list<int32>`, `fixed_size_list<int32, 64>`.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
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
            documents.cut_after(eos);
            assert_eq!(documents.ends, ends, "{tokens:?}");
        }
    }

    #[test]
    fn types_are_named_as_people_write_them() {
        let item = |kind| std::sync::Arc::new(arrow::datatypes::Field::new("item", kind, true));
        assert_eq!(type_name(&DataType::LargeList(item(DataType::Int64))), "large_list<int64>");
        assert_eq!(
            type_name(&DataType::FixedSizeList(item(DataType::UInt16), 8)),
            "fixed_size_list<uint16, 8>"
        );
    }
}
