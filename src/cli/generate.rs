//! Owns: `generate`: reads prompts, and prints the generated text as it comes.
//! Must not know: how a policy decides, how a position is computed.
//! Invariant: standard output holds only what was generated; everything else goes to standard error.

mod printer;

use super::bail_usage;
use super::model_source::{LoadedModel, ModelArgs, PolicyArg, policy_help};
use super::output;
use crate::generate::{EndReason, Generation, GenerationRequest, GenerationStep, InputKind};
use crate::policy::sampling::SamplingParams;
use anyhow::Context;
use clap::Args;
use printer::GenerationPrinter;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  coconut-lab generate --prompt 'Every lempus is a wumpus.'      the newest checkpoint of the newest run
  coconut-lab generate --model path/to/gpt2 --prompt 'Once' --policy entropy:start=2,stop=1 --temperature 0.8 -n 3
  coconut-lab generate --model quickstart@2000 --ids 5,17,3 --json
  head -n 4 questions.txt | coconut-lab generate --lines --policy fixed:count=6

A thought is printed as entropies in nats, ⟨1.83→0.97→0.42⟩: one for each fed state, then that after the last.
The texts of several prompts are separated by a line `---`.

With --json, each position is a line of JSON with these keys:
  row      number of the prompt or sample, from 0
  kind     token or latent
  token    token id; for a latent, the token that its feedback uses (`gated`, `add`), or null
  text     text of that token, or null without a tokenizer
  entropy  entropy of the output before this position, in nats
  top      likeliest tokens of that output with probability `p`; for a latent, what its state decodes to
  after    entropy of the output after this position, in nats; null if the row ended there";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompt; may be given several times.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File whose text is a prompt; may be given several times.
    ///
    /// Without --prompt, --file and --ids, the prompt is read from standard input.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Treat each non-empty line of a file or of standard input as a prompt.
    #[arg(long)]
    lines: bool,
    /// Prompt of token ids, for models without a tokenizer; may be given several times.
    #[arg(long, value_name = "ID,ID,…", allow_hyphen_values = true)]
    ids: Vec<String>,
    /// Policy that decides when to think.
    #[arg(long, default_value = "never", value_name = "POLICY", long_help = policy_help())]
    policy: PolicyArg,
    /// Most tokens to generate for each prompt; latents do not count.
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_new: usize,
    /// Number of samples for each prompt.
    #[arg(short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    samples: u16,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Continue after the end-of-text token.
    #[arg(long)]
    ignore_end: bool,
    /// Number of likeliest tokens printed for each position with --json.
    #[arg(long, default_value_t = 5, value_name = "K")]
    top: usize,
    /// Print a line of JSON for each position instead of text.
    #[arg(long)]
    json: bool,
}

/// How tokens are sampled. Filters apply in the order top-k, top-p, min-p.
#[derive(Args)]
pub(super) struct SamplingArgs {
    /// Sampling temperature, from 0 to 100: divides the logits; 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    temperature: f64,
    /// Sample from this many of the likeliest tokens; 0 means all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Sample from the likeliest tokens that together have this probability, from 0 to 1; 1 means all.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Drop tokens below this share of the likeliest token's probability, from 0 to 1; 0 keeps all.
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Random seed; the same seed gives the same output.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// Returns the sampling parameters; an error names the one outside its limits.
    pub fn params(&self) -> anyhow::Result<SamplingParams> {
        let Self { temperature, top_k, top_p, min_p, .. } = *self;
        let params = SamplingParams { temperature, top_k, top_p, min_p };
        params.validate().map_err(anyhow::Error::msg)?;
        Ok(params)
    }
}

/// Generates, and prints text as it comes.
pub(super) fn run(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    let sampling = args.sampling.params()?;
    if args.max_new == 0 {
        bail_usage!("--max-new 0: expected at least 1 token");
    }
    let loaded = args.model.load()?;
    let prompts = args.prompts(&loaded)?;
    let prompts: Vec<Vec<u32>> =
        prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, usize::from(args.samples))).collect();
    let (rows, printer) = (
        prompts.len(),
        GenerationPrinter::new(&prompts, args.json, loaded.tokenizer.clone(), loaded.end_tokens.clone()),
    );
    let request = GenerationRequest {
        sampling,
        end_tokens: if args.ignore_end { Vec::new() } else { loaded.end_tokens.clone() },
        seed: args.sampling.seed,
        top_count: args.top,
        ..GenerationRequest::new(prompts, loaded.resolve_policy(&args.policy)?, args.max_new)
    };
    let name = loaded.dir.display();
    let generation = Generation::start(&loaded.model, request).with_context(|| format!("{name}"))?;
    match print_generation(generation, printer, rows) {
        // The reader closed the pipe, for example `| head`.
        Err(error) if broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs the generation to its end, prints it as it comes, and reports the speed on standard error.
fn print_generation(mut generation: Generation, mut printer: GenerationPrinter, rows: usize) -> anyhow::Result<()> {
    let mut out = output::stdout_for_text();
    let (started, mut counts) = (Instant::now(), [0_usize; 2]);
    while !generation.is_finished() {
        for step in generation.step()? {
            counts[usize::from(step.kind == InputKind::Latent)] += 1;
            printer.add_step(&step, &mut out)?;
        }
        for row in 0..rows {
            if generation.end_reason(row).is_some() {
                printer.end_row(row, &mut out)?;
            }
        }
        out.flush()?;
    }
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    let truncated = (0..rows).filter(|row| generation.end_reason(*row) == Some(EndReason::ModelLength)).count();
    if truncated > 0 {
        output::print_error_line(format_args!(
            "{truncated} of {rows} rows reached the last position that the model takes"
        ));
    }
    let [tokens, latents] = counts;
    output::print_error_line(format_args!(
        "{tokens} tokens and {latents} latents in {seconds:.2} s: {:.1} tokens/s, {:.1} positions/s",
        tokens as f64 / seconds,
        (tokens + latents) as f64 / seconds
    ));
    Ok(())
}

impl GenerateArgs {
    /// Reads and encodes all prompts: `--ids` first, then `--prompt`, `--file` or standard input.
    fn prompts(&self, loaded: &LoadedModel) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut prompts: Vec<Vec<u32>> = self.ids.iter().map(|ids| parse_ids(ids)).collect::<Result<_, _>>()?;
        let mut texts = self.prompt.clone();
        for file in &self.file {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            self.add_prompts(&text, &mut texts);
        }
        if prompts.is_empty() && texts.is_empty() {
            if std::io::stdin().is_terminal() {
                bail_usage!("no prompt: give --prompt, --file, --ids, or text on standard input");
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            self.add_prompts(&text, &mut texts);
        }
        if prompts.is_empty() && texts.is_empty() {
            bail_usage!("no prompt: every line is empty");
        }
        if texts.is_empty() {
            return Ok(prompts);
        }
        if let Err(error) = loaded.tokenizer() {
            bail_usage!("{error:#}; or give --ids");
        }
        for text in &texts {
            prompts.push(loaded.encode(text)?);
        }
        Ok(prompts)
    }

    /// Appends the prompts in `text`: all of it but a byte order mark and a final newline, or its non-empty lines with
    /// `--lines`.
    fn add_prompts(&self, text: &str, texts: &mut Vec<String>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self.lines {
            true => texts.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned)),
            false => texts.push(text.strip_suffix('\n').unwrap_or(text).to_owned()),
        }
    }
}

fn parse_ids(text: &str) -> anyhow::Result<Vec<u32>> {
    let id = |id: &str| id.trim().parse().with_context(|| format!("--ids: {id:?} is no token id"));
    text.split(',').map(id).collect()
}
