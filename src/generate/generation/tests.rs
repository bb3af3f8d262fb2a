//! Compares generations with the same rows recomputed in full at each position, without a cache.

use super::*;
use crate::config;
use crate::generate::LatentSource;
use crate::model::{FeedbackSpec, ModelShape};
use burn::tensor::Device;

const VOCAB: usize = 19;
const LENGTH: usize = 80;

fn model(arch: config::Arch, spec: FeedbackSpec) -> Transformer {
    let config = config::Model { arch, width: 32, layers: 2, heads: 4, ..Default::default() };
    Transformer::new(ModelShape::from_config(&config, VOCAB, LENGTH), 3, 0.25, &Device::flex()).with_feedback(spec, 7)
}

fn request(policy: &str, prompts: &[&[u32]]) -> GenerationRequest {
    let prompts = prompts.iter().map(|prompt| prompt.to_vec()).collect();
    let request = GenerationRequest::new(prompts, policy.parse().unwrap(), 12);
    GenerationRequest { seed: 1, top_count: 3, ..request }
}

fn generate(model: &Transformer, request: GenerationRequest) -> Vec<Vec<GenerationStep>> {
    try_generate(model, request).unwrap()
}

fn try_generate(model: &Transformer, request: GenerationRequest) -> Result<Vec<Vec<GenerationStep>>, GenerateError> {
    let mut rows = vec![Vec::new(); request.prompts.len()];
    let mut generation = Generation::start(model, request)?;
    while !generation.is_finished() {
        for step in generation.step()? {
            rows[step.row].push(step);
        }
    }
    Ok(rows)
}

fn embedding(model: &Transformer, id: u32) -> Tensor<3> {
    model.embed(Tensor::from_data(TensorData::new(vec![id as i32], [1, 1]), &Device::flex()))
}

/// Largest allowed difference in nats. A latent carries the rounding errors of all earlier ones, here of 20 and more.
const TOLERANCE: f64 = 5e-4;

/// Recomputes `steps` after `prompt` with whole rows, and compares the results.
fn check_steps(what: &str, model: &Transformer, prompt: &[u32], steps: &[GenerationStep]) {
    let mut inputs: Vec<Tensor<3>> = prompt.iter().map(|id| embedding(model, *id)).collect();
    let mut after = None;
    for (at, step) in steps.iter().enumerate() {
        let hidden = model.forward(Tensor::cat(inputs.clone(), 1)).hidden;
        let last = hidden.narrow(1, inputs.len() - 1, 1).squeeze_dim::<2>(1);
        let expected = output_distributions(model, last.clone(), 3).unwrap().0.remove(0);
        assert!(
            (step.distribution.entropy - expected.entropy).abs() < TOLERANCE,
            "{what} at {at}: {step:?}, expected {expected:?}"
        );
        assert_eq!(step.distribution.top[0].0, expected.top[0].0, "{what} at {at}");
        if let Some(after) = after {
            let off: f64 = expected.entropy - after;
            assert!(off.abs() < TOLERANCE, "{what} at {at}: the previous step has {after}");
        }
        after = step.entropy_after;
        inputs.push(match step.kind {
            InputKind::Token => embedding(model, step.token.unwrap()),
            InputKind::Latent => {
                let state = model.feedback.transform_state(last, model.embed.weight.val());
                let token = || embedding(model, step.token.unwrap()).squeeze_dim(1);
                model.feedback.combine_input(state, token).unsqueeze_dim(1)
            }
        });
    }
}

fn kinds(steps: &[GenerationStep]) -> String {
    steps.iter().map(|step| if step.kind == InputKind::Token { 'T' } else { 'L' }).collect()
}

#[test]
fn batched_rows_equal_rows_generated_alone_without_a_cache() {
    let specs = [
        FeedbackSpec::PLAIN,
        FeedbackSpec { mode: config::Feedback::Gated, state: config::StateTransform::Projected, add_scale: 0.0 },
        FeedbackSpec { mode: config::Feedback::Add, state: config::StateTransform::Rescaled, add_scale: 0.3 },
    ];
    let prompts: [&[u32]; 3] = [&[3, 1, 4, 1, 5], &[9], &[2, 6, 5]];
    let mut seen = std::collections::BTreeSet::new();
    for (arch, spec) in [config::Arch::Gpt2, config::Arch::Llama, config::Arch::Llama].into_iter().zip(specs) {
        let model = model(arch, spec);
        for policy in [
            "never",
            "fixed:count=3,at=0+4,bot=7,eot=8",
            "entropy:start=2.2,stop=q0.5,most=3",
            "entropy:start=0.75lnV,stop=q0.3,most=3,at=own",
            "trend:dwell=2,most=4",
            "trend:dwell=1,most=2,at=own",
        ] {
            let together = generate(&model, request(policy, &prompts));
            for (prompt, steps) in prompts.into_iter().zip(&together) {
                check_steps(policy, &model, prompt, steps);
                let alone = generate(&model, request(policy, &[prompt])).remove(0);
                let ids = |steps: &[GenerationStep]| steps.iter().map(|step| step.token).collect::<Vec<_>>();
                assert_eq!((kinds(steps), ids(steps)), (kinds(&alone), ids(&alone)), "{policy}");
                assert_eq!(steps.iter().filter(|step| step.kind == InputKind::Token).count(), 12, "{policy}");
                seen.insert((policy, steps.iter().any(|step| step.kind == InputKind::Latent)));
            }
        }
    }
    // Every policy except the first thinks somewhere.
    assert_eq!(seen.iter().filter(|(_, thought)| *thought).count(), 5, "{seen:?}");
}

