//! Owns: the characters that are drawn and not written: braille, box drawing, blocks; the size of a cell.
//! Must not know: colours, where a cell stands, SVG.
//! Invariant: shapes of neighbouring cells meet at the border between them, and no shape leaves its cell.

use super::path::{Mark, Point};

/// Width of a cell, in tenths; twice as high, so that braille dots are evenly spaced both ways.
pub const WIDTH: i32 = 80;
/// Height of a cell, in tenths.
pub const HEIGHT: i32 = 160;
/// The middle of a cell.
const MID: Point = (WIDTH / 2, HEIGHT / 2);

/// How a mark is drawn, from the lowest layer to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paint {
    /// Filled, behind everything.
    Paper,
    /// Filled with a quarter, a half, three quarters of the ink.
    Quarter,
    /// See `Quarter`.
    Half,
    /// See `Quarter`.
    Most,
    /// Filled with ink.
    Full,
    /// A thin line.
    Light,
    /// A thick line.
    Heavy,
    /// Round dots.
    Dots,
}

/// The arms of the box-drawing characters from U+2500, a digit each for left, right, up, down: 0 none, 1 light, 2
/// heavy. Characters without any are dashed, double, rounded or slanted, and are not drawn from this table.
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

/// The quadrants that U+2596 and those after it fill, a bit each: upper left, upper right, lower left, lower right.
const QUADRANTS: [u8; 10] = [0b0010, 0b0001, 0b1000, 0b1011, 0b1001, 0b1110, 0b1101, 0b0100, 0b0110, 0b0111];

/// The marks of `c` in a cell at the origin; nothing if it is to be written.
pub fn shape(c: char) -> Option<Vec<(Paint, Mark)>> {
    let marks = match c {
        '\u{2500}'..='\u{257f}' => lines(c),
        '\u{2580}'..='\u{259f}' => block(c),
        '\u{2800}'..='\u{28ff}' => return Some(braille(u32::from(c) - 0x2800)),
        _ => return None,
    };
    (!marks.is_empty()).then_some(marks)
}

/// The bits of the braille block: three rows of two columns, then the fourth row.
fn braille(bits: u32) -> Vec<(Paint, Mark)> {
    const PLACES: [Point; 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    let pitch = (WIDTH / 2, HEIGHT / 4);
    let dot = |(x, y): Point| Mark::Dot((pitch.0 * x + pitch.0 / 2, pitch.1 * y + pitch.1 / 2));
    let places = PLACES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    places.map(|(_, place)| (Paint::Dots, dot(*place))).collect()
}

fn lines(c: char) -> Vec<(Paint, Mark)> {
    let light = |marks: &[Mark]| marks.iter().map(|mark| (Paint::Light, *mark)).collect();
    match c {
        '┄' | '┅' | '╌' | '╍' | '┈' | '┉' | '┆' | '┇' | '╎' | '╏' | '┊' | '┋' => {
            dashes(c)
        }
        '╭' => light(&rounded(WIDTH, HEIGHT)),
        '╮' => light(&rounded(0, HEIGHT)),
        '╯' => light(&rounded(0, 0)),
        '╰' => light(&rounded(WIDTH, 0)),
        '╱' => light(&[slant(true)]),
        '╲' => light(&[slant(false)]),
        '╳' => light(&[slant(true), slant(false)]),
        _ => {
            let arms = ARMS.get((u32::from(c) - 0x2500) as usize).copied().unwrap_or(0);
            arms_of(arms, 1, Paint::Light).chain(arms_of(arms, 2, Paint::Heavy)).collect()
        }
    }
}

/// The arms of one weight: one line through the middle, a corner joined there, or a crossing.
fn arms_of(arms: u16, weight: u16, paint: Paint) -> impl Iterator<Item = (Paint, Mark)> {
    let [left, right, up, down] = [12, 8, 4, 0].map(|digit| arms >> digit & 0xf == weight);
    let across = (if left { 0 } else { MID.0 }, if right { WIDTH } else { MID.0 });
    let along = (if up { 0 } else { MID.1 }, if down { HEIGHT } else { MID.1 });
    let across = Mark::Line((across.0, MID.1), (across.1, MID.1));
    // A corner to the right begins with its upright arm, one to the left ends with it: so the pen goes on.
    let upright = if right && up != down {
        Mark::Line((MID.0, if up { along.0 } else { along.1 }), MID)
    } else if up != down {
        Mark::Line(MID, (MID.0, if up { along.0 } else { along.1 }))
    } else {
        Mark::Line((MID.0, along.0), (MID.0, along.1))
    };
    let (level, upright) = ((left || right).then_some(across), (up || down).then_some(upright));
    let order = if right { [upright, level] } else { [level, upright] };
    order.into_iter().flatten().map(move |mark| (paint, mark))
}

/// A quarter of a circle between the side at `x` and the end at `y`, and what is left of the way there.
fn rounded(x: i32, y: i32) -> [Mark; 2] {
    let radius = MID.0;
    let end = (MID.0, if y > MID.1 { MID.1 + radius } else { MID.1 - radius });
    let clockwise = (MID.0 - x > 0) == (y > MID.1);
    [Mark::Arc((x, MID.1), end, clockwise), Mark::Line(end, (MID.0, y))]
}

fn slant(rising: bool) -> Mark {
    let (from, to) = if rising { (HEIGHT, 0) } else { (0, HEIGHT) };
    Mark::Line((0, from), (WIDTH, to))
}

/// Two, three or four dashes in a cell, with half a gap at either end.
fn dashes(c: char) -> Vec<(Paint, Mark)> {
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
        if upright { Mark::Line((MID.0, from), (MID.0, to)) } else { Mark::Line((from, MID.1), (to, MID.1)) }
    };
    let paint = if heavy { Paint::Heavy } else { Paint::Light };
    (0..count).map(|index| (paint, dash(index))).collect()
}

