//! Owns: drawing series over steps in one plot: raw points, smoothed curves, validation points, marks, and the step that
//! is read.
//! Must not know: which series belong together, legends, frames.
//! Invariant: all that is drawn lies in the plot; where a value was not finite nothing is drawn.

use super::axis::{Plane, Range};
use super::history::Bucket;
use super::panel::Scene;
use super::raster::{Dash, Raster};
use super::state::{Mark, Series};
use super::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::collections::BTreeMap;

/// A curve: the series, its style, its raw points' style if they are shown, its dashes with and without colours.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// What is drawn.
    pub series: Series,
    /// Its style.
    pub role: Role,
    /// The style of its raw points, where they are drawn behind it.
    pub raw: Option<Role>,
    /// Its dots with colours and without.
    pub dash: (Dash, Dash),
}

/// Points of a series that is measured now and then.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    /// What is drawn.
    pub series: Series,
    /// Its glyph.
    pub glyph: &'static str,
    /// Its style.
    pub role: Role,
    /// Whether the axis is made to hold it; else it stands at the edge where it lies beyond.
    pub holds: bool,
}

/// Curves and points in one plot, those in front last.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// The curves.
    pub curves: Vec<Curve>,
    /// The points.
    pub points: Vec<Points>,
}

impl Chart {
    /// Smallest and largest value in the steps `first..=last`, of those that a logarithm can show if it is one; `None` where
    /// there is none.
    pub fn values(&self, scene: Scene, (first, last): (u64, u64), log: bool) -> Option<(f64, f64)> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let held = self.points.iter().filter(|points| points.holds).map(|points| points.series);
        let held = self.curves.iter().map(|curve| curve.series).chain(held);
        for bucket in held.flat_map(|series| scene.state.history(series).within(first, last)) {
            if !log || bucket.min > 0.0 {
                low = low.min(bucket.min);
                high = high.max(bucket.max);
            }
        }
        (low <= high).then_some((low, high))
    }

    /// The plane that holds all of the steps `first..=last`.
    pub fn plane(&self, scene: Scene, (first, last): (u64, u64)) -> Option<Plane> {
        let charts = &scene.view.charts;
        let (low, high) = self.values(scene, (first, last), charts.log_y)?;
        let from = if charts.log_x { first.max(1) } else { first };
        Some(Plane {
            x: Range::scaled(from as f64, last.max(from + 1) as f64, charts.log_x),
            y: Range::scaled(low, high, charts.log_y).with_margin(),
        })
    }

    /// Draws all of it on `plot`.
    pub fn render(&self, buffer: &mut Buffer, plot: Rect, plane: &Plane, scene: Scene) {
        let mut raster = Raster::new(plot, plane.window());
        let smoothing = scene.smoothing();
        self.curves.iter().for_each(|curve| draw_raw(&mut raster, plane, curve, scene, smoothing > 0.0));
        self.curves.iter().for_each(|curve| draw_smooth(&mut raster, plane, curve, scene, smoothing));
        raster.render(buffer);
        for points in &self.points {
            for bucket in shown(scene, points.series, plane) {
                // A point is an average of merged neighbours at most: the middle of what the bucket saw.
                let value = (bucket.min + bucket.max) / 2.0;
                let (x, y) = plane.at(bucket.last, value.clamp(plane.y.low, plane.y.high));
                // What lies beyond the plane stands at its edge.
                let role =
                    if value == value.clamp(plane.y.low, plane.y.high) { points.role } else { Role::Dim };
                if let Some((x, y)) = raster.cell_of(x, y) {
                    buffer.set_string(x, y, points.glyph, scene.theme.style(role));
                }
            }
        }
    }
}

/// The buckets that lie in the plane.
fn shown<'a>(scene: Scene<'a>, series: Series, plane: &Plane) -> &'a [Bucket] {
    scene.state.history(series).within(plane.x.low as u64, plane.x.high as u64)
}

/// What a curve is drawn of: its values where it is smoothed, and in any case the extremes of values that were merged.
fn draw_raw(raster: &mut Raster, plane: &Plane, curve: &Curve, scene: Scene, smoothed: bool) {
    let Some(raw) = curve.raw else { return };
    let bars = shown(scene, curve.series, plane).iter().filter(|bucket| smoothed || bucket.count > 1).map(
        |bucket| {
            let middle = (bucket.first + bucket.last) / 2;
            let ((x, low), (_, high)) = (plane.at(middle, bucket.min), plane.at(middle, bucket.max));
            (x, low, high)
        },
    );
    raster.bars(bars, scene.theme.style(raw));
}

fn draw_smooth(raster: &mut Raster, plane: &Plane, curve: &Curve, scene: Scene, smoothing: f64) {
    let dash = if scene.theme.has_colors() { curve.dash.0 } else { curve.dash.1 };
    let from = plane.x.low as u64;
    let points = scene
        .state
        .history(curve.series)
        .smoothed(smoothing)
        .filter(|(bucket, _)| bucket.last >= from)
        .take_while(|(bucket, _)| bucket.first as f64 <= plane.x.high)
        .flat_map(|(bucket, smooth)| {
            let gap = bucket.gap.then_some(None);
            gap.into_iter().chain([Some(plane.at(bucket.last, smooth))])
        });
    raster.line(points, scene.theme.style(curve.role), dash);
}

/// Draws the marks of steps at the top of `plot`, with a thin line where nothing else stands, and the step that is read.
pub fn draw_steps(buffer: &mut Buffer, plot: Rect, plane: &Plane, scene: Scene) {
    let mut columns = BTreeMap::new();
    for (step, mark) in scene.state.marks() {
        if let Some(x) = plane.column(plot, step) {
            columns.entry(x).and_modify(|before: &mut Mark| *before = grave(*before, mark)).or_insert(mark);
        }
    }
    for (x, mark) in columns {
        upright(buffer, plot, x, "┊", scene.theme.style(Role::Frame));
        let glyph = match mark {
            Mark::Change => "▾",
            Mark::Note => "✎",
        };
        buffer.set_string(x, plot.y, glyph, scene.theme.style(Role::Mark));
    }
    if let Some(x) = scene.view.charts.cross.and_then(|cross| plane.column(plot, cross)) {
        upright(buffer, plot, x, "│", scene.theme.style(Role::Cross));
    }
}

/// Where two marks share a column a note is what a person looks for.
fn grave(one: Mark, other: Mark) -> Mark {
    if one == Mark::Note || other == Mark::Note { Mark::Note } else { Mark::Change }
}

/// A line from top to bottom, behind what stands there.
pub fn upright(buffer: &mut Buffer, plot: Rect, x: u16, glyph: &str, style: ratatui::style::Style) {
    for y in plot.top()..plot.bottom() {
        if let Some(cell) = buffer.cell_mut((x, y)).filter(|cell| [" ", "┊"].contains(&cell.symbol())) {
            cell.set_symbol(glyph).set_style(style);
        }
    }
}
