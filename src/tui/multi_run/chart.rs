//! Owns: drawing the chart of several runs: bands, single runs, means, letters, and the legend above them.
//! Must not know: keys, how runs are grouped.
//! Invariant: everything is drawn within its area; each mean has the letter of its group, with colours or without.
//!
//! ```text
//! ╭ loss_plain_nats over step, smoothed 0.9 ───────── band: 95 % t interval of the mean ╮
//! │ A recycle.every = 2  n=3 2.310 ±0.021    B recycle.every = 4  n=3 2.402 ±0.018        │
//! │ 6┤⣇                                                                                  │
//! │ 4┤⠈⠢⣀⠤⠤⠤⠤⣀⣀⡀                                                                       │
//! │ 2┤       ⠉⠉⠒⠒⠒⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤B                                 │
//! │  0        500       1,000                                                           │
//! ╰─────────────────────────────────────────────────────────────────────────────────────╯
//! ```

use super::chart_data::{self, RunCurve};
use super::drawn_group::{DrawnGroup, drawn_groups, group_dash, mean_style};
use super::group_curve::MeanPoint;
use super::legend;
use super::run_series::{CurvePoint, XAxis};
use super::state::MultiRunState;
use super::view::{AxisSpan, Emphasis, MultiRunView, RunLines};
use crate::schema::metrics::Metric;
use crate::tui::plot::axis::{self, Plane, Scale, StepLabels};
use crate::tui::plot::raster::{Dash, Raster};
use crate::tui::text;
use crate::tui::theme::{GroupTone, Role, Theme};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

/// Draws the frame with the chart of the chosen metric.
pub fn render(frame: &mut Frame, area: Rect, state: &MultiRunState, view: &MultiRunView, theme: &Theme) {
    let metric = view.charted_metric(state);
    let within = draw_frame(frame, area, metric, view, theme).inner(Margin::new(1, 0));
    if within.height < 3 || within.width < 12 {
        return;
    }
    let Some((metric, data)) = metric.and_then(|metric| Some((metric, chart_data::collect(state, view, metric)?)))
    else {
        let text = text::clip(&empty_text(state, view, metric), usize::from(within.width));
        let middle = Rect { y: within.y + within.height / 2, height: 1, ..within };
        return frame.render_widget(Span::styled(text, theme.style(Role::Dim)), middle);
    };
    let legend_lines = (within.height / 5).clamp(1, 4);
    let groups = drawn_groups(&data, view, 2 * usize::from(within.width));
    let lines = legend::legend_lines(&groups, metric, theme, (within.width, legend_lines));
    let height = lines.len() as u16;
    frame.render_widget(Paragraph::new(lines), Rect { height, ..within });
    let below = Rect { y: within.y + height, height: within.height - height, ..within };
    let plane = Plane { y: data.plane.y.with_row_ticks(below.height.saturating_sub(1)), ..data.plane };
    let gutter = axis::gutter(plane.y, below.height.saturating_sub(1));
    let Some(plot) = axis::plot_area(below, gutter, StepLabels::Shown) else { return };
    let groups = drawn_groups(&data, view, 2 * usize::from(plot.width));
    let buffer = frame.buffer_mut();
    axis::render(buffer, plot, &plane, StepLabels::Hidden, theme);
    axis::render_labels_below(buffer, plot, plane.x, theme, |x| x_label(view.axis, x));
    let raster = draw_curves(&groups, &data.others, &plane, plot, view, theme);
    raster.render(buffer);
    draw_letters(buffer, &raster, &groups, &plane, view, theme);
}

/// Draws the frame. Returns the area within.
fn draw_frame(frame: &mut Frame, area: Rect, metric: Option<Metric>, view: &MultiRunView, theme: &Theme) -> Rect {
    let span = |role, text: String| Span::styled(text, theme.style(role));
    let name = metric.map_or("no metric yet", |metric| metric.spec().name);
    let smoothed = if view.smoothing() > 0.0 { format!(", smoothed {}", view.smoothing()) } else { String::new() };
    let mut title = Line::from(vec![
        span(Role::Focus, format!(" {name} ")),
        span(Role::Name, format!("over {}{smoothed} ", view.axis.title())),
    ]);
    let scales = [("log y ", view.charts.y_scale), ("log x ", view.charts.x_scale)];
    let marked = scales.into_iter().filter(|(_, scale)| *scale == Scale::Log).map(|(word, _)| word);
    let spans = match view.span {
        AxisSpan::All => None,
        AxisSpan::LastHalf => Some("last half "),
        AxisSpan::LastTenth => Some("last tenth "),
    };
    marked.chain(spans).for_each(|word| title.push_span(span(Role::Key, word.to_owned())));
    let lines = if view.run_lines == RunLines::Shown { "thin lines: single runs" } else { "single runs not drawn" };
    let long = format!(" {}, {lines} ", view.band.name());
    let below =
        if text::width(&long) + 4 <= usize::from(area.width) { long } else { format!(" {} ", view.band.name()) };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.style(Role::Frame))
        .title_top(title)
        .title_bottom(Line::from(span(Role::Name, below)).right_aligned());
    let within = block.inner(area);
    frame.render_widget(block, area);
    within
}

/// Says why there is no chart.
fn empty_text(state: &MultiRunState, view: &MultiRunView, metric: Option<Metric>) -> String {
    match metric {
        None if state.list.row_count() == 0 => "no run yet".to_owned(),
        None => "no step of a run was recorded yet".to_owned(),
        Some(_) if state.list.visible_rows().len() == 0 => "no run meets the filter; Esc drops it".to_owned(),
        Some(metric) => format!(
            "no shown run has {} over {}; m and x choose others, a shows all runs",
            metric.spec().name,
            view.axis.title()
        ),
    }
}

