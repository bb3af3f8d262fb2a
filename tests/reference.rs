//! Keeps the reference pages true: each is generated from the code, and a stale page fails the test. With
//! UPDATE_REFERENCE=1 in the environment the test writes the pages.

use clap::{Arg, Command};
use coconut_lab::config::{Config, Mutability};
use coconut_lab::policy::grammar::POLICY_HELP;
use coconut_lab::policy::switch::Policy;
use coconut_lab::schema::metrics::{self, ColumnKind, ColumnSpec, Metric};
use std::fmt::Write;

/// Compares `docs/reference/NAME` with `body`, or writes it.
fn check_page(name: &str, title: &str, body: &str) {
    let page = format!(
        "<!-- Generated from the code; do not edit. To update: UPDATE_REFERENCE=1 cargo test --test reference -->\n\n\
         # {title}\n\n{}\n",
        body.trim_end()
    );
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let stale = found.lines().zip(page.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == page,
        "docs/reference/{name} is stale{}; run UPDATE_REFERENCE=1 cargo test --test reference",
        stale.map_or(String::new(), |(found, wanted)| format!(":\n- {found}\n+ {wanted}\n"))
    );
}

/// Returns a table row; a `|` in a cell does not end it.
fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| one_line(cell).replace('|', "\\|"));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn table_header(names: &[&str]) -> String {
    row(names) + &row(&vec!["---"; names.len()])
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn config_keys() {
    let mut page = String::from(
        "A recipe lists only the keys that it changes. A *live* key may change while the run trains; a *frozen* key is \
         fixed when the run starts. A *curve* is a number, or knots `[[step, value], …]` with straight lines between \
         them.\n",
    );
    let mut section = "";
    for key in Config::keys() {
        if key.section != section {
            section = key.section;
            write!(page, "\n## `[{section}]`\n\n").unwrap();
            page += &table_header(&["key", "default", "allowed", "change", "meaning"]);
        }
        let default = Config::default().value(key);
        let change = match key.mutability {
            Mutability::Live => "live",
            Mutability::Frozen => "frozen",
        };
        let aliases: String = key.aliases.iter().map(|alias| format!(" or {}", code(alias))).collect();
        let name = code(key.name) + &aliases;
        // The first column names the aliases.
        let doc = key.aliases.iter().fold(one_line(key.doc), |doc, alias| {
            doc.trim_end_matches(&format!(" Alias: {}.", code(alias))).to_owned()
        });
        // TOML writes a line break as one, which a table cannot hold.
        let default = default.as_str().map_or_else(|| default.to_string(), |text| format!("{text:?}"));
        page += &row(&[&name, &code(&default), &key.allowed(), change, &doc]);
    }
    check_page("config.md", "Config keys", &page);
}

/// Returns what a user types for `argument`.
fn spelled(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let repeats = argument.get_num_args().is_some_and(|range| range.max_values() > names.len().max(1));
    let values =
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ") + if repeats { "…" } else { "" };
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    match (flags.is_empty(), argument.get_action().takes_values()) {
        (true, _) if argument.is_required_set() => values,
        (true, _) => format!("[{values}]"),
        (false, true) => format!("{flags} {values}"),
        (false, false) => flags,
    }
}

fn verb(command: &Command, name: &str, level: usize, page: &mut String) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    write!(page, "\n{} `{name}`\n\n{about}\n", "#".repeat(level)).unwrap();
    let visible =
        |argument: &&Arg| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str());
    // Without a verb the arguments are those of `run`.
    let is_root = level == 2;
    let arguments: Vec<&Arg> = command.get_arguments().filter(visible).filter(|_| !is_root).collect();
    if !arguments.is_empty() {
        *page += "\n";
        *page += &table_header(&["argument", "default", "meaning"]);
    }
    for argument in arguments {
        let default = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
        // The help text of an argument with a hidden default says what it is.
        let shows_default = argument.get_action().takes_values() && !argument.is_hide_default_value_set();
        let default = default.filter(|_| shows_default).collect::<Vec<_>>().join(" ");
        let values = argument.get_possible_values();
        let values = values.iter().filter(|_| argument.get_action().takes_values());
        let values = values.map(|value| code(value.get_name())).collect::<Vec<_>>().join(", ");
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.replace(&format!(":\n{POLICY_HELP}"), "; see [policies](policies.md)");
        let help = if values.is_empty() { help } else { format!("{}. One of {values}.", help.trim_end_matches('.')) };
        let default = if default.is_empty() { default } else { code(&default) };
        *page += &row(&[&code(&spelled(argument)), &default, &help]);
    }
    if let Some(examples) = command.get_after_long_help().or(command.get_after_help()).filter(|_| !is_root) {
        write!(page, "\n```text\n{}\n```\n", examples.to_string().trim_end()).unwrap();
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        verb(sub, &format!("{name} {}", sub.get_name()), level + 1, page);
    }
}

