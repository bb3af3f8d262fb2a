//! Tests the real binary on tiny headless runs: its output, its files, its errors.

mod common;

use arrow::array::RecordBatch;
use burn::tensor::Device;
use coconut_lab::model::hf;
use coconut_lab::record::rows;
use coconut_lab::schema::token_rows::{TOP_TOKENS, TokenCell, TokenProb};
use common::*;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_run_makes_its_data_trains_and_writes_a_run_folder() {
    let dir = temp_dir_with_recipe(TINY);
    let output = train(dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for expected in ["making ProsQA", "device: CPU", "validation at step 0", "finished after 6 steps", "checkpoint"] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let run = &runs(dir.path())[0];
    assert!(run.to_string_lossy().ends_with("-tiny"));
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(coconut_lab::config::from_text(&config, "as run", &[]).unwrap().data.seq_len, 48);
    let log = std::fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains("finished after 6 steps") && log.contains("device: CPU"), "{log}");
    let model = hf::load(&run.join("step-000006"), &Device::flex()).unwrap();
    assert_eq!(model.shape().width, 16);
    assert!(run.join("step-000006/tokenizer.json").is_file());

    let table = metrics(run);
    assert_eq!(int_column(&table, "step"), (0..=6).map(Some).collect::<Vec<_>>());
    assert_eq!(int_column(&table, "tokens")[6], Some(6 * 2 * 48));
    let recycled: Vec<bool> = float_column(&table, "loss_recycled_nats").iter().map(Option::is_some).collect();
    assert_eq!(recycled, [false, false, true, false, true, false, true]);
    let valid: Vec<bool> = float_column(&table, "valid_loss_plain_nats").iter().map(Option::is_some).collect();
    assert_eq!(valid, [true, false, false, true, false, false, true]);
    let plain = float_column(&table, "loss_plain_nats");
    assert!(plain[6].unwrap() < plain[1].unwrap() - 0.1, "{plain:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_bit_for_bit() {
    let dir = temp_dir_with_recipe(TINY);
    for overrides in [&["recycle.placement=entropy_at"][..], &["recycle.placement=entropy_at"], &["run.seed=1"]] {
        let output = train(dir.path(), overrides);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let tables: Vec<_> = runs(dir.path()).iter().map(|run| metrics(run)).collect();
    let same = |name: &str, a: usize, b: usize| {
        let columns = |run: usize| tables[run].iter().map(|batch| batch.column_by_name(name).unwrap().to_data());
        columns(a).eq(columns(b))
    };
    for field in tables[0][0].schema().fields() {
        if !is_time_dependent(field.name()) {
            assert!(same(field.name(), 0, 1), "{} differs", field.name());
        }
    }
    assert!(!same("loss_plain_nats", 0, 2));
    let weights = |run: &PathBuf| std::fs::read(run.join("step-000006/model.safetensors")).unwrap();
    let runs = runs(dir.path());
    assert!(weights(&runs[0]) == weights(&runs[1]) && weights(&runs[0]) != weights(&runs[2]));
}

/// Whether probabilities agree except in the last digits, which depend on a row's position in a block. Equally likely
/// ids may be swapped.
fn nearly_equal(a: &[TokenProb], b: &[TokenProb]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.prob - b.prob).abs() < 1e-5)
}

