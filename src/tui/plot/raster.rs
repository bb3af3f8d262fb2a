//! Owns: curves drawn with braille dots, two by four in a cell.
//! Must not know: what the curves mean, axes, terminals.
//! Invariant: nothing is drawn outside the raster; in each cell the last layer drawn hides the earlier ones.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

/// The part of the plane that a raster shows, in axis coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisWindow {
    pub x: (f64, f64),
    pub y: (f64, f64),
}

/// The dash pattern of a curve, which tells curves apart without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    Solid,
    /// Four dots on, two dots off.
    Dashed,
    /// One dot in three.
    Dotted,
}

impl Dash {
    /// Returns the character that stands for the dash in a legend.
    pub fn legend_glyph(self) -> &'static str {
        match self {
            Dash::Solid => "━",
            Dash::Dashed => "╍",
            Dash::Dotted => "┈",
        }
    }
}

#[derive(Clone, Copy, Default)]
struct DotCell {
    dots: u8,
    layer: u16,
    style: Style,
}

pub struct Raster {
    area: Rect,
    window: AxisWindow,
    cells: Vec<DotCell>,
    layer: u16,
}

/// The bit of each dot of a braille character (U+2800 and up), by row and column in the cell.
const BRAILLE_BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Raster {
    /// Creates an empty raster over `area` that shows `window`.
    pub fn new(area: Rect, window: AxisWindow) -> Self {
        Self { area, window, cells: vec![DotCell::default(); area.area() as usize], layer: 0 }
    }

    /// Draws a curve through `points` as a new layer; `None` breaks the curve.
    pub fn draw_curve(&mut self, points: impl Iterator<Item = Option<(f64, f64)>>, style: Style, dash: Dash) {
        self.layer += 1;
        let mut previous = None;
        for point in points {
            let Some((x, y)) = point else {
                previous = None;
                continue;
            };
            let here = (self.dot_column(x), self.dot_row(y));
            let from = previous.unwrap_or(here);
            self.draw_segment(from, here, style, dash);
            previous = Some(here);
        }
    }

    /// Draws vertical bars `(x, low, high)` as a new layer; bars in the same column of dots are merged.
    pub fn draw_bars(&mut self, bars: impl Iterator<Item = (f64, f64, f64)>, style: Style) {
        self.draw_dashed_bars(bars, style, Dash::Solid);
    }

    /// Draws vertical bars `(x, low, high)` as a new layer, of the dots that `dash` keeps: dotted bars are a hatched area.
    pub fn draw_dashed_bars(&mut self, bars: impl Iterator<Item = (f64, f64, f64)>, style: Style, dash: Dash) {
        self.layer += 1;
        let mut open: Option<(i64, i64, i64)> = None;
        for (x, low, high) in bars {
            let (x, top, bottom) = (self.dot_column(x), self.dot_row(high), self.dot_row(low));
            match &mut open {
                Some((at, highest, lowest)) if *at == x => {
                    (*highest, *lowest) = ((*highest).min(top), (*lowest).max(bottom))
                }
                _ => {
                    self.draw_bar(open.take(), style, dash);
                    open = Some((x, top, bottom));
                }
            }
        }
        self.draw_bar(open, style, dash);
    }

    fn draw_bar(&mut self, bar: Option<(i64, i64, i64)>, style: Style, dash: Dash) {
        if let Some((x, top, bottom)) = bar {
            self.draw_segment((x, top), (x, bottom), style, dash);
        }
    }

    /// Writes the dots into `buffer`; cells without dots are left as they are.
    pub fn render(&self, buffer: &mut Buffer) {
        for (index, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.dots != 0) {
            let width = usize::from(self.area.width);
            let at = (self.area.x + (index % width) as u16, self.area.y + (index / width) as u16);
            if let (Some(target), Some(c)) = (buffer.cell_mut(at), char::from_u32(0x2800 + u32::from(cell.dots))) {
                target.set_char(c).set_style(cell.style);
            }
        }
    }

    /// Returns the cell of the point, if it is in the window.
    pub fn cell_of(&self, x: f64, y: f64) -> Option<(u16, u16)> {
        let (dx, dy) = (self.dot_column(x), self.dot_row(y));
        let inside =
            (0..i64::from(self.area.width) * 2).contains(&dx) && (0..i64::from(self.area.height) * 4).contains(&dy);
        inside.then(|| (self.area.x + (dx / 2) as u16, self.area.y + (dy / 4) as u16))
    }

    /// Whether the cell is one of the raster.
    pub fn contains(&self, x: u16, y: u16) -> bool {
        self.area.contains(Position::new(x, y))
    }

    /// Returns the number of cells from column `x` to the right edge.
    pub fn columns_from(&self, x: u16) -> u16 {
        self.area.right().saturating_sub(x)
    }

    fn dot_column(&self, x: f64) -> i64 {
        to_dots(x, self.window.x, i64::from(self.area.width) * 2 - 1)
    }

    fn dot_row(&self, y: f64) -> i64 {
        let dots = i64::from(self.area.height) * 4 - 1;
        dots - to_dots(y, self.window.y, dots)
    }

    fn draw_segment(&mut self, from: (i64, i64), to: (i64, i64), style: Style, dash: Dash) {
        let (dx, dy) = ((to.0 - from.0).abs(), -(to.1 - from.1).abs());
        let (sx, sy) = ((to.0 - from.0).signum(), (to.1 - from.1).signum());
        let (mut at, mut error) = (from, dx + dy);
        loop {
            self.draw_dot(at, style, dash);
            if at == to {
                return;
            }
            let twice = 2 * error;
            if twice >= dy {
                error += dy;
                at.0 += sx;
            }
            if twice <= dx {
                error += dx;
                at.1 += sy;
            }
        }
    }

    fn draw_dot(&mut self, (x, y): (i64, i64), style: Style, dash: Dash) {
        let (width, height) = (i64::from(self.area.width), i64::from(self.area.height));
        let on = match dash {
            Dash::Solid => true,
            Dash::Dashed => (x + y).rem_euclid(6) < 4,
            Dash::Dotted => (x + y).rem_euclid(3) == 0,
        };
        if !on || x < 0 || y < 0 || x >= width * 2 || y >= height * 4 {
            return;
        }
        let cell = &mut self.cells[((y / 4) * width + x / 2) as usize];
        if cell.layer != self.layer {
            *cell = DotCell { dots: 0, layer: self.layer, style };
        }
        cell.dots |= BRAILLE_BITS[(y % 4) as usize][(x % 2) as usize];
    }
}

