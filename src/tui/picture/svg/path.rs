//! Owns: the primitives that a picture is drawn with, and their SVG path data.
//! Must not know: cells, characters, colours.
//! Invariant: all numbers are whole tenths and every move is relative to the exact pen position, so errors do
//! not add up.

/// A point or a size `(right, down)`, in tenths of an SVG unit.
pub type Point = (i32, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// A dot around a point.
    Dot(Point),
    /// A line from point to point, joined to the previous primitive if that ended at its start.
    Line(Point, Point),
    /// A quarter of a circle from point to point; `true` is clockwise.
    Arc(Point, Point, bool),
    Rect(Point, Point),
}

impl Primitive {
    pub fn translated(self, by: Point) -> Self {
        let to = |(x, y): Point| (x + by.0, y + by.1);
        match self {
            Primitive::Dot(at) => Primitive::Dot(to(at)),
            Primitive::Line(from, end) => Primitive::Line(to(from), to(end)),
            Primitive::Arc(from, end, clockwise) => Primitive::Arc(to(from), to(end), clockwise),
            Primitive::Rect(corner, size) => Primitive::Rect(to(corner), size),
        }
    }

    /// Merges this primitive and the next if they are horizontal neighbours.
    fn merged_with(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Primitive::Line(from, via), Primitive::Line(start, end)) => {
                let level = from.1 == via.1 && via.1 == end.1;
                let onward = from.0 < via.0 && via.0 < end.0;
                (via == start && level && onward).then_some(Primitive::Line(from, end))
            }
            (Primitive::Rect(corner, size), Primitive::Rect(other, more)) => {
                let adjacent = other == (corner.0 + size.0, corner.1) && size.1 == more.1;
                adjacent.then_some(Primitive::Rect(corner, (size.0 + more.0, size.1)))
            }
            _ => None,
        }
    }
}

/// Appends `mark`, merged with the last primitive if they are horizontal neighbours.
pub fn push_merged(marks: &mut Vec<Primitive>, mark: Primitive) {
    match marks.last_mut() {
        Some(last) if let Some(both) = last.merged_with(mark) => *last = both,
        _ => marks.push(mark),
    }
}

/// Returns the SVG path data of `marks`.
pub fn path_data(marks: &[Primitive]) -> String {
    let mut pen = Pen { out: String::new(), at: None };
    for mark in marks {
        pen.draw(*mark);
    }
    pen.out
}

/// Writes path data; `at` is the current point.
struct Pen {
    out: String,
    at: Option<Point>,
}

impl Pen {
    fn draw(&mut self, mark: Primitive) {
        match mark {
            Primitive::Dot(at) => {
                // A line of length zero with round ends is a dot.
                self.move_to(at);
                self.out.push_str("h0");
            }
            Primitive::Line(from, end) => {
                self.move_to(from);
                self.line_to(from, end);
            }
            Primitive::Arc(from, end, clockwise) => {
                self.move_to(from);
                let radius = format_tenths((end.0 - from.0).abs());
                self.out.push_str(&format!("a{radius} {radius} 0 0 {}", u8::from(clockwise)));
                self.push_pair(" ", (end.0 - from.0, end.1 - from.1));
                self.at = Some(end);
            }
            Primitive::Rect(corner, (width, height)) => {
                self.move_to(corner);
                let (w, h, left) = (format_tenths(width), format_tenths(height), format_tenths(-width));
                self.out.push_str(&format!("h{w}v{h}h{left}z"));
            }
        }
    }

    /// Moves to `to` without drawing, unless the pen is there already.
    fn move_to(&mut self, to: Point) {
        if self.at == Some(to) {
            return;
        }
        let (x, y) = self.at.unwrap_or_default();
        self.push_pair("m", (to.0 - x, to.1 - y));
        self.at = Some(to);
    }

    fn line_to(&mut self, from: Point, end: Point) {
        match (end.0 - from.0, end.1 - from.1) {
            (dx, 0) => self.out.push_str(&format!("h{}", format_tenths(dx))),
            (0, dy) => self.out.push_str(&format!("v{}", format_tenths(dy))),
            both => self.push_pair("l", both),
        }
        self.at = Some(end);
    }

    /// Writes `verb` and two numbers; a minus sign separates them as well as a space does.
    fn push_pair(&mut self, verb: &str, (x, y): Point) {
        let space = if y < 0 { "" } else { " " };
        self.out.push_str(&format!("{verb}{}{space}{}", format_tenths(x), format_tenths(y)));
    }
}

/// Formats tenths as the shortest decimal number.
fn format_tenths(tenths: i32) -> String {
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

    fn merged(marks: &[Primitive]) -> Vec<Primitive> {
        let mut out = Vec::new();
        for mark in marks {
            push_merged(&mut out, *mark);
        }
        out
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 5, -5, 10, -123, 400].map(format_tenths), ["0", ".5", "-.5", "1", "-12.3", "40"]);
    }

    #[test]
    fn neighbours_in_a_row_become_one() {
        let line = |from, to| Primitive::Line((from, 80), (to, 80));
        assert_eq!(merged(&[line(0, 80), line(80, 160), line(240, 320)]), [line(0, 160), line(240, 320)]);
        let rect = |x, height| Primitive::Rect((x, 0), (80, height));
        let wide = Primitive::Rect((0, 0), (160, 160));
        assert_eq!(merged(&[rect(0, 160), rect(80, 160), rect(160, 80)]), [wide, rect(160, 80)]);
        assert_eq!(merged(&[Primitive::Line((0, 0), (0, 80)), Primitive::Line((0, 80), (0, 160))]).len(), 2);
    }

    #[test]
    fn the_pen_moves_only_where_it_must() {
        let corner = [Primitive::Line((40, 160), (40, 80)), Primitive::Line((40, 80), (80, 80))];
        assert_eq!(path_data(&corner), "m4 16v-8h4");
        assert_eq!(
            path_data(&[Primitive::Dot((0, 0)), Primitive::Dot((40, 0)), Primitive::Dot((0, 40))]),
            "m0 0h0m4 0h0m-4 4h0"
        );
        assert_eq!(path_data(&[Primitive::Arc((80, 80), (40, 120), false)]), "m8 8a4 4 0 0 0 -4 4");
        let rects = [Primitive::Rect((0, 0), (80, 160)), Primitive::Rect((5, 160), (10, 10))];
        assert_eq!(path_data(&rects), "m0 0h8v16h-8zm.5 16h1v1h-1z");
    }
}
