//! Tests how a state becomes an input, and the controls that replace it.

use crate::fixtures::*;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use coconut_lab::config::{Arch, Control, Feedback, GradientFlow, LossPositions, PassScope, StateTransform};
use coconut_lab::model::accumulator::{GradientAccumulator, Timing};
use coconut_lab::model::{FeedbackSpec, GatherIndex, rms};
use coconut_lab::recycle::passes::{self, RecycledPass};
use coconut_lab::recycle::placement::RecycledPositions;

fn spec_for(feedback: Feedback, state: StateTransform) -> FeedbackSpec {
    FeedbackSpec { mode: feedback, state, add_scale: 0.1 }
}

#[test]
fn new_feedback_matrices_leave_the_state_unchanged() {
    let (tokens, placed) = (tokens(&ids(1)), random_positions(1, 0.3));
    let after =
        |spec| hidden_states(&model_with_feedback(Arch::Llama, 1, spec), &tokens, &placed, &pass(PassScope::Dense), 1);
    let plain = after(FeedbackSpec::PLAIN);
    assert_close(after(spec_for(Feedback::Replace, StateTransform::Projected)), plain.clone(), 1e-5);
    assert_close(after(spec_for(Feedback::Gated, StateTransform::Raw)), plain.clone(), 1e-5);
    let rescaled = after(spec_for(Feedback::Replace, StateTransform::Rescaled));
    assert!(max_difference(&values(rescaled), &values(plain)) > 1e-3);
}

#[test]
fn a_scale_of_zero_equals_the_plain_pass() {
    let (tokens, placed) = (tokens(&ids(2)), random_positions(2, 0.5));
    let model = model_with_feedback(
        Arch::Gpt2,
        2,
        FeedbackSpec { add_scale: 0.0, ..spec_for(Feedback::Add, StateTransform::Raw) },
    );
    let plain = values(hidden_states(&model, &tokens, &no_positions(B), &pass(PassScope::Dense), 0));
    assert_eq!(values(hidden_states(&model, &tokens, &placed, &pass(PassScope::Dense), 1)), plain);
    // The factor `recycle.scale` = 0 has the same effect on a learned scale that is not 0.
    let model = model_with_feedback(Arch::Gpt2, 2, spec_for(Feedback::Add, StateTransform::Raw));
    let silent = RecycledPass { scale: 0.0, ..pass(PassScope::Dense) };
    assert_eq!(values(hidden_states(&model, &tokens, &placed, &silent, 1)), plain);
    assert_ne!(values(hidden_states(&model, &tokens, &placed, &pass(PassScope::Dense), 1)), plain);
}

#[test]
fn formulas_match_the_documentation() {
    let model = model_with_feedback(Arch::Llama, 3, spec_for(Feedback::Gated, StateTransform::Rescaled)).valid();
    let embeddings = model.embed.weight.val();
    let state = Tensor::<2>::from_data([[3.0; 32], [-0.5; 32]], &Device::flex());
    let rescaled = model.feedback.transform_state(state, embeddings.clone());
    let measured = values(rms(embeddings.clone().reshape([1, -1]), 1))[0];
    for found in values(rms(rescaled.clone(), 1)) {
        assert!((found - measured).abs() < 1e-5, "{found} {measured}");
    }
    // W_u h ⊙ σ(W_g e), with matrices far from their initial values.
    let mut gated = model.feedback.clone();
    let (up, gate) = (gated.up.as_mut().unwrap(), gated.gate.as_mut().unwrap());
    up.weight = up.weight.clone().map(|weight| weight.slice_fill([0..1, 0..32], 0.3));
    gate.weight = gate.weight.clone().map(|weight| weight.slice_fill([0..32, 5..6], -2.0));
    let (up, gate) = (up.weight.val(), gate.weight.val());
    let token = embeddings.narrow(0, 4, 2);
    let expected = rescaled.clone().matmul(up) * activation::sigmoid(token.clone().matmul(gate));
    assert_close(gated.combine_input(rescaled, || token.clone()), expected, 1e-5);
    let add = model_with_feedback(Arch::Llama, 3, spec_for(Feedback::Add, StateTransform::Raw)).valid();
    let state = token.clone() * 7.0;
    assert_close(add.feedback.combine_input(state.clone(), || token.clone()), token + state * 0.1, 1e-6);
}

#[test]
fn an_added_or_gated_position_sees_its_own_token_and_a_replaced_one_does_not() {
    let placed = RecycledPositions { seq_len: T, rows: vec![vec![6]; B] };
    let before = ids(3);
    let mut after = before.clone();
    after[6] = (after[6] + 1) % V as i32;
    for (feedback, sees) in [(Feedback::Replace, false), (Feedback::Add, true), (Feedback::Gated, true)] {
        let mut model = model_with_feedback(Arch::Llama, 3, spec_for(feedback, StateTransform::Raw)).valid();
        if let Some(gate) = &mut model.feedback.gate {
            gate.weight = gate.weight.clone().map(|weight| weight + 0.3);
        }
        for reach in PASS_SCOPES {
            let at = |ids: &[i32]| {
                let (tokens, places) = (tokens(ids), GatherIndex::new(&placed.rows, T, &Device::flex()));
                let own = places.gather(&hidden_states(&model, &tokens, &placed, &pass(reach), 1));
                values(own.narrow(0, 0, 1))
            };
            assert_eq!(at(&before) != at(&after), sees, "{feedback:?} {reach:?}");
        }
    }
}

