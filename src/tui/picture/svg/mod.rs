//! Owns: writing a drawn screen as a standalone SVG, for a paper or a README.
//! Must not know: panels, what the cells mean.
//! Invariant: no scripts, no external fonts or files, valid XML whatever the cells hold; text stays in its
//! column with any font.
//!
//! Characters that join their neighbours are drawn as paths (`shape`); all others are written as runs of text
//! in one style. Paths are collected by colour, so that a curve is one path however many cells it crosses.

mod color;
mod path;
mod shape;

use super::text_export::visible_cells;
use crate::tui::theme::Background;
use color::{DefaultColors, Rgb, default_colors, hex};
use path::Primitive;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Modifier;
use shape::DrawStyle;
use std::collections::BTreeMap;

/// Fonts that operating systems come with; their characters are about 0.6 of the font size wide.
const FONTS: &str =
    "ui-monospace,SFMono-Regular,Menlo,'Cascadia Mono',Consolas,'DejaVu Sans Mono','Liberation Mono',monospace";
/// The font size at which such a character is as wide as a cell.
const FONT_SIZE: &str = "13.3";
/// The distance from the top of a cell to the text baseline, in SVG units.
const BASELINE: i32 = 12;
/// The longest run, in cells, whose characters get a position each; for longer runs a text length is shorter.
const MAX_POSITIONED_CELLS: i32 = 10;
const MARGIN: i32 = 8;
/// The width and the height of a cell, in SVG units.
const CELL_SIZE: (i32, i32) = (shape::WIDTH / 10, shape::HEIGHT / 10);

/// Returns the screen in `buffer`, drawn for this background, as an SVG file with this title.
pub fn to_svg(buffer: &Buffer, title: &str, background: Background) -> String {
    let default = default_colors(background);
    let mut picture = SvgPicture { default, marks: BTreeMap::new(), texts: BTreeMap::new() };
    for row in 0..buffer.area.height {
        picture.add_row(buffer, row);
    }
    let width = i32::from(buffer.area.width) * CELL_SIZE.0 + 2 * MARGIN;
    let height = i32::from(buffer.area.height) * CELL_SIZE.1 + 2 * MARGIN;
    let (title, background, edge, body) = (escape_xml(title), hex(default.background), -MARGIN, picture.body());
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" viewBox="{edge} {edge} {width} {height}">
<title>{title}</title>
<rect x="{edge}" y="{edge}" width="{width}" height="{height}" rx="6" fill="{background}"/>
{body}</svg>
"#
    )
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TextStyle {
    color: Rgb,
    bold: bool,
    italic: bool,
}

/// Characters in neighbouring columns of a row, all of one style.
struct TextRun {
    style: TextStyle,
    column: i32,
    end: i32,
    text: String,
}

/// The paths and texts of the file so far, by layer, colour and style.
struct SvgPicture {
    default: DefaultColors,
    marks: BTreeMap<DrawStyle, BTreeMap<Rgb, Vec<Primitive>>>,
    texts: BTreeMap<TextStyle, String>,
}

impl SvgPicture {
    fn add_row(&mut self, buffer: &Buffer, row: u16) {
        let mut run: Option<TextRun> = None;
        for (column, cell, takes) in visible_cells(buffer, row) {
            let (column, row, takes) = (i32::from(column), i32::from(row), i32::from(takes));
            let color = self.draw_background(cell, column, row, takes);
            let symbol = cell.symbol();
            if symbol == " " || symbol.is_empty() || cell.modifier.contains(Modifier::HIDDEN) {
                continue;
            }
            if let Some(marks) = single_char(symbol).and_then(shape::shape_of) {
                marks.into_iter().for_each(|(paint, mark)| self.add_mark(paint, color, column, row, mark));
                continue;
            }
            let style = TextStyle {
                color,
                bold: cell.modifier.contains(Modifier::BOLD),
                italic: cell.modifier.contains(Modifier::ITALIC),
            };
            if is_in_every_font(symbol) {
                run = Some(self.extend_run(run, style, column, row, symbol));
            } else {
                self.write_single(style, column, row, takes, symbol);
            }
        }
        run.into_iter().for_each(|run| self.write_run(&run, i32::from(row)));
    }

    /// Draws the background and the underline of a cell. Returns its foreground colour.
    fn draw_background(&mut self, cell: &Cell, column: i32, row: i32, takes: i32) -> Rgb {
        let (color, background) = color::cell_colors(cell, self.default);
        let width = takes * shape::WIDTH;
        if let Some(background) = background {
            self.add_mark(
                DrawStyle::Background,
                background,
                column,
                row,
                Primitive::Rect((0, 0), (width, shape::HEIGHT)),
            );
        }
        let across = [(Modifier::UNDERLINED, 140), (Modifier::CROSSED_OUT, 80)];
        for (_, y) in across.into_iter().filter(|(modifier, _)| cell.modifier.contains(*modifier)) {
            self.add_mark(DrawStyle::Light, color, column, row, Primitive::Line((0, y), (width, y)));
        }
        color
    }

