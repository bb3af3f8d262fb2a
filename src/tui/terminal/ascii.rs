//! Owns: converting the screen to ASCII, for terminals without Unicode.
//! Must not know: panels, colours, what a symbol means.
//! Invariant: afterwards every cell holds one printable ASCII character; no cell has moved and no style is lost.
//!
//! Each braille cell of a curve becomes the character that looks most like its dots: `'` high, `-` in the
//! middle, `_` low, `/` and `\` for slopes, `|` for vertical lines, `*` and `#` for dense dots.

use crate::tui::text::width;
use ratatui::buffer::{Buffer, Cell};

/// Replaces everything that is not printable ASCII, in every cell of `buffer`.
pub fn convert_to_ascii(buffer: &mut Buffer) {
    let columns = usize::from(buffer.area.width).max(1);
    for row in buffer.content.chunks_mut(columns) {
        convert_row(row);
    }
}

fn convert_row(row: &mut [Cell]) {
    let mut column = 0;
    while let Some((cell, after)) = row.get_mut(column..).and_then(<[Cell]>::split_first_mut) {
        let takes = width(cell.symbol()).max(1);
        cell.set_char(ascii_for_symbol(cell.symbol(), takes));
        // The cells that a wide character covered become visible: they take its style.
        for hidden in after.iter_mut().take(takes - 1) {
            *hidden = cell.clone();
            hidden.set_char(' ');
        }
        column += takes;
    }
}

/// Returns the ASCII character for a symbol that takes `takes` cells.
fn ascii_for_symbol(symbol: &str, takes: usize) -> char {
    let mut chars = symbol.chars();
    match (chars.next(), chars.next()) {
        (None, _) => ' ',
        (Some(c), None) if takes == 1 => ascii_for_char(c),
        _ => '?',
    }
}

/// Returns the ASCII character for a character one cell wide.
fn ascii_for_char(c: char) -> char {
    match c {
        ' '..='~' => c,
        '\u{a0}' => ' ',
        '\u{2500}'..='\u{257f}' => ascii_for_box_drawing(c),
        '\u{2580}'..='\u{259f}' => ascii_for_block(c),
        '\u{2800}'..='\u{28ff}' => ascii_for_braille(u32::from(c) - 0x2800),
        _ => ascii_for_glyph(c),
    }
}

/// Returns the ASCII character that looks most like a symbol, or `?` if there is none.
fn ascii_for_glyph(c: char) -> char {
    match c {
        '−' | '–' | '—' | '‐' | '‑' => '-',
        '·' | '•' | '∙' => '.',
        '×' => 'x',
        '…' => '~',
        '▾' => 'V',
        '✎' => '!',
        '□' => '%',
        '⟦' | '⟨' => '[',
        '⟧' | '⟩' => ']',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '‖' => '=',
        '→' | '▸' | '►' | '▶' | '›' => '>',
        '←' | '◂' | '◄' | '◀' | '‹' => '<',
        '▲' => 'A',
        '↑' | '△' => '^',
        '↓' | '▼' | '▽' | '✓' => 'v',
        '◆' | '■' => '#',
        '◇' => '&',
        '○' => 'o',
        '★' => '@',
        '●' => '*',
        '✗' => 'x',
        '␣' => '_',
        '⏎' | '␍' => '$',
        '⇥' => '>',
        '≤' => '<',
        '≥' => '>',
        '≈' | '±' => '~',
        '∅' => '0',
        _ => '?',
    }
}

