//! Properties of the passes, on random models and placements: causality, empty placement, exact recurrence,
//! independence of rows, and gradients against plain autodiff.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, activation};
use coconut_lab::config::{Arch, Flow, LossOn, Model, Reach};
use coconut_lab::model::{Shape, Transformer};
use coconut_lab::recycle::passes::{self, Plan, Tokens};
use coconut_lab::recycle::placement::{self, Positions, Rows, Share};

const V: usize = 31;
const T: usize = 12;
const B: usize = 3;

fn model(arch: Arch, seed: u64) -> Transformer {
    let kv_heads = if arch == Arch::Llama { 2 } else { 4 };
    let config = Model { arch, width: 32, layers: 2, heads: 4, kv_heads, ..Default::default() };
    // Far from the near-identity of a fresh model, so that mistakes show.
    Transformer::new(Shape::from_config(&config, V, T), seed, 0.25, &Device::flex().autodiff())
}

fn ids(seed: u64) -> Vec<i32> {
    (0..B * (T + 1)).map(|i| ((i as u64 * 7919 + seed * 104_729 + 13) % 1009 % V as u64) as i32).collect()
}

fn tokens(ids: &[i32]) -> Tokens {
    Tokens::upload(ids, ids.len() / (T + 1), T, &Device::flex())
}

fn positions(seed: u64, fraction: f64) -> Positions {
    let starts: Vec<bool> = (0..B * T).map(|i| i % T == 0).collect();
    placement::random(Rows { seq_len: T, doc_start: &starts }, Share::Fraction(fraction), seed, 1, 0)
}

fn none(batch: usize) -> Positions {
    Positions { seq_len: T, rows: vec![Vec::new(); batch] }
}

/// Hidden states after `passes` recycled passes.
fn hidden(model: &Transformer, tokens: &Tokens, positions: &Positions, passes: usize) -> Tensor<3> {
    reached(model, tokens, positions, Reach::Dense, passes)
}

/// As [`hidden`], for any reach; sparse ones leave the states of other positions as they were.
fn reached(
    model: &Transformer,
    tokens: &Tokens,
    placed: &Positions,
    reach: Reach,
    passes: usize,
) -> Tensor<3> {
    let model = model.valid();
    let mut states = model.row(model.embed(tokens.inputs.clone()));
    for _ in 0..passes {
        states.hidden = passes::recycled(&model, tokens, &states, placed, reach).0;
    }
    states.hidden
}

const REACHES: [Reach; 3] = [Reach::Dense, Reach::Isolated, Reach::Joint];

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

fn close(a: Tensor<3>, b: Tensor<3>, within: f32) {
    for (a, b) in values(a).into_iter().zip(values(b)) {
        assert!((a - b).abs() <= within, "{a} {b}");
    }
}

#[test]
fn an_empty_placement_is_the_plain_pass_bit_for_bit() {
    for arch in [Arch::Gpt2, Arch::Llama] {
        let (model, tokens) = (model(arch, 1), tokens(&ids(1)));
        assert_eq!(
            values(hidden(&model, &tokens, &none(B), 0)),
            values(hidden(&model, &tokens, &none(B), 1))
        );
    }
}

#[test]
fn a_token_changes_nothing_before_it_in_any_pass() {
    for arch in [Arch::Gpt2, Arch::Llama] {
        let (model, placed) = (model(arch, 2), positions(5, 0.4));
        let before = ids(2);
        for j in [0, 1, 5, 11] {
            let mut after = before.clone();
            after[j] = (after[j] + 1) % V as i32;
            for (passes, reach) in (0..3).flat_map(|passes| REACHES.map(|reach| (passes, reach))) {
                let run = |ids: &[i32]| reached(&model, &tokens(ids), &placed, reach, passes).narrow(0, 0, 1);
                let (a, b) = (run(&before), run(&after));
                if j > 0 {
                    assert_eq!(
                        values(a.clone().narrow(1, 0, j)),
                        values(b.clone().narrow(1, 0, j)),
                        "{arch:?} {j}"
                    );
                }
                // A recycled position hides its own token: there, nothing but later plain positions may move.
                if passes == 0 {
                    assert_ne!(values(a.narrow(1, j, 1)), values(b.narrow(1, j, 1)));
                }
            }
        }
    }
}

