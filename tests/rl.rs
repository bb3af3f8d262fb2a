//! Tests reinforcement learning: its mathematics against independent golden numbers, and as a run of the real binary.

mod common;

use coconut_lab::verify::{CheckResult, verify_grpo};
use common::*;
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/grpo")
}

#[test]
fn advantages_losses_gradients_and_metrics_match_the_oracle() {
    let verdicts = verify_grpo(&fixture()).unwrap();
    for verdict in &verdicts {
        assert!(!verdict.failed(), "{} {:?}", verdict.entry, verdict.result);
        assert_ne!(verdict.result, CheckResult::NotComputed, "{}", verdict.entry);
    }
    // Losses, metrics, and the tensors of golden.safetensors.
    assert_eq!(verdicts.len(), 29 + 510 + 130);
}

#[test]
fn a_changed_golden_number_fails() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["golden.safetensors", "rollouts.safetensors"] {
        std::fs::copy(fixture().join(file), dir.path().join(file)).unwrap();
    }
    let cases = std::fs::read_to_string(fixture().join("cases.json")).unwrap();
    let changed = cases.replacen("\"reward\": 0.53", "\"reward\": 0.54", 1);
    std::fs::write(dir.path().join("cases.json"), changed).unwrap();
    let verdicts = verify_grpo(dir.path()).unwrap();
    let failed: Vec<_> = verdicts.iter().filter(|verdict| verdict.failed()).collect();
    assert_eq!(failed.iter().map(|verdict| verdict.entry.as_str()).collect::<Vec<_>>(), ["grpo.metrics.reward"]);
    let output = lab(dir.path(), &["verify", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("668 held, 1 failed, 0 not computed"), "{}", stdout(&output));
}

/// Recipe of a run whose rollouts differ in their numbers of latents, with several updates an iteration.
const RECIPE: &str = r#"
[run]
name = "rl"
steps = 7
[data]
dir = "graph"
batch = 6
seq_len = 64
[model]
width = 16
layers = 2
heads = 2
init_std = 0.2
[optim]
lr = 1e-2
warmup = 0
decay = "constant"
[recycle]
every = 0
[objective]
kind = "rl"
separator = " "
[rl]
policy = "entropy:start=2.45,stop=2.4,least=1,most=2"
switch = "learned"
prompts = 2
num_generations = 4
num_iterations = 3
max_completion_length = 5
beta = 0.1
dropout = 0.1
latent_noise = 0.1
price_latent = 0.2
[eval]
every = 3
batches = 2
[record]
rollouts_every = 1
"#;

fn rl_dir() -> tempfile::TempDir {
    let dir = temp_dir_with_recipe(RECIPE);
    let data = ["data", "graph", "--out", "graph", "--train", "20", "--valid", "12", "--test", "1", "--hops", "2"];
    let made = lab(dir.path(), &[&data[..], &["--nodes", "6", "--names", "6"]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    dir
}

fn value(run: &Path, name: &str, row: usize) -> Option<f64> {
    float_column(&metrics(run), name)[row]
}

#[test]
fn a_run_resumed_within_an_iteration_equals_the_undisturbed_one() {
    let dir = rl_dir();
    // Step 5 is the second update from its rollouts.
    for settings in [&[][..], &["run.steps=5", "run.name=part"]] {
        let output = train(dir.path(), settings);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let run_named = |name: &str| {
        let is_named = |run: &PathBuf| run.to_string_lossy().ends_with(&format!("-{name}"));
        runs(dir.path()).into_iter().find(is_named).unwrap()
    };
    let (whole, part) = (&run_named("rl"), &run_named("part"));
    let checkpoint = part.join("step-000005");
    assert!(checkpoint.join("rollouts.json").is_file() && checkpoint.join("reference.safetensors").is_file());
    let resumed = lab(dir.path(), &["resume", "part", "--headless", "--steps", "7"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    // The validation at the end of the part has no counterpart.
    let columns = |run: &Path| {
        let columns = deterministic_columns(run).into_iter();
        let is_kept = |name: &str| !name.starts_with("valid_") && name != "config_version" && !name.ends_with("_per_s");
        columns.filter(|(name, _)| is_kept(name)).collect::<Vec<_>>()
    };
    for (one, other) in columns(whole).iter().zip(columns(part)) {
        assert_eq!(*one, other);
    }
    // The policy of the rollouts at the first update of an iteration alone.
    for (row, is_first) in [(1, true), (2, false), (4, true), (5, false)] {
        assert_eq!(value(whole, "sampling/sampling_logp_difference/max", row).is_some(), is_first, "row {row}");
        assert_eq!(value(whole, "rollout_ms", row).is_some(), is_first, "row {row}");
    }
    assert!(value(whole, "sampling/sampling_logp_difference/max", 1).unwrap() < 1e-5);
    assert!(value(whole, "kl", 3).unwrap() > 0.0 && value(whole, "switch/rate", 1).unwrap() > 0.0);
    assert!(value(whole, "valid_accuracy", 0).is_some());
}

#[test]
fn settings_that_make_no_sense_are_refused_with_the_key() {
    let dir = rl_dir();
    for (settings, wanted) in [
        (&["rl.policy=entropy:start=1,stop=0.5,at=own"][..], "rl.policy"),
        (&["rl.policy=sometimes"], "rl.policy"),
        (&["optim.accumulate=2"], "optim.accumulate"),
        (&["dropout.residual=0.1"], "rl.dropout"),
        (&["rl.reward_exact=0", "rl.price_latent=0"], "there is no reward"),
        (&["rl.num_generations=1"], "rl.num_generations"),
        (&["checkpoint.best=loss"], "checkpoint.best"),
        (&["recycle.feedback=gated"], "recycle.feedback"),
    ] {
        let output = train(dir.path(), settings);
        assert!(!output.status.success(), "{settings:?}");
        assert!(stderr(&output).contains(wanted), "{settings:?}: {}", stderr(&output));
    }
    assert!(runs(dir.path()).is_empty(), "nothing was begun");
}

#[test]
fn questions_without_an_answer_are_counted_and_none_at_all_are_refused() {
    let dir = temp_dir_with_recipe(RECIPE);
    let lines = |answers: [&str; 3]| {
        let line =
            |answer: &str| format!("{{\"question\": \"1 2 ?\", \"steps\": [\"2\"], \"answer\": \"{answer}\"}}\n");
        answers.map(line).concat()
    };
    std::fs::write(dir.path().join("some.jsonl"), lines(["2", "", "3"])).unwrap();
    std::fs::write(dir.path().join("none.jsonl"), lines(["", "", ""])).unwrap();
    for (file, wanted) in [("some", "1 empty document skipped"), ("none", "no question with an answer")] {
        let questions = format!("{file}.jsonl");
        let made = lab(dir.path(), &["data", "questions", "--train", &questions, "--out", file, "--tokenizer", "byte"]);
        assert!((stderr(&made) + &stdout(&made)).contains(wanted), "{file}: {}", stderr(&made));
        assert_eq!(made.status.success(), file == "some");
    }
    let output = train(dir.path(), &["data.dir=some", "run.steps=1", "rl.num_iterations=1"]);
    assert!(output.status.success(), "{}", stderr(&output));
}
