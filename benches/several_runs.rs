//! Measures the time of a frame of the dashboard of several runs, and of applying their steps.
//!
//! `cargo bench --bench several_runs -- --runs 20 --steps 5000`

use coconut_lab::config::Config;
use coconut_lab::schema::metrics::{Metric, StepRow};
use coconut_lab::schema::multi_run::MultiRunUpdate;
use coconut_lab::schema::run_list::{RunListRow, RunListUpdate};
use coconut_lab::tui::MultiRunApp;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Runs of a group, which differ in nothing but the seed.
const SEEDS: u64 = 4;
const FRAMES: usize = 200;
/// Columns and lines of the screen.
const SIZE: (u16, u16) = (200, 60);
/// Rows of a report, as the reader sends them.
const ROWS_PER_UPDATE: usize = 512;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let flag = args.iter().position(|arg| arg == name);
        flag.and_then(|flag| args.get(flag + 1)).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (runs, steps) = (number("--runs", 20), number("--steps", 5000));
    let mut app = MultiRunApp::in_true_color(PathBuf::from("checkpoints"));
    println!("{runs} runs of {steps} steps with all {} metrics, {} by {} cells", Metric::ALL.len(), SIZE.0, SIZE.1);
    let mut spent = Duration::ZERO;
    for run in 0..runs {
        let updates = run_updates(run, steps);
        let start = Instant::now();
        app.apply(updates);
        spent += start.elapsed();
    }
    println!("applying all steps: {:.0} ms", spent.as_secs_f64() * 1e3);
    let mut times: Vec<Duration> = (0..FRAMES)
        .map(|frame| {
            let folder = run_row(frame as u64 % runs).folder;
            let start = Instant::now();
            // As of running runs: a new row in each frame.
            app.apply([MultiRunUpdate::Steps(folder, vec![step_row(steps + 1 + frame as u64, 0.5)])]);
            std::hint::black_box(app.render_to_buffer(SIZE.0, SIZE.1));
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let ms = |share: f64| times[((FRAMES - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "a frame, with a new row: median {:.2} ms, 95 % below {:.2} ms, longest {:.2} ms",
        ms(0.5),
        ms(0.95),
        ms(1.0)
    );
}

/// Returns the row of a run of the table.
fn run_row(run: u64) -> RunListRow {
    let mut config = Config::default();
    (config.recycle.every, config.run.seed) = (1 + run / SEEDS, run % SEEDS);
    let id = format!("20261124-101500-run-{run}");
    RunListRow {
        folder: PathBuf::from("checkpoints").join(&id),
        run: id,
        settings: toml::Table::try_from(config).expect("a config is a table"),
        ..RunListRow::default()
    }
}

fn run_updates(run: u64, steps: u64) -> Vec<MultiRunUpdate> {
    let row = run_row(run);
    let rows: Vec<StepRow> = (1..=steps).map(|step| step_row(step, 0.5 + run as f64 * 0.05)).collect();
    let reports = rows.chunks(ROWS_PER_UPDATE).map(|rows| MultiRunUpdate::Steps(row.folder.clone(), rows.to_vec()));
    let reports: Vec<MultiRunUpdate> = reports.collect();
    std::iter::once(MultiRunUpdate::List(RunListUpdate::Row(Box::new(row)))).chain(reports).collect()
}

/// Returns a row with a value of every metric; the loss falls to `floor`.
fn step_row(step: u64, floor: f64) -> StepRow {
    let mut row = StepRow::new(step);
    for (index, metric) in Metric::ALL.iter().enumerate().skip(1) {
        row.set(*metric, (step as f64 * 0.37 + index as f64).sin());
    }
    row.set(Metric::LossPlain, floor + 4.0 * (-(step as f64) / 800.0).exp() + 0.2 * (step as f64 * 1.7).sin());
    row.set(Metric::Tokens, step as f64 * 1024.0);
    row.set(Metric::WallS, step as f64 * 0.1);
    row
}