#[test]
fn a_recycled_position_does_not_see_its_own_token() {
    let model = model(Arch::Llama, 3);
    let placed = Positions { seq_len: T, rows: vec![vec![6], vec![6], vec![6]] };
    let before = ids(3);
    let mut after = before.clone();
    after[6] = (after[6] + 1) % V as i32;
    let at = |ids: &[i32]| values(hidden(&model, &tokens(ids), &placed, 1).narrow(0, 0, 1).narrow(1, 6, 1));
    assert_eq!(at(&before), at(&after));
    // And it does see the state of the position before: another token there changes it.
    let mut earlier = before.clone();
    earlier[5] = (earlier[5] + 1) % V as i32;
    assert_ne!(at(&before), at(&earlier));
}

#[test]
fn rows_do_not_see_each_other_however_many_positions_they_recycle() {
    let model = model(Arch::Gpt2, 4);
    let placed = Positions { seq_len: T, rows: vec![vec![2, 3, 7, 11], vec![], vec![5]] };
    let all = ids(4);
    for (reach, passes) in [(Reach::Dense, 2), (Reach::Isolated, 2), (Reach::Joint, 1)] {
        let whole = reached(&model, &tokens(&all), &placed, reach, passes);
        for row in [0, 2] {
            let alone = Positions { seq_len: T, rows: vec![placed.rows[row].clone()] };
            let own_tokens = tokens(&all[row * (T + 1)..(row + 1) * (T + 1)]);
            let own = reached(&model, &own_tokens, &alone, reach, passes);
            close(own, whole.clone().narrow(0, row, 1), 1e-5);
        }
    }
}

#[test]
fn a_lone_recycled_position_comes_out_the_same_by_every_reach() {
    for arch in [Arch::Gpt2, Arch::Llama] {
        let (model, tokens) = (model(arch, 5), tokens(&ids(5)));
        let placed = Positions { seq_len: T, rows: vec![vec![4], vec![9], vec![1]] };
        let device = Device::flex();
        let [dense, isolated, joint] = REACHES.map(|reach| {
            let hidden = reached(&model, &tokens, &placed, reach, 1).flatten::<2>(0, 1);
            hidden.select(0, passes::indices(&placed, &device)).unsqueeze::<3>()
        });
        close(dense.clone(), isolated, 1e-5);
        close(dense, joint, 1e-5);
    }
}

/// Position after position, each recycled input being the state of the position before in this very run.
fn recurrence(model: &Transformer, tokens: &Tokens, positions: &Positions) -> Tensor<3> {
    let model = model.valid();
    let mut inputs = model.embed(tokens.inputs.clone());
    let [b, _, d] = inputs.dims();
    for t in 1..T {
        let prefix = model.hidden(inputs.clone().narrow(1, 0, t));
        for row in 0..b {
            if positions.rows[row].contains(&t) {
                let state = prefix.clone().slice([row..row + 1, t - 1..t, 0..d]);
                inputs = inputs.slice_assign([row..row + 1, t..t + 1, 0..d], state);
            }
        }
    }
    model.hidden(inputs)
}

#[test]
fn r_dense_passes_are_the_exact_recurrence_and_fewer_are_not() {
    for (arch, seed) in [(Arch::Gpt2, 1), (Arch::Llama, 2), (Arch::Llama, 3)] {
        let (model, tokens) = (model(arch, seed), tokens(&ids(seed)));
        let placed = positions(seed, 0.35);
        let most = placed.rows.iter().map(Vec::len).max().unwrap();
        let exact = recurrence(&model, &tokens, &placed);
        close(hidden(&model, &tokens, &placed, most), exact.clone(), 1e-4);
        let gap: f32 =
            values(hidden(&model, &tokens, &placed, 1) - exact).iter().fold(0.0, |m, v| m.max(v.abs()));
        assert!(gap > 1e-3, "one pass of {most} should not be exact: {gap}");
    }
}

/// Mean nll at `rows` of `[B·T]` through plain autodiff, logits and all.
fn naive_loss(
    model: &Transformer,
    hidden: Tensor<3>,
    targets: Tensor<1, Int>,
    rows: Tensor<1, Int>,
) -> Tensor<1> {
    let matrix = match &model.head {
        Some(head) => head.weight.val(),
        None => model.embed.weight.val().transpose(),
    };
    let logits = hidden.flatten::<2>(0, 1).select(0, rows.clone()).matmul(matrix);
    let target = targets.select(0, rows).unsqueeze_dim::<2>(1);
    activation::log_softmax(logits, 1).gather(1, target).mean().neg()
}

