//! Owns: the kernels as operations of Burn's GPU backend, with the result shapes that its fusion needs.
//! Must not know: the operations that use them.
//! Invariant: a result's shape as declared for fusion is the shape that the kernel writes.

use super::layout::{empty_like, even_rows, make_unique, matrix_arg, row_grid, row_units};
use super::{dropout_kernel, kernels, norm_kernels};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, CubeDim};

/// Units of a cube that sums columns, and rows that each of them sums.
const TILE: usize = 64;
/// Units of a cube that treats each number alone.
const UNITS: usize = 256;

/// A [`KernelMask`](super::KernelMask) without its table.
#[derive(Clone, Copy, Debug)]
pub struct MaskShape {
    pub query_positions: usize,
    pub prefix_positions: usize,
    pub joint: bool,
}

/// A mask of [`crate::ops::Dropout`], as its kernel takes it.
#[derive(Clone, Copy, Debug)]
pub struct DropoutMask {
    pub keys: [u32; 2],
    pub dropped: u32,
    pub scale: f32,
    pub first_row: u32,
}

#[backend_extension(Cube, Fusion)]
pub trait GpuKernels: Backend {
    /// Returns nll and entropy of the rows of `logits` `[n, V]`, `[2, n]`.
    #[fusion(dtype = DType::F32, shape = Shape::new([2, logits[0]]))]
    fn nll_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;

