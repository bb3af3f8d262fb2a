//! Owns: the range of an axis, linear or logarithmic; its ticks and their labels; the frame around a plot.
//! Must not know: what is charted.
//! Invariant: ticks are 1, 2 or 5 times a power of ten (their spacing, on a linear axis), or the values in the middle of rows;
//! they lie within the range.

use super::raster::AxisWindow;
use crate::tui::text;
use crate::tui::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    Log,
}

impl Scale {
    pub fn toggled(self) -> Self {
        if self == Scale::Linear { Scale::Log } else { Scale::Linear }
    }
}

/// From the lower end of a row to its middle, in rows: a row shows four dots, and an end of a range is the middle of a dot.
const ROW_MIDDLE: f64 = 1.5 / 4.0;
/// From the upper end of the highest row to the middle of its highest dot, and likewise below, in rows.
const HALF_DOTS: f64 = 1.0 / 4.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisRange {
    pub low: f64,
    pub high: f64,
    /// On a logarithmic axis both ends are above 0.
    pub scale: Scale,
    /// The number of rows of the plot, if ticks are the values in the middle of rows instead of round ones.
    tick_rows: Option<u16>,
}

impl AxisRange {
    pub fn linear(low: f64, high: f64) -> Self {
        Self { low, high, scale: Scale::Linear, tick_rows: None }
    }

    /// Returns a range of this scale; a linear one if `low` is not above 0.
    pub fn scaled(low: f64, high: f64, scale: Scale) -> Self {
        Self { low, high, scale: if low > 0.0 { scale } else { Scale::Linear }, tick_rows: None }
    }

    /// Widens the range by 5% at either end, so that no curve runs along the frame.
    pub fn with_margin(self) -> Self {
        if self.scale == Scale::Log {
            let factor = (self.high / self.low).powf(0.05).max(1.02);
            return Self { low: self.low / factor, high: self.high * factor, ..self };
        }
        let span = self.high - self.low;
        let margin = if span > 0.0 { span * 0.05 } else { self.low.abs().max(1.0) * 0.05 };
        Self { low: self.low - margin, high: self.high + margin, ..self }
    }

    /// Returns a linear range whose ticks are the values in the middle of rows, in a plot of `rows` rows: a glyph beside a tick
    /// is at most half a row away from its value. If both signs are shown, 0 is in the middle of a row.
    pub fn with_row_ticks(self, rows: u16) -> Self {
        if self.scale == Scale::Log || rows < 2 || self.high <= self.low {
            return self;
        }
        let tick_rows = Some(rows);
        if self.low >= 0.0 || self.high <= 0.0 {
            return Self { tick_rows, ..self };
        }
        // The height of a row, in values, if `below` rows are below the row of 0.
        let needed = |below: f64| {
            let (down, up) = (below + ROW_MIDDLE, f64::from(rows) - HALF_DOTS - below - ROW_MIDDLE);
            (-self.low / down).max(self.high / up)
        };
        let below = (0..rows).map(f64::from).min_by(|a, b| needed(*a).total_cmp(&needed(*b))).unwrap_or(0.0);
        let row = needed(below);
        let low = -(below + ROW_MIDDLE) * row;
        Self { low, high: low + (f64::from(rows) - HALF_DOTS) * row, tick_rows, ..self }
    }

    /// Returns the values in the middle of every few rows, that of 0 among them, and the decimals that tell rows apart.
    fn row_ticks(&self, rows: u16, wanted: usize) -> (Vec<f64>, usize) {
        let row = (self.high - self.low) / (f64::from(rows) - HALF_DOTS);
        let middle = |index: usize| self.low + (index as f64 + ROW_MIDDLE) * row;
        let rows = usize::from(rows);
        let zero = (self.low < 0.0 && self.high > 0.0).then(|| (-self.low / row - ROW_MIDDLE).round() as usize);
        let first = |every: usize| zero.map_or((rows - 1) % every / 2, |zero| zero % every);
        let most = rows.div_ceil(wanted.max(1)).max(1);
        // A single tick does not show the scale.
        let every = (1..=most).rev().find(|every| first(*every) + every < rows).unwrap_or(1);
        let decimals = (1.0 - row.log10()).ceil().clamp(0.0, 8.0) as usize;
        // Not `-0.0`.
        let tick = |index| if (middle(index) / row).abs() < 1e-6 { 0.0 } else { middle(index) };
        ((first(every)..rows).step_by(every).map(tick).collect(), decimals)
    }

