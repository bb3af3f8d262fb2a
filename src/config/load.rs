//! Owns: loading a config from TOML text and `--set section.key=value` overrides; config errors.
//! Must not know: what the settings do.
//! Invariant: an error names the file and line (or the override), the key, the value, and what is allowed.

use super::{Config, ConfigKey};
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

/// Why a config was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {file}: {cause}")]
    Read { file: String, cause: std::io::Error },
    #[error("{place}: {message}")]
    Syntax { place: String, message: String },
    #[error("{place}: unknown key `{key}`{nearest}")]
    UnknownKey { place: String, key: String, nearest: String },
    #[error("{place}: `{key}` = {value} is not allowed; allowed: {limit}")]
    Limit { place: String, key: String, value: String, limit: String },
    #[error("--set {given}: {message}")]
    Override { given: String, message: String },
    #[error("{place}: {message}")]
    Rule { place: String, message: String },
}

impl ConfigError {
    /// Returns the key that the error concerns and the refused value, if it concerns a single key.
    pub fn key_and_value(&self) -> Option<(&str, Option<&str>)> {
        match self {
            ConfigError::Limit { key, value, .. } => Some((key, Some(value))),
            ConfigError::UnknownKey { key, .. } => Some((key, None)),
            _ => None,
        }
    }
}

/// Reads `file` as text.
pub fn read_file(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|cause| ConfigError::Read { file: file.display().to_string(), cause })
}

/// Loads the config in `file`, with `overrides` (`section.key=value`) applied to it.
pub fn load(file: &Path, overrides: &[String]) -> Result<Config, ConfigError> {
    from_text(&read_file(file)?, &file.display().to_string(), overrides)
}

/// Loads a config from `text`, as [`load`] does. Errors use `name` as the file name.
pub fn from_text(text: &str, name: &str, overrides: &[String]) -> Result<Config, ConfigError> {
    let source = ConfigSource { text, name, overrides };
    let mut table: Table = toml::from_str(text).map_err(|error| source.syntax_error(&error))?;
    source.check_keys(&table)?;
    // Types are checked on the file alone first, because only then do messages name its lines.
    toml::from_str::<Config>(text).map_err(|error| source.syntax_error(&error))?;
    resolve_aliases(&mut table);
    for given in overrides {
        apply_override(&mut table, given)?;
    }
    let config: Config = table.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Override {
        given: overrides.join(" --set "),
        message: error.to_string().trim().to_owned(),
    })?;
    let place = match overrides {
        [] => name.to_owned(),
        given => format!("{name} with --set {}", given.join(" --set ")),
    };
    source.validate(config, place)
}

/// Fails if `text` looks like the torn half of a config file whose last whole content was `known`: if it ends within a line,
/// or is `known` cut short, or, for a file that lists every key (`complete`), if keys are gone. No key is taken back to its
/// default because a writer was interrupted.
pub fn refuse_torn(text: &str, known: &str, name: &str, complete: bool) -> Result<(), ConfigError> {
    let torn = |message: String| {
        let message = format!("{message}; the file seems half-written, and is not applied. {WRITE_DEFAULTS}");
        Err(ConfigError::Rule { place: name.to_owned(), message })
    };
    if text == known {
        return Ok(());
    }
    if known.ends_with('\n') && !text.ends_with('\n') {
        return torn("the last line has no line end".to_owned());
    }
    let lost: Vec<String> = key_paths(known).difference(&key_paths(text)).cloned().collect();
    if lost.is_empty() || !(complete || known.starts_with(text)) {
        return Ok(());
    }
    let more = if lost.len() > 3 { format!(" and {} more", lost.len() - 3) } else { String::new() };
    torn(format!(
        "`{}`{more} {} gone",
        lost[..lost.len().min(3)].join("`, `"),
        if lost.len() == 1 { "is" } else { "are" }
    ))
}

/// Advice for those who removed a key on purpose.
const WRITE_DEFAULTS: &str = "To return a key to its default, write the default";

