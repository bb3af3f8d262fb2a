//! Owns: `compare`: the report of an experiment on any runs, grouped by everything but the seed.
//! Must not know: statistics, how a report is worded.
//! Invariant: nothing was declared before these runs, and the report says so.

use super::experiment::report::{machine, print_and_write};
use super::{bail_usage, run_lookup};
use crate::config::{self, seed_groups::group_by_all_but_seed};
use crate::experiment::analysis::{Analysis, ArmRuns, Question};
use crate::experiment::report::contents::Report;
use crate::experiment::results::RunResult;
use crate::experiment::spec::{Better, ComparisonSpec, ValueOf};
use crate::record::run_folder::RunFolder;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab compare plain-s0 plain-s1 plain-s2 recycled-s0 recycled-s1 recycled-s2
  coconut-lab compare a b --metric valid_accuracy --value best --out reports/a-b

Runs that differ in nothing but the seed form a group. Each group is compared with that of the first run, by seed. An
experiment (`coconut-lab experiment`) declares before the runs what will be compared; this explores what is there.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// Runs: run folders, their names in checkpoints/, runs' names (the newest of that name), or `last`.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Metric that decides: a column of metrics/, or a figure of validations.
    #[arg(long, value_name = "METRIC", default_value = "valid_loss_plain_nats")]
    metric: String,
    /// Which value of a run counts.
    #[arg(long, value_enum, default_value_t = CountedValue::Last)]
    value: CountedValue,
    /// Whether smaller or larger values are better [default: by the metric's name]
    #[arg(long, value_enum)]
    better: Option<Direction>,
    /// Folder for report.md, report.html, the figures and the tables
    #[arg(long, short, value_name = "DIR", default_value = "report")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum CountedValue {
    Last,
    Best,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    Lower,
    Higher,
}

pub(super) fn run(args: CompareArgs) -> anyhow::Result<ExitCode> {
    let better = match args.better {
        Some(Direction::Lower) => Better::Lower,
        Some(Direction::Higher) => Better::Higher,
        None => match Better::of_metric(&args.metric) {
            Some(better) => better,
            None => bail_usage!("--better: say `lower` or `higher`; the name `{}` does not tell", args.metric),
        },
    };
    let value = match args.value {
        CountedValue::Last => ValueOf::Last,
        CountedValue::Best => ValueOf::Best,
    };
    let command = std::iter::once("coconut-lab compare".to_owned()).chain(args.runs.iter().cloned());
    let command = format!("{} --metric {}", command.collect::<Vec<_>>().join(" "), args.metric);
    let groups = read_groups(&args.runs, &args.metric)?;
    if groups.iter().flat_map(|group| &group.runs).flatten().all(|run| run.curve(&args.metric).is_empty()) {
        bail_usage!("--metric {}: none of the runs has measured it", args.metric);
    }
    let first = groups[0].name.clone();
    let compared =
        |group: &ArmRuns| ComparisonSpec { a: group.name.clone(), b: first.clone(), metric: None, metric_b: None };
    let question = Question {
        primary: args.metric,
        value,
        better,
        smallest_effect: 0.0,
        reach: None,
        metrics: Vec::new(),
        comparisons: groups.iter().skip(1).map(compared).collect(),
    };
    let seeds = seeds_of(&groups);
    let report = Report {
        name: "comparison".into(),
        question: String::new(),
        analysis: Analysis::new(question, seeds, &groups),
        runs: groups.into_iter().map(|group| group.runs).collect(),
        absent: Vec::new(),
        declarations: Vec::new(),
        hash: None,
        held: None,
        commands: vec![command],
        machine: machine(),
    };
    print_and_write(&report, &args.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the runs, and groups them by everything but the seed: each group has a place for every seed.
fn read_groups(names: &[String], metric: &str) -> anyhow::Result<Vec<ArmRuns>> {
    let (mut results, mut configs) = (Vec::new(), Vec::new());
    for name in names {
        let folder = RunFolder::open(&run_lookup::run_folder(name)?)?;
        let config = config::load(&folder.version_file(0), &[])?;
        let mut result = RunResult::read(folder.path(), &[metric.to_owned()])?;
        (result.name, result.seed) = (folder.id(), config.run.seed);
        if results.iter().all(|other: &RunResult| other.folder != result.folder) {
            results.push(result);
            configs.push(config);
        }
    }
    let seeds: BTreeSet<u64> = results.iter().map(|run| run.seed).collect();
    let mut groups = Vec::new();
    for group in group_by_all_but_seed(&configs) {
        let mut runs: Vec<Option<RunResult>> = vec![None; seeds.len()];
        for member in &group.members {
            let result = &results[*member];
            let place = seeds.iter().position(|seed| *seed == result.seed).unwrap_or(0);
            if let Some(other) = &runs[place] {
                bail_usage!("{} and {} have the same config and seed {}", other.name, result.name, result.seed);
            }
            runs[place] = Some(result.clone());
        }
        groups.push(ArmRuns { name: group.label.clone(), overrides: vec![group.label], runs });
    }
    Ok(groups)
}

fn seeds_of(groups: &[ArmRuns]) -> Vec<u64> {
    let seeds: BTreeSet<u64> =
        groups.iter().flat_map(|group| group.runs.iter().flatten()).map(|run| run.seed).collect();
    seeds.into_iter().collect()
}
