//! Owns: `eval`: perplexity on shards and accuracy on questions under policies, as a table or as JSON.
//! Must not know: how a position is computed, how a policy decides.
//! Invariant: every mean is reported with its sample size and its 95 % interval.

use super::generate::SamplingArgs;
use super::model_source::{LoadedModel, ModelArgs, PolicyArg, questions_file};
use crate::data::{Dataset, Question, Split, read_questions};
use crate::generate::GenerationRequest;
use crate::policy::grammar::POLICY_HELP;
use crate::policy::switch::Policy;
use crate::train::eval::accuracy::{AccuracySummary, EvalPrompt, answer_questions};
use crate::train::eval::bootstrap::Estimate;
use crate::train::eval::perplexity::{PerplexitySummary, ScoringOptions, score_rows};
use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab eval last --policy never --policy fixed:count=6 --policy entropy:start=1,stop=0.5
  coconut-lab eval --model path/to/gpt2 --data datasets/wikitext
  coconut-lab eval quickstart@2000 --questions prosqa_test.json --most 300 --json

Without --data and --questions, a run is evaluated on its own dataset: perplexity on the split of --split, and
the questions that the first shard of this split was made from, if it has any.

Columns of the table of answers:
  correct    share of the questions whose generated text ends with the answer, word for word
  95 %       bootstrap interval of that share, over questions
  tokens     mean number of generated tokens
  latents    mean number of latents (recycled states)
  truncated  share of the answers that reached --max-new or the model's longest position before the end token";

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
    /// Policy that decides when to think; may be given several times to compare policies.
    #[arg(long, default_value = "never", value_name = "POLICY", long_help = policy_help())]
    policy: Vec<PolicyArg>,
    /// Text between a question and the generated answer [default: a newline]
    #[arg(long = "between", value_name = "BETWEEN", default_value = "\n", hide_default_value = true)]
    separator: String,
    /// Most tokens to generate for each question, reasoning steps included.
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_new: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Most questions to answer, and most rows of shards to read.
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
        bail!("--batch, --most and --max-new must be at least 1");
    }
    let loaded = args.model.load()?;
    let sources = args.sources(&loaded)?;
    let perplexity = sources.data.as_ref().map(|data| args.measure_perplexity(&loaded, data)).transpose()?;
    let questions = match &sources.questions {
        Some(file) => Some((file.clone(), read_questions(file, args.limit)?)),
        None => None,
    };
    if perplexity.is_none() && questions.is_none() {
        bail!("nothing to evaluate on: give --data DIR or --questions FILE");
    }
    let (mut results, mut asked) = (Vec::new(), None);
    if let Some((file, questions)) = questions {
        let policies: Vec<Policy> =
            args.policy.iter().map(|typed| loaded.resolve_policy(typed)).collect::<Result<_, _>>()?;
        let (prompts, skipped) = args.encode_questions(&loaded, questions)?;
        if prompts.is_empty() {
            let max_len = loaded.model.shape().max_len;
            bail!("{}: every question is longer than the model's {max_len} positions", file.display());
        }
        for policy in policies {
            let summary = args.answer_questions(&loaded, &prompts, &policy)?;
            results.push((policy, summary));
        }
        asked = Some(QuestionSet { file, count: prompts.len(), skipped });
    }
    let report = EvalReport { dir: loaded.dir, perplexity, questions: asked, results };
    let mut out = std::io::stdout().lock();
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
        let data = dataset.has_split(self.split).then(|| dataset.path().to_owned());
        Ok(EvalSources { data, questions: questions_file(&dataset, self.split) })
    }

    /// Encodes the questions that fit into the model, and counts those that are too long.
    fn encode_questions(
        &self,
        loaded: &LoadedModel,
        questions: Vec<Question>,
    ) -> anyhow::Result<(Vec<EvalPrompt>, usize)> {
        let (total, mut prompts) = (questions.len(), Vec::new());
        for question in questions {
            let ids = loaded.encode(&format!("{}{}", question.question, self.separator))?;
            if ids.len() < loaded.model.shape().max_len {
                prompts.push(EvalPrompt { ids, answer: question.answer });
            }
        }
        let skipped = total - prompts.len();
        Ok((prompts, skipped))
    }

    /// Scores rows of the dataset in `data` by a plain pass.
    fn measure_perplexity(&self, loaded: &LoadedModel, data: &Path) -> anyhow::Result<PerplexityReport> {
        let dataset = Dataset::open(data)?;
        let max_len = loaded.model.shape().max_len;
        let default_len = loaded.config()?.map_or(1024, |config| config.data.seq_len);
        let seq_len = if self.seq_len == 0 { default_len.min(max_len) } else { self.seq_len };
        if seq_len > max_len {
            bail!("--seq-len {seq_len}: the model takes at most {max_len} positions");
        }
        let reading = ScoringOptions { split: self.split, seq_len, batch: self.batch.min(8), max_rows: self.limit };
        let rows = score_rows(&loaded.model, &dataset, reading)?;
        if rows.is_empty() {
            bail!("{}: the {} split does not fill one row of {seq_len} positions", data.display(), self.split.name());
        }
        let tokenizer = dataset.tokenizer().or_else(|| loaded.tokenizer.clone());
        let summary = PerplexitySummary::from_rows(&rows, tokenizer.as_ref(), self.sampling.seed);
        Ok(PerplexityReport { data: data.to_owned(), split: self.split, summary })
    }

    fn answer_questions(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        policy: &Policy,
    ) -> anyhow::Result<AccuracySummary> {
        let request = GenerationRequest {
            sampling: self.sampling.params()?,
            eos_token: loaded.eos_token,
            seed: self.sampling.seed,
            ..GenerationRequest::new(Vec::new(), policy.clone(), self.max_new)
        };
        let scores = answer_questions(&loaded.model, loaded.tokenizer()?, prompts, self.batch, &request)?;
        Ok(AccuracySummary::from_scores(&scores, self.sampling.seed))
    }
}

