//! Owns: stopping as Ctrl-Z does it: the whole process group, until somebody says to go on.
//! Must not know: the screen, which is given back before.
//! Invariant: a group that nobody could wake again does not stop, as with the signal's own default.

use super::{Asked, terminal};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A stop that this process sends to its group, itself included, is on its way.
static OWN: AtomicBool = AtomicBool::new(false);
/// Somebody has said to go on.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// How long a signal to oneself may take.
const SOON: Duration = Duration::from_secs(1);

/// A signal to stop has come: for the dashboard to obey, or at once where there is none.
pub fn stop_came(asked: &Asked) {
    if OWN.swap(false, SeqCst) {
        return;
    }
    if terminal::is_up() {
        asked.suspend.store(true, SeqCst);
    } else if may() {
        system::stop_self();
    }
}

/// The process goes on after a stop, and others may have used its terminal.
pub fn go_on_came(asked: &Asked) {
    asked.redraw.store(true, SeqCst);
    GO_ON.store(true, SeqCst);
}

/// Whether somebody could wake the process again.
pub fn may() -> bool {
    system::has_a_shell()
}

/// Stops the process group; returns when it goes on. The process must listen to the signals to stop and to go on.
pub fn stop() {
    GO_ON.store(false, SeqCst);
    OWN.store(true, SeqCst);
    system::stop_group();
    // One that came late would stop the process again.
    wait(|| !OWN.load(SeqCst));
    OWN.store(false, SeqCst);
    system::stop_self();
    wait(|| GO_ON.load(SeqCst));
}

fn wait(until: impl Fn() -> bool) {
    let begun = Instant::now();
    while !until() && begun.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
mod system {
    use rustix::process::{
        Pid, Signal, getpgid, getpgrp, getpid, getppid, getsid, kill_current_process_group, kill_process,
    };
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

    /// Those who run beside it in a pipeline or a script stop too, or the shell would wait for them.
    pub fn stop_group() {
        let _ = kill_current_process_group(Signal::TSTP);
    }

    /// The signal that is not listened to.
    pub fn stop_self() {
        let _ = kill_process(getpid(), Signal::STOP);
    }

    /// Whether the group's nearest ancestor outside of it is of the same session, which POSIX calls "not orphaned".
    pub fn has_a_shell() -> bool {
        let Ok(session) = getsid(None) else { return false };
        let mut ancestor = getppid();
        while let Some(pid) = ancestor {
            match getpgid(Some(pid)) {
                Ok(group) if group == getpgrp() => ancestor = parent(pid),
                Ok(_) => return getsid(Some(pid)) == Ok(session),
                Err(_) => return false,
            }
        }
        false
    }

    fn parent(pid: Pid) -> Option<Pid> {
        let pid = sysinfo::Pid::from_u32(pid.as_raw_nonzero().get().cast_unsigned());
        let mut system = System::new().ok()?;
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing(),
        );
        let parent = system.process(pid)?.parent()?;
        Pid::from_raw(parent.as_u32().cast_signed())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_parent_of_this_process_is_found_in_both_ways() {
            assert_eq!(parent(getpid()), getppid());
        }
    }
}

/// Elsewhere nothing stops.
#[cfg(not(unix))]
mod system {
    pub fn stop_group() {}

    pub fn stop_self() {}

    pub fn has_a_shell() -> bool {
        false
    }
}