    /// Maps `value` to the axis. On a logarithmic one, values up to 0 become negative infinity.
    pub fn axis_position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => f64::NEG_INFINITY,
            Scale::Linear => value,
        }
    }

    /// Returns both ends, mapped by [`AxisRange::axis_position`].
    pub fn axis_ends(&self) -> (f64, f64) {
        (self.axis_position(self.low), self.axis_position(self.high))
    }

    /// Returns the value at the fraction `share` (0..=1) of the axis.
    pub fn value_at(&self, share: f64) -> f64 {
        let (low, high) = self.axis_ends();
        let place = low + (high - low) * share;
        if self.scale == Scale::Log { 10f64.powf(place) } else { place }
    }

    /// Returns where `value` lies on the axis, as a fraction: 0 at `low`, 1 at `high`.
    pub fn fraction_of(&self, value: f64) -> f64 {
        let (low, high) = self.axis_ends();
        (self.axis_position(value) - low) / (high - low).max(f64::MIN_POSITIVE)
    }

    /// Returns at most about `wanted` ticks, and the number of decimals that their labels need.
    pub fn ticks(&self, wanted: usize) -> (Vec<f64>, usize) {
        if let Some(rows) = self.tick_rows {
            return self.row_ticks(rows, wanted);
        }
        // A logarithmic axis of less than half a decade has too few powers of ten for ticks.
        if self.scale == Scale::Linear || self.high / self.low < 4.0 {
            return linear_ticks(self.low, self.high, wanted);
        }
        let (low, high) = self.axis_ends();
        let powers = low.floor() as i32..=high.ceil() as i32;
        let multiples = |factors: &'static [f64]| -> Vec<f64> {
            let all = powers.clone().flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
            all.filter(|mark| *mark >= self.low * 0.999_999 && *mark <= self.high * 1.000_001).collect()
        };
        let found = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]]
            .into_iter()
            .map(multiples)
            .find(|marks| marks.len() <= wanted.max(2))
            .unwrap_or_else(|| {
                let all = multiples(&[1.0]);
                let every = all.len().div_ceil(wanted.max(2));
                all.into_iter().step_by(every).collect()
            });
        let decimals = found.first().map_or(0, |lowest| (-lowest.log10().floor()).clamp(0.0, 8.0) as usize);
        (found, decimals)
    }
}

/// Returns about `wanted` evenly spaced ticks at most, and the decimals that their labels need.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> (Vec<f64>, usize) {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || wanted == 0 {
        return (vec![low], 2);
    }
    let rough = span / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    // A single tick does not show the scale: prefer one more than wanted.
    let steps = [10.0, 5.0, 2.0, 1.0, 0.5, 0.2].map(|factor| factor * power);
    let wide = steps.iter().rposition(|step| *step >= rough * 0.999).unwrap_or(0);
    let within = |step: f64| (high / step + 1e-9).floor() - (low / step - 1e-9).ceil() + 1.0;
    let step = steps[wide..].iter().copied().find(|step| within(*step) >= 2.0).unwrap_or(rough);
    let decimals = (-step.log10().floor()).clamp(0.0, 8.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|index| index as f64 * step).collect(), decimals)
}

/// The ranges that a chart shows: steps to the right, values upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plane {
    pub x: AxisRange,
    pub y: AxisRange,
}

impl Plane {
    /// Returns the part of the plane that a raster has to cover, in axis coordinates.
    pub fn window(&self) -> AxisWindow {
        AxisWindow { x: self.x.axis_ends(), y: self.y.axis_ends() }
    }

    /// Returns the point of `value` at `step`, in the coordinates of [`Plane::window`].
    pub fn point_at(&self, step: u64, value: f64) -> (f64, f64) {
        (self.x.axis_position(step_value(step, self.x)), self.y.axis_position(value))
    }

