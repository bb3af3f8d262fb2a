//! Owns: `eval`: perplexity on shards and answers to questions under policies, as a table or JSON.
//! Must not know: how a position is computed, how a policy decides.
//! Invariant: every number stands beside how many it is a mean of, and between what it lies.

use super::generate::ChoiceArgs;
use super::source::{Loaded, ModelArgs, PolicyArg, questions};
use crate::data::{Codec, Dataset, Question, Split, read_questions};
use crate::think::{End, Generation, Kind, POLICIES, Policy, Request, ends_with, ratio};
use crate::train::perplexity::{Foretold, Reading, foretold};
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

Without --data and --questions, the validation split that the run was trained beside is both, as far as it has questions.
An answer is right where the generated text ends with it, word for word. Intervals are of 95 % (bootstrap over rows).";

/// What `eval` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// The model, as with --model.
    #[arg(value_name = "RUN|DIR", conflicts_with = "model")]
    which: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// A folder of token shards, to measure perplexity on.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// train, valid or test.
    #[arg(long, default_value = "valid", value_parser = split)]
    split: Split,
    /// Positions of a row of shards; 0: as many as the run had, or the model takes, 1024 at most.
    #[arg(long, default_value_t = 0)]
    seq_len: usize,
    /// Questions with answers: .json, .jsonl or .parquet.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// A policy to answer by; may be given several times.
    #[arg(long, default_value = "never", value_name = "POLICY", long_help = policy_help())]
    policy: Vec<PolicyArg>,
    /// What stands between a question and what is generated.
    #[arg(long, default_value = "\n", hide_default_value = true)]
    between: String,
    /// Most tokens of an answer, with its steps.
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_new: usize,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Most questions, and most rows of shards.
    #[arg(long, default_value_t = 500, value_name = "N")]
    most: usize,
    /// Rows at once.
    #[arg(long, default_value_t = 32, value_name = "B")]
    batch: usize,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

fn policy_help() -> String {
    format!("A policy to answer by; may be given several times:\n{POLICIES}")
}

fn split(name: &str) -> Result<Split, String> {
    let all = [Split::Train, Split::Valid, Split::Test];
    all.into_iter().find(|split| split.name() == name).ok_or_else(|| "allowed: train, valid, test".into())
}

