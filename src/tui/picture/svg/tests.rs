//! Owns: tests of whole SVG files.
//! Must not know: how a file is put together.
//! Invariant: none.

use super::*;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

fn svg_of(lines: &[(&str, Style)]) -> String {
    let mut buffer = Buffer::empty(Rect::new(2, 1, 40, lines.len() as u16));
    for (row, (text, style)) in lines.iter().enumerate() {
        buffer.set_string(2, 1 + row as u16, text, *style);
    }
    to_svg(&buffer, "a < b & c", Background::Dark)
}

/// Asserts that tags open and close in order and that XML allows every character.
fn assert_well_formed(file: &str) {
    let mut open = Vec::new();
    for piece in file.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for entity in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;"].iter().any(|known| entity.starts_with(known)), "{entity}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!file.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn the_file_is_as_large_as_its_cells() {
    let file = svg_of(&[("", Style::new()), ("", Style::new())]);
    assert!(file.contains(r#"width="336" height="48" viewBox="-8 -8 336 48""#), "{file}");
    assert!(file.contains("<title>a &lt; b &amp; c</title>"));
    assert_well_formed(&file);
    assert_well_formed(&to_svg(&Buffer::empty(Rect::ZERO), "", Background::Dark));
}

#[test]
fn cells_of_one_style_are_one_run_and_one_rectangle() {
    let file = svg_of(&[("  two more words  apart", Style::new().bg(Color::Indexed(196)))]);
    let long = r#"<text x="16" textLength="112" lengthAdjust="spacingAndGlyphs" y="12">two more words</text>"#;
    assert!(file.contains(long), "{file}");
    assert!(file.contains(r#"<text x="144 152 160 168 176" y="12">apart</text>"#), "{file}");
    assert!(file.contains(r##"<path fill="#f00" d="m0 0h184v16h-184z"/>"##), "{file}");
    assert_eq!(file.matches("<text").count(), 2);
}

#[test]
fn a_frame_is_one_path_and_a_curve_another() {
    let (frame, curve) = (Style::new().fg(Color::Rgb(1, 2, 3)), Style::new().fg(Color::Rgb(4, 5, 6)));
    let file = svg_of(&[("╭──────╮", frame), ("⣀⠤⠒⠉", curve), ("╰──────╯", frame)]);
    assert_eq!((file.matches("<path").count(), file.matches("<text").count()), (2, 0));
    assert!(file.contains("h48a4 4 0 0 1 4 4v4"), "the upper edge is one line: {file}");
    assert!(file.contains("m2 30h0m4 0h0m4-4h0m4 0h0m4-4h0m4 0h0m4-4h0m4 0h0"), "{file}");
}

#[test]
fn wide_characters_and_their_background_take_two_cells() {
    let file = svg_of(&[("漢a👍", Style::new().bg(Color::Indexed(21)))]);
    assert!(file.contains(r#"<text x="1" y="12">漢</text>"#), "{file}");
    assert!(file.contains(r#"<text x="16" y="12">a</text>"#));
    assert!(file.contains(r#"<text x="25" y="12">👍</text>"#));
    assert!(file.contains("h40v16"), "{file}");
}

#[test]
fn attributes_are_drawn() {
    let with = |modifier| svg_of(&[("a b", Style::new().add_modifier(modifier))]);
    assert!(with(Modifier::BOLD).contains(r#"font-weight="bold""#));
    assert!(with(Modifier::ITALIC).contains(r#"font-style="italic""#));
    assert!(with(Modifier::UNDERLINED).contains(r#"d="m0 14h24""#));
    assert!(with(Modifier::CROSSED_OUT).contains(r#"d="m0 8h24""#));
    assert!(
        with(Modifier::REVERSED)
            .contains(&format!(r#"fill="{}" d="m0 0h24v16h-24z""#, hex(color::default_colors(Background::Dark).text)))
    );
    assert!(!with(Modifier::HIDDEN).contains("<text"));
    assert_ne!(with(Modifier::DIM), with(Modifier::empty()));
}

#[test]
fn any_cell_makes_a_valid_file() {
    let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
    for symbol in ["\u{1b}[31m", "", "\0", "<&>\"'", "\u{ffff}", "e\u{301}", "\u{202e}", "]]>"] {
        buffer.content.iter_mut().for_each(|cell| {
            cell.set_symbol(symbol);
        });
        assert_well_formed(&to_svg(&buffer, symbol, Background::Dark));
    }
}

#[test]
fn a_large_screen_full_of_heat_stays_small() {
    let mut buffer = Buffer::empty(Rect::new(0, 0, 250, 70));
    for (index, cell) in buffer.content.iter_mut().enumerate() {
        // Words of five letters, each on a background of its own, in black or white like `Theme::heat`.
        let word = index / 5 * 37;
        let background = Color::Rgb((word % 251) as u8, (word % 241) as u8, (word % 239) as u8);
        let text = if word % 2 == 0 { Color::Indexed(16) } else { Color::Indexed(231) };
        cell.set_char(char::from(b'a' + (index % 26) as u8)).set_fg(text).set_bg(background);
    }
    let size = to_svg(&buffer, "heat", Background::Dark).len();
    assert!(size < 400_000, "{size}");
}
