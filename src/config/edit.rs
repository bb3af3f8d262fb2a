//! Owns: writing values into the text of a config file. Comments, order and spacing stay.
//! Must not know: what a key means, files.
//! Invariant: a value that the text holds already is not written again; a text without a change comes back byte for
//! byte.

use super::load::line_at_offset;
use super::{Config, ConfigKey};
use toml::Value;
use toml_edit::{Document, DocumentMut, Item, RawString, Table, TableLike};

/// Floats of other magnitudes are written with an exponent, as people write learning rates.
const PLAIN_MAGNITUDES: std::ops::Range<f64> = 1e-4..1e16;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Returns `text` with each key of `values` set. A missing key is added at the end of its section, a missing section at
/// the end of the text. Line ends become those of most lines.
///
/// # Errors
/// The text is not TOML, or a section or key is of another kind. The message names the line.
pub fn set(text: &str, values: &[(&ConfigKey, &Value)]) -> Result<String, String> {
    let body = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let parsed = parse(body)?;
    for (key, _) in values {
        check_kind(&parsed, key, body)?;
    }
    let mut document = parsed.into_mut();
    let changed: Vec<_> = values.iter().filter(|(key, value)| !holds(body, key, value)).collect();
    if changed.is_empty() {
        return Ok(text.to_owned());
    }
    let ends_line = text.ends_with('\n') || document.is_empty();
    for (key, value) in changed {
        set_value(&mut document, key, value)?;
    }
    let mut new = document.to_string();
    if !ends_line {
        new.truncate(new.trim_end_matches(['\r', '\n']).len());
    }
    Ok(restore_layout(text, &new))
}

/// Returns `text` with every key of `config`: the result holds the whole config.
pub fn complete(text: &str, config: &Config) -> Result<String, String> {
    let values: Vec<(&ConfigKey, Value)> = Config::keys().map(|key| (key, config.value(key))).collect();
    let values: Vec<(&ConfigKey, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
    set(text, &values)
}

fn parse(text: &str) -> Result<Document<&str>, String> {
    Document::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        format!("line {}: {}", line_at_offset(text, offset), error.message().replace('\n', " · "))
    })
}

/// Checks that the key's section is a table and the key itself a value, as far as they exist.
fn check_kind(document: &Document<&str>, key: &ConfigKey, text: &str) -> Result<(), String> {
    let line = |key: &toml_edit::Key| line_at_offset(text, key.span().unwrap_or_default().start);
    let Some((name, item)) = document.as_table().get_key_value(key.section) else { return Ok(()) };
    let Some(section) = item.as_table_like() else {
        return Err(format!("line {}: `{}` is not a section", line(name), key.section));
    };
    let written = key.name_in(|name| section.contains_key(name));
    let Some((name, item)) = section.get_key_value(written) else { return Ok(()) };
    let is_value = item.is_value() && !item.as_table_like().is_some_and(TableLike::is_dotted);
    is_value.then_some(()).ok_or_else(|| format!("line {}: `{}` is a section, not a value", line(name), key.path()))
}

fn set_value(document: &mut DocumentMut, key: &ConfigKey, value: &Value) -> Result<(), String> {
    let mut new: toml_edit::Value = to_one_line(value).parse().map_err(|error| format!("`{}`: {error}", key.path()))?;
    section_mut(document, key.section)?;
    let is_inline = document.get(key.section).is_some_and(Item::is_inline_table);
    let section = section_mut(document, key.section)?;
    let written = key.name_in(|name| section.contains_key(name));
    if let Some(old) = section.get_mut(written).and_then(Item::as_value_mut) {
        *new.decor_mut() = old.decor().clone();
        let comments = comments_within(old);
        *old = new;
        let name = if is_inline {
            document.key_mut(key.section)
        } else {
            section_mut(document, key.section)?.key_mut(written)
        };
        if let Some(mut name) = name.filter(|_| !comments.is_empty()) {
            let prefix = name.leaf_decor().prefix().and_then(RawString::as_str).unwrap_or_default().to_owned();
            let indent = prefix.rsplit('\n').next().unwrap_or_default().to_owned();
            let lines: String = comments.iter().map(|line| format!("{line}\n{indent}")).collect();
            name.leaf_decor_mut().set_prefix(format!("{prefix}{lines}"));
        }
        return Ok(());
    }
    if let Some(inline) = document.get_mut(key.section).and_then(Item::as_inline_table_mut) {
        // The space before the closing brace stays there.
        if !inline.trailing().as_str().unwrap_or_default().is_empty() {
            new.decor_mut().set_suffix("");
        } else if let Some((_, last)) = inline.iter_mut().last() {
            new.decor_mut().set_suffix(last.decor().suffix().cloned().unwrap_or_default());
            last.decor_mut().set_suffix("");
        }
    }
    let section = section_mut(document, key.section)?;
    let indent = section.iter().next().map(|(first, _)| first.to_owned());
    let indent = indent.and_then(|first| section.key(&first)?.leaf_decor().prefix()?.as_str().map(str::to_owned));
    section.insert(key.name, Item::Value(new));
    let indent = indent.unwrap_or_default().rsplit('\n').next().unwrap_or_default().to_owned();
    if let Some(mut name) = section.key_mut(key.name).filter(|_| !indent.is_empty() && !is_inline) {
        name.leaf_decor_mut().set_prefix(indent);
    }
    Ok(())
}

