//! Owns: where the marks of an axis stand and what they say; the frame of a chart.
//! Must not know: what is charted.
//! Invariant: marks are 1, 2 or 5 times a power of ten apart and lie within the range.

use super::raster::Window;
use super::text;
use super::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Marks in `low..=high`, about `wanted` of them at most, and the decimals they need.
pub fn marks(low: f64, high: f64, wanted: usize) -> (Vec<f64>, usize) {
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

/// `low..=high` with a margin, so that no curve runs along the frame.
pub fn with_margin(low: f64, high: f64) -> (f64, f64) {
    let span = high - low;
    let margin = if span > 0.0 { span * 0.05 } else { low.abs().max(1.0) * 0.05 };
    (low - margin, high + margin)
}

/// Draws the axes of `window` at the left and the bottom of `area`; returns what is left for the curves.
pub fn render(buffer: &mut Buffer, area: Rect, window: Window, theme: &Theme) -> Rect {
    let (ys, decimals) = marks(window.y.0, window.y.1, usize::from(area.height / 3).clamp(2, 12));
    let labels: Vec<String> = ys.iter().map(|y| format!("{y:.decimals$}")).collect();
    let gutter = labels.iter().map(|label| text::width(label)).max().unwrap_or(0) as u16 + 1;
    if area.width < gutter + 8 || area.height < 3 {
        return area;
    }
    let plot = Rect::new(area.x + gutter + 1, area.y, area.width - gutter - 1, area.height - 1);
    let (frame, dim) = (theme.style(Role::Frame), theme.style(Role::Dim));
    for y in plot.top()..plot.bottom() {
        buffer.set_string(plot.x - 1, y, "│", frame);
    }
    for (value, label) in ys.iter().zip(&labels) {
        // The cell in which a raster would draw the value.
        let share = (window.y.1 - value) / (window.y.1 - window.y.0);
        let dot = (share * (f64::from(plot.height) * 4.0 - 1.0)).round();
        let y = plot.y + ((dot / 4.0) as u16).min(plot.height - 1);
        let x = plot.x - 2 - text::width(label) as u16;
        buffer.set_string(x, y, label, dim);
        buffer.set_string(plot.x - 1, y, "┤", frame);
    }
    bottom(buffer, plot, window.x, theme);
    plot
}

/// Writes the marks of the steps under `plot`.
fn bottom(buffer: &mut Buffer, plot: Rect, (low, high): (f64, f64), theme: &Theme) {
    let (xs, _) = marks(low, high, usize::from(plot.width / 14).clamp(2, 12));
    let y = plot.bottom();
    let mut free = plot.x;
    for x in xs.iter().filter(|x| x.fract() == 0.0) {
        let label = text::count(*x as u64);
        let wide = text::width(&label) as u16;
        let share = (x - low) / (high - low).max(f64::MIN_POSITIVE);
        let center = plot.x + (share * f64::from(plot.width.saturating_sub(1))).round() as u16;
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
            let (marks, _) = marks(low, high, wanted);
            assert!((2..=wanted + 2).contains(&marks.len()), "{marks:?}");
            assert!(marks.iter().all(|mark| *mark >= low - 1e-9 && *mark <= high + 1e-9));
        }
        assert_eq!(marks(0.0, 2000.0, 4).0, [0.0, 500.0, 1000.0, 1500.0, 2000.0]);
    }

    #[test]
    fn ranges_without_extent_still_have_one_after_the_margin() {
        for value in [0.0, 5.0, -3.0] {
            let (low, high) = with_margin(value, value);
            assert!(low < value && value < high);
        }
        assert_eq!(marks(1.0, 1.0, 4).0, [1.0]);
    }
}
