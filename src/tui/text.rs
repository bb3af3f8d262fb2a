//! Owns: numbers, durations and foreign text as they stand on the screen; their width in cells.
//! Must not know: panels, colours.
//! Invariant: what `visible` and `clip` return holds no control, zero-width or direction-changing character, so
//! its measured width is the width it takes.

use crate::record::registry::Metric;
use ratatui::text::Span;
use std::time::Duration;

/// Width of `text` in cells.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
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

/// `950`, `12.3k`, `1.26M`, `3.40G`: three figures.
pub fn short(number: f64) -> String {
    let (scaled, suffix) = match number.abs() {
        n if n >= 1e12 => (number / 1e12, "T"),
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e4 => (number / 1e3, "k"),
        _ => return format!("{number:.0}"),
    };
    let decimals = if scaled.abs() >= 99.95 {
        0
    } else if scaled.abs() >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.decimals$}{suffix}")
}

/// `12.3 G`, `1.26 M`: three figures and the unit's prefix, a space between.
pub fn scaled(number: f64) -> String {
    let (scaled, prefix) = match number.abs() {
        n if n >= 1e15 => (number / 1e15, "P"),
        n if n >= 1e12 => (number / 1e12, "T"),
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let decimals = match scaled.abs() {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$} {prefix}")
}

/// `812 MiB`, `3.40 GiB`.
pub fn bytes(count: u64) -> String {
    let mib = count as f64 / f64::from(1 << 20);
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// A loss, an entropy, a norm: three decimals, or fewer where the number is large.
pub fn real(number: f64) -> String {
    match number.abs() {
        n if n >= 1e5 => format!("{number:.1e}"),
        n if n >= 100.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// A setting: as short as it can be said with three figures.
pub fn setting(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        n if n < 1e-2 => format!("{number:.1e}").replace(".0e", "e"),
        n if n >= 1e4 => short(number),
        _ => {
            let text = format!("{number:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// `45s`, `1m 23s`, `2h 03m`, `3d 04h`.
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

/// A metric's name in words: its column name without the unit.
pub fn label(metric: Metric) -> String {
    let spec = metric.spec();
    let bare = spec.name.strip_suffix(spec.unit).map_or(spec.name, |name| name.trim_end_matches('_'));
    let bare = if bare.is_empty() { spec.name } else { bare };
    bare.replace('_', " ")
}

/// A metric's value in words, as its unit asks for.
pub fn value(metric: Metric, number: f64) -> String {
    match (metric.spec().kind, metric) {
        (crate::record::registry::Kind::Count, _) => count(number.max(0.0) as u64),
        (_, Metric::Lr) => setting(number),
        (_, Metric::RecycleProbability | Metric::RecycleFraction | Metric::RecycleWeight) => setting(number),
        (_, Metric::TokensPerS) => short(number),
        _ if metric.spec().unit == "flop" => short(number),
        (_, Metric::StepMs | Metric::WallS) => format!("{number:.1}"),
        _ => real(number),
    }
}

/// `text` with what would break a line or a cell made visible or left out.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            '\r' => out.push('␍'),
            c if c.is_control() => out.extend(c.escape_default()),
            c if is_cell(c) => out.push(c),
            _ => {}
        }
    }
    out
}

/// As [`visible`], with every character that takes no cell of its own written as its code.
pub fn spelled(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => visible(&c.to_string()),
            ' ' => "␣".into(),
            c if c.is_control() || !is_cell(c) => c.escape_unicode().to_string(),
            c => c.to_string(),
        })
        .collect()
}

fn is_cell(c: char) -> bool {
    c.is_ascii()
        || (width(c.encode_utf8(&mut [0; 4])) > 0 && !matches!(c, '\u{ad}' | '\u{2028}' | '\u{2029}'))
}

/// `text` made visible and cut to `cells` cells, with `…` where it was cut.
pub fn clip(text: &str, cells: usize) -> String {
    let text = visible(text);
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

/// `text` in lines of at most `cells` cells, broken between words where there are any.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    text.lines().flat_map(|line| wrap_line(&visible(line), cells)).collect()
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
    fn numbers_are_said_shortly() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        for (number, text) in [(950.0, "950"), (12_345.0, "12.3k"), (1_260_000.0, "1.26M"), (2e13, "20.0T")] {
            assert_eq!(short(number), text);
        }
        for (number, text) in [(0.0, "0"), (0.125, "0.125"), (1.0, "1"), (8.1e-4, "8.1e-4")] {
            assert_eq!(setting(number), text);
        }
        for (seconds, text) in [(45, "45s"), (83, "1m 23s"), (7380, "2h 03m"), (273_600, "3d 04h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn large_numbers_have_prefixes() {
        for (number, text) in [(2.1e11, "210 G"), (6.12e9, "6.12 G"), (950.0, "950 ")] {
            assert_eq!(scaled(number), text);
        }
        assert_eq!((bytes(512 << 20), bytes(3 << 30)), ("512 MiB".into(), "3.0 GiB".into()));
    }

    #[test]
    fn labels_are_the_registrys_names_without_the_unit() {
        assert_eq!(label(Metric::LossPlainAtRecycled), "loss plain at recycled");
        assert_eq!(label(Metric::Lr), "lr");
        assert_eq!(label(Metric::Tokens), "tokens");
        assert_eq!(label(Metric::StepMs), "step");
    }

    #[test]
    fn nothing_that_breaks_a_cell_stays() {
        assert_eq!(visible("a\nb\u{1b}[31m\u{200b}\u{301}c"), "a⏎b\\u{1b}[31mc");
        assert_eq!(spelled(" e\u{301}"), "␣e\\u{301}");
    }

    #[test]
    fn clipping_and_wrapping_count_cells_not_characters() {
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert!(wrap("漢字 漢字漢字", 3).iter().all(|line| width(line) <= 3));
    }
}
