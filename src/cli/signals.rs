//! Owns: signal handling. The first SIGINT or SIGTERM stops the run with a checkpoint, the second ends the
//! process at once. After SIGHUP the run continues without its terminal. With a dashboard, SIGTSTP restores
//! the terminal and SIGCONT redraws the screen; without one, both have their default effect.
//! Must not know: what a stop does, how the dashboard sets up the terminal.
//! Invariant: the terminal is restored before a signal ends the process.

use super::trainer_host::CommandSender;
use crate::schema::protocol::Command;
use crate::tui::SignalFlags;
use std::sync::{Arc, PoisonError};

/// Starts a thread that sets the flags of `flags` on signals, and stops the run through `commands`.
#[cfg(unix)]
pub(super) fn listen(commands: CommandSender, flags: Arc<SignalFlags>, dashboard: bool) -> std::io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
    use std::sync::atomic::Ordering::SeqCst;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    if dashboard {
        signals.add_signal(SIGTSTP)?;
        signals.add_signal(SIGCONT)?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => flags.hung_up.store(true, SeqCst),
                SIGTSTP => crate::tui::on_stop_signal(&flags),
                SIGCONT => crate::tui::on_continue_signal(&flags),
                _ => stop_or_exit(signal, &commands, &flags),
            }
        }
    })?;
    Ok(())
}

/// Stops the run; called for the second time, ends the process.
#[cfg(unix)]
fn stop_or_exit(signal: i32, commands: &CommandSender, flags: &SignalFlags) {
    if flags.stop.swap(true, std::sync::atomic::Ordering::SeqCst) {
        crate::tui::restore_terminal();
        std::process::exit(128 + signal);
    }
    // A thread sends the command, because the channel may be full and a second signal must be handled.
    let sender = commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sender) = sender {
        std::thread::spawn(move || sender.send(Command::Stop));
    }
}

/// Does nothing: on other systems a signal ends the process.
#[cfg(not(unix))]
pub(super) fn listen(_: CommandSender, _: Arc<SignalFlags>, _: bool) -> std::io::Result<()> {
    Ok(())
}