#[test]
fn verbs() {
    let mut command = coconut_lab::cli::command();
    command.build();
    let mut page = String::from(
        "`RUN` is a run folder, its name in `checkpoints/`, the name of a run (the newest one), or `last`. \
         `coconut-lab VERB --help` prints the same text.\n",
    );
    verb(&command, "coconut-lab", 2, &mut page);
    check_page("verbs.md", "Verbs", &page);
}

fn columns(page: &mut String, table: &str, about: &str, columns: impl IntoIterator<Item = ColumnSpec>) {
    write!(page, "\n## `{table}`\n\n{about}\n\n").unwrap();
    *page += &table_header(&["column", "type", "unit", "meaning"]);
    for column in columns {
        let kind = match column.kind {
            ColumnKind::Count => "int64",
            ColumnKind::Real => "float64",
            ColumnKind::Text => "text",
            ColumnKind::Time => "timestamp",
            ColumnKind::Counts => "list of int32",
            ColumnKind::Reals => "list of float32",
            ColumnKind::Flags => "list of bool",
        };
        *page += &row(&[&code(column.name), kind, column.unit, column.doc]);
    }
}

#[test]
fn tables_and_columns() {
    let mut page = format!(
        "All tables are Parquet, schema version {}. Units and descriptions are also in the metadata of the columns.\n",
        metrics::SCHEMA_VERSION
    );
    let metrics_columns = Metric::ALL.iter().map(|metric| metric.spec());
    columns(&mut page, "metrics", "One row per step.", metrics_columns);
    let others: [(&str, &str, &[ColumnSpec]); 8] = [
        ("events", "One row per event, or per value that is measured occasionally.", metrics::EVENTS),
        (
            "changes",
            "One row per config key that was changed or refused, and per note. A run keeps them in `changes.jsonl`; \
             `coconut-lab export changes RUN` writes the table.",
            metrics::CHANGES,
        ),
        (
            "tokens",
            "One row per forward probe of a row of tokens. Each list has one entry per position.",
            metrics::TOKENS,
        ),
        ("thoughts", "One row per pass and recycled position of a row in `tokens`.", metrics::THOUGHTS),
        (
            "layers",
            "One row per layer of the model, every `probe.layers_every` steps and at the first step. A layer is the \
             embedding, attention or MLP of a block with the norm before it, the last norm, the head, or the feedback.",
            metrics::LAYERS,
        ),
        (
            "rollouts",
            "One row per rollout of reinforcement learning, every `record.rollouts_every` updates. Each list has one \
             entry per generated position.",
            metrics::ROLLOUTS,
        ),
        ("system", "One row every `record.system_seconds` seconds.", metrics::SYSTEM),
        ("lens", "The output of `coconut-lab lens`: one row per latent.", metrics::LENS),
    ];
    for (table, about, specs) in others {
        columns(&mut page, table, about, specs.iter().copied());
    }
    check_page("tables.md", "Tables and columns", &page);
}

#[test]
fn dashboard_keys() {
    let mut page = String::from("`?` shows these keys in the dashboard. Capital letters are typed with Shift.\n");
    let mut heading = String::new();
    for [panel, keys, help] in coconut_lab::tui::key_table() {
        if panel != heading {
            write!(page, "\n## {panel}\n\n{}", table_header(&["keys", "action"])).unwrap();
            heading = panel;
        }
        let keys = keys.split(' ').map(code).collect::<Vec<_>>().join(" ");
        page += &row(&[&keys, &help]);
    }
    page += "\n## command line\n\n`:` opens the command line. Tab completes commands, keys and values.\n\n";
    page += &table_header(&["command", "action"]);
    for [typed, help] in coconut_lab::tui::command_table() {
        page += &row(&[&code(&format!(":{typed}")), help]);
    }
    check_page("keys.md", "Dashboard keys", &page);
}

#[test]
fn policies() {
    let mut page = format!(
        "A policy decides at each position of a generation whether the next input is a token or a latent (a recycled \
         state). `generate`, `eval`, `lens` and the playground take policies as text:\n\n```text\n{POLICY_HELP}\n```\n\n\
         Keys that are left out have defaults. Records name a policy with all its keys:\n\n{}",
        table_header(&["written", "with all keys"])
    );
    for text in ["never", "fixed:count=6", "fixed:count=2,at=0+5", "entropy", "entropy:start=q0.9,stop=0.2lnV", "trend"]
    {
        let policy: Policy = text.parse().unwrap();
        page += &row(&[&code(text), &code(&policy.to_string())]);
    }
    check_page("policies.md", "Policies", &page);
}
