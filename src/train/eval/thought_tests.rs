//! Owns: tests of whether the thought of a model is used: the same questions with the latents replaced, or another number
//! of them.
//! Must not know: where questions come from, how results are shown.
//! Invariant: every test is paired with the answers under the policy as it is, question by question.

use super::accuracy::{AnswerScore, EvalPrompt, answer_questions};
use super::bootstrap::Estimate;
use super::paired::PairedAnswers;
use crate::data::Tokenizer;
use crate::generate::{GenerateError, GenerationRequest, Intervention, LatentSource};
use crate::model::Transformer;
use crate::policy::switch::{FixedPolicy, Policy};

/// Most latents of which each is replaced alone.
const MAX_SINGLE_LATENTS: usize = 8;

/// What is changed about the thought.
#[derive(Clone, Debug, PartialEq)]
pub struct ThoughtTest {
    pub name: String,
    pub policy: FixedPolicy,
    pub intervention: Intervention,
}

/// The answers under a test, beside those under the policy as it is.
#[derive(Clone, Debug)]
pub struct ThoughtTestResult {
    pub name: String,
    pub latents: f64,
    pub accuracy: Estimate,
    /// Accuracy minus that under the policy as it is; the interval is over questions.
    pub difference: Estimate,
    pub paired: PairedAnswers,
    /// With transplanted states: share of the answers that are right for the question that the states came from, of those
    /// whose own right answer is another.
    pub follows_donor: Option<Estimate>,
}

/// Returns the tests of a policy with a fixed number of latents. The first is the policy as it is, which may itself feed
/// something else than states, such as the pause vector of a baseline.
pub fn thought_tests(policy: &FixedPolicy, trained: Intervention) -> Vec<ThoughtTest> {
    let test = |name: String, count: usize, intervention: Intervention| ThoughtTest {
        name,
        policy: FixedPolicy { count, ..policy.clone() },
        intervention,
    };
    let replaced = |source, only| Intervention { source, only };
    let mut tests = vec![test("as it is".to_owned(), policy.count, trained)];
    let sources = [
        ("zeros", LatentSource::Zero),
        ("mean state", LatentSource::Mean),
        ("noise", LatentSource::Noise),
        ("another question's", LatentSource::Transplant),
    ];
    for (name, source) in sources {
        tests.push(test(format!("all: {name}"), policy.count, replaced(source, None)));
    }
    if policy.count > 1 {
        for number in 0..policy.count.min(MAX_SINGLE_LATENTS) {
            let intervention = replaced(LatentSource::Transplant, Some(number));
            tests.push(test(format!("latent {}: another question's", number + 1), policy.count, intervention));
        }
    }
    let fewer = policy.count.saturating_sub(MAX_SINGLE_LATENTS).max(1)..policy.count;
    let others = fewer.chain([policy.count + 1, policy.count + 2]);
    tests.extend(others.map(|count| test(format!("{count} latents"), count, trained)));
    tests
}

/// Answers all questions under each test. `request` has everything but policy and intervention.
pub fn run_thought_tests(
    model: &Transformer,
    tokenizer: &Tokenizer,
    questions: &[EvalPrompt],
    batch: usize,
    request: &GenerationRequest,
    tests: &[ThoughtTest],
) -> Result<Vec<ThoughtTestResult>, GenerateError> {
    let mut results = Vec::with_capacity(tests.len());
    let mut as_it_is: Option<Vec<bool>> = None;
    for test in tests {
        let policy = Policy::Fixed(test.policy.clone());
        let request = GenerationRequest { policy, intervention: test.intervention, ..request.clone() };
        let scores = answer_questions(model, tokenizer, questions, batch, &request)?;
        let correct: Vec<bool> = scores.iter().map(|score| score.correct).collect();
        let reference = as_it_is.get_or_insert_with(|| correct.clone());
        results.push(result(test, &scores, &correct, reference, request.seed));
    }
    Ok(results)
}

fn result(
    test: &ThoughtTest,
    scores: &[AnswerScore],
    correct: &[bool],
    reference: &[bool],
    seed: u64,
) -> ThoughtTestResult {
    let share = |correct: &bool| f64::from(*correct);
    let differences = correct.iter().zip(reference).map(|(now, before)| share(now) - share(before));
    let transplants = test.intervention.source == LatentSource::Transplant;
    ThoughtTestResult {
        name: test.name.clone(),
        latents: scores.iter().map(|score| score.latents as f64).sum::<f64>() / scores.len().max(1) as f64,
        accuracy: Estimate::from_values(correct.iter().map(share), seed),
        difference: Estimate::from_values(differences, seed),
        paired: PairedAnswers::new(reference, correct),
        follows_donor: transplants
            .then(|| scores.iter().filter_map(|score| score.follows_donor).map(f64::from).collect::<Vec<_>>())
            .map(|follows| Estimate::from_values(follows, seed)),
    }
}
