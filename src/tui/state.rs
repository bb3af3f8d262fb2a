//! Owns: `State`, all that is known of the run, folded from the trainer's events in their order.
//! Must not know: the terminal, keys, what is looked at, the time of day (the caller says what time it is).
//! Invariant: memory is bounded for a run of any length; every number in it is finite.

mod asked;

use super::clock::Clock;
use super::cost::Cost;
use super::eras::Eras;
use super::history::{Average, History};
use super::spreads::Spreads;
use super::text;
use crate::config::{Config, Dashboard, Key};
use crate::message::{
    About, Answer, Changed, Event, Level, LogLine, Phase, RunInfo, Sample, Spread, Summary, TokenRow,
};
use crate::record::registry::{Metric, StepRow};
use crate::record::rows::{ChangeRow, Outcome, SystemRow};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Log lines kept.
const LOG_LINES: usize = 2000;
/// Positions of a row kept: more than a person scrolls through.
const ROW_CELLS: usize = 16_384;
/// Positions of all kept rows together.
const ALL_CELLS: usize = 65_536;
/// Recorded changes kept.
const CHANGES: usize = 2000;
/// Samples kept.
const SAMPLES: usize = 500;
/// Answers kept.
const ANSWERS: usize = 50;
/// Settings that can be undone.
const UNDO: usize = 200;
/// Weight of the past in the shown speed.
const SPEED_SMOOTHING: f64 = 0.9;

/// A series of values over steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// A metric.
    Of(Metric),
    /// What one metric is above another in the same step.
    Less(Metric, Metric),
}

/// The differences whose course is kept: recycling against what else could stand there.
pub const DIFFERENCES: [(Metric, Metric); 5] = [
    (Metric::LossRecycledAtRecycled, Metric::LossPlainAtRecycled),
    (Metric::ValidRecycled, Metric::ValidPlainAtRecycled),
    (Metric::ValidRecycled, Metric::ValidPause),
    (Metric::ValidRecycled, Metric::ValidMasked),
    (Metric::ValidRecycled, Metric::ValidShuffled),
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

/// Something at a step that charts mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The config was changed.
    Change,
    /// A person wrote something down.
    Note,
}

/// Settings, as keys and values that bring them back.
pub type Setting = Vec<(String, String)>;

