//! Owns: the screen in ASCII, for terminals that have nothing else.
//! Must not know: panels, colours, what a symbol stands for where it is.
//! Invariant: afterwards every cell holds one printable ASCII character; no cell has moved, no style is lost.
//!
//! A curve of braille dots becomes, cell by cell, what its dots look like most: `'` high, `-` in the middle, `_` low,
//! `/` and `\` where it is steep, `|` where it is upright, `*` and `#` where dots lie close.

use super::text::width;
use ratatui::buffer::{Buffer, Cell};

/// Replaces what is not printable ASCII, in every cell of `buffer`.
pub fn ascii(buffer: &mut Buffer) {
    let columns = usize::from(buffer.area.width).max(1);
    for row in buffer.content.chunks_mut(columns) {
        ascii_row(row);
    }
}

fn ascii_row(row: &mut [Cell]) {
    let mut column = 0;
    while let Some((cell, after)) = row.get_mut(column..).and_then(<[Cell]>::split_first_mut) {
        let takes = width(cell.symbol()).max(1);
        cell.set_char(stand_in(cell.symbol(), takes));
        // What a wide character hid is seen now: it goes on in the character's style.
        for hidden in after.iter_mut().take(takes - 1) {
            *hidden = cell.clone();
            hidden.set_char(' ');
        }
        column += takes;
    }
}

/// The ASCII character for a symbol that takes so many cells.
fn stand_in(symbol: &str, takes: usize) -> char {
    let mut chars = symbol.chars();
    match (chars.next(), chars.next()) {
        (None, _) => ' ',
        (Some(c), None) if takes == 1 => one(c),
        _ => '?',
    }
}

fn one(c: char) -> char {
    match c {
        ' '..='~' => c,
        '\u{a0}' => ' ',
        '\u{2500}'..='\u{257f}' => line(c),
        '\u{2580}'..='\u{259f}' => block(c),
        '\u{2800}'..='\u{28ff}' => dots(u32::from(c) - 0x2800),
        _ => sign(c),
    }
}

/// Single signs, by what they look like; a `?` for all that looks like nothing.
fn sign(c: char) -> char {
    match c {
        '−' | '–' | '—' | '‐' | '‑' => '-',
        '·' | '•' | '∙' => '.',
        '×' => 'x',
        '…' => '~',
        '▾' => 'v',
        '✎' => '!',
        '□' => '%',
        '⟦' => '[',
        '⟧' => ']',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '‖' => '=',
        '→' | '▸' | '►' | '▶' | '›' => '>',
        '←' | '◂' | '◄' | '◀' | '‹' => '<',
        '↑' | '▲' | '△' => '^',
        '↓' | '▼' | '▽' | '✓' => 'v',
        '◆' | '■' => '#',
        '◇' | '○' => 'o',
        '●' => '*',
        '✗' => 'x',
        '␣' => '_',
        '⏎' | '␍' => '$',
        '⇥' => '>',
        '≤' => '<',
        '≥' => '>',
        '≈' => '~',
        '∅' => '0',
        _ => '?',
    }
}

/// Box drawing: frames, the strokes of a legend, bars.
fn line(c: char) -> char {
    match c {
        '─' | '╴' | '╶' | '┄' | '╌' => '-',
        '━' | '═' | '╸' | '╺' | '╼' | '╾' => '=',
        '┅' | '╍' | '┉' => '~',
        '┈' => '.',
        '┊' | '┋' | '┆' | '┇' | '╎' | '╏' => ':',
        '│' | '┃' | '║' | '╵' | '╷' | '╹' | '╻' | '╽' | '╿' => '|',
        '╱' => '/',
        '╲' => '\\',
        '╳' => 'x',
        _ => '+',
    }
}

/// Blocks by fullness; the thinnest upright one is a cursor.
fn block(c: char) -> char {
    const BY_EIGHTHS: [char; 9] = [' ', '.', '.', ':', ':', '+', '+', '#', '#'];
    let eighths = match c {
        '▏' | '▕' => return '|',
        '▁'..='█' => u32::from(c) - 0x2580,
        '▉'..='▎' => 0x2590 - u32::from(c),
        '░' | '▖' | '▗' | '▘' | '▝' => 2,
        '▓' | '▙' | '▛' | '▜' | '▟' => 6,
        '▔' => 1,
        _ => 4,
    };
    BY_EIGHTHS[eighths as usize]
}

/// The rows of a braille cell's dots, from the top, left and right.
fn columns(bits: u32) -> (Vec<u32>, Vec<u32>) {
    let rows = |bits_of: [u32; 4]| (0..4).filter(|row| bits >> bits_of[*row as usize] & 1 == 1).collect();
    (rows([0, 1, 2, 6]), rows([3, 4, 5, 7]))
}

