//! Owns: the playground: continuing a person's text between steps, a few positions at a time.
//! Must not know: how a policy decides, who asks, screens.
//! Invariant: an answer uses the weights of the moment when it was requested. It does not affect training,
//! nor training it.

use super::training_loop::TrainingRun;
use crate::data::Tokenizer;
use crate::generate::{EndReason, Generation, GenerationRequest, GenerationStep, InputKind};
use crate::model::{Transformer, hf};
use crate::policy::sampling::SamplingParams;
use crate::policy::switch::Policy;
use crate::schema::protocol::{AnswerPart, Event, PlaygroundAnswer, PlaygroundRequest};
use crate::schema::rows::EventKind;
use burn::module::Module;
use std::time::{Duration, Instant};

/// Maximum time that generation may take between two steps.
const TIME_SLICE: Duration = Duration::from_millis(60);

/// A playground answer in progress.
pub(in crate::train) struct PlaygroundSession {
    generation: Generation,
    answer: PlaygroundAnswer,
    /// Token ids of the prompt and of the answer so far.
    ids: Vec<u32>,
    /// Length in bytes of the text already known to the screen, prompt included.
    sent_bytes: usize,
}

impl TrainingRun<'_> {
    /// Starts a playground answer. An answer in progress is abandoned for it.
    pub fn start_answer(&mut self, request: PlaygroundRequest) {
        self.answers_requested += 1;
        if let Some(previous) = self.playground.take() {
            self.publisher
                .send_fact(Event::Answer(Box::new(previous.into_ended("replaced by the next request"))));
        }
        let PlaygroundRequest { prompt: text, policy, checkpoint, .. } = &request;
        let step = checkpoint.unwrap_or(self.learner.step);
        let answer = PlaygroundAnswer {
            number: self.answers_requested,
            step,
            policy: policy.clone(),
            prompt: text.clone(),
            ..PlaygroundAnswer::default()
        };
        self.record_event(EventKind::Asked, policy, None, Some(text.clone()));
        match self.build_answer(&request, answer.clone()) {
            Ok(session) => {
                self.publisher.send_fact(Event::Answer(Box::new(session.answer.clone())));
                self.playground = Some(session);
            }
            Err(reason) => {
                self.publisher.send_fact(Event::Answer(Box::new(PlaygroundAnswer {
                    end_reason: Some(reason),
                    ..answer
                })));
            }
        }
    }

    /// Prepares an answer: parses the policy, encodes the prompt, loads the model and starts generation.
    fn build_answer(
        &self,
        request: &PlaygroundRequest,
        answer: PlaygroundAnswer,
    ) -> Result<PlaygroundSession, String> {
        let tokenizer = self.tokenizer.as_ref().ok_or("the dataset has no tokenizer")?;
        let sampling = SamplingParams { temperature: request.temperature, ..SamplingParams::GREEDY };
        sampling.validate()?;
        let policy = Policy::parse_with_tokens(&request.policy, &|text| tokenizer.token_id(text))?;
        let ids = tokenizer.encode(&request.prompt).map_err(|error| error.to_string())?;
        let model = self.answering_model(request.checkpoint)?;
        let generation_request = GenerationRequest {
            sampling,
            eos_token: tokenizer.eos_id(),
            seed: self.answers_requested,
            ..GenerationRequest::new(vec![ids.clone()], policy, request.max_tokens)
        };
        let generation = Generation::start(&model, generation_request).map_err(|error| error.to_string())?;
        let sent_bytes = tokenizer.decode(&ids).len();
        Ok(PlaygroundSession { generation, answer, ids, sent_bytes })
    }

    /// Returns the current model without autodiff, or the model of the checkpoint of step `checkpoint`.
    fn answering_model(&self, checkpoint: Option<u64>) -> Result<Transformer, String> {
        let Some(step) = checkpoint else { return Ok(self.learner.model.valid()) };
        let steps = self.folder.checkpoint_steps();
        if !steps.contains(&step) {
            let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
            return Err(format!("no checkpoint of step {step}; existing steps: {}", steps.join(", ")));
        }
        let device = self.learner.model.device().without_autodiff();
        hf::load_with_feedback(&self.folder.checkpoint_folder(step), &device)
            .map_err(|error| error.to_string())
    }

    /// Continues the answer in progress for a short time. Returns whether one is still in progress.
    pub fn continue_answer(&mut self) -> bool {
        let Some(session) = &mut self.playground else { return false };
        let deadline = Instant::now() + TIME_SLICE;
        while !session.generation.is_finished() && Instant::now() < deadline {
            match session.generation.step() {
                Ok(steps) => steps.iter().for_each(|step| session.push_step(step, self.tokenizer.as_ref())),
                Err(error) => {
                    // Only the answer fails. If the device is lost, the next step reports it.
                    let failed = self.playground.take().map(|session| session.into_ended(&error.to_string()));
                    failed
                        .into_iter()
                        .for_each(|answer| self.publisher.send_fact(Event::Answer(Box::new(answer))));
                    return false;
                }
            }
        }
        let end = session.generation.end_reason(0);
        if let (Some(reason), Some(session)) = (end, self.playground.take_if(|_| end.is_some())) {
            self.publisher.send_fact(Event::Answer(Box::new(session.into_ended(end_reason(reason)))));
            return false;
        }
        if let Some(session) = &self.playground {
            self.publisher.send_frame(Event::Answer(Box::new(session.answer.clone())));
        }
        true
    }
}

/// Returns why generation ended, as it is shown after an answer.
fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::EosToken => "end of text",
        EndReason::MaxTokens => "token limit reached",
        EndReason::ModelLength => "the model's maximum length reached",
    }
}

impl PlaygroundSession {
    /// Appends a generated position to the answer: a latent's entropy, or a token's text.
    fn push_step(&mut self, step: &GenerationStep, tokenizer: Option<&Tokenizer>) {
        let parts = &mut self.answer.parts;
        if step.kind == InputKind::Latent {
            let entropies = match parts.last_mut() {
                Some(AnswerPart::Thought(entropies)) => {
                    // The last entropy is repeated as the first of this step.
                    entropies.pop();
                    entropies
                }
                _ => {
                    parts.push(AnswerPart::Thought(Vec::new()));
                    match parts.last_mut() {
                        Some(AnswerPart::Thought(entropies)) => entropies,
                        _ => return,
                    }
                }
            };
            entropies.push(step.distribution.entropy);
            entropies.extend(step.entropy_after);
            return;
        }
        // The end-of-text token is not part of the text.
        self.ids.extend(step.token.filter(|id| tokenizer.and_then(Tokenizer::eos_id) != Some(*id)));
        let text = tokenizer.map_or_else(String::new, |tokenizer| tokenizer.decode(&self.ids));
        // Wait for the other bytes of an incomplete character.
        if text.ends_with('\u{FFFD}') {
            return;
        }
        let added = text.get(self.sent_bytes..).unwrap_or_default();
        match parts.last_mut() {
            Some(AnswerPart::Text(part)) => part.push_str(added),
            _ => parts.push(AnswerPart::Text(added.to_owned())),
        }
        self.sent_bytes = text.len();
    }

    /// Returns the answer, ended for `reason`.
    fn into_ended(self, reason: &str) -> PlaygroundAnswer {
        PlaygroundAnswer { end_reason: Some(reason.to_owned()), ..self.answer }
    }
}
