//! Owns: `eval`: perplexity on shards and accuracy on questions under policies, as a table or as JSON.
//! Must not know: how a position is computed, how a policy decides.
//! Invariant: every mean is reported with its sample size and its 95 % interval.

mod thought_tests;

use self::thought_tests::{test_rows, write_thought_tests};
use super::bail_usage;
use super::generate::SamplingArgs;
use super::model_source::{LoadedModel, ModelArgs, PolicyArg, questions_file};
use super::output;
use crate::config::{Objective, ObjectiveKind};
use crate::data::{Dataset, Questions, Split, read_questions};
use crate::generate::{GenerationRequest, Intervention, LatentSource};
use crate::policy::grammar::POLICY_HELP;
use crate::policy::switch::{FixedPolicy, Policy, ThoughtStarts};
use crate::record::export::write_table;
use crate::record::rows::TableRow;
use crate::record::rows::thought_tests::ThoughtTestRow;
use crate::train::eval::accuracy::{AccuracySummary, EvalPrompt, answer_questions};
use crate::train::eval::bootstrap::Estimate;
use crate::train::eval::judge::{Judge, RightAnswer};
use crate::train::eval::perplexity::{PerplexitySummary, ScoringOptions, score_split};
use crate::train::eval::thought_tests::{self as tests_of_thought, ThoughtTestResult, run_thought_tests};
use crate::train::{AnswerPlan, answer_by_plan};
use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab eval last --policy never --policy fixed:count=6 --policy entropy:start=1,stop=0.5
  coconut-lab eval --model path/to/gpt2 --data datasets/wikitext
  coconut-lab eval quickstart@2000 --questions prosqa_test.json --most 300 --json

Without --data and --questions, a run is evaluated on its own dataset: perplexity on the split of --split, and
the questions that the first shard of this split was made from, if it has any.

