//! Holds every operation of our own to the same made of Burn's, in result and gradients.

use super::attention::plain::composed as attention_composed;
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
    Tensor::from_data(TensorData::new(numbers(count, seed), [count]), &Device::flex().autodiff())
        .require_grad()
}

pub(super) fn close<const D: usize>(what: &str, found: Tensor<D>, wanted: Tensor<D>) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    near(what, found, wanted, 2e-5);
}

/// No number is off by `allowed` of the largest one that is wanted.
pub(super) fn near<const D: usize>(what: &str, found: Tensor<D>, wanted: Tensor<D>, allowed: f32) {
    let [found, wanted] = [found, wanted].map(|tensor| f32(tensor).try_into_vec_as::<f32>().unwrap());
    let size = wanted.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
    for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        assert!((found - wanted).abs() < allowed * size, "{what} at {at}: {found}, wanted {wanted}");
    }
}

/// Holds `own` to `composed`: results, and gradients of a weighed sum with respect to `leaves` and `matrices`.
pub(super) fn hold(
    what: &str,
    matrices: &[Tensor<2>],
    vectors: &[Tensor<1>],
    own: impl Fn() -> Tensor<2>,
    composed: impl Fn() -> Tensor<2>,
) {
    let (own, composed) = (own(), composed());
    let allowed = if own.dtype() == DType::BF16 { 2e-2 } else { 2e-5 };
    hold_within(allowed, what, matrices, vectors, own, composed);
}

/// The same, of results that may be off by `allowed` of the largest number.
pub(super) fn hold_within(
    allowed: f32,
    what: &str,
    matrices: &[Tensor<2>],
    vectors: &[Tensor<1>],
    own: Tensor<2>,
    composed: Tensor<2>,
) {
    near(what, own.clone().inner(), composed.clone().inner(), allowed);
    let [rows, columns] = own.dims();
    let weights = matrix(rows, columns, 99).inner().to_device(&own.device().without_autodiff()).autodiff();
    let [own, composed] = [own, composed].map(|result| (f32(result) * weights.clone()).sum().backward());
    for (at, leaf) in matrices.iter().enumerate() {
        let [own, composed] = [&own, &composed].map(|grads| leaf.grad(grads).unwrap());
        near(&format!("{what}: gradient {at}"), own, composed, allowed);
    }
    for (at, leaf) in vectors.iter().enumerate() {
        let [own, composed] = [&own, &composed].map(|grads| leaf.grad(grads).unwrap());
        near(&format!("{what}: vector {at}"), own, composed, allowed);
    }
}

#[test]
fn they_are_our_own_on_the_cpu_in_f32() {
    let x = matrix(2, 2, 1);
    assert!(graph::ours(&x) && graph::ours(&x.clone().inner()));
    assert!(!graph::ours(&x.cast(FloatDType::BF16)));
}

#[test]
fn norms() {
    for (n, d) in [(1, 3), (7, 40), (700, 96)] {
        let (x, weight, bias) = (matrix(n, d, 1), vector(d, 2), vector(d, 3));
        for bias in [None, Some(bias)] {
            let vectors: Vec<_> = [Some(weight.clone()), bias.clone()].into_iter().flatten().collect();
            let own = || norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let composed = || norm::composed(x.clone(), weight.clone(), bias.clone(), 1e-5);
            hold(&format!("norm {n}×{d}"), std::slice::from_ref(&x), &vectors, own, composed);
        }
    }
}

#[test]
fn gates() {
    for (n, f) in [(1, 2), (5, 34), (300, 130)] {
        let x = matrix(n, f, 1);
        let wide = || x.clone() * 4.0;
        hold("swiglu", std::slice::from_ref(&x), &[], || swiglu(wide()), || gate::swiglu_composed(wide()));
        hold("gelu", std::slice::from_ref(&x), &[], || gelu(wide()), || gate::gelu_composed(wide()));
    }
}

