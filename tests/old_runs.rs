//! Tests that runs of an earlier version can be read, exported, drawn and resumed.
//!
//! Commit d290977 made `tests/fixtures/old-run` (schema version 3). The run made four steps. While it was stopped,
//! `run.steps` and `optim.lr` were edited. Then it was resumed to step 6. It has the Parquet table `changes/`, which is
//! no longer written.

mod common;

use coconut_lab::record::recorder::{RecordTiming, Recorder};
use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::schema::rollout_rows::RolloutRow;
use common::{int_column, lab, metrics, runs, stderr, stdout};
use std::path::Path;
use std::time::Duration;

/// Copies the fixture to a temporary folder, so that the run can be changed.
fn copy_old_run() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/old-run"), dir.path());
    dir
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_table_is_exported() {
    let dir = copy_old_run();
    let list = lab(dir.path(), &["runs"]);
    assert!(stdout(&list).contains("finished") && stdout(&list).contains("6 / 6"), "{}", stdout(&list));
    for (table, rows) in [
        ("metrics", 7),
        ("events", 58),
        ("changes", 2),
        ("tokens", 4),
        ("thoughts", 96),
        ("layers", 0),
        ("rollouts", 0),
        ("system", 0),
    ] {
        let out = format!("{table}.parquet");
        let export = lab(dir.path(), &["export", table, "old", "--out", &out]);
        assert!(export.status.success(), "{table}: {}", stderr(&export));
        let found = coconut_lab::record::segments::read_segment(&dir.path().join(&out)).unwrap();
        let found: usize = found.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(found, rows, "rows of {table}");
    }
    let picture = lab(dir.path(), &["snapshot", "old", "--panel", "changes", "--out", "changes.txt"]);
    assert!(picture.status.success(), "{}", stderr(&picture));
    let text = std::fs::read_to_string(dir.path().join("changes.txt")).unwrap();
    assert!(text.contains("optim.lr") && text.contains("5e-3"), "{text}");
}

#[test]
fn an_old_run_is_resumed_with_its_changes() {
    let dir = copy_old_run();
    let run = runs(dir.path())[0].clone();
    let before = common::deterministic_columns(&run);
    let resume = lab(dir.path(), &["resume", "old", "--steps", "8", "--headless"]);
    assert!(resume.status.success(), "{}", stderr(&resume));
    assert_eq!(int_column(&metrics(&run), "step"), (0..=8).map(Some).collect::<Vec<_>>());
    let after = common::deterministic_columns(&run);
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(before[..], after[..before.len()], "{name}: recorded rows are unchanged");
    }
    assert!(!run.join("changes").exists(), "no longer written, so it must not stay behind as if it were current");
    assert!(run.join("aside/changes/part-00000.parquet").is_file(), "and is moved, not deleted");
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("lr = 0.005") && config.contains("steps = 8"), "{config}");
}

#[test]
fn rollouts_of_a_run_that_has_ended_are_shown_and_exported() {
    let dir = copy_old_run();
    let run = RunFolder::open(&runs(dir.path())[0]).unwrap();
    let (long, none) = (Duration::from_secs(9), Duration::ZERO);
    let timing = RecordTiming { sync_time: long, sync_rows: 9, part_rows: 9, part_time: long, system_time: none };
    let recorder = Recorder::start(&run, timing, String::new()).unwrap();
    for step in [2, 4, 6] {
        let row = |rollout: usize| RolloutRow {
            step,
            group: rollout / 2,
            rollout: rollout % 2,
            prompt: format!("question {} of step {step} ?", rollout / 2),
            text: format!("⟨4 10⟩ {rollout}"),
            reward: (rollout % 2) as f64,
            token_ids: vec![None, Some(3)],
            latents: 1,
            tokens: 1,
            entropies: vec![1.5, 0.5],
            ..RolloutRow::default()
        };
        recorder.record_rollouts((0..4).map(row).collect());
    }
    drop(recorder);
    for (keys, wanted) in [("o", "question 1 of step 6 ?"), ("o[[", "question 1 of step 2 ?")] {
        let picture =
            lab(dir.path(), &["snapshot", "old", "--panel", "rollouts", "--keys", keys, "--out", "rollouts.txt"]);
        assert!(picture.status.success(), "{}", stderr(&picture));
        let text = std::fs::read_to_string(dir.path().join("rollouts.txt")).unwrap();
        assert!(text.contains(wanted) && text.contains("⟨4 10⟩ 1"), "{text}");
    }
    let export = lab(dir.path(), &["export", "rollouts", "old", "--out", "rollouts.parquet", "--from-step", "4"]);
    assert!(export.status.success() && stdout(&export).starts_with("rows: 8"), "{}", stderr(&export));
    assert!(lab(dir.path(), &["check", "old"]).status.success());
}
