//! Owns: measuring CPU, memory, disk and GPU use during a run.
//! Must not know: where a measurement is written or shown.
//! Invariant: a source that does not respond gives no value, never an error; a measurement takes about 1 ms at most.

use crate::schema::rows::{GpuRow, SystemRow};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Time between two measurements for a screen.
const SCREEN_INTERVAL: Duration = Duration::from_secs(2);

/// Measures what this process and its machine use: for the system table and, if there is one, for a screen.
pub struct SystemMonitor {
    /// `None` if `sysinfo` does not support this machine.
    system: Option<System>,
    process: Option<Pid>,
    /// Its disk is the one that is measured.
    folder: PathBuf,
    gpu: Option<GpuMonitor>,
    has_screen: bool,
    /// The newest measurement for the screen, until it is taken.
    latest: Arc<Mutex<Option<SystemRow>>>,
    measured_at: Instant,
    /// CPU time of this process at that time.
    cpu_ms: u64,
    table_row_at: Instant,
    /// CPU use of this process and of the machine since the last row of the table, in seconds of one core.
    core_seconds: (f64, f64),
}

impl SystemMonitor {
    /// Creates a monitor that leaves measurements for the screen in `latest`.
    pub fn new(folder: &Path, latest: Arc<Mutex<Option<SystemRow>>>) -> Self {
        let now = Instant::now();
        let mut monitor = Self {
            system: System::new().ok(),
            process: sysinfo::get_current_pid().ok(),
            folder: folder.to_owned(),
            gpu: None,
            has_screen: false,
            latest,
            measured_at: now,
            cpu_ms: 0,
            table_row_at: now,
            core_seconds: (0.0, 0.0),
        };
        monitor.measure(0);
        monitor.core_seconds = (0.0, 0.0);
        monitor
    }

    /// Also measures the GPU with this PCI bus id, if it is an NVIDIA GPU.
    pub fn watch_gpu(&mut self, bus: &str) {
        self.gpu = GpuMonitor::new(bus);
    }

    /// Measures for a screen too, from now on.
    pub fn show(&mut self, step: u64) {
        self.has_screen = true;
        self.measure(step);
    }

    /// Returns the time until a measurement is due, if one is. A `table_time` of zero means no rows of the table.
    pub fn time_until_due(&self, table_time: Duration) -> Option<Duration> {
        let table = (!table_time.is_zero()).then(|| table_time.saturating_sub(self.table_row_at.elapsed()));
        let screen = self.has_screen.then(|| SCREEN_INTERVAL.saturating_sub(self.measured_at.elapsed()));
        table.into_iter().chain(screen).min()
    }

    /// Measures if that is due. Returns a row if one is due for the table, with CPU use averaged since the last.
    pub fn measure_if_due(&mut self, step: u64, table_time: Duration) -> Option<SystemRow> {
        if self.time_until_due(table_time)? > Duration::ZERO {
            return None;
        }
        let mut row = self.measure(step);
        let time = self.table_row_at.elapsed();
        if table_time.is_zero() || time < table_time {
            return None;
        }
        let (process, machine) = std::mem::take(&mut self.core_seconds);
        (row.process_cpu, row.machine_cpu) = (process / time.as_secs_f64(), machine / time.as_secs_f64());
        self.table_row_at = Instant::now();
        Some(row)
    }

    /// Measures the current use. CPU use is averaged since the last measurement.
    fn measure(&mut self, step: u64) -> SystemRow {
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.refresh_cpu_usage();
        }
        let (process_bytes, cpu_ms) = self.process_usage().unwrap_or((0, self.cpu_ms));
        let seconds = self.measured_at.elapsed().as_secs_f64().max(1e-3);
        let process_seconds = cpu_ms.saturating_sub(self.cpu_ms) as f64 / 1e3;
        let machine_cpu = self.system.as_ref().map_or(0.0, busy_cores);
        (self.measured_at, self.cpu_ms) = (Instant::now(), cpu_ms);
        self.core_seconds.0 += process_seconds;
        self.core_seconds.1 += machine_cpu * seconds;
        let row = SystemRow {
            step,
            time: chrono::Utc::now(),
            process_cpu: process_seconds / seconds,
            machine_cpu,
            cores: self.system.as_ref().map_or(0, |system| system.cpus().len() as u64),
            process_bytes,
            memory_used_bytes: self.system.as_ref().map_or(0, System::used_memory),
            memory_bytes: self.system.as_ref().map_or(0, System::total_memory),
            disk_free_bytes: free_disk_bytes(&self.folder),
            gpu: self.gpu.as_ref().and_then(GpuMonitor::measure),
        };
        if self.has_screen {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(row.clone());
        }
        row
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
        let now = SystemMonitor::new(dir.path(), Arc::default()).measure(1).process_bytes;
        assert!(peak_resident_bytes().is_some_and(|peak| peak >= now), "{now}");
    }

    #[test]
    fn this_process_has_memory_and_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let row = SystemMonitor::new(dir.path(), Arc::default()).measure(7);
        assert!(row.step == 7 && row.process_bytes > 1 << 20 && row.memory_bytes > row.process_bytes, "{row:?}");
        assert!(row.process_cpu >= 0.0 && row.process_cpu < 1e4, "{row:?}");
        assert!(cfg!(not(unix)) || row.disk_free_bytes.is_some());
        assert!(row.cores > 0 && row.machine_cpu >= 0.0 && row.machine_cpu <= row.cores as f64, "{row:?}");
        assert!(row.gpu.is_none(), "no GPU was set");
    }

    #[test]
    fn the_table_and_a_screen_share_measurements() {
        let (dir, latest) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut monitor = SystemMonitor::new(dir.path(), Arc::clone(&latest));
        assert!(monitor.time_until_due(Duration::ZERO).is_none(), "nobody wants a measurement");
        let soon = Duration::from_millis(20);
        std::thread::sleep(soon);
        assert!(monitor.measure_if_due(3, soon).is_some() && latest.lock().unwrap().is_none());
        assert!(monitor.measure_if_due(3, Duration::from_secs(9)).is_none());
        monitor.show(4);
        assert_eq!(latest.lock().unwrap().take().map(|row| row.step), Some(4));
        assert!(monitor.measure_if_due(4, Duration::ZERO).is_none() && latest.lock().unwrap().is_none());
        std::thread::sleep(soon);
        let row = monitor.measure_if_due(5, soon).unwrap();
        assert!(row.step == 5 && row.machine_cpu >= 0.0 && row.machine_cpu <= row.cores as f64 + 0.5, "{row:?}");
    }
}
