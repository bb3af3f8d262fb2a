//! Tests the real binary under kills, signals and damage: no recorded row is lost, and a run continues as if it had
//! never stopped.
#![cfg(unix)]

mod common;

use coconut_lab::config;
use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::record::{changes, rows, status};
use coconut_lab::schema::status::RunState;
use common::*;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A recipe with everything that has state: recycling, accumulation, curves, pause-vector updates, validations.
const FULL_RECIPE: &str = r#"
# A run with everything that has state.
[run]
name = "whole"
steps = 2000
[data]
make = "prosqa"
make_train = 60
make_held_out = 20
batch = 2
seq_len = 32
[model]
width = 16
layers = 1
heads = 2
[optim]
lr = 1e-2   # the peak
warmup = 5
accumulate = 2
[recycle]
every = 2
fraction = [[0, 0.1], [1500, 0.4]]
probability = 0.9
pause_share = 0.2
feedback = "gated"
jitter = 0.1
placement = "entropy_next"
[eval]
every = 50
batches = 1
sequential_every = 0
[checkpoint]
every = 20
[record]
sync_seconds = 0.05
token_every = 10
[probe]
layers_every = 7
"#;

fn step_count(run: &Path) -> usize {
    int_column(&metrics(run), "step").len()
}

fn spawn(dir: &Path, args: &[&str]) -> Child {
    let errors = std::fs::File::options().create(true).append(true).open(dir.join("errors.txt")).unwrap();
    let mut command = command(dir, args);
    command.stdout(Stdio::null()).stderr(errors).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let kill = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Waits for a run folder that is not in `known`, and returns it.
fn wait_for_new_run(dir: &Path, known: &[PathBuf]) -> PathBuf {
    wait_for("a run folder", || runs(dir).iter().any(|run| !known.contains(run) && run.join("run.json").exists()));
    runs(dir).into_iter().find(|run| !known.contains(run)).unwrap()
}

/// Trains a run and edits its config file meanwhile.
fn train_with_edits(dir: &Path) -> PathBuf {
    let mut child = spawn(dir, &["run", "--config", "tiny.toml", "--headless"]);
    let run = wait_for_new_run(dir, &[]);
    let edits =
        [("lr = 1e-2 ", "lr = 5e-3 "), ("probability = 0.9", "probability = 0.5"), ("clip = 1.0", "clip = 0.5")];
    for (index, (old, new)) in edits.into_iter().enumerate() {
        wait_for("steps", || has_ended(&run) || step_count(&run) > 200 * (index + 1));
        let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(run.join("config.toml"), text.replace(old, new)).unwrap();
    }
    assert!(child.wait().unwrap().success());
    run
}

fn has_ended(run: &Path) -> bool {
    RunFolder::open(run).is_ok_and(|folder| {
        let status = status::read_status(&folder).unwrap();
        status.is_some_and(|status| status.state != RunState::Running)
    })
}

fn assert_same_run(a: &Path, b: &Path) {
    for ((name, a), (other, b)) in deterministic_columns(a).into_iter().zip(deterministic_columns(b)) {
        assert_eq!(name, other);
        let at = a.iter().zip(&b).position(|(a, b)| a != b);
        assert!(a == b, "{name} differs, first in row {at:?} of {} and {}", a.len(), b.len());
    }
    let layers = |run: &Path| table(run, "layers").iter().flat_map(rows::read_layer_rows).collect::<Vec<_>>();
    let (in_a, in_b) = (layers(a), layers(b));
    assert_eq!(in_a.last().map(|row| row.step), Some(1995), "the last step that 7 divides");
    assert!(in_a == in_b, "the layers differ: {} and {} rows", in_a.len(), in_b.len());
    let weights = |run: &Path| std::fs::read(run.join("step-002000/model.safetensors")).unwrap();
    assert!(weights(a) == weights(b), "the weights differ");
}

/// Returns the seed for the times of the kills, and prints it. It is new each time unless `COCONUT_LAB_KILL_SEED` sets
/// it to repeat a failure.
fn kill_seed() -> u64 {
    let given = std::env::var("COCONUT_LAB_KILL_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = given.unwrap_or_else(now);
    println!("COCONUT_LAB_KILL_SEED={seed}");
    seed
}

#[test]
fn a_run_killed_twenty_times_equals_an_undisturbed_run() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let whole = train_with_edits(dir.path());
    let record = changes::read_changes(&whole.join("changes.jsonl")).unwrap();
    assert_eq!(record.len(), 3, "{record:?}");
    assert_eq!(int_column(&metrics(&whole), "step"), (0..=2000).map(Some).collect::<Vec<_>>());
    let name = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();

    // Replay the same changes at the same steps without kills: the record is enough to repeat a run.
    let again = lab(dir.path(), &["run", "--replay", &name(&whole), "--name", "again", "--headless"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let again = runs(dir.path()).into_iter().find(|run| *run != whole).unwrap();
    assert_same_run(&whole, &again);

    let known = runs(dir.path());
    let mut seed = kill_seed();
    let mut random_below = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let mut child = spawn(dir.path(), &["run", "--replay", &name(&whole), "--name", "killed", "--headless"]);
    let killed = wait_for_new_run(dir.path(), &known);
    let mut kills = 0;
    while kills < 20 {
        // Kill at a random time: during start, training, validation or writing.
        let (began, wait) = (Instant::now(), Duration::from_millis(random_below(300)));
        while began.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kill(child);
        kills += 1;
        child = spawn(dir.path(), &["resume", &name(&killed), "--headless"]);
    }
    let ended = child.wait().unwrap();
    let errors = std::fs::read_to_string(dir.path().join("errors.txt")).unwrap();
    assert!(ended.success(), "after {kills} kills: {errors}");
    assert!(kills >= 15, "the run ended after only {kills} kills");
    assert_eq!(int_column(&metrics(&killed), "step"), (0..=2000).map(Some).collect::<Vec<_>>());
    assert_same_run(&whole, &killed);
    let values = |run: &Path| {
        config::load(&run.join("config.toml"), &[]).map(|mut config| {
            config.run.name.clear();
            config
        })
    };
    assert_eq!(values(&killed).unwrap(), values(&whole).unwrap());
    let text = std::fs::read_to_string(killed.join("config.toml")).unwrap();
    assert!(
        text.contains("# A run with everything that has state.") && text.contains("lr = 0.005   # the peak"),
        "{text}"
    );
}

#[test]
fn recorded_rows_survive_a_kill_after_the_sync_time() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let mut child = spawn(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "100000"]);
    let run = wait_for_new_run(dir.path(), &[]);
    wait_for("steps", || step_count(&run) > 30);
    let before = step_count(&run);
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert!(step_count(&run) > before + 5, "{before} {}", step_count(&run));
    let status = status::read_status(&RunFolder::open(&run).unwrap()).unwrap().unwrap();
    assert_eq!(status.state, RunState::Interrupted);
    let list = lab(dir.path(), &["runs"]);
    assert!(stdout(&list).contains("interrupted"), "{}", stdout(&list));
}

#[test]
fn sigterm_saves_a_checkpoint_and_the_run_can_be_resumed_and_extended() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let overrides = ["--set", "checkpoint.at_end=false", "--set", "checkpoint.keep=0"];
    let args = [&["run", "--config", "tiny.toml", "--headless", "--steps", "100000"], &overrides[..]].concat();
    let mut child = spawn(dir.path(), &args);
    let run = wait_for_new_run(dir.path(), &[]);
    wait_for("steps", || step_count(&run) > 25);
    // SIGHUP does not stop a run.
    signal(&child, "-HUP");
    let now = step_count(&run);
    wait_for("steps after SIGHUP", || step_count(&run) > now + 5);
    // The lock keeps out another process.
    let second = lab(dir.path(), &["resume", "last", "--headless"]);
    assert_eq!(second.status.code(), Some(1));
    let owner = format!("another process holds this run (process {}", child.id());
    assert!(stderr(&second).contains(&owner), "{}", stderr(&second));
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let folder = RunFolder::open(&run).unwrap();
    let stopped = status::read_status(&folder).unwrap().unwrap();
    assert_eq!((stopped.state, folder.checkpoint_steps().last()), (RunState::Stopped, Some(&stopped.step)));

    let last = stopped.step as i64 + 10;
    let assert_steps_to =
        |last: i64| assert_eq!(int_column(&metrics(&run), "step"), (0..=last).map(Some).collect::<Vec<_>>());
    let resume = |more: &[&str]| lab(dir.path(), &[&["resume", "whole", "--headless"], more].concat());
    let at_end = ["--set", "checkpoint.at_end=true"];
    let resumed = resume(&[&["--set", "optim.lr=0.001", "--steps", &last.to_string()], &at_end[..]].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stdout(&resumed).contains("`optim.lr` from 0.01 to 0.001"), "{}", stdout(&resumed));
    assert_steps_to(last);
    let lr = float_column(&metrics(&run), "lr");
    assert!(lr[stopped.step as usize].unwrap() > lr[stopped.step as usize + 1].unwrap() * 5.0);

    let done = resume(&[]);
    assert_eq!(done.status.code(), Some(1));
    let expected = format!("step {last} of {last} is done; raise `run.steps`");
    assert!(stderr(&done).contains(&expected), "{}", stderr(&done));
    let longer = resume(&["--steps", &(last + 20).to_string()]);
    assert!(longer.status.success(), "{}", stderr(&longer));
    assert_steps_to(last + 20);
    // Resume from an earlier step: later steps are discarded.
    let back = resume(&["--from", &stopped.step.to_string(), "--steps", &(last + 5).to_string()]);
    assert!(back.status.success(), "{}", stderr(&back));
    assert_steps_to(last + 5);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_previous_one_is_used() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let made = lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "60"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let run = &runs(dir.path())[0];
    let last = run.join("step-000060/optimizer.safetensors");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let resumed = lab(dir.path(), &["resume", "last", "--headless", "--steps", "61"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let text = stdout(&resumed);
    assert!(text.contains("step-000060 is damaged; skipping it: optimizer.safetensors has"), "{text}");
    assert!(text.contains("continuing after step 40"), "{text}");
    assert!(text.contains("going back to the checkpoint of step 40"), "{text}");
    assert_eq!(step_count(run), 62);
    assert!(run.join("aside/step-000060").is_dir());
}

#[test]
fn unreadable_is_not_absent() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let made = lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "20"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let run = &runs(dir.path())[0];
    let checkpoint = run.join("step-000020");
    let checked = lab(dir.path(), &["check", "last"]);
    assert!(checked.status.success() && stdout(&checked).contains(": whole"), "{}", stdout(&checked));

    // The only checkpoint has a flipped bit: nothing changes without --restart.
    let weights = checkpoint.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    std::fs::write(&weights, flipped).unwrap();
    let refused = lab(dir.path(), &["resume", "last", "--headless", "--steps", "22"]);
    assert_eq!(refused.status.code(), Some(1));
    let error = stderr(&refused);
    assert!(error.contains("model.safetensors was changed") && error.contains("--restart"), "{error}");
    assert!(step_count(run) == 21 && checkpoint.is_dir());
    let checked = lab(dir.path(), &["check", "last", "--json"]);
    assert!(checked.status.code() == Some(1) && stdout(&checked).contains("model.safetensors was changed"));

    // A checkpoint that was recorded, and is gone, is not a run that never wrote one.
    std::fs::rename(&checkpoint, dir.path().join("elsewhere")).unwrap();
    let refused = lab(dir.path(), &["resume", "last", "--headless", "--steps", "22"]);
    assert!(stderr(&refused).contains("step-000020 is gone"), "{}", stderr(&refused));
    assert_eq!(step_count(run), 21);
    let restarted = lab(dir.path(), &["resume", "last", "--headless", "--steps", "22", "--restart"]);
    assert!(restarted.status.success(), "{}", stderr(&restarted));
    assert!(stdout(&restarted).contains("beginning again at step 0"), "{}", stdout(&restarted));
    assert_eq!(int_column(&metrics(run), "step"), (0..=22).map(Some).collect::<Vec<_>>());

    // A cut segment is said by all who read it, and what is left is delivered.
    let part = std::fs::read_dir(run.join("metrics")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let list = lab(dir.path(), &["runs"]);
    assert!(stdout(&list).contains("damaged") && stderr(&list).contains("part-0000"), "{}", stdout(&list));
    for args in [&["snapshot", "last", "--out", "s.txt"][..], &["export", "metrics", "last", "--out", "m.csv"]] {
        let output = lab(dir.path(), args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains("damaged") && dir.path().join(args[args.len() - 1]).exists(), "{args:?}");
    }
}

#[test]
fn a_resume_records_the_checkpoint_whose_event_a_kill_lost_and_says_that_the_rate_rises() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let made = lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "20"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let run = &runs(dir.path())[0];
    std::fs::remove_dir_all(run.join("events")).unwrap();
    let resumed = lab(dir.path(), &["resume", "last", "--headless", "--steps", "60"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stdout(&resumed).contains("the schedule had ended: the learning rate was"), "{}", stdout(&resumed));
    let checkpoints = |step: i64| {
        let batches = common::table(run, "events");
        let kinds = batches.iter().flat_map(|batch| {
            let kinds = batch.column_by_name("kind").unwrap().clone();
            let kinds = kinds.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
            kinds.iter().map(|kind| kind == Some("checkpoint")).collect::<Vec<_>>()
        });
        kinds.zip(int_column(&batches, "step")).filter(|found| *found == (true, Some(step))).count()
    };
    assert_eq!((checkpoints(20), checkpoints(60)), (1, 1));
}

#[test]
fn a_frozen_key_is_refused_when_a_run_is_resumed() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    assert!(lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "20"]).status.success());
    let run = &runs(dir.path())[0];
    let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
    std::fs::write(run.join("config.toml"), text.replace("accumulate = 2", "accumulate = 1")).unwrap();
    let resumed = lab(dir.path(), &["resume", "last", "--headless", "--steps", "30"]);
    assert_eq!(resumed.status.code(), Some(1));
    let expected = "`optim.accumulate` = 1 cannot change when a run is resumed (now 2)";
    assert!(
        stderr(&resumed).contains(expected) && stderr(&resumed).contains("config.toml line"),
        "{}",
        stderr(&resumed)
    );
    assert_eq!(step_count(run), 21, "no step was made");
    // What the error suggests works.
    let forked = lab(
        dir.path(),
        &["run", "--from", "whole@20", "--name", "fork", "--set", "optim.accumulate=1", "--steps", "30", "--headless"],
    );
    assert!(forked.status.success(), "{}", stderr(&forked));
    let fork = runs(dir.path()).into_iter().find(|run| run.to_string_lossy().ends_with("-fork")).unwrap();
    assert_eq!(int_column(&metrics(&fork), "step"), (21..=30).map(Some).collect::<Vec<_>>());
    assert!(std::fs::read_to_string(fork.join("run.json")).unwrap().contains("\"step\": 20"));
    let shape = lab(dir.path(), &["run", "--from", "whole", "--set", "model.width=32", "--steps", "30", "--headless"]);
    assert!(stderr(&shape).contains("`model.width` = 32: the checkpoint's weights have 16"), "{}", stderr(&shape));
    let list = stdout(&lab(dir.path(), &["runs"]));
    assert!(list.contains("at step 20") && list.contains("finished"), "{list}");
}

