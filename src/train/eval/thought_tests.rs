//! Owns: tests of whether the thought of a model is used: the same questions with the latents replaced, or another number
//! of them.
//! Must not know: where questions come from, how results are shown.
//! Invariant: every test is paired with the answers of the unchanged thought, question by question.

use super::accuracy::{AnswerScore, EvalPrompt, answer_questions};
use crate::data::Tokenizer;
use crate::generate::{GenerateError, GenerationRequest, Intervention, LatentSource};
use crate::model::Transformer;
use crate::policy::switch::{FixedPolicy, Policy};
use crate::statistics::Estimate;
use crate::statistics::PairedAnswers;
use std::collections::BTreeMap;

/// Most latents of which each is replaced alone.
const MAX_SINGLE_LATENTS: usize = 8;

/// Whose thoughts are tested: questions with the thoughts that a model was trained to have, or that a policy gives them.
pub struct ThoughtSubject<'a> {
    /// How thoughts begin and end.
    pub policy: &'a FixedPolicy,
    /// Latents of each question.
    pub latents: Vec<usize>,
    /// Latents of each question if its number of steps decides.
    pub latents_by_steps: Vec<usize>,
    /// What is fed in the place of the states, such as the pause vector of a baseline.
    pub fed: Intervention,
    /// Tokens of an answer, if all have as many.
    pub answer_tokens: Option<usize>,
}

/// What is changed about the thought.
#[derive(Clone, Debug, PartialEq)]
pub struct ThoughtTest {
    pub name: String,
    /// Latents of each question.
    pub latents: Vec<usize>,
    pub intervention: Intervention,
}

/// The answers under a test, beside those of the unchanged thought.
#[derive(Clone, Debug)]
pub struct ThoughtTestResult {
    pub name: String,
    /// Number of questions that the test is about.
    pub questions: usize,
    pub latents: f64,
    pub accuracy: Estimate,
    /// Accuracy minus that of the unchanged thought; the interval is over questions.
    pub difference: Estimate,
    pub paired: PairedAnswers,
    /// With transplanted states: share of the answers that are right for the question that the states came from, of those
    /// whose own right answer is another.
    pub follows_donor: Option<Estimate>,
}

/// Returns the tests of a subject. The first leaves the thought unchanged.
pub fn thought_tests(subject: &ThoughtSubject<'_>) -> Vec<ThoughtTest> {
    let (unchanged, fed) = (&subject.latents, subject.fed);
    let test =
        |name: String, latents: &[usize], intervention| ThoughtTest { name, latents: latents.to_vec(), intervention };
    let replaced = |source, only| Intervention { source, only };
    let most = unchanged.iter().copied().max().unwrap_or(0);
    let mut tests = vec![test("unchanged".to_owned(), unchanged, fed)];
    let sources = [
        ("zeros", LatentSource::Zero),
        ("mean state", LatentSource::Mean),
        ("noise", LatentSource::Noise),
        ("another question's", LatentSource::Transplant),
    ];
    for (name, source) in sources {
        tests.push(test(format!("all: {name}"), unchanged, replaced(source, None)));
    }
    if most > 1 {
        for number in 0..most.min(MAX_SINGLE_LATENTS) {
            let intervention = replaced(LatentSource::Transplant, Some(number));
            tests.push(test(format!("latent {}: another question's", number + 1), unchanged, intervention));
        }
    }
    let by_steps = &subject.latents_by_steps;
    if by_steps != unchanged && by_steps.iter().any(|count| *count != by_steps[0]) {
        tests.push(test("steps given: as many latents".to_owned(), by_steps, fed));
    }
    for count in [0].into_iter().chain(most.saturating_sub(MAX_SINGLE_LATENTS).max(1)..=most + 2) {
        let latents = vec![count; unchanged.len()];
        if latents != *unchanged {
            tests.push(test(format!("{count} latents"), &latents, fed));
        }
    }
    tests
}

/// Answers the questions under each test. `request` has everything but policy and intervention. A test that feeds states of
/// other questions, or replaces a single latent, leaves out the questions that have none; one without questions is left out.
pub fn run_thought_tests(
    model: &Transformer,
    tokenizer: &Tokenizer,
    questions: &[EvalPrompt],
    batch: usize,
    request: &GenerationRequest,
    subject: &ThoughtSubject<'_>,
) -> Result<Vec<ThoughtTestResult>, GenerateError> {
    let mut results = Vec::new();
    let mut unchanged: Option<Vec<Option<AnswerScore>>> = None;
    for test in thought_tests(subject) {
        let mut scores: Vec<Option<AnswerScore>> = vec![None; questions.len()];
        for asked in groups(&test) {
            let count = test.latents[asked[0]];
            let prompts: Vec<EvalPrompt> =
                asked.iter().map(|index| with_thought(subject.policy, count, &questions[*index])).collect();
            let request = subject.request(count, test.intervention, request);
            let found = answer_questions(model, tokenizer, &prompts, batch, &request)?;
            asked.into_iter().zip(found).for_each(|(index, score)| scores[index] = Some(score));
        }
        let reference = unchanged.get_or_insert_with(|| scores.clone());
        let paired: Vec<_> =
            scores.iter().zip(reference.iter()).filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?))).collect();
        if !paired.is_empty() {
            results.push(result(&test, &paired, request.seed));
        }
    }
    Ok(results)
}