/// Converts box-drawing characters: frames, the strokes of legends, bars.
fn ascii_for_box_drawing(c: char) -> char {
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

/// Converts block elements by how full they are; the thinnest vertical one is a text cursor.
fn ascii_for_block(c: char) -> char {
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

/// Returns the rows, from the top, of the dots in the left and in the right column of a braille cell.
fn dot_rows(bits: u32) -> (Vec<u32>, Vec<u32>) {
    let rows = |bits_of: [u32; 4]| (0..4).filter(|row| bits >> bits_of[*row as usize] & 1 == 1).collect();
    (rows([0, 1, 2, 6]), rows([3, 4, 5, 7]))
}

/// Returns the character that looks most like the dots of a braille cell.
fn ascii_for_braille(bits: u32) -> char {
    let (left, right) = dot_rows(bits);
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
    // By how many rows the right column lies below the left one.
    let fall = mean(&right) - mean(&left);
    match fall {
        fall if fall >= 1.5 => '\\',
        fall if fall <= -1.5 => '/',
        _ if spread >= 2 && both.len() >= 4 => '*',
        _ if spread == 3 => ':',
        _ => horizontal_stroke(mean(&both)),
    }
}

/// Returns the horizontal stroke at a height, in rows of dots from the top.
fn horizontal_stroke(row: f64) -> char {
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
    fn every_glyph_of_the_panels_has_an_ascii_form() {
        for c in "▾✎◆◇○□×▲●■✓✗‖…·−→←↑↓▸┃␣⏎⟦⟧›▏▇━╍┈∅".chars()
        {
            assert_ne!(ascii_for_char(c), '?', "{c}");
        }
    }
    use ratatui::layout::Rect;
    use ratatui::style::{Color, Style};

    fn converted(text: &str) -> String {
        let mut buffer = Buffer::with_lines([text]);
        convert_to_ascii(&mut buffer);
        buffer.content.iter().map(Cell::symbol).collect()
    }

    fn assert_all_ascii(buffer: &Buffer) {
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
            convert_to_ascii(&mut buffer);
            assert_all_ascii(&buffer);
        }
    }

    #[test]
    fn clusters_and_broken_symbols_become_ascii() {
        for symbol in ["e\u{301}", "👩\u{200d}👧", "", "\u{1b}[31m", "ab", "1\u{fe0f}\u{20e3}", "\u{200b}", "漢"] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 5, 2));
            buffer.content.iter_mut().for_each(|cell| {
                cell.set_symbol(symbol);
            });
            convert_to_ascii(&mut buffer);
            assert_all_ascii(&buffer);
        }
        convert_to_ascii(&mut Buffer::empty(Rect::ZERO));
    }

    #[test]
    fn ascii_stays_as_it_is() {
        let printable: String = (' '..='~').collect();
        assert_eq!(converted(&printable), printable);
    }

    #[test]
    fn frames_and_signs() {
        assert_eq!(converted("╭─┬━╮│┃├╰╯┤┊"), "+-+=+||++++:");
        assert_eq!(converted("━ plain ╍ recycled ┈ paused"), "= plain ~ recycled . paused");
        assert_eq!(converted("◆◇▲△▼●○■✓✗‖…·−→←↑↓▸␣⏎"), "#&A^v*o#vx=~.-><^v>_$");
        assert_eq!(converted("█▆▄▂░▒▓▏"), "#+:..:+|");
        assert_eq!(converted("Grüße, мир"), "Gr??e, ???");
    }

    #[test]
    fn no_two_signs_of_a_chart_become_one() {
        let signs = converted("◆◇▲○□×●▾✎↑↓");
        let different: std::collections::HashSet<char> = signs.chars().collect();
        assert_eq!(different.len(), signs.len(), "{signs}");
    }

    #[test]
    fn curves_can_be_read() {
        assert_eq!(converted("⠉⠒⠤⣀"), "'--_", "levels");
        assert_eq!(converted("⢄⡠⠑⠊⢣⡜⢆"), "__''\\/\\", "slopes");
        assert_eq!(converted("⡇⢸⠃⡀⠁⣿⢕\u{2800}"), "||:.`#* ");
    }

    #[test]
    fn wide_characters_keep_their_place_and_style() {
        assert_eq!(converted("a漢b👍c"), "a? b? c");
        let mut buffer = Buffer::empty(Rect::new(0, 0, 3, 1));
        buffer.set_string(0, 0, "漢x", Style::new().bg(Color::Red));
        convert_to_ascii(&mut buffer);
        assert_eq!(buffer[(1, 0)].bg, Color::Red);
    }
}
