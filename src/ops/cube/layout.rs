//! Owns: how the rows of a tensor lie on a GPU, and how many cubes and units process them.
//! Must not know: the kernels.
//! Invariant: a matrix is changed in place only if nobody else holds it.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{into_contiguous, untile};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, TensorArg};
use cubecl::zspace::Strides;
use cubecl::zspace::metadata::Metadata;

/// Most cubes along one axis of a grid.
const MAX_AXIS_CUBES: usize = 1 << 15;

/// Allocates a tensor of this shape on the device of `like`, uninitialised.
pub fn empty_like<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::new(shape), dtype)
}

/// Returns the units of a cube for rows of this width: a power of two, with about four numbers for each unit.
pub fn row_units(width: usize) -> usize {
    (width / 4).next_power_of_two().clamp(32, 256)
}

/// Returns a grid with one cube per row. It has a few more if the rows do not fit along one axis.
pub fn row_grid(rows: usize) -> CubeCount {
    let across = rows.clamp(1, MAX_AXIS_CUBES);
    CubeCount::Static(across as u32, rows.div_ceil(across) as u32, 1)
}

/// Returns `x` with all rows one stride apart, copied if necessary. A device may leave gaps between rows.
pub fn even_rows(x: CubeTensor) -> CubeTensor {
    let x = untile(x);
    if row_pitch(&x).is_some() { x } else { into_contiguous(x) }
}

/// Returns the stride between rows across all leading axes; `None` if it is not the same everywhere.
fn row_pitch(x: &CubeTensor) -> Option<usize> {
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

/// Returns the rows of `x`, which must come from [`even_rows`], as a matrix.
pub fn matrix_arg(x: &CubeTensor) -> TensorArg {
    let columns = x.meta.shape()[x.meta.shape().num_dims() - 1];
    let rows = x.shape().num_elements() / columns.max(1);
    let strides = Strides::new(&[row_pitch(x).unwrap_or(columns), 1]);
    let flat = Metadata::new(Shape::new([rows, columns]), strides);
    CubeTensor::new(x.client.clone(), x.handle.clone(), flat, x.device.clone(), x.dtype).into_tensor_arg()
}

/// Returns what [`even_rows`] does, copied if somebody else holds it.
pub fn make_unique(x: CubeTensor) -> CubeTensor {
    let x = even_rows(x);
    if x.can_mut() { x } else { even_rows(x.copy()) }
}