#[test]
fn noise_differs_between_steps_and_grows_with_the_jitter() {
    let (model, tokens, placed) = (model(Arch::Llama, 4), tokens(&ids(4)), random_positions(4, 0.4));
    let after = |jitter, step| {
        let noisy = RecycledPass { jitter, rng_key: rng_key(1, step), ..pass(PassScope::Dense) };
        values(hidden_states(&model, &tokens, &placed, &noisy, 1))
    };
    let (none, small, large) = (after(0.0, 1), after(1e-4, 1), after(0.5, 1));
    assert_eq!(large, after(0.5, 1));
    assert_ne!(large, after(0.5, 2));
    assert_eq!(none, after(0.0, 2));
    assert!(
        max_difference(&none, &small) > 0.0 && max_difference(&none, &small) < 0.01 * max_difference(&none, &large)
    );
}

#[test]
fn the_pause_and_masked_controls_ignore_the_row() {
    let (model, tokens, placed) = (model(Arch::Llama, 5), tokens(&ids(5)), random_positions(5, 0.4));
    let frozen = model.valid();
    for (control, vector) in [
        (Control::Pause, frozen.feedback.pause.val().unsqueeze::<2>()),
        (Control::Masked, frozen.embed.weight.val().mean_dim(0)),
    ] {
        let found = hidden_states(&model, &tokens, &placed, &RecycledPass { control, ..pass(PassScope::Dense) }, 1);
        let places = GatherIndex::new(&placed.rows, T, &Device::flex());
        let inputs = places.scatter(&frozen.embed(tokens.inputs.clone()), vector.expand([placed.count(), 32]));
        assert_close(found, frozen.forward(inputs).hidden, 1e-5);
    }
}

#[test]
fn a_shuffled_state_comes_from_another_row() {
    let model = model(Arch::Llama, 6);
    let all = ids(6);
    let mut after = all.clone();
    // All tokens of row 0 before its recycled positions change; the states of rows 1 and 2 do not.
    after[..9].iter_mut().for_each(|id| *id = (*id + 1) % V as i32);
    for rows in [vec![vec![9], vec![4], vec![7]], vec![vec![9, 10], vec![], vec![]]] {
        let placed = RecycledPositions { seq_len: T, rows };
        for step in 1..20 {
            let shuffled =
                RecycledPass { control: Control::Shuffled, rng_key: rng_key(1, step), ..pass(PassScope::Dense) };
            // Returns whether the row's result differs from that with its own states, and the result.
            let fed = |ids: &[i32], row: usize| {
                let [a, b] = [&shuffled, &pass(PassScope::Dense)]
                    .map(|pass| values(hidden_states(&model, &tokens(ids), &placed, pass, 1).narrow(0, row, 1)));
                (max_difference(&a, &b) > 1e-3, a)
            };
            assert!(fed(&all, 0).0, "step {step}: row 0 is fed its own state");
            if placed.rows[1].is_empty() {
                assert_eq!(fed(&all, 1).1, fed(&after, 1).1);
            }
        }
    }
}

#[test]
fn in_a_batch_of_one_row_a_shuffled_state_comes_from_an_earlier_position() {
    let model = model(Arch::Llama, 6);
    let all = ids(6)[..=T].to_vec();
    let placed = RecycledPositions { seq_len: T, rows: vec![vec![3, 6, 9]] };
    for step in 1..20 {
        let shuffled =
            RecycledPass { control: Control::Shuffled, rng_key: rng_key(1, step), ..pass(PassScope::Isolated) };
        let before = nll_at_recycled(&model, &tokens(&all), &placed, &shuffled);
        // The state of position 8 is never fed to an earlier position: its token does not affect the other two.
        let mut later = all.clone();
        later[8] = (later[8] + 1) % V as i32;
        assert_eq!(before[..2], nll_at_recycled(&model, &tokens(&later), &placed, &shuffled)[..2]);
        let own = nll_at_recycled(&model, &tokens(&all), &placed, &pass(PassScope::Isolated));
        assert!(before.iter().zip(&own).all(|(a, b)| (a - b).abs() > 1e-5), "{before:?} {own:?}");
    }
}

#[test]
fn the_initial_pause_vector_differs_from_every_embedding() {
    let model = model_with_feedback(Arch::Llama, 3, FeedbackSpec::PLAIN).valid();
    let pause = model.feedback.pause.val().unsqueeze::<2>();
    let matrix = model.embed.weight.val();
    let product = pause.clone().matmul(matrix.clone().transpose());
    let norm = |rows: Tensor<2>| rows.square().sum_dim(1).sqrt();
    let cosines = values(product / norm(pause) / norm(matrix).transpose());
    assert!(cosines.iter().all(|cosine| cosine.abs() < 0.8), "{cosines:?}");
}

#[test]
fn noise_differs_between_passes() {
    let (model, tokens, placed) = (model(Arch::Llama, 4), tokens(&ids(4)), random_positions(4, 0.4));
    let after = |pass_number| {
        let mut noisy = RecycledPass { jitter: 0.5, ..pass(PassScope::Dense) };
        noisy.rng_key.pass = pass_number;
        values(hidden_states(&model, &tokens, &placed, &noisy, 1))
    };
    assert_ne!(after(1), after(2));
}

#[test]
fn only_the_pause_control_trains_the_pause_vector() {
    let (model, tokens, placed) = (model(Arch::Gpt2, 7), tokens(&ids(7)), random_positions(7, 0.3));
    for (control, learned) in [(Control::None, false), (Control::Pause, true), (Control::Masked, false)] {
        let mut plan = plan(PassScope::Joint, GradientFlow::Detached, LossPositions::Recycled, &[1.0]);
        plan.pass.control = control;
        let mut place = |_: &Tensor<1>| placed.clone();
        let grads = passes::forward_backward(
            GradientAccumulator::new(&model, 1.0, Timing::Off),
            &tokens,
            &plan,
            Some(&mut place),
        )
        .grads;
        assert_eq!(grads.get::<1>(model.feedback.pause.id).is_some(), learned, "{control:?}");
    }
}
