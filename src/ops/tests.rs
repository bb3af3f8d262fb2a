//! Compares every fused operation with its reference, in results and gradients.

use super::attention::reference::attention as attention_reference;
use super::*;
use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
}

pub(super) fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor<2> {
    let data = TensorData::new(numbers(rows * columns, seed), [rows, columns]);
    Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
}

pub(super) fn vector(count: usize, seed: usize) -> Tensor<1> {
    Tensor::from_data(TensorData::new(numbers(count, seed), [count]), &Device::flex().autodiff()).require_grad()
}

pub(super) fn assert_close<const D: usize>(what: &str, actual: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    assert_near(what, actual, expected, 2e-5);
}

/// Asserts that no number is off by more than `tolerance` times the largest expected one.
pub(super) fn assert_near<const D: usize>(what: &str, actual: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    let [actual, expected] = [actual, expected].map(|tensor| to_f32(tensor).try_into_vec_as::<f32>().unwrap());
    let size = expected.iter().fold(1e-3_f32, |max, value| max.max(value.abs()));
    for (at, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let error = (actual - expected).abs();
        assert!(error < tolerance * size, "{what} at {at}: {actual}, expected {expected}");
    }
}

/// Asserts that `actual` gives what `reference` does: results, and gradients of a weighted sum with respect
/// to `matrices` and `vectors`.
pub(super) fn assert_matches_reference(
    what: &str,
    matrices: &[Tensor<2>],
    vectors: &[Tensor<1>],
    actual: impl Fn() -> Tensor<2>,
    reference: impl Fn() -> Tensor<2>,
) {
    let (actual, reference) = (actual(), reference());
    let tolerance = if actual.dtype() == DType::BF16 { 2e-2 } else { 2e-5 };
    assert_matches_within(tolerance, what, matrices, vectors, actual, reference);
}

/// Asserts the same with a `tolerance`, a fraction of the largest number.
pub(super) fn assert_matches_within(
    tolerance: f32,
    what: &str,
    matrices: &[Tensor<2>],
    vectors: &[Tensor<1>],
    actual: Tensor<2>,
    reference: Tensor<2>,
) {
    assert_near(what, actual.clone().inner(), reference.clone().inner(), tolerance);
    let [rows, columns] = actual.dims();
    let weights = matrix(rows, columns, 99).inner().to_device(&actual.device().without_autodiff()).autodiff();
    let backward = |result: Tensor<2>| (to_f32(result) * weights.clone()).sum().backward();
    let [actual, reference] = [actual, reference].map(backward);
    for (at, leaf) in matrices.iter().enumerate() {
        let [actual, reference] = [&actual, &reference].map(|grads| leaf.grad(grads).unwrap());
        assert_near(&format!("{what}: gradient {at}"), actual, reference, tolerance);
    }
    for (at, leaf) in vectors.iter().enumerate() {
        let [actual, reference] = [&actual, &reference].map(|grads| leaf.grad(grads).unwrap());
        assert_near(&format!("{what}: vector {at}"), actual, reference, tolerance);
    }
}

#[test]
fn fused_operations_are_used_on_the_cpu_in_f32() {
    let x = matrix(2, 2, 1);
    assert!(graph::is_native_cpu(&x) && graph::is_native_cpu(&x.clone().inner()));
    assert!(!graph::is_native_cpu(&x.cast(FloatDType::BF16)));
}

#[test]
fn norms_match() {
    for (n, d) in [(1, 3), (7, 40), (700, 96)] {
        let (x, weight, bias) = (matrix(n, d, 1), vector(d, 2), vector(d, 3));
        for bias in [None, Some(bias)] {
            let vectors: Vec<_> = [Some(weight.clone()), bias.clone()].into_iter().flatten().collect();
            let fused = || norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let reference = || norm::reference(x.clone(), weight.clone(), bias.clone(), 1e-5);
            assert_matches_reference(&format!("norm {n}×{d}"), std::slice::from_ref(&x), &vectors, fused, reference);
        }
    }
}

