//! Tests changes of the config of a live trainer, by keys and by saved files, valid and invalid.

mod common;

use coconut_lab::config::{self, Config, SelectionRule, change};
use coconut_lab::record::changes;
use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::schema::protocol::{Command, Event, RunPhase, SetKeys};
use coconut_lab::schema::rows::ChangeOutcome;
use coconut_lab::train::{self, Recipe, StartMode, Trainer, TrainerOptions};
use common::{TINY, wait_for};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// A live trainer, and its state as reported by its events.
struct LiveRun {
    trainer: Trainer,
    folder: RunFolder,
    config: Config,
    version: u64,
    /// The last step that an event reported.
    step: u64,
    dir: tempfile::TempDir,
}

impl LiveRun {
    fn start() -> Self {
        Self::start_with_recipe(false)
    }

    /// Starts a run. If `watch_recipe`, it also watches the recipe file it was started from.
    fn start_with_recipe(watch_recipe: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("recipe.toml");
        std::fs::write(&file, TINY).unwrap();
        let path_in_dir = |name: &str| dir.path().join(name).display().to_string();
        let overrides = [
            format!("run.dir={}", path_in_dir("checkpoints")),
            format!("data.dir={}", path_in_dir("data")),
            "run.steps=1000000".into(),
            "eval.every=0".into(),
            "eval.at_start=false".into(),
        ];
        let config = config::from_text(TINY, "tiny", &overrides).unwrap();
        let start_mode =
            StartMode::New(Box::new(Recipe { config, text: TINY.into(), watched_file: watch_recipe.then_some(file) }));
        let trainer = train::spawn(start_mode, TrainerOptions::new(false)).unwrap();
        let info = trainer.events.iter().find_map(|event| match event {
            Event::Started(info) => Some(info),
            Event::Failed(error) => panic!("{error}"),
            _ => None,
        });
        let info = info.unwrap();
        let folder = RunFolder::open(&info.folder).unwrap();
        Self { trainer, folder, config: info.config, version: 0, step: 0, dir }
    }

    fn config_file(&self) -> PathBuf {
        self.folder.config_file()
    }

    fn set(&self, key: &str, value: &str) {
        self.send(Command::SetKeys(SetKeys::single(key, value)));
    }

    fn send(&self, command: Command) {
        self.trainer.commands.send(command).unwrap();
    }

    fn pause(&mut self) {
        self.send(Command::SetPaused(true));
        self.wait_until("the pause", |_, event| matches!(event, Event::Phase(RunPhase::Paused)));
    }

    /// Processes events until `predicate` returns true for one. `what` describes it in the panic message.
    fn wait_until(&mut self, what: &str, predicate: impl Fn(&Self, &Event) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            assert!(std::time::Instant::now() < deadline, "timed out waiting for {what}");
            match self.trainer.events.recv_timeout(Duration::from_secs(30)) {
                Ok(event) => {
                    match &event {
                        Event::ConfigChanged(changed) => {
                            (self.config, self.version) = (changed.config.clone(), changed.version);
                        }
                        Event::Step(row) => self.step = row.step(),
                        Event::Failed(error) => panic!("{what}: {error}"),
                        _ => {}
                    }
                    if predicate(self, &event) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no event while waiting for {what}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the trainer ended while waiting for {what}"),
            }
        }
    }

    /// Waits until the trainer has read every saved file and completed a step after that.
    fn wait_for_sync(&mut self, round: u64) {
        // On a change by key, the trainer checks its files at once.
        self.set("dashboard.line_seconds", &format!("{}.5", round % 1000 + 1));
        let is_applied = move |live: &Self, event: &Event| {
            matches!(event, Event::ConfigChanged(_))
                && live.config.dashboard.line_seconds == (round % 1000) as f64 + 1.5
        };
        self.wait_until("the key", is_applied);
        let step = self.step;
        self.wait_until("a step after it", move |live, event| matches!(event, Event::Step(_)) && live.step > step + 1);
    }

    /// Stops the run. Returns its folder, and the temporary folder that holds it.
    fn stop(mut self) -> (RunFolder, tempfile::TempDir) {
        self.trainer.commands.send(Command::Stop).unwrap();
        self.wait_until("the end", |_, event| matches!(event, Event::Finished(_)));
        (self.folder, self.dir)
    }
}

/// A seeded random number generator.
struct TestRng(u64);

