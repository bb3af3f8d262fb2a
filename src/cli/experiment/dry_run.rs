//! Owns: what `experiment run --dry-run` prints: arms, their operations and the expected time.
//! Must not know: how a step is measured.
//! Invariant: nothing of the experiment's folder changes.

use crate::bench::estimate::{RunEstimate, estimate_run};
use crate::cli::output;
use crate::cli::progress::Spinner;
use crate::device;
use crate::experiment::plan::{Experiment, PlannedRun};
use crate::experiment::progress::{PlannedRunState, ProgressState};
use crate::record::run_list::read_row;
use crate::record::summary::LastValues;
use crate::schema::metrics::Metric;
use std::io::Write;
use std::process::ExitCode;

/// Prints a line for each arm: what its runs cost, as measured, and how many of `runs` are to be made.
pub(super) fn print(experiment: &Experiment, runs: &[&PlannedRun]) -> anyhow::Result<ExitCode> {
    let progress: Vec<PlannedRunState> = runs.iter().map(|run| experiment.progress_of(run)).collect();
    let width = experiment.spec.arms.iter().map(|arm| arm.name.len()).max().unwrap_or(3).max(3);
    let mut out = output::stdout();
    let held: &str = experiment.spec.hold.into();
    writeln!(out, "equal: {held}; {} arms, {} seeds", experiment.spec.arms.len(), experiment.spec.seeds.len())?;
    let head = ["to make", "updates", "tokens", "operations", "minutes"];
    writeln!(
        out,
        "{:<width$}  {:>8} {:>9} {:>10} {:>11} {:>8}  from",
        "arm", head[0], head[1], head[2], head[3], head[4]
    )?;
    let mut minutes = 0.0;
    for (index, arm) in experiment.spec.arms.iter().enumerate() {
        let of_arm: Vec<_> = runs.iter().zip(&progress).filter(|(run, _)| run.arm == index).collect();
        let Some((first, _)) = of_arm.first() else { continue };
        let finished = of_arm.iter().filter(|(_, progress)| progress.state == ProgressState::Finished);
        let left: f64 = of_arm.iter().map(|(_, progress)| share_left(progress)).sum();
        let (cost, source) = match finished.clone().next() {
            Some((run, progress)) => (recorded_cost(progress), run.name.as_str()),
            None => (measured_cost(first)?, "a few steps"),
        };
        let to_make = of_arm.len() - finished.count();
        minutes += left * cost.seconds / 60.0;
        writeln!(
            out,
            "{:<width$}  {to_make:>8} {:>9} {:>10.3e} {:>11.3e} {:>8.1}  {source}",
            arm.name,
            cost.steps,
            cost.tokens,
            cost.flop,
            cost.seconds / 60.0,
        )?;
    }
    writeln!(out, "still to do: about {minutes:.0} minutes on this machine, validations and checkpoints not counted")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the share of a run that is still to be made.
fn share_left(progress: &PlannedRunState) -> f64 {
    match progress.state {
        ProgressState::Finished => 0.0,
        _ => 1.0 - progress.step as f64 / progress.steps.max(progress.step).max(1) as f64,
    }
}

/// Returns what a finished run has cost.
fn recorded_cost(progress: &PlannedRunState) -> RunEstimate {
    let Some(folder) = &progress.folder else { return RunEstimate::default() };
    let row = read_row(folder, LastValues::Read);
    let last = |metric: Metric| row.metric(metric).last.unwrap_or(0.0);
    RunEstimate {
        steps: progress.step,
        tokens: last(Metric::Tokens),
        flop: last(Metric::TotalFlop),
        seconds: last(Metric::WallS),
    }
}

fn measured_cost(run: &PlannedRun) -> anyhow::Result<RunEstimate> {
    let _spinner = Spinner::start(format!("measuring {}", run.name));
    let selected = device::choose_device(&run.config.run.device)?;
    Ok(estimate_run(&run.config, &selected)?)
}
