//! Owns: signal handling. SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 stop the run with a checkpoint; a second SIGINT, or a second
//! SIGTERM after a grace time, ends the process at once. After SIGHUP the run continues without its terminal. With a
//! dashboard, SIGTSTP restores the terminal and SIGCONT redraws the screen; without one, both have their default effect.
//! SIGXFSZ becomes an error of the write that it concerns.
//! Must not know: what a stop does, how the dashboard sets up the terminal.
//! Invariant: the terminal is restored before a signal ends the process.

use super::trainer_host::TrainerHandle;
use crate::schema::protocol::Command;
use crate::tui::SignalFlags;
use std::sync::Arc;
use std::time::Duration;

/// Exit code of a run that a signal stopped before its last step, and that can be resumed: EX_TEMPFAIL of sysexits.h.
pub(super) const STOPPED_EARLY_EXIT_CODE: u8 = 75;
/// Time that a step may take to end by itself after a stop was requested. Then it is given up.
const STEP_GRACE: Duration = Duration::from_secs(5);
/// Time after a first SIGTERM in which another one is taken for a repetition: schedulers send several.
const TERM_GRACE: Duration = Duration::from_secs(30);

/// Lets a write beyond a file size limit fail with an error, instead of ending the process.
#[cfg(unix)]
pub(super) fn survive_file_size_limit() {
    let ignored = Arc::default();
    // If it cannot be registered, the limit ends the process, as it does for other programs.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, ignored);
}

/// Starts a thread that sets the flags of `flags` on signals, and stops the run of `trainer`.
#[cfg(unix)]
pub(super) fn listen(trainer: TrainerHandle, flags: Arc<SignalFlags>, dashboard: bool) -> std::io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Instant;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
    if dashboard {
        signals.add_signal(SIGTSTP)?;
        signals.add_signal(SIGCONT)?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut stop_requested: Option<Instant> = None;
        for signal in signals.forever() {
            match (signal, stop_requested) {
                (SIGHUP, _) => flags.hung_up.store(true, SeqCst),
                (SIGTSTP, _) => crate::tui::on_stop_signal(&flags),
                (SIGCONT, _) => crate::tui::on_continue_signal(&flags),
                (_, None) => {
                    stop_requested = Some(Instant::now());
                    flags.stop.store(true, SeqCst);
                    request_stop(trainer.clone());
                }
                (SIGINT, Some(_)) => exit_at_once(signal),
                (SIGTERM, Some(since)) if since.elapsed() > TERM_GRACE => exit_at_once(signal),
                (_, Some(_)) => {}
            }
        }
    })?;
    Ok(())
}

/// Asks the trainer to stop, on a thread of its own: the channel may be full, and another signal must be handled. If the run
/// has not stopped after the grace time, its step is given up, or its preparation, of which nothing is kept.
#[cfg(unix)]
fn request_stop(trainer: TrainerHandle) {
    std::thread::spawn(move || {
        if let Some(commands) = trainer.commands() {
            // The trainer may have ended.
            std::thread::spawn(move || drop(commands.send(Command::Stop)));
        }
        std::thread::sleep(STEP_GRACE);
        if trainer.is_preparing() {
            crate::tui::restore_terminal();
            super::output::print_error_line("stopped while preparing: there is no run yet");
            std::process::exit(STOPPED_EARLY_EXIT_CODE.into());
        }
        crate::train::cancel_step();
    });
}

#[cfg(unix)]
fn exit_at_once(signal: i32) -> ! {
    crate::tui::restore_terminal();
    std::process::exit(128 + signal);
}

/// Does nothing: on other systems a signal ends the process.
#[cfg(not(unix))]
pub(super) fn listen(_: TrainerHandle, _: Arc<SignalFlags>, _: bool) -> std::io::Result<()> {
    Ok(())
}

/// Does nothing: other systems have no such signal.
#[cfg(not(unix))]
pub(super) fn survive_file_size_limit() {}