fn draw_curves(
    groups: &[DrawnGroup],
    others: &[RunCurve],
    plane: &Plane,
    plot: Rect,
    view: &MultiRunView,
    theme: &Theme,
) -> Raster {
    let mut raster = Raster::new(plot, plane.window());
    let y = |value: f64| plane.y.axis_position(value);
    for group in groups.iter().filter(|group| group.emphasis != Emphasis::Behind) {
        let bars = group.mean.iter().flatten().filter_map(|point| {
            let (low, high) = point.band?;
            Some((point.x, y(low), y(high)))
        });
        raster.draw_dashed_bars(bars, theme.group(group.curves.slot, GroupTone::Band), Dash::Dotted);
    }
    let run_points = |run: &RunCurve| joined(&run.points, plane);
    let lines_are_shown = view.run_lines == RunLines::Shown;
    for group in groups.iter().filter(|group| lines_are_shown && group.curves.runs.len() > 1) {
        let tone = if group.emphasis == Emphasis::Behind { GroupTone::Band } else { GroupTone::Faint };
        for run in group.curves.runs.iter().filter(|run| !view.is_pinned(&run.folder)) {
            raster.draw_curve(run_points(run).into_iter(), theme.group(group.curves.slot, tone), Dash::Solid);
        }
    }
    for run in others {
        raster.draw_curve(run_points(run).into_iter(), theme.style(Role::Dim), Dash::Solid);
    }
    for group in groups {
        let dash = group_dash(group.curves.slot, theme);
        raster.draw_curve(joined_mean(&group.mean, plane).into_iter(), mean_style(group, theme), dash);
    }
    for group in groups {
        for run in group.curves.runs.iter().filter(|run| view.is_pinned(&run.folder)) {
            let style = theme.group(group.curves.slot, GroupTone::Full).add_modifier(Modifier::BOLD);
            raster.draw_curve(run_points(run).into_iter(), style, Dash::Solid);
        }
    }
    raster
}

/// Returns the points of a run in the plane, with breaks at gaps. Points before the plane are left out, but the last one.
fn joined(points: &[CurvePoint], plane: &Plane) -> Vec<Option<(f64, f64)>> {
    let from = plane.x.axis_ends().0;
    let first = points.partition_point(|point| point.x < from).saturating_sub(1);
    let mut drawn = Vec::with_capacity(points.len() - first);
    for point in &points[first..] {
        if point.gap_before {
            drawn.push(None);
        }
        drawn.push(Some((point.x, plane.y.axis_position(point.y))));
    }
    drawn
}

/// Returns the mean in the plane, with breaks where it is missing or another number of runs is averaged.
fn joined_mean(mean: &[Option<MeanPoint>], plane: &Plane) -> Vec<Option<(f64, f64)>> {
    let mut drawn = Vec::with_capacity(mean.len());
    let mut runs = 0;
    for point in mean {
        let now = point.map_or(0, |point| point.runs);
        if now != runs {
            drawn.push(None);
        }
        runs = now;
        drawn.push(point.map(|point| (point.x, plane.y.axis_position(point.mean))));
    }
    drawn
}

/// Writes the letter of each group at the end of its mean; without colours also along it. A star marks pinned runs.
fn draw_letters(
    buffer: &mut Buffer,
    raster: &Raster,
    groups: &[DrawnGroup],
    plane: &Plane,
    view: &MultiRunView,
    theme: &Theme,
) {
    let mut taken: Vec<(u16, u16)> = Vec::new();
    let mut write = |buffer: &mut Buffer, at: (f64, f64), text: &str, style: Style| {
        let Some((x, y)) = raster.cell_of(at.0, at.1) else { return };
        let places = (0..6).map(|index| (x.saturating_sub(2 * index), y));
        let Some((x, y)) = places.into_iter().find(|place| !taken.contains(place)) else { return };
        if raster.contains(x, y) {
            taken.push((x, y));
            buffer.set_stringn(x, y, text, usize::from(raster.columns_from(x)), style);
        }
    };
    for group in groups.iter().rev() {
        let style = mean_style(group, theme).add_modifier(Modifier::BOLD);
        let points: Vec<&MeanPoint> = group.mean.iter().flatten().collect();
        let last = points.len().saturating_sub(1);
        let along = if theme.has_colors() { vec![last] } else { vec![last, last * 3 / 4, last / 2, last / 4] };
        for point in along.into_iter().filter_map(|index| points.get(index)) {
            write(buffer, (point.x, plane.y.axis_position(point.mean)), &group.curves.letter, style);
        }
        let pinned = group.curves.runs.iter().filter(|run| view.is_pinned(&run.folder));
        for point in pinned.filter_map(|run| run.points.last()) {
            write(buffer, (point.x, plane.y.axis_position(point.y)), "★", style);
        }
    }
}

/// Returns the label of a tick of the x axis.
fn x_label(axis: XAxis, x: f64) -> Option<String> {
    match axis {
        XAxis::Step => (x.fract() == 0.0 && x >= 0.0).then(|| text::with_separators(x as u64)),
        XAxis::Tokens => (x.fract() == 0.0 && x >= 0.0).then(|| text::abbreviated(x)),
        XAxis::Flop => Some(text::with_si_prefix(x).trim_end().to_owned()),
        XAxis::WallTime => Some(text::setting_value(x)),
    }
}
