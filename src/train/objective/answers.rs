//! Owns: how a model that a curriculum trains answers a question: the prompt, the policy and its latents, the limit.
//! Must not know: the training loop, how questions are read, how an answer is judged.
//! Invariant: a question is answered as the rows of its stage are trained, whoever asks.

use crate::config::{CurriculumMethod, Objective as Settings};
use crate::curriculum::rows::{EncodedQuestion, MarkerTokens, RowSettings, RowStage};
use crate::data::Tokenizer;
use crate::generate::{GenerateError, GenerationRequest, Intervention, LatentSource};
use crate::model::Transformer;
use crate::policy::switch::{FixedPolicy, Policy, ThoughtStarts};
use crate::train::eval::accuracy::{AnswerScore, EvalPrompt, answer_questions};

/// Returns the marker tokens of a tokenizer.
pub(in crate::train) fn marker_tokens(tokenizer: &Tokenizer) -> MarkerTokens {
    let [begin, end, answer] = tokenizer.marker_ids();
    MarkerTokens { begin, end, latent: 0, pause: 0, answer }
}

pub(in crate::train) fn row_settings(objective: &Settings, markers: MarkerTokens) -> RowSettings {
    RowSettings {
        method: objective.method,
        markers,
        use_markers: objective.markers,
        latents_per_step: objective.c_thought,
        max_latent_stage: objective.max_latent_stage,
        pad_latent_to_max: objective.pad_latent_to_max,
        remove_per_stage: objective.remove_per_stage,
    }
}

/// Returns the largest number of tokens of a question's row, over all stages.
pub(in crate::train) fn longest_row(settings: &RowSettings, question: &EncodedQuestion) -> usize {
    let row = |stage| settings.training_row(question, RowStage { stage, ..Default::default() }).ids.len();
    // A mixed stage may be as high as the number of steps.
    let last = (settings.max_latent_stage + 1).max(question.steps.len());
    let inference = settings.inference_row(question, last).ids.len() + 1;
    (0..=last).map(row).chain([inference]).max().unwrap_or(0)
}

/// How a question is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerPlan {
    pub prompt: Vec<u32>,
    pub policy: Policy,
    /// What is fed at latents.
    pub intervention: Intervention,
    /// Maximum number of generated tokens, markers included.
    pub max_tokens: usize,
}

impl AnswerPlan {
    /// Plans an answer in a stage.
    pub(in crate::train) fn new(
        objective: &Settings,
        markers: MarkerTokens,
        question: &EncodedQuestion,
        stage: usize,
    ) -> Self {
        let (method, settings) = (objective.method, row_settings(objective, markers));
        let latents = settings.inference_latents(question.steps.len(), stage);
        let is_frontier = method == CurriculumMethod::Frontier;
        let marked = objective.markers && !is_frontier;
        let (prompt, policy) = match latents {
            // Without latents a policy would insert no markers.
            0 => (settings.inference_row(question, stage).ids, Policy::Never),
            count => {
                let eot = if is_frontier { Some(markers.answer) } else { marked.then_some(markers.end) };
                let starts = ThoughtStarts::TokenCounts(vec![0]);
                let fixed = FixedPolicy { count, starts, bot: marked.then_some(markers.begin), eot };
                (question.question.clone(), Policy::Fixed(fixed))
            }
        };
        let source = if method.feeds_pause() { LatentSource::Pause } else { LatentSource::State };
        // A frontier row learns one token and no end: what follows it means nothing.
        let max_tokens = match is_frontier {
            true => 1 + usize::from(latents > 0),
            false => question.steps.iter().map(Vec::len).sum::<usize>() + question.answer.len() + 8,
        };
        Self { prompt, policy, intervention: Intervention { source, only: None }, max_tokens }
    }

    /// Plans an answer in the last stage, to a question of so many steps, by a model whose data has this tokenizer. The
    /// limit is at most `max_tokens`.
    pub fn in_last_stage(
        objective: &Settings,
        tokenizer: &Tokenizer,
        prompt: Vec<u32>,
        steps: usize,
        max_tokens: usize,
    ) -> Self {
        let question = EncodedQuestion { question: prompt, steps: vec![Vec::new(); steps], ..Default::default() };
        let plan = Self::new(objective, marker_tokens(tokenizer), &question, objective.max_latent_stage + 1);
        let max_tokens = match objective.method {
            CurriculumMethod::Frontier => plan.max_tokens,
            _ => max_tokens,
        };
        Self { max_tokens, ..plan }
    }

    /// Returns `request` with the policy, the intervention and the limit of the plan.
    pub(in crate::train) fn request(&self, request: &GenerationRequest) -> GenerationRequest {
        GenerationRequest {
            policy: self.policy.clone(),
            intervention: self.intervention,
            max_tokens: self.max_tokens,
            ..request.clone()
        }
    }
}

/// Answers every question by its plan; those with equal policies together. The scores are in the order of the questions.
pub fn answer_by_plan(
    model: &Transformer,
    tokenizer: &Tokenizer,
    questions: &[(AnswerPlan, EvalPrompt)],
    batch: usize,
    request: &GenerationRequest,
) -> Result<Vec<AnswerScore>, GenerateError> {
    let mut scores = vec![AnswerScore::default(); questions.len()];
    let mut left: Vec<usize> = (0..questions.len()).collect();
    while let Some(first) = left.first() {
        let plan = &questions[*first].0;
        let (together, others): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|index| questions[**index].0.policy == plan.policy);
        let prompts: Vec<EvalPrompt> = together.iter().map(|index| questions[*index].1.clone()).collect();
        let longest = together.iter().map(|index| questions[*index].0.max_tokens).max().unwrap_or(1);
        let request = GenerationRequest { max_tokens: longest, ..plan.request(request) };
        let found = answer_questions(model, tokenizer, &prompts, batch, &request)?;
        together.into_iter().zip(found).for_each(|(index, score)| scores[index] = score);
        left = others;
    }
    Ok(scores)
}