fn naive_grads(model: &Transformer, tokens: &Tokens, placed: &Positions, plan: &Plan) -> GradientsParams {
    let targets = tokens.targets.clone().flatten::<1>(0, 1);
    let device = Device::flex();
    let all = Tensor::<1, Int>::arange(0..(B * T) as i64, &device);
    let mut states = model.row(model.embed(tokens.inputs.clone()));
    let mut loss = naive_loss(model, states.hidden.clone(), targets.clone(), all.clone());
    let borders = plan.weights.len();
    for (pass, weight) in plan.weights.iter().enumerate() {
        if plan.flow == Flow::Detached || (plan.cut > 0 && borders - pass > plan.cut) {
            states.hidden = states.hidden.detach();
        }
        states.hidden = passes::recycled(model, tokens, &states, placed, plan.reach).0;
        let rows = match plan.loss_on {
            LossOn::All => all.clone(),
            LossOn::Recycled => passes::indices(placed, &device),
        };
        let own = naive_loss(model, states.hidden.clone(), targets.clone(), rows);
        loss = loss + own.mul_scalar(*weight);
    }
    GradientsParams::from_grads(loss.backward(), model)
}

#[test]
fn gradients_are_those_of_plain_autodiff() {
    use {Arch::*, Flow::*, Reach::*};
    for (arch, reach, flow, cut, loss_on, weights) in [
        (Llama, Dense, Detached, 0, LossOn::Recycled, &[1.0][..]),
        (Llama, Dense, Through, 0, LossOn::All, &[0.0, 0.3]),
        (Gpt2, Dense, Detached, 0, LossOn::All, &[0.4, 0.7]),
        (Gpt2, Dense, Through, 0, LossOn::Recycled, &[0.0, 0.5, 2.0]),
        (Llama, Dense, Through, 1, LossOn::Recycled, &[0.3, 1.0, 0.5]),
        (Gpt2, Dense, Through, 2, LossOn::Recycled, &[0.0, 0.0, 1.0]),
        (Llama, Isolated, Through, 0, LossOn::Recycled, &[0.5, 1.0]),
        (Gpt2, Joint, Through, 0, LossOn::Recycled, &[1.5]),
    ] {
        let (model, tokens, placed) = (model(arch, 9), tokens(&ids(9)), positions(9, 0.3));
        let plan = Plan { reach, weights: weights.to_vec(), flow, cut, loss_on };
        let mut place = |_: &Tensor<1>| placed.clone();
        let found = passes::train(&model, &tokens, &plan, Some(&mut place), 1.0).grads;
        let wanted = naive_grads(&model, &tokens, &placed, &plan);
        assert_eq!(found.len(), wanted.len());
        let mut same = Same { found: &found, wanted: &wanted, about: format!("{arch:?} {plan:?}") };
        model.visit(&mut same);
    }
}

/// Holds the gradient of every parameter, matrices and vectors, to the wanted one.
struct Same<'a> {
    found: &'a GradientsParams,
    wanted: &'a GradientsParams,
    about: String,
}

impl ModuleVisitor for Same<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (a, b) = (self.found.get::<D>(param.id).unwrap(), self.wanted.get::<D>(param.id).unwrap());
        let largest = values(b.clone()).iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (a, b) in values(a).into_iter().zip(values(b)) {
            // The key bias of attention has no effect, so its gradient is rounding alone.
            assert!((a - b).abs() <= 1e-4 * largest + 1e-7, "{}: {a} {b}", self.about);
        }
    }
}

#[test]
fn without_a_placement_a_step_is_a_plain_one() {
    let (model, tokens) = (model(Arch::Llama, 8), tokens(&ids(8)));
    let plan = Plan {
        reach: Reach::Dense,
        weights: vec![1.0],
        flow: Flow::Detached,
        cut: 0,
        loss_on: LossOn::Recycled,
    };
    let mut nowhere = |_: &Tensor<1>| none(B);
    let plain = passes::train(&model, &tokens, &plan, None, 1.0);
    let empty = passes::train(&model, &tokens, &plan, Some(&mut nowhere), 1.0);
    assert!(plain.recycled.is_none() && empty.recycled.is_none());
    let id = model.embed.weight.id;
    assert_eq!(values(plain.grads.get::<2>(id).unwrap()), values(empty.grads.get::<2>(id).unwrap()));
}
