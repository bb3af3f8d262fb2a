//! Holds generations to the same rows computed anew, position by position, nothing kept.

use super::*;
use crate::config;
use crate::model::{Form, Shape};
use burn::tensor::Device;

const VOCAB: usize = 19;
const LENGTH: usize = 80;

fn model(arch: config::Arch, form: Form) -> Transformer {
    let config = config::Model { arch, width: 32, layers: 2, heads: 4, ..Default::default() };
    Transformer::new(Shape::from_config(&config, VOCAB, LENGTH), 3, 0.25, &Device::flex())
        .with_feedback(form, 7)
}

fn request(policy: &str, prompts: &[&[u32]]) -> Request {
    let prompts = prompts.iter().map(|prompt| prompt.to_vec()).collect();
    let (policy, choice) = (policy.parse().unwrap(), Choice::GREEDY);
    Request {
        prompts,
        policy,
        choice,
        most: 12,
        end: None,
        seed: 1,
        top: 3,
        streams: Vec::new(),
        shuffled: false,
    }
}

fn all(model: &Transformer, request: Request) -> Vec<Vec<Step>> {
    all_or_error(model, request).unwrap()
}

fn all_or_error(model: &Transformer, request: Request) -> Result<Vec<Vec<Step>>, ThinkError> {
    let mut rows = vec![Vec::new(); request.prompts.len()];
    let mut generation = Generation::begin(model, request)?;
    while !generation.over() {
        for step in generation.step()? {
            rows[step.row].push(step);
        }
    }
    Ok(rows)
}

fn embedding(model: &Transformer, id: u32) -> Tensor<3> {
    model.embed(Tensor::from_data(TensorData::new(vec![id as i32], [1, 1]), &Device::flex()))
}

/// Nats that may lie between the two: a latent takes the rounding of all before it along, 20 and more in a row here.
const ROUNDING: f64 = 5e-4;

/// Follows `steps` after `prompt` with whole rows, and holds what they tell to it.
fn hold(what: &str, model: &Transformer, prompt: &[u32], steps: &[Step]) {
    let mut inputs: Vec<Tensor<3>> = prompt.iter().map(|id| embedding(model, *id)).collect();
    let mut after = None;
    for (at, step) in steps.iter().enumerate() {
        let hidden = model.row(Tensor::cat(inputs.clone(), 1)).hidden;
        let last = hidden.narrow(1, inputs.len() - 1, 1).squeeze_dim::<2>(1);
        let wanted = said(model, last.clone(), 3).unwrap().0.remove(0);
        assert!(
            (step.said.entropy - wanted.entropy).abs() < ROUNDING,
            "{what} at {at}: {step:?}, wanted {wanted:?}"
        );
        assert_eq!(step.said.top[0].0, wanted.top[0].0, "{what} at {at}");
        if let Some(after) = after {
            let off: f64 = wanted.entropy - after;
            assert!(off.abs() < ROUNDING, "{what} at {at}: the step before tells {after}");
        }
        after = step.after;
        inputs.push(match step.kind {
            Kind::Token => embedding(model, step.token.unwrap()),
            Kind::Latent => {
                let state = model.feedback.state(last, model.embed.weight.val());
                let token = || embedding(model, step.token.unwrap()).squeeze_dim(1);
                model.feedback.input(state, token).unsqueeze_dim(1)
            }
        });
    }
}

fn kinds(steps: &[Step]) -> String {
    steps.iter().map(|step| if step.kind == Kind::Token { 'T' } else { 'L' }).collect()
}

#[test]
fn rows_are_what_each_would_be_alone_with_nothing_kept() {
    let forms = [
        Form::PLAIN,
        Form { feedback: config::Feedback::Gated, state: config::State::Projected, add_scale: 0.0 },
        Form { feedback: config::Feedback::Add, state: config::State::Rescaled, add_scale: 0.3 },
    ];
    let prompts: [&[u32]; 3] = [&[3, 1, 4, 1, 5], &[9], &[2, 6, 5]];
    let mut seen = std::collections::BTreeSet::new();
    for (arch, form) in [config::Arch::Gpt2, config::Arch::Llama, config::Arch::Llama].into_iter().zip(forms)
    {
        let model = model(arch, form);
        for policy in [
            "never",
            "fixed:count=3,at=0+4,bot=7,eot=8",
            "entropy:start=2.2,stop=q0.5,most=3",
            "entropy:start=0.75lnV,stop=q0.3,most=3,at=own",
            "trend:dwell=2,most=4",
            "trend:dwell=1,most=2,at=own",
        ] {
            let together = all(&model, request(policy, &prompts));
            for (prompt, steps) in prompts.into_iter().zip(&together) {
                hold(policy, &model, prompt, steps);
                let alone = all(&model, request(policy, &[prompt])).remove(0);
                let ids = |steps: &[Step]| steps.iter().map(|step| step.token).collect::<Vec<_>>();
                assert_eq!((kinds(steps), ids(steps)), (kinds(&alone), ids(&alone)), "{policy}");
                assert_eq!(steps.iter().filter(|step| step.kind == Kind::Token).count(), 12, "{policy}");
                seen.insert((policy, steps.iter().any(|step| step.kind == Kind::Latent)));
            }
        }
    }
    // Every policy but the first has thought somewhere.
    assert_eq!(seen.iter().filter(|(_, thought)| *thought).count(), 5, "{seen:?}");
}