impl TestRng {
    /// Returns a number from 0 to `limit` - 1.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Returns `text` with a random edit, often an invalid one.
fn mutate(text: &str, rng: &mut TestRng) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = rng.below(lines.len());
    let values =
        ["nan", "-1", "1e99", "\"x\"", "[]", "true", "0", "3", "0.5", "[[0, 0.1], [9, 0.4]]", "\"\"", "inf", ""];
    let value = values[rng.below(values.len())];
    match rng.below(12) {
        // As a person would edit: replace a number by another.
        8.. => {
            let numbers =
                ["fraction", "lr", "clip", "jitter", "prefix", "weight", "scale", "seconds", "smoothing", "every"];
            let is_number = |line: &&mut String| numbers.iter().any(|key| line.starts_with(&format!("{key} =")));
            let mut lines: Vec<&mut String> = lines.iter_mut().filter(is_number).collect();
            let at = rng.below(lines.len());
            let key = lines[at].split('=').next().unwrap_or_default().to_owned();
            let number = rng.below(1500);
            // Integers and decimals; some are above the limit.
            let number = if key == "every " { number.to_string() } else { (number as f64 / 1000.0).to_string() };
            *lines[at] = format!("{key}= {number}");
        }
        0..=2 => {
            if let Some((key, _)) = lines[at].clone().split_once('=') {
                lines[at] = format!("{key}= {value}");
            }
        }
        3 => lines[at] = lines[at].chars().rev().collect(),
        4 => drop(lines.remove(at)),
        5 => lines.insert(at, lines[at].clone()),
        6 => lines.insert(at, ["[recycle]", "]", "=", "new = 1", "# a comment", "\u{7f}"][rng.below(6)].into()),
        _ => {
            let text = lines.join("\n");
            let cut = (0..=rng.below(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            return text[..cut].to_owned();
        }
    }
    lines.join("\n") + "\n"
}

/// Returns the config that must be current after `text` was saved; `None` if it must be refused as a whole.
fn expected_config(before: &Config, base: &Config, good: &str, text: &str) -> Option<Config> {
    config::refuse_torn(text, good, "x", true).ok()?;
    let new = config::from_text(text, "x", &[]).ok()?;
    let edits = change::diff(base, &new);
    let edits = edits.iter().filter(|edit| before.value(edit.key) != edit.new);
    let edits: Vec<_> = edits.collect();
    if edits.iter().any(|edit| edit.is_frozen()) {
        return None;
    }
    change::apply_changes(before, edits.iter().map(|edit| (edit.key, &edit.new)), "x").ok()
}

#[test]
fn two_hundred_corrupted_files_apply_completely_or_not_at_all_and_never_end_the_run() {
    let mut live = LiveRun::start();
    let mut rng = TestRng(7);
    let (mut applied, mut refused) = (0, 0);
    for round in 0..200 {
        let good = std::fs::read_to_string(live.config_file()).unwrap();
        let base = config::from_text(&good, "good", &[]).unwrap();
        let mut bad = mutate(&good, &mut rng);
        // A run that is paused or ends would make no further step.
        while bad.contains("paused = true") || config::from_text(&bad, "x", &[]).is_ok_and(|new| new.run.steps < 1000) {
            bad = mutate(&good, &mut rng);
        }
        let before = live.config.clone();
        std::fs::write(live.config_file(), &bad).unwrap();
        live.wait_for_sync(round);
        let mut found = live.config.clone();
        found.dashboard.line_seconds = before.dashboard.line_seconds;
        match expected_config(&before, &base, &good, &bad).filter(|expected| *expected != before) {
            Some(mut expected) => {
                expected.dashboard.line_seconds = before.dashboard.line_seconds;
                // A threshold above every entropy that the model can reach is refused, so either result is right.
                if !matches!(expected.recycle.share, SelectionRule::Threshold | SelectionRule::RelativeThreshold)
                    || found == expected
                {
                    assert_eq!(found, expected, "round {round}\n{bad}");
                    applied += 1;
                } else {
                    assert_eq!(found, before, "round {round}: applied in part\n{bad}");
                }
            }
            None => {
                assert_eq!(found, before, "round {round}\n{bad}");
                refused += 1;
            }
        }
        // Fix the file, and expect it to hold the complete config again.
        std::fs::write(live.config_file(), &good).unwrap();
        live.wait_for_sync(round + 500);
        let file = std::fs::read_to_string(live.config_file()).unwrap();
        assert_eq!(config::from_text(&file, "fixed", &[]).unwrap(), live.config, "round {round}");
    }
    assert!(applied > 20 && refused > 50, "{applied} applied, {refused} refused");
    let (last, version) = (live.config.clone(), live.version);
    let (folder, _dir) = live.stop();

    // The recorded changes, applied to the first config, give the last one. So does the file.
    let record = changes::applied_changes(&changes::read_changes(&folder.changes_file()).unwrap());
    let first = config::load(&folder.version_file(0), &[]).unwrap();
    assert_eq!(train::replay_changes(&first, &record), last);
    assert_eq!(config::load(&folder.config_file(), &[]).unwrap(), last);
    assert_eq!(config::load(&folder.version_file(version), &[]).unwrap(), last);
    // The export has all of them, too.
    assert_eq!(
        common::exported_change_count(folder.path()),
        changes::read_changes(&folder.changes_file()).unwrap().len()
    );
}

#[test]
fn a_saved_recipe_changes_the_run_and_a_key_does_not_change_the_recipe() {
    let mut live = LiveRun::start_with_recipe(true);
    let recipe = live.dir.path().join("recipe.toml");
    let saved = TINY.replace("lr = 1e-2", "lr = 2e-3");
    std::fs::write(&recipe, &saved).unwrap();
    live.wait_until("the recipe", |live, _| live.config.optim.lr == 0.002);
    // A recipe changes only the keys that were edited in it; other keys keep their values.
    live.set("recycle.every", "3");
    live.wait_until("the key", |live, _| live.config.recycle.every == 3);
    let saved = saved.replace("warmup = 2", "warmup = 4");
    std::fs::write(&recipe, &saved).unwrap();
    live.wait_until("the recipe again", |live, _| live.config.optim.warmup == 4);
    assert_eq!(live.config.recycle.every, 3);
    live.wait_for_sync(1);
    assert_eq!(std::fs::read_to_string(&recipe).unwrap(), saved);
    assert_eq!(
        config::load(&live.config_file(), &[]).unwrap(),
        live.config,
        "the run's own config file has the same values"
    );
    let (folder, _dir) = live.stop();
    let sources: Vec<String> = changes::read_changes(&folder.changes_file())
        .unwrap()
        .into_iter()
        .map(|change| change.source.to_string())
        .collect();
    assert!(sources[0].ends_with("recipe.toml") && sources[1] == "keys", "{sources:?}");
}

#[test]
fn setting_a_key_writes_the_file_and_keeps_its_comments() {
    let mut live = LiveRun::start();
    let text = std::fs::read_to_string(live.config_file()).unwrap();
    let text = text.replace("lr = 1e-2", "# the peak\nlr = 1e-2   # high");
    std::fs::write(live.config_file(), &text).unwrap();
    live.wait_for_sync(1);
    live.set("optim.lr", "0.005");
    live.wait_until("the change", |live, _| live.config.optim.lr == 0.005);
    live.wait_for_sync(2);
    let file = std::fs::read_to_string(live.config_file()).unwrap();
    assert!(file.contains("# the peak\nlr = 0.005   # high\n"), "{file}");
    // An invalid change by key gives an alert, and changes nothing.
    for (key, value, why) in [
        ("optim.lr", "99", "from 0 to 10"),
        ("model.width", "32", "cannot change during a run"),
        ("optim.rl", "1", "the nearest known one is `optim.lr`"),
        ("optim.min_lr", "5", "must be at most"),
        ("recycle.share", "threshold", "do not use entropy"),
    ] {
        live.set(key, value);
        let alert = |event: &Event| match event {
            Event::Alert(alert) => alert.text.clone(),
            _ => None,
        };
        live.wait_until(why, |_, event| alert(event).is_some_and(|text| text.contains(why)));
    }
    assert_eq!(live.config.optim.lr, 0.005);
    live.stop();
}

#[test]
fn the_later_of_two_changes_wins_and_both_are_recorded() {
    let mut live = LiveRun::start();
    for file_first in [true, false] {
        live.trainer.commands.send(Command::SetPaused(true)).unwrap();
        live.wait_until("the pause", |_, event| matches!(event, Event::Phase(RunPhase::Paused)));
        let text = std::fs::read_to_string(live.config_file()).unwrap();
        let line = text.lines().find(|line| line.starts_with("clip")).unwrap();
        let save =
            |value: &str| std::fs::write(live.config_file(), text.replace(line, &format!("clip = {value}"))).unwrap();
        let wait_briefly = || std::thread::sleep(Duration::from_millis(20));
        if file_first {
            save("7.0");
            wait_briefly();
            live.set("optim.clip", "8.0");
        } else {
            live.set("optim.clip", "9.0");
            wait_briefly();
            save("6.0");
        }
        let last = if file_first { 8.0 } else { 6.0 };
        live.wait_until("both", |live, _| live.config.optim.clip == last);
        wait_for("the file", || config::load(&live.config_file(), &[]).is_ok_and(|config| config.optim.clip == last));
        live.trainer.commands.send(Command::SetPaused(false)).unwrap();
        live.wait_until("the run to continue", |_, event| matches!(event, Event::Phase(RunPhase::Train)));
    }
    live.wait_for_sync(3);
    let (folder, _dir) = live.stop();
    let clips: Vec<f64> = changes::read_changes(&folder.changes_file())
        .unwrap()
        .iter()
        .filter(|change| change.key.as_deref() == Some("optim.clip"))
        .map(|change| change.new.as_f64().unwrap())
        .collect();
    assert_eq!(clips, [7.0, 8.0, 9.0, 6.0]);
}

#[test]
fn stepping_while_paused_makes_exactly_one_step() {
    let mut live = LiveRun::start();
    live.pause();
    for _ in 0..3 {
        let before = live.step;
        live.send(Command::StepOnce);
        live.wait_until("the pause after it", |_, event| matches!(event, Event::Phase(RunPhase::Paused)));
        assert_eq!(live.step, before + 1);
        // No further step, however long the pause is.
        std::thread::sleep(Duration::from_millis(250));
        let more = live.trainer.events.try_iter().filter(|event| matches!(event, Event::Step(_))).count();
        assert_eq!(more, 0);
    }
    // A run that is not paused is not affected.
    live.send(Command::SetPaused(false));
    live.send(Command::StepOnce);
    let step = live.step;
    live.wait_until("the run to continue", move |live, _| live.step > step + 5);
    live.stop();
}

#[test]
fn a_note_is_recorded_at_its_step() {
    let mut live = LiveRun::start();
    live.pause();
    live.send(Command::StepOnce);
    live.wait_until("a step", |_, event| matches!(event, Event::Step(_)));
    live.wait_until("the pause after it", |_, event| matches!(event, Event::Phase(RunPhase::Paused)));
    let step = live.step + 1;
    live.send(Command::Note("the loss looks odd".into()));
    live.wait_until("the note", |_, event| match event {
        Event::ConfigChanged(changed) => changed.rows[0].outcome == ChangeOutcome::Noted,
        _ => false,
    });
    assert_eq!(live.version, 0, "nothing was changed");
    live.set("optim.clip", "7");
    live.wait_until("a change after it", |live, _| live.config.optim.clip == 7.0);
    let (folder, _dir) = live.stop();
    let record = changes::read_changes(&folder.changes_file()).unwrap();
    let reason = record[0].reason.as_deref();
    assert_eq!((record.len(), record[0].step, reason), (2, step, Some("the loss looks odd")));
    assert!(record[0].key.is_none());
    assert_eq!(common::exported_change_count(folder.path()), 2);

    // A resume reports the recorded history again, with the config of each step. It does not record the note again.
    let overrides = vec![format!("run.steps={}", step + 3)];
    let start_mode = StartMode::Resume { run: folder.path().to_owned(), step: None, restart: false, overrides };
    let trainer = train::spawn(start_mode, TrainerOptions::new(true)).unwrap();
    let events: Vec<Event> = trainer.events.iter().collect();
    assert!(matches!(events.last(), Some(Event::Finished(_))), "{:?}", events.last());
    let reported = events.iter().filter_map(|event| match event {
        Event::ConfigChanged(changed) => {
            let outcome = changed.rows.first().map(|row| row.outcome);
            Some((changed.version, changed.config.optim.clip, outcome))
        }
        _ => None,
    });
    let reported: Vec<_> = reported.take(3).collect();
    let (noted, applied) = (Some(ChangeOutcome::Noted), Some(ChangeOutcome::Applied));
    assert_eq!(reported, [(0, 1.0, None), (0, 1.0, noted), (1, 7.0, applied)]);
    assert!(events.iter().any(|event| matches!(event, Event::System(_))));
    let record = changes::read_changes(&folder.changes_file()).unwrap();
    assert_eq!(record.iter().filter(|row| row.outcome == ChangeOutcome::Noted).count(), 1, "{record:?}");
}

#[test]
fn several_keys_are_applied_together_or_not_at_all() {
    let mut live = LiveRun::start();
    let both = |a: &str, b: &str| {
        let values = vec![("optim.clip".to_owned(), a.to_owned()), ("optim.min_lr".to_owned(), b.to_owned())];
        Command::SetKeys(SetKeys { values, ..SetKeys::single("", "") })
    };
    live.send(both("3", "2e-5"));
    live.wait_until("both", |_, event| match event {
        Event::ConfigChanged(changed) => {
            changed.rows.len() == 2 && changed.rows.iter().all(|row| row.outcome == ChangeOutcome::Applied)
        }
        _ => false,
    });
    assert_eq!((live.version, live.config.optim.clip, live.config.optim.min_lr), (1, 3.0, 2e-5));
    // The second value of each pair is invalid: of the wrong type, or together with the other keys.
    for wrong in ["\"x\"", "5"] {
        live.send(both("4", wrong));
        let refused = |event: &Event| match event {
            Event::ConfigChanged(changed) => changed.rows.iter().all(|row| row.outcome == ChangeOutcome::Refused),
            _ => false,
        };
        live.wait_until("the refusal", |_, event| refused(event));
        assert_eq!((live.version, live.config.optim.clip, live.config.optim.min_lr), (1, 3.0, 2e-5));
    }
    let (folder, _dir) = live.stop();
    let text = std::fs::read_to_string(folder.config_file()).unwrap();
    assert!(text.contains("clip = 3.0") && !text.contains("clip = 4"), "{text}");
}
