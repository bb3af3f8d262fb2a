//! Owns: the colours of a picture, on a dark or a light background.
//! Must not know: characters, SVG.
//! Invariant: the colours returned are final: reversed ones are swapped, dim ones are mixed, none is left to
//! the viewer.

use crate::tui::theme::Background;
use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

pub type Rgb = (u8, u8, u8);

/// The colours of what has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultColors {
    pub background: Rgb,
    pub text: Rgb,
}

const ON_DARK: DefaultColors = DefaultColors { background: (0x16, 0x18, 0x1d), text: (0xd4, 0xd6, 0xda) };
const ON_LIGHT: DefaultColors = DefaultColors { background: (0xfc, 0xfc, 0xfa), text: (0x20, 0x22, 0x26) };

pub fn default_colors(background: Background) -> DefaultColors {
    match background {
        Background::Dark => ON_DARK,
        Background::Light => ON_LIGHT,
    }
}
/// How much a dim foreground keeps of its colour, in percent; the rest is background.
const DIM_PERCENT: u16 = 60;

/// The 16 named colours in the order of their numbers, chosen to be distinct on the dark background.
const NAMED_COLORS: [Rgb; 16] = [
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
/// The levels of each channel in xterm's colour cube.
const CUBE_LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// Returns the foreground of a cell, and its background unless that is the picture's.
pub fn cell_colors(cell: &Cell, default: DefaultColors) -> (Rgb, Option<Rgb>) {
    let (mut fg, mut bg) = (to_rgb(cell.fg, default.text), to_rgb(cell.bg, default.background));
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (bg, fg);
    }
    if cell.modifier.contains(Modifier::DIM) {
        fg = dimmed(fg, bg);
    }
    (fg, (bg != default.background).then_some(bg))
}

/// Formats a colour as `#rrggbb`, or as `#rgb` if that is the same colour.
pub fn hex((r, g, b): Rgb) -> String {
    if [r, g, b].iter().all(|part| part.is_multiple_of(17)) {
        return format!("#{:x}{:x}{:x}", r / 17, g / 17, b / 17);
    }
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn to_rgb(color: Color, default: Rgb) -> Rgb {
    let named = match color {
        Color::Reset => return default,
        Color::Rgb(r, g, b) => return (r, g, b),
        Color::Indexed(index) => return indexed_color(index),
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
    indexed_color(named)
}

/// Returns one of xterm's 256 colours: the named ones, a cube of six levels per channel, a ramp of greys.
fn indexed_color(index: u8) -> Rgb {
    match index {
        0..16 => NAMED_COLORS[usize::from(index)],
        16..232 => {
            let at = usize::from(index - 16);
            (CUBE_LEVELS[at / 36], CUBE_LEVELS[at / 6 % 6], CUBE_LEVELS[at % 6])
        }
        232.. => {
            let grey = 8 + 10 * (index - 232);
            (grey, grey, grey)
        }
    }
}

/// Mixes a dim foreground with its background.
fn dimmed(fg: Rgb, bg: Rgb) -> Rgb {
    let channel = |a: u8, b: u8| ((u16::from(a) * DIM_PERCENT + u16::from(b) * (100 - DIM_PERCENT)) / 100) as u8;
    (channel(fg.0, bg.0), channel(fg.1, bg.1), channel(fg.2, bg.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    fn colors_of(style: Style) -> (Rgb, Option<Rgb>) {
        cell_colors(Cell::new("x").set_style(style), ON_DARK)
    }

    #[test]
    fn colours_are_xterms() {
        assert_eq!([16, 196, 231, 232, 255].map(indexed_color).map(hex), ["#000", "#f00", "#fff", "#080808", "#eee"]);
        assert_eq!(indexed_color(67), (95, 135, 175));
        assert_eq!(to_rgb(Color::LightRed, ON_DARK.text), indexed_color(9));
        assert_eq!(to_rgb(Color::Rgb(1, 2, 3), ON_DARK.text), (1, 2, 3));
    }

    #[test]
    fn reversed_swaps_and_dim_mixes() {
        assert_eq!(colors_of(Style::new()), (ON_DARK.text, None));
        assert_eq!(colors_of(Style::new().bg(Color::Indexed(231))), (ON_DARK.text, Some((255, 255, 255))));
        assert_eq!(colors_of(Style::new().add_modifier(Modifier::REVERSED)), (ON_DARK.background, Some(ON_DARK.text)));
        let dim = Style::new().fg(Color::Rgb(200, 100, 0)).bg(Color::Rgb(0, 0, 100)).add_modifier(Modifier::DIM);
        assert_eq!(colors_of(dim).0, (120, 60, 40));
        assert_eq!(colors_of(dim.add_modifier(Modifier::REVERSED)), ((80, 40, 60), Some((200, 100, 0))));
    }
}
