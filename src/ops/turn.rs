//! Owns: turning queries and keys by their positions (rotary embeddings, Su et al., arXiv 2104.09864, in the rotate-half
//! form of Hugging Face's Llama), in place where nobody else has them.
//! Must not know: attention.
//! Invariant: a vector keeps its length; turning back undoes it.

use super::graph::{Values, constant, operand, operation, ours, slice, whole};
use super::threads;
use super::trace::Work;
use super::vector::wide;
use super::{Heads, f32};
use burn::tensor::Tensor;

const WORK: Work = Work::light("turn");

/// Turns the queries and keys of `packed` `[N, (H+2G)·K]` by the angles whose cosines and sines are given, `[P, K]`: row
/// `n` by those of row `n mod P`.
pub fn turn(packed: Tensor<2>, cos: &Tensor<2>, sin: &Tensor<2>, heads: Heads) -> Tensor<2> {
    if !ours(&packed) {
        let _span = WORK.goes();
        return composed(packed, cos, sin, heads);
    }
    let angles = (constant(cos.clone()), constant(sin.clone()), heads);
    operation(
        WORK,
        vec![operand(packed)],
        |mut operands| (rotate(operands.swap_remove(0), &angles, 1.0), angles),
        |angles, grad, _| vec![Some(rotate(grad, &angles, -1.0))],
    )
}

/// The same of Burn's own operations.
pub(super) fn composed(packed: Tensor<2>, cos: &Tensor<2>, sin: &Tensor<2>, heads: Heads) -> Tensor<2> {
    let ([n, _], [p, k]) = (packed.dims(), cos.dims());
    let turned = heads.queries + heads.keys;
    let x = packed.clone().narrow(1, 0, turned * k).reshape([n / p, p, turned, k]);
    let half = |from| x.clone().narrow(3, from, k / 2);
    let crossed = Tensor::cat(vec![half(k / 2).neg(), half(0)], 3);
    let angle = |table: &Tensor<2>| table.clone().reshape([1, p, 1, k]);
    let after = f32(x.clone()) * angle(cos) + f32(crossed) * angle(sin);
    let x = if x.dtype() == after.dtype() { after } else { after.cast(x.dtype()) };
    let values = packed.narrow(1, turned * k, heads.keys * k);
    Tensor::cat(vec![x.reshape([n, turned * k]), values], 1)
}

/// `way`: 1, or -1 for turning back.
fn rotate(packed: Values, (cos, sin, heads): &(Values, Values, Heads), way: f32) -> Values {
    let (k, width) = (heads.width, heads.packed());
    let (cos, sin) = (slice(cos), slice(sin));
    let p = cos.len() / k;
    let mut packed = whole(packed);
    let numbers: &mut [f32] = packed.storage_mut();
    threads::rows(numbers, width, |first, rows| {
        wide(
            #[inline(always)]
            || {
                for (n, row) in (first..).zip(rows.chunks_exact_mut(width)) {
                    let at = n % p * k;
                    let (cos, sin) = (&cos[at..at + k / 2], &sin[at..at + k / 2]);
                    for head in row[..(heads.queries + heads.keys) * k].chunks_exact_mut(k) {
                        let (a, b) = head.split_at_mut(k / 2);
                        for ((a, b), (cos, sin)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
                            let (from, to, sin) = (*a, *b, sin * way);
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