#[test]
fn gates_elsewhere() {
    let x = matrix(5, 34, 1);
    let wide = || (x.clone() * 4.0).cast(FloatDType::BF16);
    hold("swiglu", std::slice::from_ref(&x), &[], || swiglu(wide()), || gate::swiglu_composed(wide()));
    hold("gelu", std::slice::from_ref(&x), &[], || gelu(wide()), || gate::gelu_composed(wide()));
}

#[test]
fn products() {
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
        let onto = residual.then(|| matrix(n, widths.iter().sum(), 9));
        let mut leaves = vec![x.clone()];
        leaves.extend(weights.iter().map(|weight| weight.weight.val()));
        leaves.extend(onto.clone());
        let biases: Vec<_> =
            weights.iter().filter_map(|weight| weight.bias.as_ref()).map(Param::val).collect();
        let own = || linear(x.clone(), &weights, onto.clone(), Products::F32);
        hold("linear", &leaves, &biases, own, || {
            linear::composed(x.clone(), &weights, onto.clone(), Products::F32)
        });
    }
}

#[test]
fn turns() {
    let heads = Heads { queries: 4, keys: 2, width: 6 };
    let x = matrix(10, heads.packed(), 1);
    let table = |seed| matrix(5, 6, seed).inner().slice([0..5, 0..3]).repeat(&[1, 2]);
    let (cos, sin) = (table(2), table(3));
    let own = || turn(x.clone() * 2.0, &cos, &sin, heads);
    hold("turn", std::slice::from_ref(&x), &[], own, || turn::composed(x.clone() * 2.0, &cos, &sin, heads));
}

pub(super) fn sights(b: usize, s: usize, c: usize) -> Vec<(&'static str, Sight)> {
    let limits: Vec<usize> = (0..b * s).map(|at| 1 + (at * 5) % c.max(1)).collect();
    let hidden: Vec<bool> = (0..b * c).map(|at| at % 3 == 2).collect();
    let mut sights = vec![("causal", Sight::causal(b, s, c))];
    if c > 0 {
        sights.push(("isolated", Sight::sparse(b, s, c, limits.clone(), None)));
        sights.push(("joint", Sight::sparse(b, s, c, limits, Some(hidden))));
    }
    sights
}

#[test]
fn attention_of_every_sight() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (2, 150, 0, Heads { queries: 4, keys: 2, width: 8 }),
        (3, 7, 20, Heads { queries: 4, keys: 4, width: 8 }),
        (2, 70, 90, Heads { queries: 6, keys: 2, width: 8 }),
    ] {
        let own = matrix(b * s, heads.packed(), 1);
        let before = (c > 0).then(|| matrix(b * c, heads.packed(), 2));
        for (name, sight) in sights(b, s, c) {
            let leaves: Vec<_> = std::iter::once(own.clone()).chain(before.clone()).collect();
            let ours = |before: Option<Tensor<2>>| attention(own.clone(), before, &sight, heads);
            let composed = |before| attention_composed(own.clone(), before, &sight, heads);
            hold(name, &leaves, &[], || ours(before.clone()), || composed(before.clone()));
            let fixed = before.clone().map(Tensor::inner);
            let lifted = fixed.clone().map(Tensor::autodiff);
            hold(name, std::slice::from_ref(&own), &[], || ours(fixed.clone()), || composed(lifted.clone()));
        }
    }
}