#[test]
fn token_rows_thoughts_and_samples_are_recorded() {
    let dir = temp_dir_with_recipe(TINY);
    let output = train(dir.path(), &["record.token_every=2", "eval.samples=2", "eval.sample_tokens=5"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = &runs(dir.path())[0];
    let tokens = table(run, "tokens");
    // The first step and every second one.
    let histograms: Vec<_> = tokens.iter().flat_map(|batch| rows::entropy_histograms(batch, 100)).collect();
    assert_eq!(histograms.iter().map(|histogram| histogram.step).collect::<Vec<_>>(), [1, 2, 4, 6]);
    let row = rows::last_token_row(tokens.last().unwrap(), 100, |id| id.to_string()).unwrap();
    assert!(row.step == 6 && row.cells.iter().all(|cell| cell.top_plain.len() == TOP_TOKENS));
    let top_prob_sum = |cell: &TokenCell| cell.top_recycled.iter().map(|token| token.prob).sum::<f32>();
    assert!(row.cells.iter().all(|cell| (0.0..1.0001).contains(&top_prob_sum(cell))));
    let thoughts: Vec<_> = table(run, "thoughts").iter().flat_map(|batch| rows::thoughts_at(batch, 6)).collect();
    let recycled = (0..row.cells.len()).filter(|t| row.cells[*t].recycled);
    assert_eq!(thoughts.iter().map(|thought| thought.position).collect::<Vec<_>>(), recycled.collect::<Vec<_>>());
    for thought in &thoughts {
        assert_eq!((thought.fed_by_pass.len(), thought.output_by_pass.len()), (4, 4), "the plain pass and three");
        assert!(nearly_equal(&thought.fed_by_pass[0].top, &row.cells[thought.position - 1].top_plain));
        assert!(nearly_equal(&thought.output_by_pass[1].top, &row.cells[thought.position].top_recycled));
    }
    let samples: Vec<_> = table(run, "events").iter().flat_map(rows::samples).collect();
    assert_eq!(samples.iter().map(|sample| sample.step).collect::<Vec<_>>(), [0, 0, 3, 3, 6, 6]);
    assert!(samples.iter().all(|sample| !sample.prompt.is_empty() && !sample.text.is_empty()));
    let shares = float_column(&metrics(run), "share_of_peak");
    assert!(shares[1..].iter().all(|share| share.is_some_and(|share| share > 0.0)), "{shares:?}");
    // Leave out the thoughts of step 2.
    let thought_steps = int_column(&table(run, "thoughts"), "step");
    let selected = thought_steps.iter().filter(|step| **step >= Some(4)).count();
    assert!(thought_steps.contains(&Some(2)) && 0 < selected, "{thought_steps:?}");
    let export = lab(dir.path(), &["export", "thoughts", "last", "--out", "t.parquet", "--from-step", "4"]);
    assert!(export.status.success(), "{}", stderr(&export));
    assert_eq!(stdout(&export), format!("rows: {selected}, runs: 1, written to t.parquet\n"));
}

#[test]
fn layers_are_recorded_at_the_first_step_and_every_nth() {
    let dir = temp_dir_with_recipe(TINY);
    let output = train(dir.path(), &["probe.layers_every=3", "recycle.every=2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = &runs(dir.path())[0];
    let rows: Vec<_> = table(run, "layers").iter().flat_map(rows::read_layer_rows).collect();
    let steps: Vec<&[_]> = rows.chunk_by(|a, b| a.step == b.step).collect();
    assert_eq!(steps.iter().map(|step| step[0].step).collect::<Vec<_>>(), [1, 3, 6]);
    let norms = float_column(&metrics(run), "grad_norm");
    for step in steps {
        let names: Vec<&str> = step.iter().map(|row| row.layer.as_str()).collect();
        assert_eq!((names[0], names[1], names[names.len() - 1]), ("embedding", "block 0 attention", "feedback"));
        assert!(step.iter().enumerate().all(|(index, row)| row.layer_index == index as u64));
        let norm = step.iter().filter_map(|row| row.grad_norm).map(|norm| norm * norm).sum::<f64>().sqrt();
        let recorded = norms[step[0].step as usize].unwrap();
        assert!((norm / recorded - 1.0).abs() < 1e-5, "{norm} of {recorded}");
    }
    let export = lab(dir.path(), &["export", "layers", "last", "--out", "l.parquet", "--from-step", "3"]);
    let count = rows.iter().filter(|row| row.step >= 3).count();
    assert_eq!(stdout(&export), format!("rows: {count}, runs: 1, written to l.parquet\n"), "{}", stderr(&export));
    let picture = lab(dir.path(), &["snapshot", "last", "--panel", "layers", "--out", "l.txt"]);
    assert!(picture.status.success(), "{}", stderr(&picture));
    let text = std::fs::read_to_string(dir.path().join("l.txt")).unwrap();
    assert!(text.contains("step 6") && text.contains("block 0 mlp") && text.contains("1e-4"), "{text}");
}

#[test]
fn every_kind_of_recycling_trains() {
    let dir = temp_dir_with_recipe(TINY);
    for overrides in [
        &["recycle.reach=isolated", "recycle.placement=span", "recycle.span=3"][..],
        &["recycle.reach=isolated", "recycle.passes=2", "recycle.flow=through"],
        &["recycle.reach=joint", "recycle.placement=entropy_next", "recycle.share=count", "recycle.count=5"],
        &["recycle.placement=entropy_at", "recycle.share=relative_threshold", "recycle.threshold=0.2"],
        &["recycle.passes=[[1, 0.5], [3, 0.5]]", "recycle.flow=through", "recycle.cut=1"],
        &["recycle.passes=2", "recycle.pass_weights=[0.5, 1.0]", "recycle.loss_on=all"],
        &["recycle.reach=joint", "model.arch=gpt2", "model.kv_heads=0", "optim.accumulate=2"],
    ] {
        let output = train(dir.path(), &[overrides, &["recycle.every=1"]].concat());
        assert!(output.status.success(), "{overrides:?}: {}", stderr(&output));
    }
    for run in runs(dir.path()) {
        let table = metrics(&run);
        let recycled = float_column(&table, "loss_recycled_at_recycled_nats");
        assert!(recycled[1..].iter().all(|loss| loss.is_some_and(f64::is_finite)), "{run:?} {recycled:?}");
        assert!(float_column(&table, "valid_loss_recycled_nats").iter().flatten().count() == 3, "{run:?}");
    }
}

#[test]
fn accumulated_batches_equal_one_larger_batch() {
    let dir = temp_dir_with_recipe(TINY);
    for overrides in [["data.batch=4", "optim.accumulate=1"], ["data.batch=2", "optim.accumulate=2"]] {
        // Recycled positions are drawn for each batch, so only the plain pass is the same.
        let overrides = [&overrides[..], &["recycle.every=0", "eval.at_start=false", "data.shuffle=false"]].concat();
        assert!(train(dir.path(), &overrides).status.success());
    }
    let losses: Vec<_> = runs(dir.path()).iter().map(|run| float_column(&metrics(run), "loss_plain_nats")).collect();
    for (a, b) in losses[0].iter().zip(&losses[1]) {
        assert!((a.unwrap() - b.unwrap()).abs() < 1e-4, "{losses:?}");
    }
}

#[test]
fn a_nan_loss_stops_before_the_update() {
    let dir = temp_dir_with_recipe(TINY);
    assert!(train(dir.path(), &["run.steps=1"]).status.success());
    let weights = runs(dir.path())[0].join("step-000001/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, &bytes).unwrap();
    let from = format!("model.from={}", weights.parent().unwrap().display());
    let output = train(dir.path(), &[&from, "run.name=damaged"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("numbers that are not finite"), "{}", stderr(&output));
    // Weights that are finite but far too large.
    bytes[end - 64..].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&3e38_f32.to_le_bytes()));
    std::fs::write(&weights, bytes).unwrap();
    let output = train(dir.path(), &[&from, "run.name=broken"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("step 1: the ") && message.contains("stopped before the update"), "{message}");
    let run = runs(dir.path()).into_iter().find(|run| run.to_string_lossy().ends_with("-broken")).unwrap();
    assert!(std::fs::read_to_string(run.join("log.txt")).unwrap().contains("stopped before the update"));
    // The row of the failed step is recorded, and no checkpoint was saved.
    assert_eq!(int_column(&metrics(&run), "step"), [Some(0), Some(1)]);
    assert!(!float_column(&metrics(&run), "loss_plain_nats")[1].unwrap().is_finite());
    assert!(!run.join("step-000001").exists());
}

#[test]
fn invalid_settings_are_reported_in_one_line() {
    let dir = temp_dir_with_recipe(TINY);
    for (overrides, expected) in [
        (&["recycle.evry=2"][..], "unknown key `recycle.evry`; the nearest known one is `recycle.every`"),
        (&["data.dir=nowhere"], "--set data.dir=nowhere: no such folder"),
        (&["data.make=none", "data.dir=nowhere"], "nowhere"),
        (&["run.device=cuda:7"], "`run.device` = \"cuda:7\""),
        (&["model.from=nowhere"], "nowhere/config.json"),
        (&["model.vocab_size=50"], "`model.vocab_size` = 50"),
        (&["data.seq_len=0"], "`data.seq_len` = 0 is not allowed"),
    ] {
        let output = train(dir.path(), overrides);
        // What was typed wrong is a wrong call; what cannot be had is a failure.
        let code =
            if expected.contains("key") || expected.contains("allowed") || expected.contains("--set") { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{overrides:?}");
        assert!(stderr(&output).contains(expected), "{overrides:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

#[test]
fn config_keys_completions_and_the_manual_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let printed = |args: &[&str]| {
        let output = lab(dir.path(), args);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let key = printed(&["config", "recycle.fraction"]);
    for part in ["default   0.125", "number or curve", "live: may change"] {
        assert!(key.contains(part), "{part}: {key}");
    }
    let section = printed(&["config", "dropout"]);
    assert_eq!(section.lines().count(), 4, "{section}");
    let all: serde_json::Value = serde_json::from_str(&printed(&["config", "--json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), coconut_lab::config::Config::keys().count());
    let refused = stderr(&lab(dir.path(), &["config", "recycle.fractoin"]));
    assert!(refused.contains("the nearest known one is `recycle.fraction`"), "{refused}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(printed(&["completions", shell]).contains("thought-tests"), "{shell}");
    }
    assert!(printed(&["man"]).contains(".TH coconut-lab"));
}

#[test]
fn the_hook_is_told_of_the_end_of_a_run() {
    let dir = temp_dir_with_recipe(TINY);
    let file = dir.path().join("facts");
    let output = train(dir.path(), &[&format!("record.hook=cat >> {}", file.display())]);
    assert!(output.status.success(), "{}", stderr(&output));
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let since = std::time::Instant::now();
    // The command may outlive the run.
    while !read().ends_with('\n') && since.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let facts: serde_json::Value = serde_json::from_str(&read()).unwrap();
    assert_eq!((&facts["event"], facts["step"].as_u64()), (&"finished".into(), Some(6)));
    assert!(facts["run"].as_str().unwrap().ends_with("-tiny") && facts["checkpoint"].is_string(), "{facts}");
}

#[test]
fn verify_lists_its_checks_and_fails_if_one_fails() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama");
    let output = lab(&fixture, &["verify", "."]);
    assert!(output.status.success() && stdout(&output).contains("dense3.logits"), "{}", stdout(&output));
    let broken = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "golden.safetensors"] {
        std::fs::copy(fixture.join(name), broken.path().join(name)).unwrap();
    }
    let golden = broken.path().join("golden.safetensors");
    let mut bytes = std::fs::read(&golden).unwrap();
    let end = bytes.len() - 8;
    bytes[end - 64..end].fill(0x41);
    std::fs::write(&golden, bytes).unwrap();
    let output = lab(broken.path(), &["verify", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("FAILED"));
}

/// Writes a shard of four row groups with 50 ids each. The very last id is `last`.
fn write_shard(path: &Path, last: i32) {
    use arrow::array::{ArrayRef, Int32Builder, ListBuilder};
    let mut writer: Option<parquet::arrow::ArrowWriter<std::fs::File>> = None;
    for group in 0..4 {
        let mut lists = ListBuilder::new(Int32Builder::new());
        (0..50).for_each(|id| lists.values().append_value(if group == 3 && id == 49 { last } else { id }));
        lists.append(true);
        let column: ArrayRef = std::sync::Arc::new(lists.finish());
        let batch = RecordBatch::try_from_iter([("input_ids", column)]).unwrap();
        let file = || std::fs::File::create(path).unwrap();
        let writer =
            writer.get_or_insert_with(|| parquet::arrow::ArrowWriter::try_new(file(), batch.schema(), None).unwrap());
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
    }
    writer.unwrap().close().unwrap();
}

#[test]
fn an_invalid_token_id_anywhere_is_refused_before_the_first_step() {
    let dir = temp_dir_with_recipe(TINY);
    write_shard(&dir.path().join("mine.parquet"), 60);
    let overrides = ["data.make=none", "data.dir=mine.parquet", "model.vocab_size=60", "run.steps=1", "data.batch=1"];
    let overrides = [&overrides[..], &["data.shuffle=false", "data.seq_len=8", "data.prefetch=1"]].concat();
    let output = train(dir.path(), &overrides);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("mine.parquet: row 3 (counted from 0): token id 60"), "{}", stderr(&output));
    assert!(!dir.path().join("checkpoints").exists(), "no run folder was created");
    // Without the check the id is refused only when it is reached, and one step does not reach it.
    assert!(train(dir.path(), &[&overrides[..], &["data.check=false"]].concat()).status.success());
}

/// The first SIGTERM stops a run properly: checkpoint, summary, exit code 75, every row recorded.
#[cfg(unix)]
#[test]
fn sigterm_stops_a_run_with_a_checkpoint() {
    use std::io::{BufRead, BufReader};
    let dir = temp_dir_with_recipe(TINY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_coconut-lab"))
        .current_dir(dir.path())
        .args(["run", "--config", "tiny.toml", "--headless", "--steps", "1000000"])
        .args(["--set", "dashboard.line_seconds=0.01"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.starts_with("step ")), "the run makes steps");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let end = rest.iter().find(|line| line.starts_with("stopped after")).expect("a summary");
    let steps: i64 = end.split_whitespace().nth(2).unwrap().parse().unwrap();
    let run = &runs(dir.path())[0];
    assert!(run.join(format!("step-{steps:06}")).is_dir());
    assert_eq!(int_column(&metrics(run), "step").last(), Some(&Some(steps)));
}

#[test]
fn runs_are_listed_tagged_renamed_compared_and_deleted() {
    let dir = temp_dir_with_recipe(TINY);
    for (name, lr) in [("one", "0.001"), ("two", "0.002")] {
        let set = format!("optim.lr={lr}");
        let args = ["run", "--config", "tiny.toml", "--headless", "--name", name, "--set", &set];
        assert!(lab(dir.path(), &args).status.success());
    }
    let fork = lab(dir.path(), &["run", "--from", "one", "--name", "child", "--steps", "8", "--headless"]);
    assert!(fork.status.success(), "{}", stderr(&fork));
    let listed = |args: &[&str]| -> Vec<String> {
        let output = lab(dir.path(), &[&["runs", "--json"], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&stdout(&output)).unwrap();
        rows.iter().map(|row| row["run"].as_str().unwrap()[16..].to_owned()).collect()
    };
    assert_eq!(listed(&[]), ["one", "two", "child"]);
    assert_eq!(listed(&["--sort", "-optim.lr", "--filter", "optim.lr>=0.001 state=finished"])[0], "two");
    assert_eq!(listed(&["--sort", "step", "--descending"])[0], "child");
    assert!(stdout(&lab(dir.path(), &["runs", "tag", "two", "base", "x"])).ends_with(": base x\n"));
    assert!(lab(dir.path(), &["runs", "untag", "two", "x"]).status.success());
    assert_eq!(listed(&["--filter", "tag=base"]), ["two"]);
    let wrong: [(&[&str], &str); 4] = [
        (&["runs", "--filter", "optim.lrr=1"], "the nearest known one is `optim.lr`"),
        (&["runs", "--sort", "los"], "nearest known one"),
        (&["runs", "nowhere"], "no such folder"),
        (&["runs", "delete", "two"], "--yes"),
    ];
    for (args, wanted) in wrong {
        let output = lab(dir.path(), args);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(wanted), "{args:?}: {}", stderr(&output));
    }
    let diff = stdout(&lab(dir.path(), &["runs", "diff", "one@2", "two"]));
    assert!(diff.contains("  optim.lr  0.001  0.002\n") && diff.contains("-one@2  config v0"), "{diff}");

    // A fork whose own checkpoint is gone starts from its renamed parent.
    let renamed = lab(dir.path(), &["runs", "rename", "one", "first"]);
    assert!(stdout(&renamed).trim_end().ends_with("-first"), "{}", stderr(&renamed));
    let child = runs(dir.path()).into_iter().find(|run| run.to_string_lossy().ends_with("-child")).unwrap();
    std::fs::remove_dir_all(child.join("step-000008")).unwrap();
    let resumed = lab(dir.path(), &["resume", "child", "--restart", "--headless"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));

    let deleted = lab(dir.path(), &["runs", "delete", "two", "first", "--yes"]);
    assert!(deleted.status.success(), "{}", stderr(&deleted));
    assert_eq!(listed(&[]), ["child"]);
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    use std::process::Stdio;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let (csv, svg) = (out.path().join("m.csv"), out.path().join("m.svg"));
    let session = "tests/fixtures/session";
    for args in [
        ["export", "metrics", session, "--out", csv.to_str().unwrap()].as_slice(),
        &["snapshot", session, "--out", svg.to_str().unwrap()],
        &["runs", "--json"],
    ] {
        let mut child = command(root, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{args:?}: {}", stderr(&ended));
        if args[0] != "runs" && cfg!(target_os = "linux") {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let ended = command(root, args).stdout(full).output().unwrap();
            assert!(!ended.status.success() && stderr(&ended).starts_with("error: "), "{args:?}: {}", stderr(&ended));
        }
    }
}
