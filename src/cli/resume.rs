//! Owns: `resume`: it starts a trainer on an existing run folder.
//! Must not know: how a run is resumed.
//! Invariant: a run that another process is running is not touched.

use super::run::{DisplayArgs, start_and_follow};
use super::run_lookup;
use crate::train::StartMode;
use clap::Args;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab resume last                           the newest run, from its newest checkpoint
  coconut-lab resume quickstart --steps 4000        the newest run of that name, up to step 4000
  coconut-lab resume checkpoints/20261124-101500-quickstart --from 1000

A run continues from its newest checkpoint that is whole. If it has checkpoints but none can be read, nothing is
changed without --restart. Config changes recorded after that checkpoint are applied again at
the same steps; with --from they are discarded. Edits of config.toml made while the run was not running apply
from the first step on.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    /// Go back to the checkpoint of this step; everything after it is discarded.
    #[arg(long, value_name = "STEP")]
    from: Option<u64>,
    /// Begin again at step 0 if no checkpoint of the run can be read. All recorded rows are discarded.
    #[arg(long, conflicts_with = "from")]
    restart: bool,
    /// Print progress lines instead of opening the dashboard; the default without a terminal.
    #[arg(long)]
    headless: bool,
    /// Number of updates of the whole run; short for --set run.steps=N.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Change a live config key from the first step on, e.g. --set optim.lr=1e-4; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    display: DisplayArgs,
}

/// Resumes the run, and reports how it ended.
pub(super) fn run(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    let mut sets = args.overrides;
    sets.extend(args.steps.map(|steps| format!("run.steps={steps}")));
    start_and_follow(
        StartMode::Resume {
            run: run_lookup::run_folder(&args.run)?,
            step: args.from,
            restart: args.restart,
            overrides: sets,
        },
        args.headless,
        args.display,
    )
}
