//! Tests the curriculum: against independent golden numbers, and as a run of the real binary.

mod common;

use burn::tensor::Device;
use coconut_lab::generate::{Generation, GenerationRequest};
use coconut_lab::model::hf;
use coconut_lab::verify::{CheckResult, verify_curriculum};
use common::*;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/curriculum")
}

#[test]
fn rows_losses_latents_gradients_and_continuations_match_the_oracle() {
    let verdicts = verify_curriculum(&fixture(), &Device::flex()).unwrap();
    for verdict in &verdicts {
        assert!(!verdict.failed(), "{} {:?}", verdict.entry, verdict.result);
        assert_ne!(verdict.result, CheckResult::NotComputed, "{}", verdict.entry);
    }
    assert_eq!(verdicts.len(), 527);
}

#[test]
fn a_changed_golden_number_or_row_fails() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture().join("records.json"), dir.path().join("records.json")).unwrap();
    let cases = std::fs::read_to_string(fixture().join("cases.json")).unwrap();
    std::fs::write(dir.path().join("cases.json"), cases.replacen("\"ids\":[5,28", "\"ids\":[5,29", 1)).unwrap();
    let failed: Vec<_> = verify_curriculum(dir.path(), &Device::flex()).unwrap();
    let failed: Vec<_> = failed.iter().filter(|verdict| verdict.failed()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].entry, "coconut-s0-c1-nopad.rows");
}

/// The way that `generate` and `eval` answer: a policy puts the latents and the markers behind the question.
#[test]
fn a_fixed_policy_continues_as_the_oracle_does() {
    let records: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(fixture().join("records.json")).unwrap()).unwrap();
    let (bot, eot) = (&records["special"]["bot"], &records["special"]["eot"]);
    for kind in ["gpt2", "llama"] {
        let model = hf::load(&fixture().join(kind), &Device::flex()).unwrap();
        let bytes = std::fs::read(fixture().join(kind).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let wanted: Vec<u32> = golden
            .tensor("coconut-s2-c1-pad.generated")
            .unwrap()
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|id| i64::from_le_bytes(*id) as u32)
            .collect();
        for (record, wanted) in records["records"].as_array().unwrap().iter().zip(wanted.chunks(6)) {
            let question =
                record["question"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            let policy = format!("fixed:count=2,at=0,bot={bot},eot={eot}");
            // The two markers count as tokens.
            let mut generation =
                Generation::start(&model, GenerationRequest::new(vec![question], policy.parse().unwrap(), 8)).unwrap();
            let mut tokens = Vec::new();
            while !generation.is_finished() {
                tokens.extend(generation.step().unwrap().into_iter().filter_map(|step| step.token));
            }
            assert_eq!(&tokens[2..], wanted, "{kind}");
        }
    }
}

const RECIPE: &str = r#"
[run]
name = "tiny"
steps = 24
[data]
dir = "graph"
batch = 4
seq_len = 80
[model]
width = 16
layers = 1
heads = 2
[recycle]
every = 0
[objective]
kind = "curriculum"
separator = " "
max_latent_stage = 2
steps_per_stage = 7
uniform_prob = 0.3
reset_optimizer = "stage"
[optim]
accumulate = 2
[eval]
every = 8
batches = 1
[checkpoint]
every = 5
keep = 0
"#;

fn graph_folder(hops: &str) -> tempfile::TempDir {
    let dir = temp_dir_with_recipe(RECIPE);
    let sizes = ["--train", "60", "--valid", "12", "--test", "10", "--hops", hops];
    let made = lab(dir.path(), &[&["data", "graph", "--out", "graph"], &sizes[..]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    dir
}

#[test]
fn every_method_trains_and_validates() {
    let dir = graph_folder("3");
    for method in
        ["coconut", "cot", "no_cot", "pause", "pause_multipass", "no_thought", "no_curriculum", "icot", "frontier"]
    {
        let output = train(dir.path(), &[&format!("objective.method={method}"), &format!("run.name={method}")]);
        assert!(output.status.success(), "{method}: {}", stderr(&output));
        let run =
            runs(dir.path()).into_iter().find(|run| run.to_str().unwrap().ends_with(&format!("-{method}"))).unwrap();
        let rows = metrics(&run);
        let losses: Vec<f64> = float_column(&rows, "loss_questions_nats").into_iter().flatten().collect();
        assert_eq!(losses.len(), 24, "{method}");
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&losses[18..]) < mean(&losses[..4]), "{method}: {losses:?}");
        let stages: Vec<i64> = int_column(&rows, "stage").into_iter().flatten().collect();
        let wanted = match method {
            "cot" => [0; 4],
            "no_cot" | "no_curriculum" => [3; 4],
            _ => [0, 1, 2, 3],
        };
        assert_eq!([stages[0], stages[7], stages[14], stages[21]], wanted, "{method}");
        let accuracies: Vec<f64> = float_column(&rows, "valid_accuracy").into_iter().flatten().collect();
        assert_eq!(accuracies.len(), 4, "{method}");
    }
}

