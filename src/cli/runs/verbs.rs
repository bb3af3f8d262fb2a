//! Owns: `runs tag`, `untag`, `rename`, `delete` and `diff`.
//! Must not know: how a run is changed or compared.
//! Invariant: nothing is deleted that a person has not confirmed, on a terminal or with `--yes`.

use crate::cli::{bail_usage, output, run_lookup};
use crate::record::compare::compare_runs;
use crate::record::labels::RunLabels;
use crate::record::manage::{delete_run, edit_tags, rename_run};
use crate::record::run_folder::RunFolder;
use crate::record::run_list::read_row;
use crate::record::summary::LastValues;
use crate::schema::run_list::{ComparedRun, RunComparison, RunListRow, SettingDifference, TagEdit};
use clap::Args;
use indicatif::DecimalBytes;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct TagArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    /// Tags to add: letters, digits and - _ . / +, at most 32 each, at most 16 for a run.
    #[arg(required = true, value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Args)]
pub(super) struct UntagArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    /// Tags to remove [default: all]
    #[arg(value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Args)]
pub(super) struct RenameArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    /// The new name. Runs that started from this one, and whoever names the old folder, still find it.
    name: String,
}

#[derive(Args)]
pub(super) struct DeleteArgs {
    /// Runs: run folders, their names in checkpoints/, runs' names (the newest of that name), or `last`.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Delete without asking; needed without a terminal.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Args)]
pub(super) struct DiffArgs {
    /// Run, now or at a step.
    #[arg(value_name = "A[@STEP]")]
    a: String,
    /// Run to compare with.
    #[arg(value_name = "B[@STEP]")]
    b: String,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn tag(args: TagArgs) -> anyhow::Result<ExitCode> {
    change_tags(&run_lookup::run_folder(&args.run)?, &TagEdit { add: args.tags, remove: Vec::new() })
}

pub(super) fn untag(args: UntagArgs) -> anyhow::Result<ExitCode> {
    let run = run_lookup::run_folder(&args.run)?;
    let tags = RunLabels::read(RunFolder::open(&run)?.path())?.tags;
    if let Some(absent) = args.tags.iter().find(|tag| !tags.contains(tag)) {
        bail_usage!("{} has no tag `{absent}`; it has: {}", run.display(), words_or_none(&tags));
    }
    let remove = if args.tags.is_empty() { tags } else { args.tags };
    change_tags(&run, &TagEdit { add: Vec::new(), remove })
}

fn change_tags(run: &Path, edit: &TagEdit) -> anyhow::Result<ExitCode> {
    let tags = edit_tags(run, edit)?;
    writeln!(output::stdout(), "{}: {}", run.display(), words_or_none(&tags))?;
    Ok(ExitCode::SUCCESS)
}

fn words_or_none(tags: &[String]) -> String {
    if tags.is_empty() { "no tags".into() } else { tags.join(" ") }
}

pub(super) fn rename(args: &RenameArgs) -> anyhow::Result<ExitCode> {
    let new = rename_run(&run_lookup::run_folder(&args.run)?, &args.name)?;
    writeln!(output::stdout(), "{}", new.display())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn delete(args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let mut runs: Vec<PathBuf> = Vec::new();
    for name in &args.runs {
        let run = run_lookup::run_folder(name)?;
        let folder = RunFolder::open(&run)?;
        if folder.is_locked() {
            // The error names the process.
            drop(folder.lock()?);
        }
        let is_same = |other: &PathBuf| other.canonicalize().ok() == run.canonicalize().ok();
        if !runs.iter().any(is_same) {
            runs.push(run);
        }
    }
    if !args.yes && !confirm(&runs)? {
        output::print_error_line("nothing was deleted");
        return Ok(ExitCode::FAILURE);
    }
    for run in runs {
        delete_run(&run)?;
        writeln!(output::stdout(), "deleted {}", run.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Names the runs and asks on the terminal whether to delete them.
fn confirm(runs: &[PathBuf]) -> anyhow::Result<bool> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        bail_usage!("there is no terminal to ask on; --yes deletes without asking");
    }
    let rows: Vec<RunListRow> = runs.iter().map(|run| read_row(run, LastValues::Skip)).collect();
    let mut out = output::stdout();
    for row in &rows {
        let children = match children_of(row) {
            0 => String::new(),
            count => format!("  {count} other runs started from it"),
        };
        let (state, size) = (row.state_word(), DecimalBytes(row.bytes));
        writeln!(out, "{}  {state}  step {}  {size}{children}", row.folder.display(), row.step)?;
    }
    let what = if rows.len() == 1 { "this run".to_owned() } else { format!("these {} runs", rows.len()) };
    let total = DecimalBytes(rows.iter().map(|row| row.bytes).sum());
    write!(out, "Delete {what} with all checkpoints, {total}? [y/N] ")?;
    out.flush()?;
    drop(out);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Returns how many runs beside a run started from it.
fn children_of(row: &RunListRow) -> usize {
    let beside = run_lookup::run_folders(row.folder.parent().unwrap_or(Path::new("")));
    beside.iter().filter(|other| read_row(other, LastValues::Skip).starts_from(&row.run)).count()
}

pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (a, b) = (run_lookup::run_folder_and_step(&args.a)?, run_lookup::run_folder_and_step(&args.b)?);
    let found = compare_runs((&a.0, a.1), (&b.0, b.1))?;
    let mut out = output::stdout();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?,
        false => write_comparison(&mut out, &found)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_comparison(out: &mut impl Write, found: &RunComparison) -> std::io::Result<()> {
    for (name, run) in [("A", &found.a), ("B", &found.b)] {
        writeln!(out, "{name}  {}  config v{}", run.run, run.version)?;
    }
    write_differences(out, "config", &found.current)?;
    write_differences(out, "config at the start", &found.initial)?;
    write_changes(out, "A", &found.a)?;
    write_changes(out, "B", &found.b)
}

fn write_differences(out: &mut impl Write, title: &str, found: &[SettingDifference]) -> std::io::Result<()> {
    let width = |text: fn(&SettingDifference) -> &str| found.iter().map(|one| text(one).chars().count()).max();
    let (keys, values) = (width(|found| &found.key).unwrap_or(0), width(|found| &found.a).unwrap_or(0));
    match found.is_empty() {
        true => writeln!(out, "\n{title}: the same"),
        false => {
            writeln!(out, "\n{title}:")?;
            found.iter().try_for_each(|one| {
                let SettingDifference { key, a, b } = one;
                writeln!(out, "  {key:<keys$}  {a:<values$}  {b}")
            })
        }
    }
}

fn write_changes(out: &mut impl Write, name: &str, run: &ComparedRun) -> std::io::Result<()> {
    if run.changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nchanges of {name} while it trained:")?;
    run.changes.iter().try_for_each(|change| {
        let key = change.key.as_deref().unwrap_or("-");
        writeln!(out, "  step {}  {key}  {} -> {}", change.step, change.old, change.new)
    })
}
