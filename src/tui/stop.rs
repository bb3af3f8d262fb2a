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
    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

    /// A process as others see it.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Seen {
        pub parent: i32,
        pub group: i32,
        pub session: i32,
    }

    /// Those who run beside it in a pipeline or a script stop too, or the shell would wait for them.
    pub fn stop_group() {
        let _ = kill_current_process_group(Signal::TSTP);
    }

    /// By the signal that is not listened to.
    pub fn stop_self() {
        let _ = kill_process(getpid(), Signal::STOP);
    }

    /// Whether the group's nearest ancestor outside of it is of the same session, which POSIX calls "not orphaned".
    pub fn has_a_shell() -> bool {
        let Some(own) = see(getpid().as_raw_nonzero().get()) else { return false };
        let mut ancestor = see(own.parent);
        while let Some(Seen { parent, group, session }) = ancestor {
            if group != own.group {
                return session == own.session;
            }
            ancestor = see(parent);
        }
        false
    }

    /// Read, not asked for: of a group or session outside of a container the answer is 0, which `rustix` does not allow.
    #[cfg(target_os = "linux")]
    pub fn see(pid: i32) -> Option<Seen> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything, and the state.
        let mut numbers = stat.rsplit(") ").next()?.split(' ').skip(1).map(|number| number.parse().ok());
        Some(Seen { parent: numbers.next()??, group: numbers.next()??, session: numbers.next()?? })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn see(pid: i32) -> Option<Seen> {
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
        Some(Seen { parent, group: number(group), session: number(session) })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::system::see;

    #[test]
    fn a_process_and_its_parent_are_seen() {
        let own = see(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert!(own.group >= 0 && own.session >= 0);
        assert_eq!(see(i32::MAX), None);
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
