//! Owns: conversion between Burn's tensors and CPU numbers, and custom operations in the autodiff graph.
//! Must not know: what an operation computes.
//! Invariant: an operation without tracked operands adds nothing to the graph.

use super::trace::OpCost;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, DispatchDevice, DispatchKindConversion, DispatchTensor, Flex, TensorMetadata,
};
use burn::tensor::{Bytes, DType, Device, Float, Shape, Tensor, TensorData};
use std::fmt::Debug;
use std::marker::PhantomData;

/// A tensor on the CPU device, without autodiff. Its numbers may be shared, until [`make_unique`].
pub type CpuTensor = FloatTensor<Flex>;
type TrackedCpuTensor = FloatTensor<Autodiff<Flex>>;

/// Returns whether fused operations take `tensor`: it is on the CPU device, in f32.
pub fn is_native_cpu<const D: usize>(tensor: &Tensor<D>) -> bool {
    on_cpu(&tensor.device()) && tensor.dtype() == DType::F32
}

pub fn on_cpu(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Returns `tensor` without autodiff, row-major. It must be one that [`is_native_cpu`] accepts.
pub fn detach<const D: usize>(tensor: Tensor<D>) -> CpuTensor {
    match tensor.device().is_autodiff() {
        true => into_cpu_tensor(tensor.inner()),
        false => into_cpu_tensor(tensor),
    }
}

fn into_cpu_tensor<const D: usize>(tensor: Tensor<D>) -> CpuTensor {
    match tensor.try_into_primitive::<Flex>() {
        Ok(values) => row_major(values),
        Err(error) => unreachable!("callers check `is_native_cpu`: {error:?}"),
    }
}

fn row_major(values: CpuTensor) -> CpuTensor {
    match values.as_slice::<f32>() {
        Some(_) => values,
        None => values.to_contiguous(),
    }
}

pub fn slice(values: &CpuTensor) -> &[f32] {
    values.as_slice().unwrap_or_default()
}

pub fn cpu_tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> CpuTensor {
    let data = TensorData::from_bytes(Bytes::from_elems(numbers), shape.into(), DType::F32);
    CpuTensor::from_data(data)
}

/// Creates a Burn tensor on the CPU, without autodiff, from row-major `numbers`.
pub fn tensor_from_vec<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(cpu_tensor(numbers, shape))
}

/// An operand on the CPU device.
pub struct Operand {
    tensor: TrackedCpuTensor,
    /// Whether it has a place in the graph.
    tracked: bool,
}

/// Converts a tensor that [`is_native_cpu`] accepts into an operand.
pub fn operand<const D: usize>(tensor: Tensor<D>) -> Operand {
    if !tensor.device().is_autodiff() {
        return Operand { tensor: TrackedCpuTensor::new(into_cpu_tensor(tensor)), tracked: false };
    }
    match <Tensor<D, Float>>::try_into_primitive::<Autodiff<Flex>>(tensor) {
        Ok(tensor) => Operand { tensor, tracked: true },
        Err(error) => unreachable!("callers check `is_native_cpu`: {error:?}"),
    }
}

/// Computes the gradients of the operands from the saved state; `wanted` tells which of them are used.
pub type CpuBackwardFn<S> = fn(state: S, grad: CpuTensor, wanted: &[bool]) -> Vec<Option<CpuTensor>>;

/// Runs a CPU operation on at most eight operands. `forward` also returns the state for `backward`.
pub fn cpu_op<S, const D: usize>(
    cost: OpCost,
    operands: Vec<Operand>,
    forward: impl FnOnce(Vec<CpuTensor>) -> (CpuTensor, S),
    backward: CpuBackwardFn<S>,
) -> Tensor<D>
where
    S: Clone + Debug + Send + 'static,
{
    let _span = cost.forward_span();
    let tracked = operands.iter().any(|operand| operand.tracked);
    let parts = operands.into_iter().map(|operand| operand.tensor.into_parts());
    let (values, guards): (Vec<_>, Vec<_>) = parts.map(|(values, guard)| (row_major(values), guard)).unzip();
    let (result, state) = forward(values);
    if !tracked {
        return Tensor::from_primitive::<Flex>(result);
    }
    let op = CpuOpBackward { backward, cost };
    // Burn's graph takes the number of operands as a const generic.
    let result = match guards.len() {
        1 => register_cpu_op::<S, 1>(guards, state, result, op),
        2 => register_cpu_op::<S, 2>(guards, state, result, op),
        3 => register_cpu_op::<S, 3>(guards, state, result, op),
        4 => register_cpu_op::<S, 4>(guards, state, result, op),
        5 => register_cpu_op::<S, 5>(guards, state, result, op),
        6 => register_cpu_op::<S, 6>(guards, state, result, op),
        7 => register_cpu_op::<S, 7>(guards, state, result, op),
        _ => register_cpu_op::<S, 8>(guards, state, result, op),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(result)
}

fn register_cpu_op<S, const N: usize>(
    guards: Vec<NodeGuard>,
    state: S,
    result: CpuTensor,
    op: CpuOpBackward<S>,
) -> TrackedCpuTensor
where
    S: Clone + Debug + Send + 'static,
{
    let Ok(guards) = <[NodeGuard; N]>::try_from(guards) else { unreachable!("at most eight operands") };
    match op.prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, result),
        OpsKind::UnTracked(prepared) => prepared.finish(result),
    }
}

