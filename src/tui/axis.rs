//! Owns: ranges of an axis, linear or logarithmic; where its marks stand and what they say; the frame of a chart.
//! Must not know: what is charted.
//! Invariant: marks are 1, 2 or 5 times a power of ten (apart, on a linear axis) and lie within the range.

use super::raster::Window;
use super::text;
use super::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// What an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The value at its beginning.
    pub low: f64,
    /// The value at its end.
    pub high: f64,
    /// Whether equal ratios, not differences, are equally long. Then both ends are above 0.
    pub log: bool,
}

impl Range {
    /// A linear one.
    pub fn linear(low: f64, high: f64) -> Self {
        Self { low, high, log: false }
    }

    /// Logarithmic where it is asked for and can be.
    pub fn scaled(low: f64, high: f64, log: bool) -> Self {
        Self { low, high, log: log && low > 0.0 }
    }

    /// With a margin, so that no curve runs along the frame.
    pub fn with_margin(self) -> Self {
        if self.log {
            let factor = (self.high / self.low).powf(0.05).max(1.02);
            return Self { low: self.low / factor, high: self.high * factor, log: true };
        }
        let span = self.high - self.low;
        let margin = if span > 0.0 { span * 0.05 } else { self.low.abs().max(1.0) * 0.05 };
        Self { low: self.low - margin, high: self.high + margin, log: false }
    }

    /// Where `value` lies, on the scale of [`Range::ends`]. What a logarithm cannot show lies below everything.
    pub fn place(&self, value: f64) -> f64 {
        match self.log {
            true if value > 0.0 => value.log10(),
            true => f64::NEG_INFINITY,
            false => value,
        }
    }

    /// Its ends on the scale of [`Range::place`].
    pub fn ends(&self) -> (f64, f64) {
        (self.place(self.low), self.place(self.high))
    }

    /// The value at `share` (0..1) of it.
    pub fn value(&self, share: f64) -> f64 {
        let (low, high) = self.ends();
        let place = low + (high - low) * share;
        if self.log { 10f64.powf(place) } else { place }
    }

    /// Where `value` lies between the ends, 0..1 within.
    pub fn share(&self, value: f64) -> f64 {
        let (low, high) = self.ends();
        (self.place(value) - low) / (high - low).max(f64::MIN_POSITIVE)
    }

    /// Marks in it, about `wanted` of them at most, and the decimals they need.
    pub fn marks(&self, wanted: usize) -> (Vec<f64>, usize) {
        // Within half a decade there is nothing that powers of ten could say.
        if !self.log || self.high / self.low < 4.0 {
            return marks(self.low, self.high, wanted);
        }
        let (low, high) = self.ends();
        let powers = low.floor() as i32..=high.ceil() as i32;
        let of = |factors: &'static [f64]| -> Vec<f64> {
            let all = powers.clone().flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
            all.filter(|mark| *mark >= self.low * 0.999_999 && *mark <= self.high * 1.000_001).collect()
        };
        let found = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]]
            .into_iter()
            .map(of)
            .find(|marks| marks.len() <= wanted.max(2))
            .unwrap_or_else(|| {
                let all = of(&[1.0]);
                let every = all.len().div_ceil(wanted.max(2));
                all.into_iter().step_by(every).collect()
            });
        let decimals = found.first().map_or(0, |least| (-least.log10().floor()).clamp(0.0, 8.0) as usize);
        (found, decimals)
    }
}

/// Marks in `low..=high`, about `wanted` of them at most, and the decimals they need.
fn marks(low: f64, high: f64, wanted: usize) -> (Vec<f64>, usize) {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || wanted == 0 {
        return (vec![low], 2);
    }
    let rough = span / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    // A single mark says nothing of the scale: rather one more than wanted.
    let steps = [10.0, 5.0, 2.0, 1.0, 0.5, 0.2].map(|factor| factor * power);
    let wide = steps.iter().rposition(|step| *step >= rough * 0.999).unwrap_or(0);
    let within = |step: f64| (high / step + 1e-9).floor() - (low / step - 1e-9).ceil() + 1.0;
    let step = steps[wide..].iter().copied().find(|step| within(*step) >= 2.0).unwrap_or(rough);
    let decimals = (-step.log10().floor()).clamp(0.0, 8.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    ((first..=last).map(|index| index as f64 * step).collect(), decimals)
}

/// The part of the plane that a chart shows: steps to the right, values upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plane {
    /// Steps.
    pub x: Range,
    /// Values.
    pub y: Range,
}

impl Plane {
    /// What a raster is to show.
    pub fn window(&self) -> Window {
        Window { x: self.x.ends(), y: self.y.ends() }
    }

    /// Where `value` at `step` lies in the window.
    pub fn at(&self, step: u64, value: f64) -> (f64, f64) {
        (self.x.place(place_of(step, self.x)), self.y.place(value))
    }

    /// The column of `area` in which `step` lies, where it lies in it.
    pub fn column(&self, area: Rect, step: u64) -> Option<u16> {
        let share = self.x.share(place_of(step, self.x));
        let dots = f64::from(area.width) * 2.0 - 1.0;
        let inside = (0.0..=1.0).contains(&share) && area.width > 0;
        inside.then(|| area.x + ((share * dots).round() as u16 / 2).min(area.width - 1))
    }