#[test]
fn activations_match() {
    for (n, f) in [(1, 2), (5, 34), (300, 130)] {
        let x = matrix(n, f, 1);
        let scaled = || x.clone() * 4.0;
        assert_matches_reference(
            "swiglu",
            std::slice::from_ref(&x),
            &[],
            || swiglu(scaled()),
            || activations::swiglu_reference(scaled()),
        );
        assert_matches_reference(
            "gelu",
            std::slice::from_ref(&x),
            &[],
            || gelu(scaled()),
            || activations::gelu_reference(scaled()),
        );
    }
}

#[test]
fn activations_in_bf16_match() {
    let x = matrix(5, 34, 1);
    let scaled = || (x.clone() * 4.0).cast(FloatDType::BF16);
    assert_matches_reference(
        "swiglu",
        std::slice::from_ref(&x),
        &[],
        || swiglu(scaled()),
        || activations::swiglu_reference(scaled()),
    );
    assert_matches_reference(
        "gelu",
        std::slice::from_ref(&x),
        &[],
        || gelu(scaled()),
        || activations::gelu_reference(scaled()),
    );
}

#[test]
fn dropout_matches() {
    for (n, d) in [(1, 2), (5, 34), (300, 130)] {
        let (x, residual) = (matrix(n, d, 1), matrix(n, d, 2));
        let mask = Dropout::new(0.4, 9).unwrap();
        let leaves = [x.clone(), residual.clone()];
        let actual = || dropout(x.clone(), Some(residual.clone()), mask);
        let reference = || dropout::reference(x.clone(), Some(residual.clone()), mask);
        assert_matches_reference("dropout and residual", &leaves, &[], actual, reference);
        let alone = || dropout(x.clone(), None, mask);
        assert_matches_reference("dropout", &leaves[..1], &[], alone, || dropout::reference(x.clone(), None, mask));
        let bf16 = || x.clone().cast(FloatDType::BF16);
        let (actual, reference) = (|| dropout(bf16(), None, mask), || dropout::reference(bf16(), None, mask));
        assert_matches_reference("dropout in bf16", &leaves[..1], &[], actual, reference);
        let actual = || dropout(bf16(), Some(residual.clone()), mask);
        let reference = || dropout::reference(bf16(), Some(residual.clone()), mask);
        assert_eq!(actual().dtype(), DType::F32);
        assert_matches_within(2e-2, "bf16 and residual", &leaves, &[], actual(), reference());
    }
}

#[test]
fn linear_layers_match() {
    let weight = |d: usize, f: usize, seed: usize, bias: bool| Linear {
        weight: Param::initialized(ParamId::new(), matrix(d, f, seed)),
        bias: bias.then(|| Param::initialized(ParamId::new(), vector(f, seed + 1))),
    };
    for (n, d, widths, bias, residual) in [
        (1, 3, vec![4], false, false),
        (9, 12, vec![12, 4, 4], true, false),
        (600, 64, vec![64, 32, 32], false, true),
        (600, 64, vec![70], true, true),
    ] {
        let x = matrix(n, d, 1);
        let weights: Vec<_> = (2..).zip(&widths).map(|(seed, f)| weight(d, *f, seed, bias)).collect();
        let weights: Vec<&Linear> = weights.iter().collect();
        let residual = residual.then(|| matrix(n, widths.iter().sum(), 9));
        let mut leaves = vec![x.clone()];
        leaves.extend(weights.iter().map(|weight| weight.weight.val()));
        leaves.extend(residual.clone());
        let biases: Vec<_> = weights.iter().filter_map(|weight| weight.bias.as_ref()).map(Param::val).collect();
        let fused = || linear(x.clone(), &weights, residual.clone(), MatmulPrecision::F32);
        let reference = || linear::reference(x.clone(), &weights, residual.clone(), MatmulPrecision::F32);
        assert_matches_reference("linear", &leaves, &biases, fused, reference);
    }
}

