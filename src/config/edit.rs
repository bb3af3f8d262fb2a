//! Owns: writing values into the text of a config file, its comments, order and spacing kept.
//! Must not know: what a key means, files.
//! Invariant: what is not set stays as it is, byte for byte; a value that is there already is not written again.

use super::{Config, Key};
use std::fmt::Display;
use toml::Value;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike};

/// `text` with each key of `values` set. A key that is not there comes to the end of its section, a section that is not
/// there to the end of the text. An error says why the text is no config.
pub fn set(text: &str, values: &[(&Key, &Value)]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| plain(&error))?;
    let mut changed = false;
    for (key, value) in values {
        if !document.contains_key(key.section) {
            add_section(&mut document, key.section);
        }
        let section = document[key.section].as_table_like_mut();
        let section = section.ok_or_else(|| format!("`{}` is not a section", key.section))?;
        changed |= set_one(section, key.name, value)?;
    }
    if !changed {
        return Ok(text.to_owned());
    }
    let set = document.to_string();
    // Windows' line ends, where the text had no others.
    let windows = text.contains("\r\n") && !text.replace("\r\n", "").contains('\n');
    Ok(if windows { set.replace("\r\n", "\n").replace('\n', "\r\n") } else { set })
}

/// `text` with all values of `config`: it then holds the whole of it.
pub fn complete(text: &str, config: &Config) -> Result<String, String> {
    let values: Vec<(&Key, Value)> = Config::keys().map(|key| (key, config.value(key))).collect();
    let values: Vec<(&Key, &Value)> = values.iter().map(|(key, value)| (*key, value)).collect();
    set(text, &values)
}

/// Adds an empty section behind everything, a comment at the end included.
fn add_section(document: &mut DocumentMut, name: &str) {
    let mut section = Table::new();
    let end = document.trailing().as_str().unwrap_or_default().to_owned();
    let gap = if end.is_empty() || end.ends_with('\n') { "\n" } else { "\n\n" };
    section.decor_mut().set_prefix(end + gap);
    document.set_trailing("");
    document.insert(name, Item::Table(section));
}

/// Sets `name` in a section; whether it had to be.
fn set_one(section: &mut dyn TableLike, name: &str, value: &Value) -> Result<bool, String> {
    let mut new = edited(value)?;
    match section.get_mut(name) {
        Some(Item::Value(old)) if is_same(old, value) => return Ok(false),
        Some(Item::Value(old)) => {
            // Spaces before and a comment behind belong to the line, not to the value.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        _ => drop(section.insert(name, Item::Value(new))),
    }
    Ok(true)
}

/// `value` as it is written.
fn edited(value: &Value) -> Result<toml_edit::Value, String> {
    let line = format!("value = {value}");
    let mut line: DocumentMut = line.parse().map_err(|error: toml_edit::TomlError| plain(&error))?;
    let value = line.remove("value").and_then(|item| item.into_value().ok());
    let mut value = value.unwrap_or_else(|| toml_edit::Value::InlineTable(InlineTable::new()));
    value.decor_mut().clear();
    Ok(value)
}

/// Whether `old` means `new`; numbers by value, however they are written.
fn is_same(old: &toml_edit::Value, new: &Value) -> bool {
    let old = format!("value = {}", old.to_string().trim());
    let old = toml::from_str::<toml::Table>(&old).ok().and_then(|mut table| table.remove("value"));
    old.is_some_and(|old| means_same(&old, new))
}

fn means_same(old: &Value, new: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|number| number as f64));
    match (old, new) {
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| means_same(old, new))
        }
        (old, new) if number(old).is_some() => number(old) == number(new),
        (old, new) => old == new,
    }
}

fn plain(error: &dyn Display) -> String {
    error.to_string().trim().replace('\n', " · ")
}

#[cfg(test)]
mod tests {
    use super::super::from_text;
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# The recipe.\n[run]\nname = \"a\" # mine\n\n[recycle]   # the idea\n# every n-th\nevery  =  4\n\
                        fraction = 1e-1 # of a row\n\n[optim]\nlr = 1\n# the end\n";