    /// The step in the middle of column `x` of `area`.
    pub fn step(&self, area: Rect, x: u16) -> u64 {
        let share = (f64::from(x.saturating_sub(area.x)) + 0.5) / f64::from(area.width.max(1));
        self.x.value(share.min(1.0)).round().max(0.0) as u64
    }
}

/// A logarithmic axis of steps begins with the first.
fn place_of(step: u64, range: Range) -> f64 {
    if range.log { step.max(1) as f64 } else { step as f64 }
}

/// Cells that the labels of `range` take at the left of a chart of this height, the frame's line among them.
pub fn gutter(range: Range, height: u16) -> u16 {
    let (ys, decimals) = value_marks(range, height);
    ys.iter().map(|y| text::width(&format!("{y:.decimals$}"))).max().unwrap_or(0) as u16 + 2
}

fn value_marks(range: Range, height: u16) -> (Vec<f64>, usize) {
    range.marks(usize::from(height / 3).clamp(2, 12))
}

/// The cells for the curves in `area` beside so many for labels, and above a line of steps where there is one; `None` where
/// there is no room.
pub fn plot(area: Rect, gutter: u16, with_steps: bool) -> Option<Rect> {
    let below = u16::from(with_steps);
    let room = area.width >= gutter + 8 && area.height > below + 1;
    room.then(|| Rect::new(area.x + gutter, area.y, area.width - gutter, area.height - below))
}

/// Draws the axes of `plane` around `plot`.
pub fn render(buffer: &mut Buffer, plot: Rect, plane: &Plane, with_steps: bool, theme: &Theme) {
    let (frame, dim) = (theme.style(Role::Frame), theme.style(Role::Dim));
    for y in plot.top()..plot.bottom() {
        buffer.set_string(plot.x - 1, y, "│", frame);
    }
    let (ys, decimals) = value_marks(plane.y, plot.height);
    for value in ys {
        let label = format!("{value:.decimals$}");
        // The cell in which a raster would draw the value.
        let dot = ((1.0 - plane.y.share(value)) * (f64::from(plot.height) * 4.0 - 1.0)).round();
        let y = plot.y + ((dot / 4.0) as u16).min(plot.height - 1);
        let x = (plot.x - 1).saturating_sub(text::width(&label) as u16);
        buffer.set_string(x, y, label, dim);
        buffer.set_string(plot.x - 1, y, "┤", frame);
    }
    if with_steps {
        steps(buffer, plot, plane, theme);
    }
}

/// Writes the marks of the steps under `plot`.
fn steps(buffer: &mut Buffer, plot: Rect, plane: &Plane, theme: &Theme) {
    let (xs, _) = plane.x.marks(usize::from(plot.width / 14).clamp(2, 12));
    let y = plot.bottom();
    let mut free = plot.x;
    for x in xs.iter().filter(|x| x.fract() == 0.0 && **x >= 0.0) {
        let label = text::count(*x as u64);
        let wide = text::width(&label) as u16;
        let center = plot.x + (plane.x.share(*x) * f64::from(plot.width.saturating_sub(1))).round() as u16;
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

    #[test]
    fn marks_are_round_and_within() {
        for (low, high, wanted) in
            [(0.0, 1.0, 4), (2.31, 5.83, 5), (-0.3, 0.4, 3), (0.0, 1e7, 6), (1e-5, 1e-3, 4)]
        {
            for log in [false, true] {
                let range = Range::scaled(low, high, log);
                let (marks, _) = range.marks(wanted);
                assert!((1..=wanted + 2).contains(&marks.len()), "{range:?}: {marks:?}");
                assert!(marks.iter().all(|mark| *mark >= low - 1e-9 && *mark <= high + 1e-9), "{marks:?}");
            }
        }
        assert_eq!(Range::linear(0.0, 2000.0).marks(4).0, [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
        assert_eq!(Range::scaled(1.0, 100.0, true).marks(3).0, [1.0, 10.0, 100.0]);
    }

    #[test]
    fn ranges_without_extent_still_have_one_after_the_margin() {
        for value in [0.0, 5.0, -3.0] {
            for log in [false, true] {
                let range = Range::scaled(value, value, log).with_margin();
                assert!(range.low < value && value < range.high);
            }
        }
        assert_eq!(Range::linear(1.0, 1.0).marks(4).0, [1.0]);
    }

    #[test]
    fn columns_and_steps_are_each_others_inverse() {
        let area = Rect::new(5, 0, 40, 10);
        for log in [false, true] {
            let plane = Plane { x: Range::scaled(1.0, 4000.0, log), y: Range::linear(0.0, 1.0) };
            for x in area.left()..area.right() {
                let column = plane.column(area, plane.step(area, x)).unwrap();
                assert!(column.abs_diff(x) <= 1, "{x} {column}");
            }
            assert_eq!(plane.column(area, 4001), None);
        }
    }

    #[test]
    fn a_logarithm_shows_what_is_above_nothing() {
        let range = Range::scaled(1e-3, 10.0, true);
        assert!(range.place(0.0) < range.ends().0 && range.place(-1.0) < range.ends().0);
        assert!(!Range::scaled(0.0, 10.0, true).log, "where 0 is in it, it is linear");
        assert!((range.value(range.share(0.5)) - 0.5).abs() < 1e-9);
    }
}
