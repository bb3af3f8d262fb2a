//! Owns: LIKE: which texts a pattern describes.
//! Must not know: columns, nulls, how a pattern was written in SQL.
//! Invariant: the time is at most the product of the two lengths, whatever the pattern.

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `%`: any run of characters, also none.
    Run,
    /// `_`: one character.
    One,
    /// A character that stands for itself.
    Exactly(char),
}

/// Whether `pattern` describes all of `text`. `escape` before a character makes that one stand for itself; at the end
/// of the pattern it stands for itself, too.
pub(super) fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    let (text, pattern) = (text.chars().collect::<Vec<_>>(), pieces(pattern, escape));
    let (mut at, mut piece) = (0, 0);
    // The last run met and where the text behind it begins. A run only ever needs to grow, and only the last one.
    let mut run: Option<(usize, usize)> = None;
    while at < text.len() {
        match (pattern.get(piece), run) {
            (Some(Piece::Run), _) => {
                run = Some((piece, at));
                piece += 1;
            }
            (Some(found), _) if *found == Piece::One || *found == Piece::Exactly(text[at]) => {
                (at, piece) = (at + 1, piece + 1);
            }
            (_, Some((start, from))) => {
                run = Some((start, from + 1));
                (at, piece) = (from + 1, start + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[piece..].iter().all(|rest| *rest == Piece::Run)
}

fn pieces(pattern: &str, escape: Option<char>) -> Vec<Piece> {
    let mut characters = pattern.chars();
    let mut pieces = Vec::new();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            _ if Some(character) == escape => Piece::Exactly(characters.next().unwrap_or(character)),
            '%' => Piece::Run,
            '_' => Piece::One,
            _ => Piece::Exactly(character),
        });
    }
    pieces
}
