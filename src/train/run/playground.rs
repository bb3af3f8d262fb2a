//! Owns: the playground: continuing a person's text between steps, a few positions at a time.
//! Must not know: how a policy decides, who asks, screens.
//! Invariant: an answer uses the weights of the moment of its request, and does not affect training.

use crate::data::Tokenizer;
use crate::generate::{EndReason, Generation, GenerationRequest, GenerationStep, InputKind};
use crate::model::Transformer;
use crate::policy::sampling::SamplingParams;
use crate::policy::switch::Policy;
use crate::schema::protocol::{AnswerPart, PlaygroundAnswer, PlaygroundRequest};
use std::time::{Duration, Instant};

/// Maximum time that generation may take between two steps.
const TIME_SLICE: Duration = Duration::from_millis(60);

pub(in crate::train) struct PlaygroundSession {
    generation: Generation,
    answer: PlaygroundAnswer,
    /// Token ids of the prompt and of the answer so far.
    ids: Vec<u32>,
    end_tokens: Vec<u32>,
    /// Length in bytes of the text already known to the screen, prompt included.
    sent_bytes: usize,
}

impl PlaygroundSession {
    /// Parses the policy, encodes the prompt, loads the model and starts to generate `answer`.
    pub fn start(
        request: &PlaygroundRequest,
        answer: PlaygroundAnswer,
        tokenizer: Option<&Tokenizer>,
        end_tokens: &[u32],
        model: impl FnOnce() -> Result<Transformer, String>,
    ) -> Result<Self, String> {
        let tokenizer = tokenizer.ok_or("the dataset has no tokenizer")?;
        let sampling = SamplingParams { temperature: request.temperature, ..SamplingParams::GREEDY };
        sampling.validate()?;
        let policy = Policy::parse_with_tokens(&request.policy, &|text| tokenizer.token_id(text))?;
        let ids = tokenizer.encode(&request.prompt).map_err(|error| error.to_string())?;
        let generation_request = GenerationRequest {
            sampling,
            end_tokens: end_tokens.to_vec(),
            seed: answer.number,
            ..GenerationRequest::new(vec![ids.clone()], policy, request.max_tokens)
        };
        let generation = Generation::start(&model()?, generation_request).map_err(|error| error.to_string())?;
        let sent_bytes = tokenizer.decode(&ids).len();
        Ok(Self { generation, answer, ids, end_tokens: end_tokens.to_vec(), sent_bytes })
    }

    pub fn answer(&self) -> &PlaygroundAnswer {
        &self.answer
    }

    /// Generates for a short time. Returns why the answer has ended, if it has. A lost device shows at the next step.
    pub fn advance(&mut self, tokenizer: Option<&Tokenizer>) -> Option<String> {
        let deadline = Instant::now() + TIME_SLICE;
        while !self.generation.is_finished() && Instant::now() < deadline {
            match self.generation.step() {
                Ok(steps) => steps.iter().for_each(|step| self.push_step(step, tokenizer)),
                Err(error) => return Some(error.to_string()),
            }
        }
        self.generation.end_reason(0).map(|reason| end_reason(reason).to_owned())
    }

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
        self.ids.extend(step.token.filter(|id| !self.end_tokens.contains(id)));
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

    pub fn into_ended(self, reason: &str) -> PlaygroundAnswer {
        PlaygroundAnswer { end_reason: Some(reason.to_owned()), ..self.answer }
    }
}

fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::EosToken => "end of text",
        EndReason::MaxTokens => "token limit reached",
        EndReason::ModelLength => "the model's maximum length reached",
    }
}
