//! Owns: the loss panel, 2: losses, and below them what recycling is above its controls.
//! Must not know: the terminal, keys.
//! Invariant: recycled is compared with what else could stand there at the same positions; both charts share one axis of
//! steps.
//!
//! ```text
//! ╭ 2 loss nats, smoothed 0.9 ───────────────────────────────────╮
//! │ ━ plain 2.310  ╍ recycled 2.904  ┈ plain there 2.400         │
//! │ 6┤⣇          ▾                                               │
//! │ 4┤⠈⠢⣀⠤⠤⠤⠤⣀⣀⡀ ┊        ◆ validation                           │
//! │ 2┤       ⠉⠉⠒⠒⠒⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤                                    │
//! │ recycled − ━ plain there +0.504 ○ pause -2.1 × another's -3  │
//! │ 0┤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤                │
//! │  0        500       1,000                                    │
//! ╰─────────────────────────────── recycled − plain there +0.504 ╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::record::registry::Metric;
use crate::tui::axis::{self, Plane, Range};
use crate::tui::chart::{self, Chart, Curve, Points};
use crate::tui::charts::{Parts, Span};
use crate::tui::raster::Dash;
use crate::tui::state::Series;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;

/// Lines from which on both charts have room.
const BOTH_FROM: u16 = 12;

/// Cells from which on there is room for the names of the controls.
const NAMED_FROM: u16 = 66;

/// What training says of it: recycled less plain, at the same positions of the same step.
const TRAINED: Series = Series::Less(Metric::LossRecycledAtRecycled, Metric::LossPlainAtRecycled);

/// What recycling is held against: the metric of the validation, a word for it, its glyph and style.
const CONTROLS: [(Metric, &str, &str, Role); 4] = [
    (Metric::ValidPlainAtRecycled, "plain there", "◇", Role::PlainAtRecycled),
    (Metric::ValidPause, "pause", "○", Role::Pause),
    (Metric::ValidMasked, "mean", "□", Role::Masked),
    (Metric::ValidShuffled, "another's", "×", Role::Shuffled),
];

/// Where a chart stands and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// The cells of the curves.
    pub area: Rect,
    /// What they show.
    pub plane: Plane,
}

/// The charts of the panel in `area`, within its frame: their legends' lines, plots; the losses first.
struct Plots {
    losses: Option<(Rect, Plot)>,
    difference: Option<(Rect, Plot)>,
}

/// The losses.
fn losses(scene: Scene, width: u16) -> Chart {
    let curve = |metric, role, raw, dash| Curve { series: Series::Of(metric), role, raw, dash };
    let plain = scene.state.run.as_ref().is_some_and(|run| run.config.recycle.every == 0);
    let point = |metric, glyph, role, holds| Points { series: Series::Of(metric), glyph, role, holds };
    let mut points = vec![point(Metric::ValidPlain, "◆", Role::Plain, true)];
    // One that does not recycle is measured like the others, but not drawn so; and glyphs that no legend has room for say
    // nothing.
    if !plain && width >= NAMED_FROM {
        // Without the token and without the state a loss may be far from all others.
        points.extend(CONTROLS.map(|(metric, _, glyph, role)| point(metric, glyph, role, false)));
        points.push(point(Metric::ValidRecycled, "▲", Role::Recycled, true));
    }
    Chart {
        curves: vec![
            curve(Metric::LossPause, Role::Pause, Some(Role::Dim), (Dash::Dotted, Dash::Dotted)),
            curve(
                Metric::LossPlainAtRecycled,
                Role::PlainAtRecycled,
                Some(Role::Frame),
                (Dash::Dashed, Dash::Dotted),
            ),
            curve(recycled(scene), Role::Recycled, Some(Role::RecycledRaw), (Dash::Solid, Dash::Dashed)),
            curve(Metric::LossPlain, Role::Plain, Some(Role::PlainRaw), (Dash::Solid, Dash::Solid)),
        ],
        points,
    }
}

/// Where the loss counts at all positions, the recycled loss at the recycled ones is another metric.
fn recycled(scene: Scene) -> Metric {
    let there = Metric::LossRecycledAtRecycled;
    if scene.state.history(Series::Of(there)).is_empty() { Metric::LossRecycled } else { there }
}

/// Recycled less plain there in training, and less every control in validations.
fn differences() -> Chart {
    let (role, raw) = (Role::Recycled, Some(Role::RecycledRaw));
    let points = CONTROLS.map(|(metric, _, glyph, role)| {
        let series = Series::Less(Metric::ValidRecycled, metric);
        Points { series, glyph, role, holds: false }
    });
    Chart {
        curves: vec![Curve { series: TRAINED, role, raw, dash: (Dash::Solid, Dash::Solid) }],
        points: points.to_vec(),
    }
}

