//! Owns: the process: parse the verb, call its room, exit code.
//! Must not know: what any verb does.

mod allocator;

use clap::Parser;
use coconut_lab::cli::{self, Cli};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_memory();
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be gone with the terminal; the exit code is not.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
