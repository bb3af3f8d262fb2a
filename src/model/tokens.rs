//! Owns: a batch on the device.
//! Must not know: where it comes from.
//! Invariant: the target at a position is the input at the next one.

use super::index;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A batch on the device.
#[derive(Clone)]
pub struct Tokens {
    /// Inputs `[B, T]`.
    pub inputs: Tensor<2, Int>,
    /// The token after each, `[B, T]`.
    pub targets: Tensor<2, Int>,
}

impl Tokens {
    /// Uploads `tokens` `[B, T+1]`, row-major: inputs are all but each row's last, targets all but its first.
    pub fn upload(tokens: &[i32], batch: usize, seq_len: usize, device: &Device) -> Self {
        let data = TensorData::new(tokens.to_vec(), [batch, seq_len + 1]);
        let all = Tensor::<2, Int>::from_data(data, device);
        Self { inputs: all.clone().narrow(1, 0, seq_len), targets: all.narrow(1, 1, seq_len) }
    }

    /// The first `count` rows.
    pub fn first_rows(&self, count: usize) -> Self {
        let first = |rows: &Tensor<2, Int>| rows.clone().narrow(0, 0, count);
        Self { inputs: first(&self.inputs), targets: first(&self.targets) }
    }

    /// All targets, `[B·T]`.
    pub fn flat_targets(&self) -> Tensor<1, Int> {
        self.targets.clone().flatten(0, 1)
    }

    /// The targets at indices into `[B·T]`, `[N]`.
    pub fn targets_at(&self, at: &[usize]) -> Tensor<1, Int> {
        self.flat_targets().select(0, index(at, &self.targets.device()))
    }
}
