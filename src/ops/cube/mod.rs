//! Owns: what operations do on a GPU by kernels of our own: the work row by row, which Burn's operations make several passes of;
//! products are the library's.
//! Must not know: what the CPU does.
//! Invariant: they compute what Burn's own operations compute, which their tests hold them to.

mod kernels;
mod launch;
mod lines;
mod norm;
mod norms;
#[cfg(all(test, feature = "wgpu"))]
mod tests;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Int, Tensor};
use launch::{Form, Kernels};
pub use norm::norm;

/// Whether kernels of our own take `tensor`.
pub fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    let device = tensor.device().without_autodiff();
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
        && matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

/// nll and entropy of the rows of `logits` `[n, V]`, `[2, n]`, and where `weights` `[n]` are given `w·(softmax - onehot(target))`,
/// `[n, V]`, of what the logits are of.
pub fn said(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<Tensor<1>>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
    match weights {
        None => (Tensor::from_dispatch(Dispatch::said(logits, targets)), None),
        Some(weights) => {
            let (said, slopes) = Dispatch::said_with_slopes(logits, targets, weights.into_dispatch());
            (Tensor::from_dispatch(said), Some(Tensor::from_dispatch(slopes)))
        }
    }
}

/// Who sees whom, on the device.
#[derive(Clone, Debug)]
pub struct Reach {
    /// `[B, S+C]`: how many of the C before them each of the S sees, then 1 for each of the C that nobody sees.
    pub numbers: Tensor<2, Int>,
    /// S.
    pub positions: usize,
    /// C.
    pub earlier: usize,
    /// The earlier ones of their own too.
    pub joint: bool,
}

impl Reach {
    /// Of `count` rows from row `start` on.
    pub fn of(&self, start: usize, count: usize) -> Self {
        Self { numbers: self.numbers.clone().narrow(0, start, count), ..self.clone() }
    }

    fn form(&self) -> Form {
        Form { positions: self.positions, earlier: self.earlier, joint: self.joint }
    }
}

/// A matrix of the positions' own, and one of those before them.
type Pair = (Tensor<4>, Option<Tensor<4>>);

/// Scores `[b, G, H/G·S, S]` and `[b, G, H/G·S, C]` to shares, `softmax(scale·scores)` of what is seen, both together.
pub fn shares((own, before): Pair, reach: &Reach, scale: f32) -> Pair {
    let (own, numbers, form) = (own.into_dispatch(), reach.numbers.clone().into_dispatch(), reach.form());
    match before {
        None => (Tensor::from_dispatch(Dispatch::shares(own, numbers, form, scale)), None),
        Some(before) => pair(Dispatch::shares_beside(own, before.into_dispatch(), numbers, form, scale)),
    }
}

/// Gradients of shares `p` to those of scores, `p·(dp - Σ p·dp)·scale`, the sum over both.
pub fn slopes((own, before): Pair, (own_shares, before_shares): Pair, scale: f32) -> Pair {
    let (own, shares) = (own.into_dispatch(), own_shares.into_dispatch());
    match before.zip(before_shares) {
        None => (Tensor::from_dispatch(Dispatch::slopes(own, shares, scale)), None),
        Some((before, beside)) => {
            let (before, beside) = (before.into_dispatch(), beside.into_dispatch());
            pair(Dispatch::slopes_beside(own, before, shares, beside, scale))
        }
    }
}

fn pair((own, before): (burn::backend::DispatchTensor, burn::backend::DispatchTensor)) -> Pair {
    (Tensor::from_dispatch(own), Some(Tensor::from_dispatch(before)))
}
