//! Tests properties of the passes on random models and placements: causality, empty placement, exact recurrence,
//! independence of rows, and gradients against plain autodiff.

use crate::fixtures::*;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, activation};
use coconut_lab::config::{Arch, Control, Feedback, GradientFlow, LossPositions, PassScope, StateTransform};
use coconut_lab::model::accumulator::{GradientAccumulator, Timing};
use coconut_lab::model::{FeedbackSpec, GatherIndex, TokenBatch, Transformer};
use coconut_lab::recycle::passes::{self, RecyclePlan, RecycledPass};
use coconut_lab::recycle::placement::RecycledPositions;
use coconut_lab::recycle::sequential::run_sequential;

/// Returns the hidden states `[B, T, D]` after `passes` dense recycled passes.
fn dense_hidden_states(
    model: &Transformer,
    tokens: &TokenBatch,
    positions: &RecycledPositions,
    passes: usize,
) -> Tensor<3> {
    hidden_states(model, tokens, positions, &pass(PassScope::Dense), passes)
}

const FEEDBACK_SPECS: [FeedbackSpec; 4] = [
    FeedbackSpec::PLAIN,
    FeedbackSpec { mode: Feedback::Add, state: StateTransform::Projected, add_scale: 0.3 },
    FeedbackSpec { mode: Feedback::Gated, state: StateTransform::Rescaled, add_scale: 0.0 },
    FeedbackSpec { mode: Feedback::Replace, state: StateTransform::Rescaled, add_scale: 0.0 },
];

#[test]
fn an_empty_placement_equals_the_plain_pass_bit_for_bit() {
    let placed = RecycledPositions { seq_len: T, rows: vec![vec![], vec![2, 7], vec![]] };
    for (arch, spec) in [Arch::Gpt2, Arch::Llama].into_iter().flat_map(|arch| FEEDBACK_SPECS.map(|spec| (arch, spec))) {
        let (model, tokens) = (model_with_feedback(arch, 1, spec), tokens(&ids(1)));
        for (reach, passes) in PASS_SCOPES.into_iter().flat_map(|reach| [(reach, 1), (reach, 2)]) {
            let row =
                |passes, row| values(hidden_states(&model, &tokens, &placed, &pass(reach), passes).narrow(0, row, 1));
            assert_eq!(row(0, 0), row(passes, 0));
            assert_eq!(row(0, 2), row(passes, 2));
            assert_ne!(row(0, 1), row(passes, 1));
        }
    }
}

