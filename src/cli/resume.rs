//! Owns: `resume`: a run folder to a running trainer.
//! Must not know: how a run is gone on with.
//! Invariant: a run that another process has is not touched.

use super::find;
use super::run::{Look, start};
use crate::train::Begin;
use clap::Args;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab resume last                           the newest run, from its newest checkpoint
  coconut-lab resume quickstart --steps 4000        the newest run of that name, for longer
  coconut-lab resume checkpoints/20261124-101500-quickstart --from 1000

Changes that were recorded after the checkpoint are done again at their steps; with --from they are given up. What was
edited in the run's config.toml meanwhile holds from the first step on.";

/// What `resume` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArgs {
    /// A run folder, its name in checkpoints/, the name of a run (the newest of it), or `last`.
    run: String,
    /// Go back to the checkpoint of this step; what came after it is given up.
    #[arg(long, value_name = "STEP")]
    from: Option<u64>,
    /// Print lines instead of opening the dashboard; so too where standard output is no terminal.
    #[arg(long)]
    headless: bool,
    /// Number of updates; short for --set run.steps=N.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Change a live config value from the first step on; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    look: Look,
}

/// Goes on with the run, and says how it ended.
pub(super) fn run(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    let mut sets = args.overrides;
    sets.extend(args.steps.map(|steps| format!("run.steps={steps}")));
    start(Begin::Resume { run: find::run(&args.run)?, step: args.from, sets }, args.headless, args.look)
}
