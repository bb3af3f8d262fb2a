//! Owns: bringing numbers back from the device. Every readback of the trainer stands behind `Readback`.
//! Must not know: what the numbers mean.
//! Invariant: one `Readback::now` is one wait for the device, however many tensors it brings.

use super::TrainError;
use crate::ops::trace::{self, Of};
use burn::tensor::{Int, Tensor, Transaction};

/// What a readback is called where time is recorded.
pub(super) const READBACK: &str = "readback";

/// Tensors to be read together.
#[derive(Default)]
pub(super) struct Readback {
    transaction: Transaction,
}

impl Readback {
    /// Adds a tensor; the n-th added is the n-th read.
    pub fn add<const D: usize>(&mut self, tensor: &Tensor<D>) {
        self.transaction = std::mem::take(&mut self.transaction).register(tensor.clone());
    }

    /// The same for ids of tokens: as reals they are exact below 2^24, which no vocabulary reaches.
    pub fn add_ids<const D: usize>(&mut self, tensor: &Tensor<D, Int>) {
        self.transaction = std::mem::take(&mut self.transaction).register(tensor.clone());
    }

    /// READBACK: waits for the device.
    pub fn now(self) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut span = trace::span(READBACK, Of::Whole, 0.0);
        let data =
            self.transaction.try_execute().map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))?;
        span.brought(data.iter().map(|data| data.bytes().len() as u64).sum());
        data.into_iter()
            .map(|data| {
                data.convert::<f32>()
                    .try_to_vec::<f32>()
                    .map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))
            })
            .collect()
    }
}

/// READBACK: one tensor, `None` where the device failed (the step's own readback then says so).
pub(super) fn values(tensor: &Tensor<1>) -> Option<Vec<f32>> {
    let mut readback = Readback::default();
    readback.add(tensor);
    readback.now().ok()?.pop()
}

/// Mean in double precision, `None` of nothing.
pub(super) fn mean(values: impl IntoIterator<Item = f32>) -> Option<f64> {
    let (sum, count) =
        values.into_iter().fold((0.0_f64, 0_usize), |(sum, count), value| (sum + value as f64, count + 1));
    (count > 0).then(|| sum / count as f64)
}
