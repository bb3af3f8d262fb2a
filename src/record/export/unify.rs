//! Owns: one schema for tables of different columns.
//! Must not know: files, what a column means.
//! Invariant: no value turns to null: what does not fit into the common type is an error.

use super::ExportError;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Puts tables of possibly different columns under one schema: all columns by name, in the order of the first table
/// and then of appearance; what a table lacks is null. Where types differ, integers become Int64, and an integer with a
/// float, or two floats, Float64 (exact up to 2^53); other types must be the same. Each piece of a column's metadata is
/// the first table's that has it. Metadata of whole tables is dropped: it is true of one table only.
pub fn unify(tables: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, ExportError> {
    let mut common: Vec<Field> = Vec::new();
    for table in &tables {
        no_name_twice(table)?;
        for field in table.schema_ref().fields() {
            match common.iter_mut().find(|known| known.name() == field.name()) {
                Some(known) => *known = merge(known, field)?,
                None => common.push(field.as_ref().clone()),
            }
        }
    }
    for field in &mut common {
        if tables.iter().any(|table| table.schema_ref().column_with_name(field.name()).is_none()) {
            field.set_nullable(true);
        }
    }
    let schema = Arc::new(Schema::new(common));
    tables.iter().map(|table| adapt(table, &schema)).collect()
}

/// Columns are put together by name, so a second one of a name would be lost.
fn no_name_twice(table: &RecordBatch) -> Result<(), ExportError> {
    let fields = table.schema_ref().fields();
    let mut rest = fields.iter().enumerate();
    match rest.find(|(index, field)| fields.iter().take(*index).any(|known| known.name() == field.name())) {
        Some((_, field)) => Err(ExportError::Twice { column: field.name().clone() }),
        None => Ok(()),
    }
}

fn merge(known: &Field, other: &Field) -> Result<Field, ExportError> {
    let (first, second) = (known.data_type(), other.data_type());
    let common = common_type(first, second).ok_or_else(|| ExportError::Types {
        column: known.name().clone(),
        first: first.to_string(),
        other: second.to_string(),
    })?;
    // Arrow lets a column of nothing but nulls call itself not nullable.
    let nullable = [known, other].iter().any(|field| field.is_nullable() || field.data_type().is_null());
    let mut metadata = other.metadata().clone();
    metadata.extend(known.metadata().clone());
    Ok(known.clone().with_data_type(common).with_nullable(nullable).with_metadata(metadata))
}

fn common_type(first: &DataType, second: &DataType) -> Option<DataType> {
    let number = |data_type: &DataType| data_type.is_integer() || data_type.is_floating();
    match (first, second) {
        // Lists may differ by how their insides are called.
        _ if first.equals_datatype(second) => Some(first.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        _ if first.is_integer() && second.is_integer() => Some(DataType::Int64),
        _ if number(first) && number(second) => Some(DataType::Float64),
        _ => None,
    }
}

fn adapt(table: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ExportError> {
    let columns = schema.fields().iter().map(|field| column(table, field)).collect::<Result<_, _>>()?;
    // A table may have rows and no column.
    let rows = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}

fn column(table: &RecordBatch, field: &Field) -> Result<ArrayRef, ExportError> {
    let wanted = field.data_type();
    let Some(array) = table.column_by_name(field.name()) else {
        return Ok(new_null_array(wanted, table.num_rows()));
    };
    // `safe` would make null of what does not fit.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).map_err(|cause| ExportError::Value {
        column: field.name().clone(),
        wanted: wanted.to_string(),
        cause,
    })
}