    fn add_mark(&mut self, paint: DrawStyle, color: Rgb, column: i32, row: i32, mark: Primitive) {
        let marks = self.marks.entry(paint).or_default().entry(color).or_default();
        path::push_merged(marks, mark.translated((column * shape::WIDTH, row * shape::HEIGHT)));
    }

    /// Appends `symbol` to `run` if it has the same style and is at most one column away. Otherwise writes
    /// `run` and starts a new one. Two spaces end a run, because XML would collapse them.
    fn extend_run(&mut self, run: Option<TextRun>, style: TextStyle, column: i32, row: i32, symbol: &str) -> TextRun {
        let mut run = match run {
            Some(run) if run.style == style && column - run.end <= 1 => run,
            other => {
                other.into_iter().for_each(|run| self.write_run(&run, row));
                TextRun { style, column, end: column, text: String::new() }
            }
        };
        if column > run.end {
            run.text.push(' ');
        }
        run.text.push_str(symbol);
        run.end = column + 1;
        run
    }

    fn write_run(&mut self, run: &TextRun, row: i32) {
        let cells = run.end - run.column;
        let place = if cells <= MAX_POSITIONED_CELLS {
            let columns = (run.column..run.end).map(|column| (column * CELL_SIZE.0).to_string());
            format!(r#"x="{}""#, columns.collect::<Vec<_>>().join(" "))
        } else {
            stretched_text(run.column, cells)
        };
        self.add_text(run.style, row, &place, &run.text);
    }

    /// Writes a symbol whose width differs between fonts. A narrow one is stretched to its cell; a wide one
    /// is centred in its two cells, because fonts make it about as wide as high.
    fn write_single(&mut self, style: TextStyle, column: i32, row: i32, takes: i32, symbol: &str) {
        let place = match takes {
            1 => stretched_text(column, 1),
            _ => format!(r#"x="{}""#, column * CELL_SIZE.0 + 1),
        };
        self.add_text(style, row, &place, symbol);
    }

    /// Adds a text element at the position attributes `place`.
    fn add_text(&mut self, style: TextStyle, row: i32, place: &str, text: &str) {
        let (y, text) = (row * CELL_SIZE.1 + BASELINE, escape_xml(text));
        let out = self.texts.entry(style).or_default();
        out.push_str(&format!("<text {place} y=\"{y}\">{text}</text>\n"));
    }

    /// Returns the groups of the file: the paths, layer by layer, and the text above them.
    fn body(&self) -> String {
        let mut out = String::new();
        for (paint, colors) in &self.marks {
            out.push_str(&format!("<g {}>\n", layer_attributes(*paint)));
            let verb = if *paint >= DrawStyle::Light { "stroke" } else { "fill" };
            for (color, marks) in colors.iter().filter(|(_, marks)| !marks.is_empty()) {
                out.push_str(&format!("<path {verb}=\"{}\" d=\"{}\"/>\n", hex(*color), path::path_data(marks)));
            }
            out.push_str("</g>\n");
        }
        out.push_str(&format!("<g font-family=\"{FONTS}\" font-size=\"{FONT_SIZE}\">\n"));
        for (style, texts) in &self.texts {
            let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
            let slope = if style.italic { " font-style=\"italic\"" } else { "" };
            out.push_str(&format!("<g fill=\"{}\"{weight}{slope}>\n{texts}</g>\n", hex(style.color)));
        }
        out + "</g>\n"
    }
}

/// Returns the attributes of text that starts in `column` and is stretched or squeezed to `cells` cells.
fn stretched_text(column: i32, cells: i32) -> String {
    let (x, length) = (column * CELL_SIZE.0, cells * CELL_SIZE.0);
    format!(r#"x="{x}" textLength="{length}" lengthAdjust="spacingAndGlyphs""#)
}

/// Returns the attributes of a layer. Thin lines are moved by half a unit, to fill whole pixels.
fn layer_attributes(paint: DrawStyle) -> &'static str {
    match paint {
        DrawStyle::Background | DrawStyle::Full => r#"shape-rendering="crispEdges""#,
        DrawStyle::Quarter => r#"shape-rendering="crispEdges" fill-opacity=".25""#,
        DrawStyle::Half => r#"shape-rendering="crispEdges" fill-opacity=".5""#,
        DrawStyle::ThreeQuarters => r#"shape-rendering="crispEdges" fill-opacity=".75""#,
        DrawStyle::Light => r#"fill="none" transform="translate(.5 .5)""#,
        DrawStyle::Heavy => r#"fill="none" stroke-width="2""#,
        DrawStyle::Dots => r#"fill="none" stroke-width="2.8" stroke-linecap="round""#,
    }
}

fn single_char(symbol: &str) -> Option<char> {
    let mut chars = symbol.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Returns whether every monospace font has `symbol` at the width of a letter, from left to right.
fn is_in_every_font(symbol: &str) -> bool {
    single_char(symbol).is_some_and(|c| {
        matches!(c, '!'..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{370}'..='\u{482}'
            | '\u{48a}'..='\u{4ff}' | '\u{2010}'..='\u{2026}' | '\u{2212}')
    })
}

/// Escapes `text` for XML; characters that XML cannot hold become U+FFFD.
fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
