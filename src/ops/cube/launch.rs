//! Owns: the kernels as operations of Burn's backend for GPUs, which its fusion knows by the shapes of their results.
//! Must not know: what they are parts of.
//! Invariant: what fusion is told of a result's shape is what a kernel writes.

use super::lines::{changeable, empty, grid, lines, matrix, units};
use super::{kernels, norms};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, CubeDim};

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
