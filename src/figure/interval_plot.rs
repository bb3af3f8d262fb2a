//! Owns: a plot of estimates with their intervals, one below the other (a forest plot).
//! Must not know: how an interval is computed.
//! Invariant: a row without an estimate still has its label.

use super::frame::{BELOW, EDGE, Frame, LABEL_SIZE, TITLE_SIZE, level_text};
use super::svg::{Drawing, Ink, TextAnchor, fit_text, text_width};
use super::ticks::{AxisScale, ValueRange};

const WIDTH: f64 = 720.0;
const ROW_HEIGHT: f64 = 30.0;
/// Most room that the labels of rows take, in pixels.
const MOST_LABEL: f64 = 300.0;

/// Estimates with intervals over one axis, a row each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalPlot {
    pub title: String,
    pub x_label: String,
    pub zero_line: ZeroLine,
    pub rows: Vec<IntervalRow>,
}

/// Whether 0, "no difference", is within the axis and marked by a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroLine {
    Drawn,
    #[default]
    Omitted,
}

/// An estimate with its interval, such as a mean over seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalRow {
    pub label: String,
    pub estimate: Option<f64>,
    /// Low and high end.
    pub interval: Option<[f64; 2]>,
    /// The values behind the estimate, such as one per seed.
    pub dots: Vec<f64>,
}

impl IntervalPlot {
    /// Returns the plot as SVG, 720 pixels wide, for light and dark pages. Values that are not finite are left out.
    pub fn to_svg(&self) -> String {
        let label_width = self.rows.iter().map(|row| text_width(&row.label, LABEL_SIZE)).fold(0.0, f64::max);
        let left = (EDGE + label_width.min(MOST_LABEL) + 16.0).ceil();
        let top = EDGE + TITLE_SIZE + 18.0;
        let bottom = top + self.rows.len().max(1) as f64 * ROW_HEIGHT;
        let zero = (self.zero_line == ZeroLine::Drawn).then_some(0.0);
        let values = self.rows.iter().flat_map(|row| {
            row.estimate.into_iter().chain(row.interval.into_iter().flatten()).chain(row.dots.iter().copied())
        });
        let x = ValueRange::covering(values.chain(zero), AxisScale::Linear).with_margin(0.05);
        let y = ValueRange { low: 0.0, high: self.rows.len().max(1) as f64, scale: AxisScale::Linear };
        let frame = Frame { left, top, right: WIDTH - EDGE - 12.0, bottom, x, y };
        let mut drawing = Drawing::new(WIDTH, bottom + BELOW);
        frame.draw_title(&mut drawing, &self.title);
        frame.draw_x_axis(&mut drawing, &x.ticks(7), &self.x_label);
        frame.draw_border(&mut drawing);
        if let Some(x) = zero.and_then(|zero| frame.pixel_x(zero)) {
            drawing.add_line((x, top), (x, bottom), Ink::Text, 1.5);
        }
        for (index, row) in self.rows.iter().enumerate() {
            row.draw(&mut drawing, &frame, top + (index as f64 + 0.5) * ROW_HEIGHT);
        }
        drawing.finish(&self.title)
    }
}

impl IntervalRow {
    /// Draws the row at the height `y`. Values lie a little above the interval, so that both are seen.
    fn draw(&self, drawing: &mut Drawing, frame: &Frame, y: f64) {
        let ink = Ink::Series(0);
        let label = fit_text(&self.label, LABEL_SIZE, MOST_LABEL);
        let place = level_text(frame.left - 8.0, y + LABEL_SIZE * 0.36, LABEL_SIZE, TextAnchor::End);
        drawing.add_text(&label, place);
        for x in self.dots.iter().filter_map(|value| frame.pixel_x(*value)) {
            drawing.add_dot((x, y - 8.0), 2.5, ink, 0.5);
        }
        let ends = self.interval.map(|ends| ends.map(|end| frame.pixel_x(end)));
        if let Some([Some(low), Some(high)]) = ends {
            drawing.add_line((low, y), (high, y), ink, 2.0);
            for end in [low, high] {
                drawing.add_line((end, y - 4.0), (end, y + 4.0), ink, 2.0);
            }
        }
        if let Some(x) = self.estimate.and_then(|estimate| frame.pixel_x(estimate)) {
            drawing.add_dot((x, y), 4.5, ink, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::svg_to_png;

    fn plot(rows: Vec<IntervalRow>) -> IntervalPlot {
        IntervalPlot { title: "Differences".into(), x_label: "loss (nats)".into(), rows, ..IntervalPlot::default() }
    }

    #[test]
    fn rows_show_label_estimate_interval_and_dots() {
        let full = IntervalRow {
            label: "every = 4 & <8>".into(),
            estimate: Some(0.5),
            interval: Some([0.25, 0.75]),
            dots: vec![0.25, 0.5, f64::NAN],
        };
        let bare = IntervalRow { label: "failed".into(), estimate: Some(f64::NAN), ..IntervalRow::default() };
        let svg = plot(vec![full, bare]).to_svg();
        assert!(svg.contains("every = 4 &amp; &lt;8&gt;") && svg.contains(">failed</text>"));
        assert_eq!(svg.matches("<circle").count(), 3, "two finite dots and one estimate");
        assert_eq!(svg.matches(r#"class="clfig-line-s0""#).count(), 3, "the interval and its two ends");
        assert!(!svg.contains("NaN"));
        svg_to_png(&svg, 1.0).unwrap();
    }

    #[test]
    fn a_zero_line_brings_zero_into_the_axis() {
        let row = IntervalRow { estimate: Some(5.0), interval: Some([4.0, 6.0]), ..IntervalRow::default() };
        let with = IntervalPlot { zero_line: ZeroLine::Drawn, ..plot(vec![row.clone()]) }.to_svg();
        let without = plot(vec![row]).to_svg();
        assert!(with.contains(r#"class="clfig-line-text""#) && with.contains(">0</text>"));
        assert!(!without.contains(r#"class="clfig-line-text""#) && !without.contains(">0</text>"));
        assert!(plot(Vec::new()).to_svg().contains(">loss (nats)</text>"));
    }
}
