//! Owns: SIGINT, SIGTERM and SIGHUP: the first asks the run to stop with a checkpoint, the second ends the process at once.
//! Must not know: what a stop does.
//! Invariant: the terminal is given back before the process ends by a signal.

use crate::message::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

/// Listens from now on, on a thread of its own. `asked` is set by the first signal.
#[cfg(unix)]
pub(super) fn listen(commands: SyncSender<Command>, asked: Arc<AtomicBool>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if asked.swap(true, std::sync::atomic::Ordering::SeqCst) {
                crate::tui::give_back();
                std::process::exit(128 + signal);
            }
            // A trainer that is over has no ears, and needs none.
            let _ = commands.send(Command::Stop);
        }
    })?;
    Ok(())
}

/// Other systems end the process by themselves.
#[cfg(not(unix))]
pub(super) fn listen(_: SyncSender<Command>, _: Arc<AtomicBool>) -> std::io::Result<()> {
    Ok(())
}
