//! Owns: a picture of the terminal as a standalone SVG, for a paper or a README.
//! Must not know: panels, what the cells mean.
//! Invariant: no scripts, no fonts or files from elsewhere, valid XML whatever the cells hold; text stays in its
//! column whatever font the viewer has.
//!
//! Characters that join their neighbours are drawn (`shape`), all others are written in runs of one style. What is
//! drawn is collected by colour, so that a curve is one path however many cells it crosses.

mod ink;
mod path;
mod shape;

use super::plain::shown;
use ink::{PAPER, Rgb, hex};
use path::Mark;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Modifier;
use shape::Paint;
use std::collections::BTreeMap;

/// Fonts that systems bring along; in all of them a character is 0.6 of the size wide, or nearly so.
const FONTS: &str = "ui-monospace,SFMono-Regular,Menlo,'Cascadia Mono',Consolas,'DejaVu Sans Mono','Liberation Mono',monospace";
/// The size at which such a character is as wide as a cell.
const FONT_SIZE: &str = "13.3";
/// From the top of a cell to the line that letters stand on, in units.
const BASELINE: i32 = 12;
/// A run of so many cells at most has each character placed by itself, which is shorter than saying how long it is.
const PLACED: i32 = 10;
/// Free paper around the cells, in units.
const MARGIN: i32 = 8;
/// A cell in units.
const CELL: (i32, i32) = (shape::WIDTH / 10, shape::HEIGHT / 10);

/// The picture in `buffer` as an SVG file called `title`.
pub fn svg(buffer: &Buffer, title: &str) -> String {
    let mut picture = Picture::default();
    for row in 0..buffer.area.height {
        picture.row(buffer, row);
    }
    let width = i32::from(buffer.area.width) * CELL.0 + 2 * MARGIN;
    let height = i32::from(buffer.area.height) * CELL.1 + 2 * MARGIN;
    let (title, paper, edge, body) = (escaped(title), hex(PAPER), -MARGIN, picture.body());
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" viewBox="{edge} {edge} {width} {height}">
<title>{title}</title>
<rect x="{edge}" y="{edge}" width="{width}" height="{height}" rx="6" fill="{paper}"/>
{body}</svg>
"#
    )
}

/// How text is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hand {
    ink: Rgb,
    bold: bool,
    italic: bool,
}

/// Characters in neighbouring columns of a row, written by one hand.
struct Run {
    hand: Hand,
    column: i32,
    end: i32,
    text: String,
}

/// What is drawn and written so far.
#[derive(Default)]
struct Picture {
    marks: BTreeMap<Paint, BTreeMap<Rgb, Vec<Mark>>>,
    texts: BTreeMap<Hand, String>,
}

impl Picture {
    fn row(&mut self, buffer: &Buffer, row: u16) {
        let mut run: Option<Run> = None;
        for (column, cell, takes) in shown(buffer, row) {
            let (column, row, takes) = (i32::from(column), i32::from(row), i32::from(takes));
            let ink = self.paper(cell, column, row, takes);
            let symbol = cell.symbol();
            if symbol == " " || symbol.is_empty() || cell.modifier.contains(Modifier::HIDDEN) {
                continue;
            }
            if let Some(marks) = sole(symbol).and_then(shape::shape) {
                marks.into_iter().for_each(|(paint, mark)| self.draw(paint, ink, column, row, mark));
                continue;
            }
            let hand = Hand {
                ink,
                bold: cell.modifier.contains(Modifier::BOLD),
                italic: cell.modifier.contains(Modifier::ITALIC),
            };
            if in_every_font(symbol) {
                run = Some(self.extended(run, hand, column, row, symbol));
            } else {
                self.alone(hand, column, row, takes, symbol);
            }
        }
        run.into_iter().for_each(|run| self.written(&run, i32::from(row)));
    }

    /// Draws what lies behind and across a cell, and says with which ink the cell itself is drawn.
    fn paper(&mut self, cell: &Cell, column: i32, row: i32, takes: i32) -> Rgb {
        let (ink, paper) = ink::inks(cell);
        let width = takes * shape::WIDTH;
        if let Some(paper) = paper {
            self.draw(Paint::Paper, paper, column, row, Mark::Rect((0, 0), (width, shape::HEIGHT)));
        }
        let across = [(Modifier::UNDERLINED, 140), (Modifier::CROSSED_OUT, 80)];
        for (_, y) in across.into_iter().filter(|(modifier, _)| cell.modifier.contains(*modifier)) {
            self.draw(Paint::Light, ink, column, row, Mark::Line((0, y), (width, y)));
        }
        ink
    }

    fn draw(&mut self, paint: Paint, ink: Rgb, column: i32, row: i32, mark: Mark) {
        let marks = self.marks.entry(paint).or_default().entry(ink).or_default();
        path::add(marks, mark.moved((column * shape::WIDTH, row * shape::HEIGHT)));
    }

