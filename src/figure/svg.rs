//! Owns: the text of an SVG drawing: shapes, colours for a light and a dark page, text and its estimated width.
//! Must not know: axes, series.
//! Invariant: text is escaped; every shape has a light colour of its own, which the dark one of a page's style replaces. Class names
//! begin with `clfig-` and mean the same in every drawing, so that several may be in one page.

use std::fmt::Write;

/// The colours of series on a light page (Okabe and Ito, told apart by the colour-blind), and the same hues for a dark one.
const COLOURS: [(&str, &str); 6] = [
    ("#0072B2", "#4FB3F0"),
    ("#D55E00", "#FF8F45"),
    ("#009E73", "#2FD6A6"),
    ("#CC79A7", "#EBA3CB"),
    ("#E69F00", "#F5C044"),
    ("#56B4E9", "#A6DBFA"),
];
/// Dashes of the fifth series and of those after it.
const DASHES: [&str; 4] = ["7 3", "2 2.5", "8 3 2 3", "12 4"];
const FIRST_DASHED: usize = 4;

/// A colour by its purpose: of the frame's parts, or of a series by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Text,
    Frame,
    Grid,
    Series(usize),
}

impl Ink {
    fn name(self) -> String {
        match self {
            Ink::Text => "text".into(),
            Ink::Frame => "frame".into(),
            Ink::Grid => "grid".into(),
            Ink::Series(index) => format!("s{}", index % COLOURS.len()),
        }
    }

    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Ink::Text => ("#1A1A1A", "#E6E6E6"),
            Ink::Frame => ("#6B6B6B", "#9A9A9A"),
            Ink::Grid => ("#E3E3E3", "#3A3A3A"),
            Ink::Series(index) => COLOURS[index % COLOURS.len()],
        }
    }

    /// Returns the attributes of a line in this colour.
    pub fn stroke(self) -> String {
        format!(r#"class="clfig-line-{}" fill="none" stroke="{}""#, self.name(), self.colours().0)
    }

    /// Returns the attributes of an area in this colour.
    pub fn fill(self) -> String {
        format!(r#"class="clfig-area-{}" fill="{}""#, self.name(), self.colours().0)
    }

    /// Returns the attribute that tells series of one colour apart; empty for the first ones.
    pub fn dash(self) -> String {
        match self {
            Ink::Series(index) if index >= FIRST_DASHED => {
                format!(r#" stroke-dasharray="{}""#, DASHES[(index - FIRST_DASHED) % DASHES.len()])
            }
            _ => String::new(),
        }
    }
}

/// Where a text lies relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextAnchor {
    Start,
    Middle,
    End,
}

/// Position, size and turn of a text. Sizes are in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextPlace {
    pub x: f64,
    pub y: f64,
    pub size: f64,
    pub anchor: TextAnchor,
    pub turn: TextTurn,
}

/// The direction in which a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTurn {
    Level,
    Upwards,
}

/// An SVG drawing while it is made.
pub(super) struct Drawing {
    body: String,
    width: f64,
    height: f64,
}

impl Drawing {
    pub fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    /// Adds a line element of text; `attributes` are not escaped.
    pub fn add(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    pub fn add_line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), ink: Ink, width: f64) {
        let (stroke, dash) = (ink.stroke(), ink.dash());
        self.add(&format!(
            r#"<line x1="{x1:.2}" y1="{y1:.2}" x2="{x2:.2}" y2="{y2:.2}" {stroke} stroke-width="{width}"{dash}/>"#
        ));
    }

    pub fn add_dot(&mut self, (x, y): (f64, f64), radius: f64, ink: Ink, opacity: f64) {
        let fill = ink.fill();
        self.add(&format!(r#"<circle cx="{x:.2}" cy="{y:.2}" r="{radius}" {fill} fill-opacity="{opacity}"/>"#));
    }

    pub fn add_text(&mut self, text: &str, place: TextPlace) {
        let TextPlace { x, y, size, anchor, turn } = place;
        let anchor = match anchor {
            TextAnchor::Start => "start",
            TextAnchor::Middle => "middle",
            TextAnchor::End => "end",
        };
        let turn = match turn {
            TextTurn::Level => String::new(),
            TextTurn::Upwards => format!(r#" transform="rotate(-90 {x:.2} {y:.2})""#),
        };
        let (fill, text) = (Ink::Text.fill(), escape_text(text));
        self.add(&format!(
            r#"<text x="{x:.2}" y="{y:.2}" font-size="{size}" text-anchor="{anchor}"{turn} {fill}>{text}</text>"#
        ));
    }

    /// Returns the whole drawing. `title` is what a screen reader says of it.
    pub fn finish(self, title: &str) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" font-family=\"Helvetica, Arial, sans-serif\">\n<title>{}</title>\n<style>{}</style>\n{body}</svg>\n",
            escape_text(title),
            dark_style()
        )
    }
}

/// Returns the style that gives each class its dark colour on a dark page.
fn dark_style() -> String {
    let series = (0..COLOURS.len()).map(Ink::Series);
    let mut style = "@media (prefers-color-scheme: dark) {".to_owned();
    for ink in [Ink::Text, Ink::Frame, Ink::Grid].into_iter().chain(series) {
        let (name, (_, dark)) = (ink.name(), ink.colours());
        // Writing to a string does not fail.
        let _ = write!(style, " .clfig-line-{name} {{ stroke: {dark} }} .clfig-area-{name} {{ fill: {dark} }}");
    }
    style + " }"
}

/// Escapes `text` for SVG. Control characters, which XML does not allow, become spaces.
fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Estimates the width of `text` in pixels, in a font like Helvetica; rather too wide than too narrow.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.28,
        ' ' | 'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.34,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.88,
        '⁻' | '⁰' | '¹' | '²' | '³' | '⁴'..='⁹' => 0.36,
        'A'..='Z' => 0.70,
        letter if letter.is_ascii() => 0.56,
        // A letter of East Asia is as wide as it is high.
        letter if letter as u32 >= 0x1100 => 1.0,
        _ => 0.60,
    };
    text.chars().map(width).sum::<f64>() * size
}

/// Shortens `text` to `most` pixels, with an ellipsis.
pub(super) fn fit_text(text: &str, size: f64, most: f64) -> String {
    if text_width(text, size) <= most {
        return text.to_owned();
    }
    let mut kept: String = text.to_owned();
    while kept.pop().is_some() {
        let short = format!("{}…", kept.trim_end());
        if text_width(&short, size) <= most {
            return short;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape_text("a<b & \"c\">\u{1}\n"), "a&lt;b &amp; &quot;c&quot;&gt;  ");
    }

    #[test]
    fn long_text_is_shortened_to_its_room() {
        let long = "recycle.every = 4, optim.lr = 0.001";
        assert_eq!(fit_text(long, 12.0, 1000.0), long);
        let short = fit_text(long, 12.0, 100.0);
        assert!(short.ends_with('…') && text_width(&short, 12.0) <= 100.0 && short.len() > 10, "{short}");
        assert_eq!(fit_text(long, 12.0, 0.0), "");
    }

    #[test]
    fn series_of_one_colour_differ_by_dashes() {
        let style = |index| (Ink::Series(index).stroke(), Ink::Series(index).dash());
        let styles: std::collections::BTreeSet<_> = (0..16).map(style).collect();
        assert_eq!(styles.len(), 16);
        assert_eq!(Ink::Series(3).dash(), "");
    }
}
