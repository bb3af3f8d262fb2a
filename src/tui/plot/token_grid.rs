//! Owns: the layout of a token row in terminal cells, and the values that can be shown for each token.
//! Must not know: colours, the terminal, which token is selected.
//! Invariant: no token exceeds the given width, whatever its text.

use crate::schema::token_rows::{TokenCell, TokenRow};
use crate::tui::text;

/// Precedes a recycled token.
pub const RECYCLED_MARK: char = '▸';
/// Precedes the first token of a document.
pub const DOCUMENT_MARK: char = '┃';

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TokenValue {
    #[default]
    Plain,
    Recycled,
    /// Entropy of the recycled pass minus that of the plain pass.
    #[strum(serialize = "recycled − plain")]
    Difference,
    /// Negative log-likelihood of the next token in the plain pass.
    Nll,
}

impl TokenValue {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn next(self) -> Self {
        match self {
            TokenValue::Plain => TokenValue::Recycled,
            TokenValue::Recycled => TokenValue::Difference,
            TokenValue::Difference => TokenValue::Nll,
            TokenValue::Nll => TokenValue::Plain,
        }
    }

    /// Returns the value of `cell` in nats. `None` without a recycled pass, or if the value is not finite.
    pub fn value_of(self, cell: &TokenCell) -> Option<f64> {
        let value = match self {
            TokenValue::Plain => cell.entropy_plain,
            TokenValue::Recycled => cell.entropy_recycled?,
            TokenValue::Difference => cell.entropy_recycled? - cell.entropy_plain,
            TokenValue::Nll => cell.nll_plain,
        };
        value.is_finite().then_some(f64::from(value))
    }

    /// Returns the ends of the colour scale in nats: 0 to ln V, or ±(ln V)/2. An NLL may exceed them.
    pub fn range(self, vocab_size: usize) -> (f64, f64) {
        let max = (vocab_size.max(2) as f64).ln();
        match self {
            TokenValue::Difference => (-max / 2.0, max / 2.0),
            _ => (0.0, max),
        }
    }
}

pub fn has_recycled(row: &TokenRow) -> bool {
    row.cells.iter().any(|cell| cell.entropy_recycled.is_some())
}

/// A token's text and its position in the layout.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedToken {
    /// Index of its line in the row.
    pub line: usize,
    /// First terminal cell in the line.
    pub column: u16,
    /// Displayed text with its marks.
    pub text: String,
    pub width: u16,
}

/// Lays out `cells` in reading order, in lines of `width` terminal cells.
pub fn layout_tokens(cells: &[TokenCell], width: u16) -> Vec<PlacedToken> {
    let width = width.max(1);
    let gap = u16::from(needs_gaps(cells));
    let (mut line, mut column) = (0, 0);
    let mut placed = Vec::with_capacity(cells.len());
    for cell in cells {
        let text = text::clip(&display_text(cell), usize::from(width));
        let wide = text::width(&text) as u16;
        if column > 0 && column + wide > width {
            line += 1;
            column = 0;
        }
        placed.push(PlacedToken { line, column, text, width: wide });
        column += wide + gap;
    }
    placed
}

/// Returns the token `by` lines below `from`, nearest to its column, within the first and last line.
pub fn move_by_lines(placed: &[PlacedToken], from: usize, by: isize) -> usize {
    let (Some(here), Some(last)) = (placed.get(from), placed.last()) else {
        return 0;
    };
    let line = here.line.saturating_add_signed(by).min(last.line);
    let start = placed.partition_point(|token| token.line < line);
    let end = placed.partition_point(|token| token.line <= line);
    let before = placed[start..end].partition_point(|token| token.column <= here.column);
    start + before.saturating_sub(1)
}

/// Returns whether tokens need gaps: whole-word tokenizers have no token with a leading space.
fn needs_gaps(cells: &[TokenCell]) -> bool {
    let spaced = |cell: &TokenCell| cell.text.starts_with(' ') && cell.text.trim().len() < cell.text.len();
    let brings_space = cells.iter().any(spaced);
    let letters = |cell: &TokenCell| cell.text.chars().filter(|c| c.is_alphanumeric()).count() > 1;
    !brings_space && cells.iter().any(letters)
}

/// Returns the token's displayed text with its marks. A mark replaces a leading space.
fn display_text(cell: &TokenCell) -> String {
    let mut body = text::make_visible(&cell.text);
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
    fn no_token_exceeds_the_width() {
        let texts = ["漢字", "\u{200b}", "", "\u{301}", "👩‍👩‍👧", "averyveryverylongtoken", "\u{1b}[2J", " a", "\n\n"];
        let cells: Vec<_> = texts.iter().map(|text| cell(text, true)).collect();
        for width in 1..30 {
            for token in layout_tokens(&cells, width) {
                assert!(token.column + token.width <= width.max(1), "{token:?} in {width}");
                assert_eq!(text::width(&token.text), usize::from(token.width));
            }
        }
    }

    #[test]
    fn marks_replace_a_leading_space() {
        let placed = layout_tokens(&[cell("A", false), cell(" cat", true), cell(" dog", false)], 20);
        let texts: Vec<_> = placed.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["A", "▸cat", " dog"]);
        assert_eq!(placed[2].column, 5);
    }

    #[test]
    fn whole_words_get_gaps_and_blank_tokens_are_visible() {
        let placed = layout_tokens(&[cell("every", false), cell("cat", false), cell("\n", false)], 20);
        assert_eq!(placed[1].column, 6);
        assert_eq!(placed[2].text, "⏎");
        assert_eq!(layout_tokens(&[cell(" ", false), cell("\\n", false)], 9)[1].text, "⏎");
    }

    #[test]
    fn moving_by_lines_keeps_the_column_and_stays_in_the_row() {
        let cells: Vec<_> = (0..10).map(|_| cell(" abcd", false)).collect();
        let placed = layout_tokens(&cells, 20);
        assert_eq!(move_by_lines(&placed, 1, 1), 5);
        assert_eq!(move_by_lines(&placed, 5, -1), 1);
        assert_eq!(move_by_lines(&placed, 3, 9), 9);
        assert_eq!(move_by_lines(&[], 0, 1), 0);
    }
}
