//! Owns: rotary position embeddings of queries and keys (Su et al., arXiv 2104.09864, in the rotate-half form
//! of Hugging Face's Llama), applied in place if nobody else holds the tensor.
//! Must not know: attention.
//! Invariant: a vector keeps its length, and the opposite rotation restores it.

use super::graph::{CpuTensor, cpu_op, detach, is_native_cpu, make_unique, operand, slice};
use super::simd::dispatch;
use super::trace::OpCost;
use super::{Heads, threads, to_f32};
use burn::tensor::Tensor;

const COST: OpCost = OpCost::without_matmul("rotary");

/// Rotates the queries and keys of `packed` `[N, (H+2G)·K]` and returns them with the values unchanged.
///
/// `cos` and `sin` `[P, K]` are those of the angles: row `n` is rotated by the angles of row `n mod P`.
pub fn apply_rotary(packed: Tensor<2>, cos: &Tensor<2>, sin: &Tensor<2>, heads: Heads) -> Tensor<2> {
    if !is_native_cpu(&packed) {
        let _span = COST.forward_span();
        return reference(packed, cos, sin, heads);
    }
    let angles = (detach(cos.clone()), detach(sin.clone()), heads);
    cpu_op(
        COST,
        vec![operand(packed)],
        |mut operands| (rotate(operands.swap_remove(0), &angles, 1.0), angles),
        |angles, grad, _| vec![Some(rotate(grad, &angles, -1.0))],
    )
}

/// The reference, composed of Burn's operations. Also used on other devices than the CPU.
pub(super) fn reference(packed: Tensor<2>, cos: &Tensor<2>, sin: &Tensor<2>, heads: Heads) -> Tensor<2> {
    let ([n, _], [p, k]) = (packed.dims(), cos.dims());
    let rotated_heads = heads.queries + heads.keys;
    let x = packed.clone().narrow(1, 0, rotated_heads * k).reshape([n / p, p, rotated_heads, k]);
    let half = |from| x.clone().narrow(3, from, k / 2);
    let rotated_half = Tensor::cat(vec![half(k / 2).neg(), half(0)], 3);
    let angle = |table: &Tensor<2>| table.clone().reshape([1, p, 1, k]);
    let rotated = to_f32(x.clone()) * angle(cos) + to_f32(rotated_half) * angle(sin);
    let x = if x.dtype() == rotated.dtype() { rotated } else { rotated.cast(x.dtype()) };
    let values = packed.narrow(1, rotated_heads * k, heads.keys * k);
    Tensor::cat(vec![x.reshape([n, rotated_heads * k]), values], 1)
}

/// Rotates by the angles for `direction` 1, and by their negatives for -1.
fn rotate(packed: CpuTensor, (cos, sin, heads): &(CpuTensor, CpuTensor, Heads), direction: f32) -> CpuTensor {
    let (k, width) = (heads.width, heads.packed_width());
    let (cos, sin) = (slice(cos), slice(sin));
    let p = cos.len() / k;
    let mut packed = make_unique(packed);
    let numbers: &mut [f32] = packed.storage_mut();
    threads::for_each_chunk(numbers, width, |first, rows| {
        dispatch(
            #[inline(always)]
            || {
                for (n, row) in (first..).zip(rows.chunks_exact_mut(width)) {
                    let at = n % p * k;
                    let (cos, sin) = (&cos[at..at + k / 2], &sin[at..at + k / 2]);
                    for head in row[..(heads.queries + heads.keys) * k].chunks_exact_mut(k) {
                        let (a, b) = head.split_at_mut(k / 2);
                        for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
                            let (from, to, sin) = (*a, *b, sin * direction);
                            *a = from * cos - to * sin;
                            *b = to * cos + from * sin;
                        }
                    }
                }
            },
        );
    });
    packed
}
