//! Owns: profiles of training steps: time by part and by operation, averaged over steps.
//! Must not know: command-line arguments, how a profile is shown.
//! Invariant: the lines of a table add up to the whole step; unattributed time is in the last line.

pub mod chrome;

use super::steps::{BenchSizes, BenchSubject, StepKind, synchronize};
use crate::config::{Config, WorkDone};
use crate::device::SelectedDevice;
use crate::ops::trace::{self, Recording};
pub use crate::ops::trace::{AllocationCounter, SpanKind, SpanRecord};
use crate::schema::metrics::{Metric, StepRow};
use crate::train::objective::ObjectiveStart;
use crate::train::run::publisher::Publisher;
use crate::train::run::setup;
use crate::train::step::readback::READBACK_SPAN;
use crate::train::{Learner, TrainError};
use burn::module::Module;
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::sync::mpsc::{channel, sync_channel};

/// How many steps to profile, and what to keep.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    pub steps: usize,
    pub warmup: usize,
    /// Returns the allocations of the process so far: their number and bytes.
    pub allocated: AllocationCounter,
    /// Whether to keep every event instead of only the sums.
    pub keep_events: bool,
}

/// The mean cost of a training step, by part and by operation.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Profile {
    pub steps: usize,
    pub recycled_steps: usize,
    pub params: usize,
    pub step_ms: f64,
    /// The parts that a run records, then the time in none of them.
    pub parts: Vec<ProfileLine>,
    /// The operations, longest first, then the time in none of them.
    pub operations: Vec<ProfileLine>,
    /// Allocations of the process in a step: their number and bytes.
    pub allocations: [f64; 2],
    /// Readbacks in a step: their number and bytes.
    pub readbacks: [f64; 2],
    #[serde(skip)]
    pub events: Vec<SpanRecord>,
}

/// The mean cost of one part or operation in a step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ProfileLine {
    pub name: &'static str,
    pub kind: SpanKind,
    /// Number of calls; 0 if they are not counted.
    pub calls: f64,
    pub ms: f64,
    /// Share of the step's wall time, 0 to 1.
    pub share: f64,
    /// Floating-point operations in units of 10^9; 0 if they are not counted.
    pub gflop: f64,
    pub bytes: f64,
}

/// Name of the line for the time in no part or operation.
pub const OTHER: &str = "other";

/// Profiles steps of one kind, of a new model on random tokens.
pub fn profile_step_kind(
    sizes: &BenchSizes,
    kind: StepKind,
    selected: &SelectedDevice,
    options: &ProfileOptions,
) -> Result<Profile, TrainError> {
    let mut subject = BenchSubject::new(sizes, kind, &selected.device, 1);
    let params = subject.params();
    let next = |round| Ok(sizes.random_batch(round));
    measure_steps(&selected.device, options, params, next, |batch| subject.step(batch))
}

/// Profiles the first steps of the run that `config` describes. A step includes taking its batches, which are read ahead.
/// Nothing is recorded.
pub fn profile_run(
    mut config: Config,
    selected: &SelectedDevice,
    options: &ProfileOptions,
) -> Result<Profile, TrainError> {
    config.probe.cost = 1;
    // Nobody receives these events.
    let mut publisher = Publisher::new(sync_channel(1).0, Default::default(), channel().1);
    let dataset = setup::open_dataset(&config, &mut publisher)?;
    let model = setup::build_model(&config, &dataset, selected, None, &mut publisher)?;
    let vocab_size = model.shape().vocab_size;
    let start = ObjectiveStart::default();
    let mut objective = setup::open_objective(&config, &dataset, vocab_size, start, &mut publisher)?;
    let mut learner = Learner::new(model, &config.optim);
    let params = learner.model.num_params();
    measure_steps(
        &selected.device,
        options,
        params,
        |_| Ok(()),
        |()| {
            let mut batches = objective.next_batches(&config, &learner.model, learner.step)?;
            let (row, error) = learner.update_on(&config, &WorkDone::default(), &mut *batches)?;
            drop(batches);
            objective.count_update();
            error.map_or(Ok(row), Err)
        },
    )
}

