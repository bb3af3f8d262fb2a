//! Owns: a checkpoint's tensor on the host, and turning it from one layout into another.
//! Must not know: names, files.
//! Invariant: numbers are moved, never computed.

use super::names::Layout;
use burn::tensor::TensorData;

/// A matrix or vector on the host, row-major.
#[derive(Clone)]
pub(super) struct Matrix {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
}

impl Matrix {
    pub fn of(data: TensorData) -> Result<Self, String> {
        let dims = data.shape().to_vec();
        let values = data.convert::<f32>().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        Ok(Self { dims, values })
    }

    pub fn into_data(self) -> TensorData {
        TensorData::new(self.values, self.dims)
    }

    /// Rows and columns; a vector is one row.
    fn sides(&self) -> (usize, usize) {
        let columns = self.dims.last().copied().unwrap_or(1);
        (self.values.len() / columns.max(1), columns)
    }

    /// Our tensor, out of theirs.
    pub fn ours(&self, layout: Layout) -> Option<Self> {
        match layout {
            Layout::Same => Some(self.clone()),
            Layout::Transposed => (self.dims.len() == 2).then(|| self.transposed()),
            Layout::Third(n) => self.third(n),
        }
    }

    pub fn transposed(&self) -> Self {
        let (rows, columns) = self.sides();
        let values = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| self.values[row * columns + column]))
            .collect();
        Self { dims: vec![columns, rows], values }
    }

    fn third(&self, n: usize) -> Option<Self> {
        let (_, columns) = self.sides();
        if !columns.is_multiple_of(3) || columns == 0 {
            return None;
        }
        let own = columns / 3;
        let values =
            self.values.chunks(columns).flat_map(|row| row[n * own..(n + 1) * own].to_vec()).collect();
        let mut dims = self.dims.clone();
        *dims.last_mut()? = own;
        Some(Self { dims, values })
    }

    /// `self` with `right`'s columns after its own; both have as many rows.
    pub fn beside(&self, right: &Self) -> Self {
        let ((rows, a), (_, b)) = (self.sides(), right.sides());
        let values = (0..rows)
            .flat_map(|row| {
                [&self.values[row * a..(row + 1) * a], &right.values[row * b..(row + 1) * b]].concat()
            })
            .collect();
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = a + b;
        }
        Self { dims, values }
    }
}