/// Draws legends, axes, curves and validation points.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let within = framed(frame, area, scene, Panel::Loss, about(scene), below(scene));
    let within = within.inner(Margin::new(1, 0));
    if within.height < 2 {
        return;
    }
    let plots = plots(within, scene);
    if plots.losses.is_none() && plots.difference.is_none() {
        let text = scene.span(Role::Dim, nothing(scene));
        let middle = Rect { y: within.y + within.height / 2, height: 1, ..within };
        return frame.render_widget(text, middle);
    }
    let alone = plots.difference.is_none();
    if let Some((legend, plot)) = plots.losses {
        let parts = legend_of_losses(scene, legend.width);
        draw(frame, legend, &plot, &losses(scene, legend.width), parts, alone, scene);
    }
    if let Some((legend, plot)) = plots.difference {
        let parts = legend_of_differences(scene, legend.width);
        draw(frame, legend, &plot, &differences(), parts, true, scene);
    }
}

fn nothing(scene: Scene) -> &'static str {
    match (scene.view.charts.parts, scene.state.stepped) {
        (Parts::Difference, true) => "no step has recycled yet; d shows the losses",
        _ => "no loss yet; on a GPU the first steps compile kernels",
    }
}

fn draw(
    frame: &mut Frame,
    legend: Rect,
    plot: &Plot,
    chart: &Chart,
    parts: Vec<Part>,
    with_steps: bool,
    scene: Scene,
) {
    // Where it is narrow the curves' glyphs must do to tell the parts apart.
    let between = if legend.width < 60 { " " } else { "   " };
    frame.render_widget(fit(scene, parts, between, usize::from(legend.width)), legend);
    let buffer = frame.buffer_mut();
    axis::render(buffer, plot.area, &plot.plane, with_steps, scene.theme);
    if let Some(y) = zero(plot) {
        (plot.area.left()..plot.area.right()).for_each(|x| {
            buffer.set_string(x, y, "┈", scene.theme.style(Role::Frame));
        });
    }
    chart.render(buffer, plot.area, &plot.plane, scene);
    chart::draw_steps(buffer, plot.area, &plot.plane, scene);
}

/// The line of 0 where it is in a chart that has both signs.
fn zero(plot: &Plot) -> Option<u16> {
    let y = plot.plane.y;
    let inside = y.low < 0.0 && y.high > 0.0;
    let dots = f64::from(plot.area.height) * 4.0 - 1.0;
    inside.then(|| plot.area.y + (((1.0 - y.share(0.0)) * dots).round() / 4.0) as u16)
}

/// The plot that a click in `area`, the panel's, would be in: both share the steps.
pub fn plot(area: Rect, scene: Scene) -> Option<Plot> {
    let found = plots(crate::tui::layout::inner(area).inner(Margin::new(1, 0)), scene);
    found.losses.or(found.difference).map(|(_, plot)| plot)
}

fn plots(within: Rect, scene: Scene) -> Plots {
    let steps = scene.view.charts.window(scene.state.span());
    let planes = [
        losses(scene, within.width).plane(scene, steps),
        differences().plane(scene, steps).map(linear(scene, steps)),
    ];
    let [losses, difference] = match (scene.view.charts.parts, planes[1]) {
        (Parts::Both, Some(_)) if within.height >= BOTH_FROM => planes,
        (Parts::Difference, _) => [None, planes[1]],
        _ => [planes[0], None],
    };
    let upper = match (losses, difference) {
        (Some(_), Some(_)) => within.height * 5 / 8,
        (Some(_), None) => within.height,
        _ => 0,
    };
    let above = Rect { height: upper, ..within };
    let below = Rect { y: within.y + upper, height: within.height - upper, ..within };
    let gutter = [(losses, above), (difference, below)]
        .into_iter()
        .filter_map(|(plane, area)| Some(axis::gutter(plane?.y, area.height.saturating_sub(2))))
        .max()
        .unwrap_or(0);
    let placed = |plane: Option<Plane>, area: Rect, with_steps: bool| {
        let plane = plane?;
        let chart = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        let area_of_plot = axis::plot(chart, gutter, with_steps)?;
        Some((Rect { height: 1, ..area }, Plot { area: area_of_plot, plane }))
    };
    Plots { losses: placed(losses, above, difference.is_none()), difference: placed(difference, below, true) }
}

/// Differences have both signs: their axis is linear, whatever that of the losses is. It is that of the smoothed curve: what
/// is far from it (another's state is much worse) stands at the edge, with its value in the legend.
fn linear<'a>(scene: Scene<'a>, steps: (u64, u64)) -> impl Fn(Plane) -> Plane + 'a {
    move |plane| {
        let mut ends = (0.0_f64, 0.0_f64);
        let mut take = |value: f64| ends = (ends.0.min(value), ends.1.max(value));
        for (bucket, smooth) in scene.state.history(TRAINED).smoothed(scene.smoothing()) {
            if bucket.last >= steps.0 && bucket.first <= steps.1 {
                take(smooth);
            }
        }
        let plain = Series::Less(Metric::ValidRecycled, Metric::ValidPlainAtRecycled);
        scene.state.history(plain).within(steps.0, steps.1).iter().for_each(|bucket| take(bucket.mean));
        Plane { y: Range::linear(ends.0, ends.1).with_margin(), ..plane }
    }
}

