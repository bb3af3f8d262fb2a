//! Owns: a completion as pieces: text between thoughts, and latents, each with its entropy.
//! Must not know: where the pieces are drawn.
//! Invariant: the pieces together are the text, made visible. A latent differs from text by its brackets, not by colour
//! alone.

use super::RenderContext;
use crate::schema::rollout_rows::RolloutRow;
use crate::tui::plot::token_grid::TokenValue;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// A latent, or a stretch of text.
#[derive(Clone, Debug, PartialEq)]
struct TextPiece {
    text: String,
    is_latent: bool,
    /// Entropy of the output that it was decided by, nats: of a latent, of a token, or the mean of several tokens.
    entropy: Option<f64>,
}

/// Divides a completion. Tokens have entropies of their own if they are as many as the words between two thoughts.
fn text_pieces(row: &RolloutRow) -> Vec<TextPiece> {
    let parts = split_latents(&row.text);
    let mut positions = Positions::new(row);
    let has_all_latents = parts.iter().filter(|(_, is_latent)| *is_latent).count() == row.latents;
    let mut pieces = Vec::new();
    for (part, is_latent) in parts {
        let part = text::make_visible(part);
        if is_latent {
            let entropy = if has_all_latents { positions.next_latent() } else { None };
            pieces.push(TextPiece { text: part, is_latent, entropy });
            continue;
        }
        let entropies = if has_all_latents { positions.next_tokens() } else { Vec::new() };
        let words = words_with_spaces(&part);
        if words.len() == entropies.len() {
            let piece = |(word, entropy): (&str, f64)| TextPiece {
                text: word.to_owned(),
                is_latent,
                entropy: Some(entropy).filter(|entropy| entropy.is_finite()),
            };
            pieces.extend(words.into_iter().zip(entropies).map(piece));
        } else {
            pieces.push(TextPiece { text: part, is_latent, entropy: mean(&entropies) });
        }
    }
    pieces
}

/// The positions of a rollout, from the first.
struct Positions<'a> {
    row: &'a RolloutRow,
    at: usize,
}

impl<'a> Positions<'a> {
    fn new(row: &'a RolloutRow) -> Self {
        Self { row, at: 0 }
    }

    fn entropy(&self, at: usize) -> f64 {
        self.row.entropies.get(at).map_or(f64::NAN, |entropy| f64::from(*entropy))
    }

    /// Takes the next latent.
    fn next_latent(&mut self) -> Option<f64> {
        let at = self.at + self.row.token_ids.get(self.at..)?.iter().position(Option::is_none)?;
        self.at = at + 1;
        Some(self.entropy(at)).filter(|entropy| entropy.is_finite())
    }

    /// Takes the tokens before the next latent.
    fn next_tokens(&mut self) -> Vec<f64> {
        let rest = self.row.token_ids.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|id| id.is_some()).count();
        let from = self.at;
        self.at += count;
        (from..from + count).map(|at| self.entropy(at)).collect()
    }
}

/// Splits a text into stretches: `true` for those in the brackets of a latent, which are kept.
fn split_latents(whole: &str) -> Vec<(&str, bool)> {
    let (mut parts, mut rest) = (Vec::new(), whole);
    while let Some(from) = rest.find('⟨') {
        let Some(to) = rest[from..].find('⟩').map(|to| from + to + '⟩'.len_utf8()) else { break };
        parts.push((&rest[..from], false));
        parts.push((&rest[from..to], true));
        rest = &rest[to..];
    }
    parts.push((rest, false));
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

/// Splits before words, so that a space belongs to the word after it.
fn words_with_spaces(part: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut from, mut in_word) = (0, false);
    for (at, c) in part.char_indices() {
        if c == ' ' && in_word {
            words.push(&part[from..at]);
            from = at;
        }
        in_word = c != ' ';
    }
    match words.last_mut() {
        // Spaces at the end belong to the last word.
        Some(last) if part[from..].trim().is_empty() => *last = &part[from - last.len()..],
        _ if part[from..].is_empty() => {}
        _ => words.push(&part[from..]),
    }
    words
}

fn mean(values: &[f64]) -> Option<f64> {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
}

/// Returns the mean entropies of tokens and of latents, nats.
pub(super) fn mean_entropies(row: &RolloutRow) -> [Option<f64>; 2] {
    let of = |is_latent: bool| {
        let places = row.token_ids.iter().zip(&row.entropies).filter(|(id, _)| id.is_none() == is_latent);
        mean(&places.map(|(_, entropy)| f64::from(*entropy)).collect::<Vec<_>>())
    };
    [of(false), of(true)]
}

/// How a completion is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextColors {
    /// Latents apart from text.
    Kinds,
    /// By entropy, as far as it is known.
    Entropies,
}

