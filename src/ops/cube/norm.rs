//! Owns: the norm kernels as an operation in the autodiff graph.
//! Must not know: the arithmetic.
//! Invariant: of the forward pass, only the input, the weight and two numbers per row are kept.

use super::launch::GpuKernels;
use crate::ops::graph::{CustomBackward, Gradient, any_operand, gradient, with_custom_backward};
use crate::ops::trace::OpCost;
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// Returns the normalised rows of `x` `[N, D]`, as [`crate::ops::norm`] does, all in f32.
pub fn norm(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64, cost: OpCost) -> Tensor<2> {
    let (input, factor) = (x.clone().inner(), weight.clone().inner());
    let centred = bias.is_some();
    // A kernel without a bias takes any tensor in its place.
    let offset = bias.clone().map_or_else(|| factor.clone(), Tensor::inner);
    let (out, stats) = Dispatch::norm(
        input.clone().into_dispatch(),
        factor.clone().into_dispatch(),
        offset.into_dispatch(),
        eps as f32,
        centred,
    );
    let mut operands = vec![any_operand(x), any_operand(weight)];
    operands.extend(bias.map(any_operand));
    let stats = Tensor::from_dispatch(stats);
    let backward = NormBackward { x: input, weight: factor, stats, centred, cost };
    with_custom_backward(operands, Tensor::from_dispatch(out), backward)
}

/// The backward pass of a norm, with what it needs of the forward pass.
#[derive(Clone, Debug)]
struct NormBackward {
    x: Tensor<2>,
    weight: Tensor<1>,
    /// Each row's mean and one over its standard deviation, `[N, 2]`.
    stats: Tensor<2>,
    centred: bool,
    cost: OpCost,
}

impl CustomBackward for NormBackward {
    fn backward(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient> {
        let _span = self.cost.backward_span();
        let d = self.x.dims()[1];
        let [x, grad, stats] = [self.x, grad, self.stats].map(Tensor::into_dispatch);
        let sums = wanted[1..].contains(&true).then(|| {
            let chunks = Dispatch::norm_weight_grads(x.clone(), grad.clone(), stats.clone());
            Tensor::<3>::from_dispatch(chunks).sum_dim(0).reshape([2, d])
        });
        let column_grad = |at: usize| {
            let wanted = wanted.get(at + 1) == Some(&true);
            sums.clone().filter(|_| wanted).and_then(|sums| gradient(sums.narrow(0, at, 1).reshape([d])))
        };
        let (to_weight, to_bias) = (column_grad(0), column_grad(1));
        let weight = self.weight.into_dispatch();
        let to_x = wanted[0].then(|| Dispatch::norm_backward(x, weight, grad, stats, self.centred));
        vec![to_x, to_weight, to_bias]
    }
}
