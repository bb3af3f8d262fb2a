//! Measures the processor time of recording at 50 steps per second, as a share of the run time.
//!
//! `cargo bench --bench recording -- --seconds 30`

use coconut_lab::record::recorder::{RecordTiming, Recorder};
use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::schema::metrics::{Metric, StepRow};
use coconut_lab::schema::token_rows::{TokenCell, TokenRow};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);
/// Number of steps between two probed rows of tokens, and number of positions in one.
const TOKEN_ROWS: (u64, usize) = (100, 1024);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let flag = args.iter().position(|arg| arg == "--seconds");
    let seconds: u64 = flag.and_then(|flag| args.get(flag + 1)).and_then(|text| text.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = RunFolder::create(dir.path(), "bench", chrono::Local::now()).expect("a run folder");
    let timing = RecordTiming {
        sync_time: Duration::from_secs(2),
        sync_rows: 1000,
        // Two segments within the run time, so that their cost is included.
        part_time: Duration::from_secs(seconds / 2),
        part_rows: 1_000_000,
        system_time: Duration::from_secs(10),
    };
    let idle = measure(seconds, None);
    let recorder = Recorder::start(&folder, timing, String::new()).expect("a recorder");
    let busy = measure(seconds, Some(&recorder));
    recorder.flush();
    let percent = |time: Duration| time.as_secs_f64() / seconds as f64 * 100.0;
    let (waited, rows) = (busy.waited, seconds * 1000 / STEP.as_millis() as u64);
    println!(
        "{rows} steps of {} ms with all {} metrics each, and a row of tokens every {} steps",
        STEP.as_millis(),
        Metric::ALL.len(),
        TOKEN_ROWS.0
    );
    println!(
        "the trainer waits {:.1} µs per step ({:.3} % of it)",
        waited.as_secs_f64() * 1e6 / rows as f64,
        percent(waited)
    );
    println!(
        "processor time of all threads: {:.3} % of one core ({:.3} % without recording)",
        percent(busy.cpu),
        percent(idle.cpu)
    );
}

/// The cost of one measured period.
struct RecordingCost {
    /// Processor time of the whole process.
    cpu: Duration,
    /// Time that the calling thread spends in calls to the recorder.
    waited: Duration,
}

/// Makes steps for `seconds`, with or without a recorder, and measures the cost.
fn measure(seconds: u64, recorder: Option<&Recorder>) -> RecordingCost {
    let (start, cpu_at_start) = (Instant::now(), process_cpu_time());
    let mut waited = Duration::ZERO;
    for step in 1..=seconds * 1000 / STEP.as_millis() as u64 {
        if let Some(recorder) = recorder {
            let (row, tokens) = (step_row(step), step.is_multiple_of(TOKEN_ROWS.0).then(|| token_row(step)));
            let call = Instant::now();
            recorder.record_step(row);
            tokens.into_iter().for_each(|row| recorder.record_tokens(row));
            waited += call.elapsed();
        }
        let next = STEP * step as u32;
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    RecordingCost { cpu: process_cpu_time() - cpu_at_start, waited }
}

fn step_row(step: u64) -> StepRow {
    let mut row = StepRow::new(step);
    for (index, metric) in Metric::ALL.iter().enumerate().skip(1) {
        row.set(*metric, (step as f64 * 0.37 + index as f64).sin());
    }
    row
}

fn token_row(step: u64) -> TokenRow {
    let cell = |index: usize| TokenCell {
        id: (index * 7919 % 50_257) as u32,
        text: "token".into(),
        doc_start: index.is_multiple_of(300),
        entropy_plain: (index as f32).sin().abs(),
        entropy_recycled: Some((index as f32).cos().abs()),
        nll_plain: 0.5,
        recycled: index.is_multiple_of(8),
        ..TokenCell::default()
    };
    TokenRow { step, vocab_size: 50_257, cells: (0..TOKEN_ROWS.1).map(cell).collect(), ..TokenRow::default() }
}

/// Returns the processor time of this process so far; 0 on systems other than Linux.
fn process_cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
