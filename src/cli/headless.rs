//! Owns: following a run without a dashboard: progress lines, and a progress bar if there is a terminal.
//! Must not know: how a run is trained.
//! Invariant: standard output gets whole lines only, so that it can be kept in a file.

use super::{output, terminal};
use crate::config::Config;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::{Alert, AlertTopic, Event, LogLevel, LogLine, RunInfo, RunPhase, RunSummary};
use crate::train::Trainer;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// Follows the run to its end, and returns its summary. The error of a failed run is returned as an error.
pub(super) fn follow_trainer(trainer: Trainer) -> anyhow::Result<RunSummary> {
    let mut printer = ProgressPrinter::new();
    for event in &trainer.events {
        match event {
            Event::Finished(summary) => {
                printer.bar.finish_and_clear();
                // The last event was read, so the trainer is about to end.
                let _ = trainer.thread.join();
                return Ok(*summary);
            }
            Event::Failed(error) => {
                printer.bar.abandon();
                anyhow::bail!(error);
            }
            event => printer.handle_event(event),
        }
    }
    anyhow::bail!("the trainer ended without a last event")
}

/// Prints the events of a run as lines, and draws the progress bar.
struct ProgressPrinter {
    bar: ProgressBar,
    info: Option<RunInfo>,
    line_every: Duration,
    last_line: Option<Instant>,
    /// The newest row, and the newest row with a recycled loss, which only some steps have.
    last_row: Option<StepRow>,
    last_recycled_row: Option<StepRow>,
}

impl ProgressPrinter {
    fn new() -> Self {
        Self {
            bar: progress_bar("preparing"),
            info: None,
            line_every: Duration::ZERO,
            last_line: None,
            last_row: None,
            last_recycled_row: None,
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Progress { label: what, done, total } => {
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(what);
            }
            Event::Started(info) => {
                self.line_every = Duration::from_secs_f64(info.config.dashboard.line_seconds);
                self.bar.finish_and_clear();
                self.bar = progress_bar("step");
                self.bar.set_length(known_steps(&info.config));
                self.info = Some(*info);
            }
            Event::Step(row) => self.handle_step(*row),
            Event::Log(line) => self.print_log_line(&line),
            Event::Phase(phase) => self.bar.set_message(phase_label(phase)),
            Event::ConfigChanged(changed) => {
                self.line_every = Duration::from_secs_f64(changed.config.dashboard.line_seconds);
                self.bar.set_length(known_steps(&changed.config));
                if let Some(info) = &mut self.info {
                    info.config = changed.config;
                }
            }
            // Other alerts are in the log as warnings.
            Event::Alert(Alert { topic: AlertTopic::DiskFull | AlertTopic::Stalled, text: Some(text), .. }) => {
                self.print_line(&text);
            }
            Event::Alert(_) => {}
            Event::Sample(sample) => {
                self.print_line(&format!("sample at step {}: {} [{}]", sample.step, sample.prompt, sample.text))
            }
            Event::History(_)
            | Event::ProbedRow(_)
            | Event::EntropyHistograms(_)
            | Event::Layers(_)
            | Event::Rollouts(_)
            | Event::Figure(_)
            | Event::System(_)
            | Event::Answer(_)
            | Event::Finished(_)
            | Event::Failed(_) => {}
        }
    }

    fn handle_step(&mut self, row: StepRow) {
        self.bar.set_position(row.step());
        if row.get(Metric::LossRecycled).is_some() {
            self.last_recycled_row = Some(row.clone());
        }
        // The row of step 0 holds only a validation, which the log reports.
        let due = row.step() > 0 && self.last_line.is_none_or(|last| last.elapsed() >= self.line_every);
        let last = self.info.as_ref().is_some_and(|info| info.config.run.is_complete(&row.work_done()));
        self.last_row = Some(row);
        self.bar.set_length(self.expected_steps());
        if due || last {
            self.last_line = Some(Instant::now());
            self.print_line(&self.step_line());
        }
    }

    fn expected_steps(&self) -> u64 {
        let done = self.last_row.as_ref().map(StepRow::work_done).unwrap_or_default();
        self.info.as_ref().map_or(0, |info| info.config.run.expected_steps(&done))
    }

    /// Formats the newest step: losses in nats, learning rate, gradient norm, speed.
    fn step_line(&self) -> String {
        let Some(row) = &self.last_row else {
            return String::new();
        };
        let number = |row: &StepRow, metric: Metric| row.get(metric).map_or("-".into(), |v| format!("{v:.4}"));
        let steps = self.expected_steps();
        let recycled = self.last_recycled_row.as_ref().map_or(String::new(), |row| {
            format!(
                "  recycled {} (plain at same positions {})",
                number(row, Metric::LossRecycledAtRecycled),
                number(row, Metric::LossPlainAtRecycled)
            )
        });
        let loss = match (row.get(Metric::LossQuestions), row.get(Metric::Stage)) {
            (Some(loss), Some(stage)) => format!("stage {stage}  questions {loss:.4}"),
            _ if row.get(Metric::Reward).is_some() => format!("reward {}", number(row, Metric::Reward)),
            _ => format!("plain {}{recycled}", number(row, Metric::LossPlain)),
        };
        format!(
            "step {:>6}/{steps}  {loss}  lr {:.2e}  grad norm {}  {:.0} tokens/s",
            row.step(),
            row.get(Metric::Lr).unwrap_or(0.0),
            number(row, Metric::GradNorm),
            row.get(Metric::TokensPerS).unwrap_or(0.0),
        )
    }

    fn print_log_line(&self, line: &LogLine) {
        let mark = match line.level {
            LogLevel::Info => "",
            LogLevel::Warn => "warning: ",
            LogLevel::Error => "error: ",
        };
        // An error ends the run, and is then reported on standard error.
        if line.level < LogLevel::Error {
            self.print_line(&format!("{} {mark}{}", line.time.format("%H:%M:%S"), line.text));
        }
    }

    /// Prints a line. A closed pipe is not an error: the run continues, and its folder holds everything.
    fn print_line(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(output::stdout(), "{text}");
        });
    }
}

/// Returns the number of updates of a run, as far as it is known before the first one: 0 if a budget ends the run.
fn known_steps(config: &Config) -> u64 {
    if config.run.has_budget() { 0 } else { config.run.steps }
}

fn phase_label(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::LoadData => "data",
        RunPhase::BuildModel => "building the model",
        RunPhase::Compile => "compiling kernels",
        RunPhase::Train => "training",
        RunPhase::Eval => "validating",
        RunPhase::Save => "writing a checkpoint",
        RunPhase::Paused => "paused",
    }
}

/// Makes a progress bar on standard error; it is hidden if that is not a terminal.
fn progress_bar(message: &'static str) -> ProgressBar {
    let bar = if terminal::moves_cursor() { ProgressBar::new(0) } else { ProgressBar::hidden() }.with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  [{elapsed} < {eta}]") {
        bar.set_style(style);
    }
    bar
}
