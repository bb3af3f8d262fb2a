//! Owns: the conversion of the layers' rows to and from columns.
//! Must not know: how layers are measured, where rows are written.
//! Invariant: a column that is missing or null reads as `None` or an empty list, not as an error.

use super::token_rows::{count_value, id_list, id_list_column, step_value};
use super::{TableRow, count_column, real_column, real_value, text_column, text_values};
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics;
use crate::schema::metrics::ColumnSpec;
use arrow::array::{ArrayRef, RecordBatch};

impl TableRow for LayerRow {
    const TABLE: &'static str = "layers";
    const COLUMNS: &'static [ColumnSpec] = metrics::LAYERS;

    fn arrays(rows: &[Self]) -> Vec<ArrayRef> {
        let real = |value: fn(&Self) -> Option<f64>| real_column(rows.iter().map(value));
        let counts = |list: fn(&Self) -> &Vec<u32>| {
            id_list_column(rows.iter().map(|row| Some(list(row).clone()).filter(|list| !list.is_empty())))
        };
        vec![
            count_column(rows.iter().map(|row| row.step)),
            count_column(rows.iter().map(|row| row.layer_index)),
            text_column(rows.iter().map(|row| Some(row.layer.clone()))),
            count_column(rows.iter().map(|row| row.params)),
            real(|row| Some(row.weight_norm)),
            real(|row| row.grad_norm),
            real(|row| row.update_norm),
            real(Self::update_ratio),
            real(|row| row.activation_rms),
            real(|row| row.activation_max),
            counts(|row| &row.weight_histogram),
            counts(|row| &row.grad_histogram),
        ]
    }
}

/// Columns of the layers table without the histograms, which take most of the room.
pub const LAYER_SERIES_COLUMNS: &[&str] = &[
    "step",
    "layer_index",
    "layer",
    "params",
    "weight_norm",
    "grad_norm",
    "update_norm",
    "activation_rms",
    "activation_max",
];

/// Reads the rows of `batch`, from the layers table. A row without step, name or weight norm is left out.
pub fn read_layer_rows(batch: &RecordBatch) -> Vec<LayerRow> {
    let real = |row: usize, name: &str| real_value(batch, row, name);
    let names = text_values(batch, "layer");
    let read = |row: usize| {
        Some(LayerRow {
            step: step_value(batch, row)?,
            layer_index: count_value(batch, row, "layer_index").unwrap_or_default(),
            layer: names?.value(row).to_owned(),
            params: count_value(batch, row, "params").unwrap_or_default(),
            weight_norm: real(row, "weight_norm")?,
            grad_norm: real(row, "grad_norm"),
            update_norm: real(row, "update_norm"),
            activation_rms: real(row, "activation_rms"),
            activation_max: real(row, "activation_max"),
            weight_histogram: id_list(batch, row, "weight_histogram").unwrap_or_default(),
            grad_histogram: id_list(batch, row, "grad_histogram").unwrap_or_default(),
        })
    };
    (0..batch.num_rows()).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [LayerRow; 2] {
        let trained = LayerRow {
            step: 50,
            layer_index: 1,
            layer: "block 0 attention".into(),
            params: 99,
            weight_norm: 1.5,
            grad_norm: Some(0.25),
            update_norm: Some(0.003),
            activation_rms: Some(0.5),
            activation_max: Some(4.0),
            weight_histogram: vec![0, 7, 9],
            grad_histogram: vec![1, 2, 3],
        };
        let idle = LayerRow {
            layer: "feedback".into(),
            weight_histogram: vec![4],
            grad_norm: None,
            update_norm: None,
            activation_rms: None,
            activation_max: None,
            grad_histogram: Vec::new(),
            ..trained.clone()
        };
        [trained, idle]
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        assert_eq!(read_layer_rows(&LayerRow::batch(&rows()).unwrap()), rows());
        assert!(read_layer_rows(&LayerRow::batch(&[]).unwrap()).is_empty());
    }

    fn segments_columns(batch: &RecordBatch) -> Vec<LayerRow> {
        let index = |name: &&str| batch.schema().index_of(name).unwrap();
        read_layer_rows(&batch.project(&LAYER_SERIES_COLUMNS.iter().map(index).collect::<Vec<_>>()).unwrap())
    }

    #[test]
    fn missing_columns_are_no_error() {
        let batch = LayerRow::batch(&rows()).unwrap();
        let few = read_layer_rows(&batch.project(&[0, 2, 4]).unwrap());
        assert_eq!((few.len(), few[0].grad_norm, few[0].weight_norm), (2, None, 1.5));
        let series = segments_columns(&batch);
        assert!(series.iter().zip(rows()).all(|(row, whole)| row.update_ratio() == whole.update_ratio()));
        assert!(few.iter().chain(&series).all(|row| row.weight_histogram.is_empty()));
        assert!(read_layer_rows(&batch.project(&[0, 4]).unwrap()).is_empty(), "rows without a name");
    }
}
