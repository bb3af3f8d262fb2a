//! Owns: measuring what the machine does while a run goes on.
//! Must not know: when it is asked, where the answer goes.
//! Invariant: an answer costs well below a millisecond.

use super::rows::SystemRow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// A probe of this process and its machine.
pub struct Probe {
    /// None where this machine does not say.
    system: Option<System>,
    process: Option<Pid>,
    folder: PathBuf,
    /// When the processor time was last asked for, and how much there had been, in milliseconds.
    cpu: (Instant, u64),
}

impl Probe {
    /// `folder` is on the disk whose room is measured.
    pub fn new(folder: &Path) -> Self {
        let mut probe = Self {
            system: System::new().ok(),
            process: sysinfo::get_current_pid().ok(),
            folder: folder.to_owned(),
            cpu: (Instant::now(), 0),
        };
        probe.measure(0);
        probe
    }

    /// Measures, `step` updates having been done. Processor time is that since the last measurement.
    pub fn measure(&mut self, step: u64) -> SystemRow {
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        }
        let (bytes, spent) = self.process().unwrap_or((0, self.cpu.1));
        let (since, before) = std::mem::replace(&mut self.cpu, (Instant::now(), spent));
        SystemRow {
            step,
            time: chrono::Utc::now(),
            process_cpu: spent.saturating_sub(before) as f64 / 1e3 / since.elapsed().as_secs_f64().max(1e-3),
            machine_cpu: 0.0,
            cores: 0,
            process_bytes: bytes,
            memory_used_bytes: self.system.as_ref().map_or(0, System::used_memory),
            memory_bytes: self.system.as_ref().map_or(0, System::total_memory),
            disk_free_bytes: room(&self.folder),
            gpu: None,
        }
    }

    /// Resident bytes and processor time so far, in milliseconds.
    fn process(&mut self) -> Option<(u64, u64)> {
        let (pid, system) = (self.process?, self.system.as_mut()?);
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        let process = system.process(pid)?;
        Some((process.memory(), process.accumulated_cpu_time()))
    }
}

/// Room that this user may take on the disk that holds `folder`, in bytes.
#[cfg(unix)]
pub fn room(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Not known here.
#[cfg(not(unix))]
pub fn room(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let row = Probe::new(dir.path()).measure(7);
        assert!(
            row.step == 7 && row.process_bytes > 1 << 20 && row.memory_bytes > row.process_bytes,
            "{row:?}"
        );
        assert!(row.process_cpu >= 0.0 && row.process_cpu < 1e4, "{row:?}");
        assert!(cfg!(not(unix)) || row.disk_free_bytes.is_some());
    }
}