    /// Returns the column of `area` that shows `step`, if the step is within the range.
    pub fn column_of(&self, area: Rect, step: u64) -> Option<u16> {
        let share = self.x.fraction_of(step_value(step, self.x));
        let dots = f64::from(area.width) * 2.0 - 1.0;
        let inside = (0.0..=1.0).contains(&share) && area.width > 0;
        inside.then(|| area.x + ((share * dots).round() as u16 / 2).min(area.width - 1))
    }

    /// Returns the step in the middle of column `x` of `area`.
    pub fn step_at(&self, area: Rect, x: u16) -> u64 {
        let share = (f64::from(x.saturating_sub(area.x)) + 0.5) / f64::from(area.width.max(1));
        self.x.value_at(share.min(1.0)).round().max(0.0) as u64
    }
}

/// Returns the axis value of a step. A logarithmic axis starts at step 1.
fn step_value(step: u64, range: AxisRange) -> f64 {
    if range.scale == Scale::Log { step.max(1) as f64 } else { step as f64 }
}

/// Returns how many cells the labels of `range` take left of a plot of this height, the axis line included.
pub fn gutter(range: AxisRange, height: u16) -> u16 {
    let (ys, decimals) = value_ticks(range, height);
    ys.iter().map(|y| text::width(&format!("{y:.decimals$}"))).max().unwrap_or(0) as u16 + 2
}

fn value_ticks(range: AxisRange, height: u16) -> (Vec<f64>, usize) {
    range.ticks(usize::from(height / 3).clamp(2, 12))
}

/// Whether a plot has a line of step labels below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepLabels {
    Hidden,
    Shown,
}

/// Returns the cells for the curves, without gutter and step labels. `None` if that leaves no room.
pub fn plot_area(area: Rect, gutter: u16, labels: StepLabels) -> Option<Rect> {
    let below = labels as u16;
    let room = area.width >= gutter + 8 && area.height > below + 1;
    room.then(|| Rect::new(area.x + gutter, area.y, area.width - gutter, area.height - below))
}

pub fn render(buffer: &mut Buffer, plot: Rect, plane: &Plane, labels: StepLabels, theme: &Theme) {
    let (frame, dim) = (theme.style(Role::Frame), theme.style(Role::Dim));
    for y in plot.top()..plot.bottom() {
        buffer.set_string(plot.x - 1, y, "│", frame);
    }
    let (ys, decimals) = value_ticks(plane.y, plot.height);
    for value in ys {
        let label = format!("{value:.decimals$}");
        // The cell in which a raster would draw the value.
        let dot = ((1.0 - plane.y.fraction_of(value)) * (f64::from(plot.height) * 4.0 - 1.0)).round();
        let y = plot.y + ((dot / 4.0) as u16).min(plot.height - 1);
        let x = (plot.x - 1).saturating_sub(text::width(&label) as u16);
        buffer.set_string(x, y, label, dim);
        buffer.set_string(plot.x - 1, y, "┤", frame);
    }
    if labels == StepLabels::Shown {
        render_step_labels(buffer, plot, plane, theme);
    }
}

/// Writes the step labels under `plot`.
fn render_step_labels(buffer: &mut Buffer, plot: Rect, plane: &Plane, theme: &Theme) {
    render_labels_below(buffer, plot, plane.x, theme, |x| {
        (x.fract() == 0.0 && x >= 0.0).then(|| text::with_separators(x as u64))
    });
}

