//! Owns: the process: it parses the command line, runs the command, and sets the exit code.
//! Must not know: what any command does.

mod allocator;

use clap::Parser;
use coconut_lab::cli::{self, Cli};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    match cli::run(Cli::parse(), allocator::allocation_counts) {
        Ok(code) => code,
        // A reader that closes the pipe, such as `head`, has all it wants.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed with the terminal; the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
