//! Owns: `eval`: perplexity on shards and accuracy on questions under policies, as a table or as JSON.
//! Must not know: how a position is computed, how a policy decides.
//! Invariant: every mean is reported with its sample size and its 95 % interval.

use super::generate::SamplingArgs;
use super::model_source::{LoadedModel, ModelArgs, PolicyArg, questions_file};
use crate::data::{Dataset, Question, Split, Tokenizer, read_questions};
use crate::generate::{EndReason, Generation, GenerationRequest, InputKind};
use crate::policy::grammar::POLICY_HELP;
use crate::policy::switch::Policy;
use crate::train::eval::accuracy::{bootstrap_ratio, ends_with_answer};
use crate::train::eval::perplexity::{ScoringOptions, SequenceNll, score_rows};
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
  correct  share of the questions whose generated text ends with the answer, word for word
  95 %     bootstrap interval of that share, over questions
  tokens   mean number of generated tokens
  latents  mean number of latents (recycled states)
  cut      share of the answers that reached --max-new or the model's longest position before the end token";

/// Arguments of `eval`.
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
    format!(
        "Policy that decides when to think; may be given several times to compare policies:\n{POLICY_HELP}"
    )
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
        let codec = loaded.tokenizer()?;
        let policies: Vec<Policy> =
            args.policy.iter().map(|typed| loaded.resolve_policy(typed)).collect::<Result<_, _>>()?;
        let (prompts, left_out) = args.encode_questions(&loaded, questions)?;
        if prompts.is_empty() {
            let max_len = loaded.model.shape().max_len;
            bail!("{}: every question is longer than the model's {max_len} positions", file.display());
        }
        for policy in &policies {
            results.push(args.answer_questions(&loaded, &prompts, codec, policy)?);
        }
        asked = Some(QuestionSet { file, count: prompts.len(), skipped: left_out });
    }
    let report = EvalReport { dir: loaded.dir, perplexity, questions: asked, results };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", report.to_json())?,
        false => report.write_table(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The data to evaluate on.
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
        let (total, mut prompts) = (questions.len(), Vec::with_capacity(questions.len()));
        for question in questions {
            let ids = loaded.encode(&format!("{}{}", question.question, self.separator))?;
            if ids.len() < loaded.model.shape().max_len {
                prompts.push(EvalPrompt { ids, answer: question.answer });
            }
        }
        let left_out = total - prompts.len();
        Ok((prompts, left_out))
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
        let reading =
            ScoringOptions { split: self.split, seq_len, batch: self.batch.min(8), max_rows: self.limit };
        let rows = score_rows(&loaded.model, &dataset, reading)?;
        if rows.is_empty() {
            bail!(
                "{}: the {} split does not fill one row of {seq_len} positions",
                data.display(),
                self.split.name()
            );
        }
        let codec = dataset.tokenizer().or_else(|| loaded.tokenizer.clone());
        Ok(PerplexityReport::from_rows(data, self.split, &rows, codec.as_ref(), self.sampling.seed))
    }

    /// Generates an answer to every prompt under `policy`, and compares it with the right one.
    fn answer_questions(
        &self,
        loaded: &LoadedModel,
        prompts: &[EvalPrompt],
        codec: &Tokenizer,
        policy: &Policy,
    ) -> anyhow::Result<PolicyResult> {
        let mut result = PolicyResult {
            policy: policy.clone(),
            scores: Vec::with_capacity(prompts.len()),
            seed: self.sampling.seed,
        };
        // Prompts of similar length share a batch, so that less of it is padding.
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|at| prompts[*at].ids.len());
        for chunk in order.chunks(self.batch) {
            let request = GenerationRequest {
                prompts: chunk.iter().map(|at| prompts[*at].ids.clone()).collect(),
                policy: policy.clone(),
                sampling: self.sampling.params()?,
                max_tokens: self.max_new,
                eos_token: loaded.eos_token,
                seed: self.sampling.seed,
                top_count: 1,
                stream_ids: chunk.to_vec(),
                shuffled: false,
            };
            let mut generation = Generation::start(&loaded.model, request)?;
            let mut rows = vec![GeneratedRow::default(); chunk.len()];
            while !generation.is_finished() {
                for step in generation.step()? {
                    let row = &mut rows[step.row];
                    match step.kind {
                        InputKind::Latent => row.latents += 1,
                        InputKind::Token => row.ids.extend(step.token),
                    }
                }
            }
            for ((number, at), row) in chunk.iter().enumerate().zip(rows) {
                let ids: Vec<u32> =
                    row.ids.iter().copied().filter(|id| Some(*id) != loaded.eos_token).collect();
                let correct = ends_with_answer(&codec.decode(&ids), &prompts[*at].answer);
                let cut = generation.end_reason(number) != Some(EndReason::EosToken);
                result.scores.push([
                    f64::from(correct),
                    row.ids.len() as f64,
                    row.latents as f64,
                    f64::from(cut),
                ]);
            }
        }
        Ok(result)
    }
}

/// An encoded question with its right answer.
struct EvalPrompt {
    ids: Vec<u32>,
    answer: String,
}

/// What was generated for one question.
#[derive(Clone, Default)]
struct GeneratedRow {
    ids: Vec<u32>,
    latents: usize,
}

