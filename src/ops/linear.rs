//! Owns: products with weights: several weights on one input, results side by side, bias and residual added in the same
//! go; as one operation with its own backward pass.
//! Must not know: what the weights are for.
//! Invariant: a row of the result depends on the same row of the input alone.

use super::graph::{Values, operand, operation, ours, slice, values};
use super::product::{View, ViewMut, product_on_all};
use super::threads::{self, SUMMED, summed, unwritten};
use super::trace::Work;
use super::vector::{self, wide};
use super::{Products, f32};
use burn::backend::TensorMetadata;
use burn::nn::Linear;
use burn::tensor::Tensor;
use rayon::prelude::*;

/// `onto + [x·w₁ + b₁ | x·w₂ + b₂ | …]`: `x` `[N, D]`, each weight `[D, F]`, all with a bias `[F]` or none; the result
/// `[N, ΣF]`, as `onto`: f32 where there is an `onto`, else of what `products` are.
pub fn linear(x: Tensor<2>, weights: &[&Linear], onto: Option<Tensor<2>>, products: Products) -> Tensor<2> {
    if products == Products::F32 && ours(&x) {
        return own(x, weights, onto);
    }
    let _span = work(&x, weights).goes();
    composed(x, weights, onto, products)
}

/// Two operations a multiply-add; back, a product each with input and weights.
fn work(x: &Tensor<2>, weights: &[&Linear]) -> Work {
    let weights: usize = weights.iter().map(|weight| weight.weight.shape().num_elements()).sum();
    let forward = 2.0 * (x.dims()[0] * weights) as f64;
    Work { name: "linear", forward, backward: 2.0 * forward }
}

/// The same of Burn's own operations.
pub(super) fn composed(
    x: Tensor<2>,
    weights: &[&Linear],
    onto: Option<Tensor<2>>,
    products: Products,
) -> Tensor<2> {
    let x = products.factor(x);
    let side = |parts: Vec<Tensor<2>>| match &parts[..] {
        [one] => one.clone(),
        _ => Tensor::cat(parts, 1),
    };
    let matrix = side(weights.iter().map(|weight| products.factor(weight.weight.val())).collect());
    let biases = weights.iter().filter_map(|weight| weight.bias.as_ref()).map(|bias| bias.val().unsqueeze());
    let biases: Vec<_> = biases.map(|bias| products.factor(bias)).collect();
    let mut all = x.matmul(matrix);
    if !biases.is_empty() {
        all = all + side(biases);
    }
    match onto {
        Some(onto) => onto + f32(all),
        None => all,
    }
}

/// What the way back needs.
#[derive(Clone, Debug)]
struct State {
    x: Values,
    weights: Vec<Values>,
    biases: usize,
}

fn own(x: Tensor<2>, weights: &[&Linear], onto: Option<Tensor<2>>) -> Tensor<2> {
    let work = work(&x, weights);
    let biases = weights.iter().filter(|weight| weight.bias.is_some()).count();
    let mut operands = vec![operand(x)];
    operands.extend(weights.iter().map(|weight| operand(weight.weight.val())));
    operands.extend(weights.iter().filter_map(|weight| weight.bias.as_ref()).map(|bias| operand(bias.val())));
    operands.extend(onto.map(operand));
    let count = weights.len();
    operation(
        work,
        operands,
        |operands| {
            let (x, rest) = (operands[0].clone(), &operands[1..]);
            let (weights, rest) = rest.split_at(count);
            let (offsets, onto) = rest.split_at(biases);
            let result = forward(&x, weights, offsets, onto.first());
            (result, State { x, weights: weights.to_vec(), biases })
        },
        backward,
    )
}

fn forward(x: &Values, weights: &[Values], biases: &[Values], onto: Option<&Values>) -> Values {
    let [n, d] = [x.shape()[0], x.shape()[1]];
    let width: usize = weights.iter().map(|weight| weight.shape()[1]).sum();
    let mut out = match onto {
        Some(onto) => slice(onto).to_vec(),
        None => unwritten(n * width),
    };
    let x = View::new(slice(x), n, d, d);
    let mut from = 0;
    for weight in weights {
        let f = weight.shape()[1];
        let place = ViewMut::new(&mut out[from..], n, f, width);
        product_on_all(place, x, View::new(slice(weight), d, f, f), onto.is_some());
        from += f;
    }
    if !biases.is_empty() {
        let bias: Vec<f32> = biases.iter().flat_map(slice).copied().collect();
        threads::rows(&mut out, width, |_, rows| {
            wide(
                #[inline(always)]
                || rows.chunks_exact_mut(width).for_each(|row| vector::add(row, &bias)),
            );
        });
    }
    values(out, [n, width])
}

/// `dx = Σ grad·wᵀ`, `dw = xᵀ·grad`, `db = Σ grad` over the rows; the residual's is the gradient itself.
fn backward(state: State, grad: Values, wanted: &[bool]) -> Vec<Option<Values>> {
    let State { x, weights, biases } = state;
    let [n, d] = [x.shape()[0], x.shape()[1]];
    let width = grad.shape()[1];
    let numbers = slice(&grad);
    let mut from = 0;
    let mut to_x = wanted[0].then(|| unwritten(n * d));
    let mut to_weights = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let f = weight.shape()[1];
        let own = View::new(&numbers[from..], n, f, width);
        if let Some(to_x) = &mut to_x {
            let back = View::new(slice(weight), d, f, f).t();
            product_on_all(ViewMut::new(to_x, n, d, d), own, back, index > 0);
        }
        to_weights.push(wanted[1 + index].then(|| {
            let mut to = unwritten(d * f);
            product_on_all(ViewMut::new(&mut to, d, f, f), View::new(slice(&x), n, d, d).t(), own, false);
            values(to, [d, f])
        }));
        from += f;
    }
    let mut found = vec![to_x.map(|to_x| values(to_x, [n, d]))];
    found.extend(to_weights);
    if biases > 0 {
        let sums = columns(numbers, width);
        let mut from = 0;
        for weight in &weights {
            let f = weight.shape()[1];
            found.push(Some(values(sums[from..from + f].to_vec(), [f])));
            from += f;
        }
    }
    if found.len() < wanted.len() {
        found.push(Some(grad));
    }
    found
}

/// The sums of the columns of rows of `width`.
fn columns(numbers: &[f32], width: usize) -> Vec<f32> {
    let parts = numbers.par_chunks(SUMMED * width).map(|rows| {
        let mut sums = vec![0.0; width];
        wide(
            #[inline(always)]
            || rows.chunks_exact(width).for_each(|row| vector::add(&mut sums, row)),
        );
        sums
    });
    summed(width, parts)
}
