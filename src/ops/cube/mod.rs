//! Owns: GPU kernels for row-wise work that Burn's operations do in several passes.
//! Must not know: the fused implementations on the CPU.
//! Invariant: a kernel computes what Burn's operations compute; tests compare them.

mod dropout_kernel;
mod kernels;
mod launch;
mod layout;
mod norm;
mod norm_kernels;
#[cfg(all(test, feature = "wgpu"))]
mod tests;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Int, Tensor};
pub use launch::DropoutMask;
use launch::{GpuKernels, MaskShape};
pub use norm::norm;

/// Returns whether there are kernels for the device and number type of `tensor`.
pub fn has_kernels_for<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device().without_autodiff();
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
        && matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

/// Returns nll and entropy of the rows of `logits` `[n, V]`, `[2, n]`.
///
/// If loss weights `w` `[n]` are given, also returns the logits' gradients `w·(softmax - onehot(target))`,
/// `[n, V]`, in the number type of the logits.
pub fn nll_entropy(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<Tensor<1>>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
    match weights {
        None => (Tensor::from_dispatch(Dispatch::nll_entropy(logits, targets)), None),
        Some(weights) => {
            let weights = weights.into_dispatch();
            let (scores, grads) = Dispatch::nll_entropy_with_grads(logits, targets, weights);
            (Tensor::from_dispatch(scores), Some(Tensor::from_dispatch(grads)))
        }
    }
}

/// Returns `x` `[rows, columns]` with numbers dropped.
pub fn dropout(x: Tensor<2>, mask: DropoutMask) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::dropout(x.into_dispatch(), mask))
}

/// An attention mask on the device, as kernels take it.
#[derive(Clone, Debug)]
pub struct KernelMask {
    /// `[B, S+C]`: the prefix length that each of the S attends to, then 1 for each hidden one of the C.
    pub table: Tensor<2, Int>,
    pub query_positions: usize,
    pub prefix_positions: usize,
    /// Whether a query position attends to preceding query positions too.
    pub joint: bool,
}

impl KernelMask {
    pub fn rows(&self, start: usize, count: usize) -> Self {
        Self { table: self.table.clone().narrow(0, start, count), ..self.clone() }
    }

    fn shape(&self) -> MaskShape {
        MaskShape { query_positions: self.query_positions, prefix_positions: self.prefix_positions, joint: self.joint }
    }
}

/// A matrix for the keys of the query positions and, if there are any, one for those of the prefix.
type KeyPair = (Tensor<4>, Option<Tensor<4>>);

/// Turns scores `[b, G, H/G·S, S or C]` into probabilities: `softmax(scale·scores)` over both parts.
pub fn attention_probs((current, prefix): KeyPair, mask: &KernelMask, scale: f32) -> KeyPair {
    let (current, table, shape) = (current.into_dispatch(), mask.table.clone().into_dispatch(), mask.shape());
    match prefix {
        None => {
            let probs = Dispatch::attention_probs(current, table, shape, scale);
            (Tensor::from_dispatch(probs), None)
        }
        Some(prefix) => {
            let prefix = prefix.into_dispatch();
            key_pair(Dispatch::attention_probs_with_prefix(current, prefix, table, shape, scale))
        }
    }
}

/// Turns gradients `dp` of probabilities into those of scores, `p·(dp - Σ p·dp)·scale`, over both parts.
pub fn score_grads((current, prefix): KeyPair, (current_probs, prefix_probs): KeyPair, scale: f32) -> KeyPair {
    let (current, probs) = (current.into_dispatch(), current_probs.into_dispatch());
    match prefix.zip(prefix_probs) {
        None => (Tensor::from_dispatch(Dispatch::score_grads(current, probs, scale)), None),
        Some((prefix, prefix_probs)) => {
            let (prefix, prefix_probs) = (prefix.into_dispatch(), prefix_probs.into_dispatch());
            key_pair(Dispatch::score_grads_with_prefix(current, prefix, probs, prefix_probs, scale))
        }
    }
}

fn key_pair((current, prefix): (burn::backend::DispatchTensor, burn::backend::DispatchTensor)) -> KeyPair {
    (Tensor::from_dispatch(current), Some(Tensor::from_dispatch(prefix)))
}
