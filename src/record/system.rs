//! Owns: measuring CPU, memory, disk and GPU use during a run.
//! Must not know: when it is called, where the measurement goes.
//! Invariant: a source that does not respond gives no value, never an error; a measurement takes about 1 ms
//! at most.

use crate::schema::rows::{GpuRow, SystemRow};
use std::path::{Path, PathBuf};
use std::time::Instant;
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Measures the resources that this process and its machine use.
pub struct SystemProbe {
    /// `None` if `sysinfo` does not support this machine.
    system: Option<System>,
    process: Option<Pid>,
    folder: PathBuf,
    /// When the CPU time of this process was last read, and its value then, in milliseconds.
    cpu: (Instant, u64),
    gpu: Option<GpuMonitor>,
}

impl SystemProbe {
    /// Creates a probe that measures the free space of the disk that holds `folder`.
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

    /// Also measures the GPU with this PCI bus id, if it is an NVIDIA GPU.
    pub fn watch_gpu(&mut self, bus: &str) {
        self.gpu = GpuMonitor::new(bus);
    }

    /// Measures the current use, as a row for `step`. CPU use is averaged since the last measurement.
    pub fn measure(&mut self, step: u64) -> SystemRow {
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.refresh_cpu_usage();
        }
        let (bytes, spent) = self.process_usage().unwrap_or((0, self.cpu.1));
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
            disk_free_bytes: free_disk_bytes(&self.folder),
            gpu: self.gpu.as_ref().and_then(GpuMonitor::measure),
        }
    }

    /// Returns this process's resident bytes and its CPU time so far, in milliseconds.
    fn process_usage(&mut self) -> Option<(u64, u64)> {
        let (pid, system) = (self.process?, self.system.as_mut()?);
        let refresh = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, refresh);
        let process = system.process(pid)?;
        Some((process.memory(), process.accumulated_cpu_time()))
    }
}

/// Returns the machine's average CPU use since the last refresh, in cores.
fn busy_cores(system: &System) -> f64 {
    let share = f64::from(system.global_cpu_usage()) / 100.0;
    if share.is_finite() { share.max(0.0) * system.cpus().len() as f64 } else { 0.0 }
}

/// A GPU measured through NVIDIA's management library (NVML).
#[cfg(feature = "cuda")]
struct GpuMonitor {
    driver: nvml_wrapper::Nvml,
    bus: String,
}

#[cfg(feature = "cuda")]
impl GpuMonitor {
    fn new(bus: &str) -> Option<Self> {
        let monitor = Self { driver: nvml_wrapper::Nvml::init().ok()?, bus: bus.to_owned() };
        monitor.measure().map(|_| monitor)
    }

    fn measure(&self) -> Option<GpuRow> {
        let device = self.driver.device_by_pci_bus_id(self.bus.as_str()).ok()?;
        let (utilization, memory) = (device.utilization_rates().ok()?, device.memory_info().ok()?);
        let load = f64::from(utilization.gpu) / 100.0;
        Some(GpuRow { load, memory_used_bytes: memory.used, memory_bytes: memory.total })
    }
}

/// Without the `cuda` feature no GPU can be measured.
#[cfg(not(feature = "cuda"))]
struct GpuMonitor;

#[cfg(not(feature = "cuda"))]
impl GpuMonitor {
    fn new(_: &str) -> Option<Self> {
        None
    }

    fn measure(&self) -> Option<GpuRow> {
        None
    }
}

/// Returns the bytes free for this user on the disk that holds `folder`, if known.
#[cfg(unix)]
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Returns `None`: free space is not measured on this platform.
#[cfg(not(unix))]
pub fn free_disk_bytes(_: &Path) -> Option<u64> {
    None
}

/// Returns the peak resident memory of this process so far, in bytes. Available on Linux only.
pub fn peak_resident_bytes() -> Option<u64> {
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
        let now = SystemProbe::new(dir.path()).measure(1).process_bytes;
        assert!(peak_resident_bytes().is_some_and(|peak| peak >= now), "{now}");
    }

    #[test]
    fn this_process_has_memory_and_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let row = SystemProbe::new(dir.path()).measure(7);
        assert!(
            row.step == 7 && row.process_bytes > 1 << 20 && row.memory_bytes > row.process_bytes,
            "{row:?}"
        );
        assert!(row.process_cpu >= 0.0 && row.process_cpu < 1e4, "{row:?}");
        assert!(cfg!(not(unix)) || row.disk_free_bytes.is_some());
        assert!(row.cores > 0 && row.machine_cpu >= 0.0 && row.machine_cpu <= row.cores as f64, "{row:?}");
        assert!(row.gpu.is_none(), "no GPU was set");
    }
}
