//! Owns: a norm's place in the graph on a GPU.
//! Must not know: the arithmetic.
//! Invariant: of the way forward, the input, and two numbers a row are kept.

use super::launch::Kernels;
use crate::ops::graph::{Gradient, Recompute, gradient, place, recompute};
use crate::ops::trace::Work;
use burn::backend::Dispatch;
use burn::tensor::Tensor;

/// The norm of the rows of `x` `[N, D]`, as [`crate::ops::norm`] has it, all in f32.
pub fn norm(x: Tensor<2>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64, work: Work) -> Tensor<2> {
    let (input, factor) = (x.clone().inner(), weight.clone().inner());
    let centred = bias.is_some();
    let offset = bias.clone().map_or_else(|| factor.clone(), Tensor::inner);
    let (out, kept) = Dispatch::norm(
        input.clone().into_dispatch(),
        factor.clone().into_dispatch(),
        offset.into_dispatch(),
        eps as f32,
        centred,
    );
    let mut operands = vec![place(x), place(weight)];
    operands.extend(bias.map(place));
    let again = Again { x: input, weight: factor, kept: Tensor::from_dispatch(kept), centred, work };
    recompute(operands, Tensor::from_dispatch(out), again)
}

/// What the way back needs.
#[derive(Clone, Debug)]
struct Again {
    x: Tensor<2>,
    weight: Tensor<1>,
    /// Of each row its mean and one over its standard deviation, `[N, 2]`.
    kept: Tensor<2>,
    centred: bool,
    work: Work,
}

impl Recompute for Again {
    fn back(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient> {
        let _span = self.work.returns();
        let d = self.x.dims()[1];
        let [x, grad, kept] = [self.x, grad, self.kept].map(Tensor::into_dispatch);
        let columns = wanted[1..].contains(&true).then(|| {
            let parts = Dispatch::norm_columns(x.clone(), grad.clone(), kept.clone());
            Tensor::<3>::from_dispatch(parts).sum_dim(0).reshape([2, d])
        });
        let column = |at: usize| {
            let wanted = wanted.get(at + 1) == Some(&true);
            columns.clone().filter(|_| wanted).and_then(|sums| gradient(sums.narrow(0, at, 1).reshape([d])))
        };
        let (to_weight, to_bias) = (column(0), column(1));
        let weight = self.weight.into_dispatch();
        let to_x = wanted[0].then(|| Dispatch::norm_back(x, weight, grad, kept, self.centred));
        vec![to_x, to_weight, to_bias]
    }
}
