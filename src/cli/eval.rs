//! Owns: `eval`: perplexity on shards and accuracy on questions under policies, as a table or as JSON.
//! Must not know: how a position is computed, how a policy decides.
//! Invariant: every mean is reported with its sample size and its 95 % interval.

mod question_set;
mod report;
mod thought_tests;

use self::question_set::QuestionSet;
use self::report::{Answered, AnsweredSet, EvalReport, PerplexityReport};
use self::thought_tests::test_rows;
use super::bail_usage;
use super::generate::SamplingArgs;
use super::model_source::{LoadedModel, ModelArgs, PolicyArg, questions_file};
use super::output;
use super::progress::Spinner;
use crate::config::{CurriculumMethod, Objective, ObjectiveKind};
use crate::data::{Dataset, Split, read_questions};
use crate::generate::{GenerationRequest, Intervention, LatentSource};
use crate::policy::grammar::POLICY_HELP;
use crate::policy::switch::{FixedPolicy, Policy, ThoughtStarts};
use crate::record::export::write_table;
use crate::record::rows::TableRow;
use crate::record::rows::thought_tests::ThoughtTestRow;
use crate::train::eval::accuracy::{AccuracySummary, EvalPrompt, answer_questions};
use crate::train::eval::judge::Judge;
use crate::train::eval::perplexity::{PerplexitySummary, ScoringOptions, score_split};
use crate::train::eval::thought_tests::{ThoughtSubject, ThoughtTestResult, run_thought_tests};
use crate::train::{AnswerPlan, answer_by_plan};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab eval last --policy never --policy fixed:count=6 --policy entropy:start=1,stop=0.5
  coconut-lab eval --model path/to/gpt2 --data datasets/wikitext
  coconut-lab eval quickstart@2000 --questions prosqa_test.json --most 300 --json
  coconut-lab eval coconut-graph@best --split test --questions datasets/graph --questions datasets/graph-4 --thought-tests

Without --data and --questions, a run is evaluated on its own dataset: perplexity on the split of --split, and
the questions that the first shard of this split was made from, if it has any.

Perplexity is over every token of the split but the first, end tokens included, in rows of --seq-len positions; the
last row may be shorter. It does not depend on --batch. Each figure has its 95 % bootstrap interval:
  perplexity, nats/token   over rows
  nats/document            the nll of a whole document, over documents
  bits/byte                the nll of all targets by the bytes of their text (special tokens have none), over rows

If questions have different numbers of steps, a line for each number follows.

Columns of the table of answers:
  correct    share of the questions that the generated text answers rightly
  95 %       bootstrap interval of that share, over questions
  tokens     mean number of generated tokens
  latents    mean number of latents (recycled states)
  truncated  share of the answers that reached --max-new or the model's longest position before the end token

