//! Owns: the way between Burn's tensors and the CPU device's numbers, and an operation's place in the autodiff graph.
//! Must not know: what an operation computes.
//! Invariant: an operation of which nothing is trained leaves no trace in the graph.

use super::trace::Work;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, DispatchDevice, DispatchKindConversion, DispatchTensor, Flex,
    TensorMetadata,
};
use burn::tensor::{Bytes, DType, Device, Float, Shape, Tensor, TensorData};
use std::fmt::Debug;
use std::marker::PhantomData;

/// A tensor's numbers on the CPU device, shared and not to be changed.
pub type Values = FloatTensor<Flex>;
type Tracked = FloatTensor<Autodiff<Flex>>;

/// Whether an operation on `tensor` may be one of our own: it is on the CPU device, in f32.
pub fn ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    on_cpu(&tensor.device()) && tensor.dtype() == DType::F32
}

/// Whether `device`, with or without autodiff, is the CPU.
pub fn on_cpu(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// The numbers of `tensor`, a constant; row-major.
pub fn constant<const D: usize>(tensor: Tensor<D>) -> Values {
    match tensor.device().is_autodiff() {
        true => primitive(tensor.inner()),
        false => primitive(tensor),
    }
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> Values {
    match tensor.try_into_primitive::<Flex>() {
        Ok(values) => row_major(values),
        Err(error) => unreachable!("`ours` was asked: {error:?}"),
    }
}

fn row_major(values: Values) -> Values {
    match values.as_slice::<f32>() {
        Some(_) => values,
        None => values.to_contiguous(),
    }
}

/// A tensor's numbers, row-major.
pub fn slice(values: &Values) -> &[f32] {
    values.as_slice().unwrap_or_default()
}

/// `numbers` as a tensor's, of this shape.
pub fn values(numbers: Vec<f32>, shape: impl Into<Shape>) -> Values {
    let data = TensorData::from_bytes(Bytes::from_elems(numbers), shape.into(), DType::F32);
    Values::from_data(data)
}

/// The same as a tensor without autodiff.
pub fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(values(numbers, shape))
}

/// An operand, with or without a place in the graph.
pub struct Operand {
    tensor: Tracked,
    graph: bool,
}

/// `tensor` as an operand.
pub fn operand<const D: usize>(tensor: Tensor<D>) -> Operand {
    if !tensor.device().is_autodiff() {
        return Operand { tensor: Tracked::new(primitive(tensor)), graph: false };
    }
    match <Tensor<D, Float>>::try_into_primitive::<Autodiff<Flex>>(tensor) {
        Ok(tensor) => Operand { tensor, graph: true },
        Err(error) => unreachable!("`ours` was asked: {error:?}"),
    }
}

/// The gradients of an operation's operands, given its state and its result's gradient. `wanted`: which are asked for.
pub type Back<S> = fn(state: S, grad: Values, wanted: &[bool]) -> Vec<Option<Values>>;

/// An operation on at most eight operands: `forward` computes the result and what `back` needs.
pub fn operation<S, const D: usize>(
    work: Work,
    operands: Vec<Operand>,
    forward: impl FnOnce(Vec<Values>) -> (Values, S),
    back: Back<S>,
) -> Tensor<D>
where
    S: Clone + Debug + Send + 'static,
{
    let _span = work.goes();
    let graph = operands.iter().any(|operand| operand.graph);
    let parts = operands.into_iter().map(|operand| operand.tensor.into_parts());
    let (values, guards): (Vec<_>, Vec<_>) = parts.map(|(values, guard)| (row_major(values), guard)).unzip();
    let (result, state) = forward(values);
    if !graph {
        return Tensor::from_primitive::<Flex>(result);
    }
    let own = Own { back, work };
    // Burn's graph wants their number as a type.
    let result = match guards.len() {
        1 => register::<S, 1>(guards, state, result, own),
        2 => register::<S, 2>(guards, state, result, own),
        3 => register::<S, 3>(guards, state, result, own),
        4 => register::<S, 4>(guards, state, result, own),
        5 => register::<S, 5>(guards, state, result, own),
        6 => register::<S, 6>(guards, state, result, own),
        7 => register::<S, 7>(guards, state, result, own),
        _ => register::<S, 8>(guards, state, result, own),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(result)
}

fn register<S, const N: usize>(guards: Vec<NodeGuard>, state: S, result: Values, own: Own<S>) -> Tracked
where
    S: Clone + Debug + Send + 'static,
{
    let Ok(guards) = <[NodeGuard; N]>::try_from(guards) else { unreachable!("at most eight operands") };
    match own.prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, result),
        OpsKind::UnTracked(prepared) => prepared.finish(result),
    }
}

