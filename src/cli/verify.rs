//! Owns: `verify`: its arguments, and the table of golden entries and their verdicts.
//! Must not know: how an entry is computed.
//! Invariant: any failed entry makes the exit code 1.

use super::progress::Spinner;
use super::{bail_usage, output};
use crate::config::Dtype;
use crate::device;
use crate::verify::{
    CASES_FILE, CheckResult, ROLLOUTS_FILE, STATISTICS_FILE, Verdict, verify, verify_curriculum, verify_grpo,
    verify_statistics,
};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab verify tests/fixtures/llama
  coconut-lab verify path/to/folder --device cuda

The golden numbers are those of a reference implementation. The table shows the largest error of each entry
and the allowed one. Errors are absolute; those of gradients, and all with --dtype bf16, are relative to the
entry's largest number; in a folder of rollouts each
number's error is scaled to the tolerance of 0; in a folder of statistics the line shows the number that is nearest to what it is allowed. Exit code: 0 if no entry failed, else 1.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Folder with config.json, model.safetensors and golden.safetensors, with cases.json of a curriculum or of
    /// rollouts, or with stats.json of statistics.
    dir: PathBuf,
    /// Device: auto (CUDA if it is built in and available, else the CPU), cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Number type of matrix products: f32 or bf16; bf16 is allowed a larger error.
    #[arg(long, default_value = "f32", value_parser = super::bench::parse_name::<Dtype>)]
    dtype: Dtype,
    /// Recompute blocks in the backward pass, as `run.activation_checkpointing` does.
    #[arg(long)]
    activation_checkpointing: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// The verdicts as JSON.
#[derive(Serialize)]
struct VerifyReport<'a> {
    folder: &'a Path,
    device: &'a str,
    failed: usize,
    verdicts: &'a [Verdict],
}

/// Verifies all entries, prints the table and a count of verdicts, and returns the exit code.
pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let chosen = device::choose_device(&args.device)?;
    let spinner = Spinner::start(format!("verifying {}", args.dir.display()));
    let (dtype, activation_checkpointing) = (args.dtype, args.activation_checkpointing);
    let is_plain = dtype == Dtype::F32 && !activation_checkpointing;
    let has = |file: &str| args.dir.join(file).is_file();
    let verdicts = match has(CASES_FILE) {
        false if is_plain && has(STATISTICS_FILE) => verify_statistics(&args.dir)?,
        true if is_plain && has(ROLLOUTS_FILE) => verify_grpo(&args.dir)?,
        true if !is_plain => {
            bail_usage!("{}: cases are verified in f32, without --activation-checkpointing", args.dir.display())
        }
        true => verify_curriculum(&args.dir, &chosen.device)?,
        false => verify(&args.dir, &chosen.device, dtype, activation_checkpointing)?,
    };
    drop(spinner);
    let mut out = output::stdout();
    let failed = verdicts.iter().filter(|verdict| verdict.failed()).count();
    let exit_code = if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        let report = VerifyReport { folder: &args.dir, device: &chosen.name, failed, verdicts: &verdicts };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(exit_code);
    }
    writeln!(out, "{} on {} ({})\n", args.dir.display(), chosen.name, chosen.reason)?;
    let width = verdicts.iter().map(|verdict| verdict.entry.len()).max().unwrap_or(0).max("entry".len());
    writeln!(out, "{:<width$} {:>13} {:>9}  verdict", "entry", "largest error", "allowed")?;
    for verdict in &verdicts {
        writeln!(out, "{}", verdict_line(verdict, width))?;
    }
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count();
    let waiting = count(|verdict| verdict.result == CheckResult::NotComputed);
    let passed = count(|verdict| matches!(verdict.result, CheckResult::Compared { .. })) - failed;
    writeln!(out, "\n{passed} held, {failed} failed, {waiting} not computed")?;
    Ok(exit_code)
}

/// Returns the line of a verdict, with its entry in `width` columns.
fn verdict_line(verdict: &Verdict, width: usize) -> String {
    match verdict.result {
        CheckResult::Compared { error, tolerance: allowed } => {
            let word = if verdict.failed() { "FAILED" } else { "held" };
            format!("{:<width$} {error:>13.2e} {allowed:>9.0e}  {word}", verdict.entry)
        }
        CheckResult::Input => format!("{:<width$} {:>13} {:>9}  input", verdict.entry, "", ""),
        CheckResult::NotComputed => format!("{:<width$} {:>13} {:>9}  not computed", verdict.entry, "", ""),
    }
}
