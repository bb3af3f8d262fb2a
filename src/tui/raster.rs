//! Owns: curves drawn with braille dots, two by four in a cell.
//! Must not know: what the curves mean, axes, terminals.
//! Invariant: nothing is drawn outside the raster; in a cell the layer drawn last hides those before it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// The part of the plane that a raster shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left and right edge.
    pub x: (f64, f64),
    /// Bottom and top edge.
    pub y: (f64, f64),
}

/// How a curve's dots are set, so that curves can be told apart without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Every dot.
    Solid,
    /// Some on, some off.
    Dashed,
    /// One in three.
    Dotted,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    dots: u8,
    layer: u8,
    style: Style,
}

/// A field of dots.
pub struct Raster {
    area: Rect,
    window: Window,
    cells: Vec<Cell>,
    layer: u8,
}

/// Bits of the braille block by row and column in the cell (Unicode, U+2800).
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Raster {
    /// An empty raster over `area` showing `window`.
    pub fn new(area: Rect, window: Window) -> Self {
        Self { area, window, cells: vec![Cell::default(); area.area() as usize], layer: 0 }
    }

    /// Draws a curve through `points` as a new layer, broken where there is none.
    pub fn line(&mut self, points: impl Iterator<Item = Option<(f64, f64)>>, style: Style, dash: Dash) {
        self.layer += 1;
        let mut before = None;
        for point in points {
            let Some((x, y)) = point else {
                before = None;
                continue;
            };
            let here = (self.across(x), self.down(y));
            let from = before.unwrap_or(here);
            self.segment(from, here, style, dash);
            before = Some(here);
        }
    }

    /// Draws upright bars from `low` to `high` as a new layer; neighbours that share a column of dots are one.
    pub fn bars(&mut self, bars: impl Iterator<Item = (f64, f64, f64)>, style: Style) {
        self.layer += 1;
        let mut open: Option<(i64, i64, i64)> = None;
        for (x, low, high) in bars {
            let (x, top, bottom) = (self.across(x), self.down(high), self.down(low));
            match &mut open {
                Some((at, least, most)) if *at == x => {
                    (*least, *most) = ((*least).min(top), (*most).max(bottom))
                }
                _ => {
                    self.bar(open.take(), style);
                    open = Some((x, top, bottom));
                }
            }
        }
        self.bar(open, style);
    }

    fn bar(&mut self, bar: Option<(i64, i64, i64)>, style: Style) {
        if let Some((x, top, bottom)) = bar {
            self.segment((x, top), (x, bottom), style, Dash::Solid);
        }
    }

    /// Writes the dots into `buffer`; cells without any are left as they are.
    pub fn render(&self, buffer: &mut Buffer) {
        for (index, cell) in self.cells.iter().enumerate().filter(|(_, cell)| cell.dots != 0) {
            let width = usize::from(self.area.width);
            let at = (self.area.x + (index % width) as u16, self.area.y + (index / width) as u16);
            if let (Some(target), Some(c)) =
                (buffer.cell_mut(at), char::from_u32(0x2800 + u32::from(cell.dots)))
            {
                target.set_char(c).set_style(cell.style);
            }
        }
    }

    /// The cell in which the point lies, if it is in the window.
    pub fn cell_of(&self, x: f64, y: f64) -> Option<(u16, u16)> {
        let (dx, dy) = (self.across(x), self.down(y));
        let inside = (0..i64::from(self.area.width) * 2).contains(&dx)
            && (0..i64::from(self.area.height) * 4).contains(&dy);
        inside.then(|| (self.area.x + (dx / 2) as u16, self.area.y + (dy / 4) as u16))
    }

    fn across(&self, x: f64) -> i64 {
        scale(x, self.window.x, i64::from(self.area.width) * 2 - 1)
    }

    fn down(&self, y: f64) -> i64 {
        let dots = i64::from(self.area.height) * 4 - 1;
        dots - scale(y, self.window.y, dots)
    }

    /// Bresenham's line.
    fn segment(&mut self, from: (i64, i64), to: (i64, i64), style: Style, dash: Dash) {
        let (dx, dy) = ((to.0 - from.0).abs(), -(to.1 - from.1).abs());
        let (sx, sy) = ((to.0 - from.0).signum(), (to.1 - from.1).signum());
        let (mut at, mut error) = (from, dx + dy);
        loop {
            self.dot(at, style, dash);
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

    fn dot(&mut self, (x, y): (i64, i64), style: Style, dash: Dash) {
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
            *cell = Cell { dots: 0, layer: self.layer, style };
        }
        cell.dots |= BITS[(y % 4) as usize][(x % 2) as usize];
    }
}

/// `value` from `range` to 0..=`most`, a little beyond at either side at the utmost, so that lines stay short.
fn scale(value: f64, range: (f64, f64), most: i64) -> i64 {
    let span = range.1 - range.0;
    let share = if span > 0.0 { (value - range.0) / span } else { 0.5 };
    (share.clamp(-0.5, 1.5) * most as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(dash: Dash, points: &[(f64, f64)]) -> String {
        let area = Rect::new(0, 0, 4, 1);
        let window = Window { x: (0.0, 7.0), y: (0.0, 3.0) };
        let mut raster = Raster::new(area, window);
        raster.line(points.iter().copied().map(Some), Style::new(), dash);
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
        let mut raster = Raster::new(area, Window { x: (0.0, 7.0), y: (0.0, 3.0) });
        raster.line([Some((0.0, 0.0)), None, Some((7.0, 0.0))].into_iter(), Style::new(), Dash::Solid);
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
    fn an_empty_raster_and_an_empty_window_are_drawn_as_nothing() {
        let window = Window { x: (1.0, 1.0), y: (2.0, 2.0) };
        let mut raster = Raster::new(Rect::ZERO, window);
        raster.bars([(1.0, 2.0, 2.0)].into_iter(), Style::new());
        raster.render(&mut Buffer::empty(Rect::new(0, 0, 1, 1)));
        assert_eq!(raster.cell_of(1.0, 2.0), None);
    }
}