fn about(scene: Scene) -> Line<'static> {
    let mut line = Line::from(scene.span(Role::Name, Metric::LossPlain.spec().unit));
    let smoothing = scene.smoothing();
    if smoothing > 0.0 {
        line.push_span(scene.span(Role::Name, format!(", smoothed {smoothing}")));
    }
    let charts = &scene.view.charts;
    for (word, is) in [(" log y", charts.log_y), (" log x", charts.log_x)] {
        if is {
            line.push_span(scene.span(Role::Key, word));
        }
    }
    match charts.span {
        Span::All => {}
        Span::Last(steps) => {
            line.push_span(scene.span(Role::Key, format!(" last {}", text::count(steps))));
        }
        Span::Fixed(from, to) => {
            line.push_span(scene.span(Role::Key, format!(" {} to {}", text::count(from), text::count(to))));
        }
    }
    if let Some(cross) = charts.cross {
        line.push_span(scene.span(Role::Cross, format!(" at step {}", text::count(cross))));
    }
    line
}

/// How much worse the recycled pass is than the plain one at the same positions, where no chart says it.
fn below(scene: Scene) -> Line<'static> {
    match read(scene, TRAINED) {
        Some(difference) => Line::from(vec![
            scene.span(Role::Name, " recycled − plain there "),
            scene.span(Role::Value, format!("{difference:+.3} ")),
        ]),
        None => Line::default(),
    }
}

/// The value of a curve: smoothed, at the step that is read or at the end.
fn read(scene: Scene, series: Series) -> Option<f64> {
    let at = scene.view.charts.cross.unwrap_or(u64::MAX);
    scene.state.history(series).smoothed_at(at, scene.smoothing())
}

/// The value of a point: the last one measured by then.
fn point(scene: Scene, series: Series) -> Option<f64> {
    let at = scene.view.charts.cross.unwrap_or(u64::MAX);
    scene.state.history(series).at(at).map(|bucket| bucket.mean)
}

/// The curves' names, glyphs and values; long names where there is room.
fn legend_of_losses(scene: Scene, width: u16) -> Vec<Part> {
    let curve = |rank, glyph: &str, name: &str, role: Role, metric: Metric| {
        let series = Series::Of(metric);
        let value = read(scene, series).map_or_else(|| "–".into(), text::real);
        let mut spans = vec![scene.span(role, format!("{glyph} {name} ")), scene.span(Role::Value, value)];
        let raw = scene.state.history(series).at(scene.view.charts.cross.unwrap_or(u64::MAX));
        if let Some(raw) = raw.filter(|_| width >= 110) {
            spans.push(scene.span(Role::Dim, format!(" ({})", text::real(raw.mean))));
        }
        (rank, spans)
    };
    let there = if width < 80 { "there" } else { "plain there" };
    let mut parts = vec![
        curve(0, "━", "plain", Role::Plain, Metric::LossPlain),
        curve(0, "╍", "recycled", Role::Recycled, recycled(scene)),
        curve(1, "┈", there, Role::PlainAtRecycled, Metric::LossPlainAtRecycled),
    ];
    if !scene.state.history(Series::Of(Metric::LossPause)).is_empty() {
        parts.push(curve(3, "┈", "pause", Role::Pause, Metric::LossPause));
    }
    if let Some(valid) = point(scene, Series::Of(Metric::ValidPlain)) {
        let spans =
            vec![scene.span(Role::Plain, "◆ validation "), scene.span(Role::Value, text::real(valid))];
        parts.push((2, spans));
    }
    let recycles = !scene.state.history(Series::Of(Metric::ValidRecycled)).is_empty();
    if recycles && width >= NAMED_FROM {
        let mut spans = vec![scene.span(Role::Recycled, "▲")];
        spans.extend(CONTROLS.map(|(_, name, glyph, role)| {
            scene.span(role, if width >= 140 { format!(" {glyph} {name}") } else { glyph.to_owned() })
        }));
        parts.push((3, spans));
    }
    parts
}

fn legend_of_differences(scene: Scene, width: u16) -> Vec<Part> {
    let name = if width < 80 { "recycled −" } else { "recycled − what else could stand there:" };
    let value = |value: f64| scene.span(Role::Value, format!("{value:+.3}"));
    let mut parts = vec![scene.part(1, Role::Name, name)];
    if let Some(difference) = read(scene, TRAINED) {
        parts.push((0, vec![scene.span(Role::Recycled, "━ plain there "), value(difference)]));
    }
    for (metric, name, glyph, role) in CONTROLS {
        let name = if metric == Metric::ValidPlainAtRecycled { "the same, validated" } else { name };
        if let Some(difference) = point(scene, Series::Less(Metric::ValidRecycled, metric)) {
            parts.push((2, vec![scene.span(role, format!("{glyph} {name} ")), value(difference)]));
        }
    }
    parts
}
