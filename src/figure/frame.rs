//! Owns: the frame of a plot: where a value is drawn, grid, ticks, labels of axes, title.
//! Must not know: what is drawn within the frame.
//! Invariant: everything outside of the frame is drawn at whole pixels, so that lines are sharp.

use super::svg::{Drawing, Ink, TextAnchor, TextPlace, TextTurn, fit_text, text_width};
use super::ticks::{TickSet, ValueRange, power_text};

/// Sizes of text, in pixels.
pub(super) const TITLE_SIZE: f64 = 15.0;
pub(super) const LABEL_SIZE: f64 = 13.0;
pub(super) const TICK_SIZE: f64 = 12.0;
/// Free space at the drawing's edges, in pixels.
pub(super) const EDGE: f64 = 12.0;
/// Room below a frame for its ticks and the label of its axis.
pub(super) const BELOW: f64 = 46.0;

/// A rectangle of pixels that shows a range of values in either direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
    pub x: ValueRange,
    pub y: ValueRange,
}

impl Frame {
    /// Returns the pixel of a value on the horizontal axis. None if it has no place there.
    pub fn pixel_x(&self, value: f64) -> Option<f64> {
        Some(self.left + self.x.fraction_of(value)? * (self.right - self.left))
    }

    pub fn pixel_y(&self, value: f64) -> Option<f64> {
        Some(self.bottom - self.y.fraction_of(value)? * (self.bottom - self.top))
    }

    /// Returns the pixel of a point. None if it has no place in the frame.
    pub fn pixel_of(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.pixel_x(x)?, self.pixel_y(y)?))
    }

    pub fn draw_title(&self, drawing: &mut Drawing, title: &str) {
        if title.is_empty() {
            return;
        }
        let title = fit_text(title, TITLE_SIZE * 1.04, self.right - EDGE);
        let place = level_text(EDGE, EDGE + TITLE_SIZE, TITLE_SIZE, TextAnchor::Start);
        drawing.add_text(&title, place);
    }

    /// Draws the ticks below the frame, their grid lines within it, and the label of the axis.
    pub fn draw_x_axis(&self, drawing: &mut Drawing, ticks: &TickSet, label: &str) {
        let mut free_from = f64::NEG_INFINITY;
        for tick in &ticks.ticks {
            let Some(x) = self.pixel_x(tick.value).map(sharp) else { continue };
            drawing.add_line((x, self.top), (x, self.bottom), Ink::Grid, 1.0);
            drawing.add_line((x, self.bottom), (x, self.bottom + 4.0), Ink::Frame, 1.0);
            let half = text_width(&tick.label, TICK_SIZE) / 2.0;
            if x - half >= free_from {
                let place = level_text(x, self.bottom + 17.0, TICK_SIZE, TextAnchor::Middle);
                drawing.add_text(&tick.label, place);
                free_from = x + half + 6.0;
            }
        }
        let y = self.bottom + 37.0;
        let place = level_text((self.left + self.right) / 2.0, y, LABEL_SIZE, TextAnchor::Middle);
        drawing.add_text(&fit_text(label, LABEL_SIZE, self.right - self.left), place);
        if ticks.exponent != 0 {
            let place = level_text(self.right, y, TICK_SIZE, TextAnchor::End);
            drawing.add_text(&format!("×{}", power_text(ticks.exponent)), place);
        }
    }

    /// Draws the ticks left of the frame, their grid lines within it, and the label of the axis.
    pub fn draw_y_axis(&self, drawing: &mut Drawing, ticks: &TickSet, label: &str) {
        for tick in &ticks.ticks {
            let Some(y) = self.pixel_y(tick.value).map(sharp) else { continue };
            drawing.add_line((self.left, y), (self.right, y), Ink::Grid, 1.0);
            drawing.add_line((self.left - 4.0, y), (self.left, y), Ink::Frame, 1.0);
            let place = level_text(self.left - 7.0, y + TICK_SIZE * 0.36, TICK_SIZE, TextAnchor::End);
            drawing.add_text(&tick.label, place);
        }
        let middle = (self.top + self.bottom) / 2.0;
        let place = TextPlace { turn: TextTurn::Upwards, ..level_text(24.0, middle, LABEL_SIZE, TextAnchor::Middle) };
        drawing.add_text(&fit_text(label, LABEL_SIZE, self.bottom - self.top), place);
        if ticks.exponent != 0 {
            let place = level_text(self.left, self.top - 6.0, TICK_SIZE, TextAnchor::Start);
            drawing.add_text(&format!("×{}", power_text(ticks.exponent)), place);
        }
    }

    /// Draws the lines of the axes, over the grid.
    pub fn draw_border(&self, drawing: &mut Drawing) {
        let (left, bottom) = (sharp(self.left), sharp(self.bottom));
        drawing.add_line((left, self.top), (left, bottom), Ink::Frame, 1.0);
        drawing.add_line((left, bottom), (self.right, bottom), Ink::Frame, 1.0);
    }
}

/// Returns the place of a text that is read from left to right.
pub(super) fn level_text(x: f64, y: f64, size: f64, anchor: TextAnchor) -> TextPlace {
    TextPlace { x, y, size, anchor, turn: TextTurn::Level }
}

/// Returns the width of the widest label.
pub(super) fn widest_label(ticks: &TickSet) -> f64 {
    ticks.ticks.iter().map(|tick| text_width(&tick.label, TICK_SIZE)).fold(0.0, f64::max)
}

/// Moves a line of one pixel's width to the middle of a pixel.
fn sharp(pixel: f64) -> f64 {
    pixel.floor() + 0.5
}
