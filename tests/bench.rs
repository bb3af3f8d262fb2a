//! Tests `bench` of the real binary: every kind of step of a tiny model, and the arguments that it refuses.

mod common;

use common::*;
use serde_json::Value;

const KEYS: [&str; 10] =
    ["peer", "kind", "device", "dtype", "params", "median_ms", "min_ms", "max_ms", "peak_mib", "tokens_per_s"];

#[test]
fn every_kind_is_printed_as_a_line_of_json_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let output = lab(dir.path(), &[&["bench", "--threads=1"], SIZES].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["plain", "dense", "dense_through", "isolated", "joint", "sequential"]);
    for line in &lines {
        let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        assert!(line.as_object().unwrap().len() == KEYS.len() && KEYS.iter().all(|key| line.get(key).is_some()));
        assert!(line["peer"].as_str().unwrap().starts_with("coconut-lab "));
        assert_eq!((line["device"].as_str(), line["dtype"].as_str()), (Some("cpu"), Some("f32")));
        // Embeddings and head, four square matrices, three matrices of the MLP (width 64), three norms.
        assert_eq!(line["params"], 2 * 31 * 16 + 4 * 16 * 16 + 3 * 16 * 64 + 3 * 16);
        assert!(0.0 < number("min_ms") && number("min_ms") <= number("median_ms"), "{line}");
        assert!(number("median_ms") <= number("max_ms") && number("tokens_per_s") > 0.0, "{line}");
        assert!(cfg!(not(target_os = "linux")) || number("peak_mib") >= 1.0, "{line}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
}

#[test]
fn invalid_arguments_are_refused_before_measuring() {
    let dir = tempfile::tempdir().unwrap();
    for (given, expected) in [
        ("--dtype=bf16", "`--dtype` = bf16: the CPU multiplies only f32 at full speed (CPU"),
        ("--device=tpu", "`--device`: `run.device` = \"tpu\": allowed are auto, cpu"),
        ("--recycled=12", "`--recycled` = 12: at most `--time` - 1 = 11"),
        ("--kinds=plain,x", "'x' for '--kinds <KINDS>': allowed: plain, dense"),
    ] {
        // Drop the default for this argument: giving an argument twice is another error.
        let name = given.split('=').next().unwrap();
        let others = SIZES.iter().copied().filter(|arg| !arg.starts_with(name));
        let output = lab(dir.path(), &["bench"].into_iter().chain(others).chain([given]).collect::<Vec<_>>());
        assert!(!output.status.success() && output.stdout.is_empty(), "{given}");
        assert!(stderr(&output).contains(expected), "{given}: {}", stderr(&output));
    }
}
