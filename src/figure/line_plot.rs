//! Owns: a figure of curves: what it shows, and its drawing.
//! Must not know: what the numbers mean.
//! Invariant: points that the axes have no place for are gaps; a curve of any length has a bounded number of points on paper.

use super::frame::{BELOW, EDGE, Frame, LABEL_SIZE, TICK_SIZE, TITLE_SIZE, level_text, widest_label};
use super::svg::{Drawing, Ink, TextAnchor, fit_text, text_width};
use super::ticks::{AxisScale, ValueRange};
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 360.0;
/// Height of a row of the legend, length of its sample of the line, and space between entries.
const LEGEND_ROW: f64 = 19.0;
const SAMPLE: f64 = 26.0;
const LEGEND_GAP: f64 = 22.0;

/// A figure of curves over an axis. The i-th series has the i-th colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// May be empty, for a figure with a caption.
    pub title: String,
    pub x: FigureAxis,
    pub y: FigureAxis,
    pub series: Vec<FigureSeries>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FigureAxis {
    /// Name and unit of the values.
    pub label: String,
    pub scale: AxisScale,
}

/// One entry of the legend, and everything that is drawn in its colour. Points are `(x, y)`, with x ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FigureSeries {
    pub label: String,
    pub line: Vec<(f64, f64)>,
    /// An area around the line, as `(x, low, high)`.
    pub band: Vec<(f64, f64, f64)>,
    /// Fainter lines, such as those of single seeds.
    pub thin: Vec<Vec<(f64, f64)>>,
    pub dots: Vec<(f64, f64)>,
}

impl FigureSeries {
    /// Returns all points, those at the edges of the band among them.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let band = self.band.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]);
        self.line.iter().chain(&self.dots).chain(self.thin.iter().flatten()).copied().chain(band)
    }
}

impl Figure {
    /// Returns the figure as SVG, 720 pixels wide, for light and dark pages. Points that are not finite, or up to 0 on a
    /// logarithmic axis, are gaps.
    pub fn to_svg(&self) -> String {
        let legend = self.legend_places();
        let rows = legend.last().map_or(0, |(row, _)| row + 1);
        let top = self.legend_top() + rows as f64 * LEGEND_ROW + 14.0;
        let points = || self.series.iter().flat_map(FigureSeries::points);
        let x = ValueRange::covering(points().map(|point| point.0), self.x.scale).with_margin(0.01);
        let y = ValueRange::covering(points().map(|point| point.1), self.y.scale).with_margin(0.04);
        let (x_ticks, y_ticks) = (x.ticks(8), y.ticks(7));
        let left = (EDGE + LABEL_SIZE + 12.0 + widest_label(&y_ticks) + 8.0).ceil();
        let frame = Frame { left, top, right: WIDTH - EDGE - 12.0, bottom: top + PLOT_HEIGHT, x, y };
        let mut drawing = Drawing::new(WIDTH, top + PLOT_HEIGHT + BELOW);
        frame.draw_title(&mut drawing, &self.title);
        self.draw_legend(&mut drawing, &legend);
        frame.draw_x_axis(&mut drawing, &x_ticks, &self.x.label);
        frame.draw_y_axis(&mut drawing, &y_ticks, &self.y.label);
        frame.draw_border(&mut drawing);
        // Areas first, so that they hide no line.
        let inks = || self.series.iter().enumerate().map(|(index, series)| (Ink::Series(index), series));
        inks().for_each(|(ink, series)| draw_band(&mut drawing, &frame, &series.band, ink));
        for (ink, line) in inks().flat_map(|(ink, series)| series.thin.iter().map(move |line| (ink, line))) {
            draw_curve(&mut drawing, &frame, line, ink, CurveWeight::Thin);
        }
        for (ink, series) in inks() {
            draw_curve(&mut drawing, &frame, &series.line, ink, CurveWeight::Full);
            for (x, y) in series.dots.iter().filter_map(|dot| frame.pixel_of(dot.0, dot.1)) {
                drawing.add_dot((x, y), 3.0, ink, 0.85);
            }
        }
        match self.title.is_empty() {
            true => drawing.finish(&format!("{} over {}", self.y.label, self.x.label)),
            false => drawing.finish(&self.title),
        }
    }

    fn legend_top(&self) -> f64 {
        if self.title.is_empty() { EDGE } else { EDGE + TITLE_SIZE + 12.0 }
    }

    /// Returns the row and the left end of each entry of the legend.
    fn legend_places(&self) -> Vec<(usize, f64)> {
        let (mut row, mut x) = (0, EDGE);
        let mut places = Vec::new();
        for series in &self.series {
            let wide = SAMPLE + 6.0 + text_width(&series.label, TICK_SIZE);
            if x > EDGE && x + wide > WIDTH - EDGE {
                (row, x) = (row + 1, EDGE);
            }
            places.push((row, x));
            x += wide + LEGEND_GAP;
        }
        places
    }

