//! Owns: the colours of a drawn picture, as light on dark.
//! Must not know: characters, SVG.
//! Invariant: what comes out is final: reversed is swapped, dim is mixed, no colour is left to the viewer.

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

/// Red, green, blue.
pub type Rgb = (u8, u8, u8);

/// The background of the picture.
pub const PAPER: Rgb = (0x16, 0x18, 0x1d);
/// Ink that has no colour of its own.
pub const INK: Rgb = (0xd4, 0xd6, 0xda);
/// What dim ink keeps of itself, in percent.
const DIM: u16 = 60;

/// The 16 colours that have names, in the order of their numbers: well apart on the dark paper.
const NAMED: [Rgb; 16] = [
    (0x00, 0x00, 0x00),
    (0xcd, 0x31, 0x31),
    (0x0d, 0xbc, 0x79),
    (0xd7, 0xc0, 0x2e),
    (0x24, 0x72, 0xc8),
    (0xbc, 0x3f, 0xbc),
    (0x11, 0xa8, 0xcd),
    (0xc8, 0xc8, 0xc8),
    (0x76, 0x76, 0x76),
    (0xf1, 0x4c, 0x4c),
    (0x23, 0xd1, 0x8b),
    (0xf5, 0xe5, 0x43),
    (0x3b, 0x8e, 0xea),
    (0xd6, 0x70, 0xd6),
    (0x29, 0xb8, 0xdb),
    (0xff, 0xff, 0xff),
];
/// The steps of a side of xterm's colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// Ink of a cell, and its paper where that is not the picture's.
pub fn inks(cell: &Cell) -> (Rgb, Option<Rgb>) {
    let (mut ink, mut paper) = (rgb(cell.fg, INK), rgb(cell.bg, PAPER));
    if cell.modifier.contains(Modifier::REVERSED) {
        (ink, paper) = (paper, ink);
    }
    if cell.modifier.contains(Modifier::DIM) {
        ink = mixed(ink, paper);
    }
    (ink, (paper != PAPER).then_some(paper))
}

/// `#rrggbb`, or `#rgb` where that says the same.
pub fn hex((r, g, b): Rgb) -> String {
    if [r, g, b].iter().all(|part| part.is_multiple_of(17)) {
        return format!("#{:x}{:x}{:x}", r / 17, g / 17, b / 17);
    }
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn rgb(color: Color, default: Rgb) -> Rgb {
    let named = match color {
        Color::Reset => return default,
        Color::Rgb(r, g, b) => return (r, g, b),
        Color::Indexed(index) => return indexed(index),
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
    };
    indexed(named)
}

/// xterm's 256 colours: the named ones, a cube of six steps a side, a ramp of greys.
fn indexed(index: u8) -> Rgb {
    match index {
        0..16 => NAMED[usize::from(index)],
        16..232 => {
            let at = usize::from(index - 16);
            (CUBE[at / 36], CUBE[at / 6 % 6], CUBE[at % 6])
        }
        232.. => {
            let grey = 8 + 10 * (index - 232);
            (grey, grey, grey)
        }
    }
}

fn mixed(ink: Rgb, paper: Rgb) -> Rgb {
    let part = |a: u8, b: u8| ((u16::from(a) * DIM + u16::from(b) * (100 - DIM)) / 100) as u8;
    (part(ink.0, paper.0), part(ink.1, paper.1), part(ink.2, paper.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    fn of(style: Style) -> (Rgb, Option<Rgb>) {
        inks(Cell::new("x").set_style(style))
    }

    #[test]
    fn colours_are_xterms() {
        assert_eq!(
            [16, 196, 231, 232, 255].map(indexed).map(hex),
            ["#000", "#f00", "#fff", "#080808", "#eee"]
        );
        assert_eq!(indexed(67), (95, 135, 175));
        assert_eq!(rgb(Color::LightRed, INK), indexed(9));
        assert_eq!(rgb(Color::Rgb(1, 2, 3), INK), (1, 2, 3));
    }

    #[test]
    fn reversed_swaps_and_dim_mixes() {
        assert_eq!(of(Style::new()), (INK, None));
        assert_eq!(of(Style::new().bg(Color::Indexed(231))), (INK, Some((255, 255, 255))));
        assert_eq!(of(Style::new().add_modifier(Modifier::REVERSED)), (PAPER, Some(INK)));
        let dim =
            Style::new().fg(Color::Rgb(200, 100, 0)).bg(Color::Rgb(0, 0, 100)).add_modifier(Modifier::DIM);
        assert_eq!(of(dim).0, (120, 60, 40));
        assert_eq!(of(dim.add_modifier(Modifier::REVERSED)), ((80, 40, 60), Some((200, 100, 0))));
    }
}
