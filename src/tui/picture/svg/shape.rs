//! Owns: the shapes of characters that are drawn instead of written: braille, box drawing, blocks; the size
//! of a cell.
//! Must not know: colours, positions on the screen, SVG.
//! Invariant: shapes of neighbouring cells meet at their common border, and no shape leaves its cell.

use super::path::{Point, Primitive};

/// The width of a cell in tenths of a unit: half the height, so that braille dots are evenly spaced.
pub const WIDTH: i32 = 80;
/// The height of a cell, in tenths of a unit.
pub const HEIGHT: i32 = 160;
const CENTER: Point = (WIDTH / 2, HEIGHT / 2);

/// How a primitive is drawn; also its layer, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrawStyle {
    /// The background of a cell, filled, behind everything.
    Background,
    Quarter,
    Half,
    ThreeQuarters,
    Full,
    Light,
    Heavy,
    Dots,
}

/// The arms of the box-drawing characters from U+2500, one hexadecimal digit each for left, right, up and
/// down: 0 none, 1 light, 2 heavy. Entries of 0 are dashed, double, rounded or diagonal characters, which
/// this table does not draw.
const ARMS: [u16; 128] = [
    0x1100, 0x2200, 0x0011, 0x0022, 0x0000, 0x0000, 0x0000, 0x0000, // ─━│┃┄┅┆┇
    0x0000, 0x0000, 0x0000, 0x0000, 0x0101, 0x0201, 0x0102, 0x0202, // ┈┉┊┋┌┍┎┏
    0x1001, 0x2001, 0x1002, 0x2002, 0x0110, 0x0210, 0x0120, 0x0220, // ┐┑┒┓└┕┖┗
    0x1010, 0x2010, 0x1020, 0x2020, 0x0111, 0x0211, 0x0121, 0x0112, // ┘┙┚┛├┝┞┟
    0x0122, 0x0221, 0x0212, 0x0222, 0x1011, 0x2011, 0x1021, 0x1012, // ┠┡┢┣┤┥┦┧
    0x1022, 0x2021, 0x2012, 0x2022, 0x1101, 0x2101, 0x1201, 0x2201, // ┨┩┪┫┬┭┮┯
    0x1102, 0x2102, 0x1202, 0x2202, 0x1110, 0x2110, 0x1210, 0x2210, // ┰┱┲┳┴┵┶┷
    0x1120, 0x2120, 0x1220, 0x2220, 0x1111, 0x2111, 0x1211, 0x2211, // ┸┹┺┻┼┽┾┿
    0x1121, 0x1112, 0x1122, 0x2121, 0x1221, 0x2112, 0x1212, 0x2221, // ╀╁╂╃╄╅╆╇
    0x2212, 0x2122, 0x1222, 0x2222, 0x0000, 0x0000, 0x0000, 0x0000, // ╈╉╊╋╌╍╎╏
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, // ═║╒╓╔╕╖╗
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, // ╘╙╚╛╜╝╞╟
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, // ╠╡╢╣╤╥╦╧
    0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, 0x0000, // ╨╩╪╫╬╭╮╯
    0x0000, 0x0000, 0x0000, 0x0000, 0x1000, 0x0010, 0x0100, 0x0001, // ╰╱╲╳╴╵╶╷
    0x2000, 0x0020, 0x0200, 0x0002, 0x1200, 0x0012, 0x2100, 0x0021, // ╸╹╺╻╼╽╾╿
];

/// The quadrants of U+2596 and the next, one bit each: upper left, upper right, lower left, lower right.
const QUADRANTS: [u8; 10] = [0b0010, 0b0001, 0b1000, 0b1011, 0b1001, 0b1110, 0b1101, 0b0100, 0b0110, 0b0111];

/// Returns the primitives of `c` in a cell at the origin, or `None` if `c` is written as text.
pub fn shape_of(c: char) -> Option<Vec<(DrawStyle, Primitive)>> {
    let marks = match c {
        '\u{2500}'..='\u{257f}' => box_drawing(c),
        '\u{2580}'..='\u{259f}' => block(c),
        '\u{2800}'..='\u{28ff}' => return Some(braille(u32::from(c) - 0x2800)),
        _ => return None,
    };
    (!marks.is_empty()).then_some(marks)
}

