//! Owns: `verify`: the table of golden entries and their verdicts.
//! Must not know: how an entry is computed.
//! Invariant: any failed entry makes the exit code 1.

use crate::config::Dtype;
use crate::train::device;
use crate::verify::{Held, Verdict, verify};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab verify tests/fixtures/llama
  coconut-lab verify path/to/folder --device cuda

The folder holds config.json, model.safetensors and golden.safetensors, as the oracle's script writes them.";

/// What `verify` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Folder with config.json, model.safetensors and golden.safetensors.
    dir: PathBuf,
    /// auto, cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// What products are made of, f32 or bf16; of bf16 more error is allowed.
    #[arg(long, default_value = "f32", value_parser = super::bench::dtype)]
    dtype: Dtype,
    /// Blocks keep their inputs alone, as with `run.activation_checkpointing`.
    #[arg(long)]
    activation_checkpointing: bool,
}

/// Verifies, prints the table, and says whether all held.
pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let chosen = device::choose(&args.device)?;
    let (dtype, activation_checkpointing) = (args.dtype, args.activation_checkpointing);
    let verdicts = verify(&args.dir, &chosen.device, dtype, activation_checkpointing)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} on {} ({})\n", args.dir.display(), chosen.name, chosen.reason)?;
    writeln!(out, "{:<30} {:>13} {:>9}  verdict", "entry", "largest error", "allowed")?;
    for verdict in &verdicts {
        writeln!(out, "{}", line(verdict))?;
    }
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count();
    let failed = count(Verdict::failed);
    let waiting = count(|verdict| verdict.result == Held::NotComputed);
    let held = count(|verdict| matches!(verdict.result, Held::Error { .. })) - failed;
    writeln!(out, "\n{held} held, {failed} failed, {waiting} not computed")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(verdict: &Verdict) -> String {
    match verdict.result {
        Held::Error { error, allowed } => {
            let word = if verdict.failed() { "FAILED" } else { "held" };
            format!("{:<30} {error:>13.2e} {allowed:>9.0e}  {word}", verdict.entry)
        }
        Held::Given => format!("{:<30} {:>13} {:>9}  given", verdict.entry, "", ""),
        Held::NotComputed => format!("{:<30} {:>13} {:>9}  not computed", verdict.entry, "", ""),
    }
}
