//! What recording costs at 50 steps a second: processor time of rows, logs and parts, by that of the steps.
//!
//! `cargo bench --bench recording -- --seconds 30`

use coconut_lab::message::{TokenCell, TokenRow};
use coconut_lab::record::folder::RunFolder;
use coconut_lab::record::recorder::{Recorder, Timing};
use coconut_lab::record::registry::{Metric, StepRow};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);
/// Steps between two rows of tokens, and positions of one.
const TOKENS: (u64, usize) = (100, 1024);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|arg| arg == "--seconds");
    let seconds: u64 = at.and_then(|at| args.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = RunFolder::create(dir.path(), "bench", chrono::Local::now()).expect("a run folder");
    let timing = Timing {
        sync_time: Duration::from_secs(2),
        sync_rows: 1000,
        // Parts twice in the time, so that their cost is in it.
        part_time: Duration::from_secs(seconds / 2),
        part_rows: 1_000_000,
        system_time: Duration::from_secs(10),
    };
    let idle = pass(seconds, None);
    let recorder = Recorder::start(&folder, timing, String::new()).expect("a recorder");
    let busy = pass(seconds, Some(&recorder));
    recorder.flush();
    let share = |of: Duration| of.as_secs_f64() / seconds as f64 * 100.0;
    let (own, rows) = (busy.waited, seconds * 1000 / STEP.as_millis() as u64);
    println!(
        "{rows} steps of {} ms, all {} metrics each, a row of tokens every {} steps",
        STEP.as_millis(),
        Metric::ALL.len(),
        TOKENS.0
    );
    println!(
        "the trainer waits {:.1} µs a step ({:.3} % of it)",
        own.as_secs_f64() * 1e6 / rows as f64,
        share(own)
    );
    println!(
        "processor time, all threads: {:.3} % of one core's ({:.3} % without recording)",
        share(busy.cpu),
        share(idle.cpu)
    );
}

struct Cost {
    /// Of the whole process.
    cpu: Duration,
    /// Of the thread that hands rows over.
    waited: Duration,
}

fn pass(seconds: u64, recorder: Option<&Recorder>) -> Cost {
    let (began, before) = (Instant::now(), cpu());
    let mut waited = Duration::ZERO;
    for step in 1..=seconds * 1000 / STEP.as_millis() as u64 {
        if let Some(recorder) = recorder {
            let (row, tokens) = (row(step), step.is_multiple_of(TOKENS.0).then(|| tokens(step)));
            let now = Instant::now();
            recorder.step(row);
            tokens.into_iter().for_each(|row| recorder.tokens(row));
            waited += now.elapsed();
        }
        let next = STEP * step as u32;
        std::thread::sleep(next.saturating_sub(began.elapsed()));
    }
    Cost { cpu: cpu() - before, waited }
}

fn row(step: u64) -> StepRow {
    let mut row = StepRow::new(step);
    for (index, metric) in Metric::ALL.iter().enumerate().skip(1) {
        row.set(*metric, (step as f64 * 0.37 + index as f64).sin());
    }
    row
}

fn tokens(step: u64) -> TokenRow {
    let cell = |at: usize| TokenCell {
        id: (at * 7919 % 50_257) as u32,
        text: "token".into(),
        doc_start: at.is_multiple_of(300),
        entropy_plain: (at as f32).sin().abs(),
        entropy_recycled: Some((at as f32).cos().abs()),
        nll_plain: 0.5,
        recycled: at.is_multiple_of(8),
        ..TokenCell::default()
    };
    TokenRow { step, vocab_size: 50_257, cells: (0..TOKENS.1).map(cell).collect(), ..TokenRow::default() }
}

/// Processor time of this process so far; nothing where the system does not say (Linux does).
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
