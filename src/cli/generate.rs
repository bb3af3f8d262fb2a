//! Owns: `generate`: prompts in, what the model makes of them out, as it comes.
//! Must not know: how a policy decides, how a position is computed.
//! Invariant: standard output holds what was generated and nothing else; the rest goes to standard error.

mod show;

use super::source::{Loaded, ModelArgs, PolicyArg};
use crate::think::{Choice, End, Generation, Kind, POLICIES, Request, Step};
use anyhow::{Context, bail};
use clap::Args;
use show::Show;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  coconut-lab generate --prompt 'Every lempus is a wumpus.'          the newest run's newest checkpoint
  coconut-lab generate --model path/to/gpt2 --prompt 'Once' --policy entropy:start=2,stop=1 --temperature 0.8 -n 3
  coconut-lab generate --model quickstart@2000 --ids 5,17,3 --json
  head -n 4 questions.txt | coconut-lab generate --lines --policy fixed:count=6

A thought is shown as its entropies in nats, ⟨1.83→0.97→0.42⟩: of each state that was fed, and after the last.
With --json a line is one position: row, kind (token or latent), token, text, entropy, top (what the output held likeliest
before it: for a latent, what it decodes to), after (the entropy after it).";

/// What `generate` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// A prompt; may be given several times.
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A file whose text is a prompt; without any prompt, standard input is.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Each line of a file or of standard input is a prompt of its own.
    #[arg(long)]
    lines: bool,
    /// A prompt of raw ids, for models without a tokenizer; may be given several times.
    #[arg(long, value_name = "ID,ID,…", allow_hyphen_values = true)]
    ids: Vec<String>,
    /// When to think.
    #[arg(long, default_value = "never", value_name = "POLICY", long_help = policy_help())]
    policy: PolicyArg,
    /// Most tokens after a prompt.
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_new: usize,
    /// Samples of each prompt.
    #[arg(short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    n: u16,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Go on behind the token that ends a text.
    #[arg(long)]
    ignore_end: bool,
    /// Likeliest tokens told of each position.
    #[arg(long, default_value_t = 5, value_name = "K")]
    top: usize,
    /// A line of JSON a position.
    #[arg(long)]
    json: bool,
}

fn policy_help() -> String {
    format!("When to think:\n{POLICIES}")
}

/// How tokens are chosen.
#[derive(Args)]
pub(super) struct ChoiceArgs {
    /// 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    temperature: f64,
    /// Choose among so many of the likeliest; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Choose among the likeliest that together have this probability.
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Choose among those of at least this share of the likeliest's probability.
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Of the choices.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl ChoiceArgs {
    /// The choice, if it makes sense.
    pub fn choice(&self) -> anyhow::Result<Choice> {
        let Self { temperature, top_k, top_p, min_p, .. } = *self;
        let choice = Choice { temperature, top_k, top_p, min_p };
        choice.check().map_err(anyhow::Error::msg)?;
        Ok(choice)
    }
}

/// Generates, and prints as it goes.
pub(super) fn run(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    let choice = args.choice.choice()?;
    if args.max_new == 0 {
        bail!("--max-new 0: at least one token is to be generated");
    }
    let loaded = args.model.load()?;
    let prompts = args.prompts(&loaded)?;
    let prompts: Vec<Vec<u32>> =
        prompts.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, usize::from(args.n))).collect();
    let (rows, show) = (prompts.len(), Show::new(&prompts, args.json, loaded.codec.clone(), loaded.end));
    let request = Request {
        prompts,
        policy: loaded.policy(&args.policy)?,
        choice,
        most: args.max_new,
        end: loaded.end.filter(|_| !args.ignore_end),
        seed: args.choice.seed,
        top: args.top,
        streams: Vec::new(),
        shuffled: false,
    };
    let name = loaded.dir.display();
    let generation = Generation::begin(&loaded.model, request).with_context(|| format!("{name}"))?;
    match generated(generation, show, rows) {
        // Who reads has had enough.
        Err(error) if broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done.map(|()| ExitCode::SUCCESS),
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn generated(mut generation: Generation, mut show: Show, rows: usize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (began, mut counts) = (Instant::now(), [0_usize; 2]);
    while !generation.over() {
        for step in generation.step()? {
            counts[usize::from(step.kind == Kind::Latent)] += 1;
            show.step(&step, &mut out)?;
        }
        for row in 0..rows {
            if generation.ended(row).is_some() {
                show.ended(row, &mut out)?;
            }
        }
        out.flush()?;
    }
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let short = (0..rows).filter(|row| generation.ended(*row) == Some(End::Length)).count();
    if short > 0 {
        eprintln!("{short} of {rows} came to the last position that the model takes");
    }
    let [tokens, latents] = counts;
    eprintln!(
        "{tokens} tokens and {latents} latents in {seconds:.2} s: {:.1} tokens/s, {:.1} positions/s",
        tokens as f64 / seconds,
        (tokens + latents) as f64 / seconds
    );
    Ok(())
}

impl GenerateArgs {
    /// Ids of all prompts.
    fn prompts(&self, loaded: &Loaded) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut prompts: Vec<Vec<u32>> = self.ids.iter().map(|ids| of_ids(ids)).collect::<Result<_, _>>()?;
        let mut texts = self.prompt.clone();
        for file in &self.file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            self.take(text, &mut texts);
        }
        if prompts.is_empty() && texts.is_empty() {
            if std::io::stdin().is_terminal() {
                bail!("no prompt: give --prompt, --file, --ids, or text on standard input");
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            self.take(text, &mut texts);
        }
        if prompts.is_empty() && texts.is_empty() {
            bail!("no prompt: there is no line with text");
        }
        if texts.is_empty() {
            return Ok(prompts);
        }
        if let Err(error) = loaded.codec() {
            bail!("{error:#}; or give --ids");
        }
        for text in &texts {
            prompts.push(loaded.encode(text)?);
        }
        Ok(prompts)
    }

    /// The prompts in `text`: whole, but for the end of its last line, or line by line.
    fn take(&self, text: String, texts: &mut Vec<String>) {
        match self.lines {
            true => texts.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned)),
            false => texts.push(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        }
    }
}

fn of_ids(text: &str) -> anyhow::Result<Vec<u32>> {
    let id = |id: &str| id.trim().parse().with_context(|| format!("--ids: {id:?} is no token id"));
    text.split(',').map(id).collect()
}