/// Returns the dots of a braille character: bits are three rows left, three rows right, the fourth row.
fn braille(bits: u32) -> Vec<(DrawStyle, Primitive)> {
    const DOTS: [Point; 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    let pitch = (WIDTH / 2, HEIGHT / 4);
    let dot = |(x, y): Point| Primitive::Dot((pitch.0 * x + pitch.0 / 2, pitch.1 * y + pitch.1 / 2));
    let dots = DOTS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    dots.map(|(_, place)| (DrawStyle::Dots, dot(*place))).collect()
}

fn box_drawing(c: char) -> Vec<(DrawStyle, Primitive)> {
    let light = |marks: &[Primitive]| marks.iter().map(|mark| (DrawStyle::Light, *mark)).collect();
    match c {
        '┄' | '┅' | '╌' | '╍' | '┈' | '┉' | '┆' | '┇' | '╎' | '╏' | '┊' | '┋' => dashes(c),
        '╭' => light(&rounded_corner(WIDTH, HEIGHT)),
        '╮' => light(&rounded_corner(0, HEIGHT)),
        '╯' => light(&rounded_corner(0, 0)),
        '╰' => light(&rounded_corner(WIDTH, 0)),
        '╱' => light(&[RISING]),
        '╲' => light(&[FALLING]),
        '╳' => light(&[RISING, FALLING]),
        _ => {
            let arms = ARMS.get((u32::from(c) - 0x2500) as usize).copied().unwrap_or(0);
            arm_lines(arms, 1, DrawStyle::Light).chain(arm_lines(arms, 2, DrawStyle::Heavy)).collect()
        }
    }
}

/// Returns the lines of the arms of one weight: straight, a corner joined in the middle, or a crossing.
fn arm_lines(arms: u16, weight: u16, paint: DrawStyle) -> impl Iterator<Item = (DrawStyle, Primitive)> {
    let [left, right, up, down] = [12, 8, 4, 0].map(|digit| arms >> digit & 0xf == weight);
    let across = (if left { 0 } else { CENTER.0 }, if right { WIDTH } else { CENTER.0 });
    let along = (if up { 0 } else { CENTER.1 }, if down { HEIGHT } else { CENTER.1 });
    let across = Primitive::Line((across.0, CENTER.1), (across.1, CENTER.1));
    // A corner to the right starts with its vertical arm, one to the left ends with it: one stroke.
    let upright = if right && up != down {
        Primitive::Line((CENTER.0, if up { along.0 } else { along.1 }), CENTER)
    } else if up != down {
        Primitive::Line(CENTER, (CENTER.0, if up { along.0 } else { along.1 }))
    } else {
        Primitive::Line((CENTER.0, along.0), (CENTER.0, along.1))
    };
    let (level, upright) = ((left || right).then_some(across), (up || down).then_some(upright));
    let order = if right { [upright, level] } else { [level, upright] };
    order.into_iter().flatten().map(move |mark| (paint, mark))
}

/// Returns a quarter circle from the side at `x`, and the line from its end to the edge at `y`.
fn rounded_corner(x: i32, y: i32) -> [Primitive; 2] {
    let radius = CENTER.0;
    let end = (CENTER.0, if y > CENTER.1 { CENTER.1 + radius } else { CENTER.1 - radius });
    let clockwise = (CENTER.0 - x > 0) == (y > CENTER.1);
    [Primitive::Arc((x, CENTER.1), end, clockwise), Primitive::Line(end, (CENTER.0, y))]
}

const RISING: Primitive = Primitive::Line((0, HEIGHT), (WIDTH, 0));
const FALLING: Primitive = Primitive::Line((0, 0), (WIDTH, HEIGHT));

/// Returns the two, three or four dashes of a cell, with half a gap at either end.
fn dashes(c: char) -> Vec<(DrawStyle, Primitive)> {
    let count = match c {
        '╌' | '╍' | '╎' | '╏' => 2,
        '┄' | '┅' | '┆' | '┇' => 3,
        _ => 4,
    };
    let upright = matches!(c, '╎' | '╏' | '┆' | '┇' | '┊' | '┋');
    let heavy = matches!(c, '╍' | '╏' | '┅' | '┇' | '┉' | '┋');
    let length = if upright { HEIGHT } else { WIDTH };
    let dash = |index: i32| {
        let (start, gap) = (length * index / count, length * 2 / (count * 5));
        let (from, to) = (start + gap / 2, start + length / count - gap / 2);
        if upright {
            Primitive::Line((CENTER.0, from), (CENTER.0, to))
        } else {
            Primitive::Line((from, CENTER.1), (to, CENTER.1))
        }
    };
    let paint = if heavy { DrawStyle::Heavy } else { DrawStyle::Light };
    (0..count).map(|index| (paint, dash(index))).collect()
}

/// Returns the rectangles of a block element: eighths from an edge, shades, quadrants.
fn block(c: char) -> Vec<(DrawStyle, Primitive)> {
    let code = u32::from(c) as i32;
    let (across, up) = (WIDTH / 8, HEIGHT / 8);
    let full = |corner, size| vec![(DrawStyle::Full, Primitive::Rect(corner, size))];
    let shade = |paint| vec![(paint, Primitive::Rect((0, 0), (WIDTH, HEIGHT)))];
    match c {
        '▀' => full((0, 0), (WIDTH, HEIGHT / 2)),
        '▁'..='█' => full((0, HEIGHT - up * (code - 0x2580)), (WIDTH, up * (code - 0x2580))),
        '▉'..='▏' => full((0, 0), (across * (0x2590 - code), HEIGHT)),
        '▐' => full((WIDTH / 2, 0), (WIDTH / 2, HEIGHT)),
        '░' => shade(DrawStyle::Quarter),
        '▒' => shade(DrawStyle::Half),
        '▓' => shade(DrawStyle::ThreeQuarters),
        '▔' => full((0, 0), (WIDTH, up)),
        '▕' => full((WIDTH - across, 0), (across, HEIGHT)),
        _ => quadrants(QUADRANTS.get((code - 0x2596) as usize).copied().unwrap_or(0)),
    }
}

fn quadrants(filled: u8) -> Vec<(DrawStyle, Primitive)> {
    let corners = [(0b1000, (0, 0)), (0b0100, (CENTER.0, 0)), (0b0010, (0, CENTER.1)), (0b0001, CENTER)];
    let corners = corners.into_iter().filter(|(bit, _)| filled & bit != 0);
    corners.map(|(_, corner)| (DrawStyle::Full, Primitive::Rect(corner, CENTER))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::picture::svg::path::path_data;

    fn paths_of(c: char) -> Vec<(DrawStyle, String)> {
        let mut out: Vec<(DrawStyle, Vec<Primitive>)> = Vec::new();
        for (paint, mark) in shape_of(c).unwrap() {
            match out.last_mut().filter(|(last, _)| *last == paint) {
                Some((_, marks)) => marks.push(mark),
                None => out.push((paint, vec![mark])),
            }
        }
        out.into_iter().map(|(paint, marks)| (paint, path_data(&marks))).collect()
    }

    fn light_path(c: char) -> String {
        match paths_of(c).as_slice() {
            [(DrawStyle::Light, path)] => path.clone(),
            other => panic!("{c}: {other:?}"),
        }
    }

    #[test]
    fn frames_are_lines_joined_at_the_middle() {
        let paths = ['─', '│', '┌', '┐', '└', '┘', '├', '┤', '┼'].map(light_path);
        let expected = [
            "m0 8h8",
            "m4 0v16",
            "m4 16v-8h4",
            "m0 8h4v8",
            "m4 0v8h4",
            "m0 8h4v-8",
            "m4 0v16m0-8h4",
            "m0 8h4m0-8v16",
            "m4 0v16m-4-8h8",
        ];
        assert_eq!(paths, expected);
        assert_eq!(light_path('╭'), "m8 8a4 4 0 0 0 -4 4v4");
        assert_eq!(light_path('╮'), "m0 8a4 4 0 0 1 4 4v4");
        assert_eq!(light_path('╯'), "m0 8a4 4 0 0 0 4-4v-4");
        assert_eq!(light_path('╰'), "m8 8a4 4 0 0 1 -4-4v-4");
        assert_eq!(paths_of('━'), [(DrawStyle::Heavy, "m0 8h8".into())]);
        assert_eq!(paths_of('┿'), [(DrawStyle::Light, "m4 0v16".into()), (DrawStyle::Heavy, "m0 8h8".into())]);
        assert_eq!(light_path('┈'), "m.4 8h1.2m.8 0h1.2m.8 0h1.2m.8 0h1.2");
    }

    #[test]
    fn dots_and_blocks_lie_where_they_should() {
        assert_eq!(paths_of('⡁'), [(DrawStyle::Dots, "m2 2h0m0 12h0".into())]);
        assert_eq!(paths_of('⢈'), [(DrawStyle::Dots, "m6 2h0m0 12h0".into())]);
        assert_eq!(shape_of('\u{2800}'), Some(vec![]), "blank, and not to be written");
        let rect = |corner, size| Some(vec![(DrawStyle::Full, Primitive::Rect(corner, size))]);
        assert_eq!(shape_of('█'), rect((0, 0), (WIDTH, HEIGHT)));
        assert_eq!(shape_of('▂'), rect((0, 120), (WIDTH, 40)));
        assert_eq!(shape_of('▏'), rect((0, 0), (10, HEIGHT)));
        assert_eq!(shape_of('▚').unwrap().len(), 2);
        assert_eq!((shape_of('═'), shape_of('a'), shape_of('◆')), (None, None, None));
    }

    #[test]
    fn no_shape_leaves_its_cell() {
        let inside = |(x, y): Point| (0..=WIDTH).contains(&x) && (0..=HEIGHT).contains(&y);
        for c in '\u{2500}'..='\u{28ff}' {
            for (_, mark) in shape_of(c).unwrap_or_default() {
                let (a, b) = match mark {
                    Primitive::Dot(at) => (at, at),
                    Primitive::Line(from, to) | Primitive::Arc(from, to, _) => (from, to),
                    Primitive::Rect(corner, size) => (corner, (corner.0 + size.0, corner.1 + size.1)),
                };
                assert!(inside(a) && inside(b), "{c}: {mark:?}");
            }
        }
    }
}