/// Writes the labels of the ticks of `range` under `plot`, those that `label` returns. Labels that would overlap are left
/// out.
pub fn render_labels_below(
    buffer: &mut Buffer,
    plot: Rect,
    range: AxisRange,
    theme: &Theme,
    label: impl Fn(f64) -> Option<String>,
) {
    let (xs, _) = range.ticks(usize::from(plot.width / 14).clamp(2, 12));
    let y = plot.bottom();
    let mut free = plot.x;
    for x in xs {
        let Some(label) = label(x) else { continue };
        let wide = text::width(&label) as u16;
        let center = plot.x + (range.fraction_of(x) * f64::from(plot.width.saturating_sub(1))).round() as u16;
        let at = center.saturating_sub(wide / 2).clamp(plot.x, plot.right().saturating_sub(wide).max(plot.x));
        if at >= free && at + wide <= plot.right() {
            buffer.set_string(at, y, &label, theme.style(Role::Dim));
            free = at + wide + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::seeded_rng;
    use rand::RngExt;

    #[test]
    fn marks_are_round_and_within() {
        for (low, high, wanted) in [(0.0, 1.0, 4), (2.31, 5.83, 5), (-0.3, 0.4, 3), (0.0, 1e7, 6), (1e-5, 1e-3, 4)] {
            for scale in [Scale::Linear, Scale::Log] {
                let range = AxisRange::scaled(low, high, scale);
                let (marks, _) = range.ticks(wanted);
                assert!((1..=wanted + 2).contains(&marks.len()), "{range:?}: {marks:?}");
                assert!(marks.iter().all(|mark| *mark >= low - 1e-9 && *mark <= high + 1e-9), "{marks:?}");
            }
        }
        assert_eq!(AxisRange::linear(0.0, 2000.0).ticks(4).0, [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
        assert_eq!(AxisRange::scaled(1.0, 100.0, Scale::Log).ticks(3).0, [1.0, 10.0, 100.0]);
    }

    #[test]
    fn ranges_without_extent_still_have_one_after_the_margin() {
        for value in [0.0, 5.0, -3.0] {
            for scale in [Scale::Linear, Scale::Log] {
                let range = AxisRange::scaled(value, value, scale).with_margin();
                assert!(range.low < value && value < range.high);
            }
        }
        assert_eq!(AxisRange::linear(1.0, 1.0).ticks(4).0, [1.0]);
    }

    #[test]
    fn row_ticks_are_the_values_in_the_middle_of_rows() {
        let mut rng = seeded_rng(3);
        for rows in 2..40_u16 {
            for _ in 0..50 {
                let low: f64 = rng.random_range(-10.0..10.0);
                let high = low + 10f64.powf(rng.random_range(-3.0..3.0));
                let range = AxisRange::linear(low, high).with_row_ticks(rows);
                assert!(range.low <= low + 1e-9 && range.high >= high - 1e-9, "{rows} {low} {high}: {range:?}");
                let (ticks, decimals) = range.ticks(usize::from(rows / 3).max(2));
                let dots = f64::from(rows) * 4.0 - 1.0;
                let middles = ticks.iter().map(|tick| (range.fraction_of(*tick) * dots - 1.5) / 4.0);
                assert!(middles.clone().all(|row| (row - row.round()).abs() < 1e-6), "{rows} {range:?} {ticks:?}");
                assert!(!ticks.is_empty() && (rows < 4 || ticks.len() >= 2), "{rows} {ticks:?}");
                let row = (range.high - range.low) / f64::from(rows);
                assert!(10f64.powi(-(decimals as i32)) < row / 4.0, "labels tell rows apart");
                let has_both_signs = low < 0.0 && high > 0.0;
                assert_eq!(ticks.contains(&0.0), has_both_signs, "{rows} {low} {high}: {ticks:?}");
                let growth = (range.high - range.low) / (high - low);
                assert!(growth < if has_both_signs { 2.0 } else { 1.001 } || rows < 5, "{rows} {low} {high}: {growth}");
            }
        }
        let log = AxisRange::scaled(1.0, 9.0, Scale::Log);
        assert_eq!(log.with_row_ticks(9), log);
    }

    #[test]
    fn columns_and_steps_are_each_others_inverse() {
        let area = Rect::new(5, 0, 40, 10);
        for scale in [Scale::Linear, Scale::Log] {
            let plane = Plane { x: AxisRange::scaled(1.0, 4000.0, scale), y: AxisRange::linear(0.0, 1.0) };
            for x in area.left()..area.right() {
                let column = plane.column_of(area, plane.step_at(area, x)).unwrap();
                assert!(column.abs_diff(x) <= 1, "{x} {column}");
            }
            assert_eq!(plane.column_of(area, 4001), None);
        }
    }

    #[test]
    fn a_logarithm_shows_what_is_above_nothing() {
        let range = AxisRange::scaled(1e-3, 10.0, Scale::Log);
        assert!(range.axis_position(0.0) < range.axis_ends().0 && range.axis_position(-1.0) < range.axis_ends().0);
        assert_eq!(AxisRange::scaled(0.0, 10.0, Scale::Log).scale, Scale::Linear, "0 has no logarithm");
        assert!((range.value_at(range.fraction_of(0.5)) - 0.5).abs() < 1e-9);
    }
}