/// Returns a completion in one line of `width` cells. What does not fit is cut.
pub(super) fn completion_line(ctx: RenderContext, row: &RolloutRow, width: usize) -> Line<'static> {
    let mut line = Line::default();
    let mut room = width;
    for (index, piece) in text_pieces(row).into_iter().enumerate() {
        let whole = if index == 0 { piece.text.trim_start() } else { &piece.text };
        let text = text::clip(whole, room);
        let is_cut = text != whole;
        room -= text::width(&text).min(room);
        line.push_span(Span::styled(text, piece_style(ctx, &piece, TextColors::Kinds)));
        if is_cut {
            break;
        }
    }
    line
}

/// Returns a completion in lines of `width` cells.
pub(super) fn completion_lines(
    ctx: RenderContext,
    row: &RolloutRow,
    width: usize,
    colors: TextColors,
) -> Vec<Line<'static>> {
    let (mut lines, mut used) = (vec![Line::default()], 0);
    for piece in text_pieces(row) {
        let style = piece_style(ctx, &piece, colors);
        // A latent is not broken between lines unless it is wider than one.
        let units = if piece.is_latent { vec![piece.text.as_str()] } else { words_with_spaces(&piece.text) };
        for unit in units {
            let starts_line = used > 0 && used + text::width(unit.trim_end()) > width;
            let unit = if starts_line { unit.trim_start() } else { unit };
            for part in text::wrap(unit, width) {
                if starts_line && used > 0 || used + text::width(&part) > width {
                    lines.push(Line::default());
                    used = 0;
                }
                used += text::width(&part);
                if let Some(line) = lines.last_mut() {
                    line.push_span(Span::styled(part, style));
                }
            }
        }
    }
    lines
}

fn piece_style(ctx: RenderContext, piece: &TextPiece, colors: TextColors) -> Style {
    let kind = if piece.is_latent { Role::Recycled } else { Role::Value };
    match (colors, piece.entropy) {
        (TextColors::Entropies, Some(entropy)) if ctx.theme.has_colors() => {
            let vocab_size = ctx.state.run.as_ref().map_or(2, |run| run.vocab_size);
            let (low, high) = TokenValue::Plain.range(vocab_size);
            ctx.theme.heat((entropy - low) / (high - low))
        }
        _ => ctx.theme.style(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, ids: &[Option<u32>]) -> RolloutRow {
        let latents = ids.iter().filter(|id| id.is_none()).count();
        let entropies = (0..ids.len()).map(|at| at as f32).collect();
        RolloutRow { text: text.into(), latents, token_ids: ids.to_vec(), entropies, ..RolloutRow::default() }
    }

    fn pieces(row: &RolloutRow) -> Vec<(String, bool, Option<f64>)> {
        text_pieces(row).into_iter().map(|piece| (piece.text, piece.is_latent, piece.entropy)).collect()
    }

    #[test]
    fn words_and_latents_have_the_entropies_of_their_positions() {
        let found = pieces(&row("so ⟨4 10⟩⟨7⟩ 1 2", &[Some(1), None, None, Some(2), Some(3)]));
        let wanted =
            [("so ", false, 0.0), ("⟨4 10⟩", true, 1.0), ("⟨7⟩", true, 2.0), (" 1", false, 3.0), (" 2", false, 4.0)];
        let wanted: Vec<_> = wanted.map(|(text, latent, entropy)| (text.to_owned(), latent, Some(entropy))).into();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_stretch_whose_tokens_are_no_words_has_their_mean() {
        let found = pieces(&row("wumpus⟨4⟩", &[Some(1), Some(2), None]));
        assert_eq!(found, [("wumpus".into(), false, Some(0.5)), ("⟨4⟩".into(), true, Some(2.0))]);
    }

    #[test]
    fn brackets_of_the_text_itself_are_no_positions() {
        let found = pieces(&row("a ⟨b⟩ c ⟨", &[Some(1)]));
        let texts: Vec<_> = found.iter().map(|(text, ..)| text.as_str()).collect();
        assert_eq!(texts, ["a ", "⟨b⟩", " c ⟨"]);
        assert!(found.iter().all(|(.., entropy)| entropy.is_none()), "{found:?}");
        assert!(pieces(&row("", &[])).is_empty());
        assert_eq!(pieces(&row("\u{1b}[2J⟨\n⟩", &[None]))[1].0, "⟨⏎⟩");
    }

    #[test]
    fn spaces_belong_to_a_word() {
        assert_eq!(words_with_spaces("a bc  d "), ["a", " bc", "  d "]);
        assert_eq!(words_with_spaces("  "), ["  "]);
        assert_eq!(words_with_spaces(" a"), [" a"]);
        assert!(words_with_spaces("").is_empty());
    }
}
