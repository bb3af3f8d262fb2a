//! Tests experiments with the real binary: budgets, kills, signals, sharing, collecting and reports.
#![cfg(unix)]

mod common;

use common::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

const BASE: &str = r#"
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
warmup = 5
[recycle]
every = 2
[eval]
every = 40
batches = 1
sequential_every = 0
[checkpoint]
every = 25
[record]
sync_seconds = 0.05
"#;

const EXPERIMENT: &str = r#"
question = "Does recycling lower the plain loss?"
base = "base.toml"
seeds = [1, 2]
hold = "flop"
budget = 4e8
primary = "valid_loss_plain_nats"
metrics = ["loss_plain_nats"]
[[arms]]
name = "never"
set.recycle.every = 0
[[arms]]
name = "every-2"
[[comparisons]]
a = "every-2"
b = "never"
"#;

/// Makes a folder with the experiment `exp.toml`, whose runs are in `checkpoints/`.
fn experiment(change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("base.toml"), BASE).unwrap();
    write_experiment(dir.path(), change);
    dir
}

fn write_experiment(dir: &Path, change: impl Fn(&str) -> String) {
    let text = change(EXPERIMENT);
    std::fs::write(dir.join("exp.toml"), format!("dir = \"checkpoints\"\n{text}")).unwrap();
}

fn run_folders(dir: &Path) -> Vec<PathBuf> {
    runs(dir).into_iter().filter(|path| path.join("run.json").exists()).collect()
}

/// Returns the run folders by the name of the run.
fn folders_by_name(dir: &Path) -> BTreeMap<String, PathBuf> {
    // A folder that was killed before it was a run's keeps its name: the next one has a number.
    let name = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap()[16..].to_owned();
        let numbered = name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok());
        numbered.map_or(name.clone(), |(name, _)| name.to_owned())
    };
    run_folders(dir).into_iter().map(|path| (name(&path), path)).collect()
}

/// Asserts that both folders have the same runs with the same rows.
fn assert_same_tables(a: &Path, b: &Path) {
    let (a, b) = (folders_by_name(a), folders_by_name(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, folder) in &a {
        for ((column, left), (_, right)) in
            deterministic_columns(folder).into_iter().zip(deterministic_columns(&b[name]))
        {
            assert!(left == right, "{name}: {column} differs: {} and {} rows", left.len(), right.len());
        }
    }
}

fn spawn(dir: &Path) -> Child {
    let errors = std::fs::File::options().create(true).append(true).open(dir.join("errors.txt")).unwrap();
    let mut command = command(dir, &["experiment", "run", "exp.toml", "--headless"]);
    command.stdout(Stdio::null()).stderr(errors).spawn().unwrap()
}

/// Returns random numbers below a limit. The seed is new each time, and printed.
fn random() -> impl FnMut(u64) -> u64 {
    let given = std::env::var("COCONUT_LAB_KILL_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut seed: u64 = given.unwrap_or_else(now);
    println!("COCONUT_LAB_KILL_SEED={seed}");
    move |limit| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    }
}

/// Waits so many milliseconds, or until the process ends; returns whether it goes on.
fn goes_on(child: &mut Child, milliseconds: u64) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(milliseconds) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.try_wait().unwrap().is_none()
}

