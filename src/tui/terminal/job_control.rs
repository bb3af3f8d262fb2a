//! Owns: job control: stopping the whole process group as Ctrl-Z does, until it is continued.
//! Must not know: the screen, which is restored before.
//! Invariant: an orphaned process group, which no shell could continue, does not stop; that is the signal's
//! default too.

use crate::tui::{SignalFlags, terminal};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Whether a stop signal that this process sent to its own group has not arrived yet.
static OWN_STOP_PENDING: AtomicBool = AtomicBool::new(false);
static CONTINUED: AtomicBool = AtomicBool::new(false);

/// The most time that a signal to this process may take.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Handles a stop signal: leaves it to the dashboard if that is up, else stops at once.
pub fn on_stop_signal(asked: &SignalFlags) {
    if OWN_STOP_PENDING.swap(false, SeqCst) {
        return;
    }
    if terminal::is_held() {
        asked.suspend.store(true, SeqCst);
    } else if can_stop() {
        system::stop_self();
    }
}

/// Handles a continue signal. Other programs may have used the terminal meanwhile.
pub fn on_continue_signal(asked: &SignalFlags) {
    asked.redraw.store(true, SeqCst);
    CONTINUED.store(true, SeqCst);
}

/// Returns whether a shell could continue the process after a stop.
pub fn can_stop() -> bool {
    system::has_shell()
}

/// Stops the process group, and returns when it is continued. The process must handle SIGTSTP and SIGCONT.
pub fn stop_process_group() {
    CONTINUED.store(false, SeqCst);
    OWN_STOP_PENDING.store(true, SeqCst);
    system::stop_group();
    // A late stop signal would stop the process again.
    wait_until(|| !OWN_STOP_PENDING.load(SeqCst));
    OWN_STOP_PENDING.store(false, SeqCst);
    system::stop_self();
    wait_until(|| CONTINUED.load(SeqCst));
}

/// Waits until the condition holds, at most `SIGNAL_TIMEOUT`.
fn wait_until(until: impl Fn() -> bool) {
    let started = Instant::now();
    while !until() && started.elapsed() < SIGNAL_TIMEOUT {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
mod system {
    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

    #[derive(Debug, PartialEq, Eq)]
    pub struct ProcessIds {
        pub parent: i32,
        pub group: i32,
        pub session: i32,
    }

    /// Stops the whole group: the shell waits for every process of a pipeline or script.
    pub fn stop_group() {
        let _ = kill_current_process_group(Signal::TSTP);
    }

    /// Stops this process by SIGSTOP, which cannot be handled.
    pub fn stop_self() {
        let _ = kill_process(getpid(), Signal::STOP);
    }

    /// Returns whether the group is not orphaned: its nearest ancestor outside is in the same session.
    pub fn has_shell() -> bool {
        let Some(own) = process_ids(getpid().as_raw_nonzero().get()) else { return false };
        let mut ancestor = process_ids(own.parent);
        while let Some(ProcessIds { parent, group, session }) = ancestor {
            if group != own.group {
                return session == own.session;
            }
            ancestor = process_ids(parent);
        }
        false
    }

    /// Reads ids from /proc. Those outside the container are 0, which `rustix` rejects.
    #[cfg(target_os = "linux")]
    pub fn process_ids(pid: i32) -> Option<ProcessIds> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Skips the name, which may hold anything, and the state.
        let mut numbers = stat.rsplit(") ").next()?.split(' ').skip(1).map(|number| number.parse().ok());
        Some(ProcessIds { parent: numbers.next()??, group: numbers.next()??, session: numbers.next()?? })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn process_ids(pid: i32) -> Option<ProcessIds> {
        use rustix::process::{Pid, getpgid, getsid};
        use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
        let own = Pid::from_raw(pid)?;
        let known = sysinfo::Pid::from_u32(pid.cast_unsigned());
        let mut system = System::new().ok()?;
        let what = ProcessRefreshKind::nothing();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[known]), false, what);
        let parent = system.process(known)?.parent()?.as_u32().cast_signed();
        let number = |pid: Pid| pid.as_raw_nonzero().get();
        let (group, session) = (getpgid(Some(own)).ok()?, getsid(Some(own)).ok()?);
        Some(ProcessIds { parent, group: number(group), session: number(session) })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::system::process_ids;

    #[test]
    fn the_ids_of_a_process_and_its_parent_are_read() {
        let own = process_ids(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert!(own.group >= 0 && own.session >= 0);
        assert_eq!(process_ids(i32::MAX), None);
    }
}

/// Job control does nothing on platforms other than Unix.
#[cfg(not(unix))]
mod system {
    pub fn stop_group() {}

    pub fn stop_self() {}

    pub fn has_shell() -> bool {
        false
    }
}
