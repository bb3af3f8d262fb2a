//! Owns: how the rows of a tensor lie on a GPU, and how many cubes and units they are given.
//! Must not know: the kernels.
//! Invariant: a matrix is changed in place only where nobody else has it.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{into_contiguous, untile};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::{CubeCount, TensorArg};
use cubecl::zspace::{Strides, metadata::Metadata};

/// Most cubes along one axis of a grid.
const AXIS: usize = 1 << 15;

pub fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::new(shape), dtype)
}

/// Units of a cube for rows of this width: some numbers each, few who have none.
pub fn units(width: usize) -> usize {
    (width / 4).next_power_of_two().clamp(32, 256)
}

/// A cube a row, and some more where one axis is not enough.
pub fn grid(rows: usize) -> CubeCount {
    let across = rows.clamp(1, AXIS);
    CubeCount::Static(across as u32, rows.div_ceil(across) as u32, 1)
}

/// With all rows the same stride apart: a device may leave room between them.
pub fn lines(x: CubeTensor) -> CubeTensor {
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
pub fn matrix(x: &CubeTensor) -> TensorArg {
    let columns = x.meta.shape()[x.meta.shape().num_dims() - 1];
    let rows = x.shape().num_elements() / columns.max(1);
    let strides = Strides::new(&[pitch(x).unwrap_or(columns), 1]);
    let flat = Metadata::new(Shape::new([rows, columns]), strides);
    CubeTensor::new(x.client.clone(), x.handle.clone(), flat, x.device.clone(), x.dtype).into_tensor_arg()
}

/// The same where nobody else has it, else a copy.
pub fn changeable(x: CubeTensor) -> CubeTensor {
    let x = lines(x);
    if x.can_mut() { x } else { lines(x.copy()) }
}