#[test]
fn rotary_embeddings_match() {
    let heads = Heads { queries: 4, keys: 2, width: 6 };
    let x = matrix(10, heads.packed_width(), 1);
    let table = |seed| matrix(5, 6, seed).inner().slice([0..5, 0..3]).repeat(&[1, 2]);
    let (cos, sin) = (table(2), table(3));
    let fused = || apply_rotary(x.clone() * 2.0, &cos, &sin, heads);
    let reference = || rotary::reference(x.clone() * 2.0, &cos, &sin, heads);
    assert_matches_reference("rotary", std::slice::from_ref(&x), &[], fused, reference);
}

/// Returns every kind of mask, each without and with dropout.
pub(super) fn attention_cases(b: usize, s: usize, c: usize) -> Vec<(&'static str, AttentionMask, Option<Dropout>)> {
    let masks = attention_masks(b, s, c).into_iter();
    masks.flat_map(|(name, mask)| [None, Dropout::new(0.3, 5)].map(|dropout| (name, mask.clone(), dropout))).collect()
}

fn attention_masks(b: usize, s: usize, c: usize) -> Vec<(&'static str, AttentionMask)> {
    let limits: Vec<usize> = (0..b * s).map(|at| 1 + (at * 5) % c.max(1)).collect();
    let hidden: Vec<bool> = (0..b * c).map(|at| at % 3 == 2).collect();
    let mut masks = vec![("causal", AttentionMask::causal(b, s, c))];
    if c > 0 {
        masks.push(("isolated", AttentionMask::sparse(b, s, c, limits.clone(), None)));
        masks.push(("joint", AttentionMask::sparse(b, s, c, limits, Some(hidden))));
    }
    masks
}

#[test]
fn attention_matches_for_every_mask() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (2, 150, 0, Heads { queries: 4, keys: 2, width: 8 }),
        (3, 7, 20, Heads { queries: 4, keys: 4, width: 8 }),
        (2, 70, 90, Heads { queries: 6, keys: 2, width: 8 }),
    ] {
        let current = matrix(b * s, heads.packed_width(), 1);
        let prefix = (c > 0).then(|| matrix(b * c, heads.packed_width(), 2));
        for (name, mask, dropout) in attention_cases(b, s, c) {
            let leaves: Vec<_> = std::iter::once(current.clone()).chain(prefix.clone()).collect();
            let fused = |prefix: Option<Tensor<2>>| attention(current.clone(), prefix, &mask, heads, dropout);
            let reference = |prefix| attention_reference(current.clone(), prefix, &mask, heads, dropout);
            assert_matches_reference(name, &leaves, &[], || fused(prefix.clone()), || reference(prefix.clone()));
            let fixed = prefix.clone().map(Tensor::inner);
            let lifted = fixed.clone().map(Tensor::autodiff);
            let leaf = std::slice::from_ref(&current);
            assert_matches_reference(name, leaf, &[], || fused(fixed.clone()), || reference(lifted.clone()));
        }
    }
}

#[test]
fn blockwise_attention_matches() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (3, 7, 20, Heads { queries: 4, keys: 4, width: 8 }),
        (3, 30, 40, Heads { queries: 6, keys: 2, width: 8 }),
    ] {
        let current = matrix(b * s, heads.packed_width(), 1);
        let prefix = (c > 0).then(|| matrix(b * c, heads.packed_width(), 2));
        for (name, mask, dropout) in attention_cases(b, s, c) {
            let leaves: Vec<_> = std::iter::once(current.clone()).chain(prefix.clone()).collect();
            let reference = |prefix| attention_reference(current.clone(), prefix, &mask, heads, dropout);
            // All rows in one group, and one row in each.
            for max_scores in [usize::MAX, 1] {
                let blocks = |prefix| attention::blockwise(current.clone(), prefix, &mask, heads, dropout, max_scores);
                assert_matches_reference(name, &leaves, &[], || blocks(prefix.clone()), || reference(prefix.clone()));
                let fixed = prefix.clone().map(Tensor::inner);
                let lifted = fixed.clone().map(Tensor::autodiff);
                assert_matches_reference(
                    name,
                    &leaves[..1],
                    &[],
                    || blocks(fixed.clone()),
                    || reference(lifted.clone()),
                );
            }
            let bf16 = |x: &Tensor<2>| x.clone().cast(FloatDType::BF16);
            let blocks = || attention(bf16(&current), prefix.as_ref().map(bf16), &mask, heads, dropout);
            let reference = || attention_reference(bf16(&current), prefix.as_ref().map(bf16), &mask, heads, dropout);
            assert_matches_reference(&format!("{name} in bf16"), &leaves, &[], blocks, reference);
        }
    }
}

