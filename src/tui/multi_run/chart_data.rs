//! Owns: which curves the chart of several runs shows, and the ranges that they need.
//! Must not know: colours, cells.
//! Invariant: a run is shown if it meets the filter and is not hidden, or if it is pinned; all points are finite and on the
//! axes.

use super::run_series::{CurvePoint, RunSeries};
use super::state::MultiRunState;
use super::view::MultiRunView;
use crate::schema::metrics::Metric;
use crate::tui::panels::run::is_setting;
use crate::tui::plot::axis::{AxisRange, Plane, Scale};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The curve of a run; x is measured as [`AxisRange::axis_position`] does, y in the unit of the metric.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCurve {
    pub folder: PathBuf,
    pub points: Vec<CurvePoint>,
}

/// The curves of a group that are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCurves {
    pub slot: usize,
    pub letter: String,
    pub label: String,
    pub runs: Vec<RunCurve>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ChartData {
    pub groups: Vec<GroupCurves>,
    /// Curves of runs without a group, whose config cannot be read.
    pub others: Vec<RunCurve>,
    pub plane: Plane,
}

/// Returns what the chart of `metric` shows; none if there is nothing to show.
pub fn collect(state: &MultiRunState, view: &MultiRunView, metric: Metric) -> Option<ChartData> {
    let shown: HashSet<&Path> = state.list.visible_rows().map(|row| row.folder.as_path()).collect();
    let smoothing = if is_setting(metric) { 0.0 } else { view.smoothing() };
    let curve = |folder: &PathBuf, series: &RunSeries| RunCurve {
        folder: folder.clone(),
        points: series.curve(metric, view.axis, smoothing),
    };
    let (mut groups, mut others) = (Vec::<GroupCurves>::new(), Vec::new());
    for folder in state.folders() {
        let group = state.groups.group_of(folder);
        let is_pinned = view.is_pinned(folder) || group.is_some_and(|group| view.pinned_groups.contains(&group.slot));
        let is_shown = shown.contains(folder.as_path()) && !view.is_hidden(folder, group) || is_pinned;
        let Some(series) = state.series(folder).filter(|_| is_shown) else { continue };
        let curve = curve(folder, series);
        match (group, curve.points.is_empty()) {
            (_, true) => {}
            (None, false) => others.push(curve),
            (Some(group), false) => match groups.iter_mut().find(|known| known.slot == group.slot) {
                Some(known) => known.runs.push(curve),
                None => groups.push(GroupCurves {
                    slot: group.slot,
                    letter: group.letter(),
                    label: group.label.clone(),
                    runs: vec![curve],
                }),
            },
        }
    }
    groups.sort_by_key(|group| group.slot);
    let plane = plane_around(groups.iter().flat_map(|group| &group.runs).chain(&others), view)?;
    let place = |curve: &mut RunCurve| {
        curve.points.iter_mut().for_each(|point| point.x = plane.x.axis_position(point.x));
        curve.points.retain(|point| point.x.is_finite());
    };
    groups.iter_mut().flat_map(|group| &mut group.runs).chain(&mut others).for_each(place);
    Some(ChartData { groups, others, plane })
}

/// Returns the plane that covers `curves`, as far as the axes and the span of the view show them.
fn plane_around<'a>(curves: impl Iterator<Item = &'a RunCurve> + Clone, view: &MultiRunView) -> Option<Plane> {
    let points = curves.flat_map(|curve| &curve.points);
    let (x_scale, y_scale) = (view.charts.x_scale, view.charts.y_scale);
    let xs = range_of(points.clone().map(|point| point.x), x_scale)?;
    let start = view.span.start(xs.0, xs.1);
    let in_view = points.filter(|point| point.x >= start);
    // Without a value above 0, the axis is linear.
    let ys = range_of(in_view.clone().map(|point| point.y), y_scale);
    let ys = ys.or_else(|| range_of(in_view.map(|point| point.y), Scale::Linear))?;
    let end = if xs.1 > start { xs.1 } else { start + 1.0 };
    Some(Plane { x: AxisRange::scaled(start, end, x_scale), y: AxisRange::scaled(ys.0, ys.1, y_scale).with_margin() })
}

/// Returns the smallest and the largest value, on a logarithmic scale of those above 0.
fn range_of(values: impl Iterator<Item = f64>, scale: Scale) -> Option<(f64, f64)> {
    let fitting = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
    let range =
        fitting.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    (range.0 <= range.1).then_some(range)
}