#[test]
fn a_run_that_is_resumed_within_a_stage_equals_the_whole_run() {
    let dir = graph_folder("3");
    let more = ["dropout.embedding=0.1", "dropout.attention=0.2", "dropout.residual=0.1", "checkpoint.best=accuracy"];
    let output = train(dir.path(), &[&["run.name=whole"], &more[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = runs(dir.path()).remove(0);
    // From the checkpoint of step 10, within stage 1 and the second epoch.
    let fork = dir.path().join("again");
    std::process::Command::new("cp").args(["-r", whole.to_str().unwrap(), fork.to_str().unwrap()]).status().unwrap();
    let resumed = lab(dir.path(), &["resume", "./again", "--from", "10", "--headless"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(deterministic_columns(&whole), deterministic_columns(&fork));
    let best = |run: &Path| std::fs::read_to_string(run.join("step-000024/state.json")).unwrap();
    let [whole, fork] = [&whole, &fork].map(|run| serde_json::from_str::<serde_json::Value>(&best(run)).unwrap());
    assert_eq!(whole["best"], fork["best"]);
    assert_eq!(whole["best"]["metric"], "valid_accuracy");
}

/// The best validation has a checkpoint, which outlives newer ones and is found as RUN@best.
#[test]
fn the_best_checkpoint_is_kept() {
    let dir = graph_folder("3");
    // Without learning all validations are equal, and the first one is the best.
    let overrides = ["checkpoint.best=loss", "checkpoint.keep=1", "optim.lr=0", "optim.min_lr=0", "eval.every=4"];
    let output = train(dir.path(), &[&["objective.method=cot"], &overrides[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let (run, best) = (runs(dir.path()).remove(0), 4);
    assert!(run.join(format!("step-{best:06}")).is_dir() && run.join("step-000024").is_dir());
    let summary = stdout(&output);
    assert!(summary.contains(&format!("step {best}, valid_loss_questions_nats")), "{summary}");
    let found = lab(dir.path(), &["eval", "tiny@best", "--split", "valid", "--max-new", "12"]);
    let named = format!("{}{}", stdout(&found), stderr(&found));
    assert!(named.contains(&format!("step-{best:06}")), "{named}");
    let refused = train(dir.path(), &["checkpoint.best=test_accuracy"]);
    assert!(stderr(&refused).contains("expected one of `none`, `accuracy`, `loss`"), "{}", stderr(&refused));
    let refused = train(dir.path(), &["checkpoint.best=accuracy", "objective.kind=pretraining"]);
    assert!(stderr(&refused).contains("pre-training answers no questions"), "{}", stderr(&refused));
}

/// Gradients of several batches are weighted by their targets: the update is that of one large batch.
#[test]
fn accumulated_batches_equal_a_large_one() {
    let dir = graph_folder("3");
    for (name, batch, accumulate) in [("large", 8, 1), ("parts", 2, 4)] {
        // Rows of several stages have different numbers of targets.
        let overrides = [
            format!("run.name={name}"),
            format!("data.batch={batch}"),
            format!("optim.accumulate={accumulate}"),
            "objective.first_stage=2".to_owned(),
            "objective.uniform_prob=0.7".to_owned(),
        ];
        let output = train(dir.path(), &overrides.each_ref().map(String::as_str));
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let folders = runs(dir.path());
    let norms = folders.iter().map(|run| float_column(&metrics(run), "grad_norm"));
    let [large, parts] = norms.map(|norms| norms[1].unwrap()).collect::<Vec<_>>()[..] else { panic!() };
    assert!((large - parts).abs() < 1e-5 * large, "{large} {parts}");
}

/// The markers are the ids after the vocabulary of the data, also if the model has more tokens; `eval` answers as the
/// validation of the run does.
#[test]
fn eval_answers_as_the_last_validation_did() {
    let dir = graph_folder("1-3");
    for method in ["coconut", "frontier", "pause", "cot"] {
        let method_key = format!("objective.method={method}");
        let name = format!("run.name={method}");
        let overrides = [method_key.as_str(), name.as_str(), "model.vocab_size=40", "eval.batches=3", "run.steps=60"];
        let output = train(dir.path(), &overrides);
        assert!(output.status.success(), "{method}: {}", stderr(&output));
        let run =
            runs(dir.path()).into_iter().find(|run| run.to_str().unwrap().ends_with(&format!("-{method}"))).unwrap();
        let last = float_column(&metrics(&run), "valid_accuracy").into_iter().flatten().last().unwrap();
        let found = lab(dir.path(), &["eval", run.to_str().unwrap(), "--split", "valid", "--max-new", "12", "--json"]);
        assert!(found.status.success(), "{}", stderr(&found));
        let found: serde_json::Value = serde_json::from_str(&stdout(&found)).unwrap();
        let accuracy = found["policies"][0]["accuracy"]["mean"].as_f64().unwrap();
        assert!((accuracy - last).abs() < 1e-9, "{method}: {accuracy} and {last}");
        let tokenizer = std::fs::read_to_string(run.join("step-000060/tokenizer.json")).unwrap();
        assert!(tokenizer.contains("<|start-latent|>"), "{method}");
    }
    let tests = lab(dir.path(), &["eval", "coconut", "--thought-tests", "--out", "t.csv"]);
    assert!(tests.status.success(), "{}", stderr(&tests));
    let table = std::fs::read_to_string(dir.path().join("t.csv")).unwrap();
    // Two latents were trained: four replacements, each latent alone, as many as steps, and 0, 1, 3, 4 latents.
    assert_eq!(table.lines().count(), 1 + 1 + 4 + 2 + 1 + 4, "{table}");
    let refused = lab(dir.path(), &["eval", "cot", "--thought-tests"]);
    assert!(stderr(&refused).contains("no policy has a fixed number of latents"), "{}", stderr(&refused));
}

/// The thought tests begin with the answers of the table, also if questions have different numbers of latents.
#[test]
fn an_unchanged_thought_answers_as_the_table_says() {
    let dir = graph_folder("1-3");
    for (name, overrides) in [
        ("coconut", &["objective.pad_latent_to_max=false", "objective.c_thought=2"][..]),
        ("frontier", &["objective.method=frontier"]),
    ] {
        let run_name = format!("run.name={name}");
        let more = ["optim.lr=1e-2", "run.steps=200", "eval.at_start=false"];
        let output = train(dir.path(), &[&[run_name.as_str()], overrides, &more[..]].concat());
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let sets = ["--questions", "graph", "--questions", "graph/valid-00000.parquet"];
        let options = ["--thought-tests", "--json", "--max-new", "12"];
        let found = lab(dir.path(), &[&["eval", name, "--split", "train"], &sets[..], &options[..]].concat());
        assert!(found.status.success(), "{name}: {}", stderr(&found));
        let found: serde_json::Value = serde_json::from_str(&stdout(&found)).unwrap();
        for (set, questions) in found["sets"].as_array().unwrap().iter().zip([60, 12]) {
            let unchanged = &set["thought_tests"][0];
            assert_eq!((&unchanged["test"], unchanged["count"].as_u64()), (&"unchanged".into(), Some(questions)));
            assert_eq!(unchanged["accuracy"], set["policies"][0]["accuracy"]["mean"], "{name}");
            assert_eq!(unchanged["latents"], set["policies"][0]["latents"]["mean"], "{name}");
            let by_steps = set["policies"][0]["by_steps"].as_array().unwrap();
            assert_eq!(by_steps.iter().map(|part| part["questions"].as_u64().unwrap()).sum::<u64>(), questions);
        }
        let answered = found["sets"][0]["policies"][0]["accuracy"]["mean"].as_f64().unwrap();
        assert!(answered > 0.0, "{name}: a model that answers nothing shows nothing");
    }
}