/// Runs the warm-up steps, then measures steps, each on the next batches.
fn measure_steps<B>(
    device: &Device,
    options: &ProfileOptions,
    params: usize,
    mut next: impl FnMut(usize) -> Result<B, TrainError>,
    mut step: impl FnMut(&B) -> Result<StepRow, TrainError>,
) -> Result<Profile, TrainError> {
    for round in 0..options.warmup {
        step(&next(round)?)?;
    }
    let recording = trace::start_recording(Some(options.allocated));
    let mut sums = ProfileSums { keep_events: options.keep_events, ..ProfileSums::default() };
    for round in options.warmup..options.warmup + options.steps {
        let batches = next(round)?;
        synchronize(device)?;
        sums.add(record_step(device, options.allocated, &recording, || step(&batches))?);
    }
    Ok(sums.into_profile(params))
}

/// The metrics row, events and allocations of one step.
struct RecordedStep {
    row: StepRow,
    events: Vec<SpanRecord>,
    allocations: [u64; 2],
}

/// Runs one step and records it, up to the end of the device's work.
fn record_step(
    device: &Device,
    allocated: AllocationCounter,
    recording: &Recording,
    step: impl FnOnce() -> Result<StepRow, TrainError>,
) -> Result<RecordedStep, TrainError> {
    // Discard events that belong to no step.
    recording.drain();
    let before = allocated();
    let row = {
        let _span = trace::span("step", SpanKind::Step, 0.0);
        let row = step()?;
        synchronize(device)?;
        row
    };
    let after = allocated();
    Ok(RecordedStep { row, allocations: [after.0 - before.0, after.1 - before.1], events: recording.drain() })
}

/// The parts of a step, with the metrics for their milliseconds and operations.
const PARTS: [(&str, Metric, Metric); 4] = [
    ("plain", Metric::PlainMs, Metric::PlainFlop),
    ("recycled", Metric::RecycledMs, Metric::RecycledFlop),
    ("heads", Metric::HeadMs, Metric::HeadFlop),
    ("update", Metric::UpdateMs, Metric::UpdateFlop),
];

#[derive(Default)]
struct ProfileSums {
    steps: usize,
    recycled: usize,
    seconds: f64,
    parts: [[f64; 2]; PARTS.len()],
    operations: BTreeMap<(&'static str, SpanKind), OperationSum>,
    allocations: [u64; 2],
    readbacks: [u64; 2],
    events: Vec<SpanRecord>,
    keep_events: bool,
}

#[derive(Clone, Copy, Default)]
struct OperationSum {
    calls: u64,
    seconds: f64,
    flop: f64,
    bytes: u64,
}

impl ProfileSums {
    fn add(&mut self, step: RecordedStep) {
        self.steps += 1;
        self.recycled += usize::from(step.row.get(Metric::Recycled).is_some());
        for (sum, (_, ms, flop)) in self.parts.iter_mut().zip(PARTS) {
            sum[0] += step.row.get(ms).unwrap_or(0.0);
            sum[1] += step.row.get(flop).unwrap_or(0.0);
        }
        for event in &step.events {
            self.add_event(event);
        }
        for (sum, more) in self.allocations.iter_mut().zip(step.allocations) {
            *sum += more;
        }
        if self.keep_events {
            self.events.extend(step.events);
        }
    }

    fn add_event(&mut self, event: &SpanRecord) {
        if event.kind == SpanKind::Step {
            self.seconds += event.seconds();
        }
        if event.name == READBACK_SPAN {
            self.readbacks[0] += 1;
            self.readbacks[1] += event.readback_bytes;
        }
        if event.kind.is_operation() {
            let sum = self.operations.entry((event.name, event.kind)).or_default();
            sum.calls += 1;
            sum.seconds += event.seconds();
            sum.flop += event.flop;
            sum.bytes += event.allocated_bytes;
        }
    }

