//! Owns: the process: parse the verb, call its room, exit code.
//! Must not know: what any verb does.

use clap::Parser;
use coconut_lab::cli::{self, Cli};
use std::process::ExitCode;

// Burn's CPU device allocates every result anew; with the system allocator the page faults of large tensors cost up
// to 40 % of a step (docs/performance.md has the measurement).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
