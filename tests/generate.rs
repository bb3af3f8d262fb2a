//! Tests `generate`, `eval` and `lens` of the real binary on the golden models.

mod common;

use common::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind)
}

fn generate(kind: &str, args: &[&str]) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    let model = format!("--model={}", fixture(kind).display());
    lab(dir.path(), &[&["generate", &model, "--device=cpu"], args].concat())
}

#[test]
fn every_position_is_printed_as_a_line_of_json() {
    for kind in ["gpt2", "llama"] {
        let policy = "--policy=fixed:count=2,at=0+3,bot=7,eot=8";
        let output = generate(kind, &["--ids=5,17,3", "--ids=4", "--max-new=6", policy, "--json", "--top=3"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("12 tokens and 8 latents in "), "{}", stderr(&output));
        let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds = |row: usize| {
            let in_row = lines.iter().filter(|line| line["row"] == row);
            in_row.map(|line| line["kind"].as_str().unwrap().chars().next().unwrap()).collect::<String>()
        };
        // A marker token, two latents, a marker token, and a token (the third); then the same again.
        assert_eq!([kinds(0), kinds(1)], ["tlltttlltt"; 2]);
        for line in &lines {
            let latent = line["kind"] == "latent";
            assert_eq!(line["token"].is_null(), latent, "{line}");
            assert!(line["entropy"].as_f64().unwrap() > 0.0 && line["top"].as_array().unwrap().len() == 3);
            assert!(!latent || line["after"].is_f64(), "{line}");
        }
        assert_eq!(lines[0]["token"], 7);
    }
}

#[test]
fn thoughts_are_printed_as_entropies_and_a_seed_repeats_the_output() {
    let args = ["--ids=5,17,3", "--max-new=4", "--policy=fixed:count=2", "--temperature=1", "--seed=3"];
    let (once, again) = (generate("llama", &args), generate("llama", &args));
    let text = stdout(&once);
    assert_eq!(text, stdout(&again));
    assert!(text.starts_with('⟨') && text.matches('→').count() == 2 && text.contains('⟩'), "{text}");
    let other = generate("llama", &[&args[..4], &["--seed=4"]].concat());
    assert_ne!(text, stdout(&other));
}

#[test]
fn invalid_generation_requests_are_reported() {
    for (args, expected) in [
        (&["--ids=5,x"][..], "\"x\" is no token id"),
        (&["--ids=5,97"], "token 97 of the prompt is not in the model's vocabulary; allowed: ids 0 to 96"),
        (&["--prompt=a"], "has no tokenizer.json"),
        (&["--ids=5", "--policy=dream"], "unknown policy \"dream\"; allowed: never, fixed, entropy, trend"),
        (&["--ids=5", "--top-p=2"], "top-p = 2 is out of range; allowed: 0 to 1"),
        (&["--ids=5", "--max-new=0"], "--max-new 0"),
    ] {
        let output = generate("gpt2", args);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    let dir = tempfile::tempdir().unwrap();
    let output = lab(dir.path(), &["generate", "--ids=1"]);
    assert!(stderr(&output).contains("no run `last`"), "{}", stderr(&output));
}

/// Writes questions and a tokenizer for the golden models, whose vocabulary has ids up to 96. Returns both paths.
fn write_questions(dir: &Path) -> [String; 2] {
    let words = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "unk_token": "?",
            "vocab": { "?": 0, "is": 1, "it": 2, "so": 3, "not": 4, "now": 5 } },
    });
    std::fs::write(dir.join("words.json"), words.to_string()).unwrap();
    let line = |question: &str, answer: &str| {
        serde_json::json!({ "question": question, "answer": answer, "steps": [] }).to_string()
    };
    let lines = [line("is it so", "it is"), line("is it not so now", "not"), line("now it is so", "so")];
    std::fs::write(dir.join("q.jsonl"), lines.join("\n")).unwrap();
    ["q.jsonl", "words.json"].map(|name| dir.join(name).display().to_string())
}

#[test]
fn questions_are_answered_under_every_policy() {
    let dir = tempfile::tempdir().unwrap();
    let [file, words] = write_questions(dir.path());
    let model = fixture("llama").display().to_string();
    let args = ["eval", &model, "--device=cpu", "--questions", &file, "--tokenizer", &words];
    let output = lab(dir.path(), &[&args[..], &["--max-new=5", "--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((report["policies"][0]["questions"].as_u64(), report["shards"].is_null()), (Some(3), true));
    let policies = ["--policy=never", "--policy=fixed:count=3"];
    let output = lab(dir.path(), &[&args[..], &policies].concat());
    let table = stdout(&output);
    assert!(table.contains("3 questions") && table.contains("3.00    100.0 %  fixed:count=3,at=0"), "{table}");
}

#[test]
fn lens_decodes_the_latents_of_every_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let [file, words] = write_questions(dir.path());
    let model = format!("--model={}", fixture("gpt2").display());
    let args = ["lens", &model, "--device=cpu", "--questions", &file, "--tokenizer", &words, "--policy=fixed:count=2"];
    let output = lab(dir.path(), &[&args[..], &["--out=lens.parquet"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("3 of 3 prompts") && text.contains("of 3 thoughts"), "{text}");
    // Two latents for each of three prompts, and as many for the control.
    assert!(text.contains("rows: 12, written to lens.parquet"), "{text}");
    assert!(dir.path().join("lens.parquet").is_file());
}
