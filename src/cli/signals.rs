//! Owns: SIGINT, SIGTERM and SIGHUP. The first SIGINT or SIGTERM asks the run to stop with a checkpoint, the second ends the
//! process at once; SIGHUP says that the terminal is gone, and the run goes on without it.
//! Must not know: what a stop does.
//! Invariant: the terminal is given back before the process ends by a signal.

use super::station::Ears;
use crate::message::Command;
use crate::tui::Asked;
use std::sync::{Arc, PoisonError};

/// Listens from now on, on a thread of its own, and notes in `asked` what was said.
#[cfg(unix)]
pub(super) fn listen(ears: Ears, asked: Arc<Asked>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use std::sync::atomic::Ordering::SeqCst;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                asked.hung_up.store(true, SeqCst);
                continue;
            }
            if asked.stop.swap(true, SeqCst) {
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
    })?;
    Ok(())
}

/// Other systems end the process by themselves.
#[cfg(not(unix))]
pub(super) fn listen(_: Ears, _: Arc<Asked>) -> std::io::Result<()> {
    Ok(())
}