#[test]
fn fixed_latents_are_at_their_positions() {
    let model = model(config::Arch::Llama, FeedbackSpec::PLAIN);
    let found = generate(&model, request("fixed:count=2,at=1,bot=7", &[&[1, 2]])).remove(0);
    assert!(kinds(&found).starts_with("TTLLT"), "{}", kinds(&found));
    assert_eq!(found[1].token, Some(7));
    assert_eq!(found[2].token, None);
}

#[test]
fn rows_end_at_their_end_token_their_limit_or_the_models_length() {
    let model = model(config::Arch::Gpt2, FeedbackSpec::PLAIN);
    let plain = generate(&model, request("never", &[&[1, 2]])).remove(0);
    let end = plain[4].token;
    let first = plain.iter().position(|step| step.token == end).unwrap();
    let ended =
        generate(&model, GenerationRequest { end_tokens: end.into_iter().collect(), ..request("never", &[&[1, 2]]) })
            .remove(0);
    assert_eq!(ended.len(), first + 1);
    // A row that has ended does not disturb one that continues to the last position.
    let long = GenerationRequest { max_tokens: 199, ..request("fixed:count=5,at=0", &[&[1, 2], &[1; 70]]) };
    let mut generation = Generation::start(&model, long.clone()).unwrap();
    while !generation.is_finished() {
        generation.step().unwrap();
    }
    assert_eq!([generation.end_reason(0), generation.end_reason(1)], [Some(EndReason::ModelLength); 2]);
    let rows = generate(&model, long);
    // A sampled token that has no position left is still returned.
    assert_eq!([rows[0].len(), rows[1].len()], [LENGTH - 2 + 1, LENGTH - 70 + 1]);
    check_steps("to the end", &model, &[1, 2], &rows[0][..LENGTH - 2]);
}

#[test]
fn invalid_requests_are_reported() {
    let model = model(config::Arch::Gpt2, FeedbackSpec::PLAIN);
    for (prompt, expected) in [
        (&[][..], "the prompt is empty"),
        (&[1, 19], "token 19 of the prompt is not in the model's vocabulary; allowed: ids 0 to 18"),
        (&[1; 80], "the prompt has 80 tokens; the model takes 80 positions"),
    ] {
        let found = Generation::start(&model, request("never", &[prompt])).err().unwrap().to_string();
        assert!(found.contains(expected), "{found}");
    }
    for (policy, expected) in [
        ("fixed:count=1,bot=19", "bot=19 of the policy is not in the model's vocabulary; allowed: ids 0 to 18"),
        ("fixed:count=1,after=99", "after=99 of the policy"),
    ] {
        let found = Generation::start(&model, request(policy, &[&[1]])).err().unwrap().to_string();
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn an_output_that_is_not_finite_is_an_error() {
    let mut model = model(config::Arch::Llama, FeedbackSpec::PLAIN);
    let weight = model.embed.weight.val();
    model.embed.weight = burn::module::Param::from_tensor(weight * f32::NAN);
    let found = try_generate(&model, request("never", &[&[1, 2]])).unwrap_err().to_string();
    assert!(found.contains("not finite (row 0 of the batch)"), "{found}");
}

/// Returns the output after two latents of the first row, when one of them or both are fed from `source`.
fn entropy_after_latents(source: LatentSource, only: Option<usize>) -> Vec<f64> {
    let mut model = model(config::Arch::Llama, FeedbackSpec::PLAIN);
    model.feedback.pause = burn::module::Param::from_tensor(model.embed.weight.val().narrow(0, 3, 1).squeeze_dim(0));
    let request = request("fixed:count=2,at=0", &[&[1, 2], &[5, 6, 4]]);
    let rows = generate(&model, GenerationRequest { intervention: Intervention { source, only }, ..request });
    rows[0].iter().filter_map(|step| step.entropy_after).take(2).collect()
}

#[test]
fn an_intervention_replaces_all_latents_or_one() {
    let undisturbed = entropy_after_latents(LatentSource::State, None);
    for source in
        [LatentSource::Transplant, LatentSource::Pause, LatentSource::Zero, LatentSource::Mean, LatentSource::Noise]
    {
        let both = entropy_after_latents(source, None);
        assert!(both[0] != undisturbed[0] && both[1] != undisturbed[1], "{source}");
        let first = entropy_after_latents(source, Some(0));
        assert!(first[0] == both[0] && first[1] != both[1] && first[1] != undisturbed[1], "{source}");
        let second = entropy_after_latents(source, Some(1));
        assert!(second[0] == undisturbed[0] && second[1] != undisturbed[1], "{source}");
        assert_eq!(entropy_after_latents(source, Some(2)), undisturbed, "{source}: there are two latents");
    }
}

#[test]
fn a_rows_samples_depend_on_its_stream_and_not_on_its_index() {
    let model = model(config::Arch::Llama, FeedbackSpec::PLAIN);
    let generated = |prompts: &[&[u32]], streams: Vec<usize>| {
        let sampling = SamplingParams { temperature: 1.0, ..SamplingParams::GREEDY };
        let rows = generate(&model, GenerationRequest { sampling, stream_ids: streams, ..request("never", prompts) });
        let ids = |row: &Vec<GenerationStep>| row.iter().map(|step| step.token).collect::<Vec<_>>();
        rows.iter().map(ids).collect::<Vec<_>>()
    };
    let [a, b]: [&[u32]; 2] = [&[3, 1, 4], &[2, 6]];
    let own = generated(&[a, b], Vec::new());
    let swapped = generated(&[b, a], vec![1, 0]);
    assert_eq!([&own[0], &own[1]], [&swapped[1], &swapped[0]]);
    assert_ne!(own[0], generated(&[a], vec![5])[0], "another stream samples other tokens");
}