    /// Returns nll and entropy `[2, n]`, and `weights·(softmax - onehot(targets))` `[n, V]`.
    #[fusion(meta = |logits, _, _| (nll_entropy_spec(logits), logits.clone()))]
    fn nll_entropy_with_grads(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the probabilities of scores `[b, G, H/G·S, S]`; the table of `mask` is `[b, S+C]`.
    #[fusion(dtype = current, shape = current)]
    fn attention_probs(
        current: FloatTensor<Self>,
        mask: IntTensor<Self>,
        mask_shape: MaskShape,
        scale: f32,
    ) -> FloatTensor<Self>;

    /// Returns the probabilities of scores `[b, G, H/G·S, S]` and `[b, G, H/G·S, C]`, over both.
    #[fusion(meta = |current, prefix, _, _, _| (current.clone(), prefix.clone()))]
    fn attention_probs_with_prefix(
        current: FloatTensor<Self>,
        prefix: FloatTensor<Self>,
        mask: IntTensor<Self>,
        mask_shape: MaskShape,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the gradients of scores, given those of their probabilities `probs`.
    #[fusion(dtype = current, shape = current)]
    fn score_grads(current: FloatTensor<Self>, probs: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// Returns the gradients of the scores of query positions and prefix, given those of their probabilities.
    #[fusion(meta = |current, prefix, _, _, _| (current.clone(), prefix.clone()))]
    fn score_grads_with_prefix(
        current: FloatTensor<Self>,
        prefix: FloatTensor<Self>,
        current_probs: FloatTensor<Self>,
        prefix_probs: FloatTensor<Self>,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns normalised rows `[N, D]`, and mean and scale `[N, 2]`; `bias` is ignored if not `centred`.
    #[fusion(meta = |x, _, _, _, _| (x.clone(), stats_spec(x)))]
    fn norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        centred: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Returns the gradient of `x` `[N, D]`, given that of the normalised rows.
    #[fusion(dtype = x, shape = x)]
    fn norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        centred: bool,
    ) -> FloatTensor<Self>;

    /// Returns the gradients of `weight` and `bias`, summed over each chunk of rows, `[chunks, 2, D]`.
    #[fusion(dtype = x, shape = chunks_shape(x))]
    fn norm_weight_grads(x: FloatTensor<Self>, grad: FloatTensor<Self>, stats: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Returns `x` `[rows, columns]` with numbers dropped.
    #[fusion(dtype = x, shape = x)]
    fn dropout(x: FloatTensor<Self>, mask: DropoutMask) -> FloatTensor<Self>;
}

fn nll_entropy_spec(logits: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([2, logits.shape[0]]), DType::F32)
}

fn stats_spec(x: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::new([x.shape[0], 2]), DType::F32)
}

fn chunks_shape(x: &Shape) -> Shape {
    Shape::new([x[0].div_ceil(TILE), 2, x[1]])
}

impl GpuKernels for CubeBackend {
    fn nll_entropy(logits: CubeTensor, targets: CubeTensor) -> CubeTensor {
        let weights = empty_like(&logits, [1], DType::F32);
        launch_nll_entropy(even_rows(logits), targets, weights, false).0
    }

    fn nll_entropy_with_grads(
        logits: CubeTensor,
        targets: CubeTensor,
        weights: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        launch_nll_entropy(make_unique(logits), targets, weights, true)
    }

    fn attention_probs(current: CubeTensor, mask: CubeTensor, mask_shape: MaskShape, scale: f32) -> CubeTensor {
        let unused = empty_like(&current, [1; 4], current.dtype);
        launch_attention_probs(current, unused, mask, mask_shape, scale).0
    }

    fn attention_probs_with_prefix(
        current: CubeTensor,
        prefix: CubeTensor,
        mask: CubeTensor,
        mask_shape: MaskShape,
        scale: f32,
    ) -> (CubeTensor, CubeTensor) {
        launch_attention_probs(current, prefix, mask, mask_shape, scale)
    }

    fn score_grads(current: CubeTensor, probs: CubeTensor, scale: f32) -> CubeTensor {
        let unused = || empty_like(&current, [1; 4], current.dtype);
        let (prefix, prefix_probs) = (unused(), unused());
        launch_score_grads([current, prefix], [probs, prefix_probs], false, scale).0
    }

    fn score_grads_with_prefix(
        current: CubeTensor,
        prefix: CubeTensor,
        current_probs: CubeTensor,
        prefix_probs: CubeTensor,
        scale: f32,
    ) -> (CubeTensor, CubeTensor) {
        launch_score_grads([current, prefix], [current_probs, prefix_probs], true, scale)
    }

    fn norm(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, eps: f32, centred: bool) -> (CubeTensor, CubeTensor) {
        let [n, d] = x.shape().dims();
        let (x, units) = (even_rows(x), row_units(d));
        let (out, stats) = (empty_like(&x, [n, d], DType::F32), empty_like(&x, [n, 2], DType::F32));
        norm_kernels::forward::launch(
            &x.client,
            row_grid(n),
            CubeDim::new_1d(units as u32),
            matrix_arg(&x),
            into_contiguous(weight).into_tensor_arg(),
            into_contiguous(bias).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            stats.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            eps,
            centred,
            units,
        );
        (out, stats)
    }

    fn norm_backward(
        x: CubeTensor,
        weight: CubeTensor,
        grad: CubeTensor,
        stats: CubeTensor,
        centred: bool,
    ) -> CubeTensor {
        let [n, d] = x.shape().dims();
        let (x, units) = (even_rows(x), row_units(d));
        let out = empty_like(&x, [n, d], DType::F32);
        norm_kernels::backward::launch(
            &x.client,
            row_grid(n),
            CubeDim::new_1d(units as u32),
            matrix_arg(&x),
            into_contiguous(weight).into_tensor_arg(),
            matrix_arg(&even_rows(grad)),
            into_contiguous(stats).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            centred,
            units,
        );
        out
    }

    fn norm_weight_grads(x: CubeTensor, grad: CubeTensor, stats: CubeTensor) -> CubeTensor {
        let [n, d] = x.shape().dims();
        let (x, chunks) = (even_rows(x), n.div_ceil(TILE));
        let out = empty_like(&x, [chunks, 2, d], DType::F32);
        norm_kernels::weight_grads::launch(
            &x.client,
            CubeCount::Static(d.div_ceil(TILE) as u32, chunks as u32, 1),
            CubeDim::new_1d(TILE as u32),
            matrix_arg(&x),
            matrix_arg(&even_rows(grad)),
            into_contiguous(stats).into_tensor_arg(),
            out.clone().into_tensor_arg(),
            n as u32,
            d as u32,
            TILE as u32,
        );
        out
    }

    fn dropout(x: CubeTensor, mask: DropoutMask) -> CubeTensor {
        let [rows, columns] = x.shape().dims();
        let x = into_contiguous(x);
        let (out, dtype) = (empty_like(&x, [rows, columns], x.dtype), dtype_to_storage_type(x.dtype));
        dropout_kernel::dropout::launch(
            &x.client,
            row_grid((rows * columns).div_ceil(UNITS)),
            CubeDim::new_1d(UNITS as u32),
            x.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            (rows * columns) as u32,
            columns as u32,
            mask.first_row,
            mask.keys[0],
            mask.keys[1],
            mask.dropped,
            mask.scale,
            dtype,
        );
        out
    }
}

fn launch_nll_entropy(
    logits: CubeTensor,
    targets: CubeTensor,
    weights: CubeTensor,
    with_grads: bool,
) -> (CubeTensor, CubeTensor) {
    let [n, v] = logits.shape().dims();
    let (out, units) = (empty_like(&logits, [2, n], DType::F32), row_units(v));
    let dtypes = [logits.dtype, targets.dtype].map(dtype_to_storage_type);
    kernels::nll_entropy::launch(
        &logits.client,
        row_grid(n),
        CubeDim::new_1d(units as u32),
        matrix_arg(&logits),
        into_contiguous(targets).into_tensor_arg(),
        into_contiguous(weights).into_tensor_arg(),
        out.clone().into_tensor_arg(),
        n as u32,
        v as u32,
        with_grads,
        units,
        dtypes,
    );
    (out, logits)
}

fn launch_attention_probs(
    current: CubeTensor,
    prefix: CubeTensor,
    mask: CubeTensor,
    mask_shape: MaskShape,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let [b, g, group_rows, s] = current.shape().dims();
    let (current, prefix) = (make_unique(current), make_unique(prefix));
    let units = row_units(s + mask_shape.prefix_positions);
    let dtypes = [current.dtype, mask.dtype].map(dtype_to_storage_type);
    kernels::attention_probs::launch(
        &current.client,
        row_grid(b * g * group_rows),
        CubeDim::new_1d(units as u32),
        matrix_arg(&current),
        matrix_arg(&prefix),
        into_contiguous(mask).into_tensor_arg(),
        (b * g * group_rows) as u32,
        (g * group_rows) as u32,
        mask_shape.query_positions as u32,
        mask_shape.prefix_positions as u32,
        scale,
        mask_shape.joint,
        mask_shape.prefix_positions > 0,
        units,
        dtypes,
    );
    (current, prefix)
}

fn launch_score_grads(
    [current, prefix]: [CubeTensor; 2],
    [current_probs, prefix_probs]: [CubeTensor; 2],
    with_prefix: bool,
    scale: f32,
) -> (CubeTensor, CubeTensor) {
    let ([b, g, group_rows, s], [_, _, _, c]) = (current.shape().dims(), prefix.shape().dims());
    let (current, prefix, units) = (make_unique(current), make_unique(prefix), row_units(s + c));
    let dtype = dtype_to_storage_type(current.dtype);
    kernels::score_grads::launch(
        &current.client,
        row_grid(b * g * group_rows),
        CubeDim::new_1d(units as u32),
        matrix_arg(&current),
        matrix_arg(&prefix),
        matrix_arg(&even_rows(current_probs)),
        matrix_arg(&even_rows(prefix_probs)),
        (b * g * group_rows) as u32,
        s as u32,
        c as u32,
        scale,
        with_prefix,
        units,
        dtype,
    );
    (current, prefix)
}
