//! Owns: measuring what the machine does while a run goes on.
//! Must not know: when it is asked, where the answer goes.
//! Invariant: what does not answer is none, never an error; an answer costs about a millisecond at most.

use super::rows::{GpuRow, SystemRow};
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
    gpu: Option<Gpu>,
}

impl Probe {
    /// `folder` is on the disk whose room is measured.
    pub fn new(folder: &Path) -> Self {
        let mut probe = Self {
            system: System::new().ok(),
            process: sysinfo::get_current_pid().ok(),
            folder: folder.to_owned(),
            cpu: (Instant::now(), 0),
            gpu: None,
        };
        probe.measure(0);
        probe
    }

    /// Measures the GPU at this place on the PCI bus too, where it is one of NVIDIA's.
    pub fn watch_gpu(&mut self, bus: &str) {
        self.gpu = Gpu::new(bus);
    }

    /// Measures, `step` updates having been done. Processor time is that since the last measurement.
    pub fn measure(&mut self, step: u64) -> SystemRow {
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.refresh_cpu_usage();
        }
        let (bytes, spent) = self.process().unwrap_or((0, self.cpu.1));
        let (since, before) = std::mem::replace(&mut self.cpu, (Instant::now(), spent));
        SystemRow {
            step,
            time: chrono::Utc::now(),
            process_cpu: spent.saturating_sub(before) as f64 / 1e3 / since.elapsed().as_secs_f64().max(1e-3),
            machine_cpu: self.system.as_ref().map_or(0.0, busy_cores),
            cores: self.system.as_ref().map_or(0, |system| system.cpus().len() as u64),
            process_bytes: bytes,
            memory_used_bytes: self.system.as_ref().map_or(0, System::used_memory),
            memory_bytes: self.system.as_ref().map_or(0, System::total_memory),
            disk_free_bytes: room(&self.folder),
            gpu: self.gpu.as_ref().and_then(Gpu::measure),
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

/// Processor time of the machine since it was last asked for, in cores.
fn busy_cores(system: &System) -> f64 {
    let share = f64::from(system.global_cpu_usage()) / 100.0;
    if share.is_finite() { share.max(0.0) * system.cpus().len() as f64 } else { 0.0 }
}

/// A GPU that says what it does.
#[cfg(feature = "cuda")]
struct Gpu {
    driver: nvml_wrapper::Nvml,
    bus: String,
}

#[cfg(feature = "cuda")]
impl Gpu {
    fn new(bus: &str) -> Option<Self> {
        let gpu = Self { driver: nvml_wrapper::Nvml::init().ok()?, bus: bus.to_owned() };
        gpu.measure().map(|_| gpu)
    }

    fn measure(&self) -> Option<GpuRow> {
        let device = self.driver.device_by_pci_bus_id(self.bus.as_str()).ok()?;
        let (load, memory) = (device.utilization_rates().ok()?, device.memory_info().ok()?);
        let load = f64::from(load.gpu) / 100.0;
        Some(GpuRow { load, memory_used_bytes: memory.used, memory_bytes: memory.total })
    }
}

/// This program is built without a way to ask.
#[cfg(not(feature = "cuda"))]
struct Gpu;

#[cfg(not(feature = "cuda"))]
impl Gpu {
    fn new(_: &str) -> Option<Self> {
        None
    }

    fn measure(&self) -> Option<GpuRow> {
        None
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

/// The most memory that this process has had resident so far, in bytes. Linux alone says.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_at_least_what_is_resident() {
        let dir = tempfile::tempdir().unwrap();
        let now = Probe::new(dir.path()).measure(1).process_bytes;
        assert!(peak_bytes().is_some_and(|peak| peak >= now), "{now}");
    }

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
        assert!(row.cores > 0 && row.machine_cpu >= 0.0 && row.machine_cpu <= row.cores as f64, "{row:?}");
        assert!(row.gpu.is_none(), "nobody said which");
    }
}