A right answer that is a number is judged as a number (1,234.0 is 1234; the last number of the text, or the one after
`####`, \\boxed{} or \"the answer is\"), a letter from A to J as a choice, anything else as text, word by word.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of token shards to measure perplexity on.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Split of the dataset: train, valid or test.
    #[arg(long, default_value = "valid", value_parser = super::bench::parse_name::<Split>)]
    split: Split,
    /// Positions per row when measuring perplexity; 0 chooses a length.
    ///
    /// 0 means `data.seq_len` of the run, or 1024 for other models, but never more than the model takes.
    #[arg(long, default_value_t = 0)]
    seq_len: usize,
    /// File of questions and answers: .json, .jsonl or .parquet with `question` and `answer`, or a dataset made of questions,
    /// of which the split is taken; may be given several times.
    #[arg(long, value_name = "FILE|DIR")]
    questions: Vec<PathBuf>,
    /// Policy that decides when to think; may be given several times to compare policies [default: that of a curriculum's
    /// last stage, else never]
    #[arg(long, value_name = "POLICY", long_help = policy_help())]
    policy: Vec<PolicyArg>,
    /// Text between a question and the generated answer [default: that of a curriculum's run, else a newline]
    #[arg(long = "between", value_name = "BETWEEN")]
    separator: Option<String>,
    /// Also test whether the thought is used: answer with other latents in its place, and with fewer and more.
    ///
    /// Needs a policy with a fixed number of latents. Each test is compared with the unchanged thought, question by question:
    /// difference in percentage points with its 95 % interval, and p of McNemar's exact test.
    #[arg(long)]
    thought_tests: bool,
    /// File for the results of the thought tests: .parquet or .csv.
    #[arg(long, value_name = "FILE", requires = "thought_tests")]
    out: Option<PathBuf>,
    /// Most tokens to generate for each question, reasoning steps included.
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_new: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// How answers are judged: number, choice or text [default: what fits each right answer]
    #[arg(long, value_name = "JUDGE", value_parser = super::bench::parse_name::<Judge>)]
    judge: Option<Judge>,
    /// Most questions to answer, and most rows of shards to measure.
    #[arg(long = "most", default_value_t = 500, value_name = "N")]
    limit: usize,
    /// Rows computed at once; for perplexity at most 8.
    #[arg(long, default_value_t = 32, value_name = "B")]
    batch: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

fn policy_help() -> String {
    format!("Policy that decides when to think; may be given several times to compare policies:\n{POLICY_HELP}")
}

/// Evaluates the model, and prints the table or the JSON object.
pub(super) fn run(args: EvalArgs) -> anyhow::Result<ExitCode> {
    if args.batch == 0 || args.limit == 0 || args.max_new == 0 {
        bail_usage!("--batch, --most and --max-new must be at least 1");
    }
    if args.thought_tests && args.batch < 2 {
        bail_usage!("--thought-tests feeds states of other questions: --batch must be at least 2");
    }
    let loaded = args.model.load()?;
    let sources = args.sources(&loaded)?;
    if sources.data.is_none() && sources.questions.is_empty() {
        bail_usage!("nothing to evaluate on: give --data DIR or --questions FILE");
    }
    let perplexity = sources.data.as_ref().map(|data| args.measure_perplexity(&loaded, data)).transpose()?;
    let sets =
        sources.questions.into_iter().map(|file| args.answer_set(&loaded, file)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &args.out {
        let rows: Vec<_> = sets.iter().flat_map(|set| test_rows(&set.questions.file, &set.tested)).collect();
        let notes = [("coconut_lab.model".to_owned(), loaded.dir.display().to_string())];
        write_table(path, &[ThoughtTestRow::batch(&rows)?], &notes)?;
    }
    let report = EvalReport { dir: loaded.dir, perplexity, sets };
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{:#}", report.to_json())?,
        false => report.write_table(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

struct EvalSources {
    data: Option<PathBuf>,
    questions: Vec<PathBuf>,
}

impl EvalArgs {
    /// Returns what the arguments name; without names, the run's own dataset, if the model is a run.
    fn sources(&self, loaded: &LoadedModel) -> anyhow::Result<EvalSources> {
        let files = self.questions.iter().map(|path| question_file(path, self.split));
        let named = EvalSources { data: self.data.clone(), questions: files.collect::<Result<_, _>>()? };
        if named.data.is_some() || !named.questions.is_empty() {
            return Ok(named);
        }
        let Some(dataset) = loaded.dataset()? else { return Ok(named) };
        // A curriculum is trained on questions, not on the shards as text.
        let is_measured = dataset.has_split(self.split) && curriculum(loaded)?.is_none();
        let data = is_measured.then(|| dataset.path().to_owned());
        Ok(EvalSources { data, questions: questions_file(&dataset, self.split).into_iter().collect() })
    }

    /// Answers the questions of a file under every policy, and tests the thoughts if that is asked.
    fn answer_set(&self, loaded: &LoadedModel, file: PathBuf) -> anyhow::Result<AnsweredSet> {
        let read = read_questions(&file, self.limit)?;
        let separator = match (&self.separator, curriculum(loaded)?) {
            (Some(separator), _) => separator.clone(),
            (None, Some(objective)) => objective.separator,
            (None, None) => "\n".to_owned(),
        };
        let (prompts, questions) = QuestionSet::encode(loaded, file, read, &separator, self.judge)?;
        let answers = match curriculum(loaded)?.filter(|_| self.policy.is_empty()) {
            Some(objective) => vec![self.answer_as_trained(loaded, &objective, &prompts)?],
            None => {
                let policies = self.policies(loaded)?.into_iter();
                let answered = policies.map(|(policy, fed)| self.answer_under(loaded, &prompts, policy, fed));
                answered.collect::<Result<_, _>>()?
            }
        };
        let tested = if self.thought_tests { self.test_thoughts(loaded, &prompts, &answers)? } else { Vec::new() };
        Ok(AnsweredSet { questions, answers, tested })
    }

    /// Scores rows of the dataset in `data` by a plain pass.
    fn measure_perplexity(&self, loaded: &LoadedModel, data: &Path) -> anyhow::Result<PerplexityReport> {
        let dataset = Dataset::open(data)?;
        dataset.warnings().iter().for_each(|warning| tracing::warn!("data: {warning}"));
        loaded.check_tokenizer(&dataset, self.model.any_tokenizer)?;
        let max_len = loaded.model.shape().max_len;
        let default_len = loaded.config()?.map_or(1024, |config| config.data.seq_len);
        let seq_len = if self.seq_len == 0 { default_len.min(max_len) } else { self.seq_len };
        if seq_len > max_len {
            bail_usage!("--seq-len {seq_len}: the model takes at most {max_len} positions");
        }
        let reading = ScoringOptions { split: self.split, seq_len, batch: self.batch.min(8), max_rows: self.limit };
        let _spinner = Spinner::start(format!("measuring perplexity on {}", data.display()));
        let scores = score_split(&loaded.model, &dataset, reading)?;
        let tokenizer = dataset.tokenizer().or_else(|| loaded.tokenizer.clone());
        let summary = PerplexitySummary::from_scores(&scores, tokenizer.as_ref(), self.sampling.seed);
        Ok(PerplexityReport { data: data.to_owned(), split: self.split, summary })
    }

    fn answer_under(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        policy: Policy,
        intervention: Intervention,
    ) -> anyhow::Result<Answered> {
        let request = GenerationRequest { intervention, ..self.request(loaded, &policy)? };
        let _spinner = Spinner::start(format!("answering {} questions under {policy}", prompts.len()));
        let scores = answer_questions(&loaded.model, loaded.tokenizer()?, prompts, self.batch, &request)?;
        let summary = AccuracySummary::from_scores(prompts, &scores, self.sampling.seed);
        let latents = fixed_latents(&policy).map(|fixed| vec![fixed.count; prompts.len()]);
        Ok(Answered { label: policy.to_string(), summary, policy, latents, intervention })
    }

    fn request(&self, loaded: &LoadedModel, policy: &Policy) -> anyhow::Result<GenerationRequest> {
        Ok(GenerationRequest {
            sampling: self.sampling.params()?,
            end_tokens: loaded.end_tokens.clone(),
            seed: self.sampling.seed,
            ..GenerationRequest::new(Vec::new(), policy.clone(), self.max_new)
        })
    }

    /// Returns the policies of --policy with what each feeds at latents. Without --policy, and not for a curriculum, a model
    /// never thinks.
    fn policies(&self, loaded: &LoadedModel) -> anyhow::Result<Vec<(Policy, Intervention)>> {
        // A baseline that learned to read the pause vector is fed it under any policy.
        let pauses = curriculum(loaded)?.is_some_and(|objective| objective.method.feeds_pause());
        let source = if pauses { LatentSource::Pause } else { LatentSource::State };
        let intervention = Intervention { source, only: None };
        match &self.policy[..] {
            [] => Ok(vec![(Policy::Never, intervention)]),
            typed => typed.iter().map(|typed| Ok((loaded.resolve_policy(typed)?, intervention))).collect(),
        }
    }

    /// Answers each question as its curriculum trained it, in the last stage. Returns the policy with the most latents, too.
    fn answer_as_trained(
        &self,
        loaded: &LoadedModel,
        objective: &Objective,
        prompts: &[EvalPrompt],
    ) -> anyhow::Result<Answered> {
        let tokenizer = loaded.tokenizer()?;
        let planned = |prompt: &EvalPrompt| {
            let ids = prompt.ids.clone();
            let plan = AnswerPlan::in_last_stage(objective, tokenizer, ids, prompt.steps, self.max_new);
            (plan.clone(), EvalPrompt { ids: plan.prompt, ..prompt.clone() })
        };
        let planned: Vec<_> = prompts.iter().map(planned).collect();
        let request = self.request(loaded, &Policy::Never)?;
        let _spinner = Spinner::start(format!("answering {} questions as trained", prompts.len()));
        let scores = answer_by_plan(&loaded.model, tokenizer, &planned, self.batch, &request)?;
        let latents = |plan: &AnswerPlan| fixed_latents(&plan.policy).map_or(0, |fixed| fixed.count);
        let counts: Vec<usize> = planned.iter().map(|(plan, _)| latents(plan)).collect();
        let most = planned.iter().map(|(plan, _)| plan).max_by_key(|plan| latents(plan));
        let (policy, intervention) =
            most.map_or((Policy::Never, Intervention::default()), |plan| (plan.policy.clone(), plan.intervention));
        let varies = planned.iter().any(|(plan, _)| plan.policy != policy);
        let label = if varies { format!("{policy}, fewer for fewer steps") } else { policy.to_string() };
        let summary = AccuracySummary::from_scores(prompts, &scores, self.sampling.seed);
        let latents = fixed_latents(&policy).map(|_| counts);
        Ok(Answered { label, summary, policy, latents, intervention })
    }

    /// Tests the thoughts of each policy with a fixed number of latents.
    fn test_thoughts(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        answers: &[Answered],
    ) -> anyhow::Result<Vec<(String, Vec<ThoughtTestResult>)>> {
        let objective = curriculum(loaded)?;
        let per_step = objective.as_ref().map_or(1, |objective| objective.c_thought);
        let is_frontier = objective.is_some_and(|objective| objective.method == CurriculumMethod::Frontier);
        let mut tested = Vec::new();
        for answered in answers {
            let (Some(policy), Some(latents)) = (fixed_latents(&answered.policy), &answered.latents) else { continue };
            let subject = ThoughtSubject {
                policy,
                latents: latents.clone(),
                latents_by_steps: prompts.iter().map(|prompt| per_step * prompt.steps).collect(),
                fed: answered.intervention,
                answer_tokens: is_frontier.then_some(1),
            };
            let (tokenizer, request) = (loaded.tokenizer()?, self.request(loaded, &answered.policy)?);
            let _spinner = Spinner::start(format!("testing thoughts on {} questions", prompts.len()));
            let results = run_thought_tests(&loaded.model, tokenizer, prompts, self.batch, &request, &subject)?;
            tested.push((answered.label.clone(), results));
        }
        if tested.is_empty() {
            bail_usage!(
                "--thought-tests: no policy has a fixed number of latents after a fixed number of tokens, such as fixed:count=3"
            );
        }
        Ok(tested)
    }
}

/// Returns the policy, if it has a fixed number of latents after a fixed number of tokens. After a token of its own choice,
/// rows think at different times: another row's state would not be that of a latent.
fn fixed_latents(policy: &Policy) -> Option<&FixedPolicy> {
    match policy {
        Policy::Fixed(fixed @ FixedPolicy { starts: ThoughtStarts::TokenCounts(_), .. }) => Some(fixed),
        _ => None,
    }
}

/// Returns the file of questions that `path` means: a file, or the first shard of a dataset's split.
fn question_file(path: &Path, split: Split) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match questions_file(&Dataset::open(path)?, split) {
        Some(file) => Ok(file),
        None => bail_usage!("{}: the split {} holds no questions", path.display(), split.name()),
    }
}

/// Returns the objective of the run that the model is from, if it is a curriculum.
fn curriculum(loaded: &LoadedModel) -> anyhow::Result<Option<Objective>> {
    let objective = loaded.config()?.map(|config| config.objective);
    Ok(objective.filter(|objective| objective.kind == ObjectiveKind::Curriculum))
}
