//! Owns: `config`: what config keys there are, and all that is known of one.
//! Must not know: what a key does.
//! Invariant: everything printed comes from the key table.

use super::{bail_usage, output};
use crate::config::{Config, ConfigKey, Mutability, nearest_key};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab config                       every section and key with its default
  coconut-lab config recycle               the keys of a section
  coconut-lab config recycle.fraction      type, default, limit and meaning of a key
  coconut-lab config --json | jq '.[] | select(.change == \"live\") | .key'";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// Section, or key as SECTION.KEY [default: all]
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Print a JSON array of objects.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let name = args.key.as_deref();
    let keys: Vec<&ConfigKey> = match name {
        None => Config::keys().collect(),
        Some(name) => match Config::find_key(name) {
            Some(key) => vec![key],
            None => Config::keys().filter(|key| key.section == name).collect(),
        },
    };
    if keys.is_empty() {
        let name = name.unwrap_or_default();
        let nearest = nearest_key(name).map_or(String::new(), |key| format!("; the nearest known one is `{key}`"));
        bail_usage!("unknown section or key `{name}`{nearest}");
    }
    let mut out = output::stdout();
    if args.json {
        let all: Vec<_> = keys.iter().map(|key| to_json(key)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else if let ([key], true) = (keys.as_slice(), name.is_some_and(|name| name.contains('.'))) {
        write_key(key, &mut out)?;
    } else {
        write_list(&keys, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn default_text(key: &ConfigKey) -> String {
    Config::default().value(key).to_string().replace('\n', "\\n")
}

fn change_text(key: &ConfigKey) -> &'static str {
    match key.mutability {
        Mutability::Live => "live",
        Mutability::Frozen => "frozen",
    }
}

/// Prints the keys section by section, a line each.
fn write_list(keys: &[&ConfigKey], out: &mut impl Write) -> std::io::Result<()> {
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or(0);
    for (index, key) in keys.iter().enumerate() {
        if index == 0 || keys[index - 1].section != key.section {
            writeln!(out, "{}[{}]", if index == 0 { "" } else { "\n" }, key.section)?;
        }
        writeln!(out, "  {:<width$}  {:<6}  {}", key.name, change_text(key), default_text(key))?;
    }
    Ok(())
}

fn write_key(key: &ConfigKey, out: &mut impl Write) -> std::io::Result<()> {
    let change = match key.mutability {
        Mutability::Live => "live: may change while a run trains",
        Mutability::Frozen => "frozen: fixed when a run starts",
    };
    writeln!(out, "{}", key.path())?;
    let rows = [("default", default_text(key)), ("allowed", key.allowed()), ("change", change.to_owned())];
    for (name, value) in rows {
        writeln!(out, "  {name:<8}  {value}")?;
    }
    if !key.aliases.is_empty() {
        writeln!(out, "  {:<8}  {}", "alias", key.aliases.join(", "))?;
    }
    writeln!(out, "\n{}", key.doc.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn to_json(key: &ConfigKey) -> serde_json::Value {
    json!({
        "key": key.path(), "default": Config::default().value(key), "allowed": key.allowed(),
        "change": change_text(key), "aliases": key.aliases,
        "doc": key.doc.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}
