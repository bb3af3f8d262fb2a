//! Owns: answering a person's text between steps, a few positions at a time.
//! Must not know: how a policy decides, who asks, screens.
//! Invariant: an answer is of the weights that were there when it began; training changes nothing of it, and it nothing of
//! the training.

use super::run::Run;
use crate::data::Codec;
use crate::message::{Answer, Ask, Event, Spoken};
use crate::model::{Transformer, hf};
use crate::think::{Choice, End, Generation, Kind, Policy, Request, Step};
use burn::module::Module;
use std::time::{Duration, Instant};

/// How long the steps wait for an answer at a time.
const SLICE: Duration = Duration::from_millis(60);

/// An answer under way.
pub(super) struct Answering {
    generation: Generation,
    answer: Answer,
    /// The prompt and the tokens since.
    ids: Vec<u32>,
    /// Bytes of their text that are told, or were given.
    told: usize,
}

impl Run<'_> {
    /// Begins to answer.
    pub fn ask(&mut self, ask: Ask) {
        self.asked += 1;
        if let Some(before) = self.answering.take() {
            self.out.fact(Event::Answer(Box::new(before.ended("given up for the next"))));
        }
        let Ask { text, policy, checkpoint, .. } = &ask;
        let step = checkpoint.unwrap_or(self.learner.step);
        let answer = Answer {
            number: self.asked,
            step,
            policy: policy.clone(),
            prompt: text.clone(),
            ..Answer::default()
        };
        self.event("asked", policy, None, Some(text.clone()));
        match self.begin_answer(&ask, answer.clone()) {
            Ok(answering) => {
                self.out.fact(Event::Answer(Box::new(answering.answer.clone())));
                self.answering = Some(answering);
            }
            Err(reason) => {
                self.out.fact(Event::Answer(Box::new(Answer { over: Some(reason), ..answer })));
            }
        }
    }

    fn begin_answer(&self, ask: &Ask, answer: Answer) -> Result<Answering, String> {
        let codec = self.codec.as_ref().ok_or("the dataset has no tokenizer")?;
        let choice = Choice { temperature: ask.temperature, ..Choice::GREEDY };
        choice.check()?;
        let policy = Policy::read(&ask.policy, &|text| codec.token_id(text))?;
        let ids = codec.encode(&ask.text).map_err(|error| error.to_string())?;
        let model = self.answers(ask.checkpoint)?;
        let request = Request {
            prompts: vec![ids.clone()],
            policy,
            choice,
            most: ask.most,
            end: codec.eos_id(),
            seed: self.asked,
            top: 1,
            streams: Vec::new(),
            shuffled: false,
        };
        let generation = Generation::begin(&model, request).map_err(|error| error.to_string())?;
        let told = codec.decode(&ids).len();
        Ok(Answering { generation, answer, ids, told })
    }

    /// The present model, or that of a checkpoint.
    fn answers(&self, checkpoint: Option<u64>) -> Result<Transformer, String> {
        let Some(step) = checkpoint else { return Ok(self.learner.model.valid()) };
        let steps = self.folder.checkpoints();
        if !steps.contains(&step) {
            let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
            return Err(format!("there is no checkpoint of step {step}; there are: {}", steps.join(", ")));
        }
        let device = self.learner.model.device().without_autodiff();
        hf::load_whole(&self.folder.checkpoint(step), &device).map_err(|error| error.to_string())
    }

    /// Goes on with the answer under way, for a moment. Whether there is one still.
    pub fn answer(&mut self) -> bool {
        let Some(answering) = &mut self.answering else { return false };
        let until = Instant::now() + SLICE;
        while !answering.generation.over() && Instant::now() < until {
            match answering.generation.step() {
                Ok(steps) => steps.iter().for_each(|step| answering.take(step, self.codec.as_ref())),
                Err(error) => {
                    // The run goes on: what it cannot do without it says itself.
                    let ended = self.answering.take().map(|answering| answering.ended(&error.to_string()));
                    ended.into_iter().for_each(|answer| self.out.fact(Event::Answer(Box::new(answer))));
                    return false;
                }
            }
        }
        let over = answering.generation.ended(0);
        if let (Some(end), Some(answering)) = (over, self.answering.take_if(|_| over.is_some())) {
            self.out.fact(Event::Answer(Box::new(answering.ended(why(end)))));
            return false;
        }
        if let Some(answering) = &self.answering {
            self.out.frame(Event::Answer(Box::new(answering.answer.clone())));
        }
        true
    }
}

fn why(end: End) -> &'static str {
    match end {
        End::Token => "its end",
        End::Most => "as many tokens as were asked for",
        End::Length => "the model takes no more positions",
    }
}

impl Answering {
    fn take(&mut self, step: &Step, codec: Option<&Codec>) {
        let parts = &mut self.answer.parts;
        if step.kind == Kind::Latent {
            let entropies = match parts.last_mut() {
                Some(Spoken::Thought(entropies)) => {
                    // What came after the one before is what this one begins with.
                    entropies.pop();
                    entropies
                }
                _ => {
                    parts.push(Spoken::Thought(Vec::new()));
                    match parts.last_mut() {
                        Some(Spoken::Thought(entropies)) => entropies,
                        _ => return,
                    }
                }
            };
            entropies.push(step.said.entropy);
            entropies.extend(step.after);
            return;
        }
        // The token that ends a text is none of it.
        self.ids.extend(step.token.filter(|id| codec.and_then(Codec::eos_id) != Some(*id)));
        let whole = codec.map_or_else(String::new, |codec| codec.decode(&self.ids));
        // Half a character waits for its other half.
        if whole.ends_with('\u{FFFD}') {
            return;
        }
        let more = whole.get(self.told..).unwrap_or_default();
        match parts.last_mut() {
            Some(Spoken::Text(text)) => text.push_str(more),
            _ => parts.push(Spoken::Text(more.to_owned())),
        }
        self.told = whole.len();
    }

    fn ended(self, why: &str) -> Answer {
        Answer { over: Some(why.to_owned()), ..self.answer }
    }
}
