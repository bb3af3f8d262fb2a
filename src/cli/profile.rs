//! Owns: `profile`: what is to be measured, its tables, and the file with the trace.
//! Must not know: how a step is made, how its time is found.
//! Invariant: standard output has the tables alone; the file is there before anything is measured, or nothing is.

mod table;

use super::bench::{SOME, SizeArgs, THREADS, check, kind, share_work, within};
use crate::config::{self, Config, Limit};
use crate::train::bench::Kind;
use crate::train::device::{self, Chosen};
use crate::train::profile::{self, Allocated, Profile, Wish, chrome};
use anyhow::Context;
use clap::Args;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab profile --kinds plain,isolated
  coconut-lab profile --vocab 512 --time 128 --width 128 --layers 4 --batch 16 --recycled 16 --trace steps.json
  coconut-lab profile --config configs/quickstart.toml --set recycle.every=1 --set recycle.probability=1

Sizes and kinds are those of bench: a fresh model on random tokens. With --config it is the model, the data and the schedule
of a recipe, from its first step on. The file that --trace names is opened by https://ui.perfetto.dev and chrome://tracing.";

/// What `profile` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// Kinds of steps, in this order; as `bench` names them.
    #[arg(long, default_value = "plain", value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// A config file, in the place of sizes and kinds.
    #[arg(long, short, value_name = "FILE")]
    #[arg(conflicts_with_all = ["vocab", "time", "width", "heads", "layers", "batch", "recycled", "kinds"])]
    #[arg(conflicts_with_all = ["dtype", "activation_checkpointing"])]
    config: Option<PathBuf>,
    /// Override a value of the config file; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", requires = "config")]
    overrides: Vec<String>,
    /// Steps that are measured.
    #[arg(long, default_value = "10", value_name = "N", value_parser = |text: &str| within(text, STEPS))]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| within(text, SOME))]
    warmup: usize,
    /// Threads of the CPU's operations; without it, as many as the machine has.
    #[arg(long, value_name = "N", value_parser = |text: &str| within(text, THREADS))]
    threads: Option<usize>,
    /// auto, cpu, cuda, cuda:N or wgpu; without it, the config file's, or cpu.
    #[arg(long)]
    device: Option<String>,
    /// Write what was recorded of every measured step as trace-event JSON.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// All events of a step are kept in memory.
const STEPS: Limit = Limit::Within(1.0, 1000.0);

/// Measures, and prints as it goes.
pub(super) fn run(args: ProfileArgs, allocated: Allocated) -> anyhow::Result<ExitCode> {
    let sizes = args.sizes.sizes(args.steps, args.warmup);
    check(&sizes)?;
    let config = args.config.as_ref().map(|file| config::load(file, &args.overrides)).transpose()?;
    share_work(args.threads.unwrap_or(0))?;
    let chosen = chosen(args.device, config.as_ref())?;
    match &config {
        Some(config) => chosen.multiplies(config.run.dtype, "run.dtype")?,
        None => chosen.multiplies(sizes.dtype, "--dtype")?,
    }
    let trace = args.trace.map(|path| (create(&path), path));
    let trace = trace.map(|(file, path)| file.map(|file| (file, path))).transpose()?;
    let wish = Wish { steps: args.steps, warmup: args.warmup, allocated, events: trace.is_some() };
    let mut measured = Vec::new();
    match config {
        Some(config) => {
            let name = config.run.name.clone();
            measured.push(shown(name, profile::of_run(config, &chosen, &wish)?, &chosen)?);
        }
        None => {
            for kind in args.kinds {
                let found = profile::of_kind(&sizes, kind, &chosen, &wish)?;
                measured.push(shown(kind.name().to_owned(), found, &chosen)?);
            }
        }
    }
    if let Some((file, path)) = trace {
        write(file, &measured).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(wanted: Option<String>, config: Option<&Config>) -> anyhow::Result<Chosen> {
    let named = wanted.or_else(|| config.map(|config| config.run.device.clone()));
    device::choose(&named.unwrap_or_else(|| "cpu".into())).context("`--device`")
}

fn create(path: &PathBuf) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("`--trace`: cannot create {}", path.display()))
}

/// Prints the tables of what was measured under this name.
fn shown(name: String, found: Profile, chosen: &Chosen) -> anyhow::Result<(String, Profile)> {
    let mut out = std::io::stdout().lock();
    out.write_all(table::of(&name, &found, chosen).as_bytes())?;
    out.flush()?;
    Ok((name, found))
}

fn write(file: File, measured: &[(String, Profile)]) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    let events: Vec<_> =
        measured.iter().map(|(name, found)| (name.as_str(), found.events.as_slice())).collect();
    chrome::write(&mut out, &events)?;
    out.flush()
}