Perplexity is over every token of the split but the first, end tokens included, in rows of --seq-len positions; the
last row may be shorter. It does not depend on --batch. Each figure has its 95 % bootstrap interval:
  perplexity, nats/token   over rows
  nats/document            the nll of a whole document, over documents
  bits/byte                the nll of all targets by the bytes of their text (special tokens have none), over rows

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
    /// Model to evaluate; the same as --model.
    #[arg(value_name = "RUN|DIR", conflicts_with = "model")]
    model_name: Option<String>,
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
    /// File of questions and answers: .json, .jsonl or .parquet with `question` and `answer`.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Policy that decides when to think; may be given several times to compare policies [default: that of a curriculum's
    /// last stage, else never]
    #[arg(long, value_name = "POLICY", long_help = policy_help())]
    policy: Vec<PolicyArg>,
    /// Text between a question and the generated answer [default: that of a curriculum's run, else a newline]
    #[arg(long = "between", value_name = "BETWEEN")]
    separator: Option<String>,
    /// Also test whether the thought is used: answer with other latents in its place, and with fewer and more.
    ///
    /// Needs a policy with a fixed number of latents. Each test is compared with the policy as it is, question by question:
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
pub(super) fn run(mut args: EvalArgs) -> anyhow::Result<ExitCode> {
    if let Some(which) = args.model_name.take() {
        args.model.model = which;
    }
    if args.batch == 0 || args.limit == 0 || args.max_new == 0 {
        bail_usage!("--batch, --most and --max-new must be at least 1");
    }
    if args.thought_tests && args.batch < 2 {
        bail_usage!("--thought-tests feeds states of other questions: --batch must be at least 2");
    }
    let loaded = args.model.load()?;
    let sources = args.sources(&loaded)?;
    let perplexity = sources.data.as_ref().map(|data| args.measure_perplexity(&loaded, data)).transpose()?;
    let questions = match &sources.questions {
        Some(file) => Some((file.clone(), read_questions(file, args.limit)?)),
        None => None,
    };
    if perplexity.is_none() && questions.is_none() {
        bail_usage!("nothing to evaluate on: give --data DIR or --questions FILE");
    }
    let (mut results, mut asked, mut tested) = (Vec::new(), None, Vec::new());
    if let Some((file, questions)) = questions {
        let (prompts, set) = args.encode_questions(&loaded, file, questions)?;
        if prompts.is_empty() {
            let max_len = loaded.model.shape().max_len;
            bail!("{}: every question is longer than the model's {max_len} positions", set.file.display());
        }
        match curriculum(&loaded)?.filter(|_| args.policy.is_empty()) {
            Some(objective) => results.push(args.answer_as_trained(&loaded, &objective, &prompts)?),
            None => {
                for (policy, intervention) in args.policies(&loaded)? {
                    let summary = args.answer_questions(&loaded, &prompts, &policy, intervention)?;
                    results.push(Answered { label: policy.to_string(), summary, policy, intervention });
                }
            }
        }
        if args.thought_tests {
            let policies: Vec<_> =
                results.iter().map(|answered| (answered.policy.clone(), answered.intervention)).collect();
            tested = args.test_thoughts(&loaded, &prompts, &policies)?;
        }
        asked = Some(set);
    }
    let report = EvalReport { dir: loaded.dir, perplexity, questions: asked, results, tested };
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{:#}", report.to_json())?,
        false => report.write_table(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

struct EvalSources {
    data: Option<PathBuf>,
    questions: Option<PathBuf>,
}

impl EvalArgs {
    /// Returns what the arguments name; without names, the run's own dataset, if the model is a run.
    fn sources(&self, loaded: &LoadedModel) -> anyhow::Result<EvalSources> {
        let named = EvalSources { data: self.data.clone(), questions: self.questions.clone() };
        if named.data.is_some() || named.questions.is_some() {
            return Ok(named);
        }
        let Some(dataset) = loaded.dataset()? else { return Ok(named) };
        // A curriculum is trained on questions, not on the shards as text.
        let is_measured = dataset.has_split(self.split) && curriculum(loaded)?.is_none();
        let data = is_measured.then(|| dataset.path().to_owned());
        Ok(EvalSources { data, questions: questions_file(&dataset, self.split) })
    }

    /// Encodes the questions that fit into the model, and reduces the answers to what is judged.
    fn encode_questions(
        &self,
        loaded: &LoadedModel,
        file: PathBuf,
        read: Questions,
    ) -> anyhow::Result<(Vec<EvalPrompt>, QuestionSet)> {
        let separator = match (&self.separator, curriculum(loaded)?) {
            (Some(separator), _) => separator.clone(),
            (None, Some(objective)) => objective.separator,
            (None, None) => "\n".to_owned(),
        };
        let mut set = QuestionSet { file, incomplete: read.incomplete, ..Default::default() };
        let mut prompts = Vec::new();
        for question in read.questions {
            let ids = loaded.encode(&format!("{}{separator}", question.question))?;
            if ids.len() >= loaded.model.shape().max_len {
                set.skipped += 1;
                continue;
            }
            let answer = RightAnswer::from_file(&question.answer);
            set.from_rationales += usize::from(answer.from_rationale);
            set.like_rationales += usize::from(answer.looks_like_rationale);
            let judge = self.judge.unwrap_or_else(|| Judge::for_answer(&answer.text));
            *set.judges.entry(judge).or_default() += 1;
            let steps = question.steps.len();
            prompts.push(EvalPrompt { ids, answer: answer.text, judge, steps });
        }
        Ok((prompts, set))
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
        let scores = score_split(&loaded.model, &dataset, reading)?;
        let tokenizer = dataset.tokenizer().or_else(|| loaded.tokenizer.clone());
        let summary = PerplexitySummary::from_scores(&scores, tokenizer.as_ref(), self.sampling.seed);
        Ok(PerplexityReport { data: data.to_owned(), split: self.split, summary })
    }

    fn answer_questions(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        policy: &Policy,
        intervention: Intervention,
    ) -> anyhow::Result<AccuracySummary> {
        let request = GenerationRequest { intervention, ..self.request(loaded, policy)? };
        let scores = answer_questions(&loaded.model, loaded.tokenizer()?, prompts, self.batch, &request)?;
        Ok(AccuracySummary::from_scores(&scores, self.sampling.seed))
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
        let scores = answer_by_plan(&loaded.model, tokenizer, &planned, self.batch, &request)?;
        let latents = |policy: &Policy| if let Policy::Fixed(fixed) = policy { fixed.count } else { 0 };
        let most = planned.iter().map(|(plan, _)| plan).max_by_key(|plan| latents(&plan.policy));
        let (policy, intervention) =
            most.map_or((Policy::Never, Intervention::default()), |plan| (plan.policy.clone(), plan.intervention));
        let varies = planned.iter().any(|(plan, _)| plan.policy != policy);
        let label = if varies { format!("{policy}, fewer for fewer steps") } else { policy.to_string() };
        let summary = AccuracySummary::from_scores(&scores, self.sampling.seed);
        Ok(Answered { label, summary, policy, intervention })
    }

    /// Tests the thoughts of each policy with a fixed number of latents, and writes the results to --out.
    fn test_thoughts(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        policies: &[(Policy, Intervention)],
    ) -> anyhow::Result<Vec<(Policy, Vec<ThoughtTestResult>)>> {
        let mut tested = Vec::new();
        for (policy, intervention) in policies {
            // After a token, rows think at different times: another row's state would not be that of a latent.
            let Policy::Fixed(fixed @ FixedPolicy { starts: ThoughtStarts::TokenCounts(_), .. }) = policy else {
                continue;
            };
            let (tests, request) =
                (tests_of_thought::thought_tests(fixed, *intervention), self.request(loaded, policy)?);
            let results = run_thought_tests(&loaded.model, loaded.tokenizer()?, prompts, self.batch, &request, &tests)?;
            tested.push((policy.clone(), results));
        }
        if tested.is_empty() {
            bail_usage!(
                "--thought-tests: no policy has a fixed number of latents after a fixed number of tokens, such as fixed:count=3"
            );
        }
        if let Some(path) = &self.out {
            let notes = [("coconut_lab.model".to_owned(), loaded.dir.display().to_string())];
            write_table(path, &[ThoughtTestRow::batch(&test_rows(&tested))?], &notes)?;
        }
        Ok(tested)
    }
}

struct PerplexityReport {
    data: PathBuf,
    split: Split,
    summary: PerplexitySummary,
}

impl PerplexityReport {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { data, split, summary } = self;
        let (data, split, in_split) = (data.display(), split.name(), summary.in_split);
        let of_all = match summary.rows < in_split.rows {
            true => format!(" of {} (--most); the split has {} targets", in_split.rows, in_split.targets),
            false => String::new(),
        };
        writeln!(out, "\n{data} {split}: {} tokens in {} rows{of_all}", summary.tokens, summary.rows)?;
        let line = |out: &mut dyn Write, name: &str, estimate: Estimate, decimals: usize, of: String| {
            let interval = estimate.interval_text(decimals);
            writeln!(out, "{name:<14} {:>10.decimals$}   {interval:<22}{of}", estimate.mean)
        };
        line(out, "perplexity", summary.perplexity, 3, String::new())?;
        line(out, "nats/token", summary.nats_per_token, 4, String::new())?;
        if let Some(estimate) = summary.nats_per_document {
            line(out, "nats/document", estimate, 3, format!(" {} documents", summary.documents))?;
        }
        if let (Some(estimate), Some(bytes)) = (summary.bits_per_byte, summary.bytes) {
            line(out, "bits/byte", estimate, 4, format!(" {bytes} bytes"))?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let Self { data, split, summary } = self;
        json!({
            "data": data, "split": split.name(), "tokens": summary.tokens, "rows": summary.rows,
            "documents": summary.documents, "bytes": summary.bytes,
            "rows_in_split": summary.in_split.rows, "tokens_in_split": summary.in_split.targets,
            "perplexity": summary.perplexity, "nats_per_token": summary.nats_per_token,
            "nats_per_document": summary.nats_per_document, "bits_per_byte": summary.bits_per_byte,
        })
    }
}

/// What was asked, and how the answers are judged.
#[derive(Default)]
struct QuestionSet {
    file: PathBuf,
    /// Questions that were skipped because they are longer than the model takes.
    skipped: usize,
    /// Records of the file without question or answer.
    incomplete: usize,
    /// Number of answers by judge.
    judges: BTreeMap<Judge, usize>,
    /// Answers that were rationales, and are judged by what follows their marker.
    from_rationales: usize,
    /// Answers that look like rationales without a marker.
    like_rationales: usize,
}

impl QuestionSet {
    fn count(&self) -> usize {
        self.judges.values().sum()
    }

    /// Names the judges, with their counts if there are several: `number`, or `number (80), text (2)`.
    fn judges_text(&self) -> String {
        match self.judges.len() {
            1 => self.judges.keys().map(Judge::to_string).collect(),
            _ => {
                let texts: Vec<_> = self.judges.iter().map(|(judge, count)| format!("{judge} ({count})")).collect();
                texts.join(", ")
            }
        }
    }

    /// Returns what a reader must know of the set beside its numbers.
    fn remarks(&self) -> Vec<String> {
        let remark = |count: usize, text: &str| (count > 0).then(|| format!("{count} {text}"));
        [
            remark(self.skipped, "questions are longer than the model takes, and were skipped"),
            remark(self.incomplete, "records have no question or no answer, and were left out"),
            remark(self.from_rationales, "answers are rationales; what follows `####` or \\boxed is judged"),
            remark(
                self.like_rationales,
                "answers look like rationales without a marker; hardly any text will be judged right: keep only the answer",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Returns the objective of the run that the model is from, if it is a curriculum.
fn curriculum(loaded: &LoadedModel) -> anyhow::Result<Option<Objective>> {
    let objective = loaded.config()?.map(|config| config.objective);
    Ok(objective.filter(|objective| objective.kind == ObjectiveKind::Curriculum))
}

/// The answers under one policy.
struct Answered {
    /// The policy, or what else says how the questions were answered.
    label: String,
    summary: AccuracySummary,
    policy: Policy,
    intervention: Intervention,
}

struct EvalReport {
    dir: PathBuf,
    perplexity: Option<PerplexityReport>,
    questions: Option<QuestionSet>,
    results: Vec<Answered>,
    tested: Vec<(Policy, Vec<ThoughtTestResult>)>,
}

impl EvalReport {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.dir.display())?;
        if let Some(report) = &self.perplexity {
            report.write_table(out)?;
        }
        if let Some(set) = &self.questions {
            writeln!(out, "\n{}: {} questions, judged as {}", set.file.display(), set.count(), set.judges_text())?;
            for remark in set.remarks() {
                writeln!(out, "note: {remark}")?;
            }
            let [correct, interval] = ["correct", "95 %"];
            let [tokens, latents, truncated] = ["tokens", "latents", "truncated"];
            writeln!(out, "{correct:>8}  {interval:<16}  {tokens:>7}  {latents:>8}  {truncated:>9}  policy")?;
        }
        for Answered { label, summary, .. } in &self.results {
            let [accuracy, truncated] =
                [summary.accuracy, summary.truncated].map(|share| share.map(|share| 100.0 * share));
            let interval = format!("{} %", accuracy.interval_text(1));
            let [correct, truncated] = [accuracy, truncated].map(|percent| format!("{:.1} %", percent.mean));
            let (tokens, latents) = (summary.tokens.mean, summary.latents.mean);
            let counts = format!("{tokens:>7.1}  {latents:>8.2}  {truncated:>9}");
            writeln!(out, "{correct:>8}  {interval:<16}  {counts}  {label}")?;
        }
        self.tested.iter().try_for_each(|(policy, results)| write_thought_tests(policy, results, out))
    }

    fn to_json(&self) -> Value {
        let policies = self.results.iter().map(|Answered { label, summary, .. }| {
            json!({
                "policy": label, "questions": summary.questions, "accuracy": summary.accuracy,
                "tokens": summary.tokens, "latents": summary.latents, "cut": summary.truncated,
            })
        });
        json!({
            "model": self.dir, "shards": self.perplexity.as_ref().map(PerplexityReport::to_json),
            "questions": self.questions.as_ref().map(|set| &set.file),
            "left_out": self.questions.as_ref().map(|set| set.skipped),
            "judge": self.questions.as_ref().map(QuestionSet::judges_text),
            "notes": self.questions.as_ref().map(QuestionSet::remarks),
            "policies": policies.collect::<Vec<_>>(),
            "thought_tests": test_rows(&self.tested),
        })
    }
}