/// Blocks that grow from an edge by eighths, shades, quadrants.
fn block(c: char) -> Vec<(Paint, Mark)> {
    let code = u32::from(c) as i32;
    let (across, up) = (WIDTH / 8, HEIGHT / 8);
    let full = |corner, size| vec![(Paint::Full, Mark::Rect(corner, size))];
    let shade = |paint| vec![(paint, Mark::Rect((0, 0), (WIDTH, HEIGHT)))];
    match c {
        '▀' => full((0, 0), (WIDTH, HEIGHT / 2)),
        '▁'..='█' => full((0, HEIGHT - up * (code - 0x2580)), (WIDTH, up * (code - 0x2580))),
        '▉'..='▏' => full((0, 0), (across * (0x2590 - code), HEIGHT)),
        '▐' => full((WIDTH / 2, 0), (WIDTH / 2, HEIGHT)),
        '░' => shade(Paint::Quarter),
        '▒' => shade(Paint::Half),
        '▓' => shade(Paint::Most),
        '▔' => full((0, 0), (WIDTH, up)),
        '▕' => full((WIDTH - across, 0), (across, HEIGHT)),
        _ => quadrants(QUADRANTS.get((code - 0x2596) as usize).copied().unwrap_or(0)),
    }
}

fn quadrants(filled: u8) -> Vec<(Paint, Mark)> {
    let corners = [(0b1000, (0, 0)), (0b0100, (MID.0, 0)), (0b0010, (0, MID.1)), (0b0001, MID)];
    let corners = corners.into_iter().filter(|(bit, _)| filled & bit != 0);
    corners.map(|(_, corner)| (Paint::Full, Mark::Rect(corner, MID))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::path::data;
    use super::*;

    fn drawn(c: char) -> Vec<(Paint, String)> {
        let mut out: Vec<(Paint, Vec<Mark>)> = Vec::new();
        for (paint, mark) in shape(c).unwrap() {
            match out.last_mut().filter(|(last, _)| *last == paint) {
                Some((_, marks)) => marks.push(mark),
                None => out.push((paint, vec![mark])),
            }
        }
        out.into_iter().map(|(paint, marks)| (paint, data(&marks))).collect()
    }

    fn light(c: char) -> String {
        match drawn(c).as_slice() {
            [(Paint::Light, path)] => path.clone(),
            other => panic!("{c}: {other:?}"),
        }
    }

    #[test]
    fn frames_are_lines_joined_at_the_middle() {
        let paths = ['─', '│', '┌', '┐', '└', '┘', '├', '┤', '┼'].map(light);
        let said = [
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
        assert_eq!(paths, said);
        assert_eq!(light('╭'), "m8 8a4 4 0 0 0 -4 4v4");
        assert_eq!(light('╮'), "m0 8a4 4 0 0 1 4 4v4");
        assert_eq!(light('╯'), "m0 8a4 4 0 0 0 4-4v-4");
        assert_eq!(light('╰'), "m8 8a4 4 0 0 1 -4-4v-4");
        assert_eq!(drawn('━'), [(Paint::Heavy, "m0 8h8".into())]);
        assert_eq!(drawn('┿'), [(Paint::Light, "m4 0v16".into()), (Paint::Heavy, "m0 8h8".into())]);
        assert_eq!(light('┈'), "m.4 8h1.2m.8 0h1.2m.8 0h1.2m.8 0h1.2");
    }

    #[test]
    fn dots_and_blocks_lie_where_they_should() {
        assert_eq!(drawn('⡁'), [(Paint::Dots, "m2 2h0m0 12h0".into())]);
        assert_eq!(drawn('⢈'), [(Paint::Dots, "m6 2h0m0 12h0".into())]);
        assert_eq!(shape('\u{2800}'), Some(vec![]), "blank, and not to be written");
        let rect = |corner, size| Some(vec![(Paint::Full, Mark::Rect(corner, size))]);
        assert_eq!(shape('█'), rect((0, 0), (WIDTH, HEIGHT)));
        assert_eq!(shape('▂'), rect((0, 120), (WIDTH, 40)));
        assert_eq!(shape('▏'), rect((0, 0), (10, HEIGHT)));
        assert_eq!(shape('▚').unwrap().len(), 2);
        assert_eq!((shape('═'), shape('a'), shape('◆')), (None, None, None));
    }

    #[test]
    fn no_shape_leaves_its_cell() {
        let inside = |(x, y): Point| (0..=WIDTH).contains(&x) && (0..=HEIGHT).contains(&y);
        for c in '\u{2500}'..='\u{28ff}' {
            for (_, mark) in shape(c).unwrap_or_default() {
                let (a, b) = match mark {
                    Mark::Dot(at) => (at, at),
                    Mark::Line(from, to) | Mark::Arc(from, to, _) => (from, to),
                    Mark::Rect(corner, size) => (corner, (corner.0 + size.0, corner.1 + size.1)),
                };
                assert!(inside(a) && inside(b), "{c}: {mark:?}");
            }
        }
    }
}
