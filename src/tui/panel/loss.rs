//! Owns: the loss chart, panel 2.
//! Must not know: the terminal, keys.
//! Invariant: recycled is compared with plain at the same positions; all curves share one axis.
//!
//! ```text
//! ╭ 2 loss nats, smoothed 0.9 ───────────────────────────────────╮
//! │ ━ plain 2.310  ╍ recycled 2.904  ┈ plain at recycled 2.400   │
//! │ 6┤⣇                                                          │
//! │ 4┤⠈⠢⣀⠤⠤⠤⠤⣀⣀⡀          ◆ validation                           │
//! │ 2┤       ⠉⠉⠒⠒⠒⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤                                    │
//! │  0        500       1,000                                    │
//! ╰─────────────────────────────── recycled − plain there +0.504 ╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::record::registry::Metric;
use crate::tui::history::{Bucket, History};
use crate::tui::raster::{Dash, Raster, Window};
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use crate::tui::{axis, text};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;

/// A curve: the metric, its style, its raw points' style if they are shown, its dashes with and without colours.
struct Curve {
    metric: Metric,
    role: Role,
    raw: Option<Role>,
    dash: (Dash, Dash),
}

/// The curves, from the one at the back to the one in front.
fn curves(scene: Scene) -> [Curve; 3] {
    // Where the loss counts at all positions, the recycled loss at the recycled ones is another metric.
    let at_recycled = !scene.state.history(Metric::LossRecycledAtRecycled).is_empty();
    let recycled = if at_recycled { Metric::LossRecycledAtRecycled } else { Metric::LossRecycled };
    [
        Curve {
            metric: Metric::LossPlainAtRecycled,
            role: Role::PlainAtRecycled,
            raw: None,
            dash: (Dash::Dashed, Dash::Dotted),
        },
        Curve {
            metric: recycled,
            role: Role::Recycled,
            raw: Some(Role::RecycledRaw),
            dash: (Dash::Solid, Dash::Dashed),
        },
        Curve {
            metric: Metric::LossPlain,
            role: Role::Plain,
            raw: Some(Role::PlainRaw),
            dash: (Dash::Solid, Dash::Solid),
        },
    ]
}

/// Validation points: the metric, its glyph, its style.
const POINTS: [(Metric, &str, Role); 3] = [
    (Metric::ValidPlain, "◆", Role::Plain),
    (Metric::ValidPlainAtRecycled, "◇", Role::PlainAtRecycled),
    (Metric::ValidRecycled, "▲", Role::Recycled),
];

/// Those of them that belong to the run: one that does not recycle is measured like the others, but not drawn so.
fn points(scene: Scene) -> &'static [(Metric, &'static str, Role)] {
    let plain = scene.state.run.as_ref().is_some_and(|run| run.config.recycle.every == 0);
    if plain { &POINTS[..1] } else { &POINTS }
}

/// Draws legend, axes, curves and validation points.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let within = framed(frame, area, scene, Panel::Loss, about(scene), difference(scene));
    let within = within.inner(Margin::new(1, 0));
    if within.height < 2 {
        return;
    }
    // Where it is narrow the curves' glyphs must do to tell the parts apart.
    let between = if within.width < 60 { " " } else { "   " };
    let legend = fit(scene, legend(scene, within.width), between, usize::from(within.width));
    frame.render_widget(legend, Rect { height: 1, ..within });
    let chart = Rect { y: within.y + 1, height: within.height - 1, ..within };
    let Some(window) = window(scene) else {
        let text = scene.span(Role::Dim, "no loss yet; on a GPU the first steps compile kernels");
        frame.render_widget(text, Rect { y: chart.y + chart.height / 2, height: 1, ..chart });
        return;
    };
    let plot = axis::render(frame.buffer_mut(), chart, window, scene.theme);
    draw_curves(frame, plot, scene, window);
}

fn about(scene: Scene) -> Line<'static> {
    let mut line = Line::from(scene.span(Role::Name, Metric::LossPlain.spec().unit));
    let smoothing = scene.state.dashboard().smoothing;
    if smoothing > 0.0 {
        line.push_span(scene.span(Role::Name, format!(", smoothed {smoothing}")));
    }
    let zoom = scene.view.zoom.name();
    if !zoom.is_empty() {
        line.push_span(scene.span(Role::Key, format!(" {zoom}")));
    }
    line
}