#[test]
fn attention_in_blocks() {
    for (b, s, c, heads) in [
        (2, 5, 0, Heads { queries: 2, keys: 2, width: 4 }),
        (3, 7, 20, Heads { queries: 4, keys: 4, width: 8 }),
        (3, 30, 40, Heads { queries: 6, keys: 2, width: 8 }),
    ] {
        let own = matrix(b * s, heads.packed(), 1);
        let before = (c > 0).then(|| matrix(b * c, heads.packed(), 2));
        for (name, sight) in sights(b, s, c) {
            let leaves: Vec<_> = std::iter::once(own.clone()).chain(before.clone()).collect();
            let composed = |before| attention_composed(own.clone(), before, &sight, heads);
            // All rows at once, and one after the other.
            for scores in [usize::MAX, 1] {
                let ours = |before| attention::blocked(own.clone(), before, &sight, heads, scores);
                hold(name, &leaves, &[], || ours(before.clone()), || composed(before.clone()));
                let fixed = before.clone().map(Tensor::inner);
                let lifted = fixed.clone().map(Tensor::autodiff);
                hold(name, &leaves[..1], &[], || ours(fixed.clone()), || composed(lifted.clone()));
            }
            let bf16 = |x: &Tensor<2>| x.clone().cast(FloatDType::BF16);
            let ours = || attention(bf16(&own), before.as_ref().map(bf16), &sight, heads);
            let composed = || attention_composed(bf16(&own), before.as_ref().map(bf16), &sight, heads);
            hold(&format!("{name} in bf16"), &leaves, &[], ours, composed);
        }
    }
}

#[test]
fn scores() {
    let device = Device::flex();
    for (n, d, v) in [(3, 4, 5), (600, 24, 300)] {
        let targets: Vec<i32> = (0..n as i32).map(|at| at * 7 % v as i32).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), &device);
        let (hidden, weights) = (matrix(n, d, 1).inner() * 2.0, vector(n, 4).inner());
        for head in [score::Head::Own(matrix(d, v, 2).inner()), score::Head::Tied(matrix(v, d, 2).inner())] {
            let before = head.matrix().zeros_like() + 0.5;
            let before = if matches!(head, score::Head::Own(_)) { before } else { before.transpose() };
            for sum in [None, Some(before)] {
                let wanted = || Some(score::Wanted { weights: weights.clone(), sum: sum.clone() });
                let found = score::score(hidden.clone(), &head, targets.clone(), wanted(), Products::F32);
                let same = score::composed(hidden.clone(), &head, targets.clone(), wanted(), Products::F32);
                close("nll", found.nll, same.nll.clone());
                close("entropy", found.entropy, same.entropy);
                let (found, same) = (found.grads.unwrap(), same.grads.unwrap());
                close("dh", found.hidden, same.hidden);
                close("dW", found.weight, same.weight);
            }
            let found = score::score(hidden.clone(), &head, targets.clone(), None, Products::F32);
            assert!(found.grads.is_none());
            let same = score::composed(hidden.clone(), &head, targets.clone(), None, Products::F32);
            close("nll alone", found.nll, same.nll);
        }
    }
}

#[test]
fn updates() {
    let update = adamw::Update { lr: 0.01, betas: (0.9, 0.99), eps: 1e-8, decay: 0.1, scale: 0.5, time: 3 };
    let [param, grad, first, second] = [1, 2, 3, 4].map(|seed| matrix(300, 140, seed).inner());
    let moments = [first, second.square()];
    let (found, own) = update.step(param.clone(), grad.clone(), moments.clone());
    let (wanted, composed) = update.composed(param.clone(), grad.clone(), moments.clone());
    close("parameter", found, wanted);
    for (own, composed) in own.into_iter().zip(composed) {
        close("moment", own, composed);
    }
    // Where nobody else has them, the numbers stay where they are.
    let place = |tensor: &Tensor<2>| graph::slice(&graph::constant(tensor.clone())).as_ptr();
    let own = matrix(300, 140, 5).inner() * 1.0;
    let (first, second) = (own.zeros_like(), own.zeros_like());
    let before = [place(&own), place(&first), place(&second)];
    let (own, [first, second]) = update.step(own, grad.clone(), [first, second]);
    assert_eq!([place(&own), place(&first), place(&second)], before);
    // What others still have is not changed.
    close("the old parameter", param.clone(), matrix(300, 140, 1).inner());
    close("the norm", adamw::square_sum(grad.clone()), grad.clone().square().sum());
    close("the sum", adamw::sum(param.clone(), grad.clone()), param + grad);
}
