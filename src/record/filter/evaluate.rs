//! Owns: what a filter's terms are on the rows of a batch.
//! Must not know: SQL's syntax.
//! Invariant: types are checked by columns and literals alone, so a batch without rows gives the same errors.

use super::FilterError;
use super::like::like;
use super::parse::{Arithmetic, Comparison, Node, Term};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::{and_kleene, cast, is_null, not, or_kleene};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use std::cmp::Ordering;

/// A term on every row.
enum Values {
    /// Null on so many rows, of any type.
    Null(usize),
    Number(Float64Array),
    Text(StringArray),
    Truth(BooleanArray),
}

impl Values {
    fn kind(&self) -> &'static str {
        match self {
            Values::Null(_) => "null",
            Values::Number(_) => "a number",
            Values::Text(_) => "text",
            Values::Truth(_) => "a truth value",
        }
    }

    fn is_null(&self) -> Result<BooleanArray, FilterError> {
        Ok(match self {
            Values::Null(rows) => vec![true; *rows].into(),
            Values::Number(values) => is_null(values)?,
            Values::Text(values) => is_null(values)?,
            Values::Truth(values) => is_null(values)?,
        })
    }
}

/// A condition on every row: true, false or null.
pub(super) fn truth(node: &Node, batch: &RecordBatch) -> Result<BooleanArray, FilterError> {
    match values(node, batch)? {
        Values::Truth(values) => Ok(values),
        Values::Null(rows) => Ok(BooleanArray::new_null(rows)),
        other => Err(operand(node, &other, "a condition")),
    }
}

fn number(node: &Node, batch: &RecordBatch) -> Result<Float64Array, FilterError> {
    match values(node, batch)? {
        Values::Number(values) => Ok(values),
        Values::Null(rows) => Ok(Float64Array::new_null(rows)),
        other => Err(operand(node, &other, "a number")),
    }
}

fn text(node: &Node, batch: &RecordBatch) -> Result<StringArray, FilterError> {
    match values(node, batch)? {
        Values::Text(values) => Ok(values),
        Values::Null(rows) => Ok(StringArray::new_null(rows)),
        other => Err(operand(node, &other, "text")),
    }
}

fn operand(node: &Node, found: &Values, expected: &'static str) -> FilterError {
    FilterError::Operand { text: node.text.clone(), found: found.kind(), expected }
}

fn values(node: &Node, batch: &RecordBatch) -> Result<Values, FilterError> {
    let rows = batch.num_rows();
    Ok(match &node.term {
        Term::Null => Values::Null(rows),
        Term::Number(value) => Values::Number(vec![*value; rows].into()),
        Term::Text(value) => Values::Text(vec![value.as_str(); rows].into()),
        Term::Truth(value) => Values::Truth(vec![*value; rows].into()),
        Term::Column { name, quoted } => column(name, *quoted, batch)?,
        Term::Minus(of) => Values::Number(number(of, batch)?.unary(|value| -value)),
        Term::Compute(how, of) => {
            Values::Number(compute(*how, &number(&of[0], batch)?, &number(&of[1], batch)?))
        }
        Term::Not(of) => Values::Truth(not(&truth(of, batch)?)?),
        Term::IsNull(of) => Values::Truth(values(of, batch)?.is_null()?),
        Term::And(of) => Values::Truth(fold(true, of, batch, and_kleene)?),
        Term::Or(of) => Values::Truth(fold(false, of, batch, or_kleene)?),
        Term::Compare(how, of) => {
            Values::Truth(compare(*how, &Side::of(&of[0], batch)?, &Side::of(&of[1], batch)?)?)
        }
        Term::Between(of) => Values::Truth(between(of, batch)?),
        Term::In(of, list) => Values::Truth(is_in(of, list, batch)?),
        Term::Like(of, escape) => {
            let (texts, patterns) = (text(&of[0], batch)?, text(&of[1], batch)?);
            let pairs = texts.iter().zip(&patterns);
            Values::Truth(pairs.map(|(text, pattern)| Some(like(text?, pattern?, *escape))).collect())
        }
    })
}

/// Joins conditions one by one, from `start`, which changes nothing.
fn fold(
    start: bool,
    of: &[Node],
    batch: &RecordBatch,
    join: impl Fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>,
) -> Result<BooleanArray, FilterError> {
    let start = BooleanArray::from(vec![start; batch.num_rows()]);
    of.iter().try_fold(start, |found, node| Ok(join(&found, &truth(node, batch)?)?))
}

/// Null where an operand is null, and where the divisor is zero.
fn compute(how: Arithmetic, left: &Float64Array, right: &Float64Array) -> Float64Array {
    let pairs = left.iter().zip(right);
    let result = pairs.map(|(left, right)| {
        let (left, right) = (left?, right?);
        match how {
            Arithmetic::Add => Some(left + right),
            Arithmetic::Subtract => Some(left - right),
            Arithmetic::Multiply => Some(left * right),
            Arithmetic::Divide => (right != 0.0).then(|| left / right),
            Arithmetic::Remainder => (right != 0.0).then(|| left % right),
        }
    });
    result.collect()
}

