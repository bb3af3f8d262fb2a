//! Owns: SIGINT, SIGTERM and SIGHUP. The first SIGINT or SIGTERM asks the run to stop with a checkpoint, the second ends the
//! process at once; SIGHUP says that the terminal is gone, and the run goes on without it. With a dashboard also SIGTSTP and
//! SIGCONT, before and after which its screen is given back and taken anew; without one they do what they always do.
//! Must not know: what a stop does, how a screen is taken.
//! Invariant: the terminal is given back before the process ends by a signal.

use super::station::Ears;
use crate::message::Command;
use crate::tui::Asked;
use std::sync::{Arc, PoisonError};

/// Listens from now on, on a thread of its own, and notes in `asked` what was said.
#[cfg(unix)]
pub(super) fn listen(ears: Ears, asked: Arc<Asked>, dashboard: bool) -> std::io::Result<()> {
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
                SIGHUP => asked.hung_up.store(true, SeqCst),
                SIGTSTP => crate::tui::stop_came(&asked),
                SIGCONT => crate::tui::go_on_came(&asked),
                _ => end(signal, &ears, &asked),
            }
        }
    })?;
    Ok(())
}

/// Asks for the end, and the second time makes it.
#[cfg(unix)]
fn end(signal: i32, ears: &Ears, asked: &Asked) {
    if asked.stop.swap(true, std::sync::atomic::Ordering::SeqCst) {
        crate::tui::give_back();
        std::process::exit(128 + signal);
    }
    // A trainer that is over has no ears, and needs none.
    // Sent from elsewhere: a second signal is heard even where there is no room for a command.
    let commands = ears.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(commands) = commands {
        std::thread::spawn(move || commands.send(Command::Stop));
    }
}

/// Other systems end the process by themselves.
#[cfg(not(unix))]
pub(super) fn listen(_: Ears, _: Arc<Asked>, _: bool) -> std::io::Result<()> {
    Ok(())
}
