//! Owns: where the time of training steps goes: by part, and by operation; averaged over steps.
//! Must not know: how it is asked, how it is shown.
//! Invariant: the lines of a table are all of a step: what has no name of its own is in the last one.

pub mod chrome;

use super::bench::{self, Kind, Sizes, Subject, rest};
use super::device::Chosen;
use super::publish::Publisher;
use super::read::READBACK;
use super::{Learner, TrainError, prepare};
use crate::config::Config;
use crate::data::{Batch, Loader, Position};
use crate::ops::trace::{self, Recording};
pub use crate::ops::trace::{Allocated, Event, Of};
use crate::record::registry::{Metric, StepRow};
use burn::module::Module;
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::sync::mpsc::{channel, sync_channel};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Steps that are measured.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// Says what the process has allocated.
    pub allocated: Allocated,
    /// Every event is wanted, not their sums alone.
    pub events: bool,
}

/// Where the time of a step went.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Steps that were measured.
    pub steps: usize,
    /// How many of them recycled.
    pub recycled: usize,
    /// Parameters of the model.
    pub params: usize,
    /// Wall time of a step, milliseconds.
    pub ms: f64,
    /// The parts that a run records, and what is in none of them.
    pub parts: Vec<Line>,
    /// The operations, the longest first, and what is none of them.
    pub operations: Vec<Line>,
    /// Allocations of the process in a step, and their bytes.
    pub allocations: [f64; 2],
    /// Readbacks in a step, and their bytes.
    pub readbacks: [f64; 2],
    /// All that was recorded, where it was wanted.
    pub events: Vec<Event>,
}

/// What one part or operation takes of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub name: &'static str,
    pub of: Of,
    /// How often; 0 where that is not counted.
    pub calls: f64,
    pub ms: f64,
    /// Of the step's wall time.
    pub share: f64,
    /// Floating-point operations, in 10^9; 0 where they are not counted.
    pub gflop: f64,
    /// Bytes that were allocated meanwhile.
    pub bytes: f64,
}

/// What a step leaves over.
pub const REST: &str = "other";

/// Steps of this kind on random tokens, of a fresh model.
pub fn of_kind(sizes: &Sizes, kind: Kind, chosen: &Chosen, wish: &Wish) -> Result<Profile, TrainError> {
    let mut subject = Subject::new(sizes, kind, &chosen.device, 1);
    let params = subject.params();
    let next = |round| Ok(sizes.tokens(round));
    measure(&chosen.device, wish, params, next, |batch| subject.step(batch))
}

/// The first steps of the run that `config` begins, with its model, its data and its schedule; nothing of it is kept.
pub fn of_run(mut config: Config, chosen: &Chosen, wish: &Wish) -> Result<Profile, TrainError> {
    config.probe.cost = 1;
    // Nobody looks.
    let mut out = Publisher::new(sync_channel(1).0, Default::default(), channel().1);
    let dataset = prepare::dataset(&config, &mut out)?;
    let model = prepare::model(&config, &dataset, chosen, None, &mut out)?;
    let vocab_size = model.shape().vocab_size;
    let mut loader = prepare::loader(&config, &dataset, vocab_size, Position::default(), &mut out)?;
    let mut learner = Learner::new(model, &config.optim);
    let params = learner.model.num_params();
    let next = |_| batches(&mut loader, config.optim.accumulate);
    measure(&chosen.device, wish, params, next, |batches: &Vec<Batch>| {
        bench::update(&mut learner, &config, batches)
    })
}

fn batches(loader: &mut Loader, count: usize) -> Result<Vec<Batch>, TrainError> {
    let mut batches = Vec::with_capacity(count);
    while batches.len() < count {
        match loader.next_batch()? {
            Some(batch) => batches.push(batch),
            None => break,
        }
    }
    Ok(batches)
}

/// Measures steps, each on the next batches.
fn measure<B>(
    device: &Device,
    wish: &Wish,
    params: usize,
    mut next: impl FnMut(usize) -> Result<B, TrainError>,
    mut step: impl FnMut(&B) -> Result<StepRow, TrainError>,
) -> Result<Profile, TrainError> {
    for round in 0..wish.warmup {
        step(&next(round)?)?;
    }
    let recording = trace::start(Some(wish.allocated));
    let mut sums = Sums::default();
    for round in wish.warmup..wish.warmup + wish.steps {
        let batches = next(round)?;
        rest(device)?;
        sums.add(one(device, wish.allocated, &recording, || step(&batches))?, wish.events);
    }
    Ok(sums.shared_out(params))
}

/// A step, and what was recorded of it.
struct Recorded {
    row: StepRow,
    events: Vec<Event>,
    allocations: [u64; 2],
}

fn one(
    device: &Device,
    allocated: Allocated,
    recording: &Recording,
    step: impl FnOnce() -> Result<StepRow, TrainError>,
) -> Result<Recorded, TrainError> {
    // What came before belongs to no step.
    recording.take();
    let before = allocated();
    let row = {
        let _span = trace::span("step", Of::Step, 0.0);
        let row = step()?;
        rest(device)?;
        row
    };
    let after = allocated();
    Ok(Recorded { row, allocations: [after.0 - before.0, after.1 - before.1], events: recording.take() })
}

/// The metrics that say what a part took.
const PARTS: [(&str, Metric, Metric); 4] = [
    ("plain", Metric::PlainMs, Metric::PlainFlop),
    ("recycled", Metric::RecycledMs, Metric::RecycledFlop),
    ("heads", Metric::HeadMs, Metric::HeadFlop),
    ("update", Metric::UpdateMs, Metric::UpdateFlop),
];

