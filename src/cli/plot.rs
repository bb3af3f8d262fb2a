//! Owns: `plot`: a metric of several runs as a figure for a paper.
//! Must not know: how a figure is drawn, how seeds are averaged, how rows are read.
//! Invariant: runs that differ in the seed alone are one curve; the arguments are checked before a run is read.

use super::progress::Spinner;
use super::{bail_usage, output, run_lookup};
use crate::config::seed_groups::{SeedGroup, group_by_all_but_seed};
use crate::config::{self, Config};
use crate::figure::{self, AxisScale, BAND_NAME, Figure, FigureAxis, FigureSeries, SeedCurves};
use crate::files::atomic::replace_file;
use crate::record::curve::{CurveAxis, MetricCurve};
use crate::record::run_folder::RunFolder;
use crate::schema::metrics::Metric;
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab plot last --metric loss_plain --out loss.svg
  coconut-lab plot checkpoints/*-every* --metric valid_loss_plain_nats --x tokens --log-x --out valid.pdf
  coconut-lab plot plain recycled --metric valid_accuracy --x total_flop --out accuracy.png

A run is a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`. Runs whose configs
differ in the seed alone (or in name, folder, device) are one curve: the mean over seeds, at the x values that all of
them reach, with straight lines between the rows of a run. Thin lines are the single seeds; from three seeds on, the
legend names what the band shows. An SVG follows a page's light or dark scheme; PNG and PDF are on white.";

/// Pixels of a PNG to those of the SVG.
const PNG_SCALE: f32 = 2.0;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// Runs to draw.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Metric to draw: a column of the metrics table, its unit may be left out.
    #[arg(long, value_name = "METRIC")]
    metric: String,
    /// What the metric is drawn over.
    #[arg(long, value_enum, default_value_t = PlotX::Step)]
    x: PlotX,
    /// Spread x by its logarithm; values up to 0 are left out.
    #[arg(long)]
    log_x: bool,
    /// Spread the metric by its logarithm; values up to 0 are left out.
    #[arg(long)]
    log_y: bool,
    /// Title above the figure [default: none]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// File to write, ending in .svg, .pdf or .png
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum PlotX {
    /// Updates done.
    Step,
    /// Input tokens of plain passes.
    Tokens,
    /// Floating-point operations of all updates so far.
    #[value(name = "total_flop")]
    TotalFlop,
    /// Seconds since training began.
    #[value(name = "wall_s")]
    WallS,
}

impl PlotX {
    fn curve_axis(self) -> CurveAxis {
        match self {
            PlotX::Step => CurveAxis::Step,
            PlotX::Tokens => CurveAxis::Tokens,
            PlotX::TotalFlop => CurveAxis::TotalFlop,
            PlotX::WallS => CurveAxis::WallTime,
        }
    }

    fn label(self) -> &'static str {
        match self {
            PlotX::Step => "step",
            PlotX::Tokens => "tokens",
            PlotX::TotalFlop => "floating-point operations",
            PlotX::WallS => "time (s)",
        }
    }
}

/// The kinds of files that a figure is written to.
#[derive(Clone, Copy, PartialEq)]
enum FigureFile {
    Svg,
    Pdf,
    Png,
}

/// A run to draw.
struct PlottedRun {
    name: String,
    config: Config,
    points: Vec<(f64, f64)>,
}

/// Reads the runs, draws the figure and writes it.
pub(super) fn run(args: PlotArgs) -> anyhow::Result<ExitCode> {
    let kind = figure_file(&args.out)?;
    let metric = find_metric(&args.metric)?;
    let folders = args.runs.iter().map(|name| run_lookup::run_folder(name)).collect::<Result<Vec<_>, _>>()?;
    let spinner = Spinner::start(format!("reading {} runs", folders.len()));
    let (mut runs, mut damage) = (Vec::new(), Vec::new());
    for folder in &folders {
        let curve = MetricCurve::read(folder, args.x.curve_axis(), metric)?;
        damage.extend(curve.damage);
        let folder = RunFolder::open(folder)?;
        let file = folder.newest_version_file().unwrap_or_else(|| folder.config_file());
        runs.push(PlottedRun { name: folder.id(), config: config::load(&file, &[])?, points: curve.points });
    }
    let groups = group_by_all_but_seed(&runs.iter().map(|run| run.config.clone()).collect::<Vec<_>>());
    let series: Vec<FigureSeries> = groups.iter().map(|group| group_series(group, groups.len(), &runs)).collect();
    let figure = Figure { series, ..empty_figure(&args, metric) };
    write_figure(&args.out, kind, &figure.to_svg())?;
    drop(spinner);
    damage.iter().for_each(|found| output::print_error_line(format_args!("warning: {found}")));
    for run in runs.iter().filter(|run| run.points.is_empty()) {
        output::print_error_line(format_args!("warning: {} has no {}", run.name, metric.spec().name));
    }
    writeln!(output::stdout(), "runs: {}, curves: {}, written to {}", runs.len(), groups.len(), args.out.display())?;
    let is_whole = damage.is_empty() && runs.iter().all(|run| !run.points.is_empty());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the kind of file that `path` names, and checks its folder.
fn figure_file(path: &Path) -> anyhow::Result<FigureFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail_usage!("--out {}: the folder {} does not exist", path.display(), folder.display());
    }
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("svg") => Ok(FigureFile::Svg),
        Some("pdf") => Ok(FigureFile::Pdf),
        Some("png") => Ok(FigureFile::Png),
        _ => bail_usage!("--out {}: expected a file name that ends in .svg, .pdf or .png", path.display()),
    }
}

fn find_metric(name: &str) -> anyhow::Result<Metric> {
    let Some(metric) = Metric::find(name) else {
        let mut near: Vec<(f64, &str)> = Metric::ALL
            .iter()
            .map(|metric| metric.spec().name)
            .map(|known| (strsim::jaro_winkler(name, known) + f64::from(u8::from(known.contains(name))), known))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<String> = near.iter().take(4).map(|(_, known)| format!("`{known}`")).collect();
        bail_usage!("--metric: no metric `{name}`; the nearest are {}", near.join(", "));
    };
    Ok(metric)
}

fn empty_figure(args: &PlotArgs, metric: Metric) -> Figure {
    let scale = |is_log| if is_log { AxisScale::Log } else { AxisScale::Linear };
    let label = metric_label(metric);
    Figure {
        title: args.title.clone().unwrap_or_default(),
        x: FigureAxis { label: args.x.label().into(), scale: scale(args.log_x) },
        y: FigureAxis { label, scale: scale(args.log_y) },
        series: Vec::new(),
    }
}

/// Returns a metric's name for readers: `loss plain (nats)`.
fn metric_label(metric: Metric) -> String {
    let spec = metric.spec();
    let short = spec.name.strip_suffix(spec.unit).map(|name| name.trim_end_matches('_')).unwrap_or(spec.name);
    match (short, spec.unit) {
        ("", _) => spec.name.replace('_', " "),
        (short, "") => short.replace('_', " "),
        (short, unit) => format!("{} ({unit})", short.replace('_', " ")),
    }
}

/// Makes the curve of a group of runs: their mean, the band, and the single runs.
fn group_series(group: &SeedGroup, groups: usize, runs: &[PlottedRun]) -> FigureSeries {
    let members: Vec<&PlottedRun> = group.members.iter().map(|index| &runs[*index]).collect();
    let name = if groups == 1 { members[0].config.run.name.clone() } else { group.label.clone() };
    let lines: Vec<Vec<(f64, f64)>> =
        members.iter().map(|run| run.points.clone()).filter(|points| !points.is_empty()).collect();
    let SeedCurves { mean, band } = SeedCurves::from_lines(&lines);
    let label = match (lines.len(), band.is_empty()) {
        (0 | 1, _) => name,
        (count, true) => format!("{name} ({count} runs, mean)"),
        (count, false) => format!("{name} ({count} runs, mean and {BAND_NAME})"),
    };
    let thin = if lines.len() > 1 { lines } else { Vec::new() };
    FigureSeries { label, line: mean, band, thin, dots: Vec::new() }
}

fn write_figure(path: &Path, kind: FigureFile, svg: &str) -> anyhow::Result<()> {
    let bytes = match kind {
        FigureFile::Svg => svg.as_bytes().to_vec(),
        FigureFile::Pdf => figure::svg_to_pdf(svg).with_context(|| path.display().to_string())?,
        FigureFile::Png => figure::svg_to_png(svg, PNG_SCALE).with_context(|| path.display().to_string())?,
    };
    Ok(replace_file(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_metric_is_refused_with_near_ones() {
        let error = find_metric("los_plain").unwrap_err().to_string();
        assert!(error.contains("`los_plain`") && error.contains("`loss_plain_nats`"), "{error}");
        assert_eq!(find_metric("loss_plain").unwrap(), Metric::LossPlain);
    }

    #[test]
    fn metrics_have_labels_for_readers() {
        assert_eq!(metric_label(Metric::LossPlain), "loss plain (nats)");
        assert_eq!(metric_label(Metric::Tokens), "tokens");
        assert_eq!(metric_label(Metric::GradNorm), "grad norm");
    }

    #[test]
    fn groups_of_seeds_are_one_curve_each() {
        let run = |seed, every, points: &[(f64, f64)]| {
            let mut config = Config::default();
            (config.run.seed, config.recycle.every, config.run.name) = (seed, every, format!("run-{seed}"));
            PlottedRun { name: format!("folder-{seed}"), config, points: points.to_vec() }
        };
        let line = [(0.0, 2.0), (1.0, 1.0)];
        let runs = [run(1, 2, &line), run(2, 2, &line), run(3, 2, &line), run(1, 4, &line), run(2, 4, &[])];
        let groups = group_by_all_but_seed(&runs.iter().map(|run| run.config.clone()).collect::<Vec<_>>());
        let series: Vec<_> = groups.iter().map(|group| group_series(group, groups.len(), &runs)).collect();
        assert_eq!(series.len(), 2);
        assert_eq!(series[0].label, format!("recycle.every = 2 (3 runs, mean and {BAND_NAME})"));
        assert_eq!((series[0].thin.len(), series[0].line.as_slice(), series[0].band.len()), (3, &line[..], 2));
        assert_eq!((series[1].label.as_str(), series[1].thin.len()), ("recycle.every = 4", 0), "one run has rows");
        let single = group_series(&SeedGroup { members: vec![1], label: "all runs".into() }, 1, &runs);
        assert_eq!(single.label, "run-2");
    }

    #[test]
    fn the_file_name_chooses_the_kind_of_file() {
        assert!(figure_file(Path::new("a.svg")).unwrap() == FigureFile::Svg);
        for (name, expected) in [("a.jpg", ".svg, .pdf or .png"), ("no/such/folder/a.png", "does not exist")] {
            let error = figure_file(Path::new(name)).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
