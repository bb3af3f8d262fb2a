//! Owns: a group as the chart of several runs draws it: mean, emphasis, style, dash.
//! Must not know: cells, the legend.
//! Invariant: a group's style depends on its slot and emphasis alone.

use super::chart_data::{ChartData, GroupCurves};
use super::group_curve::{MeanPoint, mean_curve};
use super::run_series::CurvePoint;
use super::view::{Emphasis, MultiRunView};
use crate::tui::plot::raster::Dash;
use crate::tui::theme::{GroupTone, Theme};
use ratatui::style::{Modifier, Style};

/// A group as it is drawn: its curves, their mean at every column of dots, and how strongly it is drawn.
pub struct DrawnGroup<'a> {
    pub curves: &'a GroupCurves,
    pub mean: Vec<Option<MeanPoint>>,
    pub emphasis: Emphasis,
}

/// Returns the groups in the order in which they are drawn: pinned ones last, and the first ones over later ones.
pub fn drawn_groups<'a>(data: &'a ChartData, view: &MultiRunView, columns: usize) -> Vec<DrawnGroup<'a>> {
    let (from, to) = data.plane.x.axis_ends();
    let places: Vec<f64> =
        (0..columns).map(|column| from + (to - from) * column as f64 / (columns - 1).max(1) as f64).collect();
    let draw = |curves: &'a GroupCurves| {
        let points: Vec<Vec<CurvePoint>> = curves.runs.iter().map(|run| run.points.clone()).collect();
        DrawnGroup { curves, mean: mean_curve(&points, &places, view.band), emphasis: view.group_emphasis(curves.slot) }
    };
    let mut groups: Vec<DrawnGroup> = data.groups.iter().rev().map(draw).collect();
    groups.sort_by_key(|group| group.emphasis);
    groups
}

/// Returns the dash of a group's mean: dashes tell groups apart that share a colour, or that have none.
pub fn group_dash(slot: usize, theme: &Theme) -> Dash {
    let round = if theme.has_colors() { slot / theme.group_colors() } else { slot };
    [Dash::Solid, Dash::Dashed, Dash::Dotted][round % 3]
}

/// Returns the style of a group's mean.
pub fn mean_style(group: &DrawnGroup, theme: &Theme) -> Style {
    match group.emphasis {
        Emphasis::Behind => theme.group(group.curves.slot, GroupTone::Faint),
        Emphasis::Usual => theme.group(group.curves.slot, GroupTone::Full),
        Emphasis::Pinned => theme.group(group.curves.slot, GroupTone::Full).add_modifier(Modifier::BOLD),
    }
}
