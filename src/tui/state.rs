//! Owns: `State`, all that is known of the run, folded from the trainer's events in their order.
//! Must not know: the terminal, keys, what is looked at, the time of day (the caller says what time it is).
//! Invariant: memory is bounded for a run of any length; every number in it is finite.

use super::clock::Clock;
use super::history::{Average, History};
use super::text;
use crate::config::{Config, Dashboard};
use crate::message::{About, Changed, Event, Level, LogLine, Phase, RunInfo, Summary, TokenRow};
use crate::record::registry::{Metric, StepRow};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Log lines kept.
const LOG_LINES: usize = 2000;
/// Positions of a row kept: more than a person scrolls through.
const ROW_CELLS: usize = 16_384;
/// Weight of the past in the shown speed.
const SPEED_SMOOTHING: f64 = 0.9;

/// The metrics whose course is kept.
const CHARTED: [Metric; 7] = [
    Metric::LossPlain,
    Metric::LossRecycled,
    Metric::LossPlainAtRecycled,
    Metric::LossRecycledAtRecycled,
    Metric::ValidPlain,
    Metric::ValidRecycled,
    Metric::ValidPlainAtRecycled,
];

/// How far a preparation has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is counted.
    pub what: String,
    /// How many are done.
    pub done: u64,
    /// How many there are; 0: not known.
    pub total: u64,
}

/// Whether the run goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It does.
    Running,
    /// It came to its end, or was stopped.
    Finished(Box<Summary>),
    /// It failed, and why.
    Failed(String),
    /// The trainer went away without a word after it was asked to stop.
    Gone,
}

/// A line of the log; lines of the dashboard's own have no time.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Local time, as it is shown.
    pub at: String,
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
}

/// All that is known of the run.
#[derive(Debug)]
pub struct State {
    /// What is fixed, once it is known.
    pub run: Option<Box<RunInfo>>,
    /// What the trainer does, once it has said so.
    pub phase: Option<Phase>,
    /// How far a preparation has come.
    pub progress: Option<Progress>,
    /// The last finite value of every metric.
    pub latest: StepRow,
    /// Whether a step has been seen.
    pub stepped: bool,
    /// The last row of tokens.
    pub row: Option<Box<TokenRow>>,
    /// The log, oldest first.
    pub log: VecDeque<Entry>,
    /// The pace.
    pub clock: Clock,
    /// Tokens a second, smoothed.
    pub speed: Average,
    /// Whether the run goes on.
    pub end: End,
    /// What was last found not finite, and how often.
    pub not_finite: Option<(String, u64)>,
    /// The last panic of a thread that is not the dashboard's.
    pub panic: Option<String>,
    /// Frames that the trainer dropped.
    pub dropped: u64,
    /// What time it is, since the dashboard opened.
    pub now: Duration,
    /// By how many seconds the run's own clock is ahead of the dashboard's.
    lead: f64,
    /// What needs a person.
    pub alerts: BTreeMap<About, String>,
    histories: [History; CHARTED.len()],
    dashboard: Dashboard,
}

impl Default for State {
    fn default() -> Self {
        Self {
            run: None,
            phase: None,
            progress: None,
            latest: StepRow::new(0),
            stepped: false,
            row: None,
            log: VecDeque::new(),
            clock: Clock::default(),
            speed: Average::default(),
            end: End::Running,
            not_finite: None,
            panic: None,
            dropped: 0,
            now: Duration::ZERO,
            lead: 0.0,
            alerts: BTreeMap::new(),
            histories: Default::default(),
            dashboard: Config::default().dashboard,
        }
    }
}

impl State {
    /// Takes up one event, `now` after the dashboard opened.
    pub fn apply(&mut self, event: Event, now: Duration) {
        self.now = now;
        match event {
            Event::Phase(phase) => {
                self.clock.hold(phase == Phase::Paused, self.on_clock());
                self.progress = None;
                self.phase = Some(phase);
            }
            Event::Progress { what, done, total } => self.progress = Some(Progress { what, done, total }),
            Event::Started(info) => {
                if self.run.is_some() {
                    // Another process goes on with it, perhaps from an earlier step.
                    let (log, lead) = (std::mem::take(&mut self.log), self.lead);
                    *self = Self { log, lead, phase: self.phase, now, ..Self::default() };
                }
                self.dashboard = info.config.dashboard.clone();
                self.progress = None;
                self.run = Some(info);
            }
            Event::Step(row) => self.step(&row),
            Event::Past(rows) => rows.iter().for_each(|row| self.take(row)),
            Event::Tokens(mut row) => {
                row.cells.truncate(ROW_CELLS);
                self.row = Some(row);
            }
            Event::Spreads(_) | Event::System(_) | Event::Sample(_) => {}
            Event::Log(line) => self.log_line(line),
            Event::Changed(changed) => self.changed(*changed),
            Event::Alert(alert) => {
                self.alerts.remove(&alert.about);
                self.alerts.extend(alert.text.map(|text| (alert.about, text)));
            }
            Event::Finished(summary) => self.end = End::Finished(summary),
            Event::Failed(text) => self.failed(text),
        }
    }