/// How much worse the recycled pass is than the plain one at the same positions.
fn difference(scene: Scene) -> Line<'static> {
    let smoothed = |metric| scene.state.history(metric).smoothed();
    let [there, recycled, _] = curves(scene).map(|curve| smoothed(curve.metric));
    match (recycled, there) {
        (Some(recycled), Some(there)) => Line::from(vec![
            scene.span(Role::Name, " recycled − plain there "),
            scene.span(Role::Value, format!("{:+.3} ", recycled - there)),
        ]),
        _ => Line::default(),
    }
}

/// The curves' names, glyphs and present values; long names where there is room.
fn legend(scene: Scene, width: u16) -> Vec<Part> {
    let short = width < 80;
    let [there, recycled, plain] = curves(scene);
    let named = |rank, glyph: &str, curve: &Curve, name: String| {
        let history = scene.state.history(curve.metric);
        let value = history.smoothed().map_or_else(|| "–".into(), text::real);
        let mut spans =
            vec![scene.span(curve.role, format!("{glyph} {name} ")), scene.span(Role::Value, value)];
        if let Some(raw) = history.latest().filter(|_| width >= 110) {
            spans.push(scene.span(Role::Dim, format!(" ({})", text::real(raw))));
        }
        (rank, spans)
    };
    let name = |metric: Metric| text::label(metric).trim_start_matches("loss ").to_owned();
    let there_name = if short { "there".into() } else { name(there.metric) };
    let mut parts = vec![
        named(0, "━", &plain, name(plain.metric)),
        named(0, "╍", &recycled, name(Metric::LossRecycled)),
        named(1, "┈", &there, there_name),
    ];
    let valid = scene.state.history(Metric::ValidPlain).latest();
    if let Some(valid) = valid {
        parts.push((
            2,
            vec![scene.span(Role::Plain, "◆ validation "), scene.span(Role::Value, text::real(valid))],
        ));
    }
    parts
}

/// The last charted step.
fn last_step(scene: Scene) -> u64 {
    let last = |history: &History| history.buckets().last().map_or(0, |bucket| bucket.last);
    let charted =
        curves(scene).map(|curve| curve.metric).into_iter().chain(points(scene).iter().map(|point| point.0));
    charted.map(|metric| last(scene.state.history(metric))).max().unwrap_or(0)
}

/// The part of the plane that holds all that is shown; `None` if that is nothing.
fn window(scene: Scene) -> Option<Window> {
    let last = last_step(scene);
    let first = scene.view.zoom.start(last);
    let charted =
        curves(scene).map(|curve| curve.metric).into_iter().chain(points(scene).iter().map(|point| point.0));
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for bucket in charted.flat_map(|metric| scene.state.history(metric).since(first)) {
        low = low.min(bucket.min);
        high = high.max(bucket.max);
    }
    (low <= high)
        .then(|| Window { x: (first as f64, last.max(first + 1) as f64), y: axis::with_margin(low, high) })
}

fn draw_curves(frame: &mut Frame, plot: Rect, scene: Scene, window: Window) {
    let first = window.x.0 as u64;
    let mut raster = Raster::new(plot, window);
    let middle = |bucket: &Bucket| (bucket.first + bucket.last) as f64 / 2.0;
    if scene.state.dashboard().smoothing > 0.0 {
        for curve in curves(scene) {
            let Some(raw) = curve.raw else { continue };
            let bars = scene.state.history(curve.metric).since(first).iter();
            raster.bars(bars.map(|b| (middle(b), b.min, b.max)), scene.theme.style(raw));
        }
    }
    for curve in curves(scene) {
        let dash = if scene.theme.has_colors() { curve.dash.0 } else { curve.dash.1 };
        let points = scene.state.history(curve.metric).since(first).iter();
        raster.line(points.map(|b| (b.last as f64, b.smooth)), scene.theme.style(curve.role), dash);
    }
    raster.render(frame.buffer_mut());
    for &(metric, glyph, role) in points(scene) {
        // A point is an average of merged neighbours at most: the middle of what the bucket saw.
        for bucket in scene.state.history(metric).since(first) {
            if let Some((x, y)) = raster.cell_of(bucket.last as f64, (bucket.min + bucket.max) / 2.0) {
                frame.buffer_mut().set_string(x, y, glyph, scene.theme.style(role));
            }
        }
    }
}
