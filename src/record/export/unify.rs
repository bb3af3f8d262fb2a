//! Owns: a common schema for tables with different columns.
//! Must not know: files, what a column means.
//! Invariant: no value becomes null; a value that does not fit into the common type is an error.

use super::ExportError;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Converts tables with different columns to one common schema. It has all columns by name, in order of first
/// appearance; a table's missing columns are null. If types differ, integers become Int64; an integer with a float,
/// or two floats, become Float64 (exact up to 2^53). Other types must be equal. A column's metadata entry comes from
/// the first table that has it. Metadata of whole tables is dropped, because it describes one table only.
pub fn unify(tables: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, ExportError> {
    let mut common: Vec<Field> = Vec::new();
    for table in &tables {
        check_unique_names(table)?;
        for field in table.schema_ref().fields() {
            match common.iter_mut().find(|known| known.name() == field.name()) {
                Some(known) => *known = merge_fields(known, field)?,
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
    tables.iter().map(|table| adapt_to_schema(table, &schema)).collect()
}

/// Fails if two columns have the same name: columns are merged by name, so the second would be lost.
fn check_unique_names(table: &RecordBatch) -> Result<(), ExportError> {
    let fields = table.schema_ref().fields();
    let mut rest = fields.iter().enumerate();
    match rest.find(|(index, field)| fields.iter().take(*index).any(|known| known.name() == field.name())) {
        Some((_, field)) => Err(ExportError::DuplicateColumn { column: field.name().clone() }),
        None => Ok(()),
    }
}

fn merge_fields(known: &Field, other: &Field) -> Result<Field, ExportError> {
    let (first, second) = (known.data_type(), other.data_type());
    let common = common_type(first, second).ok_or_else(|| ExportError::TypeMismatch {
        column: known.name().clone(),
        first: first.to_string(),
        other: second.to_string(),
    })?;
    // Arrow allows a column of type null to be declared not nullable.
    let nullable = [known, other].iter().any(|field| field.is_nullable() || field.data_type().is_null());
    let mut metadata = other.metadata().clone();
    metadata.extend(known.metadata().clone());
    Ok(known.clone().with_data_type(common).with_nullable(nullable).with_metadata(metadata))
}

fn common_type(first: &DataType, second: &DataType) -> Option<DataType> {
    let number = |data_type: &DataType| data_type.is_integer() || data_type.is_floating();
    match (first, second) {
        // List types may differ in the name of their item field.
        _ if first.equals_datatype(second) => Some(first.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        _ if first.is_integer() && second.is_integer() => Some(DataType::Int64),
        _ if number(first) && number(second) => Some(DataType::Float64),
        _ => None,
    }
}

fn adapt_to_schema(table: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ExportError> {
    let columns = schema.fields().iter().map(|field| cast_column(table, field)).collect::<Result<_, _>>()?;
    // A table can have rows but no columns.
    let rows = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}

fn cast_column(table: &RecordBatch, field: &Field) -> Result<ArrayRef, ExportError> {
    let wanted = field.data_type();
    let Some(array) = table.column_by_name(field.name()) else {
        return Ok(new_null_array(wanted, table.num_rows()));
    };
    // With `safe`, a value that does not fit would become null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).map_err(|cause| ExportError::CastFailed {
        column: field.name().clone(),
        wanted: wanted.to_string(),
        cause,
    })
}