/// Returns the questions that a test is about, in groups with as many latents: so the states of another question come from
/// the same latent.
fn groups(test: &ThoughtTest) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, count) in test.latents.iter().enumerate() {
        groups.entry(*count).or_default().push(index);
    }
    let Intervention { source, only } = test.intervention;
    let is_about = |count: usize, asked: &[usize]| {
        let replaces = source != LatentSource::State && source != LatentSource::Pause;
        (!replaces || count > only.unwrap_or(0)) && (!source.uses_other_rows() || asked.len() > 1)
    };
    groups.into_iter().filter(|(count, asked)| is_about(*count, asked)).map(|(_, asked)| asked).collect()
}

impl ThoughtSubject<'_> {
    /// Returns the request for questions with `count` latents.
    fn request(&self, count: usize, intervention: Intervention, request: &GenerationRequest) -> GenerationRequest {
        let inserted = match count {
            0 => 0,
            _ => usize::from(self.policy.bot.is_some()) + usize::from(self.policy.eot.is_some()),
        };
        GenerationRequest {
            policy: match count {
                0 => Policy::Never,
                count => Policy::Fixed(FixedPolicy { count, ..self.policy.clone() }),
            },
            intervention,
            max_tokens: self.answer_tokens.map_or(request.max_tokens, |tokens| tokens + inserted),
            ..request.clone()
        }
    }
}

/// Returns the prompt of a question that gets `count` latents: a policy inserts no markers around no latents.
fn with_thought(policy: &FixedPolicy, count: usize, question: &EvalPrompt) -> EvalPrompt {
    let mut prompt = question.clone();
    if count == 0 {
        prompt.ids.extend(policy.bot.into_iter().chain(policy.eot));
    }
    prompt
}

/// Compares the scores under a test with those of the same questions with the thought unchanged.
fn result(test: &ThoughtTest, paired: &[(&AnswerScore, &AnswerScore)], seed: u64) -> ThoughtTestResult {
    let share = |score: &AnswerScore| f64::from(score.correct);
    let differences = paired.iter().map(|(score, unchanged)| share(score) - share(unchanged));
    let correct = |of: fn(&(&AnswerScore, &AnswerScore)) -> bool| paired.iter().map(of).collect::<Vec<_>>();
    let follows = paired.iter().filter_map(|(score, _)| score.follows_donor).map(f64::from).collect::<Vec<_>>();
    ThoughtTestResult {
        name: test.name.clone(),
        questions: paired.len(),
        latents: paired.iter().map(|(score, _)| score.latents as f64).sum::<f64>() / paired.len() as f64,
        accuracy: Estimate::from_values(paired.iter().map(|(score, _)| share(score)), seed),
        difference: Estimate::from_values(differences, seed),
        paired: PairedAnswers::new(&correct(|(_, unchanged)| unchanged.correct), &correct(|(score, _)| score.correct)),
        follows_donor: (test.intervention.source == LatentSource::Transplant)
            .then(|| Estimate::from_values(follows, seed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::switch::ThoughtStarts;
    use crate::train::eval::judge::Judge;

    fn policy() -> FixedPolicy {
        let starts = ThoughtStarts::TokenCounts(vec![0]);
        FixedPolicy { count: 2, starts, bot: Some(7), eot: Some(8) }
    }

    fn subject<'a>(policy: &'a FixedPolicy, latents: &[usize], by_steps: &[usize]) -> ThoughtSubject<'a> {
        ThoughtSubject {
            policy,
            latents: latents.to_vec(),
            latents_by_steps: by_steps.to_vec(),
            fed: Intervention::default(),
            answer_tokens: None,
        }
    }

    #[test]
    fn the_number_of_steps_is_given_only_if_it_changes_something() {
        let policy = policy();
        let names = |latents: &[usize], by_steps: &[usize]| -> Vec<String> {
            let tests = thought_tests(&subject(&policy, latents, by_steps));
            tests
                .into_iter()
                .map(|test| test.name)
                .filter(|name| !name.contains(':') || name.contains("given"))
                .collect()
        };
        let all = ["unchanged", "0 latents", "1 latents", "2 latents", "4 latents", "5 latents"];
        assert_eq!(names(&[3, 3], &[3, 3]), all);
        assert_eq!(names(&[3, 3], &[2, 3])[1], "steps given: as many latents");
        // A thought whose length tells the number of steps is tested without that.
        let without = ["unchanged", "0 latents", "1 latents", "2 latents", "3 latents", "4 latents", "5 latents"];
        assert_eq!(names(&[2, 3], &[2, 3]), without);
    }

    #[test]
    fn a_question_without_a_donor_or_the_latent_is_left_out() {
        let test = |source, only| ThoughtTest {
            name: String::new(),
            latents: vec![2, 3, 2, 0],
            intervention: Intervention { source, only },
        };
        assert_eq!(groups(&test(LatentSource::State, None)), [vec![3], vec![0, 2], vec![1]]);
        assert_eq!(groups(&test(LatentSource::Zero, None)), [vec![0, 2], vec![1]]);
        assert_eq!(groups(&test(LatentSource::Transplant, None)), [vec![0, 2]]);
        assert_eq!(groups(&test(LatentSource::Zero, Some(2))), [vec![1]]);
    }

    #[test]
    fn markers_stand_around_no_latents_and_count_as_tokens_around_others() {
        let policy = policy();
        let question = EvalPrompt { ids: vec![1], answer: "2".to_owned(), judge: Judge::Number, steps: 1 };
        assert_eq!(with_thought(&policy, 0, &question).ids, [1, 7, 8]);
        assert_eq!(with_thought(&policy, 1, &question).ids, [1]);
        let subject = ThoughtSubject { answer_tokens: Some(1), ..subject(&policy, &[1], &[1]) };
        let request = GenerationRequest::new(Vec::new(), Policy::Never, 128);
        let limits = [0, 2].map(|count| subject.request(count, Intervention::default(), &request).max_tokens);
        assert_eq!(limits, [1, 3]);
    }
}