/// Returns the section, made at the end of the document if it is missing.
fn section_mut<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut dyn TableLike, String> {
    if !document.contains_key(name) {
        let end = document.trailing().as_str().unwrap_or_default().to_owned();
        let blank = if document.is_empty() && end.trim().is_empty() { "" } else { "\n" };
        let mut table = Table::new();
        table
            .decor_mut()
            .set_prefix(format!("{}{blank}", if end.is_empty() || end.ends_with('\n') { end } else { end + "\n" }));
        document.set_trailing("");
        document.insert(name, Item::Table(table));
    }
    document.get_mut(name).and_then(Item::as_table_like_mut).ok_or_else(|| format!("`{name}` is not a section"))
}

/// Returns the comments between the lines of a list, in order.
fn comments_within(value: &toml_edit::Value) -> Vec<String> {
    let Some(list) = value.as_array() else { return Vec::new() };
    let mut text = Vec::new();
    for entry in list.iter() {
        text.extend([entry.decor().prefix(), entry.decor().suffix()].into_iter().flatten().cloned());
    }
    text.push(list.trailing().clone());
    let lines = text.iter().filter_map(RawString::as_str).flat_map(str::lines).map(str::trim);
    lines.filter(|line| line.starts_with('#')).map(str::to_owned).collect()
}

/// Returns whether the key has the value already, however it is written.
fn holds(text: &str, key: &ConfigKey, value: &Value) -> bool {
    let table: Option<toml::Table> = toml::from_str(text).ok();
    let section = table.as_ref().and_then(|table| table.get(key.section));
    let old = section.and_then(|section| section.get(key.name_in(|name| section.get(name).is_some())));
    old.is_some_and(|old| is_same(old, value))
}

fn is_same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
        }
        // A whole number may stand for a float, but not the other way round. Not every large integer is exact as a
        // float.
        (Value::Integer(old), Value::Float(new)) => *old as f64 == *new && (*old as f64) as i64 == *old,
        (Value::Float(old), Value::Float(new)) => old == new || (old.is_nan() && new.is_nan()),
        (old, new) => old == new,
    }
}

/// Writes `value` as TOML on one line.
fn to_one_line(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.is_finite() && !PLAIN_MAGNITUDES.contains(&number.abs()) => {
            format!("{number:e}")
        }
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(to_one_line).collect();
            format!("[{}]", values.join(", "))
        }
        Value::String(string) if string.contains(['\n', '\r']) => escape(string),
        value => value.to_string(),
    }
}

fn escape(string: &str) -> String {
    let escape = |character| match character {
        '"' | '\\' => format!("\\{character}"),
        control if control.is_control() => format!("\\u{:04X}", u32::from(control)),
        other => other.to_string(),
    };
    format!("\"{}\"", string.chars().map(escape).collect::<String>())
}

/// Gives `new` the byte order mark and the line ends of `old`, which `toml_edit` drops.
fn restore_layout(old: &str, new: &str) -> String {
    let lf = new.replace("\r\n", "\n");
    let windows = old.matches("\r\n").count() * 2 > old.matches('\n').count();
    let text = if windows { lf.replace('\n', "\r\n") } else { lf };
    if old.starts_with(BYTE_ORDER_MARK) { format!("{BYTE_ORDER_MARK}{text}") } else { text }
}

#[cfg(test)]
mod tests;
