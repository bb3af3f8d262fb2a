//! Owns: adding gradients to gradients, in place.
//! Must not know: what the gradients are of.
//! Invariant: a gradient that only one side has is moved, not copied.

use crate::ops::adamw;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Adds the gradients `more` to those in `sum`, in place. Both hold gradients of parameters of `module` only.
pub fn accumulate_gradients<M: Module>(module: &M, sum: &mut GradientsParams, more: GradientsParams) {
    match (sum.is_empty(), more.is_empty()) {
        (_, true) => {}
        (true, false) => *sum = more,
        (false, false) => module.visit(&mut AccumulateVisitor { sum, more }),
    }
}

struct AccumulateVisitor<'a> {
    sum: &'a mut GradientsParams,
    more: GradientsParams,
}

impl ModuleVisitor for AccumulateVisitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(more) = self.more.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => adamw::add(sum, more),
            None => more,
        };
        self.sum.register(param.id, sum);
    }
}
