//! Owns: the process: it parses the command line, runs the command, and sets the exit code.
//! Must not know: what any command does.

mod allocator;

use clap::Parser;
use coconut_lab::cli::output::print_error_line;
use coconut_lab::cli::{self, Cli};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Exit code of a wrong call, as clap's own.
const WRONG_USAGE: u8 = 2;
/// Exit code after a panic: EX_SOFTWARE of sysexits.h.
const INTERNAL_ERROR: u8 = 70;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    std::panic::set_hook(Box::new(report_bug));
    make_host_the_default_device();
    let cli = Cli::try_parse().unwrap_or_else(|error| cli::exit_with_clap_error(&error));
    let ended = catch_unwind(AssertUnwindSafe(|| cli::run(cli, allocator::allocation_counts)));
    // The panic was reported by its hook.
    let Ok(result) = ended else { return ExitCode::from(INTERNAL_ERROR) };
    match result {
        Ok(code) => code,
        // A reader that closes the pipe, such as `head`, has all it wants.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print_error_line(format_args!("error: {error:#}"));
            if cli::is_usage_error(&error) { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Reports a panic that nothing catches: its message, its place, and that it is a bug.
fn report_bug(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map_or(String::new(), |place| format!(" ({}:{})", place.file(), place.line()));
    let message = info.payload_as_str().unwrap_or("without a message");
    print_error_line(format_args!("error: a bug in coconut-lab{place}: {message}"));
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        print_error_line(std::backtrace::Backtrace::force_capture());
    }
}

/// Makes the CPU Burn's default device, on which it builds what names no device, such as a loaded optimizer.
/// In a build with CUDA the default would be the GPU, and constructing it without a driver panics.
fn make_host_the_default_device() {
    if std::env::var_os("BURN_DEVICE").is_none() {
        // SAFETY: no other thread is running yet.
        unsafe { std::env::set_var("BURN_DEVICE", "flex") };
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
