//! Owns: the command line: its verbs, their help texts and examples. Each verb has one file.
//! Must not know: how a verb does its work.
//! Invariant: every error that leaves a verb names what was requested and what is allowed.

mod bench;
mod check;
mod compare;
mod completions;
mod config;
mod control;
mod data;
mod eval;
mod experiment;
mod export;
mod generate;
mod headless;
mod lens;
mod model_source;
mod multi_run_reader;
pub mod output;
mod plot;
mod profile;
mod progress;
mod resume;
mod run;
mod run_link;
mod run_list_reader;
mod run_lookup;
mod runs;
mod signals;
mod snapshot;
mod terminal;
mod trainer_host;
mod verify;
mod watch;

use crate::bench::profile::AllocationCounter;
use crate::record::log::RunLog;
use crate::schema::protocol::{LogLevel, LogLine};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;

/// A terminal research workbench for parallel COCONUT training of language models.
///
/// Without a verb it does what `coconut-lab run` does: it trains `configs/quickstart.toml` and opens the
/// dashboard. `coconut-lab VERB --help` explains a verb, with examples.
#[derive(Parser)]
#[command(name = "coconut-lab", version, args_conflicts_with_subcommands = true, after_help = run::EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a model from a config file, in the dashboard or headless.
    Run(run::RunArgs),
    /// Continue a run that was stopped or killed, or train it for more steps.
    Resume(resume::ResumeArgs),
    /// Open the dashboard on a run of another process, running or ended, or on several runs at once.
    Watch(watch::WatchArgs),
    /// Pause, continue, step, save, stop, note, change or ask a run of another process.
    Control(control::ControlArgs),
    /// Compare arms over seeds: make the runs of an experiment, on one machine or many, and judge them.
    Experiment(experiment::ExperimentArgs),
    /// Report how runs compare: grouped by everything but the seed, with intervals, tests and figures.
    Compare(compare::CompareArgs),
    /// Browse runs: sort, filter, mark, tag, rename, delete, compare, open. Without a terminal, list them.
    Runs(runs::RunsArgs),
    /// Read a whole run folder and say whether every file of it is whole.
    Check(check::CheckArgs),
    /// Export a table of one or more runs to a Parquet or CSV file, or the model of a run.
    Export(export::ExportArgs),
    /// Draw a metric of one or more runs as a figure: mean and band over seeds, to SVG, PDF or PNG.
    Plot(plot::PlotArgs),
    /// Draw the dashboard of a run or of several, or a panel, to an SVG or text file.
    Snapshot(snapshot::SnapshotArgs),
    /// Generate text from prompts, with or without thoughts in latent space.
    Generate(generate::GenerateArgs),
    /// Evaluate a model: perplexity on token shards, accuracy on questions under each policy.
    Eval(eval::EvalArgs),
    /// Decode the latents of a model's thoughts, and measure whether entropy falls along them.
    Lens(lens::LensArgs),
    /// Make and inspect token shards.
    Data(data::DataArgs),
    /// Print what config keys there are: default, allowed values, live or frozen, meaning.
    Config(config::ConfigArgs),
    /// Compare the model and its passes with the golden (reference) numbers of a folder.
    Verify(verify::VerifyArgs),
    /// Time whole training steps of each kind, to compare with another program.
    Bench(bench::BenchArgs),
    /// Show where the time of a training step goes, by part and by operation.
    Profile(profile::ProfileArgs),
    /// Print completions for a shell.
    Completions(completions::CompletionsArgs),
    /// Print the manual page: coconut-lab man | man -l -
    Man,
}

/// A wrong call: what was typed on the command line cannot be done. The process ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Returns from the function with a [`UsageError`] of the formatted text.
macro_rules! bail_usage {
    ($($text:tt)*) => { return Err(anyhow::Error::new($crate::cli::UsageError(format!($($text)*)))) };
}
use bail_usage;

/// Whether an error is one of usage: a wrong argument, or a wrong `--set`.
pub fn is_usage_error(error: &anyhow::Error) -> bool {
    use crate::config::ConfigError;
    let of_override = |error: &ConfigError| match error {
        ConfigError::Override { .. } => true,
        ConfigError::UnknownKey { place, .. } | ConfigError::Limit { place, .. } => place.starts_with("--set"),
        _ => false,
    };
    error.chain().any(|cause| cause.is::<UsageError>() || cause.downcast_ref().is_some_and(of_override))
}

/// Prints what clap says, help or an error, and ends the process. Arguments are made visible if they need it.
pub fn exit_with_clap_error(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if text.chars().any(output::is_unsafe) {
        output::print_error_line(text);
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// Returns the definition of the command line, for reference pages made from its help texts.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the verb on the command line. `allocated` counts the allocations of this process, for `profile`.
pub fn run(cli: Cli, allocated: AllocationCounter) -> anyhow::Result<ExitCode> {
    print_warnings();
    signals::survive_file_size_limit();
    match cli.verb {
        None => run::run(cli.run),
        Some(Verb::Run(args)) => run::run(args),
        Some(Verb::Resume(args)) => resume::run(args),
        Some(Verb::Watch(args)) => watch::run(args),
        Some(Verb::Control(args)) => control::run(args),
        Some(Verb::Experiment(args)) => experiment::run(args),
        Some(Verb::Compare(args)) => compare::run(args),
        Some(Verb::Runs(args)) => runs::run(args),
        Some(Verb::Check(args)) => check::run(args),
        Some(Verb::Export(args)) => export::run(args),
        Some(Verb::Plot(args)) => plot::run(args),
        Some(Verb::Snapshot(args)) => snapshot::run(args),
        Some(Verb::Generate(args)) => generate::run(args),
        Some(Verb::Eval(args)) => eval::run(args),
        Some(Verb::Lens(args)) => lens::run(args),
        Some(Verb::Data(args)) => data::run(args).map(|()| ExitCode::SUCCESS),
        Some(Verb::Config(args)) => config::run(args),
        Some(Verb::Verify(args)) => verify::run(args),
        Some(Verb::Bench(args)) => bench::run(args),
        Some(Verb::Profile(args)) => profile::run(args, allocated),
        Some(Verb::Completions(args)) => completions::run(&args),
        Some(Verb::Man) => completions::print_manual(),
    }
}

/// Prints warnings to standard error. A run has a log of its own, which takes its place on the trainer's thread.
fn print_warnings() {
    let print = |line: LogLine| {
        if line.level != LogLevel::Info {
            output::print_error_line(format_args!("warning: {}", line.text));
        }
    };
    let subscriber = tracing_subscriber::registry().with(RunLog::new(print));
    // Fails if there is one already, as in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
