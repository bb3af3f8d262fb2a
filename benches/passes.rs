//! Measures the time and memory of a training step with each kind of recycled pass, compared with a plain
//! step. Steps are complete (forward, backward, norm, clipping, AdamW). The kinds alternate, so that a
//! slowdown of the machine affects all of them.
//!
//! `cargo bench --bench passes` prints a table for each shape. `-- --rounds 30` measures longer, `-- --shape
//! quickstart` measures one shape, and `-- --kinds isolated,joint` only these kinds and the plain step.
//!
//! R = T/8. `median` is the median over the rounds of the kind's time divided by the plain step's time in the
//! same round. `min` is the kind's minimum time divided by the plain step's minimum. Other load on the
//! machine affects it least.

use burn::tensor::Device;
use coconut_lab::config::{Config, Curve, GradientFlow, Model, PassScope};
use coconut_lab::data::Batch;
use coconut_lab::model::{ModelShape, Transformer};
use coconut_lab::train::Learner;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// mimalloc with a count of the bytes in use, and their peak.
struct PeakAllocator;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add_live_bytes(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is forwarded to mimalloc; counting only uses atomics.
unsafe impl GlobalAlloc for PeakAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add_live_bytes(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add_live_bytes(layout.size());
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add_live_bytes(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: PeakAllocator = PeakAllocator;

/// Names of the shapes, and their V, T, D, heads, layers and B.
const SHAPES: [(&str, [usize; 6]); 4] = [
    ("quickstart", [101, 256, 160, 4, 3, 4]),
    ("small", [512, 128, 128, 4, 4, 16]),
    ("middle", [8192, 256, 256, 4, 6, 4]),
    ("large-vocabulary", [50257, 256, 384, 6, 6, 2]),
];

/// A kind of step: its name and a function that configures it.
type StepKind = (&'static str, fn(&mut Config));

const STEP_KINDS: [StepKind; 7] = [
    ("plain", |config| config.recycle.every = 0),
    // Recycling is on, but none of the measured steps recycles.
    ("none due", |config| config.recycle.every = 1_000_000),
    ("isolated", |config| config.recycle.reach = PassScope::Isolated),
    ("joint", |config| config.recycle.reach = PassScope::Joint),
    ("dense", |_| ()),
    ("dense through", |config| config.recycle.flow = GradientFlow::Through),
    ("dense gated", |config| config.recycle.feedback = coconut_lab::config::Feedback::Gated),
];

fn config_of_kind(kind: fn(&mut Config)) -> Config {
    let mut config = Config::default();
    config.recycle.every = 1;
    config.recycle.fraction = Curve::constant(0.125);
    kind(&mut config);
    config
}

fn new_learner(config: &Config, [v, t, d, heads, layers, _]: [usize; 6]) -> Learner {
    let model = Model { width: d, heads, layers, ..Default::default() };
    let shape = ModelShape::from_config(&model, v, t);
    let form = coconut_lab::model::FeedbackSpec::from_config(&config.recycle);
    let model = Transformer::new(shape, 1, 0.02, &Device::flex().autodiff()).with_feedback(form, 1);
    Learner::new(model, &config.optim)
}

/// Returns a batch of random tokens, new ones for each round.
fn random_batch([v, t, _, _, _, b]: [usize; 6], round: usize) -> Batch {
    let mut state = round as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % v as u64) as i32
    };
    let tokens = (0..b * (t + 1)).map(|_| next()).collect();
    let doc_start = (0..b * (t + 1)).map(|i| i % (t + 1) == 0).collect();
    Batch { batch_size: b, seq_len: t, tokens, doc_start, ..Batch::default() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The measurements of one kind of step.
struct StepMeasurement {
    config: Config,
    /// Time of each measured step, in milliseconds.
    ms: Vec<f64>,
    /// Peak memory in bytes.
    peak: usize,
}

fn measure_kinds(shape: [usize; 6], rounds: usize, kinds: &[StepKind]) -> Vec<StepMeasurement> {
    let measurement = |(_, kind): &StepKind| StepMeasurement { config: config_of_kind(*kind), ms: Vec::new(), peak: 0 };
    let mut measurements: Vec<StepMeasurement> = kinds.iter().map(measurement).collect();
    // Only one learner exists at a time, so that the peak is its own. The order rotates from round to round.
    for round in 0..rounds {
        for index in 0..measurements.len() {
            let rotated = (index + round) % measurements.len();
            measure_step(&mut measurements[rotated], shape, round);
        }
    }
    measurements
}

/// Runs two warm-up steps, the first of which creates the optimizer state, and then measures one.
fn measure_step(measurement: &mut StepMeasurement, shape: [usize; 6], round: usize) {
    let mut learner = new_learner(&measurement.config, shape);
    for warmup in 0..2 {
        let result = learner.update(&measurement.config, &[random_batch(shape, 1000 * (warmup + 1) + round)]);
        assert!(matches!(result, Ok((_, None))), "a random model can be trained");
    }
    let batch = [random_batch(shape, round)];
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    let start = Instant::now();
    let result = learner.update(&measurement.config, &batch);
    measurement.ms.push(start.elapsed().as_secs_f64() * 1e3);
    assert!(matches!(result, Ok((_, None))), "a random model can be trained");
    measurement.peak = measurement.peak.max(PEAK.load(Relaxed));
}

fn print_table(name: &str, shape: [usize; 6], kinds: &[StepKind], measurements: &[StepMeasurement]) {
    let [v, t, d, heads, layers, b] = shape;
    println!("\n{name}: V {v}, T {t}, D {d}, heads {heads}, layers {layers}, B {b}, R {}", t / 8);
    println!("{:16} {:>10} {:>8} {:>8} {:>10} {:>8}", "step", "ms", "median", "min", "peak MiB", "ratio");
    let min = |ms: &[f64]| ms.iter().copied().fold(f64::INFINITY, f64::min);
    let plain = &measurements[0];
    for ((kind, _), measurement) in kinds.iter().zip(measurements) {
        let ratio = median(measurement.ms.iter().zip(&plain.ms).map(|(ms, plain_ms)| ms / plain_ms).collect());
        println!(
            "{kind:16} {:>10.1} {ratio:>8.3} {:>8.3} {:>10.1} {:>8.3}",
            median(measurement.ms.clone()),
            min(&measurement.ms) / min(&plain.ms),
            measurement.peak as f64 / f64::from(1 << 20),
            measurement.peak as f64 / plain.peak as f64
        );
    }
}

/// Returns the argument after `name`.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn main() {
    // Like the program, keep freed memory instead of returning it to the system.
    // SAFETY: this sets a number in mimalloc's option table, which is allowed at any time.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    let rounds = argument("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let only_shape = argument("--shape");
    let requested = argument("--kinds").map(|kinds| format!("plain,{kinds}"));
    let is_requested =
        |kind: &StepKind| requested.as_deref().is_none_or(|kinds| kinds.split(',').any(|name| name == kind.0));
    let kinds: Vec<StepKind> = STEP_KINDS.into_iter().filter(is_requested).collect();
    for (name, shape) in SHAPES {
        if only_shape.as_deref().is_none_or(|only| only == name) {
            print_table(name, shape, &kinds, &measure_kinds(shape, rounds, &kinds));
        }
    }
}
