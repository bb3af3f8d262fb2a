//! Compares the operations that have kernels with their references, on the device that wgpu finds.

use super::has_kernels_for;
use crate::ops::attention::{blockwise, reference};
use crate::ops::tests::{
    assert_close, assert_matches_reference, assert_matches_within, attention_cases, matrix, vector,
};
use crate::ops::{Dropout, Heads, MatmulPrecision, activations, attention, dropout, gelu, norm, score, swiglu};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Returns `x` as a leaf on the GPU.
fn on_gpu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    let x = x.inner().to_device(&device).autodiff().require_grad();
    assert!(has_kernels_for(&x));
    x
}

#[test]
fn norms_match() {
    for (n, d) in [(1, 3), (7, 40), (150, 96), (3, 1100)] {
        let (x, weight, bias) = (on_gpu(matrix(n, d, 1)), on_gpu(vector(d, 2)), on_gpu(vector(d, 3)));
        for bias in [None, Some(bias)] {
            let vectors: Vec<_> = [Some(weight.clone()), bias.clone()].into_iter().flatten().collect();
            let kernel = || norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let reference = || norm::reference(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let name = format!("norm {n}×{d}");
            assert_matches_reference(&name, std::slice::from_ref(&x), &vectors, kernel, reference);
        }
    }
}

#[test]
fn activations_match() {
    let x = on_gpu(matrix(5, 34, 1));
    let fresh = || x.clone() * 4.0;
    let leaf = std::slice::from_ref(&x);
    let reference = || activations::swiglu_reference(fresh());
    assert_matches_reference("swiglu", leaf, &[], || swiglu(fresh()), reference);
    let reference = || activations::gelu_reference(fresh());
    assert_matches_reference("gelu", leaf, &[], || gelu(fresh()), reference);
}

#[test]
fn dropout_matches_the_cpu() {
    let mask = Dropout::new(0.4, 9).unwrap();
    for (n, d) in [(1, 2), (5, 34), (300, 130)] {
        let x = matrix(n, d, 1);
        let gpu = on_gpu(x.clone());
        let (actual, expected) = (dropout(gpu.clone(), None, mask), dropout(x.clone(), None, mask));
        let on_cpu = |x: Tensor<2>| x.to_device(&Device::flex());
        assert_close("dropout", on_cpu(actual.clone().inner()), expected.inner());
        let grad = gpu.grad(&actual.sum().backward()).unwrap();
        assert_close("its gradient", on_cpu(grad), dropout(x.inner().ones_like(), None, mask));
    }
}

#[test]
fn attention_matches_for_every_mask() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (3, 7, 40, Heads { queries: 4, keys: 2, width: 8 }),
        (1, 40, 96, Heads { queries: 2, keys: 1, width: 8 }),
    ] {
        let current = on_gpu(matrix(b * s, heads.packed_width(), 1));
        let prefix = (c > 0).then(|| on_gpu(matrix(b * c, heads.packed_width(), 2)));
        for (name, mask, dropout) in attention_cases(b, s, c) {
            let leaves: Vec<_> = std::iter::once(current.clone()).chain(prefix.clone()).collect();
            // Scores of thousands too, of which one dominates its row: an f32 of that size is exact to 1e-3.
            for (size, tolerance) in [(1.0, 2e-5), (60.0, 2e-3)] {
                let large = |x: Tensor<2>| x * size;
                // One graph for each, because a backward pass consumes it.
                let inputs = || (large(current.clone()), prefix.clone().map(large));
                let ((current, prefix), (same_current, same_prefix)) = (inputs(), inputs());
                let actual = attention(current, prefix, &mask, heads, dropout);
                let expected = reference::attention(same_current, same_prefix, &mask, heads, dropout);
                assert_matches_within(tolerance, name, &leaves, &[], actual, expected);
            }
            let fixed = prefix.clone().map(Tensor::inner);
            let lifted = fixed.clone().map(Tensor::autodiff);
            let blocks = || blockwise(current.clone(), fixed.clone(), &mask, heads, dropout, 1);
            let expected = || reference::attention(current.clone(), lifted.clone(), &mask, heads, dropout);
            assert_matches_reference(name, &leaves[..1], &[], blocks, expected);
        }
    }
}

#[test]
fn scores_match() {
    for (n, d, v, size) in [(3, 4, 5, 2.0), (40, 24, 300, 2.0), (7, 4, 1100, 1e4)] {
        let targets: Vec<i32> = (0..n as i32).map(|at| at * 7 % v as i32).collect();
        let hidden = on_gpu(matrix(n, d, 1)).inner() * size;
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), &hidden.device());
        let weights = on_gpu(vector(n, 4)).inner();
        for head in
            [score::Head::Untied(on_gpu(matrix(d, v, 2)).inner()), score::Head::Tied(on_gpu(matrix(v, d, 2)).inner())]
        {
            for with_grads in [false, true] {
                let requested = || {
                    with_grads
                        .then(|| score::RequestedGradients { loss_weights: weights.clone(), weight_grad_sum: None })
                };
                let precision = MatmulPrecision::F32;
                let actual = score::score(hidden.clone(), &head, targets.clone(), requested(), precision);
                let expected = score::reference(hidden.clone(), &head, targets.clone(), requested(), precision);
                assert_close("nll", actual.nll, expected.nll);
                assert_close("entropy", actual.entropy, expected.entropy);
                assert_eq!(actual.grads.is_some(), with_grads);
                if let (Some(actual), Some(expected)) = (actual.grads, expected.grads) {
                    assert_close("dh", actual.hidden, expected.hidden);
                    assert_close("dW", actual.weight, expected.weight);
                }
            }
        }
    }
}
