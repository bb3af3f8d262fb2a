//! Owns: copying numbers from the device to the host. Every readback of the trainer goes through `Readback`.
//! Must not know: what the numbers mean.
//! Invariant: reading a `Readback` waits for the device once, for any number of tensors.

use crate::ops::trace::{self, SpanKind};
use crate::train::TrainError;
use burn::tensor::{Int, Tensor, Transaction};

/// Name of a readback's span in recorded profiles.
pub const READBACK_SPAN: &str = "readback";

#[derive(Default)]
pub struct Readback {
    transaction: Transaction,
}

impl Readback {
    /// Adds a tensor. Results are returned in the order of addition.
    pub fn add<const D: usize>(&mut self, tensor: &Tensor<D>) {
        self.transaction = std::mem::take(&mut self.transaction).register(tensor.clone());
    }

    /// Adds token ids. They are read as f32, which is exact below 2^24; no vocabulary is that large.
    pub fn add_ids<const D: usize>(&mut self, tensor: &Tensor<D, Int>) {
        self.transaction = std::mem::take(&mut self.transaction).register(tensor.clone());
    }

    /// READBACK: waits for the device and returns the values of every tensor.
    pub fn read(self) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut span = trace::span(READBACK_SPAN, SpanKind::NoGraph, 0.0);
        let data = self.transaction.try_execute().map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))?;
        span.add_readback(data.iter().map(|data| data.bytes().len() as u64).sum());
        data.into_iter()
            .map(|data| {
                data.convert::<f32>()
                    .try_to_vec::<f32>()
                    .map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))
            })
            .collect()
    }
}

/// READBACK: returns one tensor's values; `None` if the device failed, which the step's own readback reports.
pub fn read_values(tensor: &Tensor<1>) -> Option<Vec<f32>> {
    let mut readback = Readback::default();
    readback.add(tensor);
    readback.read().ok()?.pop()
}

/// Returns the mean in double precision; `None` without values.
pub fn mean(values: impl IntoIterator<Item = f32>) -> Option<f64> {
    let (sum, count) =
        values.into_iter().fold((0.0_f64, 0_usize), |(sum, count), value| (sum + value as f64, count + 1));
    (count > 0).then(|| sum / count as f64)
}
