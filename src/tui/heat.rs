//! Owns: how a row of tokens is laid out in cells, and which of its numbers is meant.
//! Must not know: colours, the terminal, which token is selected.
//! Invariant: no token reaches over the width it is given, whatever its text holds.

use super::text;
use crate::message::{TokenCell, TokenRow};

/// Stands before a recycled token.
pub const RECYCLED_MARK: char = '▸';
/// Stands before the first token of a document.
pub const DOCUMENT_MARK: char = '┃';

/// What is shown of each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The plain pass's.
    Plain,
    /// The recycled pass's.
    Recycled,
    /// Recycled less plain.
    Difference,
    /// The plain nll of the next token.
    Nll,
}

impl Mode {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Plain => "plain",
            Mode::Recycled => "recycled",
            Mode::Difference => "recycled − plain",
            Mode::Nll => "nll",
        }
    }

    /// The one after.
    pub fn next(self) -> Self {
        match self {
            Mode::Plain => Mode::Recycled,
            Mode::Recycled => Mode::Difference,
            Mode::Difference => Mode::Nll,
            Mode::Nll => Mode::Plain,
        }
    }

    /// The value of `cell`, nats; `None` where no recycled pass was made or the value is not finite.
    pub fn of(self, cell: &TokenCell) -> Option<f64> {
        let value = match self {
            Mode::Plain => cell.entropy_plain,
            Mode::Recycled => cell.entropy_recycled?,
            Mode::Difference => cell.entropy_recycled? - cell.entropy_plain,
            Mode::Nll => cell.nll_plain,
        };
        value.is_finite().then_some(f64::from(value))
    }

    /// The ends of the scale, nats: 0 to ln V, which an nll may exceed; differences to half of that either way.
    pub fn range(self, vocab_size: usize) -> (f64, f64) {
        let most = (vocab_size.max(2) as f64).ln();
        match self {
            Mode::Difference => (-most / 2.0, most / 2.0),
            _ => (0.0, most),
        }
    }
}

/// Whether a recycled pass was made on the row.
pub fn has_recycled(row: &TokenRow) -> bool {
    row.cells.iter().any(|cell| cell.entropy_recycled.is_some())
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Line, from 0.
    pub line: usize,
    /// First cell in the line.
    pub column: u16,
    /// What is shown, marks included.
    pub text: String,
    /// Its width in cells.
    pub width: u16,
}

/// Lays `cells` out in reading order in lines of `width` cells.
pub fn arrange(cells: &[TokenCell], width: u16) -> Vec<Placed> {
    let width = width.max(1);
    let gap = u16::from(needs_gaps(cells));
    let (mut line, mut column) = (0, 0);
    let mut placed = Vec::with_capacity(cells.len());
    for cell in cells {
        let text = text::clip(&shown(cell), usize::from(width));
        let wide = text::width(&text) as u16;
        if column > 0 && column + wide > width {
            line += 1;
            column = 0;
        }
        placed.push(Placed { line, column, text, width: wide });
        column += wide + gap;
    }
    placed
}

/// The token `by` lines from token `from`, as near as can be to its column; it stays at the ends.
pub fn vertically(placed: &[Placed], from: usize, by: isize) -> usize {
    let (Some(here), Some(last)) = (placed.get(from), placed.last()) else {
        return 0;
    };
    let line = here.line.saturating_add_signed(by).min(last.line);
    let start = placed.partition_point(|token| token.line < line);
    let end = placed.partition_point(|token| token.line <= line);
    let before = placed[start..end].partition_point(|token| token.column <= here.column);
    start + before.saturating_sub(1)
}

/// Whether words would run together: no token brings its own space, as tokens of whole words do.
fn needs_gaps(cells: &[TokenCell]) -> bool {
    let spaced = |cell: &TokenCell| cell.text.starts_with(' ') && cell.text.trim().len() < cell.text.len();
    let brings_space = cells.iter().any(spaced);
    let letters = |cell: &TokenCell| cell.text.chars().filter(|c| c.is_alphanumeric()).count() > 1;
    !brings_space && cells.iter().any(letters)
}

/// The token's text with its marks. A leading space gives its cell to a mark.
fn shown(cell: &TokenCell) -> String {
    let mut body = text::visible(&cell.text);
    if !body.is_empty() && body.replace("\\n", "").trim().is_empty() {
        body = body.replace("\\n", "⏎");
    }
    if text::width(&body) == 0 {
        body = "∅".into();
    }
    if body.chars().all(|c| c == ' ') {
        body = body.replace(' ', "␣");
    }
    let mut marks = String::new();
    if cell.doc_start {
        marks.push(DOCUMENT_MARK);
    }
    if cell.recycled {
        marks.push(RECYCLED_MARK);
    }
    if !marks.is_empty() && body.starts_with(' ') {
        body.remove(0);
    }
    marks + &body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str, recycled: bool) -> TokenCell {
        TokenCell {
            id: 7,
            text: text.into(),
            doc_start: false,
            entropy_plain: 1.0,
            entropy_recycled: None,
            nll_plain: 1.0,
            recycled,
            ..TokenCell::default()
        }
    }

    #[test]
    fn nothing_reaches_over_the_width() {
        let texts =
            ["漢字", "\u{200b}", "", "\u{301}", "👩‍👩‍👧", "averyveryverylongtoken", "\u{1b}[2J", " a", "\n\n"];
        let cells: Vec<_> = texts.iter().map(|text| cell(text, true)).collect();
        for width in 1..30 {
            for token in arrange(&cells, width) {
                assert!(token.column + token.width <= width.max(1), "{token:?} in {width}");
                assert_eq!(text::width(&token.text), usize::from(token.width));
            }
        }
    }

    #[test]
    fn marks_take_the_place_of_a_leading_space() {
        let placed = arrange(&[cell("A", false), cell(" cat", true), cell(" dog", false)], 20);
        let texts: Vec<_> = placed.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["A", "▸cat", " dog"]);
        assert_eq!(placed[2].column, 5);
    }

    #[test]
    fn whole_words_get_gaps_and_blank_tokens_are_seen() {
        let placed = arrange(&[cell("every", false), cell("cat", false), cell("\n", false)], 20);
        assert_eq!(placed[1].column, 6);
        assert_eq!(placed[2].text, "⏎");
        assert_eq!(arrange(&[cell(" ", false), cell("\\n", false)], 9)[1].text, "⏎");
    }

    #[test]
    fn moving_by_lines_keeps_near_the_column_and_stays_in_the_row() {
        let cells: Vec<_> = (0..10).map(|_| cell(" abcd", false)).collect();
        let placed = arrange(&cells, 20);
        assert_eq!(vertically(&placed, 1, 1), 5);
        assert_eq!(vertically(&placed, 5, -1), 1);
        assert_eq!(vertically(&placed, 3, 9), 9);
        assert_eq!(vertically(&[], 0, 1), 0);
    }
}