#[test]
fn scores_match() {
    let device = Device::flex();
    for (n, d, v) in [(3, 4, 5), (600, 24, 300)] {
        let targets: Vec<i32> = (0..n as i32).map(|at| at * 7 % v as i32).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), &device);
        let (hidden, weights) = (matrix(n, d, 1).inner() * 2.0, vector(n, 4).inner());
        for head in [score::Head::Untied(matrix(d, v, 2).inner()), score::Head::Tied(matrix(v, d, 2).inner())] {
            let initial = head.matrix().zeros_like() + 0.5;
            let initial = if matches!(head, score::Head::Untied(_)) { initial } else { initial.transpose() };
            for sum in [None, Some(initial)] {
                let requested =
                    || Some(score::RequestedGradients { loss_weights: weights.clone(), weight_grad_sum: sum.clone() });
                let actual = score::score(hidden.clone(), &head, targets.clone(), requested(), MatmulPrecision::F32);
                let expected =
                    score::reference(hidden.clone(), &head, targets.clone(), requested(), MatmulPrecision::F32);
                assert_close("nll", actual.nll, expected.nll.clone());
                assert_close("entropy", actual.entropy, expected.entropy);
                let (actual, expected) = (actual.grads.unwrap(), expected.grads.unwrap());
                assert_close("dh", actual.hidden, expected.hidden);
                assert_close("dW", actual.weight, expected.weight);
            }
            let actual = score::score(hidden.clone(), &head, targets.clone(), None, MatmulPrecision::F32);
            assert!(actual.grads.is_none());
            let expected = score::reference(hidden.clone(), &head, targets.clone(), None, MatmulPrecision::F32);
            assert_close("nll without gradients", actual.nll, expected.nll);
        }
    }
}

#[test]
fn updates_match_and_are_in_place() {
    let update = adamw::AdamWUpdate {
        lr: 0.01,
        betas: (0.9, 0.99),
        eps: 1e-8,
        weight_decay: 0.1,
        grad_scale: 0.5,
        update_count: 3,
    };
    let [param, grad, first, second] = [1, 2, 3, 4].map(|seed| matrix(300, 140, seed).inner());
    let moments = [first, second.square()];
    let (actual, actual_moments) = update.apply(param.clone(), grad.clone(), moments.clone());
    let (expected, expected_moments) = update.reference(param.clone(), grad.clone(), moments.clone());
    assert_close("parameter", actual, expected);
    for (actual, expected) in actual_moments.into_iter().zip(expected_moments) {
        assert_close("moment", actual, expected);
    }
    // Unshared tensors are updated in place.
    let address = |tensor: &Tensor<2>| graph::slice(&graph::detach(tensor.clone())).as_ptr();
    let unshared = matrix(300, 140, 5).inner() * 1.0;
    let (first, second) = (unshared.zeros_like(), unshared.zeros_like());
    let addresses = [address(&unshared), address(&first), address(&second)];
    let (unshared, [first, second]) = update.apply(unshared, grad.clone(), [first, second]);
    assert_eq!([address(&unshared), address(&first), address(&second)], addresses);
    // Shared tensors are not changed.
    assert_close("the old parameter", param.clone(), matrix(300, 140, 1).inner());
    assert_close("the squared norm", adamw::square_sum(grad.clone()), grad.clone().square().sum());
    assert_close("the sum", adamw::add(param.clone(), grad.clone()), param + grad);
}