/// Evaluates, and prints the table.
pub(super) fn run(mut args: EvalArgs) -> anyhow::Result<ExitCode> {
    if let Some(which) = args.which.take() {
        args.model.model = which;
    }
    if args.batch == 0 || args.most == 0 || args.max_new == 0 {
        bail!("--batch, --most and --max-new must be at least 1");
    }
    let loaded = args.model.load()?;
    let sources = args.sources(&loaded)?;
    let perplexity = sources.data.as_ref().map(|data| args.perplexity(&loaded, data)).transpose()?;
    let questions = match &sources.questions {
        Some(file) => Some((file.clone(), read_questions(file, args.most)?)),
        None => None,
    };
    if perplexity.is_none() && questions.is_none() {
        bail!("nothing to evaluate on: give --data DIR or --questions FILE");
    }
    let (mut answered, mut asked) = (Vec::new(), None);
    if let Some((file, questions)) = questions {
        let codec = loaded.codec()?;
        let policies: Vec<Policy> =
            args.policy.iter().map(|typed| loaded.policy(typed)).collect::<Result<_, _>>()?;
        let (prompts, left_out) = args.prompts(&loaded, questions)?;
        if prompts.is_empty() {
            bail!("{}: every question is longer than the model takes", file.display());
        }
        for policy in &policies {
            answered.push(args.answers(&loaded, &prompts, codec, policy)?);
        }
        asked = Some(Asked { file, count: prompts.len(), left_out });
    }
    let report = Report { dir: loaded.dir, perplexity, asked, answered };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", report.json())?,
        false => report.table(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is evaluated on.
struct Sources {
    data: Option<PathBuf>,
    questions: Option<PathBuf>,
}

impl EvalArgs {
    /// What was named; else what the run was validated on, where it is still there.
    fn sources(&self, loaded: &Loaded) -> anyhow::Result<Sources> {
        let named = Sources { data: self.data.clone(), questions: self.questions.clone() };
        if named.data.is_some() || named.questions.is_some() {
            return Ok(named);
        }
        let Some(dataset) = loaded.dataset()? else { return Ok(named) };
        let data = dataset.has(self.split).then(|| dataset.path().to_owned());
        Ok(Sources { data, questions: questions(&dataset, self.split) })
    }

    /// What the model is asked, as far as it can take it; and how many questions it cannot.
    fn prompts(&self, loaded: &Loaded, questions: Vec<Question>) -> anyhow::Result<(Vec<Prompt>, usize)> {
        let (all, mut prompts) = (questions.len(), Vec::with_capacity(questions.len()));
        for question in questions {
            let ids = loaded.encode(&format!("{}{}", question.question, self.between))?;
            if ids.len() < loaded.model.shape().max_len {
                prompts.push(Prompt { ids, answer: question.answer });
            }
        }
        let left_out = all - prompts.len();
        Ok((prompts, left_out))
    }

    fn perplexity(&self, loaded: &Loaded, data: &Path) -> anyhow::Result<Perplexity> {
        let dataset = Dataset::open(data)?;
        let most = loaded.model.shape().max_len;
        let own = loaded.config()?.map_or(1024, |config| config.data.seq_len);
        let seq_len = if self.seq_len == 0 { own.min(most) } else { self.seq_len };
        if seq_len > most {
            bail!("--seq-len {seq_len}: the model takes {most} positions at most");
        }
        let reading = Reading { split: self.split, seq_len, batch: self.batch.min(8), most: self.most };
        let rows = foretold(&loaded.model, &dataset, reading)?;
        if rows.is_empty() {
            bail!("{}: the {} split fills no row of {seq_len} positions", data.display(), self.split.name());
        }
        let codec = dataset.tokenizer().or_else(|| loaded.codec.clone());
        Ok(Perplexity::of(data, self.split, &rows, codec.as_ref(), self.choice.seed))
    }

    fn answers(
        &self,
        loaded: &Loaded,
        prompts: &[Prompt],
        codec: &Codec,
        policy: &Policy,
    ) -> anyhow::Result<Answered> {
        let mut answered = Answered {
            policy: policy.clone(),
            rows: Vec::with_capacity(prompts.len()),
            seed: self.choice.seed,
        };
        // Rows of like length beside each other: none waits long for another.
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|at| prompts[*at].ids.len());
        for chunk in order.chunks(self.batch) {
            let request = Request {
                prompts: chunk.iter().map(|at| prompts[*at].ids.clone()).collect(),
                policy: policy.clone(),
                choice: self.choice.choice()?,
                most: self.max_new,
                end: loaded.end,
                seed: self.choice.seed,
                top: 1,
                streams: chunk.to_vec(),
                shuffled: false,
            };
            let mut generation = Generation::begin(&loaded.model, request)?;
            let mut rows = vec![Row::default(); chunk.len()];
            while !generation.over() {
                for step in generation.step()? {
                    let row = &mut rows[step.row];
                    match step.kind {
                        Kind::Latent => row.latents += 1,
                        Kind::Token => row.ids.extend(step.token),
                    }
                }
            }
            for ((number, at), row) in chunk.iter().enumerate().zip(rows) {
                let ids: Vec<u32> = row.ids.iter().copied().filter(|id| Some(*id) != loaded.end).collect();
                let right = ends_with(&codec.decode(&ids), &prompts[*at].answer);
                let cut = generation.ended(number) != Some(End::Token);
                answered.rows.push([
                    f64::from(right),
                    row.ids.len() as f64,
                    row.latents as f64,
                    f64::from(cut),
                ]);
            }
        }
        Ok(answered)
    }
}

struct Prompt {
    ids: Vec<u32>,
    answer: String,
}

#[derive(Clone, Default)]
struct Row {
    ids: Vec<u32>,
    latents: usize,
}

/// A mean, between what it lies, and of how many.
type Mean = (f64, [f64; 2]);

struct Perplexity {
    data: PathBuf,
    split: Split,
    tokens: usize,
    rows: usize,
    /// Nats a token.
    nats: Mean,
    /// Where the text is known.
    bits_a_byte: Option<Mean>,
}

impl Perplexity {
    fn of(data: &Path, split: Split, rows: &[Foretold], codec: Option<&Codec>, seed: u64) -> Self {
        let tokens = |row: &Foretold| row.targets.len() as f64;
        let pairs: Vec<[f64; 2]> = rows.iter().map(|row| [row.nats, tokens(row)]).collect();
        let bytes = |codec: &Codec| {
            let bits = std::f64::consts::LN_2;
            let pair = |row: &Foretold| [row.nats / bits, codec.decode(&row.targets).len() as f64];
            ratio(&rows.iter().map(pair).collect::<Vec<_>>(), seed)
        };
        Self {
            data: data.to_owned(),
            split,
            tokens: rows.iter().map(|row| row.targets.len()).sum(),
            rows: rows.len(),
            nats: ratio(&pairs, seed),
            bits_a_byte: codec.map(bytes),
        }
    }
}

struct Answered {
    policy: Policy,
    /// Right, tokens, latents, cut: by the most tokens or the model's length, before its end.
    rows: Vec<[f64; 4]>,
    seed: u64,
}

impl Answered {
    fn mean(&self, which: usize) -> Mean {
        ratio(&self.rows.iter().map(|row| [row[which], 1.0]).collect::<Vec<_>>(), self.seed)
    }
}

struct Asked {
    file: PathBuf,
    count: usize,
    /// Longer than the model takes.
    left_out: usize,
}

struct Report {
    dir: PathBuf,
    perplexity: Option<Perplexity>,
    asked: Option<Asked>,
    answered: Vec<Answered>,
}

impl Report {
    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.dir.display())?;
        if let Some(found) = &self.perplexity {
            let (nats, [low, high]) = found.nats;
            let place = format!("{} {}", found.data.display(), found.split.name());
            writeln!(out, "\n{place}: {} tokens in {} rows", found.tokens, found.rows)?;
            writeln!(out, "perplexity     {:>8.3}   {:.3} to {:.3}", nats.exp(), low.exp(), high.exp())?;
            writeln!(out, "nats a token   {nats:>8.4}   {low:.4} to {high:.4}")?;
            if let Some((bits, [low, high])) = found.bits_a_byte {
                writeln!(out, "bits a byte    {bits:>8.4}   {low:.4} to {high:.4}")?;
            }
        }
        if let Some(Asked { file, count, left_out }) = &self.asked {
            let longer = match left_out {
                0 => String::new(),
                more => format!(", without {more} that are longer than the model takes"),
            };
            writeln!(out, "\n{}: {count} questions{longer}", file.display())?;
            writeln!(
                out,
                "{:>8}  {:<16}  {:>7}  {:>8}  {:>7}  policy",
                "right", "95 %", "tokens", "latents", "cut"
            )?;
        }
        for answered in &self.answered {
            let [(right, [low, high]), (tokens, _), (latents, _), (cut, _)] =
                [0, 1, 2, 3].map(|which| answered.mean(which));
            let between = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
            let [right, cut] = [right, cut].map(|share| format!("{:.1} %", 100.0 * share));
            let counts = format!("{tokens:>7.1}  {latents:>8.2}  {cut:>7}");
            writeln!(out, "{right:>8}  {between:<16}  {counts}  {}", answered.policy)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mean = |(mean, [low, high]): Mean| json!({ "mean": mean, "low": low, "high": high });
        let perplexity = self.perplexity.as_ref().map(|found| {
            let (nats, [low, high]) = found.nats;
            json!({
                "data": found.data, "split": found.split.name(), "tokens": found.tokens, "rows": found.rows,
                "perplexity": mean((nats.exp(), [low.exp(), high.exp()])),
                "nats_per_token": mean(found.nats),
                "bits_per_byte": found.bits_a_byte.map(mean),
            })
        });
        let answered = self.answered.iter().map(|answered| {
            json!({
                "policy": answered.policy.to_string(), "questions": answered.rows.len(),
                "accuracy": mean(answered.mean(0)), "tokens": mean(answered.mean(1)), "latents": mean(answered.mean(2)), "cut": mean(answered.mean(3)),
            })
        });
        json!({
            "model": self.dir, "shards": perplexity,
            "questions": self.asked.as_ref().map(|asked| &asked.file),
            "left_out": self.asked.as_ref().map(|asked| asked.left_out),
            "policies": answered.collect::<Vec<_>>(),
        })
    }
}
