//! Owns: `experiment report`: the report of an experiment on the terminal and as files.
//! Must not know: statistics, how a report is worded.
//! Invariant: it changes nothing of the runs.

use crate::cli::{output, terminal};
use crate::experiment::analysis::{Analysis, ArmRuns, Question};
use crate::experiment::declaration::{Declaration, read_declarations};
use crate::experiment::plan::Experiment;
use crate::experiment::report::contents::Report;
use crate::experiment::report::{self, text};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct ReportArgs {
    /// File of the experiment (TOML).
    experiment: PathBuf,
    /// Folder for report.md, report.html, the figures and the tables [default: report/ in the experiment's folder]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the report and writes its files. The exit code is 1 if a run is missing.
pub fn run(args: ReportArgs) -> anyhow::Result<ExitCode> {
    let experiment = Experiment::open(&args.experiment)?;
    let report = experiment_report(&experiment)?;
    let dir = args.out.unwrap_or_else(|| experiment.spec.dir.join("report"));
    print_and_write(&report, &dir)?;
    Ok(ExitCode::from(u8::from(!report.absent.is_empty())))
}

/// Prints a report to the terminal, writes its files into `dir`, and names them.
pub fn print_and_write(report: &Report, dir: &std::path::Path) -> anyhow::Result<()> {
    let width = terminal::columns().clamp(60, 160);
    output::stdout().write_all(text::render(report, width).as_bytes())?;
    let files = report::write(report, dir)?;
    let names: Vec<String> =
        files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
    output::print_error_line(format_args!("written to {}: {}", dir.display(), names.join(", ")));
    Ok(())
}

fn experiment_report(experiment: &Experiment) -> anyhow::Result<Report> {
    let (spec, results) = (&experiment.spec, experiment.results());
    let question = Question {
        primary: spec.primary.clone(),
        value: spec.value,
        better: spec.better(),
        smallest_effect: spec.smallest_effect,
        reach: spec.reach,
        metrics: experiment.metric_names().split_off(1),
        comparisons: spec.comparisons.clone(),
    };
    let arms: Vec<ArmRuns> = spec
        .arms
        .iter()
        .zip(&results.runs)
        .map(|(arm, runs)| ArmRuns { name: arm.name.clone(), overrides: arm.settings(), runs: runs.clone() })
        .collect();
    let file = experiment.file.display();
    Ok(Report {
        name: spec.name.clone(),
        question: spec.question.clone(),
        analysis: Analysis::new(question, spec.seeds.clone(), &arms),
        runs: results.runs,
        absent: results.absent,
        declarations: read_declarations(&spec.dir)?,
        hash: Some(Declaration::new(spec).hash()),
        held: Some((spec.hold, spec.budget)),
        commands: vec![format!("coconut-lab experiment run {file}"), format!("coconut-lab experiment report {file}")],
        machine: machine(),
    })
}

/// Describes this machine.
pub fn machine() -> String {
    let wanted = sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing());
    let cpus = sysinfo::System::new_with_specifics(wanted).map(|system| {
        let name = system.cpus().first().map_or(String::new(), |cpu| format!("{}, ", cpu.brand().trim()));
        format!("{name}{} logical processors, ", system.cpus().len())
    });
    format!("{}{}", cpus.unwrap_or_default(), std::env::consts::OS)
}