/// What the dots of a braille cell look like.
fn dots(bits: u32) -> char {
    let (left, right) = columns(bits);
    let both = [left.as_slice(), right.as_slice()].concat();
    let (Some(top), Some(bottom)) = (both.iter().min(), both.iter().max()) else { return ' ' };
    let spread = bottom - top;
    match both.len() {
        1 => return if *top == 0 { '`' } else { '.' },
        2 if left.is_empty() || right.is_empty() => return ':',
        3 | 4 if left.is_empty() || right.is_empty() => return '|',
        7 | 8 => return '#',
        _ => {}
    }
    // How many rows the right side lies below the left one.
    let fall = mean(&right) - mean(&left);
    match fall {
        fall if fall >= 1.5 => '\\',
        fall if fall <= -1.5 => '/',
        _ if spread >= 2 && both.len() >= 4 => '*',
        _ if spread == 3 => ':',
        _ => level(mean(&both)),
    }
}

/// The stroke at a height, in rows of dots from the top.
fn level(row: f64) -> char {
    match row {
        row if row < 0.75 => '\'',
        row if row < 2.4 => '-',
        _ => '_',
    }
}

fn mean(rows: &[u32]) -> f64 {
    rows.iter().sum::<u32>() as f64 / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_of_the_panels_has_a_likeness() {
        for c in "▾✎◆◇○□×▲●■✓✗‖…·−→←↑↓▸┃␣⏎⟦⟧›▏▇━╍┈∅".chars()
        {
            assert_ne!(one(c), '?', "{c}");
        }
    }
    use ratatui::layout::Rect;
    use ratatui::style::{Color, Style};

    fn of(text: &str) -> String {
        let mut buffer = Buffer::with_lines([text]);
        ascii(&mut buffer);
        buffer.content.iter().map(Cell::symbol).collect()
    }

    fn all_ascii(buffer: &Buffer) {
        for cell in &buffer.content {
            let symbol = cell.symbol().as_bytes();
            assert!(matches!(symbol, [b' '..=b'~']) && width(cell.symbol()) == 1, "{symbol:?}");
        }
    }

    #[test]
    fn every_character_becomes_printable_ascii() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 64, 64));
        let every: Vec<char> = ('\0'..=char::MAX).collect();
        for some in every.chunks(64 * 64) {
            for (cell, c) in buffer.content.iter_mut().zip(some) {
                cell.set_char(*c);
            }
            ascii(&mut buffer);
            all_ascii(&buffer);
        }
    }

    #[test]
    fn clusters_and_broken_symbols_too() {
        for symbol in
            ["e\u{301}", "👩\u{200d}👧", "", "\u{1b}[31m", "ab", "1\u{fe0f}\u{20e3}", "\u{200b}", "漢"]
        {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 5, 2));
            buffer.content.iter_mut().for_each(|cell| {
                cell.set_symbol(symbol);
            });
            ascii(&mut buffer);
            all_ascii(&buffer);
        }
        ascii(&mut Buffer::empty(Rect::ZERO));
    }

    #[test]
    fn ascii_stays_as_it_is() {
        let printable: String = (' '..='~').collect();
        assert_eq!(of(&printable), printable);
    }

    #[test]
    fn frames_and_signs() {
        assert_eq!(of("╭─┬━╮│┃├╰╯┤┊"), "+-+=+||++++:");
        assert_eq!(of("━ plain ╍ recycled ┈ there"), "= plain ~ recycled . there");
        assert_eq!(of("◆◇▲△▼●○■✓✗‖…·−→←↑↓▸␣⏎"), "#o^^v*o#vx=~.-><^v>_$");
        assert_eq!(of("█▆▄▂░▒▓▏"), "#+:..:+|");
        assert_eq!(of("Grüße, мир"), "Gr??e, ???");
    }

    #[test]
    fn curves_can_be_read() {
        assert_eq!(of("⠉⠒⠤⣀"), "'--_", "levels");
        assert_eq!(of("⢄⡠⠑⠊⢣⡜⢆"), "__''\\/\\", "slopes");
        assert_eq!(of("⡇⢸⠃⡀⠁⣿⢕\u{2800}"), "||:.`#* ");
    }

    #[test]
    fn wide_characters_keep_their_place_and_style() {
        assert_eq!(of("a漢b👍c"), "a? b? c");
        let mut buffer = Buffer::empty(Rect::new(0, 0, 3, 1));
        buffer.set_string(0, 0, "漢x", Style::new().bg(Color::Red));
        ascii(&mut buffer);
        assert_eq!(buffer[(1, 0)].bg, Color::Red);
    }
}
