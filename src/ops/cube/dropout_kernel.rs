//! Owns: the GPU kernel of dropout. A unit has one number.
//! Must not know: tensors of Burn, whose prelude has the same names.
//! Invariant: the mask is that of [`crate::ops::Dropout`], number by number.

use cubecl::prelude::*;

/// Columns that a row's hashes decide in one block; a hash decides two, half a block apart.
const BLOCK: u32 = 32;

/// Writes the first `count` numbers of `x`, times 0 or `scale`. `x` has `columns` columns, and its first row is row
/// `first_row` of the mask.
#[cube(launch)]
pub fn dropout<F: Float>(
    x: &Tensor<F>,
    out: &mut Tensor<F>,
    count: u32,
    columns: u32,
    first_row: u32,
    first_key: u32,
    second_key: u32,
    dropped: u32,
    scale: f32,
    #[define(F)] _dtype: ElemType,
) {
    let at = CUBE_POS as u32 * CUBE_DIM + UNIT_POS;
    if at >= count {
        terminate!();
    }
    let row = first_row + at / columns;
    let column = at % columns;
    let row_key = mix(row ^ first_key, 0);
    let index = column / BLOCK * (BLOCK / 2) + column % (BLOCK / 2);
    let hash = mix((index * 0x9E37_79B9) ^ row_key, mix(row_key, second_key));
    let mut number = hash & 0xFFFF;
    if column % BLOCK >= BLOCK / 2 {
        number = hash >> 16;
    }
    let mut factor = scale;
    if number < dropped {
        factor = 0.0f32;
    }
    out[at as usize] = F::cast_from(f32::cast_from(x[at as usize]) * factor);
}

#[cube]
fn mix(x: u32, key: u32) -> u32 {
    let x = (x ^ (x >> 16)) * 0x7FEB_352D + key;
    let x = (x ^ (x >> 15)) * 0x846C_A68B;
    x ^ (x >> 16)
}