/// Returns the paths `section.key` that a config text sets; none if it is not TOML.
fn key_paths(text: &str) -> BTreeSet<String> {
    let mut table: Table = toml::from_str(text).unwrap_or_default();
    resolve_aliases(&mut table);
    let keys = |(section, value): (&String, &Value)| {
        let keys = value.as_table().into_iter().flat_map(Table::keys);
        keys.map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    table.iter().flat_map(keys).collect()
}

/// Converts `table`, which holds every key, to a checked config. Errors name its source as `place`.
pub(super) fn from_table(table: Table, place: &str) -> Result<Config, ConfigError> {
    let source = ConfigSource { text: "", name: place, overrides: &[] };
    let config: Config = table.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
        place: place.to_owned(),
        message: without_rust_types(error.message()),
    })?;
    source.validate(config, place.to_owned())
}

/// Returns `config` with one override (`section.key=value`) applied.
pub(super) fn with_override(config: &Config, given: &str) -> Result<Config, ConfigError> {
    let mut table = config.to_table();
    apply_override(&mut table, given)?;
    from_table(table, "set")
}

/// Where a config's values come from, for error messages.
struct ConfigSource<'a> {
    text: &'a str,
    name: &'a str,
    overrides: &'a [String],
}

impl ConfigSource<'_> {
    fn syntax_error(&self, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| line_at_offset(self.text, span.start));
        let place = line.map_or(self.name.to_owned(), |line| format!("{} line {line}", self.name));
        let excerpt = line
            .and_then(|line| self.text.lines().nth(line - 1))
            .map_or(String::new(), |line| format!(" in `{}`", line.trim()));
        ConfigError::Syntax { place, message: format!("{}{excerpt}", without_rust_types(error.message())) }
    }

    /// Returns where a key was set, for errors: the override, the line in the file, or else the file name.
    fn locate(&self, section: &str, name: &str) -> String {
        let path = format!("{section}.{name}");
        if self.overrides.iter().any(|given| given.split('=').next().map(str::trim) == Some(&path)) {
            return format!("--set {path}");
        }
        match find_key_line(self.text, section, name) {
            Some(line) => format!("{} line {line}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Returns `config` if it is within every limit and satisfies every rule. Rule errors name `place`.
    fn validate(&self, config: Config, place: String) -> Result<Config, ConfigError> {
        self.check_limits(&config)?;
        super::rules::check(&config).map_err(|message| ConfigError::Rule { place, message })?;
        Ok(config)
    }

    fn check_keys(&self, table: &Table) -> Result<(), ConfigError> {
        for (section, value) in table {
            let keys: Vec<&ConfigKey> = Config::keys().filter(|key| key.section == section).collect();
            let Value::Table(entries) = value else {
                let paths: Vec<String> = Config::keys().map(ConfigKey::path).collect();
                let nearest = paths.iter().find(|path| path.ends_with(&format!(".{section}")));
                return Err(self.unknown_key("", section, nearest.cloned().or_else(|| nearest_section(section))));
            };
            if keys.is_empty() {
                return Err(self.unknown_key("", section, nearest_section(section)));
            }
            for name in entries.keys() {
                if !keys.iter().any(|key| key.is_named(name)) {
                    let path = format!("{section}.{name}");
                    return Err(self.unknown_key(section, name, nearest_key(&path)));
                }
            }
        }
        Ok(())
    }

    fn unknown_key(&self, section: &str, name: &str, nearest: Option<String>) -> ConfigError {
        let key = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        ConfigError::UnknownKey {
            place: self.locate(section, name),
            key,
            nearest: nearest.map_or(String::new(), |path| format!("; the nearest known one is `{path}`")),
        }
    }

    fn check_limits(&self, config: &Config) -> Result<(), ConfigError> {
        let table = config.to_table();
        for key in Config::keys() {
            let value = &table[key.section][key.name];
            if let Some(number) = numbers(value).into_iter().find(|n| !key.limit.allows(*n)) {
                let name = key.name_in(|name| self.locate(key.section, name) != self.name);
                return Err(ConfigError::Limit {
                    place: self.locate(key.section, name),
                    key: key.path(),
                    value: number.to_string(),
                    limit: key.limit.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Returns the numbers a key's limit applies to: the value, each number of a list, or each knot's value.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Integer(number) => vec![*number as f64],
        Value::Float(number) => vec![*number],
        Value::Array(entries) => entries
            .iter()
            .flat_map(|entry| match entry {
                Value::Array(knot) => knot.get(1).map_or(Vec::new(), numbers),
                number => numbers(number),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Gives values under an alias the key's name.
fn resolve_aliases(table: &mut Table) {
    for key in Config::keys() {
        let Some(Value::Table(section)) = table.get_mut(key.section) else { continue };
        if let Some(value) = key.aliases.iter().find_map(|alias| section.remove(*alias)) {
            section.insert(key.name.to_owned(), value);
        }
    }
}

/// Applies one override (`section.key=value`) to the table. A value that is not valid TOML is a string.
fn apply_override(table: &mut Table, given: &str) -> Result<(), ConfigError> {
    let wrong = |message: String| ConfigError::Override { given: given.to_owned(), message };
    let (path, value) = given.split_once('=').ok_or_else(|| wrong("expected section.key=value".into()))?;
    let path = path.trim();
    let key = Config::find_key(path).ok_or_else(|| {
        let nearest = nearest_key(path).map_or(String::new(), |near| format!("; the nearest known one is `{near}`"));
        wrong(format!("unknown key `{path}`{nearest}"))
    })?;
    let value = value.trim();
    let parsed = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        // A key that holds text accepts any value without quotes: `run.name=5`.
        .filter(|parsed| parsed.is_str() || !key.kind.is_text())
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let section = table.entry(key.section).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(section) = section else {
        return Err(wrong(format!("`{}` is not a section in the file", key.section)));
    };
    section.insert(key.name.to_owned(), parsed);
    let section_only = Table::from_iter([(key.section.to_owned(), Value::Table(section.clone()))]);
    let checked: Result<Config, toml::de::Error> = section_only.try_into();
    checked.map(|_| ()).map_err(|error| wrong(without_rust_types(error.message())))
}

/// Replaces Rust type names in a message of the TOML parser with plain words.
fn without_rust_types(message: &str) -> String {
    let words = [("u64", "whole number"), ("usize", "whole number"), ("u32", "whole number"), ("f64", "number")];
    let plain = words.iter().fold(message.to_owned(), |text, (rust, plain)| {
        text.replace(&format!("expected {rust}"), &format!("expected a {plain}"))
    });
    plain.replace("expected a whole number", "expected a whole number of at least 0")
}

/// Returns the path of the key whose path is most like `wanted`.
pub fn nearest_key(wanted: &str) -> Option<String> {
    nearest(wanted, Config::keys().map(ConfigKey::path))
}

fn nearest_section(wanted: &str) -> Option<String> {
    nearest(wanted, Config::keys().map(|key| key.section.to_owned()))
}

fn nearest(wanted: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|path| (strsim::jaro_winkler(wanted, &path), path))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}

/// Returns the 1-based line number of byte offset `at`.
pub(super) fn line_at_offset(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Returns the 1-based line of `key` in `text`, if it is written on a line of its own.
pub fn line_of_key(text: &str, key: &ConfigKey) -> Option<usize> {
    find_key_line(text, key.section, key.name_in(|name| find_key_line(text, key.section, name).is_some()))
}

/// Returns the 1-based line of `name` in `[section]`; of a top-level key or header if `section` is empty.
fn find_key_line(text: &str, section: &str, name: &str) -> Option<usize> {
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            current = header.trim().to_owned();
            if section.is_empty() && current == name {
                return Some(index + 1);
            }
        } else if line.split('=').next().map(|key| key.trim().trim_matches('"')) == Some(name) && current == section {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_anywhere_is_torn() {
        let whole = Config::default().to_toml().unwrap();
        for cut in (0..whole.len()).step_by(7).filter(|cut| whole.is_char_boundary(*cut)) {
            let text = &whole[..cut];
            // A cut within a section header or a value may be no TOML at all.
            let refused = refuse_torn(text, &whole, "config.toml", true).is_err();
            assert!(refused || !text.ends_with('\n') || key_paths(text) == key_paths(&whole), "{cut}");
            assert_eq!(refused, refuse_torn(text, &whole, "recipe.toml", false).is_err(), "{cut}");
        }
        let edited = whole.replace("steps = ", "steps = 1");
        assert!(refuse_torn(&edited, &whole, "config.toml", true).is_ok());
        let cut = &edited[..edited.find("[recycle]").unwrap()];
        let error = refuse_torn(cut, &whole, "config.toml", true).unwrap_err().to_string();
        assert!(error.contains("are gone") && error.contains("half-written"), "{error}");
        // A recipe need not list every key.
        assert!(refuse_torn(cut, &whole, "recipe.toml", false).is_ok());
    }

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        from_text(text, "x.toml", &overrides).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(from_text("", "x.toml", &[]).unwrap(), Config::default());
    }

    #[test]
    fn a_written_config_is_read_back() {
        let text = "[recycle]\nprobability = [[0, 0.0], [500, 0.0], [2000, 0.3]]\n[optim]\nlr = 1\n";
        let config = from_text(text, "x.toml", &[]).unwrap();
        assert_eq!(config.recycle.probability.value_at(1250), 0.15);
        assert_eq!(from_text(&config.to_toml().unwrap(), "y.toml", &[]).unwrap(), config);
    }

    #[test]
    fn every_recipe_is_a_config_without_idle_settings() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                continue;
            }
            let config = load(&file, &[]).unwrap();
            let idle = crate::config::ineffective_settings(&config);
            assert!(idle.is_empty(), "{}: {idle:?}", file.display());
            assert_eq!(file.file_stem().unwrap().to_str().unwrap(), config.run.name);
            names.push(config.run.name);
        }
        assert!(names.len() >= 8 && names.contains(&"full-bandwidth".to_owned()), "{names:?}");
    }

    #[test]
    fn every_key_can_be_overridden() {
        let defaults = Table::try_from(Config::default()).unwrap();
        for key in Config::keys() {
            let value = &defaults[key.section][key.name];
            let given = format!("{}.{}={value}", key.section, key.name);
            assert!(from_text("", "x.toml", std::slice::from_ref(&given)).is_ok(), "{given}");
        }
        let config = from_text("[run]\nname = \"a\"", "x.toml", &["run.name=b c".into(), "data.batch=3".into()]);
        assert_eq!(config.unwrap().run.name, "b c");
        for (given, name) in [("run.name=5", "5"), ("run.name=true", "true"), ("run.name=\"5\"", "5")] {
            assert_eq!(from_text("", "x.toml", &[given.into()]).unwrap().run.name, name);
        }
    }

    #[test]
    fn a_key_takes_the_values_of_its_kind_and_no_others() {
        use crate::config::KeyKind;
        for key in Config::keys() {
            let takes = |value: &str| {
                from_text(&format!("[{}]\n{} = {value}\n", key.section, key.name), "x", &[])
                    .map(|config| config.value(key).to_string() == value)
                    .or_else(|error| if let ConfigError::Syntax { .. } = error { Err(()) } else { Ok(true) })
            };
            let quoted = |name: &&str| format!("\"{name}\"");
            assert_eq!(takes("\"no such name\"").is_ok(), key.kind == KeyKind::Text, "{}", key.path());
            assert_eq!(takes("true").is_ok(), key.kind == KeyKind::Bool, "{}", key.path());
            assert_eq!(takes("1").is_ok(), key.kind.is_number(), "{}", key.path());
            assert_eq!(takes("[0.5]").is_ok(), key.kind == KeyKind::FloatList, "{}", key.path());
            assert_eq!(takes("[[0, 0.5], [9, 0.6]]") == Ok(true), key.kind == KeyKind::Curve, "{}", key.path());
            if let KeyKind::Choice(names) = key.kind {
                assert!(names.iter().all(|name| takes(&quoted(name)) == Ok(true)), "{}", key.path());
            }
        }
    }

    #[test]
    fn an_alias_is_read_and_kept_where_it_is_written() {
        let text = "[recycle]\nscope = \"isolated\"\nbackprop_passes = 2\n";
        let given = ["recycle.backprop=through".into(), "recycle.selection=count".into()];
        let config = from_text(text, "x.toml", &given).unwrap();
        let plain = "[recycle]\nreach = \"isolated\"\ncut = 2\nflow = \"through\"\nshare = \"count\"\n";
        assert_eq!(config, from_text(plain, "y.toml", &[]).unwrap());
        assert_eq!(
            from_text(text, "x", &["recycle.reach=joint".into()]).unwrap().recycle.reach,
            crate::config::PassScope::Joint
        );
        let edit = crate::config::change::parse(&config, "recycle.scope", "joint").unwrap();
        assert_eq!(edit.key.path(), "recycle.reach");
        let set = crate::config::edit::set(text, &[(edit.key, &edit.new)]).unwrap();
        assert_eq!(set, text.replace("isolated", "joint"));
        assert!(config.to_toml().unwrap().contains("reach = "));
        let twice = error("[recycle]\nscope = \"dense\"\nreach = \"dense\"\n", &[]);
        assert!(twice.contains("duplicate field"), "{twice}");
        let far = error("[recycle]\nbackprop_passes = 99\n", &[]);
        assert!(far.starts_with("x.toml line 2: `recycle.cut` = 99"), "{far}");
        assert!(error("", &["recycle.backprop_passes=99"]).starts_with("--set recycle.backprop_passes: "));
    }

    #[test]
    fn errors_name_place_key_value_and_limit() {
        for (text, overrides, wanted) in [
            (
                "[optim]\nlr = 0.1\nwarmpu = 3\n",
                &[][..],
                "x.toml line 3: unknown key `optim.warmpu`; the nearest known one is `optim.warmup`",
            ),
            ("[recyle]\nevery = 3\n", &[], "x.toml line 1: unknown key `recyle`; the nearest known one is `recycle`"),
            ("every = 3\n", &[], "x.toml line 1: unknown key `every`; the nearest known one is `recycle.every`"),
            ("[data]\n\nbatch = 0\n", &[], "x.toml line 3: `data.batch` = 0 is not allowed; allowed: from 1 to 65536"),
            (
                "[recycle]\nfraction = [[0, 0.1], [9, 1.5]]\n",
                &[],
                "x.toml line 2: `recycle.fraction` = 1.5 is not allowed; allowed: from 0 to 1",
            ),
            ("[recycle]\nfraction = [[9, 0.1], [9, 0.5]]\n", &[], "knots must ascend"),
            ("[recycle]\nfraction = [[9, 0.1], [9, 0.5]]\n", &[], "x.toml line 2: "),
            ("[recycle]\nfraction = \"half\"\n", &[], "x.toml line 2: expected a number, or a curve of knots"),
            ("[recycle]\npasses = -1\n", &[], "x.toml line 2: expected a number of passes, or a mixture"),
            ("", &["recycle.fraction=[[1]]"], "expected a number, or a curve of knots"),
            ("[optim]\nlr = nan\n", &[], "`optim.lr` = NaN"),
            ("[recycle]\npass_weights = [1.0, -2.0]\n", &[], "`recycle.pass_weights` = -2"),
            ("[recycle]\npasses = [[1, 0.5], [3, 0.4]]\n", &[], "add up to 0.9"),
            ("[recycle]\npasses = 0\n", &[], "0 passes are not allowed; allowed: from 1 to 64"),
            ("[data]\nbatch = \"many\"\n", &[], "x.toml line 2"),
            ("[data]\nbatch = -2\n", &[], "x.toml line 2"),
            ("[data]\nbatch = \n", &[], "x.toml line 2"),
            ("[recycle]\nflow = \"sideways\"\n", &[], "detached"),
            ("", &["data.batch=0"], "--set data.batch: `data.batch` = 0"),
            ("", &["data.bacth=1"], "unknown key `data.bacth`; the nearest known one is `data.batch`"),
            ("", &["data.batch"], "expected section.key=value"),
            ("", &["data.batch=many"], "expected a whole number of at least 0"),
            ("", &["recycle.flow=sideways"], "detached"),
        ] {
            let found = error(text, overrides);
            assert!(found.contains(wanted), "{found:?} should contain {wanted:?}");
        }
    }
}
