//! Owns: the command line: verbs, their help and examples. One file a verb.
//! Must not know: how a verb does its work.
//! Invariant: an error that leaves a verb names what was asked for and what is allowed.

mod data;
mod headless;
mod run;
mod signals;
mod verify;

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
    /// Make and look at token shards.
    Data(data::DataArgs),
    /// Hold model and passes to a folder of golden numbers.
    Verify(verify::VerifyArgs),
}

/// Runs the verb that was given.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        None => run::run(cli.run),
        Some(Verb::Run(args)) => run::run(args),
        Some(Verb::Data(args)) => data::run(args).map(|()| ExitCode::SUCCESS),
        Some(Verb::Verify(args)) => verify::run(args),
    }
}
