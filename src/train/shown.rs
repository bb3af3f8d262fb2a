//! Owns: what the machine does, as a screen sees it: a measurement every so often.
//! Must not know: who looks; the system table, which has measurements of its own.
//! Invariant: it costs a step nothing to speak of.

use crate::record::folder::RunFolder;
use crate::record::rows::SystemRow;
use crate::record::system::Probe;
use std::time::{Duration, Instant};

/// Time between two measurements.
const EVERY: Duration = Duration::from_secs(2);

/// The machine, measured now and then.
pub(super) struct Machine {
    probe: Probe,
    last: Option<Instant>,
}

impl Machine {
    /// `bus`: where the run's GPU stands, if it has one that says.
    pub fn new(folder: &RunFolder, bus: Option<&str>) -> Self {
        let mut probe = Probe::new(folder.path());
        bus.into_iter().for_each(|bus| probe.watch_gpu(bus));
        Self { probe, last: None }
    }

    /// A measurement, if it is time for one.
    pub fn due(&mut self, step: u64) -> Option<SystemRow> {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(self.probe.measure(step))
    }
}