    fn key(path: &str) -> &'static Key {
        Config::keys().find(|key| key.path() == path).unwrap()
    }

    fn value(text: &str) -> Value {
        toml::from_str::<toml::Table>(&format!("v = {text}")).unwrap().remove("v").unwrap()
    }

    fn with(text: &str, path: &str, new: &str) -> String {
        set(text, &[(key(path), &value(new))]).unwrap()
    }

    #[test]
    fn only_the_value_changes() {
        let set = with(TEXT, "recycle.every", "2");
        assert_eq!(set, TEXT.replace("every  =  4", "every  =  2"));
        let set = with(TEXT, "recycle.fraction", "[[0, 0.0], [500, 0.3]]");
        assert_eq!(set, TEXT.replace("1e-1 # of", "[[0, 0.0], [500, 0.3]] # of"));
        let windows = TEXT.replace('\n', "\r\n");
        assert_eq!(with(&windows, "recycle.every", "2"), windows.replace("every  =  4", "every  =  2"));
        let added = with(&windows, "recycle.span", "9");
        assert!(added.contains("span = 9\r\n") && !added.replace("\r\n", "").contains('\n'), "{added:?}");
    }

    #[test]
    fn a_value_that_is_there_is_left_as_it_is_written() {
        for (path, new) in [("recycle.fraction", "0.1"), ("optim.lr", "1.0"), ("recycle.every", "4")] {
            assert_eq!(with(TEXT, path, new), TEXT);
        }
    }

    #[test]
    fn what_is_not_there_is_added_to_its_section() {
        let set = with(TEXT, "recycle.span", "9");
        assert_eq!(set, TEXT.replace("# of a row\n", "# of a row\nspan = 9\n"));
        let set = with(TEXT, "eval.every", "7");
        assert!(set.starts_with(TEXT) && set.ends_with("[eval]\nevery = 7\n"), "{set}");
        for text in ["recycle.every = 3\n", "recycle = { every = 3 }\n"] {
            let set = with(&with(text, "recycle.every", "5"), "recycle.span", "9");
            let config = from_text(&set, "x", &[]).unwrap();
            assert_eq!((config.recycle.every, config.recycle.span), (5, 9), "{set}");
        }
    }

    #[test]
    fn what_is_no_config_is_said() {
        assert!(set("[recycle\nevery", &[]).unwrap_err().contains("line 1"));
        let every = value("2");
        assert!(set("recycle = 5", &[(key("recycle.every"), &every)]).unwrap_err().contains("not a section"));
    }

    #[test]
    fn a_completed_text_holds_the_whole_config() {
        let config = from_text(TEXT, "x", &["recycle.every=3".into(), "eval.batches=2".into()]).unwrap();
        let whole = complete(TEXT, &config).unwrap();
        assert_eq!(from_text(&whole, "x", &[]).unwrap(), config);
        assert!(Config::keys().all(|key| super::super::line_of_key(&whole, key).is_some()));
        assert_eq!(complete(&whole, &config).unwrap(), whole);
        for comment in ["# The recipe.", "# mine", "# the idea", "# every n-th", "# of a row", "# the end"] {
            assert!(whole.contains(comment), "{comment}");
        }
    }

    proptest! {
        #[test]
        fn what_was_set_is_read_and_the_other_lines_stay(
            every in 0_u64..1000, fraction in 0.0_f64..1.0, lr in 1e-9_f64..1.0, crlf: bool,
        ) {
            let text = if crlf { TEXT.replace('\n', "\r\n") } else { TEXT.to_owned() };
            let lr = lr + 1e-4;
            let values = [Value::Integer(every as i64), Value::Float(fraction), Value::Float(lr)];
            let keys = ["recycle.every", "recycle.fraction", "optim.lr"].map(key);
            let laid: Vec<_> = keys.into_iter().zip(&values).collect();
            let set = super::set(&text, &laid).unwrap();
            let config = from_text(&set, "x", &[]).unwrap();
            prop_assert_eq!(config.recycle.every, every);
            prop_assert_eq!(config.recycle.fraction.at(0), fraction);
            prop_assert_eq!(config.optim.lr, lr);
            prop_assert_eq!(super::set(&set, &laid).unwrap(), set.clone());
            let others = |text: &str| -> Vec<String> {
                let is_set = |line: &&str| ["every ", "fraction", "lr"].iter().any(|key| line.starts_with(key));
                text.split('\n').filter(|line| !is_set(line)).map(str::to_owned).collect()
            };
            prop_assert_eq!(others(&set), others(&text));
        }
    }
}
