//! Owns: making the rollouts of an iteration by the real generation path, all in one batch.
//! Must not know: rewards, advantages, the loss.
//! Invariant: a rollout depends on the model, its prompt, the settings and its own number, not on the batch.

use crate::config;
use crate::config::SwitchDecision;
use crate::generate::{EndReason, GenerateError, Generation, GenerationRequest, GenerationStep, InputKind};
use crate::model::Transformer;
use crate::policy::sampling::SamplingParams;
use crate::policy::switch::{Policy, SwitchNoise};
use crate::rl::trajectory::{EventAction, Trajectory, TrajectoryEvent};
use crate::rng::{RngKey, RngPurpose};
use crate::train::objective::SamplePiece;
use crate::train::step::rl_iteration::RolloutSettings;
use std::time::Instant;

/// Most tokens that a latent of a rollout is decoded to, and the least probability of each.
pub(super) const MAX_DECODED: usize = 4;
const MIN_DECODED_PROB: f64 = 0.1;

/// How rollouts are made.
pub(super) struct RolloutRequest<'a> {
    pub rl: &'a config::Rl,
    pub policy: &'a Policy,
    pub settings: &'a RolloutSettings,
    pub end_tokens: &'a [u32],
}

/// A rollout, and what each of its latents decodes to.
#[derive(Default)]
pub(super) struct MadeRollout {
    pub trajectory: Trajectory,
    /// The likeliest tokens of each latent's state.
    pub decoded_latents: Vec<Vec<u32>>,
}

impl RolloutRequest<'_> {
    /// Makes a rollout of each prompt. `model` is without autodiff. Returns them with the seconds that the generation took
    /// after the pass over the prompts.
    pub fn run(&self, model: &Transformer, prompts: Vec<Vec<u32>>) -> Result<(Vec<MadeRollout>, f64), GenerateError> {
        let count = prompts.len();
        let model = self.settings.masked_model(model, 0..count);
        let mut made: Vec<MadeRollout> = prompts.iter().map(|prompt| MadeRollout::new(prompt)).collect();
        let request = self.generation(prompts);
        let noise_scale = match request.switch_noise {
            SwitchNoise::PerDecision(scale) => Some(scale),
            SwitchNoise::None | SwitchNoise::PerRow(_) => None,
        };
        let mut generation = Generation::start(&model, request)?;
        let began = Instant::now();
        while !generation.is_finished() {
            for step in generation.step()? {
                made[step.row].push(&step, noise_scale);
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        for (row, rollout) in made.iter_mut().enumerate() {
            rollout.trajectory.is_truncated = generation.end_reason(row) != Some(EndReason::EosToken);
        }
        Ok((made, seconds))
    }

    fn generation(&self, prompts: Vec<Vec<u32>>) -> GenerationRequest {
        let scale = self.settings.switch_temperature;
        let key = RngKey { seed: self.settings.seed, step: self.settings.step, ..RngKey::default() };
        GenerationRequest {
            sampling: SamplingParams { temperature: self.settings.temperature, ..SamplingParams::GREEDY },
            end_tokens: self.end_tokens.to_vec(),
            // Another stream than those of the rows.
            seed: key.stream(RngPurpose::TokenSampling, usize::MAX).bits(),
            top_count: if *self.policy == Policy::Never { 1 } else { MAX_DECODED },
            switch_noise: match self.rl.switch {
                SwitchDecision::Threshold => SwitchNoise::None,
                SwitchDecision::Drawn => SwitchNoise::PerRow(scale),
                SwitchDecision::Sampled | SwitchDecision::Learned => SwitchNoise::PerDecision(scale),
            },
            latent_noise: self.settings.noise(0..prompts.len()),
            ..GenerationRequest::new(prompts, self.policy.clone(), self.rl.max_completion_length)
        }
    }
}

impl MadeRollout {
    pub fn new(prompt: &[u32]) -> Self {
        Self { trajectory: Trajectory { prompt: prompt.to_vec(), ..Trajectory::default() }, ..Self::default() }
    }

    /// Adds a step: its decision, if there was one, and its token or latent. `noise_scale`: of the noise that is drawn for each
    /// decision, nats; `None` if there is none.
    pub fn push(&mut self, step: &GenerationStep, noise_scale: Option<f64>) {
        let Self { trajectory, decoded_latents } = self;
        let output = trajectory.prompt.len() + trajectory.inputs.len() - 1;
        let entropy = step.distribution.entropy;
        let event = |action, log_prob| TrajectoryEvent { output, action, log_prob, entropy };
        if let Some(decision) = step.decision {
            let thinks = decision.thinks;
            trajectory.events.push(match decision.threshold {
                Some(threshold) => {
                    let log_prob =
                        noise_scale.map_or(0.0, |scale| SwitchNoise::log_prob(scale, thinks, entropy, threshold).0);
                    event(EventAction::Decision { thinks, threshold }, log_prob)
                }
                None => event(EventAction::ForcedDecision { thinks }, 0.0),
            });
        }
        trajectory.events.push(match (step.kind, step.token, step.log_prob) {
            (InputKind::Token, Some(id), Some(log_prob)) => event(EventAction::Token(id), log_prob),
            (InputKind::Token, Some(id), None) => event(EventAction::Given(id), 0.0),
            _ => event(EventAction::Latent, 0.0),
        });
        trajectory.inputs.push(step.token.filter(|_| step.kind == InputKind::Token));
        if step.kind == InputKind::Latent {
            let likely = step.distribution.top.iter().filter(|(_, prob)| *prob >= MIN_DECODED_PROB);
            decoded_latents.push(likely.map(|(id, _)| *id).collect());
        }
    }

    /// Returns the events of its inputs: the tokens and latents, without decisions.
    pub fn positions(&self) -> Vec<TrajectoryEvent> {
        let is_decision = |event: &&TrajectoryEvent| {
            matches!(event.action, EventAction::Decision { .. } | EventAction::ForcedDecision { .. })
        };
        self.trajectory.events.iter().filter(|event| !is_decision(event)).copied().collect()
    }

    /// Returns what is shown of it: tokens, and the likeliest tokens of latents.
    pub fn pieces(&self) -> Vec<SamplePiece> {
        let mut latents = self.decoded_latents.iter();
        let piece = |input: &Option<u32>| match input {
            Some(id) => SamplePiece::Token(*id),
            None => SamplePiece::Latent(latents.next().cloned().unwrap_or_default()),
        };
        self.trajectory.inputs.iter().map(piece).collect()
    }
}
