//! Owns: a batch of token ids on the device, and which of its targets count in a loss.
//! Must not know: where the tokens come from.
//! Invariant: the target at a position is the input at the next position.

use super::index_tensor;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::sync::Arc;

/// Token ids of a batch of B rows with T positions, on the device.
#[derive(Clone)]
pub struct TokenBatch {
    /// Input ids `[B, T]`.
    pub inputs: Tensor<2, Int>,
    /// Id of the token that follows each input, `[B, T]`.
    pub targets: Tensor<2, Int>,
    /// Whether each target counts in a loss, `[B·T]`; `None` if all do.
    counted: Option<Arc<Vec<bool>>>,
}

/// The targets of a loss.
pub struct LossTargets {
    /// Token ids `[N]`.
    pub ids: Tensor<1, Int>,
    /// Weight of each target in the mean, `[N]`, with the sum 1; all 0 if no target counts.
    pub weights: Tensor<1>,
}

impl LossTargets {
    /// Weighs targets `[N]` equally if `counted` is true for them, or all of them.
    pub fn new(ids: Tensor<1, Int>, counted: Option<&[bool]>) -> Self {
        let ([n], device) = (ids.dims(), ids.device());
        let weights = match counted {
            None => Tensor::full([n], 1.0 / n as f64, &device),
            Some(counted) => {
                let total = counted.iter().filter(|counted| **counted).count().max(1);
                let weights = counted.iter().map(|counted| f32::from(u8::from(*counted)) / total as f32).collect();
                Tensor::from_data(TensorData::new(weights, [n]), &device)
            }
        };
        Self { ids, weights }
    }
}

impl TokenBatch {
    /// Uploads `tokens` `[B, T+1]`. Inputs are all tokens of a row but the last, targets all but the first.
    pub fn upload(tokens: &[i32], batch: usize, seq_len: usize, device: &Device) -> Self {
        let data = TensorData::new(tokens.to_vec(), [batch, seq_len + 1]);
        let ids = Tensor::<2, Int>::from_data(data, device);
        let (inputs, targets) = (ids.clone().narrow(1, 0, seq_len), ids.narrow(1, 1, seq_len));
        Self { inputs, targets, counted: None }
    }

    /// Says which targets `[B·T]` count in a loss; `None`: all.
    pub fn with_counted(self, counted: Option<Vec<bool>>) -> Self {
        Self { counted: counted.map(Arc::new), ..self }
    }

    pub fn first_rows(&self, count: usize) -> Self {
        let first = |rows: &Tensor<2, Int>| rows.clone().narrow(0, 0, count);
        let (inputs, targets) = (first(&self.inputs), first(&self.targets));
        let positions = count * inputs.dims()[1];
        let counted = self.counted.as_ref().map(|counted| Arc::new(counted[..positions].to_vec()));
        Self { inputs, targets, counted }
    }

    /// Returns the targets of all positions, `[B·T]`.
    pub fn flat_targets(&self) -> Tensor<1, Int> {
        self.targets.clone().flatten(0, 1)
    }

    /// Returns the targets `[N]` at N indices into `[B·T]`.
    pub fn targets_at(&self, indices: &[usize]) -> Tensor<1, Int> {
        self.flat_targets().select(0, index_tensor(indices, &self.targets.device()))
    }

    /// Returns the targets of all positions with their weights in a loss.
    pub fn loss_targets(&self) -> LossTargets {
        LossTargets::new(self.flat_targets(), self.counted.as_ref().map(|counted| counted.as_slice()))
    }

    /// Returns the targets at indices into `[B·T]` with their weights in a loss.
    pub fn loss_targets_at(&self, indices: &[usize]) -> LossTargets {
        let counted = self.counted.as_ref().map(|counted| indices.iter().map(|at| counted[*at]).collect::<Vec<_>>());
        LossTargets::new(self.targets_at(indices), counted.as_deref())
    }

    /// Whether the target at an index into `[B·T]` counts in a loss.
    pub fn counts(&self, index: usize) -> bool {
        self.counted.as_ref().is_none_or(|counted| counted[index])
    }
}