/// One side of a comparison, and the node it comes from, for an error.
struct Side<'a> {
    node: &'a Node,
    values: Values,
}

impl<'a> Side<'a> {
    fn of(node: &'a Node, batch: &RecordBatch) -> Result<Self, FilterError> {
        Ok(Self { node, values: values(node, batch)? })
    }
}

fn compare(how: Comparison, left: &Side, right: &Side) -> Result<BooleanArray, FilterError> {
    Ok(match (&left.values, &right.values) {
        (Values::Null(rows), _) | (_, Values::Null(rows)) => BooleanArray::new_null(*rows),
        (Values::Number(left), Values::Number(right)) => each(how, left.iter(), right.iter()),
        (Values::Text(left), Values::Text(right)) => each(how, left.iter(), right.iter()),
        (Values::Truth(left), Values::Truth(right)) => each(how, left.iter(), right.iter()),
        (a, b) => {
            return Err(FilterError::Incomparable {
                left: left.node.text.clone(),
                left_kind: a.kind(),
                right: right.node.text.clone(),
                right_kind: b.kind(),
            });
        }
    })
}

/// Arrow's own comparisons put not-a-number above all numbers; here it has no order, as in IEEE 754.
fn each<T: PartialOrd>(
    how: Comparison,
    left: impl Iterator<Item = Option<T>>,
    right: impl Iterator<Item = Option<T>>,
) -> BooleanArray {
    let holds = |order: Option<Ordering>| match how {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    };
    left.zip(right).map(|(left, right)| Some(holds(left?.partial_cmp(&right?)))).collect()
}

/// `x >= low AND x <= high`, with `x` computed once.
fn between(of: &[Node; 3], batch: &RecordBatch) -> Result<BooleanArray, FilterError> {
    let (value, low, high) = (Side::of(&of[0], batch)?, Side::of(&of[1], batch)?, Side::of(&of[2], batch)?);
    let above = compare(Comparison::GreaterOrEqual, &value, &low)?;
    let below = compare(Comparison::LessOrEqual, &value, &high)?;
    Ok(and_kleene(&above, &below)?)
}

/// `x = a OR x = b OR …`: null, not false, where nothing is equal but something is null.
fn is_in(of: &Node, list: &[Node], batch: &RecordBatch) -> Result<BooleanArray, FilterError> {
    let value = Side::of(of, batch)?;
    list.iter().try_fold(BooleanArray::from(vec![false; batch.num_rows()]), |found, node| {
        let equal = compare(Comparison::Equal, &value, &Side::of(node, batch)?)?;
        Ok(or_kleene(&found, &equal)?)
    })
}

fn column(name: &str, quoted: bool, batch: &RecordBatch) -> Result<Values, FilterError> {
    let array: &ArrayRef = batch.column(find(name, quoted, batch)?);
    Ok(match array.data_type() {
        DataType::Null => Values::Null(array.len()),
        DataType::Boolean => Values::Truth(array.as_boolean().clone()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Values::Text(cast(array, &DataType::Utf8)?.as_string().clone())
        }
        found if found.is_integer() || found.is_floating() => {
            Values::Number(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
        found => {
            return Err(FilterError::ColumnType { name: name.to_owned(), found: found.to_string() });
        }
    })
}

/// Which column is meant: the one of exactly this name, or, without quotes, the only one that differs by case.
fn find(name: &str, quoted: bool, batch: &RecordBatch) -> Result<usize, FilterError> {
    let schema = batch.schema_ref();
    let named = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..schema.fields().len()).filter(|index| same(schema.field(*index).name())).collect()
    };
    let mut found = named(&|known| known == name);
    if found.is_empty() && !quoted {
        found = named(&|known| known.to_lowercase() == name.to_lowercase());
    }
    match found[..] {
        [index] => Ok(index),
        [] => Err(FilterError::UnknownColumn { name: name.to_owned(), hint: hint(name, quoted, batch) }),
        _ => {
            let candidates: Vec<_> =
                found.iter().map(|index| format!("`{}`", schema.field(*index).name())).collect();
            Err(FilterError::Ambiguous { name: name.to_owned(), candidates: candidates.join(", ") })
        }
    }
}

/// The nearest known name; and, where text may have been meant, how to write that.
fn hint(name: &str, quoted: bool, batch: &RecordBatch) -> String {
    let nearness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let fields = batch.schema_ref().fields().iter().map(|field| field.name());
    let nearest = fields.max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
    let nearest = nearest.map(|known| format!("; the nearest is `{known}`")).unwrap_or_default();
    match quoted {
        true => format!("{nearest}; text stands in 'single quotes'"),
        false => nearest,
    }
}
