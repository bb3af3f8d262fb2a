//! Owns: a checkpoint's tensor on the host, and its conversion between layouts.
//! Must not know: tensor names, files.
//! Invariant: numbers are moved, never computed.

use super::names::TensorLayout;
use burn::tensor::TensorData;

/// A matrix or vector on the host, row-major.
#[derive(Clone)]
pub(super) struct HostMatrix {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
}

impl HostMatrix {
    pub fn from_data(data: TensorData) -> Result<Self, String> {
        let dims = data.shape().to_vec();
        let values = data.convert::<f32>().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        Ok(Self { dims, values })
    }

    pub fn into_data(self) -> TensorData {
        TensorData::new(self.values, self.dims)
    }

    /// Returns the numbers of rows and columns; a vector is one row.
    fn rows_and_columns(&self) -> (usize, usize) {
        let columns = self.dims.last().copied().unwrap_or(1);
        (self.values.len() / columns.max(1), columns)
    }

    /// Converts a checkpoint's tensor to the model's; `None` if its shape does not allow that.
    pub fn to_native(&self, layout: TensorLayout) -> Option<Self> {
        match layout {
            TensorLayout::Same => Some(self.clone()),
            TensorLayout::Transposed => (self.dims.len() == 2).then(|| self.transposed()),
            TensorLayout::FusedThird(n) => self.column_third(n),
        }
    }

    pub fn transposed(&self) -> Self {
        let (rows, columns) = self.rows_and_columns();
        let values =
            (0..columns).flat_map(|column| (0..rows).map(move |row| self.values[row * columns + column])).collect();
        Self { dims: vec![columns, rows], values }
    }

    /// Returns the `n`-th third of the columns; `None` if their number is not divisible by 3.
    fn column_third(&self, n: usize) -> Option<Self> {
        let (_, columns) = self.rows_and_columns();
        if !columns.is_multiple_of(3) || columns == 0 {
            return None;
        }
        let width = columns / 3;
        let values = self.values.chunks(columns).flat_map(|row| row[n * width..(n + 1) * width].to_vec()).collect();
        let mut dims = self.dims.clone();
        *dims.last_mut()? = width;
        Some(Self { dims, values })
    }

    /// Appends the columns of `right`, which must have the same number of rows.
    pub fn concat_columns(&self, right: &Self) -> Self {
        let ((rows, a), (_, b)) = (self.rows_and_columns(), right.rows_and_columns());
        let values = (0..rows)
            .flat_map(|row| [&self.values[row * a..(row + 1) * a], &right.values[row * b..(row + 1) * b]].concat())
            .collect();
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = a + b;
        }
        Self { dims, values }
    }
}
