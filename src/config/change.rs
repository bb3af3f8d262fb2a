//! Owns: the differences between two configs, key by key, and applying such differences to a config.
//! Must not know: files, who changes what, when a change takes effect.
//! Invariant: a changed config is within every limit and satisfies every rule, or the change is an error.

use super::keys::Mutability;
use super::{Config, ConfigError, ConfigKey, load};
use toml::{Table, Value};

/// A change of one key's value.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChange {
    pub key: &'static ConfigKey,
    pub old: Value,
    pub new: Value,
}

impl KeyChange {
    /// Returns whether the key cannot change during a run.
    pub fn is_frozen(&self) -> bool {
        self.key.mutability == Mutability::Frozen
    }
}

impl Config {
    /// Returns the value of `key` as TOML.
    pub fn value(&self, key: &ConfigKey) -> Value {
        let mut table = self.to_table();
        let Some(Value::Table(section)) = table.get_mut(key.section) else { return Value::Boolean(false) };
        section.remove(key.name).unwrap_or(Value::Boolean(false))
    }

    /// Returns the config as a TOML table of sections, each a table of keys.
    pub(super) fn to_table(&self) -> Table {
        // A struct of sections with plain values always serialises to a table.
        Table::try_from(self).unwrap_or_default()
    }
}

/// Returns the keys whose values differ between `old` and `new`, in the order of the key table.
pub fn diff(old: &Config, new: &Config) -> Vec<KeyChange> {
    let (old, new) = (old.to_table(), new.to_table());
    let change_of = |key: &'static ConfigKey| {
        let (old, new) = (&old[key.section][key.name], &new[key.section][key.name]);
        (old != new).then(|| KeyChange { key, old: old.clone(), new: new.clone() })
    };
    Config::keys().filter_map(change_of).collect()
}

/// Returns `config` with new values applied, as pairs of key and value. Errors name their source as `place`.
pub fn apply_changes<'a>(
    config: &Config,
    edits: impl IntoIterator<Item = (&'a ConfigKey, &'a Value)>,
    place: &str,
) -> Result<Config, ConfigError> {
    let mut table = config.to_table();
    for (key, value) in edits {
        if let Some(Value::Table(section)) = table.get_mut(key.section) {
            section.insert(key.name.to_owned(), value.clone());
        }
    }
    load::from_table(table, place)
}

/// Parses `text` as a new value of the key `path` (`section.name`) of `config`. The text is TOML; a key that holds text
/// also accepts it without quotes.
pub fn parse(config: &Config, path: &str, text: &str) -> Result<KeyChange, ConfigError> {
    let changed = load::with_override(config, &format!("{path}={text}"))?;
    let key = Config::find_key(path.trim())
        .ok_or_else(|| ConfigError::Rule { place: path.to_owned(), message: "unknown key".into() })?;
    Ok(KeyChange { key, old: config.value(key), new: changed.value(key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_text;

    #[test]
    fn differences_laid_over_the_old_give_the_new() {
        let old = Config::default();
        let text = "[recycle]\nfraction = [[0, 0.0], [9, 0.5]]\n[optim]\nlr = 0.5\n[run]\nname = \"b\"\n";
        let new = from_text(text, "x", &[]).unwrap();
        let edits = diff(&old, &new);
        let paths: Vec<String> = edits.iter().map(|edit| edit.key.path()).collect();
        assert_eq!(paths, ["run.name", "optim.lr", "recycle.fraction"]);
        assert_eq!(edits.iter().filter(|edit| edit.is_frozen()).count(), 1);
        let values = edits.iter().map(|edit| (edit.key, &edit.new));
        assert_eq!(apply_changes(&old, values, "x").unwrap(), new);
        assert!(diff(&new, &new).is_empty());
    }

    #[test]
    fn a_value_is_parsed_as_an_override_is() {
        let config = Config::default();
        let edit = parse(&config, "recycle.fraction", "[[0, 0.0], [9, 0.5]]").unwrap();
        assert_eq!(edit.new.to_string(), "[[0, 0.0], [9, 0.5]]");
        assert_eq!(parse(&config, "optim.lr", "1").unwrap().new, Value::Float(1.0));
        for (path, text, wanted) in [
            ("recycle.fractoin", "1", "the nearest known one is `recycle.fraction`"),
            ("recycle.fraction", "2", "`recycle.fraction` = 2 is not allowed; allowed: from 0 to 1"),
            ("recycle.every", "x", "expected a whole number"),
            ("recycle.reach", "isolated\nx", ""),
        ] {
            let error = parse(&config, path, text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let values = [(Config::find_key("optim.min_lr").unwrap(), &Value::Float(2.0))];
        assert!(apply_changes(&config, values, "keys").unwrap_err().to_string().contains("must be at most"));
    }
}
