//! Owns: answering questions under a policy, and scores of the answers.
//! Must not know: where questions come from, how a policy decides, how an answer is judged.
//! Invariant: the sampled tokens of a question do not depend on the batch size.

use super::judge::Judge;
use crate::data::Tokenizer;
use crate::generate::{EndReason, GenerateError, Generation, GenerationRequest, InputKind, LatentSource};
use crate::model::Transformer;
use crate::statistics::Estimate;
use std::collections::BTreeMap;

/// An encoded question with its right answer.
#[derive(Clone, Debug)]
pub struct EvalPrompt {
    pub ids: Vec<u32>,
    pub answer: String,
    pub judge: Judge,
    /// Number of steps of the question; 0 if it has none.
    pub steps: usize,
}

/// How one question was answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerScore {
    /// Whether the generated text gives the right answer.
    pub correct: bool,
    /// With transplanted states: whether it gives the right answer of the question that they came from; `None` if both
    /// questions have the same answer.
    pub follows_donor: Option<bool>,
    pub tokens: usize,
    pub latents: usize,
    /// Whether the answer was cut off before its end token.
    pub truncated: bool,
}

/// Means over the questions that were answered under one policy.
#[derive(Clone, Debug)]
pub struct AccuracySummary {
    pub questions: usize,
    pub accuracy: Estimate,
    pub tokens: Estimate,
    pub latents: Estimate,
    pub truncated: Estimate,
    /// Number of steps, number of questions and their accuracy, if questions have different numbers of steps.
    pub by_steps: Vec<(usize, usize, Estimate)>,
}

impl AccuracySummary {
    /// Takes the scores in the order of the questions.
    pub fn from_scores(questions: &[EvalPrompt], scores: &[AnswerScore], seed: u64) -> Self {
        let mean = |value: fn(&AnswerScore) -> f64| Estimate::from_values(scores.iter().map(value), seed);
        Self {
            questions: scores.len(),
            accuracy: mean(|score| f64::from(score.correct)),
            tokens: mean(|score| score.tokens as f64),
            latents: mean(|score| score.latents as f64),
            truncated: mean(|score| f64::from(score.truncated)),
            by_steps: accuracy_by_steps(questions, scores, seed),
        }
    }
}

fn accuracy_by_steps(questions: &[EvalPrompt], scores: &[AnswerScore], seed: u64) -> Vec<(usize, usize, Estimate)> {
    let mut correct: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (question, score) in questions.iter().zip(scores) {
        correct.entry(question.steps).or_default().push(f64::from(score.correct));
    }
    match correct.len() {
        0 | 1 => Vec::new(),
        _ => correct
            .into_iter()
            .map(|(steps, values)| (steps, values.len(), Estimate::from_values(values, seed)))
            .collect(),
    }
}