#[test]
fn forced_latents_are_where_they_are_forced() {
    let model = model(config::Arch::Llama, Form::PLAIN);
    let found = all(&model, request("fixed:count=2,at=1,bot=7", &[&[1, 2]])).remove(0);
    assert!(kinds(&found).starts_with("TTLLT"), "{}", kinds(&found));
    assert_eq!(found[1].token, Some(7));
    assert_eq!(found[2].token, None);
}

#[test]
fn rows_end_by_their_token_their_count_or_the_models_length() {
    let model = model(config::Arch::Gpt2, Form::PLAIN);
    let plain = all(&model, request("never", &[&[1, 2]])).remove(0);
    let end = plain[4].token;
    let first = plain.iter().position(|step| step.token == end).unwrap();
    let ended = all(&model, Request { end, ..request("never", &[&[1, 2]]) }).remove(0);
    assert_eq!(ended.len(), first + 1);
    // A row that is over does not disturb one that goes on, to the last position.
    let long = Request { most: 199, ..request("fixed:count=5,at=0", &[&[1, 2], &[1; 70]]) };
    let mut generation = Generation::begin(&model, long.clone()).unwrap();
    while !generation.over() {
        generation.step().unwrap();
    }
    assert_eq!([generation.ended(0), generation.ended(1)], [Some(End::Length); 2]);
    let rows = all(&model, long);
    // A token that has no position any more is still told.
    assert_eq!([rows[0].len(), rows[1].len()], [LENGTH - 2 + 1, LENGTH - 70 + 1]);
    hold("to the end", &model, &[1, 2], &rows[0][..LENGTH - 2]);
}

#[test]
fn what_no_model_could_go_on_with_is_named() {
    let model = model(config::Arch::Gpt2, Form::PLAIN);
    for (prompt, wanted) in [
        (&[][..], "the prompt is empty"),
        (&[1, 19], "token 19 of the prompt: the model's vocabulary has the ids 0 to 18"),
        (&[1; 80], "the prompt has 80 tokens; the model takes 80 positions"),
    ] {
        let found = Generation::begin(&model, request("never", &[prompt])).err().unwrap().to_string();
        assert!(found.contains(wanted), "{found}");
    }
    for (policy, wanted) in [
        ("fixed:count=1,bot=19", "bot=19 of the policy: the model's vocabulary has the ids 0 to 18"),
        ("fixed:count=1,after=99", "after=99 of the policy"),
    ] {
        let found = Generation::begin(&model, request(policy, &[&[1]])).err().unwrap().to_string();
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn an_output_that_is_no_number_is_an_error_and_no_certainty() {
    let mut model = model(config::Arch::Llama, Form::PLAIN);
    let weight = model.embed.weight.val();
    model.embed.weight = burn::module::Param::from_tensor(weight * f32::NAN);
    let found = all_or_error(&model, request("never", &[&[1, 2]])).unwrap_err().to_string();
    assert!(found.contains("not finite (row 0 of those at once)"), "{found}");
}

#[test]
fn the_control_exchanges_the_states_of_rows_that_go_on() {
    assert_eq!(others(&[false; 3]), [1, 2, 0]);
    assert_eq!(others(&[false, true, false]), [2, 2, 0]);
    assert_eq!(others(&[true, false, true]), [1, 1, 1]);
}

#[test]
fn a_rows_choices_are_those_of_its_stream_wherever_it_stands() {
    let model = model(config::Arch::Llama, Form::PLAIN);
    let written = |prompts: &[&[u32]], streams: Vec<usize>| {
        let choice = Choice { temperature: 1.0, ..Choice::GREEDY };
        let rows = all(&model, Request { choice, streams, ..request("never", prompts) });
        let ids = |row: &Vec<Step>| row.iter().map(|step| step.token).collect::<Vec<_>>();
        rows.iter().map(ids).collect::<Vec<_>>()
    };
    let [a, b]: [&[u32]; 2] = [&[3, 1, 4], &[2, 6]];
    let own = written(&[a, b], Vec::new());
    let turned = written(&[b, a], vec![1, 0]);
    assert_eq!([&own[0], &own[1]], [&turned[1], &turned[0]]);
    assert_ne!(own[0], written(&[a], vec![5])[0], "another stream chooses others");
}
