//! Owns: the process: parse the verb, call its room, exit code.
//! Must not know: what any verb does.

mod allocator;

use clap::Parser;
use coconut_lab::cli::{self, Cli};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_memory();
    match cli::run(Cli::parse(), allocator::allocated) {
        Ok(code) => code,
        // Who reads no further has what was wanted.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone with the terminal; the exit code is not.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