/// A mean and its 95 % bootstrap interval `[low, high]`.
type MeanWithInterval = (f64, [f64; 2]);

/// Perplexity of the model on a split.
struct PerplexityReport {
    data: PathBuf,
    split: Split,
    tokens: usize,
    rows: usize,
    /// Nats a token.
    nats_per_token: MeanWithInterval,
    /// None if the dataset and the model have no tokenizer.
    bits_per_byte: Option<MeanWithInterval>,
}

impl PerplexityReport {
    fn from_rows(
        data: &Path,
        split: Split,
        rows: &[SequenceNll],
        codec: Option<&Tokenizer>,
        seed: u64,
    ) -> Self {
        let tokens = |row: &SequenceNll| row.targets.len() as f64;
        let pairs: Vec<[f64; 2]> = rows.iter().map(|row| [row.total_nll, tokens(row)]).collect();
        let bits_per_byte = |codec: &Tokenizer| {
            let nats_per_bit = std::f64::consts::LN_2;
            let pair =
                |row: &SequenceNll| [row.total_nll / nats_per_bit, codec.decode(&row.targets).len() as f64];
            bootstrap_ratio(&rows.iter().map(pair).collect::<Vec<_>>(), seed)
        };
        Self {
            data: data.to_owned(),
            split,
            tokens: rows.iter().map(|row| row.targets.len()).sum(),
            rows: rows.len(),
            nats_per_token: bootstrap_ratio(&pairs, seed),
            bits_per_byte: codec.map(bits_per_byte),
        }
    }
}

/// The answers of one policy.
struct PolicyResult {
    policy: Policy,
    /// For each question: correct (0 or 1), tokens, latents, cut (0 or 1: no end token was generated).
    scores: Vec<[f64; 4]>,
    seed: u64,
}

impl PolicyResult {
    /// Returns the mean of one column of `rows`.
    fn mean(&self, column: usize) -> MeanWithInterval {
        bootstrap_ratio(&self.scores.iter().map(|row| [row[column], 1.0]).collect::<Vec<_>>(), self.seed)
    }
}

/// The questions that were asked.
struct QuestionSet {
    file: PathBuf,
    count: usize,
    /// Questions that were skipped because they are longer than the model takes.
    skipped: usize,
}

/// All results of an evaluation.
struct EvalReport {
    dir: PathBuf,
    perplexity: Option<PerplexityReport>,
    questions: Option<QuestionSet>,
    results: Vec<PolicyResult>,
}

impl EvalReport {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.dir.display())?;
        if let Some(found) = &self.perplexity {
            let (nats, [low, high]) = found.nats_per_token;
            let split = format!("{} {}", found.data.display(), found.split.name());
            writeln!(out, "\n{split}: {} tokens in {} rows", found.tokens, found.rows)?;
            writeln!(out, "perplexity     {:>8.3}   {:.3} to {:.3}", nats.exp(), low.exp(), high.exp())?;
            writeln!(out, "nats/token     {nats:>8.4}   {low:.4} to {high:.4}")?;
            if let Some((bits, [low, high])) = found.bits_per_byte {
                writeln!(out, "bits/byte      {bits:>8.4}   {low:.4} to {high:.4}")?;
            }
        }
        if let Some(QuestionSet { file, count, skipped: left_out }) = &self.questions {
            let skipped = match left_out {
                0 => String::new(),
                count => format!("; skipped {count} that are longer than the model takes"),
            };
            writeln!(out, "\n{}: {count} questions{skipped}", file.display())?;
            writeln!(
                out,
                "{:>8}  {:<16}  {:>7}  {:>8}  {:>7}  policy",
                "correct", "95 %", "tokens", "latents", "cut"
            )?;
        }
        for answered in &self.results {
            let [(correct, [low, high]), (tokens, _), (latents, _), (cut, _)] =
                [0, 1, 2, 3].map(|column| answered.mean(column));
            let interval = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
            let [correct, cut] = [correct, cut].map(|share| format!("{:.1} %", 100.0 * share));
            let counts = format!("{tokens:>7.1}  {latents:>8.2}  {cut:>7}");
            writeln!(out, "{correct:>8}  {interval:<16}  {counts}  {}", answered.policy)?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let mean = |(mean, [low, high]): MeanWithInterval| json!({ "mean": mean, "low": low, "high": high });
        let perplexity = self.perplexity.as_ref().map(|found| {
            let (nats, [low, high]) = found.nats_per_token;
            json!({
                "data": found.data, "split": found.split.name(), "tokens": found.tokens, "rows": found.rows,
                "perplexity": mean((nats.exp(), [low.exp(), high.exp()])),
                "nats_per_token": mean(found.nats_per_token),
                "bits_per_byte": found.bits_per_byte.map(mean),
            })
        });
        let answered = self.results.iter().map(|answered| {
            json!({
                "policy": answered.policy.to_string(), "questions": answered.scores.len(),
                "accuracy": mean(answered.mean(0)), "tokens": mean(answered.mean(1)), "latents": mean(answered.mean(2)), "cut": mean(answered.mean(3)),
            })
        });
        json!({
            "model": self.dir, "shards": perplexity,
            "questions": self.questions.as_ref().map(|asked| &asked.file),
            "left_out": self.questions.as_ref().map(|asked| asked.skipped),
            "policies": answered.collect::<Vec<_>>(),
        })
    }
}