#[test]
fn changes_are_exported_from_changes_jsonl_only() {
    // A run of an older version also has them as Parquet.
    let session = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/session");
    let record = changes::read_changes(&session.join("changes.jsonl")).unwrap();
    assert!(!record.is_empty() && session.join("changes").is_dir());
    assert_eq!(common::exported_change_count(&session), record.len());
    let dir = temp_dir_with_recipe(TINY);
    assert!(train(dir.path(), &[]).status.success());
    let run = runs(dir.path()).remove(0);
    assert!(!run.join("changes").exists());
    assert_eq!(common::exported_change_count(&run), 0);
}

#[test]
fn an_export_joins_runs_and_selects_steps() {
    let dir = temp_dir_with_recipe(TINY);
    for name in ["a", "b"] {
        assert!(train(dir.path(), &[&format!("run.name={name}")]).status.success());
    }
    let all = lab(dir.path(), &["export", "metrics", "a", "b", "--out", "all.parquet"]);
    assert!(all.status.success(), "{}", stderr(&all));
    let rows = coconut_lab::record::segments::read_segment(&dir.path().join("all.parquet")).unwrap();
    assert_eq!(int_column(&rows, "step").len(), 14);
    let runs: Vec<String> = rows
        .iter()
        .flat_map(|batch| {
            let names = batch.column_by_name("run").unwrap().clone();
            let names = arrow::array::AsArray::as_string::<i32>(&names).clone();
            names.iter().map(|name| name.unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert!(runs[0].ends_with("-a") && runs[13].ends_with("-b"));
    let schema = rows[0].schema();
    assert_eq!(schema.field_with_name("loss_plain_nats").unwrap().metadata()["unit"], "nats");
    let some = lab(dir.path(), &["export", "metrics", "a", "--out", "some.csv", "--from-step", "4", "--to-step", "5"]);
    assert!(some.status.success(), "{}", stderr(&some));
    let csv = std::fs::read_to_string(dir.path().join("some.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let wrong = lab(dir.path(), &["export", "metrics", "a", "--out", "x.csv", "--from-step", "3", "--to-step", "2"]);
    assert!(stderr(&wrong).contains("--from-step 3 is after --to-step 2"), "{}", stderr(&wrong));
    let none = lab(dir.path(), &["export", "metrics", "nobody", "--out", "x.csv"]);
    assert!(stderr(&none).contains("no run `nobody`"), "{}", stderr(&none));
}

/// Replaces `old` with `new` in the run's config file.
fn edit_config(run: &Path, old: &str, new: &str) {
    let file = run.join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(old), "{old} is not in {text}");
    std::fs::write(&file, text.replace(old, new)).unwrap();
}

fn kill(mut child: Child) {
    signal(&child, "-KILL");
    child.wait().unwrap();
}

/// Returns keys and new values of the recorded changes, in order.
fn recorded_changes(run: &Path) -> Vec<(String, String)> {
    let rows = changes::read_changes(&run.join("changes.jsonl")).unwrap();
    rows.into_iter().map(|row| (row.key.unwrap_or_default(), row.value)).collect()
}

fn owned_pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn changes_during_a_pause_survive_kills_once_each_and_in_order() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let mut child = spawn(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "100000"]);
    let run = wait_for_new_run(dir.path(), &[]);
    wait_for("steps", || step_count(&run) > 30);
    let pause = [("run.paused", "true")];
    edit_config(&run, "paused = false", "paused = true");
    wait_for("the pause", || recorded_changes(&run) == owned_pairs(&pause));
    // Setting a key to an earlier value is a change of its own.
    let mut known = pause.to_vec();
    for (old, new, value) in [("1e-2 ", "5e-3 ", "0.005"), ("5e-3 ", "1e-2 ", "0.01"), ("1e-2 ", "5e-3 ", "0.005")] {
        edit_config(&run, &format!("lr = {old}"), &format!("lr = {new}"));
        known.push(("optim.lr", value));
        wait_for("the change", || recorded_changes(&run) == owned_pairs(&known));
    }
    // Stop during the pause: the checkpoint includes the changes made there.
    signal(&child, "-TERM");
    child.wait().unwrap();
    assert_eq!(recorded_changes(&run), owned_pairs(&known));
    let version = |run: &Path| int_column(&metrics(run), "config_version").last().copied().flatten();

    child = spawn(dir.path(), &["resume", "whole", "--headless"]);
    wait_for("the lock of the run", || RunFolder::open(&run).unwrap().is_locked());
    std::thread::sleep(Duration::from_millis(200));
    edit_config(&run, "paused = true", "paused = false");
    known.push(("run.paused", "false"));
    wait_for("the run to continue", || version(&run) == Some(5));
    assert_eq!(recorded_changes(&run), owned_pairs(&known));
    // Kill the run, and edit its file while it does not run.
    kill(child);
    edit_config(&run, "clip = 1.0", "clip = 0.25");
    known.push(("optim.clip", "0.25"));
    // An obstacle makes the resume fail after it has begun.
    let obstacle = run.join("events/part-00077.log");
    std::fs::create_dir(&obstacle).unwrap();
    let failed = lab(dir.path(), &["resume", "whole", "--headless"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stdout(&failed));
    std::fs::remove_dir(&obstacle).unwrap();
    let done = int_column(&metrics(&run), "step").len().to_string();
    let resumed = lab(dir.path(), &["resume", "whole", "--headless", "--steps", &done]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(stdout(&resumed).contains("a resume was interrupted"), "{}", stdout(&resumed));
    let mut found = recorded_changes(&run);
    found.retain(|(key, _)| key != "run.steps");
    let mut expected = owned_pairs(&known);
    // The order differs: the offline edit applies first, and changes after the checkpoint apply again at their steps.
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let config = config::load(&run.join("config.toml"), &[]).unwrap();
    assert_eq!((config.optim.lr, config.optim.clip, config.run.paused), (0.005, 0.25, false));
}

#[test]
fn a_fork_killed_at_once_resumes_from_its_start_point() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    assert!(lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "40"]).status.success());
    let known = runs(dir.path());
    let args = ["run", "--from", "whole@40", "--name", "child", "--steps", "60", "--headless"];
    let child = spawn(dir.path(), &[&args[..], &["--set", "checkpoint.every=0"]].concat());
    let run = wait_for_new_run(dir.path(), &known);
    wait_for("a step", || step_count(&run) > 0 || has_ended(&run));
    kill(child);
    // Remove its checkpoints, as if the kill had come before the first one.
    let _ = std::fs::remove_dir_all(run.join("step-000040"));
    let _ = std::fs::remove_dir_all(run.join("step-000060"));
    let resumed = lab(dir.path(), &["resume", "child", "--headless"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(int_column(&metrics(&run), "step"), (41..=60).map(Some).collect::<Vec<_>>());
    let again = lab(dir.path(), &["run", "--replay", "child", "--name", "again", "--headless"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let again = runs(dir.path()).into_iter().find(|run| run.to_string_lossy().ends_with("-again")).unwrap();
    assert_eq!(deterministic_columns(&again), deterministic_columns(&run));
}

/// Starts a dashboard in its own terminal, made by `script`. Killing `script` removes the terminal. Output goes to
/// `screen.txt`. Returns `None` if `script` is not installed.
fn start_in_terminal(dir: &Path, args: &str) -> Option<Child> {
    let command = format!("stty cols 100 rows 30; exec {} {args}", env!("CARGO_BIN_EXE_coconut-lab"));
    let screen = std::fs::File::create(dir.join("screen.txt")).unwrap();
    let mut script = std::process::Command::new("script");
    script.current_dir(dir).args(["-qfc", &command, "/dev/null"]);
    let child = script.stdin(Stdio::piped()).stdout(screen).stderr(Stdio::null()).spawn();
    child.inspect_err(|_| eprintln!("skipped: there is no `script` here")).ok()
}

#[test]
fn a_run_of_another_process_is_watched_and_controlled() {
    use std::io::Write;
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let mut run = spawn(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--steps", "100000"]);
    let folder = wait_for_new_run(dir.path(), &[]);
    wait_for("steps", || step_count(&folder) > 20);
    let Some(mut watch) = start_in_terminal(dir.path(), "watch last") else { return kill(run) };
    let shows = |text: &str| std::fs::read_to_string(dir.path().join("screen.txt")).is_ok_and(|s| s.contains(text));
    wait_for("the dashboard", || shows("training") && shows("whole"));
    let keys = watch.stdin.as_mut().unwrap();
    keys.write_all(b":set optim.lr 0.003\r").unwrap();
    wait_for("the setting", || recorded_changes(&folder) == owned_pairs(&[("optim.lr", "0.003")]));
    watch.stdin.as_mut().unwrap().write_all(b" ").unwrap();
    // A pause by a key is no change of the config, here as in the run's own dashboard.
    wait_for("the pause", || shows("paused") && recorded_changes(&folder).len() == 1);
    // Leaving the dashboard does not affect the run.
    watch.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    drop(watch.stdin.take());
    assert!(watch.wait().unwrap().success());
    assert!(RunFolder::open(&folder).unwrap().is_locked());
    signal(&run, "-TERM");
    assert_eq!(run.wait().unwrap().code(), Some(75));
    // An ended run can be watched, too.
    let Some(watch) = start_in_terminal(dir.path(), "watch last") else { return };
    wait_for("the end of the run", || shows("stopped after"));
    kill(watch);
}

#[test]
fn a_run_continues_to_its_end_without_its_terminal() {
    let dir = temp_dir_with_recipe(FULL_RECIPE);
    let Some(terminal) = start_in_terminal(dir.path(), "run --config tiny.toml --steps 100000") else { return };
    let run = wait_for_new_run(dir.path(), &[]);
    wait_for("steps", || step_count(&run) > 20);
    kill(terminal);
    let now = step_count(&run);
    wait_for("steps without a terminal", || step_count(&run) > now + 20);
    // Its file still controls it, and ends it.
    edit_config(&run, "steps = 100000", "steps = 10");
    wait_for("the end", || has_ended(&run));
    assert_eq!(status::read_status(&RunFolder::open(&run).unwrap()).unwrap().unwrap().state, RunState::Finished);
}