#[test]
fn arms_have_equal_operations_and_the_same_data() {
    let dir = experiment(str::to_owned);
    let dry = lab(dir.path(), &["experiment", "run", "exp.toml", "--dry-run"]);
    assert!(dry.status.success() && stdout(&dry).contains("every-2"), "{}{}", stdout(&dry), stderr(&dry));
    assert!(run_folders(dir.path()).is_empty(), "a dry run makes no run");
    let made = lab(dir.path(), &["experiment", "run", "exp.toml"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let folders = folders_by_name(dir.path());
    assert_eq!(folders.keys().collect::<Vec<_>>(), ["every-2-s1", "every-2-s2", "never-s1", "never-s2"]);
    for folder in folders.values() {
        let flop: Vec<f64> = float_column(&metrics(folder), "total_flop").into_iter().flatten().collect();
        let (last, before) = (flop[flop.len() - 1], flop[flop.len() - 2]);
        assert!(last >= 4e8 && before < 4e8, "within one step of the budget: {before} and {last}");
        // The learning rate has decayed when the budget is used.
        let rate = float_column(&metrics(folder), "lr").into_iter().flatten().last().unwrap();
        assert!(rate < 3e-5, "{rate}");
    }
    // Before the first recycled pass both arms have learned the same.
    let loss = |name: &str| float_column(&metrics(&folders[name]), "loss_plain_nats")[1].unwrap();
    assert_eq!(loss("never-s1"), loss("every-2-s1"));
    assert_ne!(loss("never-s1"), loss("never-s2"));

    // What was expected is what came.
    let steps = |name: &str| int_column(&metrics(&folders[name]), "step").last().unwrap().unwrap() as f64;
    let line = stdout(&dry).lines().find(|line| line.starts_with("never")).unwrap().to_owned();
    let expected: f64 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((expected - steps("never-s1")).abs() <= 1.0, "{line}: {}", steps("never-s1"));

    // Another seed and another arm: only what is new is made.
    let before: Vec<_> = folders.values().cloned().collect();
    let more = |text: &str| {
        text.replace("[1, 2]", "[1, 2, 3]")
            .replace("[[comparisons]]", "[[arms]]\nname = \"every-3\"\nset.recycle.every = 3\n[[comparisons]]")
    };
    write_experiment(dir.path(), more);
    let again = lab(dir.path(), &["experiment", "run", "exp.toml"]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(stderr(&again).matches("starting ").count(), 5, "{}", stderr(&again));
    assert!(before.iter().all(|folder| folder.exists()) && run_folders(dir.path()).len() == 9);

    // The report says it in every form.
    let report = lab(dir.path(), &["experiment", "report", "exp.toml", "--out", "report"]);
    assert!(report.status.success(), "{}", stderr(&report));
    assert!(
        stdout(&report).contains("every-2 against never") || stdout(&report).contains("is better"),
        "{}",
        stdout(&report)
    );
    for file in ["report.md", "report.html", "runs.parquet", "curves.parquet", "comparisons.parquet", "differences.svg"]
    {
        assert!(dir.path().join("report").join(file).exists(), "{file}");
    }
    let markdown = std::fs::read_to_string(dir.path().join("report/report.md")).unwrap();
    for wanted in ["Does recycling lower", "| every-3 |", "declared, when 0 runs existed", "cannot be below 0.2500"] {
        assert!(markdown.contains(wanted), "{wanted}: {markdown}");
    }
    // A later change of what decides is shown.
    write_experiment(dir.path(), |text| more(text).replace("a = \"every-2\"", "a = \"every-3\""));
    let changed = lab(dir.path(), &["experiment", "report", "exp.toml", "--out", "report"]);
    assert!(stdout(&changed).contains("CHANGED since then"), "{}", stdout(&changed));
    // Another recipe is not the same experiment.
    std::fs::write(dir.path().join("base.toml"), BASE.replace("warmup = 5", "warmup = 6")).unwrap();
    let refused = lab(dir.path(), &["experiment", "run", "exp.toml"]);
    assert!(
        !refused.status.success() && stderr(&refused).contains("optim.warmup is 5, planned 6"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn an_experiment_killed_ten_times_ends_with_the_same_tables() {
    let (whole, killed) = (experiment(str::to_owned), experiment(str::to_owned));
    let made = lab(whole.path(), &["experiment", "run", "exp.toml"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let (mut random, mut kills) = (random(), 0);
    let mut child = spawn(killed.path());
    while kills < 10 && goes_on(&mut child, 50 + random(400)) {
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        child = spawn(killed.path());
    }
    let ended = child.wait().unwrap();
    let errors = std::fs::read_to_string(killed.path().join("errors.txt")).unwrap();
    assert!(ended.success(), "after {kills} kills: {errors}");
    assert!(kills >= 5, "it ended after only {kills} kills");
    assert_same_tables(whole.path(), killed.path());
}

#[test]
fn an_experiment_stopped_by_twenty_signals_ends_with_the_same_tables() {
    let (whole, stopped) = (experiment(str::to_owned), experiment(str::to_owned));
    let made = lab(whole.path(), &["experiment", "run", "exp.toml"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let (mut random, mut signals) = (random(), 0);
    let code = loop {
        let mut child = spawn(stopped.path());
        if signals < 20 && goes_on(&mut child, 50 + random(300)) {
            // Schedulers repeat them.
            for name in ["-USR1", "-TERM", "-USR2", "-TERM"].into_iter().take(1 + random(4) as usize) {
                let _ = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
            }
            signals += 1;
        }
        match child.wait().unwrap().code() {
            Some(75) => continue,
            // A signal before its handler is there ends a process as usual.
            None if signals < 20 => continue,
            code => break code,
        }
    };
    let errors = std::fs::read_to_string(stopped.path().join("errors.txt")).unwrap();
    assert_eq!(code, Some(0), "{errors}");
    assert_same_tables(whole.path(), stopped.path());
}

#[test]
fn two_processes_share_the_work() {
    let (whole, shared) = (experiment(str::to_owned), experiment(str::to_owned));
    assert!(lab(whole.path(), &["experiment", "run", "exp.toml"]).status.success());
    let children = [spawn(shared.path()), spawn(shared.path())];
    let codes = children.map(|mut child| child.wait().unwrap().code());
    let errors = std::fs::read_to_string(shared.path().join("errors.txt")).unwrap();
    assert_eq!(codes, [Some(0); 2], "{errors}");
    // Each run was begun once, by one of them.
    assert_eq!(run_folders(shared.path()).len(), 4);
    assert_eq!(errors.matches("starting ").count(), 4, "{errors}");
    assert_eq!(errors.matches("4 of 4 runs are finished").count(), 2, "both wait for all: {errors}");
    assert_same_tables(whole.path(), shared.path());
}

#[test]
fn runs_made_elsewhere_are_collected_and_missing_ones_named() {
    let (here, there) = (experiment(str::to_owned), experiment(str::to_owned));
    let plan = stdout(&lab(there.path(), &["experiment", "plan", "exp.toml"]));
    assert_eq!(plan.lines().count(), 4, "{plan}");
    // A line of the plan makes its run.
    for line in plan.lines().take(2) {
        let made = std::process::Command::new("sh").arg("-c").arg(line).current_dir(there.path()).output().unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let from = there.path().join("checkpoints");
    let collected = lab(here.path(), &["experiment", "collect", "exp.toml", from.to_str().unwrap()]);
    assert_eq!(collected.status.code(), Some(1), "two are missing");
    let text = stdout(&collected);
    assert_eq!((text.matches("copied from").count(), text.matches("missing").count()), (2, 2), "{text}");
    let status = stdout(&lab(here.path(), &["experiment", "status", "exp.toml"]));
    assert!(status.contains("2 of 4 runs are finished"), "{status}");
    let report = lab(here.path(), &["experiment", "report", "exp.toml"]);
    assert!(stdout(&report).contains("never-s2 is missing"), "{}", stdout(&report));
    let script = stdout(&lab(there.path(), &["experiment", "plan", "exp.toml", "--slurm", "--at-once", "2"]));
    assert!(script.contains("#SBATCH --array=0-3%2"), "{script}");
}

#[test]
fn an_arm_starts_from_another_arms_run() {
    let chained = |text: &str| {
        let arm = "[[arms]]\nname = \"after\"\nstart_from = \"never\"\nset.optim.lr = 1e-4\n[[comparisons]]";
        text.replace("seeds = [1, 2]", "seeds = [1]")
            .replace("[[comparisons]]", arm)
            .replace("b = \"never\"", "b = \"after\"")
    };
    let dir = experiment(chained);
    // Of the run alone: the run that it starts from is made, too.
    let made = lab(dir.path(), &["experiment", "run", "exp.toml", "--only", "after-s1"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let folders = folders_by_name(dir.path());
    assert_eq!(folders.keys().collect::<Vec<_>>(), ["after-s1", "never-s1"]);
    let made = lab(dir.path(), &["experiment", "run", "exp.toml"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let config = std::fs::read_to_string(folders["after-s1"].join("config.toml")).unwrap();
    assert!(config.contains("-never-s1/step-"), "{config}");
    // Its operations count on from those of its start.
    let report = lab(dir.path(), &["experiment", "report", "exp.toml", "--out", "report"]);
    let markdown = std::fs::read_to_string(dir.path().join("report/report.md")).unwrap();
    let line = markdown.lines().find(|line| line.starts_with("| after |") && line.contains('e')).unwrap_or_default();
    assert!(markdown.contains("8.0") && report.status.success(), "{line}: {markdown}");
}