/// Maps `range` to `0..=last`. Values outside are clamped to half a range beyond, to keep lines short.
fn to_dots(value: f64, range: (f64, f64), last: i64) -> i64 {
    let span = range.1 - range.0;
    let share = if span > 0.0 { (value - range.0) / span } else { 0.5 };
    (share.clamp(-0.5, 1.5) * last as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(dash: Dash, points: &[(f64, f64)]) -> String {
        let area = Rect::new(0, 0, 4, 1);
        let window = AxisWindow { x: (0.0, 7.0), y: (0.0, 3.0) };
        let mut raster = Raster::new(area, window);
        raster.draw_curve(points.iter().copied().map(Some), Style::new(), dash);
        let mut buffer = Buffer::empty(area);
        raster.render(&mut buffer);
        buffer.content().iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn lines_join_their_points() {
        assert_eq!(drawn(Dash::Solid, &[(0.0, 0.0), (7.0, 0.0)]), "⣀⣀⣀⣀");
        assert_eq!(drawn(Dash::Solid, &[(0.0, 3.0), (7.0, 3.0)]), "⠉⠉⠉⠉");
        assert_eq!(drawn(Dash::Solid, &[(2.0, 0.0)]), " ⡀  ");
    }

    #[test]
    fn a_gap_is_not_drawn_over() {
        let area = Rect::new(0, 0, 4, 1);
        let mut raster = Raster::new(area, AxisWindow { x: (0.0, 7.0), y: (0.0, 3.0) });
        raster.draw_curve([Some((0.0, 0.0)), None, Some((7.0, 0.0))].into_iter(), Style::new(), Dash::Solid);
        let mut buffer = Buffer::empty(area);
        raster.render(&mut buffer);
        assert_eq!(buffer.content().iter().map(|cell| cell.symbol()).collect::<String>(), "⡀  ⢀");
    }

    #[test]
    fn dashes_differ_and_points_outside_do_no_harm() {
        let line = [(-9e300, 0.0), (9e300, 0.0)];
        assert_ne!(drawn(Dash::Solid, &line), drawn(Dash::Dotted, &line));
        assert_ne!(drawn(Dash::Dashed, &line), drawn(Dash::Dotted, &line));
    }

    #[test]
    fn a_hatched_area_has_a_third_of_the_dots() {
        let area = Rect::new(0, 0, 30, 30);
        let dots = |dash| {
            let mut raster = Raster::new(area, AxisWindow { x: (0.0, 59.0), y: (0.0, 119.0) });
            raster.draw_dashed_bars((0..60).map(|x| (f64::from(x), 0.0, 119.0)), Style::new(), dash);
            raster.cells.iter().map(|cell| cell.dots.count_ones()).sum::<u32>()
        };
        assert_eq!((dots(Dash::Solid), dots(Dash::Dotted)), (7200, 2400));
    }

    #[test]
    fn an_empty_raster_and_an_empty_window_are_drawn_as_nothing() {
        let window = AxisWindow { x: (1.0, 1.0), y: (2.0, 2.0) };
        let mut raster = Raster::new(Rect::ZERO, window);
        raster.draw_bars([(1.0, 2.0, 2.0)].into_iter(), Style::new());
        raster.render(&mut Buffer::empty(Rect::new(0, 0, 1, 1)));
        assert_eq!(raster.cell_of(1.0, 2.0), None);
    }
}
