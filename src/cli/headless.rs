//! Owns: following a run without a dashboard: a progress bar on a terminal, a line every so often everywhere.
//! Must not know: how a run is trained.
//! Invariant: standard output gets lines alone, so that it can be kept in a file.

use crate::message::{About, Alert, Event, Level, LogLine, Phase, RunInfo, Summary};
use crate::record::registry::{Metric, StepRow};
use crate::train::Trainer;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// Follows the run to its end. An error is the run's.
pub(super) fn follow(trainer: Trainer) -> anyhow::Result<Summary> {
    let mut lines = Lines::new();
    for event in &trainer.events {
        match event {
            Event::Finished(summary) => {
                lines.bar.finish_and_clear();
                // Its last event was read, so it is about to end.
                let _ = trainer.thread.join();
                return Ok(*summary);
            }
            Event::Failed(error) => {
                lines.bar.abandon();
                anyhow::bail!(error);
            }
            event => lines.take(event),
        }
    }
    anyhow::bail!("the trainer ended without a word")
}

struct Lines {
    bar: ProgressBar,
    info: Option<RunInfo>,
    line_every: Duration,
    last_line: Option<Instant>,
    /// The newest of each: recycled losses stand on some rows alone.
    row: Option<StepRow>,
    recycled: Option<StepRow>,
}

impl Lines {
    fn new() -> Self {
        Self {
            bar: bar("preparing"),
            info: None,
            line_every: Duration::ZERO,
            last_line: None,
            row: None,
            recycled: None,
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Progress { what, done, total } => {
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(what);
            }
            Event::Started(info) => {
                self.line_every = Duration::from_secs_f64(info.config.dashboard.line_seconds);
                self.bar.finish_and_clear();
                self.bar = bar("step");
                self.bar.set_length(info.config.run.steps);
                self.info = Some(*info);
            }
            Event::Step(row) => self.step(*row),
            Event::Log(line) => self.log(&line),
            Event::Phase(phase) => self.bar.set_message(phase_word(phase)),
            Event::Changed(changed) => {
                self.line_every = Duration::from_secs_f64(changed.config.dashboard.line_seconds);
                self.bar.set_length(changed.config.run.steps);
                if let Some(info) = &mut self.info {
                    info.config = changed.config;
                }
            }
            // Other alerts are warnings in the log; errors there are left to the end.
            Event::Alert(Alert { about: About::Disk, text: Some(text) }) => self.print(&text),
            Event::Alert(_) => {}
            Event::Sample(sample) => {
                self.print(&format!("sample at step {}: {} [{}]", sample.step, sample.prompt, sample.text))
            }
            Event::Past(_)
            | Event::Tokens(_)
            | Event::Spreads(_)
            | Event::System(_)
            | Event::Answer(_)
            | Event::Finished(_)
            | Event::Failed(_) => {}
        }
    }

    fn step(&mut self, row: StepRow) {
        self.bar.set_position(row.step());
        if row.get(Metric::LossRecycled).is_some() {
            self.recycled = Some(row.clone());
        }
        // The row of step 0 holds a validation alone, which the log tells.
        let due = row.step() > 0 && self.last_line.is_none_or(|last| last.elapsed() >= self.line_every);
        let last = self.info.as_ref().is_some_and(|info| info.config.run.steps == row.step());
        self.row = Some(row);
        if due || last {
            self.last_line = Some(Instant::now());
            self.print(&self.text());
        }
    }

    fn text(&self) -> String {
        let Some(row) = &self.row else {
            return String::new();
        };
        let number =
            |row: &StepRow, metric: Metric| row.get(metric).map_or("-".into(), |v| format!("{v:.4}"));
        let steps = self.info.as_ref().map_or(0, |info| info.config.run.steps);
        let recycled = self.recycled.as_ref().map_or(String::new(), |row| {
            format!(
                "  recycled {} (plain there {})",
                number(row, Metric::LossRecycledAtRecycled),
                number(row, Metric::LossPlainAtRecycled)
            )
        });
        format!(
            "step {:>6}/{steps}  plain {}{recycled}  lr {:.2e}  |g| {}  {:.0} tokens/s",
            row.step(),
            number(row, Metric::LossPlain),
            row.get(Metric::Lr).unwrap_or(0.0),
            number(row, Metric::GradNorm),
            row.get(Metric::TokensPerS).unwrap_or(0.0),
        )
    }

    fn log(&self, line: &LogLine) {
        let mark = match line.level {
            Level::Info => "",
            Level::Warn => "warning: ",
            Level::Error => "error: ",
        };
        // An error ends the run and is then told on standard error.
        if line.level < Level::Error {
            self.print(&format!("{} {mark}{}", line.at.format("%H:%M:%S"), line.text));
        }
    }

    /// A closed pipe is no error: the run goes on, and its folder has it all.
    fn print(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{text}");
        });
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Data => "data",
        Phase::Build => "building the model",
        Phase::Compile => "compiling kernels",
        Phase::Train => "training",
        Phase::Eval => "validating",
        Phase::Save => "writing a checkpoint",
        Phase::Paused => "paused",
    }
}

/// A bar on standard error; hidden where that is no terminal.
fn bar(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  [{elapsed} < {eta}]") {
        bar.set_style(style);
    }
    bar
}
