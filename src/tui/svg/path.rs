//! Owns: the marks that a picture is drawn with, and their SVG path data.
//! Must not know: cells, characters, colours.
//! Invariant: all numbers are whole tenths and every move is relative to where the pen truly is: nothing drifts.

/// Right and down, in tenths of a unit.
pub type Point = (i32, i32);

/// One thing drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A dot around a point.
    Dot(Point),
    /// A line from point to point; joined to the mark before it if that ended here.
    Line(Point, Point),
    /// A quarter of a circle from point to point, clockwise or not.
    Arc(Point, Point, bool),
    /// A rectangle: upper left corner and size.
    Rect(Point, Point),
}

impl Mark {
    /// The same mark, elsewhere.
    pub fn moved(self, by: Point) -> Self {
        let to = |(x, y): Point| (x + by.0, y + by.1);
        match self {
            Mark::Dot(at) => Mark::Dot(to(at)),
            Mark::Line(from, end) => Mark::Line(to(from), to(end)),
            Mark::Arc(from, end, clockwise) => Mark::Arc(to(from), to(end), clockwise),
            Mark::Rect(corner, size) => Mark::Rect(to(corner), size),
        }
    }

    /// This mark and the next as one, where they are neighbours in a row.
    fn with(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Mark::Line(from, via), Mark::Line(start, end)) => {
                let level = from.1 == via.1 && via.1 == end.1;
                let onward = from.0 < via.0 && via.0 < end.0;
                (via == start && level && onward).then_some(Mark::Line(from, end))
            }
            (Mark::Rect(corner, size), Mark::Rect(other, more)) => {
                let beside = other == (corner.0 + size.0, corner.1) && size.1 == more.1;
                beside.then_some(Mark::Rect(corner, (size.0 + more.0, size.1)))
            }
            _ => None,
        }
    }
}

/// Adds `mark` to `marks`, merged with the last one if they are neighbours in a row.
pub fn add(marks: &mut Vec<Mark>, mark: Mark) {
    match marks.last_mut() {
        Some(last) if let Some(both) = last.with(mark) => *last = both,
        _ => marks.push(mark),
    }
}

/// The path data of `marks`.
pub fn data(marks: &[Mark]) -> String {
    let mut pen = Pen { out: String::new(), at: None };
    for mark in marks {
        pen.mark(*mark);
    }
    pen.out
}

struct Pen {
    out: String,
    at: Option<Point>,
}

impl Pen {
    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Dot(at) => {
                // A line of no length has round ends, which are a dot.
                self.go(at);
                self.out.push_str("h0");
            }
            Mark::Line(from, end) => {
                self.go(from);
                self.line(from, end);
            }
            Mark::Arc(from, end, clockwise) => {
                self.go(from);
                let radius = number((end.0 - from.0).abs());
                self.out.push_str(&format!("a{radius} {radius} 0 0 {}", u8::from(clockwise)));
                self.pair(" ", (end.0 - from.0, end.1 - from.1));
                self.at = Some(end);
            }
            Mark::Rect(corner, (width, height)) => {
                self.go(corner);
                let (w, h, back) = (number(width), number(height), number(-width));
                self.out.push_str(&format!("h{w}v{h}h{back}z"));
            }
        }
    }

    /// Moves to `to` without drawing, if the pen is not there.
    fn go(&mut self, to: Point) {
        if self.at == Some(to) {
            return;
        }
        let (x, y) = self.at.unwrap_or_default();
        self.pair("m", (to.0 - x, to.1 - y));
        self.at = Some(to);
    }

    fn line(&mut self, from: Point, end: Point) {
        match (end.0 - from.0, end.1 - from.1) {
            (dx, 0) => self.out.push_str(&format!("h{}", number(dx))),
            (0, dy) => self.out.push_str(&format!("v{}", number(dy))),
            both => self.pair("l", both),
        }
        self.at = Some(end);
    }

    /// Two numbers after `verb`; a minus parts them as well as a space does.
    fn pair(&mut self, verb: &str, (x, y): Point) {
        let space = if y < 0 { "" } else { " " };
        self.out.push_str(&format!("{verb}{}{space}{}", number(x), number(y)));
    }
}

/// Tenths as a decimal number, as short as it can be said.
fn number(tenths: i32) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    match (tenths.abs() / 10, tenths.abs() % 10) {
        (whole, 0) => format!("{sign}{whole}"),
        (0, part) => format!("{sign}.{part}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(marks: &[Mark]) -> Vec<Mark> {
        let mut out = Vec::new();
        for mark in marks {
            add(&mut out, *mark);
        }
        out
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 5, -5, 10, -123, 400].map(number), ["0", ".5", "-.5", "1", "-12.3", "40"]);
    }

    #[test]
    fn neighbours_in_a_row_become_one() {
        let line = |from, to| Mark::Line((from, 80), (to, 80));
        assert_eq!(merged(&[line(0, 80), line(80, 160), line(240, 320)]), [line(0, 160), line(240, 320)]);
        let rect = |x, height| Mark::Rect((x, 0), (80, height));
        let wide = Mark::Rect((0, 0), (160, 160));
        assert_eq!(merged(&[rect(0, 160), rect(80, 160), rect(160, 80)]), [wide, rect(160, 80)]);
        assert_eq!(merged(&[Mark::Line((0, 0), (0, 80)), Mark::Line((0, 80), (0, 160))]).len(), 2);
    }

    #[test]
    fn the_pen_moves_only_where_it_must() {
        let corner = [Mark::Line((40, 160), (40, 80)), Mark::Line((40, 80), (80, 80))];
        assert_eq!(data(&corner), "m4 16v-8h4");
        assert_eq!(data(&[Mark::Dot((0, 0)), Mark::Dot((40, 0)), Mark::Dot((0, 40))]), "m0 0h0m4 0h0m-4 4h0");
        assert_eq!(data(&[Mark::Arc((80, 80), (40, 120), false)]), "m8 8a4 4 0 0 0 -4 4");
        let rects = [Mark::Rect((0, 0), (80, 160)), Mark::Rect((5, 160), (10, 10))];
        assert_eq!(data(&rects), "m0 0h8v16h-8zm.5 16h1v1h-1z");
    }
}
