//! Owns: row filters in SQL's words: their text, their errors, which rows they keep.
//! Must not know: where the rows come from, what a column means.
//! Invariant: an operator that is not supported is refused when the text is read, before any row is seen.

mod evaluate;
mod like;
mod parse;
#[cfg(test)]
mod tests;

use arrow::array::{Array, BooleanArray, RecordBatch};
use parse::Node;

/// What a filter may hold; stands in error messages.
const SUPPORTED: &str = "AND, OR, NOT, =, ==, <>, !=, <, <=, >, >=, IS [NOT] NULL, [NOT] BETWEEN, [NOT] IN (list), \
     [NOT] LIKE, +, -, *, /, %, numbers, 'text', TRUE, FALSE, NULL, column names (in \"double quotes\" where they \
     are no plain words)";
/// Words and signs a filter may have, and levels it may nest. They bound the stack that reading and applying it needs.
const MAX_WORDS: usize = 400;
const MAX_DEPTH: usize = 64;

/// A condition on rows, as it would stand behind SQL's WHERE.
///
/// Numbers are compared and computed as 64-bit floats: whole numbers are exact up to 2^53, and `3 / 2` is 1.5. Division
/// by zero (and `%` by zero) gives null. Not-a-number follows IEEE 754, not any database: it equals nothing, itself
/// included, so `x <> x` holds for it and every other comparison with it is false. Text is compared by its bytes.
/// LIKE knows `%` and `_`, and `\` (or the character of ESCAPE) before a character that stands for itself.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
}

impl Filter {
    /// Reads what would stand behind WHERE. The error names what is not understood and where it stands.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        parse::parse(text).map(|root| Filter { root })
    }

    /// The columns it mentions, as they are written there, each once.
    #[cfg(test)]
    pub fn columns(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.root.visit(&mut |term| {
            if let parse::Term::Column { name, .. } = term
                && !found.contains(name)
            {
                found.push(name.clone());
            }
        });
        found
    }

    /// Which rows of `batch` it keeps: those where it is true, not those where it is false or null. The mask itself
    /// has no nulls.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, FilterError> {
        let truth = evaluate::truth(&self.root, batch)?;
        if truth.null_count() == 0 {
            return Ok(truth);
        }
        Ok(truth.iter().map(|value| Some(value == Some(true))).collect())
    }
}

/// Why a filter could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is no SQL expression.
    #[error("cannot read the filter{place}: {message}")]
    Syntax { message: String, place: String },
    /// More words and signs than are read.
    #[error("the filter has {words} words and signs; at most {MAX_WORDS} are read")]
    TooLong { words: usize },
    /// SQL, but not of the kind that is evaluated here.
    #[error("`{text}`{place} is not supported; supported: {SUPPORTED}")]
    Unsupported { text: String, place: String },
    /// No column has this name.
    #[error("unknown column `{name}`{hint}")]
    UnknownColumn { name: String, hint: String },
    /// Several columns could be meant.
    #[error("column `{name}` could be any of {candidates}; put the exact name in double quotes")]
    Ambiguous { name: String, candidates: String },
    /// A column of a type that no operator takes.
    #[error("column `{name}` holds {found}; a filter takes columns of numbers, text or truth values")]
    ColumnType { name: String, found: String },
    /// An operand of a type that its operator does not take.
    #[error("`{text}` is {found}, but {expected} is needed there")]
    Operand { text: String, found: &'static str, expected: &'static str },
    /// Two operands that have no order.
    #[error("cannot compare `{left}` ({left_kind}) with `{right}` ({right_kind})")]
    Incomparable { left: String, left_kind: &'static str, right: String, right_kind: &'static str },
    /// Arrow could not compute what was checked before; a bug, or text beyond 2 GiB.
    #[error("cannot apply the filter: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}
