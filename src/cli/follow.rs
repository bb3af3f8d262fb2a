//! Owns: a run folder as a stream of events: what its files say, and what they say anew as they grow.
//! Must not know: screens; how files come into being.
//! Invariant: it only reads (`steer` alone writes).

mod steer;
mod tail;

use crate::config::{self, Config};
use crate::data::{Codec, Dataset};
use crate::message::{About, Alert, Changed, Command, Event, Phase, RunInfo, Spread, Summary};
use crate::record::folder::{RunFolder, read_json};
use crate::record::registry::{Metric, StepRow};
use crate::record::rows::{self, ChangeRow, Outcome};
use crate::record::{log, status};
use arrow::array::RecordBatch;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tail::{Depth, Tail, TextTail};

/// How often the files are looked at.
const TURN: Duration = Duration::from_millis(250);

/// Follows the run in `folder` until nobody listens, or the run is over and all was said. Takes up `commands`.
pub(super) fn follow(folder: RunFolder, events: SyncSender<Event>, commands: &Receiver<Command>) {
    let mut follower = Follower::new(folder, events);
    while follower.turn() {
        match commands.recv_timeout(TURN) {
            Ok(command) => follower.obey(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What the files of the run in `folder` say now, as events.
pub(super) fn told(folder: RunFolder) -> impl Iterator<Item = Event> {
    let (events_in, events) = sync_channel(256);
    std::thread::spawn(move || Follower::new(folder, events_in).turn());
    events.into_iter()
}

struct Follower {
    folder: RunFolder,
    events: SyncSender<Event>,
    started: bool,
    config: Config,
    version: u64,
    codec: Option<Codec>,
    vocab_size: usize,
    metrics: Tail,
    tokens: Tail,
    thoughts: Tail,
    events_table: Tail,
    system: Tail,
    /// Of rows of tokens that are not told yet.
    thought: Vec<RecordBatch>,
    log: TextTail,
    changes: TextTail,
    last: Option<StepRow>,
    /// First and last losses: plain, recycled, of validations.
    seen: [Option<(f64, f64)>; 3],
    recycled_steps: u64,
    phase: Option<Phase>,
    /// Whether it was last recorded to hold.
    held: bool,
    /// The file that could not be taken up as it was last.
    refused: Option<About>,
    /// Which process wrote the status last.
    process: Option<u32>,
    over: bool,
    /// Nobody listens any more.
    unheard: bool,
}

impl Follower {
    fn new(folder: RunFolder, events: SyncSender<Event>) -> Self {
        Self {
            metrics: Tail::of(folder.path().join("metrics")),
            tokens: Tail::of(folder.path().join("tokens")),
            thoughts: Tail::of(folder.path().join("thoughts")),
            events_table: Tail::of(folder.path().join("events")),
            system: Tail::of(folder.path().join("system")),
            thought: Vec::new(),
            log: TextTail::of(folder.log()),
            changes: TextTail::of(folder.changes()),
            folder,
            events,
            started: false,
            config: Config::default(),
            version: 0,
            codec: None,
            vocab_size: 0,
            last: None,
            seen: [None; 3],
            recycled_steps: 0,
            phase: None,
            held: false,
            refused: None,
            process: None,
            over: false,
            unheard: false,
        }
    }

    /// Says what is new; whether to go on.
    fn turn(&mut self) -> bool {
        if !self.started && !self.start() {
            return !self.unheard;
        }
        // Before the files: what is over has written them.
        let status = status::read(&self.folder);
        let process = status.as_ref().map(|status| status.process);
        if self.process.is_some() && process.is_some() && self.process != process {
            self.again();
        }
        self.process = process;
        self.say_log();
        self.say_changes();
        self.say_mended();
        self.say_steps();
        self.say_tokens();
        self.say_samples();
        self.say_system();
        match status {
            Some(status) if status.state != "running" => self.say_end(&status),
            _ => {
                self.over = false;
                let phase = if self.config.run.paused || self.held { Phase::Paused } else { Phase::Train };
                if self.phase.replace(phase) != Some(phase) {
                    self.say(Event::Phase(phase));
                }
            }
        }
        !self.unheard
    }

    /// Another process goes on with the run: what it has cut and written again is read from the beginning.
    fn again(&mut self) {
        let log = std::mem::replace(&mut self.log, TextTail::of(PathBuf::new()));
        let again = Self::new(self.folder.clone(), self.events.clone());
        *self = Self { log, ..again };
        self.start();
    }

    fn start(&mut self) -> bool {
        let Some(mut info) = read_json::<RunInfo>(&self.folder.about()) else {
            self.say_log();
            return false;
        };
        self.config = config::load(&self.folder.version(0), &[]).unwrap_or_default();
        info.config = self.config.clone();
        info.folder = self.folder.path().to_owned();
        self.vocab_size = info.vocab_size;
        self.codec = self.codec();
        self.started = true;
        self.say(Event::Started(Box::new(info)));
        true
    }

    /// The tokenizer beside the shards; of a run that was brought here without them, the one in its newest checkpoint.
    fn codec(&self) -> Option<Codec> {
        let beside = Dataset::open(Path::new(&self.config.data.dir)).ok().and_then(|data| data.tokenizer());
        beside.or_else(|| {
            let newest = *self.folder.checkpoints().last()?;
            Codec::from_file(&self.folder.checkpoint(newest).join("tokenizer.json")).ok()
        })
    }

    /// Waits for the screen: what is in the files can wait, and nothing of it is to be left out.
    fn say(&mut self, event: Event) {
        self.unheard |= self.events.send(event).is_err();
    }

    fn say_log(&mut self) {
        for line in self.log.lines() {
            if let Some(line) = log::read_line(&line) {
                self.say(Event::Log(line));
            }
        }
    }

    fn say_changes(&mut self) {
        let lines = self.changes.lines();
        let rows: Vec<ChangeRow> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for rows in rows.chunk_by(|a, b| a.set == b.set) {
            let (applied, noted) = (rows[0].outcome == Outcome::Applied, rows[0].outcome == Outcome::Noted);
            if applied && let Ok(config) = config::load(&self.folder.version(rows[0].version), &[]) {
                self.config = config;
                self.version = rows[0].version;
            }
            let about = match rows[0].source.as_str() {
                "keys" => About::Keys,
                file => About::File(file.to_owned()),
            };
            let text = rows[0].reason.clone().filter(|_| !applied);
            if !noted && let About::File(_) = about {
                self.refused = text.is_some().then(|| about.clone());
            }
            let changed = Changed { config: self.config.clone(), version: self.version, rows: rows.to_vec() };
            self.say(Event::Changed(Box::new(changed)));
            // A note is nothing to be alarmed at.
            if !noted {
                self.say(Event::Alert(Alert { about, text }));
            }
        }
    }

    /// A file that is set back is no change, and in no record.
    fn say_mended(&mut self) {
        let mended = |about: &mut About| match about {
            About::File(name) if name == "config.toml" => {
                config::load(&self.folder.config(), &[]).is_ok_and(|now| now == self.config)
            }
            _ => false,
        };
        if let Some(about) = self.refused.take_if(mended) {
            self.say(Event::Alert(Alert { about, text: None }));
        }
    }

    fn say_steps(&mut self) {
        let mut metrics = std::mem::replace(&mut self.metrics, Tail::of(PathBuf::new()));
        metrics.each(Depth::Whole, &mut |batch| {
            for row in rows::steps(&batch) {
                if self.last.as_ref().is_some_and(|last| last.step() >= row.step()) {
                    continue;
                }
                self.note(&row);
                self.last = Some(row.clone());
                self.say(Event::Step(Box::new(row)));
            }
        });
        self.metrics = metrics;
    }

    fn note(&mut self, row: &StepRow) {
        let losses = [Metric::LossPlain, Metric::LossRecycled, Metric::ValidPlain];
        for (metric, seen) in losses.into_iter().zip(&mut self.seen) {
            if let Some(loss) = row.get(metric) {
                *seen = Some((seen.map_or(loss, |(first, _)| first), loss));
            }
        }
        self.recycled_steps += u64::from(row.get(Metric::Recycled).is_some());
    }

    fn say_tokens(&mut self) {
        let (mut spreads, mut last) = (Vec::<Spread>::new(), None);
        let vocab_size = self.vocab_size;
        self.tokens.each(Depth::Columns(rows::SPREAD_COLUMNS), &mut |batch| {
            spreads.extend(rows::spreads(&batch, vocab_size));
            last = Some(batch);
        });
        // After the rows of tokens, which are written later: what belongs to them is there.
        let thought = &mut self.thought;
        self.thoughts.each(Depth::Nothing, &mut |batch| thought.push(batch));
        let Some(last) = last else { return };
        let text = |id: u32| self.codec.as_ref().map_or_else(|| format!("{id} "), |codec| codec.piece(id));
        let mut row = rows::last_tokens(&last, vocab_size, text);
        if let Some(row) = &mut row {
            row.thoughts = self.thought.iter().flat_map(|batch| rows::thoughts(batch, row.step)).collect();
            row.spell(text);
        }
        // The last one is told whole.
        spreads.truncate(spreads.len().saturating_sub(usize::from(row.is_some())));
        self.thought.retain(|batch| rows::last_step(batch) > row.as_ref().map(|row| row.step));
        if !spreads.is_empty() {
            self.say(Event::Spreads(spreads));
        }
        if let Some(row) = row {
            self.say(Event::Tokens(Box::new(row)));
        }
    }

    fn say_samples(&mut self) {
        for batch in self.events_table.news() {
            self.held = rows::last_pause(&batch).unwrap_or(self.held);
            rows::samples(&batch).into_iter().for_each(|sample| self.say(Event::Sample(Box::new(sample))));
        }
    }

    fn say_system(&mut self) {
        let news = self.system.news();
        if let Some(row) = news.last().and_then(rows::last_system) {
            self.say(Event::System(Box::new(row)));
        }
    }

    fn say_end(&mut self, status: &status::Status) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        match status.state.as_str() {
            "failed" => self.say(Event::Failed(status.error.clone().unwrap_or_default())),
            "interrupted" => {
                let run = self.folder.path().display();
                let text = format!("its process is gone; coconut-lab resume {run} goes on with it");
                self.say(Event::Failed(text));
            }
            word => {
                let summary = self.summary(status, word == "stopped");
                self.say(Event::Finished(Box::new(summary)));
            }
        }
    }

    fn summary(&self, status: &status::Status, stopped: bool) -> Summary {
        let last = |metric| self.last.as_ref().and_then(|row| row.get(metric));
        let seconds = last(Metric::WallS).unwrap_or(0.0);
        Summary {
            folder: self.folder.path().to_owned(),
            steps: status.step,
            tokens: last(Metric::Tokens).unwrap_or(0.0) as u64,
            took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            loss_plain: self.seen[0],
            loss_recycled: self.seen[1],
            valid_plain: self.seen[2],
            recycled_steps: self.recycled_steps,
            checkpoint: self.folder.checkpoints().last().map(|step| self.folder.checkpoint(*step)),
            stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Choice, Decoded, Level, Thought, TokenCell, TokenRow};
    use crate::record::recorder::{Recorder, Timing};
    use crate::record::rows::EventRow;

    #[test]
    fn a_line_of_the_log_is_read_as_it_was_written() {
        let line = log::read_line("2026-11-24 02:51:38.123 warn  two · lines").unwrap();
        assert_eq!((line.level, line.text.as_str()), (Level::Warn, "two · lines"));
        assert_eq!(line.at.format("%H:%M:%S%.3f").to_string(), "02:51:38.123");
        assert!(log::read_line("nonsense").is_none() && log::read_line("").is_none());
    }

    #[test]
    fn rows_are_said_once_whether_they_stand_in_a_log_or_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let timing = Timing {
            sync_time: Duration::from_millis(5),
            sync_rows: 1,
            part_rows: 5,
            part_time: Duration::from_secs(3600),
            system_time: Duration::ZERO,
        };
        let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
        let mut tail = Tail::of(folder.path().join("metrics"));
        let mut steps = Vec::new();
        for step in 1..=23 {
            recorder.step(StepRow::new(step));
            if step % 4 == 0 {
                std::thread::sleep(Duration::from_millis(20));
                steps.extend(tail.news().iter().flat_map(rows::steps).map(|row| row.step()));
            }
        }
        drop(recorder);
        steps.extend(tail.news().iter().flat_map(rows::steps).map(|row| row.step()));
        assert_eq!(steps, (1..=23).collect::<Vec<_>>());
    }

    fn looked(step: u64) -> TokenRow {
        let top = vec![Choice { id: 3, prob: 0.5 }];
        let decoded = Decoded { entropy: 0.25, top: top.clone() };
        let thought = Thought { position: 1, fed: vec![decoded.clone(); 2], out: vec![decoded; 2] };
        let cell = TokenCell { top_plain: top, text: "0 ".into(), ..TokenCell::default() };
        let cells = vec![cell.clone(), TokenCell { recycled: true, entropy_recycled: Some(0.5), ..cell }];
        let mut row = TokenRow { step, vocab_size: 9, cells, thoughts: vec![thought], ..TokenRow::default() };
        row.cells[0].entropy_recycled = Some(0.25);
        row.spell(|id| format!("{id} "));
        row
    }

    #[test]
    fn looks_samples_and_notes_are_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.version(0), "").unwrap();
        let info = r#"{"lineage": null, "recipe": null, "folder": "", "device": "", "device_reason": "",
            "params": 1, "vocab_size": 9, "train_docs": 1}"#;
        std::fs::write(folder.about(), info).unwrap();
        let note = r#"{"step": 2, "tokens": 0, "time": "2026-11-24T02:51:38Z", "version": 0, "set": "a", "key": null,
            "old": null, "new": null, "source": "keys", "outcome": "noted", "reason": "odd"}"#;
        std::fs::write(folder.changes(), note.replace('\n', "") + "\n").unwrap();
        let timing = Timing {
            sync_time: Duration::from_millis(5),
            sync_rows: 1,
            part_rows: 5000,
            part_time: Duration::from_secs(3600),
            system_time: Duration::ZERO,
        };
        let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
        let sample = EventRow {
            step: 2,
            tokens: 0,
            time: chrono::Utc::now(),
            kind: rows::SAMPLE,
            name: "a".into(),
            value: Some(0.5),
            text: Some("b".into()),
        };
        recorder.event(sample);
        (1..=3).for_each(|step| recorder.tokens(looked(step)));
        recorder.flush();
        let (sender, events) = sync_channel(99);
        let mut follower = Follower::new(folder.clone(), sender);
        assert!(follower.turn());
        let told: Vec<Event> = events.try_iter().collect();
        let spreads = told.iter().find_map(|event| match event {
            Event::Spreads(spreads) => Some(spreads.clone()),
            _ => None,
        });
        assert_eq!(spreads.unwrap(), [Spread::from(&looked(1)), Spread::from(&looked(2))]);
        let tokens = |told: &[Event]| {
            let rows = told.iter().filter_map(|event| match event {
                Event::Tokens(row) => Some((**row).clone()),
                _ => None,
            });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(tokens(&told), [looked(3)]);
        assert!(told.iter().any(|event| matches!(event, Event::Sample(sample) if sample.text == "b")));
        let noted = |event: &Event| match event {
            Event::Changed(changed) => changed.rows[0].reason.as_deref() == Some("odd"),
            _ => false,
        };
        assert!(told.iter().any(noted) && !told.iter().any(|event| matches!(event, Event::Alert(_))));
        recorder.tokens(looked(4));
        recorder.flush();
        follower.turn();
        let told: Vec<Event> = events.try_iter().collect();
        assert_eq!((told.len(), tokens(&told)), (1, vec![looked(4)]));
    }
}