/// What all steps took together.
#[derive(Default)]
struct Sums {
    steps: usize,
    recycled: usize,
    seconds: f64,
    parts: [[f64; 2]; PARTS.len()],
    operations: BTreeMap<(&'static str, Of), Sum>,
    allocations: [u64; 2],
    readbacks: [u64; 2],
    events: Vec<Event>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    calls: u64,
    seconds: f64,
    flop: f64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, step: Recorded, keep: bool) {
        self.steps += 1;
        self.recycled += usize::from(step.row.get(Metric::Recycled).is_some());
        for (sum, (_, ms, flop)) in self.parts.iter_mut().zip(PARTS) {
            sum[0] += step.row.get(ms).unwrap_or(0.0);
            sum[1] += step.row.get(flop).unwrap_or(0.0);
        }
        for event in &step.events {
            self.event(event);
        }
        for (sum, more) in self.allocations.iter_mut().zip(step.allocations) {
            *sum += more;
        }
        if keep {
            self.events.extend(step.events);
        }
    }

    fn event(&mut self, event: &Event) {
        if event.of == Of::Step {
            self.seconds += event.seconds();
        }
        if event.name == READBACK {
            self.readbacks[0] += 1;
            self.readbacks[1] += event.read;
        }
        if event.of.is_operation() {
            let sum = self.operations.entry((event.name, event.of)).or_default();
            sum.calls += 1;
            sum.seconds += event.seconds();
            sum.flop += event.flop;
            sum.bytes += event.allocated;
        }
    }

    /// By step.
    fn shared_out(self, params: usize) -> Profile {
        let steps = self.steps.max(1) as f64;
        let ms = self.seconds * 1e3 / steps;
        let bytes = self.allocations[1] as f64 / steps;
        let line = |name, of| Line { name, of, calls: 0.0, ms: 0.0, share: 0.0, gflop: 0.0, bytes: 0.0 };
        let parts = self.parts.iter().zip(PARTS).map(|([ms, flop], (name, ..))| Line {
            ms: ms / steps,
            gflop: flop / steps / 1e9,
            ..line(name, Of::Part)
        });
        let mut operations: Vec<Line> = (self.operations.iter())
            .map(|((name, of), sum)| Line {
                calls: sum.calls as f64 / steps,
                ms: sum.seconds * 1e3 / steps,
                gflop: sum.flop / steps / 1e9,
                bytes: sum.bytes as f64 / steps,
                ..line(name, *of)
            })
            .collect();
        operations.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Profile {
            steps: self.steps,
            recycled: self.recycled,
            params,
            ms,
            parts: with_rest(parts.collect(), Of::Part, ms, 0.0),
            operations: with_rest(operations, Of::Whole, ms, bytes),
            allocations: self.allocations.map(|sum| sum as f64 / steps),
            readbacks: self.readbacks.map(|sum| sum as f64 / steps),
            events: self.events,
        }
    }
}

/// `lines`, what they leave of a step of `ms` and `bytes`, and the share of each.
fn with_rest(mut lines: Vec<Line>, of: Of, ms: f64, bytes: f64) -> Vec<Line> {
    let left = |all: f64, of: fn(&Line) -> f64| (all - lines.iter().map(of).sum::<f64>()).max(0.0);
    let (left_ms, left_bytes) = (left(ms, |line| line.ms), left(bytes, |line| line.bytes));
    lines.push(Line { name: REST, of, calls: 0.0, ms: left_ms, share: 0.0, gflop: 0.0, bytes: left_bytes });
    for line in &mut lines {
        line.share = line.ms / ms;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn event(name: &'static str, of: Of, ms: u64) -> Event {
        let began = Instant::now();
        let ended = began + Duration::from_millis(ms);
        Event { name, of, thread: 1, began, ended, flop: 2e9, allocated: 10, read: 3 }
    }

    fn recorded() -> Recorded {
        let mut row = StepRow::new(1);
        row.set(Metric::PlainMs, 30.0);
        row.set(Metric::PlainFlop, 6e9);
        row.set(Metric::UpdateMs, 40.0);
        let events = vec![
            event("linear", Of::Forward, 10),
            event("linear", Of::Forward, 20),
            event("linear", Of::Backward, 40),
            event("plain", Of::Part, 70),
            event(READBACK, Of::Whole, 5),
            event("step", Of::Step, 100),
        ];
        Recorded { row, events, allocations: [7, 64] }
    }

    #[test]
    fn shares_are_all_of_a_step() {
        let mut sums = Sums::default();
        sums.add(recorded(), false);
        sums.add(recorded(), true);
        let profile = sums.shared_out(5);
        assert!((profile.ms - 100.0).abs() < 1e-9 && profile.events.len() == 6);
        for lines in [&profile.parts, &profile.operations] {
            let share: f64 = lines.iter().map(|line| line.share).sum();
            assert!((share - 1.0).abs() < 1e-9, "{share}");
        }
        let found: Vec<_> = (profile.operations.iter())
            .map(|line| (line.name, line.of, line.calls, line.ms.round(), line.bytes))
            .collect();
        let wanted = [
            ("linear", Of::Backward, 1.0, 40.0, 10.0),
            ("linear", Of::Forward, 2.0, 30.0, 20.0),
            (READBACK, Of::Whole, 1.0, 5.0, 10.0),
            (REST, Of::Whole, 0.0, 25.0, 24.0),
        ];
        assert_eq!(found, wanted);
        assert_eq!(profile.operations[1].gflop, 4.0);
        let parts: Vec<_> = profile.parts.iter().map(|line| (line.name, line.ms.round())).collect();
        let wanted = [("plain", 30.0), ("recycled", 0.0), ("heads", 0.0), ("update", 40.0), (REST, 30.0)];
        assert_eq!(parts, wanted);
        assert_eq!((profile.allocations, profile.readbacks), ([7.0, 64.0], [1.0, 3.0]));
    }
}
