//! Owns: the kernels as operations of Burn's backend for GPUs, which its fusion knows by the shapes of their results.
//! Must not know: what they are parts of.
//! Invariant: a matrix is changed in place only where nobody else has it.

use super::{kernels, norms};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{into_contiguous, untile};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, CubeDim, TensorArg};
use cubecl::zspace::{Strides, metadata::Metadata};

/// Most cubes along one axis of a grid.
const AXIS: usize = 1 << 15;
/// Units of a cube that sums columns, and rows that it sums.
const TILE: usize = 64;

/// Who sees whom, but for the numbers: S positions, C before them, all earlier ones of the own or themselves alone.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub positions: usize,
    pub earlier: usize,
    pub joint: bool,
}

#[backend_extension(Cube, Fusion)]
pub trait Kernels: Backend {
    /// nll and entropy of the rows of `logits` `[n, V]`, `[2, n]`.
    #[fusion(dtype = DType::F32, shape = Shape::new([2, logits[0]]))]
    fn said(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;

    /// The same, and `weights·(softmax - onehot(targets))`, `[n, V]`.
    #[fusion(meta = |logits, _, _| (said_spec(logits), logits.clone()))]
    fn said_with_slopes(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Shares of scores `[b, G, H/G·S, S]`. `reach`: `[b, S+C]`.
    #[fusion(dtype = own, shape = own)]
    fn shares(own: FloatTensor<Self>, reach: IntTensor<Self>, form: Form, scale: f32) -> FloatTensor<Self>;

    /// The same with scores `[b, G, H/G·S, C]` beside them.
    #[fusion(meta = |own, before, _, _, _| (own.clone(), before.clone()))]
    fn shares_beside(
        own: FloatTensor<Self>,
        before: FloatTensor<Self>,
        reach: IntTensor<Self>,
        form: Form,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of scores, of those of their shares.
    #[fusion(dtype = own, shape = own)]
    fn slopes(own: FloatTensor<Self>, shares: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// The same with others beside them.
    #[fusion(meta = |own, before, _, _, _| (own.clone(), before.clone()))]
    fn slopes_beside(
        own: FloatTensor<Self>,
        before: FloatTensor<Self>,
        own_shares: FloatTensor<Self>,
        before_shares: FloatTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Normed rows `[N, D]`, and their mean and scale `[N, 2]`; not `centred`, `bias` is not looked at.
    #[fusion(meta = |x, _, _, _, _| (x.clone(), kept_spec(x)))]
    fn norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        centred: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of `x`.
    #[fusion(dtype = x, shape = x)]
    fn norm_back(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kept: FloatTensor<Self>,
        centred: bool,
    ) -> FloatTensor<Self>;

    /// Sums over parts of the rows that `weight` and `bias` learn from, `[parts, 2, D]`.
    #[fusion(dtype = x, shape = parts_shape(x))]
    fn norm_columns(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kept: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

fn said_spec(logits: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([2, logits.shape[0]]), DType::F32)
}

fn kept_spec(x: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], 2]), DType::F32)
}

fn parts_shape(x: &Shape) -> Shape {
    Shape::new([x[0].div_ceil(TILE), 2, x[1]])
}

impl Kernels for CubeBackend {
    fn said(logits: CubeTensor, targets: CubeTensor) -> CubeTensor {
        let weights = empty(&logits, [1], DType::F32);
        said(lines(logits), targets, weights, false).0
    }

    fn said_with_slopes(
        logits: CubeTensor,
        targets: CubeTensor,
        weights: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        said(changeable(logits), targets, weights, true)
    }

    fn shares(own: CubeTensor, reach: CubeTensor, form: Form, scale: f32) -> CubeTensor {
        let before = empty(&own, [1; 4], own.dtype);
        shares(own, before, reach, form, scale).0
    }

    fn shares_beside(
        own: CubeTensor,
        before: CubeTensor,
        reach: CubeTensor,
        form: Form,
        scale: f32,
    ) -> (CubeTensor, CubeTensor) {
        shares(own, before, reach, form, scale)
    }

    fn slopes(own: CubeTensor, shares: CubeTensor, scale: f32) -> CubeTensor {
        let nothing = || empty(&own, [1; 4], own.dtype);
        let (before, beside) = (nothing(), nothing());
        slopes([own, before], [shares, beside], false, scale).0
    }

    fn slopes_beside(
        own: CubeTensor,
        before: CubeTensor,
        own_shares: CubeTensor,
        before_shares: CubeTensor,
        scale: f32,
    ) -> (CubeTensor, CubeTensor) {
        slopes([own, before], [own_shares, before_shares], true, scale)
    }

    fn norm(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        eps: f32,
        centred: bool,
    ) -> (CubeTensor, CubeTensor) {
        let [n, d] = x.shape().dims();
        let (x, units) = (lines(x), units(d));
        let (out, kept) = (empty(&x, [n, d], DType::F32), empty(&x, [n, 2], DType::F32));
        norms::forward::launch(
            &x.client,
            grid(n),
            CubeDim::new_1d(units as u32),
            matrix(&x),
            into_contiguous(weight).into_tensor_arg(),
            into_contiguous(bias).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            kept.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            eps,
            centred,
            units,
        );
        (out, kept)
    }

    fn norm_back(
        x: CubeTensor,
        weight: CubeTensor,
        grad: CubeTensor,
        kept: CubeTensor,
        centred: bool,
    ) -> CubeTensor {
        let [n, d] = x.shape().dims();
        let (x, units) = (lines(x), units(d));
        let out = empty(&x, [n, d], DType::F32);
        norms::backward::launch(
            &x.client,
            grid(n),
            CubeDim::new_1d(units as u32),
            matrix(&x),
            into_contiguous(weight).into_tensor_arg(),
            matrix(&lines(grad)),
            into_contiguous(kept).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            centred,
            units,
        );
        out
    }

    fn norm_columns(x: CubeTensor, grad: CubeTensor, kept: CubeTensor) -> CubeTensor {
        let [n, d] = x.shape().dims();
        let (x, parts) = (lines(x), n.div_ceil(TILE));
        let out = empty(&x, [parts, 2, d], DType::F32);
        norms::columns::launch(
            &x.client,
            CubeCount::Static(d.div_ceil(TILE) as u32, parts as u32, 1),
            CubeDim::new_1d(TILE as u32),
            matrix(&x),
            matrix(&lines(grad)),
            into_contiguous(kept).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            TILE as u32,
        );
        out
    }
}

fn said(
    logits: CubeTensor,
    targets: CubeTensor,
    weights: CubeTensor,
    slopes: bool,
) -> (CubeTensor, CubeTensor) {
    let [n, v] = logits.shape().dims();
    let (out, units) = (empty(&logits, [2, n], DType::F32), units(v));
    let dtypes = [logits.dtype, targets.dtype].map(dtype_to_storage_type);
    kernels::said::launch(
        &logits.client,
        grid(n),
        CubeDim::new_1d(units as u32),
        matrix(&logits),
        into_contiguous(targets).into_tensor_arg(),
        into_contiguous(weights).into_tensor_arg(),
        out.clone().into_tensor_arg(),
        n as u32,
        v as u32,
        slopes,
        units,
        dtypes,
    );
    (out, logits)
}

fn shares(
    own: CubeTensor,
    before: CubeTensor,
    reach: CubeTensor,
    form: Form,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let [b, g, below, s] = own.shape().dims();
    let (own, before, units) = (changeable(own), changeable(before), units(s + form.earlier));
    let dtypes = [own.dtype, reach.dtype].map(dtype_to_storage_type);
    kernels::shares::launch(
        &own.client,
        grid(b * g * below),
        CubeDim::new_1d(units as u32),
        matrix(&own),
        matrix(&before),
        into_contiguous(reach).into_tensor_arg(),
        (b * g * below) as u32,
        (g * below) as u32,
        form.positions as u32,
        form.earlier as u32,
        scale,
        form.joint,
        form.earlier > 0,
        units,
        dtypes,
    );
    (own, before)
}

fn slopes(
    [own, before]: [CubeTensor; 2],
    [own_shares, before_shares]: [CubeTensor; 2],
    beside: bool,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let ([b, g, below, s], [_, _, _, c]) = (own.shape().dims(), before.shape().dims());
    let (own, before, units) = (changeable(own), changeable(before), units(s + c));
    let dtype = dtype_to_storage_type(own.dtype);
    kernels::slopes::launch(
        &own.client,
        grid(b * g * below),
        CubeDim::new_1d(units as u32),
        matrix(&own),
        matrix(&before),
        matrix(&lines(own_shares)),
        matrix(&lines(before_shares)),
        (b * g * below) as u32,
        s as u32,
        c as u32,
        scale,
        beside,
        units,
        dtype,
    );
    (own, before)
}

fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::new(shape), dtype)
}

