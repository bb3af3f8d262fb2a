//! Holds the operations that have kernels to the same made of Burn's, on whatever device wgpu finds.

use super::takes;
use crate::ops::attention::{blocked, plain};
use crate::ops::tests::{close, hold, hold_within, matrix, sights, vector};
use crate::ops::{Heads, Products, attention, gate, gelu, norm, score, swiglu};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// `x` as a leaf on the GPU.
fn there<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    let x = x.inner().to_device(&device).autodiff().require_grad();
    assert!(takes(&x));
    x
}

#[test]
fn norms() {
    for (n, d) in [(1, 3), (7, 40), (150, 96), (3, 1100)] {
        let (x, weight, bias) = (there(matrix(n, d, 1)), there(vector(d, 2)), there(vector(d, 3)));
        for bias in [None, Some(bias)] {
            let vectors: Vec<_> = [Some(weight.clone()), bias.clone()].into_iter().flatten().collect();
            let own = || norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let composed = || crate::ops::norm::composed(x.clone(), weight.clone(), bias.clone(), 1e-5);
            hold(&format!("norm {n}×{d}"), std::slice::from_ref(&x), &vectors, own, composed);
        }
    }
}

#[test]
fn gates() {
    let x = there(matrix(5, 34, 1));
    let wide = || x.clone() * 4.0;
    hold("swiglu", std::slice::from_ref(&x), &[], || swiglu(wide()), || gate::swiglu_composed(wide()));
    hold("gelu", std::slice::from_ref(&x), &[], || gelu(wide()), || gate::gelu_composed(wide()));
}

#[test]
fn attention_of_every_sight() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (3, 7, 40, Heads { queries: 4, keys: 2, width: 8 }),
        (1, 40, 96, Heads { queries: 2, keys: 1, width: 8 }),
    ] {
        let own = there(matrix(b * s, heads.packed(), 1));
        let before = (c > 0).then(|| there(matrix(b * c, heads.packed(), 2)));
        for (name, sight) in sights(b, s, c) {
            let leaves: Vec<_> = std::iter::once(own.clone()).chain(before.clone()).collect();
            // Scores of thousands too, of which one rules its row: an f32 of that size is known to 1e-3.
            for (size, allowed) in [(1.0, 2e-5), (60.0, 2e-3)] {
                let large = |x: Tensor<2>| x * size;
                // A graph each: one way back uses it up.
                let given = || (large(own.clone()), before.clone().map(large));
                let ((mine, theirs), (own, before)) = (given(), given());
                let ours = attention(mine, theirs, &sight, heads);
                let composed = plain::composed(own, before, &sight, heads);
                hold_within(allowed, name, &leaves, &[], ours, composed);
            }
            let fixed = before.clone().map(Tensor::inner);
            let ours = || blocked(own.clone(), fixed.clone(), &sight, heads, 1);
            let composed =
                || plain::composed(own.clone(), fixed.clone().map(Tensor::autodiff), &sight, heads);
            hold(name, &leaves[..1], &[], ours, composed);
        }
    }
}

#[test]
fn scores() {
    for (n, d, v, size) in [(3, 4, 5, 2.0), (40, 24, 300, 2.0), (7, 4, 1100, 1e4)] {
        let targets: Vec<i32> = (0..n as i32).map(|at| at * 7 % v as i32).collect();
        let hidden = there(matrix(n, d, 1)).inner() * size;
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), &hidden.device());
        let weights = there(vector(n, 4)).inner();
        for head in [
            score::Head::Own(there(matrix(d, v, 2)).inner()),
            score::Head::Tied(there(matrix(v, d, 2)).inner()),
        ] {
            for asked in [false, true] {
                let wanted = || asked.then(|| score::Wanted { weights: weights.clone(), sum: None });
                let found = score::score(hidden.clone(), &head, targets.clone(), wanted(), Products::F32);
                let same = score::composed(hidden.clone(), &head, targets.clone(), wanted(), Products::F32);
                close("nll", found.nll, same.nll);
                close("entropy", found.entropy, same.entropy);
                assert_eq!(found.grads.is_some(), asked);
                if let (Some(found), Some(same)) = (found.grads, same.grads) {
                    close("dh", found.hidden, same.hidden);
                    close("dW", found.weight, same.weight);
                }
            }
        }
    }
}
