//! What a step costs with each kind of recycled pass, against a plain step, in time and in memory: whole training steps
//! (forward, backward, norm, clipping, AdamW), kind after kind in turn, so that a slow moment of the machine hits all.
//!
//! `cargo bench --bench passes` prints a table a shape; `-- --rounds 30` measures longer, `-- --shape quickstart` one shape,
//! `-- --kinds isolated,joint` these kinds beside the plain step.
//! R = T/8. `median`: the median over the rounds of (the kind's time / the plain step's time in the same round). `least`:
//! the kind's least time by the plain step's least, which a machine with other guests disturbs the least.

use burn::tensor::Device;
use coconut_lab::config::{Config, Curve, Flow, Model, Reach};
use coconut_lab::data::{Batch, Position};
use coconut_lab::model::{Shape, Transformer};
use coconut_lab::train::Learner;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Counts what lives, on top of the program's allocator.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grew(by: usize) {
    PEAK.fetch_max(LIVE.fetch_add(by, Relaxed) + by, Relaxed);
}

// SAFETY: all is handed on to mimalloc as it came; counting touches atomics alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grew(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Name, V, T, D, heads, layers, B.
const SHAPES: [(&str, [usize; 6]); 4] = [
    ("quickstart", [101, 256, 160, 4, 3, 4]),
    ("small", [512, 128, 128, 4, 4, 16]),
    ("middle", [8192, 256, 256, 4, 6, 4]),
    ("large-vocabulary", [50257, 256, 384, 6, 6, 2]),
];

/// A kind of step: its name, and what of the config makes it.
type Kind = (&'static str, fn(&mut Config));

const KINDS: [Kind; 7] = [
    ("plain", |config| config.recycle.every = 0),
    // Recycling is on, but no measured step is one that recycles.
    ("none due", |config| config.recycle.every = 1_000_000),
    ("isolated", |config| config.recycle.reach = Reach::Isolated),
    ("joint", |config| config.recycle.reach = Reach::Joint),
    ("dense", |_| ()),
    ("dense through", |config| config.recycle.flow = Flow::Through),
    ("dense gated", |config| config.recycle.feedback = coconut_lab::config::Feedback::Gated),
];

fn config(kind: fn(&mut Config)) -> Config {
    let mut config = Config::default();
    config.recycle.every = 1;
    config.recycle.fraction = Curve::constant(0.125);
    kind(&mut config);
    config
}

fn learner(config: &Config, [v, t, d, heads, layers, _]: [usize; 6]) -> Learner {
    let model = Model { width: d, heads, layers, ..Default::default() };
    let shape = Shape::from_config(&model, v, t);
    let form = coconut_lab::model::Form::of(&config.recycle);
    let model = Transformer::new(shape, 1, 0.02, &Device::flex().autodiff()).with_feedback(form, 1);
    Learner::new(model, &config.optim)
}

/// Fresh random tokens each time.
fn batch([v, t, _, _, _, b]: [usize; 6], round: usize) -> Batch {
    let mut state = round as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % v as u64) as i32
    };
    let tokens = (0..b * (t + 1)).map(|_| next()).collect();
    let doc_start = (0..b * (t + 1)).map(|i| i % (t + 1) == 0).collect();
    Batch { batch: b, seq_len: t, tokens, doc_start, after: Position::default(), epoch: 0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// One kind, measured.
struct Subject {
    config: Config,
    ms: Vec<f64>,
    peak: usize,
}

fn measure(shape: [usize; 6], rounds: usize, kinds: &[Kind]) -> Vec<Subject> {
    let subject = |(_, kind): &Kind| Subject { config: config(*kind), ms: Vec::new(), peak: 0 };
    let mut subjects: Vec<Subject> = kinds.iter().map(subject).collect();
    // One learner alone is alive at a time, so that the peak is its own; the order turns from round to round.
    for round in 0..rounds {
        for index in 0..subjects.len() {
            let at = (index + round) % subjects.len();
            step(&mut subjects[at], shape, round);
        }
    }
    subjects
}

/// Two steps to warm up (the optimizer's state is made in the first), then one that counts.
fn step(subject: &mut Subject, shape: [usize; 6], round: usize) {
    let mut learner = learner(&subject.config, shape);
    for warm in 0..2 {
        let done = learner.update(&subject.config, &[batch(shape, 1000 * (warm + 1) + round)]);
        assert!(matches!(done, Ok((_, None))), "a random model can be trained");
    }
    let batch = [batch(shape, round)];
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    let began = Instant::now();
    let done = learner.update(&subject.config, &batch);
    subject.ms.push(began.elapsed().as_secs_f64() * 1e3);
    assert!(matches!(done, Ok((_, None))), "a random model can be trained");
    subject.peak = subject.peak.max(PEAK.load(Relaxed));
}

fn print(name: &str, shape: [usize; 6], kinds: &[Kind], subjects: &[Subject]) {
    let [v, t, d, heads, layers, b] = shape;
    println!("\n{name}: V {v}, T {t}, D {d}, heads {heads}, layers {layers}, B {b}, R {}", t / 8);
    println!("{:16} {:>10} {:>8} {:>8} {:>10} {:>8}", "step", "ms", "median", "least", "peak MiB", "ratio");
    let least = |ms: &[f64]| ms.iter().copied().fold(f64::INFINITY, f64::min);
    let plain = &subjects[0];
    for ((kind, _), subject) in kinds.iter().zip(subjects) {
        let ratio = median(subject.ms.iter().zip(&plain.ms).map(|(own, plain)| own / plain).collect());
        println!(
            "{kind:16} {:>10.1} {ratio:>8.3} {:>8.3} {:>10.1} {:>8.3}",
            median(subject.ms.clone()),
            least(&subject.ms) / least(&plain.ms),
            subject.peak as f64 / f64::from(1 << 20),
            subject.peak as f64 / plain.peak as f64
        );
    }
}

/// The value after `--name`.
fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn main() {
    // As the program does: nothing is given back to the system.
    // SAFETY: sets one number in mimalloc's option table, which it allows at any time.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    let rounds = option("--rounds").and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let only = option("--shape");
    let wanted = option("--kinds").map(|kinds| format!("plain,{kinds}"));
    let listed =
        |kind: &Kind| wanted.as_deref().is_none_or(|kinds| kinds.split(',').any(|name| name == kind.0));
    let kinds: Vec<Kind> = KINDS.into_iter().filter(listed).collect();
    for (name, shape) in SHAPES {
        if only.as_deref().is_none_or(|only| only == name) {
            print(name, shape, &kinds, &measure(shape, rounds, &kinds));
        }
    }
}