struct PerplexityReport {
    data: PathBuf,
    split: Split,
    summary: PerplexitySummary,
}

struct QuestionSet {
    file: PathBuf,
    count: usize,
    /// Questions that were skipped because they are longer than the model takes.
    skipped: usize,
}

struct EvalReport {
    dir: PathBuf,
    perplexity: Option<PerplexityReport>,
    questions: Option<QuestionSet>,
    results: Vec<(Policy, AccuracySummary)>,
}

impl EvalReport {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.dir.display())?;
        if let Some(PerplexityReport { data, split, summary }) = &self.perplexity {
            let (data, split) = (data.display(), split.name());
            writeln!(out, "\n{data} {split}: {} tokens in {} rows", summary.tokens, summary.rows)?;
            let Estimate { mean, low, high } = summary.perplexity;
            writeln!(out, "perplexity     {mean:>8.3}   {low:.3} to {high:.3}")?;
            let nats = Some(("nats/token", summary.nats_per_token));
            let bits = summary.bits_per_byte.map(|bits| ("bits/byte", bits));
            for (unit, Estimate { mean, low, high }) in nats.into_iter().chain(bits) {
                writeln!(out, "{unit:<14} {mean:>8.4}   {low:.4} to {high:.4}")?;
            }
        }
        if let Some(QuestionSet { file, count, skipped }) = &self.questions {
            let skipped = match skipped {
                0 => String::new(),
                count => format!("; skipped {count} that are longer than the model takes"),
            };
            writeln!(out, "\n{}: {count} questions{skipped}", file.display())?;
            let [correct, interval] = ["correct", "95 %"];
            let [tokens, latents, truncated] = ["tokens", "latents", "truncated"];
            writeln!(out, "{correct:>8}  {interval:<16}  {tokens:>7}  {latents:>8}  {truncated:>9}  policy")?;
        }
        for (policy, summary) in &self.results {
            let [accuracy, truncated] =
                [summary.accuracy, summary.truncated].map(|share| share.map(|share| 100.0 * share));
            let interval = format!("{:.1} to {:.1} %", accuracy.low, accuracy.high);
            let [correct, truncated] = [accuracy, truncated].map(|percent| format!("{:.1} %", percent.mean));
            let (tokens, latents) = (summary.tokens.mean, summary.latents.mean);
            let counts = format!("{tokens:>7.1}  {latents:>8.2}  {truncated:>9}");
            writeln!(out, "{correct:>8}  {interval:<16}  {counts}  {policy}")?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let perplexity = self.perplexity.as_ref().map(|PerplexityReport { data, split, summary }| {
            json!({
                "data": data, "split": split.name(), "tokens": summary.tokens, "rows": summary.rows,
                "perplexity": summary.perplexity, "nats_per_token": summary.nats_per_token,
                "bits_per_byte": summary.bits_per_byte,
            })
        });
        let policies = self.results.iter().map(|(policy, summary)| {
            json!({
                "policy": policy.to_string(), "questions": summary.questions, "accuracy": summary.accuracy,
                "tokens": summary.tokens, "latents": summary.latents, "cut": summary.truncated,
            })
        });
        json!({
            "model": self.dir, "shards": perplexity,
            "questions": self.questions.as_ref().map(|asked| &asked.file),
            "left_out": self.questions.as_ref().map(|asked| asked.skipped),
            "policies": policies.collect::<Vec<_>>(),
        })
    }
}
