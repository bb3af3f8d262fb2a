//! Owns: writing values into the text of a config file, its comments, order, spacing and line ends kept.
//! Must not know: what a key means, files.
//! Invariant: what is not set stays as it is, byte for byte; a value that is there already is not written again.
//!
//! The parsed document only says where things stand; the text itself is cut and joined. Written back as a document it
//! would lose the line ends of Windows.

use super::load::line_of;
use super::{Config, Key};
use std::ops::Range;
use toml::Value;
use toml_edit::{Document, Item, TableLike};

/// Below this a number is written with an exponent, as people write learning rates.
const SMALL: f64 = 1e-4;
/// From this on, too.
const LARGE: f64 = 1e16;

/// `text` with each key of `values` set. A key that is not there comes to the end of its section, a section that is
/// not there to the end of the text. An error names the line of `text` that is in the way.
pub fn set(text: &str, values: &[(&Key, &Value)]) -> Result<String, String> {
    // All places first: lines in errors are those of the text as it was given.
    parsed(text)?;
    for (key, _) in values {
        place(text, key)?;
    }
    values.iter().try_fold(text.to_owned(), |text, (key, value)| set_one(text, key, value))
}

/// `text` with all values of `config`: it then holds the whole of it.
pub fn complete(text: &str, config: &Config) -> Result<String, String> {
    let values: Vec<(&Key, Value)> = Config::keys().map(|key| (key, config.value(key))).collect();
    let values: Vec<(&Key, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
    set(text, &values)
}

/// Where a key stands, or where it would.
enum Place {
    /// It has a value.
    Value { key: usize, value: Range<usize>, section: usize },
    /// A line of its own, after the line where `after` is; written `section.name` where `dotted`.
    Line { after: usize, like: usize, dotted: bool },
    /// Inside of braces, after `after`; the first one there or not.
    Inline { after: usize, first: bool },
    /// Its section is not there.
    End,
}

fn set_one(text: String, key: &Key, value: &Value) -> Result<String, String> {
    if holds(&text, key, value) {
        return Ok(text);
    }
    let name = format!("{} = {}", key.name, written(value));
    let set = match place(&text, key)? {
        Place::Value { key, value: old, section } => replaced(&text, key, old, section, &written(value)),
        Place::Line { after, like, dotted } => {
            let dot = if dotted { format!("{}.", key.section) } else { String::new() };
            with_line(&text, after, &format!("{}{dot}{name}", indent(&text, like)))
        }
        Place::Inline { after, first: true } => {
            let space = if text[after..].starts_with('}') { " " } else { "" };
            spliced(&text, after..after, &format!(" {name}{space}"))
        }
        Place::Inline { after, first: false } => spliced(&text, after..after, &format!(", {name}")),
        Place::End => with_section(&text, key.section, &name),
    };
    Ok(set)
}

fn parsed(text: &str) -> Result<Document<&str>, String> {
    Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        format!("line {}: {}", line_of(text, at), error.message().replace('\n', " · "))
    })
}

fn place(text: &str, key: &Key) -> Result<Place, String> {
    let document = parsed(text)?;
    let Some((head, item)) = document.as_table().get_key_value(key.section) else { return Ok(Place::End) };
    let head = head.span().unwrap_or_default();
    let line = line_of(text, head.start);
    let Some(section) = item.as_table_like() else {
        return Err(format!("line {line}: `{}` is not a section", key.section));
    };
    if let Some((name, item)) = section.get_key_value(key.name) {
        let at = name.span().unwrap_or_default().start;
        let whole = item.is_value() && !item.as_table_like().is_some_and(TableLike::is_dotted);
        return match item.span().filter(|_| whole) {
            Some(value) => Ok(Place::Value { key: at, value, section: head.start }),
            None => Err(format!("line {}: `{}` is a section, not a value", line_of(text, at), key.path())),
        };
    }
    Ok(free_place(item, section, head))
}

/// Where a new key of a section goes; `head` is where the section's name stands first.
fn free_place(item: &Item, section: &dyn TableLike, head: Range<usize>) -> Place {
    let starts_and_end = |(keys, value): &(Vec<&toml_edit::Key>, &toml_edit::Value)| {
        Some((keys.first()?.span()?.start, value.span()?.end))
    };
    let last = section.get_values().iter().filter_map(starts_and_end).max_by_key(|(_, end)| *end);
    match (item.as_table(), last) {
        // `[section.more]` alone: the section itself has no header.
        (Some(table), None) if table.is_implicit() => Place::End,
        (Some(table), Some((like, after))) => Place::Line { after, like, dotted: table.is_dotted() },
        // Below the header itself, which need not be where the name stands first.
        (Some(_), None) => {
            let after = item.span().map_or(head.end, |span| span.end);
            Place::Line { after, like: after, dotted: false }
        }
        (None, Some((_, after))) => Place::Inline { after, first: false },
        (None, None) => {
            Place::Inline { after: item.span().map_or(head.end, |span| span.start + 1), first: true }
        }
    }
}