    fn draw_legend(&self, drawing: &mut Drawing, places: &[(usize, f64)]) {
        for (index, ((row, x), series)) in places.iter().zip(&self.series).enumerate() {
            let (ink, y) = (Ink::Series(index), self.legend_top() + 8.0 + *row as f64 * LEGEND_ROW);
            if !series.band.is_empty() {
                let fill = ink.fill();
                let top = y - 5.5;
                drawing.add(&format!(
                    r#"<rect x="{x:.2}" y="{top:.2}" width="{SAMPLE}" height="11" {fill} fill-opacity="0.2"/>"#
                ));
            }
            if series.line.is_empty() && series.thin.is_empty() && !series.dots.is_empty() {
                drawing.add_dot((x + SAMPLE / 2.0, y), 3.0, ink, 0.85);
            } else {
                drawing.add_line((*x, y), (x + SAMPLE, y), ink, 2.0);
            }
            let label = fit_text(&series.label, TICK_SIZE, WIDTH - EDGE - x - SAMPLE - 6.0);
            let place = level_text(x + SAMPLE + 6.0, y + TICK_SIZE * 0.36, TICK_SIZE, TextAnchor::Start);
            drawing.add_text(&label, place);
        }
    }
}

/// How strongly a curve is drawn.
#[derive(Clone, Copy)]
enum CurveWeight {
    Full,
    Thin,
}

/// Draws a curve; one of a single point between gaps as a dot, which would not be seen otherwise.
fn draw_curve(drawing: &mut Drawing, frame: &Frame, points: &[(f64, f64)], ink: Ink, weight: CurveWeight) {
    let (width, opacity) = match weight {
        CurveWeight::Full => (2.0, 1.0),
        CurveWeight::Thin => (1.0, 0.4),
    };
    let pixels: Vec<Option<(f64, f64)>> = points.iter().map(|point| frame.pixel_of(point.0, point.1)).collect();
    let mut path = String::new();
    for piece in pixels.split(Option::is_none) {
        let piece: Vec<(f64, f64)> = piece.iter().copied().flatten().collect();
        match &piece[..] {
            [] => {}
            [dot] => drawing.add_dot(*dot, width, ink, opacity),
            piece => add_subpath(&mut path, &thin_out(piece)),
        }
    }
    if !path.is_empty() {
        let (stroke, dash) = (ink.stroke(), ink.dash());
        drawing.add(&format!(
            r#"<path d="{path}" {stroke} stroke-width="{width}" stroke-opacity="{opacity}" stroke-linejoin="round"{dash}/>"#
        ));
    }
}

/// The lower and the upper edge of a band at one place, as pixels.
type BandEdges = ((f64, f64), (f64, f64));