/// Answers every question with the settings of `request`, `batch` at a time. The scores are in the order of the questions.
/// Fails as [`Generation::start`] and [`Generation::step`] do.
pub fn answer_questions(
    model: &Transformer,
    tokenizer: &Tokenizer,
    questions: &[EvalPrompt],
    batch: usize,
    request: &GenerationRequest,
) -> Result<Vec<AnswerScore>, GenerateError> {
    let mut scores = vec![AnswerScore::default(); questions.len()];
    // Prompts of similar length share a batch, so that less of it is padding.
    let mut order: Vec<usize> = (0..questions.len()).collect();
    order.sort_by_key(|index| questions[*index].ids.len());
    // States of other rows need other rows: no chunk has a single question then, if there are two.
    let batch = match request.intervention.source.uses_other_rows() {
        true => even_chunk(order.len(), batch),
        false => batch,
    };
    for chunk in order.chunks(batch) {
        let prompts = chunk.iter().map(|index| questions[*index].ids.clone()).collect();
        let row_request = GenerationRequest { prompts, stream_ids: chunk.to_vec(), ..request.clone() };
        // Inserted markers are no part of an answer.
        let markers = request.policy.named_tokens().into_iter().filter(|(key, _)| *key != "after").map(|(_, id)| id);
        let without_text: Vec<u32> = request.end_tokens.iter().copied().chain(markers).collect();
        let mut generation = Generation::start(model, row_request)?;
        let mut rows = vec![(AnswerScore::default(), Vec::new()); chunk.len()];
        while !generation.is_finished() {
            for step in generation.step()? {
                let (score, ids) = &mut rows[step.row];
                match step.kind {
                    InputKind::Latent => score.latents += 1,
                    InputKind::Token => {
                        score.tokens += 1;
                        ids.extend(step.token.filter(|id| !without_text.contains(id)));
                    }
                }
            }
        }
        for (row, ((score, ids), index)) in rows.into_iter().zip(chunk).enumerate() {
            let EvalPrompt { answer, judge, .. } = &questions[*index];
            let text = tokenizer.decode(&ids);
            // All rows think at once, so the states come from the next row.
            let donor = &questions[chunk[(row + 1) % chunk.len()]];
            let has_donor = request.intervention.source == LatentSource::Transplant && donor.answer != *answer;
            let follows_donor = has_donor.then(|| donor.judge.is_right(&text, &donor.answer));
            let correct = judge.is_right(&text, answer);
            let truncated = generation.end_reason(row) != Some(EndReason::EosToken);
            scores[*index] = AnswerScore { correct, truncated, follows_donor, ..score };
        }
    }
    Ok(scores)
}

/// Returns a chunk size of at most about `batch`, at least 2, that leaves no chunk of one question, if there are several.
fn even_chunk(questions: usize, batch: usize) -> usize {
    let chunks = (questions / batch.clamp(2, questions.max(2))).max(1);
    questions.div_ceil(chunks).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::tensor::Device;

    #[test]
    fn every_question_is_answered_under_the_policy() {
        let config = config::Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        let tokenizer = Tokenizer::byte().unwrap();
        let shape = ModelShape::from_config(&config, tokenizer.vocab_size(), 12);
        let model = Transformer::new(shape, 3, 0.6, &Device::flex());
        let request = GenerationRequest::new(Vec::new(), "fixed:count=2,at=0".parse().unwrap(), 3);
        let prompt = |text: &str, answer: &str| EvalPrompt {
            ids: tokenizer.encode(text).unwrap(),
            answer: answer.to_owned(),
            judge: Judge::Text,
            steps: 0,
        };
        let questions = [prompt("who?", "nobody"), prompt("123456789", ""), prompt("a", "b")];
        let answered = |batch| answer_questions(&model, &tokenizer, &questions, batch, &request).unwrap();
        // The longest question leaves room for two latents, a token, and one that is not fed.
        let score = |tokens| AnswerScore { tokens, latents: 2, truncated: true, ..Default::default() };
        assert_eq!(answered(2), [score(3), score(2), score(3)]);
        assert_eq!(answered(1), answered(2));
    }

    #[test]
    fn a_summary_has_the_means_of_all_questions() {
        let right = AnswerScore { correct: true, tokens: 4, latents: 6, ..Default::default() };
        let wrong = AnswerScore { tokens: 8, truncated: true, ..Default::default() };
        let prompt = |steps| EvalPrompt { ids: vec![1], answer: "2".to_owned(), judge: Judge::Number, steps };
        let scores = [right.clone(), right.clone(), wrong, right];
        let found = AccuracySummary::from_scores(&[3, 2, 3, 3].map(prompt), &scores, 0);
        let means = [found.accuracy, found.tokens, found.latents, found.truncated].map(|found| found.mean);
        assert_eq!((found.questions, means), (4, [0.75, 5.0, 4.5, 0.25]));
        let by_steps: Vec<_> =
            found.by_steps.iter().map(|(steps, count, share)| (*steps, *count, share.mean)).collect();
        assert_eq!(by_steps, [(2, 1, 1.0), (3, 3, 2.0 / 3.0)]);
        assert!(AccuracySummary::from_scores(&[3; 4].map(prompt), &scores, 0).by_steps.is_empty());
    }
}