/// Whether the key has the value already, however it is written.
fn holds(text: &str, key: &Key, value: &Value) -> bool {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    let old = table.as_ref().and_then(|table| table.get(key.section)?.get(key.name));
    old.is_some_and(|old| is_same(old, value))
}

fn is_same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
        }
        // A whole number may stand for a float, as a config is read, but not the other way round. Not every large
        // one is the float next to it.
        (Value::Integer(old), Value::Float(new)) => *old as f64 == *new && (*old as f64) as i64 == *old,
        (Value::Float(old), Value::Float(new)) => old == new || (old.is_nan() && new.is_nan()),
        (old, new) => old == new,
    }
}

/// `value` on one line.
fn written(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.is_finite() => match number.abs() {
            size if (SMALL..LARGE).contains(&size) => value.to_string(),
            _ => format!("{number:e}"),
        },
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(written).collect();
            format!("[{}]", values.join(", "))
        }
        // As a block of lines it would take on the line ends around it.
        Value::String(string) if string.contains(['\n', '\r']) => escaped(string),
        value => value.to_string(),
    }
}

fn escaped(string: &str) -> String {
    let escape = |character| match character {
        '"' | '\\' => format!("\\{character}"),
        control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
        other => other.to_string(),
    };
    format!("\"{}\"", string.chars().map(escape).collect::<String>())
}

/// The value at `old` replaced. Comments inside of it, between the lines of a list, come to stand above the line of
/// `key`, or of `section` where other things stand before the key on its line.
fn replaced(text: &str, key: usize, old: Range<usize>, section: usize, new: &str) -> String {
    let comments = comments(&text[old.clone()]);
    let above = if indent(text, key).len() == key - line_start(text, key) { key } else { section };
    let (above, indent) = (line_start(text, above), indent(text, above).to_owned());
    let end = line_end(text, above);
    let lines: String = comments.iter().map(|comment| format!("{indent}{comment}{end}")).collect();
    spliced(&spliced(text, old, new), above..above, &lines)
}

/// The comments in the text of a value, in order.
fn comments(value: &str) -> Vec<&str> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = value[at..].find(['#', '"', '\'']) {
        at += next;
        let rest = &value[at..];
        if !rest.starts_with('#') {
            at += string_len(rest);
            continue;
        }
        let comment = rest.lines().next().unwrap_or(rest);
        found.push(comment.trim_end());
        at += comment.len();
    }
    found
}

/// Bytes of the quoted string with which `rest` begins.
fn string_len(rest: &str) -> usize {
    let (quote, escapes) = if rest.starts_with('"') { ("\"", true) } else { ("'", false) };
    let triple = quote.repeat(3);
    let fence = if rest.starts_with(&triple) { triple.as_str() } else { quote };
    let bytes = rest.as_bytes();
    let mut at = fence.len();
    while at < bytes.len() && !bytes[at..].starts_with(fence.as_bytes()) {
        at += if escapes && bytes[at] == b'\\' { 2 } else { 1 };
    }
    at += fence.len();
    // Up to two more quotes may stand before the closing three.
    while fence.len() == 3 && bytes.get(at) == quote.as_bytes().first() {
        at += 1;
    }
    at.min(bytes.len())
}

/// `line` as a line of its own, below the one where `after` is.
fn with_line(text: &str, after: usize, line: &str) -> String {
    match text[after..].find('\n') {
        Some(end) => {
            let at = after + end + 1;
            spliced(text, at..at, &format!("{line}{}", line_end(text, after)))
        }
        None => format!("{text}{}{line}", line_end(text, 0)),
    }
}

/// A section with one line, at the end and a blank line below all else.
fn with_section(text: &str, section: &str, line: &str) -> String {
    let end = line_end(text, 0);
    let mut set = text.to_owned();
    if !(set.is_empty() || set.ends_with('\n')) {
        set.push_str(end);
    }
    if !(set.is_empty() || set.ends_with("\n\n") || set.ends_with("\n\r\n")) {
        set.push_str(end);
    }
    set + &format!("[{section}]{end}{line}{end}")
}

fn spliced(text: &str, at: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..at.start], &text[at.end..])
}

/// How the line ends where `at` is; as the first line does, if that is the last one.
fn line_end(text: &str, at: usize) -> &'static str {
    let before = text[at..].split_once('\n').or_else(|| text.split_once('\n')).map(|(line, _)| line);
    if before.is_some_and(|line| line.ends_with('\r')) { "\r\n" } else { "\n" }
}

fn line_start(text: &str, at: usize) -> usize {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    // A byte order mark stays first.
    if text[start..].starts_with('\u{feff}') { start + '\u{feff}'.len_utf8() } else { start }
}

/// The spaces with which the line begins where `at` is.
fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

#[cfg(test)]
mod tests;
