//! Owns: periodic measurements of CPU, memory and GPU for a screen.
//! Must not know: which screen; the system table, which has its own measurements.
//! Invariant: its cost for a step is negligible.

use crate::record::run_folder::RunFolder;
use crate::record::system::SystemProbe;
use crate::schema::rows::SystemRow;
use std::time::{Duration, Instant};

/// Minimum time between two measurements.
const INTERVAL: Duration = Duration::from_secs(2);

pub(in crate::train) struct SystemMonitor {
    probe: SystemProbe,
    last_measured: Option<Instant>,
}

impl SystemMonitor {
    /// Creates a monitor for the disk of `folder` and, if known, the GPU with the PCI bus id `gpu_bus`.
    pub fn new(folder: &RunFolder, gpu_bus: Option<&str>) -> Self {
        let mut probe = SystemProbe::new(folder.path());
        gpu_bus.into_iter().for_each(|bus| probe.watch_gpu(bus));
        Self { probe, last_measured: None }
    }

    pub fn measure_if_due(&mut self, step: u64) -> Option<SystemRow> {
        if self.last_measured.is_some_and(|last| last.elapsed() < INTERVAL) {
            return None;
        }
        self.last_measured = Some(Instant::now());
        Some(self.probe.measure(step))
    }
}
