//! Owns: tests of whether the thought of a model is used: the same questions with the latents replaced, or another number
//! of them.
//! Must not know: where questions come from, how results are shown.
//! Invariant: every test is paired with the answers as trained, question by question.

use super::accuracy::{AnswerScore, EvalPrompt, answer_questions};
use super::bootstrap::Estimate;
use super::paired::PairedAnswers;
use crate::data::Tokenizer;
use crate::generate::{GenerateError, GenerationRequest, Intervention, LatentSource};
use crate::model::Transformer;
use crate::policy::switch::{FixedPolicy, Policy};
use std::collections::BTreeSet;

/// Most latents of which each is replaced alone.
const MAX_SINGLE_LATENTS: usize = 8;

/// How many latents a question gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentCount {
    /// The same number for all questions: their numbers of steps are not given away.
    All(usize),
    /// So many for each of its steps, of which at most `most_steps` count.
    PerStep { latents: usize, most_steps: usize },
}

impl LatentCount {
    /// Returns the latents of a question with so many steps.
    fn for_steps(self, steps: usize) -> usize {
        match self {
            Self::All(count) => count,
            Self::PerStep { latents, most_steps } => latents * steps.min(most_steps),
        }
    }

    fn most(self) -> usize {
        match self {
            Self::All(count) => count,
            Self::PerStep { latents, most_steps } => latents * most_steps,
        }
    }
}

/// What is changed about the thought.
#[derive(Clone, Debug, PartialEq)]
pub struct ThoughtTest {
    pub name: String,
    pub latents: LatentCount,
    pub intervention: Intervention,
}

/// The answers under a test, beside those as trained.
#[derive(Clone, Debug)]
pub struct ThoughtTestResult {
    pub name: String,
    pub latents: f64,
    pub accuracy: Estimate,
    /// Accuracy minus that as trained; the interval is over questions.
    pub difference: Estimate,
    pub paired: PairedAnswers,
    /// With transplanted states: share of the answers that are right for the question that the states came from, of those
    /// whose own right answer is another.
    pub follows_donor: Option<Estimate>,
}

/// Returns the tests of thoughts that have `trained` latents, and `fed` in their place. The first is the thought as it was
/// trained, which may feed something else than states, such as the pause vector of a baseline. `latents_per_step` is what a
/// question gets if its number of steps is given.
pub fn thought_tests(
    trained: LatentCount,
    fed: Intervention,
    latents_per_step: usize,
    questions: &[EvalPrompt],
) -> Vec<ThoughtTest> {
    let test = |name: String, latents, intervention| ThoughtTest { name, latents, intervention };
    let replaced = |source, only| Intervention { source, only };
    let most = trained.most();
    let mut tests = vec![test("as trained".to_owned(), trained, fed)];
    let sources = [
        ("zeros", LatentSource::Zero),
        ("mean state", LatentSource::Mean),
        ("noise", LatentSource::Noise),
        ("another question's", LatentSource::Transplant),
    ];
    for (name, source) in sources {
        tests.push(test(format!("all: {name}"), trained, replaced(source, None)));
    }
    if most > 1 {
        for number in 0..most.min(MAX_SINGLE_LATENTS) {
            let intervention = replaced(LatentSource::Transplant, Some(number));
            tests.push(test(format!("latent {}: another question's", number + 1), trained, intervention));
        }
    }
    let given = LatentCount::PerStep { latents: latents_per_step, most_steps: usize::MAX / latents_per_step.max(1) };
    let differs = |steps: usize| steps > 0 && given.for_steps(steps) != trained.for_steps(steps);
    let steps: BTreeSet<usize> = questions.iter().map(|question| question.steps).collect();
    if steps.len() > 1 && steps.iter().any(|steps| differs(*steps)) {
        tests.push(test("steps given: as many latents".to_owned(), given, fed));
    }
    let numbers = [0].into_iter().chain(most.saturating_sub(MAX_SINGLE_LATENTS).max(1)..=most + 2);
    let others = numbers.map(LatentCount::All).filter(|latents| *latents != trained);
    tests.extend(others.map(|latents| test(format!("{} latents", latents.most()), latents, fed)));
    tests
}

