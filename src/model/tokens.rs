//! Owns: a batch of token ids on the device.
//! Must not know: where the tokens come from.
//! Invariant: the target at a position is the input at the next position.

use super::index_tensor;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Token ids of a batch of B rows with T positions, on the device.
#[derive(Clone)]
pub struct TokenBatch {
    /// Input ids `[B, T]`.
    pub inputs: Tensor<2, Int>,
    /// Id of the token that follows each input, `[B, T]`.
    pub targets: Tensor<2, Int>,
}

impl TokenBatch {
    /// Uploads `tokens` `[B, T+1]`. Inputs are all tokens of a row but the last, targets all but the first.
    pub fn upload(tokens: &[i32], batch: usize, seq_len: usize, device: &Device) -> Self {
        let data = TensorData::new(tokens.to_vec(), [batch, seq_len + 1]);
        let ids = Tensor::<2, Int>::from_data(data, device);
        Self { inputs: ids.clone().narrow(1, 0, seq_len), targets: ids.narrow(1, 1, seq_len) }
    }

    pub fn first_rows(&self, count: usize) -> Self {
        let first = |rows: &Tensor<2, Int>| rows.clone().narrow(0, 0, count);
        Self { inputs: first(&self.inputs), targets: first(&self.targets) }
    }

    /// Returns the targets of all positions, `[B·T]`.
    pub fn flat_targets(&self) -> Tensor<1, Int> {
        self.targets.clone().flatten(0, 1)
    }

    /// Returns the targets `[N]` at N indices into `[B·T]`.
    pub fn targets_at(&self, indices: &[usize]) -> Tensor<1, Int> {
        self.flat_targets().select(0, index_tensor(indices, &self.targets.device()))
    }
}
