//! Owns: the differences between two configs, key by key, and laying such differences over a config.
//! Must not know: files, who changes what, when a change takes hold.
//! Invariant: a changed config keeps every limit and every rule, or there is none.

use super::{Config, ConfigError, Key, keys::Change, load};
use toml::{Table, Value};

/// A key and the value it is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Which key.
    pub key: &'static Key,
    /// The value before.
    pub old: Value,
    /// The value after.
    pub new: Value,
}

impl Edit {
    /// Whether a run cannot take it up.
    pub fn is_frozen(&self) -> bool {
        self.key.change == Change::Frozen
    }
}

impl Config {
    /// The value of `key`.
    pub fn value(&self, key: &Key) -> Value {
        let mut table = self.table();
        let Some(Value::Table(section)) = table.get_mut(key.section) else { return Value::Boolean(false) };
        section.remove(key.name).unwrap_or(Value::Boolean(false))
    }

    /// As sections of keys.
    pub(super) fn table(&self) -> Table {
        // A struct of sections of plain values always is one.
        Table::try_from(self).unwrap_or_default()
    }
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// What changes from `old` to `new`, in the order of the key table.
pub fn between(old: &Config, new: &Config) -> Vec<Edit> {
    let (old, new) = (old.table(), new.table());
    let edit = |key: &'static Key| {
        let (old, new) = (&old[key.section][key.name], &new[key.section][key.name]);
        (old != new).then(|| Edit { key, old: old.clone(), new: new.clone() })
    };
    Config::keys().filter_map(edit).collect()
}

/// `config` with `edits` laid over it; `place` stands for where they come from in errors.
pub fn with<'a>(
    config: &Config,
    edits: impl IntoIterator<Item = (&'a Key, &'a Value)>,
    place: &str,
) -> Result<Config, ConfigError> {
    let mut table = config.table();
    for (key, value) in edits {
        if let Some(Value::Table(section)) = table.get_mut(key.section) {
            section.insert(key.name.to_owned(), value.clone());
        }
    }
    load::from_table(table, place)
}

/// The key `path` (`section.name`) and the value that `text` means for it, in `config`: TOML, or text where it takes text.
pub fn parse(config: &Config, path: &str, text: &str) -> Result<Edit, ConfigError> {
    let changed = load::overridden(config, &format!("{path}={text}"))?;
    let key = Config::keys().find(|key| key.path() == path.trim());
    let key =
        key.ok_or_else(|| ConfigError::Rule { place: path.to_owned(), message: "unknown key".into() })?;
    Ok(Edit { key, old: config.value(key), new: changed.value(key) })
}

#[cfg(test)]
mod tests {
    use super::super::from_text;
    use super::*;

    #[test]
    fn differences_laid_over_the_old_give_the_new() {
        let old = Config::default();
        let text = "[recycle]\nfraction = [[0, 0.0], [9, 0.5]]\n[optim]\nlr = 0.5\n[run]\nname = \"b\"\n";
        let new = from_text(text, "x", &[]).unwrap();
        let edits = between(&old, &new);
        let paths: Vec<String> = edits.iter().map(|edit| edit.key.path()).collect();
        assert_eq!(paths, ["run.name", "optim.lr", "recycle.fraction"]);
        assert_eq!(edits.iter().filter(|edit| edit.is_frozen()).count(), 1);
        let laid = edits.iter().map(|edit| (edit.key, &edit.new));
        assert_eq!(with(&old, laid, "x").unwrap(), new);
        assert!(between(&new, &new).is_empty());
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
        let values = [(Config::keys().find(|k| k.path() == "optim.min_lr").unwrap(), &Value::Float(2.0))];
        assert!(with(&config, values, "keys").unwrap_err().to_string().contains("must not be above"));
    }
}