    /// Returns the means over all steps.
    fn into_profile(self, params: usize) -> Profile {
        let steps = self.steps.max(1) as f64;
        let ms = self.seconds * 1e3 / steps;
        let bytes = self.allocations[1] as f64 / steps;
        let line = |name, kind| ProfileLine { name, kind, calls: 0.0, ms: 0.0, share: 0.0, gflop: 0.0, bytes: 0.0 };
        let parts = self.parts.iter().zip(PARTS).map(|([ms, flop], (name, ..))| ProfileLine {
            ms: ms / steps,
            gflop: flop / steps / 1e9,
            ..line(name, SpanKind::Phase)
        });
        let mut operations: Vec<ProfileLine> = (self.operations.iter())
            .map(|((name, kind), sum)| ProfileLine {
                calls: sum.calls as f64 / steps,
                ms: sum.seconds * 1e3 / steps,
                gflop: sum.flop / steps / 1e9,
                bytes: sum.bytes as f64 / steps,
                ..line(name, *kind)
            })
            .collect();
        operations.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Profile {
            steps: self.steps,
            recycled_steps: self.recycled,
            params,
            step_ms: ms,
            parts: with_remainder(parts.collect(), SpanKind::Phase, ms, 0.0),
            operations: with_remainder(operations, SpanKind::NoGraph, ms, bytes),
            allocations: self.allocations.map(|sum| sum as f64 / steps),
            readbacks: self.readbacks.map(|sum| sum as f64 / steps),
            events: self.events,
        }
    }
}

/// Appends a line for what `lines` leave of a step of `ms` and `bytes`, and sets the share of each line.
fn with_remainder(mut lines: Vec<ProfileLine>, kind: SpanKind, ms: f64, bytes: f64) -> Vec<ProfileLine> {
    let left = |total: f64, value: fn(&ProfileLine) -> f64| (total - lines.iter().map(value).sum::<f64>()).max(0.0);
    let (left_ms, left_bytes) = (left(ms, |line| line.ms), left(bytes, |line| line.bytes));
    lines.push(ProfileLine { name: OTHER, kind, calls: 0.0, ms: left_ms, share: 0.0, gflop: 0.0, bytes: left_bytes });
    for line in &mut lines {
        line.share = line.ms / ms;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn event(name: &'static str, kind: SpanKind, ms: u64) -> SpanRecord {
        let began = Instant::now();
        let ended = began + Duration::from_millis(ms);
        SpanRecord { name, kind, thread: 1, began, ended, flop: 2e9, allocated_bytes: 10, readback_bytes: 3 }
    }

    fn recorded() -> RecordedStep {
        let mut row = StepRow::new(1);
        row.set(Metric::PlainMs, 30.0);
        row.set(Metric::PlainFlop, 6e9);
        row.set(Metric::UpdateMs, 40.0);
        let events = vec![
            event("linear", SpanKind::Forward, 10),
            event("linear", SpanKind::Forward, 20),
            event("linear", SpanKind::Backward, 40),
            event("plain", SpanKind::Phase, 70),
            event(READBACK_SPAN, SpanKind::NoGraph, 5),
            event("step", SpanKind::Step, 100),
        ];
        RecordedStep { row, events, allocations: [7, 64] }
    }

    #[test]
    fn shares_are_all_of_a_step() {
        let mut sums = ProfileSums::default();
        sums.add(recorded());
        sums.keep_events = true;
        sums.add(recorded());
        let profile = sums.into_profile(5);
        assert!((profile.step_ms - 100.0).abs() < 1e-9 && profile.events.len() == 6);
        for lines in [&profile.parts, &profile.operations] {
            let share: f64 = lines.iter().map(|line| line.share).sum();
            assert!((share - 1.0).abs() < 1e-9, "{share}");
        }
        let actual: Vec<_> = (profile.operations.iter())
            .map(|line| (line.name, line.kind, line.calls, line.ms.round(), line.bytes))
            .collect();
        let expected = [
            ("linear", SpanKind::Backward, 1.0, 40.0, 10.0),
            ("linear", SpanKind::Forward, 2.0, 30.0, 20.0),
            (READBACK_SPAN, SpanKind::NoGraph, 1.0, 5.0, 10.0),
            (OTHER, SpanKind::NoGraph, 0.0, 25.0, 24.0),
        ];
        assert_eq!(actual, expected);
        assert_eq!(profile.operations[1].gflop, 4.0);
        let parts: Vec<_> = profile.parts.iter().map(|line| (line.name, line.ms.round())).collect();
        let expected = [("plain", 30.0), ("recycled", 0.0), ("heads", 0.0), ("update", 40.0), (OTHER, 30.0)];
        assert_eq!(parts, expected);
        assert_eq!((profile.allocations, profile.readbacks), ([7.0, 64.0], [1.0, 3.0]));
    }
}
