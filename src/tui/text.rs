//! Owns: formatting numbers, durations and foreign text for the screen; their width in cells.
//! Must not know: panels, colours.
//! Invariant: the text that [`make_visible`] and [`clip`] return holds no control, zero-width or
//! direction-changing character, so its measured width is the width it takes.

use crate::schema::metrics::{ColumnKind, Metric};
use crate::schema::token_rows::TokenRow;
use ratatui::text::Span;
use std::time::Duration;

pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Formats a number with thousands separators: `1,234,567`.
pub fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Formats a number with three significant digits and a suffix: `950`, `12.3k`, `1.26M`, `3.40G`.
pub fn abbreviated(number: f64) -> String {
    let (scaled, suffix) = match number.abs() {
        n if n >= 1e12 => (number / 1e12, "T"),
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e4 => (number / 1e3, "k"),
        _ => return format!("{number:.0}"),
    };
    three_digits(scaled) + suffix
}

fn three_digits(number: f64) -> String {
    let decimals = match number.abs() {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// Formats a number with three significant digits, a space and the SI prefix of its unit: `12.3 G`, `1.26 M`.
pub fn with_si_prefix(number: f64) -> String {
    let (scaled, prefix) = match number.abs() {
        n if n >= 1e15 => (number / 1e15, "P"),
        n if n >= 1e12 => (number / 1e12, "T"),
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    format!("{} {prefix}", three_digits(scaled))
}

/// Formats a size: `812 MiB`, `3.4 GiB`.
pub fn bytes(count: u64) -> String {
    let mib = count as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// Formats a loss, an entropy or a norm: three decimals, fewer for large numbers.
pub fn decimal(number: f64) -> String {
    match number.abs() {
        n if n >= 1e5 => format!("{number:.1e}"),
        n if n >= 100.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// Formats a setting as briefly as three significant digits allow: `0`, `0.125`, `8.1e-4`.
pub fn setting_value(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        n if n < 1e-2 => format!("{number:.1e}").replace(".0e", "e"),
        n if n >= 1e4 => abbreviated(number),
        _ => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// Formats a duration with its two largest units: `45s`, `1m 23s`, `2h 03m`, `3d 04h`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Returns a metric's name in words: its column name without the unit.
pub fn metric_label(metric: Metric) -> String {
    let spec = metric.spec();
    let bare = spec.name.strip_suffix(spec.unit).map_or(spec.name, |name| name.trim_end_matches('_'));
    let bare = if bare.is_empty() { spec.name } else { bare };
    bare.replace('_', " ")
}

/// Formats a metric's value as its unit requires.
pub fn metric_value(metric: Metric, number: f64) -> String {
    use Metric::{Lr, RecycleFraction, RecycleProbability, RecycleWeight, StepMs, TokensPerS, WallS};
    match (metric.spec().kind, metric) {
        (ColumnKind::Count, _) => with_separators(number.max(0.0) as u64),
        (_, Lr | RecycleProbability | RecycleFraction | RecycleWeight) => setting_value(number),
        (_, TokensPerS) => abbreviated(number),
        _ if metric.spec().unit == "flop" => abbreviated(number),
        (_, StepMs | WallS) => format!("{number:.1}"),
        _ => decimal(number),
    }
}

/// Replaces line breaks, tabs and control characters by visible ones, and drops characters that take no cell.
pub fn make_visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            '\r' => out.push('␍'),
            c if c.is_control() => out.extend(c.escape_default()),
            c if takes_cell(c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// Like [`make_visible`], but spaces become `␣` and characters that take no cell are written as their code point.
pub fn spell_out(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => make_visible(&c.to_string()),
            ' ' => "␣".into(),
            c if c.is_control() || !takes_cell(c) => c.escape_unicode().to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// Returns the spelled out text of a token of `row`, or its id if the text is not known.
pub fn token_text(row: &TokenRow, id: u32) -> String {
    row.token_texts.get(&id).map_or_else(|| id.to_string(), |text| spell_out(text))
}

/// Returns whether a character takes at least one cell.
fn takes_cell(c: char) -> bool {
    c.is_ascii() || (width(c.encode_utf8(&mut [0; 4])) > 0 && !matches!(c, '\u{ad}' | '\u{2028}' | '\u{2029}'))
}

/// Makes `text` visible and cuts it to `cells` cells; a cut ends in `…`.
pub fn clip(text: &str, cells: usize) -> String {
    let text = make_visible(text);
    if width(&text) <= cells {
        return text;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = width(c.encode_utf8(&mut [0; 4]));
        if used + next + 1 > cells {
            break;
        }
        out.push(c);
        used += next;
    }
    if cells > 0 {
        out.push('…');
    }
    out
}

/// Makes `text` visible and keeps its end in `cells` cells, after `…` if it was cut.
pub fn clip_start(text: &str, cells: usize) -> String {
    let text = make_visible(text);
    if width(&text) <= cells {
        return text;
    }
    let mut from = text.len();
    let mut used = 1;
    for (at, c) in text.char_indices().rev() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > cells {
            break;
        }
        from = at;
    }
    if cells > 0 { format!("…{}", &text[from..]) } else { String::new() }
}

/// Breaks `text` into lines of at most `cells` cells, between words if possible.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    text.lines().flat_map(|line| wrap_line(&make_visible(line), cells)).collect()
}

fn wrap_line(line: &str, cells: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        if used > 0 && used + width(word.trim_end()) > cells {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let next = width(c.encode_utf8(&mut [0; 4]));
            if used + next > cells && c != ' ' {
                lines.push(String::new());
                used = 0;
            }
            if used + next <= cells
                && let Some(last) = lines.last_mut()
            {
                last.push(c);
                used += next;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(with_separators(1_234_567), "1,234,567");
        assert_eq!(with_separators(12), "12");
        for (number, text) in [(950.0, "950"), (12_345.0, "12.3k"), (1_260_000.0, "1.26M"), (2e13, "20.0T")] {
            assert_eq!(abbreviated(number), text);
        }
        for (number, text) in [(0.0, "0"), (0.125, "0.125"), (1.0, "1"), (8.1e-4, "8.1e-4")] {
            assert_eq!(setting_value(number), text);
        }
        for (seconds, text) in [(45, "45s"), (83, "1m 23s"), (7380, "2h 03m"), (273_600, "3d 04h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn large_numbers_have_prefixes() {
        for (number, text) in [(2.1e11, "210 G"), (6.12e9, "6.12 G"), (950.0, "950 ")] {
            assert_eq!(with_si_prefix(number), text);
        }
        assert_eq!((bytes(512 << 20), bytes(3 << 30)), ("512 MiB".into(), "3.0 GiB".into()));
    }

    #[test]
    fn labels_are_the_registrys_names_without_the_unit() {
        assert_eq!(metric_label(Metric::LossPlainAtRecycled), "loss plain at recycled");
        assert_eq!(metric_label(Metric::Lr), "lr");
        assert_eq!(metric_label(Metric::Tokens), "tokens");
        assert_eq!(metric_label(Metric::StepMs), "step");
    }

    #[test]
    fn nothing_that_breaks_a_cell_stays() {
        assert_eq!(make_visible("a\nb\u{1b}[31m\u{200b}\u{301}c"), "a⏎b\\u{1b}[31mc");
        assert_eq!(spell_out(" e\u{301}"), "␣e\\u{301}");
    }

    #[test]
    fn clipping_and_wrapping_count_cells_not_characters() {
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!([6, 4, 1, 0].map(|cells| clip_start("a漢字", cells)), ["a漢字", "…字", "…", ""]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert!(wrap("漢字 漢字漢字", 3).iter().all(|line| width(line) <= 3));
    }
}