    /// `run` with `symbol` at its end, over one column left free at most; or a new run, `run` being written.
    /// Two spaces in a row end a run, because XML makes one of them.
    fn extended(&mut self, run: Option<Run>, hand: Hand, column: i32, row: i32, symbol: &str) -> Run {
        let mut run = match run {
            Some(run) if run.hand == hand && column - run.end <= 1 => run,
            other => {
                other.into_iter().for_each(|run| self.written(&run, row));
                Run { hand, column, end: column, text: String::new() }
            }
        };
        if column > run.end {
            run.text.push(' ');
        }
        run.text.push_str(symbol);
        run.end = column + 1;
        run
    }

    fn written(&mut self, run: &Run, row: i32) {
        let cells = run.end - run.column;
        let place = if cells <= PLACED {
            let columns = (run.column..run.end).map(|column| (column * CELL.0).to_string());
            format!(r#"x="{}""#, columns.collect::<Vec<_>>().join(" "))
        } else {
            fitted(run.column, cells)
        };
        self.text(run.hand, row, &place, &run.text);
    }

    /// A symbol whose width no font promises: narrow ones are fitted to their cell, wide ones stand in their middle
    /// as they are, because the fonts that have them make them as wide as high.
    fn alone(&mut self, hand: Hand, column: i32, row: i32, takes: i32, symbol: &str) {
        let place = match takes {
            1 => fitted(column, 1),
            _ => format!(r#"x="{}""#, column * CELL.0 + 1),
        };
        self.text(hand, row, &place, symbol);
    }

    fn text(&mut self, hand: Hand, row: i32, place: &str, text: &str) {
        let (y, text) = (row * CELL.1 + BASELINE, escaped(text));
        let out = self.texts.entry(hand).or_default();
        out.push_str(&format!("<text {place} y=\"{y}\">{text}</text>\n"));
    }

    /// The groups of the file: what is drawn, layer by layer, and the text above.
    fn body(&self) -> String {
        let mut out = String::new();
        for (paint, inks) in &self.marks {
            out.push_str(&format!("<g {}>\n", attributes(*paint)));
            let verb = if *paint >= Paint::Light { "stroke" } else { "fill" };
            for (ink, marks) in inks.iter().filter(|(_, marks)| !marks.is_empty()) {
                out.push_str(&format!("<path {verb}=\"{}\" d=\"{}\"/>\n", hex(*ink), path::data(marks)));
            }
            out.push_str("</g>\n");
        }
        out.push_str(&format!("<g font-family=\"{FONTS}\" font-size=\"{FONT_SIZE}\">\n"));
        for (hand, texts) in &self.texts {
            let weight = if hand.bold { " font-weight=\"bold\"" } else { "" };
            let slope = if hand.italic { " font-style=\"italic\"" } else { "" };
            out.push_str(&format!("<g fill=\"{}\"{weight}{slope}>\n{texts}</g>\n", hex(hand.ink)));
        }
        out + "</g>\n"
    }
}

/// Text that begins in `column` and is stretched or squeezed to so many cells.
fn fitted(column: i32, cells: i32) -> String {
    let (x, length) = (column * CELL.0, cells * CELL.0);
    format!(r#"x="{x}" textLength="{length}" lengthAdjust="spacingAndGlyphs""#)
}

/// Thin lines are one unit wide and moved by half a unit, so that they fill whole pixels.
fn attributes(paint: Paint) -> &'static str {
    match paint {
        Paint::Paper | Paint::Full => r#"shape-rendering="crispEdges""#,
        Paint::Quarter => r#"shape-rendering="crispEdges" fill-opacity=".25""#,
        Paint::Half => r#"shape-rendering="crispEdges" fill-opacity=".5""#,
        Paint::Most => r#"shape-rendering="crispEdges" fill-opacity=".75""#,
        Paint::Light => r#"fill="none" transform="translate(.5 .5)""#,
        Paint::Heavy => r#"fill="none" stroke-width="2""#,
        Paint::Dots => r#"fill="none" stroke-width="2.8" stroke-linecap="round""#,
    }
}

/// The character of a symbol that has but one.
fn sole(symbol: &str) -> Option<char> {
    let mut chars = symbol.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Whether a font of equal widths can be trusted to have `symbol`, as wide as a letter, from left to right: Latin,
/// Greek, Cyrillic, dashes and quotes, the minus.
fn in_every_font(symbol: &str) -> bool {
    sole(symbol).is_some_and(|c| {
        matches!(c, '!'..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{370}'..='\u{482}'
            | '\u{48a}'..='\u{4ff}' | '\u{2010}'..='\u{2026}' | '\u{2212}')
    })
}

/// `text` as XML; what XML cannot hold becomes U+FFFD.
fn escaped(text: &str) -> String {
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
