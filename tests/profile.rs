//! Tests `profile` of the real binary: its tables and its trace, for given sizes and for a recipe.

mod common;

use common::*;
use serde_json::Value;

/// Returns the numbers of the first line that begins with `words`.
fn numbers_in_line(text: &str, words: &str) -> Vec<f64> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(&format!("{words} ")));
    let line = line.unwrap_or_else(|| panic!("no {words} in\n{text}"));
    line.split_whitespace().filter_map(|word| word.trim_end_matches('%').parse().ok()).collect()
}

#[test]
fn tables_list_every_part_and_operation_and_the_trace_nests_them() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&["profile", "--threads=2"], SIZES, &["--kinds=isolated,sequential", "--trace=steps.json"]].concat();
    let output = lab(dir.path(), &args);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in ["plain", "recycled", "heads", "update", "linear forward", "linear backward"] {
        assert!(numbers_in_line(&text, part).iter().any(|number| *number > 0.0), "{part}:\n{text}");
    }
    for name in ["norm", "rotary", "attention", "swiglu"] {
        numbers_in_line(&text, &format!("{name} forward"));
        numbers_in_line(&text, &format!("{name} backward"));
    }
    for name in ["score", "adamw", "square_sum", "sum", "readback", "other"] {
        numbers_in_line(&text, name);
    }
    assert!(numbers_in_line(&text, "allocations per step:")[0] > 0.0, "{text}");
    assert_eq!(text.matches("readbacks per step:   1, ").count(), 2, "{text}");

    let trace = std::fs::read_to_string(dir.path().join("steps.json")).unwrap();
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let events: Vec<&Value> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect();
    let events_named = |pid: u64, name: &str| -> Vec<&Value> {
        events.iter().copied().filter(|event| event["pid"] == pid && event["name"] == name).collect()
    };
    for name in ["step", "plain", "recycled", "plain head", "recycled head", "update", "score", "adamw"] {
        assert!(!events_named(1, name).is_empty(), "{name}");
    }
    assert_eq!((events_named(1, "step").len(), events_named(2, "step").len()), (2, 2));
    let span = |event: &Value| {
        let [from, long] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
        (from, from + long)
    };
    let within = |event: &Value, outer: &[&Value]| {
        let (from, to) = span(event);
        outer.iter().map(|outer| span(outer)).any(|(a, b)| a <= from + 1e-3 && to <= b + 1e-3)
    };
    let steps = events_named(1, "step");
    assert!(events.iter().filter(|event| event["pid"] == 1).all(|event| within(event, &steps)));
    assert!(events_named(1, "score").iter().any(|event| within(event, &events_named(1, "recycled head"))));
    assert!(events_named(1, "linear backward").iter().all(|event| within(event, &events_named(1, "passes"))));
}

#[test]
fn a_recipe_is_profiled_with_its_data_and_schedule() {
    let dir = temp_dir_with_recipe(TINY);
    let output = lab(dir.path(), &["profile", "--config=tiny.toml", "--steps=2", "--set=data.batch=1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("tiny: ") && text.contains("the mean of 2 (1 recycled)"), "{text}");
    assert!(!dir.path().join("checkpoints").exists(), "no run folder is created");
}

#[test]
fn invalid_arguments_are_refused_before_measuring() {
    let dir = tempfile::tempdir().unwrap();
    for (given, expected) in [
        (&["--trace=nowhere/steps.json"][..], "`--trace`: cannot create nowhere/steps.json"),
        (&["--config=tiny.toml"], "cannot be used with '--config <FILE>'"),
        (&["--device=tpu"], "`--device`: `run.device` = \"tpu\": allowed are auto, cpu"),
    ] {
        let output = lab(dir.path(), &[&["profile"], SIZES, given].concat());
        assert!(!output.status.success() && output.stdout.is_empty(), "{given:?}");
        assert!(stderr(&output).contains(expected), "{given:?}: {}", stderr(&output));
    }
}