/// An operation's step back.
struct Own<S> {
    back: Back<S>,
    work: Work,
}

impl<S> Debug for Own<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

impl<S: Clone + Debug + Send + 'static, const N: usize> Backward<Flex, N> for Own<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = self.work.returns();
        let grad = row_major(grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.iter().zip((self.back)(ops.state, grad, &wanted)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

/// `values`, to be changed: in place where nobody else has them, and nothing else lies beside them.
pub fn whole(values: Values) -> Values {
    match values.bytes().len() == size_of_val(slice(&values)) {
        true => values,
        false => self::values(slice(&values).to_vec(), values.shape()),
    }
}

/// An operand on any device, of any rank, with or without a place in the graph.
pub struct Place {
    tensor: DispatchTensor,
    graph: bool,
}

/// `tensor` as an operand.
pub fn place<const D: usize>(tensor: Tensor<D>) -> Place {
    Place { graph: tensor.is_autodiff(), tensor: tensor.autodiff().into_dispatch() }
}

/// An operand's gradient, of the operand's rank; none where it is not asked for.
pub type Gradient = Option<DispatchTensor>;

/// `tensor` as a gradient.
pub fn gradient<const D: usize>(tensor: Tensor<D>) -> Gradient {
    Some(tensor.into_dispatch())
}

/// What has a way back of tensors, on any device.
pub trait Recompute: Clone + Debug + Send + 'static {
    /// The gradients of the operands, given that of the result; all without autodiff. `wanted`: which are asked for.
    fn back(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient>;
}

/// `out`, which was made of at most three `operands` without autodiff, with a place in the graph.
pub fn recompute<R: Recompute>(operands: Vec<Place>, out: Tensor<2>, again: R) -> Tensor<2> {
    if !operands.iter().any(|operand| operand.graph) {
        return out;
    }
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if !on_cpu(&out.device()) {
        return recomputed::<burn::backend::Cube, R>(operands, out, again);
    }
    recomputed::<Flex, R>(operands, out, again)
}

fn recomputed<B, R: Recompute>(operands: Vec<Place>, out: Tensor<2>, again: R) -> Tensor<2>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let guards: Vec<_> =
        operands.into_iter().map(|operand| float::<Autodiff<B>>(operand.tensor).into_parts().1).collect();
    let out = float::<B>(out.into_dispatch());
    let result = match guards.len() {
        1 => registered::<B, R, 1>(guards, out, again),
        2 => registered::<B, R, 2>(guards, out, again),
        _ => registered::<B, R, 3>(guards, out, again),
    };
    Tensor::from_primitive::<Autodiff<B>>(result)
}

fn float<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor) {
        Ok(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("operands and gradients are numbers on the device that was asked for"),
    }
}

fn registered<B, R: Recompute, const N: usize>(
    guards: Vec<NodeGuard>,
    out: FloatTensor<B>,
    again: R,
) -> FloatTensor<Autodiff<B>>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    let Ok(guards) = <[NodeGuard; N]>::try_from(guards) else { unreachable!("at most three operands") };
    match (Rerun(PhantomData::<R>)).prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(again, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}

/// The step back of what is computed once more.
#[derive(Debug)]
struct Rerun<R>(PhantomData<R>);

impl<B, R: Recompute, const N: usize> Backward<B, N> for Rerun<R>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = R;

    fn backward(self, ops: Ops<R, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, found) in ops.parents.iter().zip(ops.state.back(grad, &wanted)) {
            if let (Some(parent), Some(found)) = (parent, found) {
                grads.register::<B>(parent.id, float::<B>(found));
            }
        }
    }
}
