//! Owns: the command line: verbs, their help and examples. One file a verb.
//! Must not know: how a verb does its work.
//! Invariant: an error that leaves a verb names what was asked for and what is allowed.

mod bench;
mod data;
mod eval;
mod export;
mod find;
mod follow;
mod generate;
mod headless;
mod lens;
mod profile;
mod resume;
mod run;
mod runs;
mod signals;
mod snapshot;
mod source;
mod station;
mod verify;
mod watch;

use crate::train::profile::Allocated;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A terminal research workbench for parallel COCONUT training of language models.
///
/// Without a verb it runs `configs/quickstart.toml` in the dashboard.
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
    /// Train as a config file says, in the dashboard or headless.
    Run(run::RunArgs),
    /// Go on with a run that was stopped, killed, or is to be longer.
    Resume(resume::ResumeArgs),
    /// Open the dashboard on a run of another process, running or over.
    Watch(watch::WatchArgs),
    /// List runs: state, steps, best validation loss, size.
    Runs(runs::RunsArgs),
    /// Write a table of one or many runs to one Parquet or CSV file.
    Export(export::ExportArgs),
    /// Draw the dashboard of a run, or one panel, as .svg or .txt.
    Snapshot(snapshot::SnapshotArgs),
    /// Go on with prompts, token by token or in latent space.
    Generate(generate::GenerateArgs),
    /// Say how good a model is: perplexity on shards, answers to questions under policies.
    Eval(eval::EvalArgs),
    /// Look into thoughts: what latents say, and whether entropy falls along them.
    Lens(lens::LensArgs),
    /// Make and look at token shards.
    Data(data::DataArgs),
    /// Hold model and passes to a folder of golden numbers.
    Verify(verify::VerifyArgs),
    /// Time whole training steps of every kind, to be set beside another program's.
    Bench(bench::BenchArgs),
    /// Say where the time of a training step goes, by part and by operation.
    Profile(profile::ProfileArgs),
}

/// Runs the verb that was given. `allocated` says what the process has allocated since it was first asked.
pub fn run(cli: Cli, allocated: Allocated) -> anyhow::Result<ExitCode> {
    match cli.verb {
        None => run::run(cli.run),
        Some(Verb::Run(args)) => run::run(args),
        Some(Verb::Resume(args)) => resume::run(args),
        Some(Verb::Watch(args)) => watch::run(args),
        Some(Verb::Runs(args)) => runs::run(args),
        Some(Verb::Export(args)) => export::run(args),
        Some(Verb::Snapshot(args)) => snapshot::run(args),
        Some(Verb::Generate(args)) => generate::run(args),
        Some(Verb::Eval(args)) => eval::run(args),
        Some(Verb::Lens(args)) => lens::run(args),
        Some(Verb::Data(args)) => data::run(args).map(|()| ExitCode::SUCCESS),
        Some(Verb::Verify(args)) => verify::run(args),
        Some(Verb::Bench(args)) => bench::run(args),
        Some(Verb::Profile(args)) => profile::run(args, allocated),
    }
}
