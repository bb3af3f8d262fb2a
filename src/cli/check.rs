//! Owns: `check`: it reads a whole run folder and says what of it is whole.
//! Must not know: how a file is checked.
//! Invariant: the run is only read; the exit code is 0 only if every file is whole.

use super::{output, run_lookup};
use crate::record::check::check_record;
use crate::record::run_folder::RunFolder;
use crate::train::check_checkpoints;
use clap::Args;
use indicatif::DecimalBytes;
use std::io::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab check last
  coconut-lab check quickstart --json | jq '.[] | select(.problem != null)'

Every row of every table is decoded, checksums of tables and SHA-256 of checkpoints are compared. Exit code 1 means
that something is damaged or missing. Files of older versions have no checksum: there, damage that can still be
decoded is not found.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    /// Print a JSON array with one object for each file or checkpoint.
    #[arg(long)]
    json: bool,
}

/// Checks the run, and prints a line for each file and checkpoint.
pub(super) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&run_lookup::run_folder(&args.run)?)?;
    let mut items = check_record(&folder);
    items.extend(check_checkpoints(&folder)?);
    let mut out = output::stdout();
    let damaged = items.iter().filter(|item| item.problem.is_some()).count();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&items)?)?;
    } else {
        let width = items.iter().map(|item| item.name.chars().count()).max().unwrap_or(0);
        for item in &items {
            let rows = item.rows.map_or(String::new(), |rows| format!("{rows} rows"));
            let state = item.problem.as_deref().unwrap_or("whole");
            let bytes = DecimalBytes(item.bytes).to_string();
            writeln!(out, "{:<width$}  {rows:>12}  {bytes:>10}  {state}", item.name)?;
        }
        match damaged {
            0 => writeln!(out, "{}: whole", folder.id())?,
            damaged => writeln!(out, "{}: {damaged} of {} damaged or missing", folder.id(), items.len())?,
        }
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
