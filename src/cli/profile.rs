//! Owns: `profile`: its arguments, its tables, and the trace file.
//! Must not know: how a training step is computed, how its time is measured.
//! Invariant: standard output holds only the tables. The trace file is created before the first measurement.

mod table;

use super::bench::{SizeArgs, THREADS_LIMIT, WARMUP_LIMIT, check_sizes, parse_within, start_threads};
use super::output;
use super::progress::Spinner;
use crate::bench::profile;
use crate::bench::profile::{AllocationCounter, Profile, ProfileOptions, chrome};
use crate::bench::steps::StepKind;
use crate::config::{self, Config, Limit};
use crate::device;
use crate::device::SelectedDevice;
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab profile --kinds plain,isolated
  coconut-lab profile --vocab 512 --time 128 --width 128 --layers 4 --batch 16 --recycled 16 --trace steps.json
  coconut-lab profile --config configs/quickstart.toml --set recycle.every=1 --set recycle.probability=1

Without --config it measures what `bench` does: a new model of the given sizes on random tokens, for each kind
of step. With --config it measures the first steps of a recipe, with its model, data and schedule; it leaves
no run behind. It prints a table of the parts of a step and one of its operations. Open the file that --trace
writes in https://ui.perfetto.dev or chrome://tracing.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// Kinds of steps to measure, in this order, separated by commas; `bench --help` explains them.
    #[arg(long, default_value = "plain", value_name = "KINDS", value_delimiter = ',', value_parser = super::bench::parse_name::<StepKind>)]
    kinds: Vec<StepKind>,
    /// Config file of the recipe to measure, instead of sizes and kinds.
    #[arg(long, short, value_name = "FILE")]
    #[arg(conflicts_with_all = ["vocab", "time", "width", "heads", "layers", "batch", "recycled", "dropout", "kinds"])]
    #[arg(conflicts_with_all = ["dtype", "activation_checkpointing"])]
    config: Option<PathBuf>,
    /// Override a key of the config file, e.g. --set recycle.every=1; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", requires = "config")]
    overrides: Vec<String>,
    /// Number of measured steps, from 1 to 1000; all times are means over them.
    #[arg(long, default_value = "10", value_name = "N", value_parser = |text: &str| parse_within(text, STEPS_LIMIT))]
    steps: usize,
    /// Number of steps before the measured ones.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| parse_within(text, WARMUP_LIMIT))]
    warmup: usize,
    /// Number of CPU threads [default: as many as the machine has]
    #[arg(long, value_name = "N", value_parser = |text: &str| parse_within(text, THREADS_LIMIT))]
    threads: Option<usize>,
    /// Device: auto, cpu, cuda, cuda:N or wgpu [default: `run.device` of --config, else cpu]
    #[arg(long)]
    device: Option<String>,
    /// Write all events of the measured steps to this file, as trace-event JSON.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print a line of JSON for each kind instead of tables.
    #[arg(long)]
    json: bool,
}

/// A profile as a line of JSON.
#[derive(Serialize)]
struct ProfileReport<'a> {
    name: &'a str,
    device: &'a str,
    #[serde(flatten)]
    profile: &'a Profile,
}

/// Limits of the number of measured steps, whose events are all kept in memory.
const STEPS_LIMIT: Limit = Limit::Within(1.0, 1000.0);

/// Measures each kind, and prints its tables as soon as they are known.
pub(super) fn run(args: ProfileArgs, allocated: AllocationCounter) -> anyhow::Result<ExitCode> {
    let sizes = args.sizes.with_steps(args.steps, args.warmup);
    check_sizes(&sizes)?;
    let config = args.config.as_ref().map(|file| config::load(file, &args.overrides)).transpose()?;
    start_threads(args.threads.unwrap_or(0))?;
    let chosen = choose_device(args.device, config.as_ref())?;
    match &config {
        Some(config) => chosen.check_dtype(config.run.dtype, "run.dtype")?,
        None => chosen.check_dtype(sizes.dtype, "--dtype")?,
    }
    let trace = args.trace.map(|path| (create_trace(&path), path));
    let trace = trace.map(|(file, path)| file.map(|file| (file, path))).transpose()?;
    let options = ProfileOptions { steps: args.steps, warmup: args.warmup, allocated, keep_events: trace.is_some() };
    let (mut measured, json) = (Vec::new(), args.json);
    match config {
        Some(config) => {
            let name = config.run.name.clone();
            let found = with_spinner(&name, || profile::profile_run(config, &chosen, &options))?;
            measured.push(print_profile(name, found, &chosen, json)?);
        }
        None => {
            for kind in args.kinds {
                let found = with_spinner(kind.name(), || profile::profile_step_kind(&sizes, kind, &chosen, &options))?;
                measured.push(print_profile(kind.name().to_owned(), found, &chosen, json)?);
            }
        }
    }
    if let Some((file, path)) = trace {
        write_trace(file, &measured).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Chooses the device: that of `--device`, of the config, or the CPU.
fn choose_device(name: Option<String>, config: Option<&Config>) -> anyhow::Result<SelectedDevice> {
    let name = name.or_else(|| config.map(|config| config.run.device.clone()));
    device::choose_device(&name.unwrap_or_else(|| "cpu".into())).context("`--device`")
}

fn create_trace(path: &PathBuf) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("`--trace`: cannot create {}", path.display()))
}

/// Measures with a spinner that names what is measured.
fn with_spinner<T>(name: &str, measure: impl FnOnce() -> T) -> T {
    let _spinner = Spinner::start(format!("profiling {name}"));
    measure()
}

/// Prints a profile as tables or as JSON, and returns it with its name.
fn print_profile(
    name: String,
    found: Profile,
    chosen: &SelectedDevice,
    json: bool,
) -> anyhow::Result<(String, Profile)> {
    let mut out = output::stdout();
    match json {
        true => {
            let report = ProfileReport { name: &name, device: &chosen.name, profile: &found };
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        }
        false => out.write_all(table::format_tables(&name, &found, chosen).as_bytes())?,
    }
    out.flush()?;
    Ok((name, found))
}

fn write_trace(file: File, measured: &[(String, Profile)]) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    let events: Vec<_> = measured.iter().map(|(name, found)| (name.as_str(), found.events.as_slice())).collect();
    chrome::write_trace(&mut out, &events)?;
    out.flush()
}
