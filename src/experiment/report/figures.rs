//! Owns: which figures a report has, and what they show.
//! Must not know: how a figure is drawn.
//! Invariant: a figure shows what runs have measured, and what the analysis says; it computes no statistics but means by seed.

use super::contents::Report;
use crate::experiment::analysis::ArmSummary;
use crate::experiment::results::{CurvePoint, RunResult};
use crate::experiment::spec::HeldEqual;
use crate::figure::{AxisScale, Figure, FigureAxis, FigureSeries, IntervalPlot, IntervalRow, SeedCurves, ZeroLine};
use serde::Serialize;

/// A figure of a report.
#[derive(Clone, Debug, Serialize)]
pub struct ReportFigure {
    /// Name of its file, without the ending.
    pub name: String,
    pub title: String,
    pub svg: String,
}

/// Share of the axis, from its start, that curves leave out.
const HIDDEN_START: f64 = 0.1;

/// Draws the figures: curves of the primary metric, values by arm, differences.
pub fn draw(report: &Report) -> Vec<ReportFigure> {
    let primary = &report.analysis.question.primary;
    let mut figures = Vec::new();
    let held = report.held.map_or(HeldEqual::Steps, |(held, _)| held);
    // What is held equal, and operations, which make arms comparable.
    let axes = [held, HeldEqual::Flop].into_iter().take(if held == HeldEqual::Flop { 1 } else { 2 });
    for axis in axes {
        let word: &str = axis.into();
        let figure = curve_figure(report, axis);
        let title =
            format!("{primary} over {}: mean over seeds with its 95 % interval, and each seed", axis_label(axis));
        figures.push(ReportFigure { name: format!("curves-{word}"), title, svg: figure.to_svg() });
    }
    let title = format!("{primary} at the end of each run, and the mean of each arm with its 95 % interval");
    figures.push(ReportFigure { name: "values".into(), title: title.clone(), svg: value_plot(report).to_svg() });
    if !report.analysis.comparisons.is_empty() {
        let title = "Differences by seed, and the interval that holds for all comparisons at once".to_owned();
        figures.push(ReportFigure { name: "differences".into(), title, svg: difference_plot(report).to_svg() });
    }
    figures
}

fn axis_label(axis: HeldEqual) -> &'static str {
    match axis {
        HeldEqual::Steps => "updates",
        HeldEqual::Tokens => "input tokens",
        HeldEqual::Flop => "floating-point operations",
    }
}

fn curve_figure(report: &Report, axis: HeldEqual) -> Figure {
    let primary = &report.analysis.question.primary;
    let x = |point: &CurvePoint| match axis {
        HeldEqual::Steps => Some(point.step as f64),
        HeldEqual::Tokens => Some(point.tokens),
        HeldEqual::Flop => point.flop,
    };
    let last = report.runs.iter().flatten().flatten().filter_map(|run| x(run.curve(primary).last()?));
    // The first values, of a model that has learned nothing, would leave no room for differences.
    let first = HIDDEN_START * last.fold(0.0, f64::max);
    let curve = |run: &RunResult| -> Vec<(f64, f64)> {
        let points = run.curve(primary).iter().filter_map(|point| Some((x(point)?, point.value)));
        points.filter(|(x, _)| *x >= first).collect()
    };
    let arms = report.analysis.arms.iter().zip(&report.runs);
    let series = arms.map(|(arm, runs)| {
        let curves: Vec<Vec<(f64, f64)>> = runs.iter().flatten().map(curve).collect();
        let over_seeds = SeedCurves::from_lines(&curves);
        FigureSeries {
            label: arm.name.clone(),
            line: over_seeds.mean,
            band: over_seeds.band,
            thin: curves,
            dots: Vec::new(),
        }
    });
    Figure {
        title: String::new(),
        x: FigureAxis { label: axis_label(axis).to_owned(), scale: AxisScale::Linear },
        y: FigureAxis { label: primary.clone(), scale: AxisScale::Linear },
        series: series.collect(),
    }
}

fn value_plot(report: &Report) -> IntervalPlot {
    let row = |arm: &ArmSummary| {
        let spread = arm.spreads.first();
        IntervalRow {
            label: arm.name.clone(),
            estimate: spread.and_then(|spread| spread.mean),
            interval: spread.and_then(|spread| spread.interval),
            dots: spread.map(|spread| spread.values.iter().copied().flatten().collect()).unwrap_or_default(),
        }
    };
    IntervalPlot {
        title: String::new(),
        x_label: report.analysis.question.primary.clone(),
        zero_line: ZeroLine::Omitted,
        rows: report.analysis.arms.iter().map(row).collect(),
    }
}

fn difference_plot(report: &Report) -> IntervalPlot {
    // Other metrics have other units.
    let of_primary =
        report.analysis.comparisons.iter().filter(|found| found.metric == report.analysis.question.primary);
    let rows = of_primary.map(|found| IntervalRow {
        label: format!("{} − {}", found.spec.a, found.spec.b),
        estimate: found.paired.mean,
        interval: found.joint_interval,
        dots: found.differences.iter().copied().flatten().collect(),
    });
    let x_label = format!("difference in {}", report.analysis.question.primary);
    IntervalPlot { title: String::new(), x_label, zero_line: ZeroLine::Drawn, rows: rows.collect() }
}