    fn changed(&mut self, changed: Changed) {
        self.dashboard = changed.config.dashboard.clone();
        if let Some(run) = &mut self.run {
            (run.config, run.version) = (changed.config, changed.version);
        }
    }

    fn step(&mut self, row: &StepRow) {
        self.stepped = true;
        // Rows of a run that is watched come in bursts: what counts is when they were made.
        let made = row.get(Metric::WallS).filter(|wall| wall.is_finite());
        self.lead = made.map_or(self.lead, |wall| wall - self.now.as_secs_f64());
        self.clock.step(row.step(), self.on_clock());
        if let Some(speed) = row.get(Metric::TokensPerS).filter(|speed| speed.is_finite()) {
            self.speed.add(speed, SPEED_SMOOTHING);
        }
        self.take(row);
    }

    /// A step's metrics, whenever it was.
    fn take(&mut self, row: &StepRow) {
        for &metric in Metric::ALL {
            match row.get(metric) {
                Some(value) if value.is_finite() => self.latest.set(metric, value),
                Some(value) => self.found_not_finite(metric, value, row.step()),
                None => {}
            }
        }
        for (metric, history) in CHARTED.iter().zip(&mut self.histories) {
            if let Some(value) = row.get(*metric) {
                history.push(row.step(), value, self.dashboard.smoothing);
            }
        }
    }

    /// The time on the run's own clock.
    fn on_clock(&self) -> Duration {
        Duration::try_from_secs_f64(self.now.as_secs_f64() + self.lead).unwrap_or_default()
    }

    fn found_not_finite(&mut self, metric: Metric, value: f64, step: u64) {
        let times = self.not_finite.as_ref().map_or(0, |(_, times)| *times) + 1;
        let text = format!("{} was {value} at step {}", metric.spec().name, text::count(step));
        self.not_finite = Some((text, times));
    }

    fn log_line(&mut self, line: LogLine) {
        self.enter(line.at.format("%H:%M:%S").to_string(), line.level, line.text);
    }

    fn enter(&mut self, at: String, level: Level, text: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(Entry { at, level, text });
    }

    fn failed(&mut self, text: String) {
        self.enter(String::new(), Level::Error, format!("trainer died: {text}"));
        self.end = End::Failed(text);
    }

    /// A driver or a library has printed something: no control characters reach the screen.
    pub fn printed(&mut self, text: String) {
        self.enter(String::new(), Level::Info, text.replace(char::is_control, " "));
    }

    /// A thread that is not the dashboard's has panicked.
    pub fn panicked(&mut self, text: String) {
        self.enter(String::new(), Level::Error, text.clone());
        self.panic = Some(text);
    }

    /// The trainer's end of the channel is gone; `asked` if it was asked to stop.
    pub fn disconnected(&mut self, asked: bool) {
        if self.end != End::Running {
            return;
        }
        match self.panic.clone() {
            Some(text) => self.failed(text),
            None if asked => self.end = End::Gone,
            None => self.failed("its thread ended without a word".into()),
        }
    }

    /// The course of a charted metric; an empty one for others.
    pub fn history(&self, metric: Metric) -> &History {
        static NONE: std::sync::OnceLock<History> = std::sync::OnceLock::new();
        let at = CHARTED.iter().position(|charted| *charted == metric);
        at.map_or_else(|| NONE.get_or_init(History::default), |at| &self.histories[at])
    }

    /// How the screen is to be, as far as it is known.
    pub fn dashboard(&self) -> &Dashboard {
        &self.dashboard
    }

    /// Updates done.
    pub fn step_now(&self) -> u64 {
        self.latest.step()
    }

    /// Updates asked for, once they are known.
    pub fn steps(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.config.run.steps)
    }

    /// Version of the config in force.
    pub fn version(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.version)
    }

    /// Whether the run has ended, well or not.
    pub fn is_over(&self) -> bool {
        self.end != End::Running
    }

    /// Whether the trainer holds.
    pub fn is_paused(&self) -> bool {
        self.phase == Some(Phase::Paused) && !self.is_over()
    }

    /// Whether there is nothing to chart yet: data, model and kernels are being made.
    pub fn is_preparing(&self) -> bool {
        !self.stepped && self.row.is_none()
    }

    /// What is left of the run.
    pub fn eta(&self) -> Option<Duration> {
        self.clock.eta(self.steps()?, self.on_clock())
    }
}