/// Answers all questions under each test, with thoughts like `policy`. `request` has everything but policy and
/// intervention.
pub fn run_thought_tests(
    model: &Transformer,
    tokenizer: &Tokenizer,
    questions: &[EvalPrompt],
    batch: usize,
    request: &GenerationRequest,
    (policy, tests): (&FixedPolicy, &[ThoughtTest]),
) -> Result<Vec<ThoughtTestResult>, GenerateError> {
    let mut results = Vec::with_capacity(tests.len());
    let mut as_trained: Option<Vec<bool>> = None;
    for test in tests {
        let mut scores = vec![AnswerScore::default(); questions.len()];
        let counts: BTreeSet<usize> = questions.iter().map(|question| test.latents.for_steps(question.steps)).collect();
        for count in counts {
            // Rows of a batch have as many latents, so that the states of another question come from the same latent.
            let is_asked = |index: &usize| test.latents.for_steps(questions[*index].steps) == count;
            let asked: Vec<usize> = (0..questions.len()).filter(is_asked).collect();
            let prompts: Vec<EvalPrompt> =
                asked.iter().map(|index| with_thought(policy, count, &questions[*index])).collect();
            let request = GenerationRequest {
                policy: match count {
                    0 => Policy::Never,
                    count => Policy::Fixed(FixedPolicy { count, ..policy.clone() }),
                },
                intervention: test.intervention,
                ..request.clone()
            };
            let found = answer_questions(model, tokenizer, &prompts, batch, &request)?;
            asked.into_iter().zip(found).for_each(|(index, score)| scores[index] = score);
        }
        let correct: Vec<bool> = scores.iter().map(|score| score.correct).collect();
        let reference = as_trained.get_or_insert_with(|| correct.clone());
        results.push(result(test, &scores, &correct, reference, request.seed));
    }
    Ok(results)
}

/// Returns the prompt of a question that gets `count` latents: a policy inserts no markers around no latents.
fn with_thought(policy: &FixedPolicy, count: usize, question: &EvalPrompt) -> EvalPrompt {
    let mut prompt = question.clone();
    if count == 0 {
        prompt.ids.extend(policy.bot.into_iter().chain(policy.eot));
    }
    prompt
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::eval::judge::Judge;

    fn questions(steps: &[usize]) -> Vec<EvalPrompt> {
        let question =
            |steps: &usize| EvalPrompt { ids: vec![1], answer: "2".to_owned(), judge: Judge::Number, steps: *steps };
        steps.iter().map(question).collect()
    }

    #[test]
    fn the_number_of_steps_is_given_only_if_it_changes_something() {
        let names = |trained, steps: &[usize]| -> Vec<String> {
            let tests = thought_tests(trained, Intervention::default(), 1, &questions(steps));
            tests
                .into_iter()
                .map(|test| test.name)
                .filter(|name| !name.contains(':') || name.contains("given"))
                .collect()
        };
        let all = LatentCount::All(3);
        assert_eq!(
            names(all, &[3, 3]),
            ["as trained", "0 latents", "1 latents", "2 latents", "4 latents", "5 latents"]
        );
        assert_eq!(names(all, &[2, 3])[1], "steps given: as many latents");
        // What was trained with the number of steps is asked without it.
        let per_step = LatentCount::PerStep { latents: 1, most_steps: 3 };
        assert_eq!(
            names(per_step, &[2, 3]),
            ["as trained", "0 latents", "1 latents", "2 latents", "3 latents", "4 latents", "5 latents"]
        );
        assert_eq!([per_step.for_steps(2), per_step.for_steps(9), per_step.most()], [2, 3, 3]);
    }

    #[test]
    fn markers_stand_around_no_latents() {
        let starts = crate::policy::switch::ThoughtStarts::TokenCounts(vec![0]);
        let policy = FixedPolicy { count: 2, starts, bot: Some(7), eot: Some(8) };
        assert_eq!(with_thought(&policy, 0, &questions(&[1])[0]).ids, [1, 7, 8]);
        assert_eq!(with_thought(&policy, 1, &questions(&[1])[0]).ids, [1]);
    }
}