#[test]
fn a_token_does_not_affect_earlier_positions_in_any_pass() {
    for (arch, spec) in [Arch::Gpt2, Arch::Llama].into_iter().flat_map(|arch| FEEDBACK_SPECS.map(|spec| (arch, spec))) {
        let (model, placed) = (model_with_feedback(arch, 2, spec), random_positions(5, 0.4));
        let before = ids(2);
        for j in [0, 1, 5, 11] {
            let mut after = before.clone();
            after[j] = (after[j] + 1) % V as i32;
            for (passes, reach) in (0..3).flat_map(|passes| PASS_SCOPES.map(|reach| (passes, reach))) {
                let run =
                    |ids: &[i32]| hidden_states(&model, &tokens(ids), &placed, &pass(reach), passes).narrow(0, 0, 1);
                let (a, b) = (run(&before), run(&after));
                if j > 0 {
                    assert_eq!(values(a.clone().narrow(1, 0, j)), values(b.clone().narrow(1, 0, j)), "{arch:?} {j}");
                }
                // A recycled position hides its own token, so only the plain pass must differ at `j`.
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
    let placed = RecycledPositions { seq_len: T, rows: vec![vec![6], vec![6], vec![6]] };
    let before = ids(3);
    let mut after = before.clone();
    after[6] = (after[6] + 1) % V as i32;
    let at =
        |ids: &[i32]| values(dense_hidden_states(&model, &tokens(ids), &placed, 1).narrow(0, 0, 1).narrow(1, 6, 1));
    assert_eq!(at(&before), at(&after));
    // It sees the state of the previous position: another token there changes it.
    let mut earlier = before.clone();
    earlier[5] = (earlier[5] + 1) % V as i32;
    assert_ne!(at(&before), at(&earlier));
}

#[test]
fn rows_are_independent_however_many_positions_they_recycle() {
    let placed = RecycledPositions { seq_len: T, rows: vec![vec![2, 3, 7, 11], vec![], vec![5]] };
    let all = ids(4);
    for (reach, spec) in PASS_SCOPES.into_iter().flat_map(|reach| FEEDBACK_SPECS.map(|spec| (reach, spec))) {
        let model = model_with_feedback(Arch::Gpt2, 4, spec);
        // The noise of the first row does not depend on other rows, either.
        let noisy = RecycledPass { jitter: if spec == FeedbackSpec::PLAIN { 0.5 } else { 0.0 }, ..pass(reach) };
        let whole = hidden_states(&model, &tokens(&all), &placed, &noisy, 2);
        for row in [0, 2].into_iter().filter(|row| *row == 0 || noisy.jitter == 0.0) {
            let alone = RecycledPositions { seq_len: T, rows: vec![placed.rows[row].clone()] };
            let own_tokens = tokens(&all[row * (T + 1)..(row + 1) * (T + 1)]);
            let own = hidden_states(&model, &own_tokens, &alone, &noisy, 2);
            assert_close(own, whole.clone().narrow(0, row, 1), 1e-5);
        }
    }
}

#[test]
fn a_single_recycled_position_is_the_same_in_every_pass_scope() {
    for arch in [Arch::Gpt2, Arch::Llama] {
        let (model, tokens) = (model(arch, 5), tokens(&ids(5)));
        let placed = RecycledPositions { seq_len: T, rows: vec![vec![4], vec![9], vec![1]] };
        let device = Device::flex();
        let [dense, isolated, joint] = PASS_SCOPES.map(|reach| {
            GatherIndex::new(&placed.rows, T, &device).gather(&hidden_states(&model, &tokens, &placed, &pass(reach), 1))
        });
        assert_close(dense.clone(), isolated, 1e-5);
        assert_close(dense, joint, 1e-5);
    }
}

/// Computes position by position; each recycled input is the state of the previous position in the same computation.
fn recurrence(model: &Transformer, tokens: &TokenBatch, positions: &RecycledPositions) -> Tensor<3> {
    let model = model.valid();
    let mut inputs = model.embed(tokens.inputs.clone());
    let [b, _, d] = inputs.dims();
    for t in 1..T {
        let prefix = model.forward(inputs.clone().narrow(1, 0, t)).hidden;
        for row in 0..b {
            if positions.rows[row].contains(&t) {
                let state = prefix.clone().slice([row..row + 1, t - 1..t, 0..d]);
                inputs = inputs.slice_assign([row..row + 1, t..t + 1, 0..d], state);
            }
        }
    }
    model.forward(inputs).hidden
}

#[test]
fn r_dense_passes_are_the_exact_recurrence_and_fewer_are_not() {
    for (arch, seed) in [(Arch::Gpt2, 1), (Arch::Llama, 2), (Arch::Llama, 3)] {
        let (model, tokens) = (model(arch, seed), tokens(&ids(seed)));
        let placed = random_positions(seed, 0.35);
        let max_count = placed.rows.iter().map(Vec::len).max().unwrap();
        let exact = recurrence(&model, &tokens, &placed);
        assert_close(dense_hidden_states(&model, &tokens, &placed, max_count), exact.clone(), 1e-4);
        let max_difference: f32 =
            values(dense_hidden_states(&model, &tokens, &placed, 1) - exact).iter().fold(0.0, |m, v| m.max(v.abs()));
        assert!(max_difference > 1e-3, "one pass of {max_count} should not be exact: {max_difference}");
    }
}

#[test]
fn the_sequential_computation_matches_the_recurrence_for_every_feedback() {
    for (arch, spec) in [Arch::Gpt2, Arch::Llama].into_iter().flat_map(|arch| FEEDBACK_SPECS.map(|spec| (arch, spec))) {
        let (model, tokens) = (model_with_feedback(arch, 6, spec), tokens(&ids(6)));
        let columns = vec![1, 2, 5, 6, 7, 11];
        let placed = RecycledPositions { seq_len: T, rows: vec![columns.clone(); B] };
        let scaled = RecycledPass { scale: 0.8, ..pass(PassScope::Dense) };
        let parallel = hidden_states(&model, &tokens, &placed, &scaled, columns.len());
        let found = run_sequential(&model.valid(), &tokens, &columns, 0.8);
        let (flop, found) = (found.flop - model.feedback.flop(B * columns.len(), Control::None), found.hidden);
        assert_close(found.clone(), parallel.clone(), 1e-4);
        if spec == FeedbackSpec::PLAIN && arch == Arch::Llama {
            assert_close(
                run_sequential(&model.valid(), &tokens, &columns, 1.0).hidden,
                recurrence(&model, &tokens, &placed),
                1e-4,
            );
        }
        // Every position is computed once, as in a plain pass, but without scores of later positions.
        let shape = model.shape();
        assert!(flop < shape.blocks_flop(B * T, T) && flop > shape.blocks_flop(B * T, 1), "{flop}");
    }
}

/// Joint passes converge to a recurrence over the recycled positions from left to right. Each position attends to the
/// recycled keys and values of recycled positions, and to the plain ones of the others.
#[test]
fn r_joint_passes_are_a_recurrence_over_the_recycled_positions() {
    for arch in [Arch::Gpt2, Arch::Llama] {
        let (model, tokens) = (model(arch, 12), tokens(&ids(12)));
        let placed = RecycledPositions { seq_len: T, rows: vec![vec![3, 4, 5, 8], vec![1, 2], vec![6, 9, 10]] };
        let joint = |placed: &RecycledPositions, passes| {
            hidden_states(&model, &tokens, placed, &pass(PassScope::Joint), passes)
        };
        let exact = joint(&placed, 4);
        assert_close(joint(&placed, 5), exact.clone(), 1e-5);
        assert!(max_difference(&values(joint(&placed, 1)), &values(exact.clone())) > 1e-3);
        // After n passes the first n positions of a row are exact.
        for n in 1..=4 {
            let rows = placed.rows.iter().map(|row| row[..n.min(row.len())].to_vec()).collect();
            let first = RecycledPositions { seq_len: T, rows };
            let places = GatherIndex::new(&first.rows, T, &Device::flex());
            assert_close(places.gather(&joint(&first, n)), places.gather(&exact), 1e-5);
            assert_close(places.gather(&joint(&placed, n)), places.gather(&exact), 1e-5);
        }
    }
}

/// Returns the mean NLL at `rows` of `[B·T]` by plain autodiff, with complete logits.
fn naive_loss(model: &Transformer, hidden: Tensor<3>, targets: Tensor<1, Int>, rows: Tensor<1, Int>) -> Tensor<1> {
    let matrix = match &model.head {
        Some(head) => head.weight.val(),
        None => model.embed.weight.val().transpose(),
    };
    let logits = hidden.flatten::<2>(0, 1).select(0, rows.clone()).matmul(matrix);
    let target = targets.select(0, rows).unsqueeze_dim::<2>(1);
    activation::log_softmax(logits, 1).gather(1, target).mean().neg()
}

fn naive_grads(
    model: &Transformer,
    tokens: &TokenBatch,
    placed: &RecycledPositions,
    plan: &RecyclePlan,
) -> GradientsParams {
    let targets = tokens.flat_targets();
    let device = Device::flex();
    let all = Tensor::<1, Int>::arange(0..(B * T) as i64, &device);
    let mut states = plain_pass(model, tokens);
    let mut loss = naive_loss(model, states.hidden.clone(), targets.clone(), all.clone());
    let pass_count = plan.loss_weights.len();
    for (pass, weight) in plan.loss_weights.iter().enumerate() {
        if plan.flow == GradientFlow::Detached || (plan.cut > 0 && pass_count - pass > plan.cut) {
            states = states.detached();
        }
        states = passes::recycled_pass(model, tokens, states, placed, &plan.pass).0;
        let rows = match plan.loss_on {
            LossPositions::All => all.clone(),
            LossPositions::Recycled => GatherIndex::new(&placed.rows, T, &device).flat_indices(),
        };
        let own = naive_loss(model, states.hidden.clone(), targets.clone(), rows);
        loss = loss + own.mul_scalar(*weight);
    }
    GradientsParams::from_grads(loss.backward(), model)
}

#[test]
fn gradients_match_plain_autodiff() {
    use Arch::*;
    use GradientFlow::*;
    use PassScope::*;
    for (arch, reach, flow, cut, loss_on, weights) in [
        (Llama, Dense, Detached, 0, LossPositions::Recycled, &[1.0][..]),
        (Llama, Dense, Through, 0, LossPositions::All, &[0.0, 0.3]),
        (Gpt2, Dense, Detached, 0, LossPositions::All, &[0.4, 0.7]),
        (Gpt2, Dense, Through, 0, LossPositions::Recycled, &[0.0, 0.5, 2.0]),
        (Llama, Dense, Through, 1, LossPositions::Recycled, &[0.3, 1.0, 0.5]),
        (Gpt2, Dense, Through, 2, LossPositions::Recycled, &[0.0, 0.0, 1.0]),
        (Llama, Isolated, Through, 0, LossPositions::Recycled, &[0.5, 1.0]),
        (Gpt2, Joint, Through, 0, LossPositions::Recycled, &[1.5]),
        (Llama, Joint, Detached, 0, LossPositions::Recycled, &[0.5, 1.0]),
    ] {
        for spec in FEEDBACK_SPECS {
            let (model, tokens, placed) =
                (model_with_feedback(arch, 9, spec), tokens(&ids(9)), random_positions(9, 0.3));
            let plan = RecyclePlan { cut, ..plan(reach, flow, loss_on, weights) };
            let mut place = |_: &Tensor<1>| placed.clone();
            let found = passes::forward_backward(
                GradientAccumulator::new(&model, 1.0, Timing::Off),
                &tokens,
                &plan,
                Some(&mut place),
            )
            .grads;
            let expected = naive_grads(&model, &tokens, &placed, &plan);
            assert_eq!(found.len(), expected.len());
            let case = format!("{arch:?} {plan:?} {spec:?}");
            model.visit(&mut GradientComparison { found: &found, expected: &expected, case });
        }
    }
}

/// Compares the gradient of every parameter with the expected one.
struct GradientComparison<'a> {
    found: &'a GradientsParams,
    expected: &'a GradientsParams,
    case: String,
}

impl ModuleVisitor for GradientComparison<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (a, b) = match (self.found.get::<D>(param.id), self.expected.get::<D>(param.id)) {
            (Some(a), Some(b)) => (a, b),
            // The pause vector is not used, so neither has a gradient.
            (a, b) => return assert!(a.is_none() && b.is_none(), "{}", self.case),
        };
        let largest = values(b.clone()).iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (a, b) in values(a).into_iter().zip(values(b)) {
            // The key bias of attention has no effect, so its gradient is only rounding error.
            assert!((a - b).abs() <= 1e-4 * largest + 1e-7, "{}: {a} {b}", self.case);
        }
    }
}

#[test]
fn without_a_placement_a_step_equals_a_plain_step() {
    let (model, tokens) = (model(Arch::Llama, 8), tokens(&ids(8)));
    let plan = plan(PassScope::Dense, GradientFlow::Detached, LossPositions::Recycled, &[1.0]);
    let mut place_nowhere = |_: &Tensor<1>| no_positions(B);
    let plain = passes::forward_backward(GradientAccumulator::new(&model, 1.0, Timing::Off), &tokens, &plan, None);
    let empty = passes::forward_backward(
        GradientAccumulator::new(&model, 1.0, Timing::On),
        &tokens,
        &plan,
        Some(&mut place_nowhere),
    );
    assert!(plain.recycled.is_none() && empty.recycled.is_none());
    let id = model.embed.weight.id;
    assert_eq!(values(plain.grads.get::<2>(id).unwrap()), values(empty.grads.get::<2>(id).unwrap()));
}