/// Draws the area between the low and the high ends, one for each stretch without gaps.
fn draw_band(drawing: &mut Drawing, frame: &Frame, band: &[(f64, f64, f64)], ink: Ink) {
    let edges = |(x, low, high): &(f64, f64, f64)| Some((frame.pixel_of(*x, *low)?, frame.pixel_of(*x, *high)?));
    let edges: Vec<Option<BandEdges>> = band.iter().map(edges).collect();
    let mut path = String::new();
    for piece in edges.split(Option::is_none).filter(|piece| piece.len() > 1) {
        let (low, high): (Vec<_>, Vec<_>) = piece.iter().copied().flatten().unzip();
        let mut outline = thin_out(&low);
        outline.extend(thin_out(&high).into_iter().rev());
        add_subpath(&mut path, &outline);
        path.push('Z');
    }
    if !path.is_empty() {
        drawing.add(&format!(r#"<path d="{path}" {} fill-opacity="0.2"/>"#, ink.fill()));
    }
}

fn add_subpath(path: &mut String, points: &[(f64, f64)]) {
    for (index, (x, y)) in points.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(path, "{}{x:.2} {y:.2}", if index == 0 { 'M' } else { 'L' });
    }
}

/// Keeps of the points in each half pixel across the first, the lowest, the highest and the last one: the drawing is the same.
fn thin_out(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let column = |point: &(f64, f64)| (point.0 * 2.0).floor();
    let mut kept = Vec::new();
    for group in points.chunk_by(|a, b| column(a) == column(b)) {
        if group.len() <= 4 {
            kept.extend_from_slice(group);
            continue;
        }
        let by_height = |a: &usize, b: &usize| group[*a].1.total_cmp(&group[*b].1);
        let (lowest, highest) = ((0..group.len()).min_by(by_height), (0..group.len()).max_by(by_height));
        let mut indices: Vec<usize> = [0, group.len() - 1].into_iter().chain(lowest).chain(highest).collect();
        indices.sort_unstable();
        indices.dedup();
        kept.extend(indices.into_iter().map(|index| group[index]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{svg_to_pdf, svg_to_png};
    use resvg::tiny_skia::Pixmap;

    fn figure(series: Vec<FigureSeries>) -> Figure {
        let axis = |label: &str| FigureAxis { label: label.into(), scale: AxisScale::Linear };
        Figure { title: "Loss".into(), x: axis("step"), y: axis("loss (nats)"), series }
    }

    fn line(points: &[(f64, f64)]) -> FigureSeries {
        FigureSeries { label: "a".into(), line: points.to_vec(), ..FigureSeries::default() }
    }

    #[test]
    fn an_empty_figure_has_its_axes() {
        for scale in [AxisScale::Linear, AxisScale::Log] {
            let mut empty = figure(Vec::new());
            empty.y.scale = scale;
            let svg = empty.to_svg();
            for text in [">Loss</text>", ">step</text>", ">loss (nats)</text>", "clfig-line-grid"] {
                assert!(svg.contains(text), "{text}");
            }
            assert!(!svg.contains("<path") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            svg_to_png(&svg, 1.0).unwrap();
        }
        let nothing = figure(vec![line(&[(f64::NAN, 1.0), (1.0, f64::INFINITY)])]).to_svg();
        assert!(!nothing.contains("<path") && nothing.contains(">a</text>"));
    }

    #[test]
    fn values_without_a_place_are_gaps() {
        let points =
            [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 3.0), (4.0, 2.0), (5.0, f64::INFINITY), (6.0, 2.0)];
        let svg = figure(vec![line(&points)]).to_svg();
        let path = svg.lines().find(|line| line.starts_with("<path")).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(svg.matches("<circle").count(), 1, "the point between gaps");
        let mut log = figure(vec![line(&[(0.0, 1.0), (1.0, 2.0), (2.0, 0.0), (3.0, -3.0), (4.0, 2.0), (5.0, 9.0)])]);
        log.y.scale = AxisScale::Log;
        assert!(log.to_svg().lines().any(|line| line.starts_with("<path") && line.matches('M').count() == 2));
        let band = FigureSeries {
            band: vec![(0.0, 1.0, 2.0), (1.0, 1.0, 2.0), (2.0, f64::NAN, 2.0), (3.0, 1.0, 2.0), (4.0, 1.0, 3.0)],
            ..FigureSeries::default()
        };
        let svg = figure(vec![band]).to_svg();
        assert!(svg.lines().any(|line| line.starts_with("<path") && line.matches('Z').count() == 2));
    }

    #[test]
    fn labels_are_escaped() {
        let mut odd = figure(vec![FigureSeries { label: r#"a < "b" & c"#.into(), ..line(&[(0.0, 1.0), (1.0, 2.0)]) }]);
        (odd.title, odd.y.label) = ("<&\"".into(), "</svg>".into());
        let svg = odd.to_svg();
        for text in [">&lt;&amp;&quot;</text>", ">&lt;/svg&gt;</text>", ">a &lt; &quot;b&quot; &amp; c</text>"] {
            assert!(svg.contains(text), "{text}");
        }
        svg_to_png(&svg, 1.0).unwrap();
    }

    #[test]
    fn an_image_shows_the_colour_of_each_series() {
        let flat = |y| FigureSeries { band: vec![(0.0, y, y + 0.2), (9.0, y, y + 0.2)], ..line(&[(0.0, y), (9.0, y)]) };
        let svg = figure(vec![flat(1.0), flat(2.0)]).to_svg();
        let image = Pixmap::decode_png(&svg_to_png(&svg, 2.0).unwrap()).unwrap();
        assert_eq!(image.width(), 1440);
        for (red, green, blue) in [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)] {
            let is_colour = |pixel: &&resvg::tiny_skia::PremultipliedColorU8| {
                (pixel.red(), pixel.green(), pixel.blue()) == (red, green, blue)
            };
            assert!(image.pixels().iter().filter(is_colour).count() > 1000, "{red} {green} {blue}");
        }
        assert!(svg_to_pdf(&svg).unwrap().starts_with(b"%PDF"));
    }

    #[test]
    fn a_long_curve_keeps_its_extremes_and_few_points() {
        let mut points: Vec<(f64, f64)> = (0..200_000).map(|x| (f64::from(x), f64::from(x % 7))).collect();
        points[123_456].1 = 1000.0;
        let svg = figure(vec![line(&points)]).to_svg();
        assert!(svg.len() < 200_000, "{}", svg.len());
        let pixels: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x / 400.0, *y)).collect();
        let thin = thin_out(&pixels);
        assert!(thin.len() <= 4 * 1001 && thin.iter().any(|point| point.1 == 1000.0));
        assert_eq!((thin[0], thin[thin.len() - 1]), (pixels[0], pixels[pixels.len() - 1]));
    }

    #[test]
    fn a_legend_breaks_into_rows_within_the_page() {
        let series =
            |index| FigureSeries { label: format!("recycle.every = {index}, optim.lr = 0.001 (3 runs)"), ..line(&[]) };
        let figure = figure((0..7).map(series).collect());
        let places = figure.legend_places();
        let ends = figure.series.iter().zip(&places).map(|(series, (_, x))| x + text_width(&series.label, TICK_SIZE));
        assert!(ends.into_iter().all(|end| end < WIDTH) && places[6].0 >= 3, "{places:?}");
    }
}