struct CpuOpBackward<S> {
    backward: CpuBackwardFn<S>,
    cost: OpCost,
}

impl<S> Debug for CpuOpBackward<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CpuOpBackward")
    }
}

impl<S: Clone + Debug + Send + 'static, const N: usize> Backward<Flex, N> for CpuOpBackward<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let _span = self.cost.backward_span();
        let grad = row_major(grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.iter().zip((self.backward)(ops.state, grad, &wanted)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(parent.id, grad);
            }
        }
    }
}

/// Returns `values` for writing, copied only if they are shared or the allocation holds more than the tensor.
pub fn make_unique(values: CpuTensor) -> CpuTensor {
    match values.bytes().len() == size_of_val(slice(&values)) {
        true => values,
        false => self::cpu_tensor(slice(&values).to_vec(), values.shape()),
    }
}

pub struct AnyOperand {
    tensor: DispatchTensor,
    /// Whether it has a place in the graph.
    tracked: bool,
}

pub fn any_operand<const D: usize>(tensor: Tensor<D>) -> AnyOperand {
    AnyOperand { tracked: tensor.is_autodiff(), tensor: tensor.autodiff().into_dispatch() }
}

/// An operand's gradient, of the operand's shape; `None` if it is not used.
pub type Gradient = Option<DispatchTensor>;

/// Converts a tensor without autodiff into a gradient.
pub fn gradient<const D: usize>(tensor: Tensor<D>) -> Gradient {
    Some(tensor.into_dispatch())
}

/// A hand-written backward pass in terms of tensors, for any device. The value holds what was saved for it.
pub trait CustomBackward: Clone + Debug + Send + 'static {
    /// Returns the gradients of the operands, without autodiff; `wanted` tells which of them are used.
    fn backward(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient>;
}

/// Gives `out`, computed without autodiff from at most three `operands`, a place in the graph.
pub fn with_custom_backward<R: CustomBackward>(operands: Vec<AnyOperand>, out: Tensor<2>, op: R) -> Tensor<2> {
    if !operands.iter().any(|operand| operand.tracked) {
        return out;
    }
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if !on_cpu(&out.device()) {
        return with_custom_backward_on::<burn::backend::Cube, R>(operands, out, op);
    }
    with_custom_backward_on::<Flex, R>(operands, out, op)
}

fn with_custom_backward_on<B, R: CustomBackward>(operands: Vec<AnyOperand>, out: Tensor<2>, op: R) -> Tensor<2>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let guards: Vec<_> =
        operands.into_iter().map(|operand| into_float_tensor::<Autodiff<B>>(operand.tensor).into_parts().1).collect();
    let out = into_float_tensor::<B>(out.into_dispatch());
    let result = match guards.len() {
        1 => register_custom_backward::<B, R, 1>(guards, out, op),
        2 => register_custom_backward::<B, R, 2>(guards, out, op),
        _ => register_custom_backward::<B, R, 3>(guards, out, op),
    };
    Tensor::from_primitive::<Autodiff<B>>(result)
}

fn into_float_tensor<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor) {
        Ok(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("operands and gradients are float tensors on the result's device"),
    }
}

fn register_custom_backward<B, R: CustomBackward, const N: usize>(
    guards: Vec<NodeGuard>,
    out: FloatTensor<B>,
    op: R,
) -> FloatTensor<Autodiff<B>>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    let Ok(guards) = <[NodeGuard; N]>::try_from(guards) else { unreachable!("at most three operands") };
    match (CustomBackwardStep(PhantomData::<R>)).prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(op, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}

/// The backward step of an operation with a [`CustomBackward`].
#[derive(Debug)]
struct CustomBackwardStep<R>(PhantomData<R>);

impl<B, R: CustomBackward, const N: usize> Backward<B, N> for CustomBackwardStep<R>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = R;

    fn backward(self, ops: Ops<R, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.iter().zip(ops.state.backward(grad, &wanted)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, into_float_tensor::<B>(grad));
            }
        }
    }
}