/// All that is known of the run.
#[derive(Clone, Debug)]
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
    /// The first step that is known of.
    first: Option<u64>,
    /// How often a trainer has begun.
    pub begun: u64,
    /// Lines that the log ever had, samples, and answers.
    pub logged: u64,
    pub sampled: u64,
    pub asked: u64,
    /// The last rows of tokens, oldest first.
    pub rows: VecDeque<Box<TokenRow>>,
    /// How the entropies lay so far.
    pub spreads: Spreads,
    /// What the model wrote, oldest first.
    pub samples: VecDeque<Sample>,
    /// What it made of a person's texts, oldest first; the last may go on.
    pub answers: VecDeque<Answer>,
    /// What was changed, refused, or noted, oldest first.
    pub changes: VecDeque<ChangeRow>,
    /// How many there ever were.
    pub changes_seen: u64,
    /// The configs in force, by step.
    pub eras: Eras,
    /// What brings the last settings back: those before them, and themselves.
    undo: Vec<(Setting, Setting)>,
    /// What steps cost.
    pub cost: Cost,
    /// What the machine did last.
    pub system: Option<Box<SystemRow>>,
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
    histories: Vec<History>,
    differences: [History; DIFFERENCES.len()],
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
            first: None,
            begun: 0,
            logged: 0,
            sampled: 0,
            asked: 0,
            rows: VecDeque::new(),
            spreads: Spreads::default(),
            samples: VecDeque::new(),
            answers: VecDeque::new(),
            changes: VecDeque::new(),
            changes_seen: 0,
            eras: Eras::default(),
            undo: Vec::new(),
            cost: Cost::default(),
            system: None,
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
            histories: vec![History::default(); Metric::ALL.len()],
            differences: Default::default(),
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
                    let (logged, begun) = (self.logged, self.begun);
                    *self = Self { log, lead, logged, begun, phase: self.phase, now, ..Self::default() };
                }
                self.begun += 1;
                self.dashboard = info.config.dashboard.clone();
                self.eras = Eras::begin(&info.config);
                self.progress = None;
                self.run = Some(info);
            }
            Event::Step(row) => self.step(&row),
            Event::Past(rows) => rows.iter().for_each(|row| self.take(row)),
            Event::Tokens(row) => self.tokens(row),
            Event::Spreads(spreads) => spreads.iter().for_each(|spread| self.spreads.push(spread)),
            Event::System(row) => self.system = Some(row),
            Event::Sample(sample) => {
                self.sampled += 1;
                keep(&mut self.samples, *sample, SAMPLES);
            }
            Event::Answer(answer) => self.answer(*answer),
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

    fn answer(&mut self, answer: Answer) {
        match self.answers.back_mut().filter(|last| last.number == answer.number) {
            Some(last) => *last = answer,
            None => {
                self.asked += 1;
                keep(&mut self.answers, answer, ANSWERS);
            }
        }
    }

    fn tokens(&mut self, mut row: Box<TokenRow>) {
        self.spreads.push(&Spread::from(&*row));
        row.cells.truncate(ROW_CELLS);
        self.rows.push_back(row);
        let cells = |rows: &VecDeque<Box<TokenRow>>| rows.iter().map(|row| row.cells.len()).sum::<usize>();
        while self.rows.len() > 1 && cells(&self.rows) > ALL_CELLS {
            self.rows.pop_front();
        }
    }

    fn changed(&mut self, changed: Changed) {
        let applied = changed.rows.iter().any(|row| row.outcome == Outcome::Applied);
        if changed.rows.is_empty() {
            // What the run began with, before its earlier changes are told.
            self.eras = Eras::begin(&changed.config);
        } else if applied {
            self.can_undo(&changed);
            self.eras.push(changed.rows[0].step, &changed.config);
        }
        self.dashboard = changed.config.dashboard.clone();
        self.changes_seen += changed.rows.len() as u64;
        changed.rows.into_iter().for_each(|row| keep(&mut self.changes, row, CHANGES));
        if let Some(run) = &mut self.run {
            (run.config, run.version) = (changed.config, changed.version);
        }
    }

    /// Keeps what brings the change back. A change that brings the last one back takes it from what can be undone.
    fn can_undo(&mut self, changed: &Changed) {
        let Some(before) = self.run.as_ref().map(|run| &run.config) else { return };
        let keys = changed.rows.iter().filter_map(|row| row.key.as_deref());
        let keys: Vec<&Key> = keys.filter_map(|path| Config::keys().find(|key| key.path() == path)).collect();
        let said = |config: &Config| -> Setting {
            keys.iter().map(|key| (key.path(), config.value(key).to_string())).collect()
        };
        let (old, new) = (said(before), said(&changed.config));
        match self.undo.last() {
            Some((before, _)) if *before == new => drop(self.undo.pop()),
            _ => self.undo.push((old, new)),
        }
        if self.undo.len() > UNDO {
            self.undo.remove(0);
        }
    }

    /// What brings back how it was before the last setting, or before so many others after it.
    pub fn undo(&self, others: usize) -> Option<&Setting> {
        self.undo.iter().rev().nth(others).map(|(before, _)| before)
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
        self.first.get_or_insert(row.step());
        self.cost.add(row);
        for (metric, history) in Metric::ALL.iter().zip(&mut self.histories) {
            row.get(*metric).into_iter().for_each(|value| history.push(row.step(), value));
        }
        for ((one, other), history) in DIFFERENCES.iter().zip(&mut self.differences) {
            if let (Some(one), Some(other)) = (row.get(*one), row.get(*other)) {
                history.push(row.step(), one - other);
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
        self.logged += 1;
        keep(&mut self.log, Entry { at, level, text }, LOG_LINES);
    }

    /// A line of the dashboard's own.
    pub fn say(&mut self, level: Level, text: String) {
        self.enter(String::new(), level, text);
    }

    fn failed(&mut self, text: String) {
        // The trainer has said it itself, if it could.
        let told =
            self.log.iter().rev().take(8).any(|entry| entry.level == Level::Error && entry.text == text);
        if !told {
            self.say(Level::Error, format!("trainer died: {text}"));
        }
        self.end = End::Failed(text);
    }

    /// The run is taken up again by another trainer, which will say so itself.
    pub fn begin_again(&mut self) {
        (self.end, self.phase, self.panic, self.not_finite) = (End::Running, None, None, None);
        self.alerts.clear();
    }

    /// A thread that is not the dashboard's has panicked.
    pub fn panicked(&mut self, text: String) {
        self.say(Level::Error, text.clone());
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
}

/// Adds `item`, and forgets the oldest beyond `most`.
fn keep<T>(items: &mut VecDeque<T>, item: T, most: usize) {
    if items.len() == most {
        items.pop_front();
    }
    items.push_back(item);
}