/// Units of a cube for rows of this width: some numbers each, few who have none.
fn units(width: usize) -> usize {
    (width / 4).next_power_of_two().clamp(32, 256)
}

/// A cube a row, and some more where one axis is not enough.
fn grid(rows: usize) -> CubeCount {
    let across = rows.clamp(1, AXIS);
    CubeCount::Static(across as u32, rows.div_ceil(across) as u32, 1)
}

/// With all rows the same stride apart: a device may leave room between them.
fn lines(x: CubeTensor) -> CubeTensor {
    let x = untile(x);
    if pitch(&x).is_some() { x } else { into_contiguous(x) }
}

/// From one row to the next, whatever axes count them; none where the rows do not lie evenly.
fn pitch(x: &CubeTensor) -> Option<usize> {
    let (shape, strides) = (x.meta.shape(), x.meta.strides());
    let last = shape.num_dims() - 1;
    let mut axes = (0..last).rev().filter(|axis| shape[*axis] > 1);
    let first = axes.next();
    let pitch = first.map_or(shape[last], |axis| strides[axis]);
    let mut next = first.map_or(0, |axis| pitch * shape[axis]);
    for axis in axes {
        if strides[axis] != next {
            return None;
        }
        next *= shape[axis];
    }
    (pitch >= shape[last] && (strides[last] == 1 || shape[last] == 1)).then_some(pitch)
}

/// The rows of `x`, which [`lines`] has made even, as a matrix.
fn matrix(x: &CubeTensor) -> TensorArg {
    let columns = x.meta.shape()[x.meta.shape().num_dims() - 1];
    let rows = x.shape().num_elements() / columns.max(1);
    let strides = Strides::new(&[pitch(x).unwrap_or(columns), 1]);
    let flat = Metadata::new(Shape::new([rows, columns]), strides);
    CubeTensor::new(x.client.clone(), x.handle.clone(), flat, x.device.clone(), x.dtype).into_tensor_arg()
}

/// The same where nobody else has it, else a copy.
fn changeable(x: CubeTensor) -> CubeTensor {
    let x = lines(x);
    if x.can_mut() { x } else { lines(x.copy()) }
}
