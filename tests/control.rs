//! Tests the control of a run of another process: requests in the run folder, and the verb `control`.
#![cfg(unix)]

mod common;

use coconut_lab::record::run_folder::RunFolder;
use coconut_lab::record::{changes, rows, status};
use coconut_lab::schema::requests::{RequestAnswer, RequestOutcome};
use coconut_lab::schema::status::RunState;
use common::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A headless run in a process of its own, which is killed if the test fails.
struct DetachedRun {
    child: Child,
    dir: tempfile::TempDir,
    run: PathBuf,
}

impl DetachedRun {
    /// Starts a run that outlasts every test.
    fn start() -> Self {
        let dir = temp_dir_with_recipe(TINY);
        let args = ["run", "--config", "tiny.toml", "--headless", "--steps", "1000000", "--set", "eval.every=0"];
        let child = command(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("a run", || runs(dir.path()).iter().any(|run| run.join("metrics").is_dir()));
        let run = runs(dir.path()).remove(0);
        Self { child, dir, run }
    }

    /// Runs `control last` with these arguments. Returns whether it says that it is done, and its JSON.
    fn control(&self, args: &[&str]) -> (bool, Value) {
        let output = lab(self.dir.path(), &[&["control", "last", "--json"], args].concat());
        (output.status.success(), serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{output:?}")))
    }

    /// Runs `control`, which must be done. Returns its step and text.
    fn done(&self, args: &[&str]) -> (u64, String) {
        let (done, report) = self.control(args);
        assert!(done && report["outcome"] == "done", "{report}");
        (report["step"].as_u64().unwrap(), report["text"].as_str().unwrap().to_owned())
    }

    fn request_file(&self, name: &str) -> PathBuf {
        self.run.join("requests").join(name)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for DetachedRun {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_answer(file: &Path) -> RequestAnswer {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_run_is_controlled_from_another_process() {
    let mut live = DetachedRun::start();
    let (paused, _) = live.done(&["pause"]);
    // It does the steps that it is asked for, and no others.
    assert_eq!((live.done(&["step"]).0, live.done(&["step"]).0), (paused + 1, paused + 2));
    let (_, text) = live.done(&["checkpoint"]);
    assert!(text.ends_with(&format!("step-{:06}", paused + 2)) && live.dir.path().join(&text[12..]).is_dir(), "{text}");
    live.done(&["note", "look at this"]);
    let note = changes::read_changes(&live.run.join("changes.jsonl")).unwrap().pop().unwrap();
    assert_eq!((note.step, note.reason.as_deref()), (paused + 3, Some("look at this")));

    // All keys or none.
    let (done, refused) = live.control(&["set", "optim.lr=1e-4", "optim.clip=-1"]);
    assert!(!done && refused["outcome"] == "refused" && refused["text"].as_str().unwrap().contains("optim.clip"));
    live.done(&["set", "optim.lr=1e-4", "optim.clip=7"]);
    let config = coconut_lab::config::load(&live.run.join("config.toml"), &[]).unwrap();
    assert_eq!((config.optim.lr, config.optim.clip), (1e-4, 7.0));

    // The model answers while the run is paused.
    let (done, report) = live.control(&["ask", "Every wumpus", "--policy", "never", "--max-tokens", "3"]);
    assert!(done && report["answer"]["prompt"] == "Every wumpus" && report["answer"]["parts"][0]["text"].is_string());
    let (done, report) = live.control(&["ask", "x", "--policy", "sometimes"]);
    assert!(!done && report["text"].as_str().unwrap().contains("unknown policy"), "{report}");

    // A pause by the config file ends by a command, too.
    live.done(&["go"]);
    let text = std::fs::read_to_string(live.run.join("config.toml")).unwrap();
    std::fs::write(live.run.join("config.toml"), text.replace("paused = false", "paused = true")).unwrap();
    wait_for("the pause", || live.control(&["step"]).0);
    live.done(&["go"]);
    let (done, report) = live.control(&["step"]);
    assert!(!done && report["text"].as_str().unwrap().contains("not paused"), "{report}");
    assert!(!coconut_lab::config::load(&live.run.join("config.toml"), &[]).unwrap().run.paused);

    let (step, text) = live.done(&["stop"]);
    assert!(text.ends_with(&format!("step-{step:06}")), "{text}");
    assert_eq!(live.child.wait().unwrap().code(), Some(0));
    let status = status::read_status(&RunFolder::open(&live.run).unwrap()).unwrap().unwrap();
    assert_eq!((status.state, status.step), (RunState::Stopped, step));
    assert_eq!(std::fs::read_dir(live.run.join("requests")).unwrap().count(), 0, "no request and no answer is left");
    let answers: Vec<_> = table(&live.run, "events").iter().flat_map(rows::answers).collect();
    assert_eq!(answers.iter().map(|answer| answer.prompt.as_str()).collect::<Vec<_>>(), ["Every wumpus", "x"]);
    let (done, report) = live.control(&["go"]);
    assert!(!done && report["outcome"] == "not_running", "{report}");
    assert!(report["text"].as_str().unwrap().contains("stopped at step"), "{report}");
}

#[test]
fn nothing_that_an_earlier_process_was_asked_is_carried_out_or_repeated() {
    let mut live = DetachedRun::start();
    live.done(&["pause"]);
    live.done(&["note", "once"]);
    let (step, _) = live.done(&["checkpoint"]);
    live.kill();
    // A request that nobody took, and one that was taken just before the kill.
    std::fs::write(live.request_file("left.json"), r#"{"command": "stop"}"#).unwrap();
    std::fs::write(live.request_file("begun.taken"), r#"{"command": {"note": "once"}}"#).unwrap();
    let last = (step + 3).to_string();
    let resumed = lab(live.dir.path(), &["resume", "last", "--headless", "--steps", &last]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let status = status::read_status(&RunFolder::open(&live.run).unwrap()).unwrap().unwrap();
    assert_eq!((status.state, status.step), (RunState::Finished, step + 3), "it was not stopped");
    let notes = changes::read_changes(&live.run.join("changes.jsonl")).unwrap();
    assert_eq!(notes.iter().filter(|row| row.reason.as_deref() == Some("once")).count(), 1);
    let (left, begun) = ("left.answer.json", "begun.answer.json");
    assert_eq!(read_answer(&live.request_file(left)).outcome, RequestOutcome::Refused);
    assert_eq!(read_answer(&live.request_file(begun)).outcome, RequestOutcome::Unknown);
    assert_eq!(std::fs::read_dir(live.run.join("requests")).unwrap().count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn foreign_files_among_the_requests_are_refused_and_the_run_goes_on() {
    let live = DetachedRun::start();
    live.done(&["pause"]);
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let outside = live.dir.path().join("outside.json");
    std::fs::write(&outside, r#"{"command": "stop"}"#).unwrap();
    std::fs::write(live.request_file("huge.json"), vec![b'['; 10 << 20]).unwrap();
    std::fs::write(live.request_file("deep.json"), vec![b'['; 60_000]).unwrap();
    std::fs::write(live.request_file("bad.json"), r#"{"command": {"ask": {"prompt": 3}}}"#).unwrap();
    std::fs::write(live.request_file("wild.json"), r#"{"command": {"set": {"values": [["", ""]]}}}"#).unwrap();
    std::os::unix::fs::symlink(&outside, live.request_file("link.json")).unwrap();
    mknodat(CWD, live.request_file("pipe.json"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for name in ["huge", "deep", "bad", "wild", "link", "pipe"] {
        let file = live.request_file(&format!("{name}.answer.json"));
        wait_for(name, || file.is_file());
        assert_eq!(read_answer(&file).outcome, RequestOutcome::Refused, "{name}");
        // The answer is written first, then what was taken is removed.
        wait_for(name, || !live.request_file(&format!("{name}.taken")).exists());
    }
    // A request by hand, with the same words.
    std::fs::write(live.request_file("mine.tmp"), r#"{"command": "step"}"#).unwrap();
    std::fs::rename(live.request_file("mine.tmp"), live.request_file("mine.json")).unwrap();
    wait_for("the step", || live.request_file("mine.answer.json").is_file());
    assert_eq!(read_answer(&live.request_file("mine.answer.json")).outcome, RequestOutcome::Done);
    live.done(&["stop", "--no-checkpoint"]);
    assert_eq!(RunFolder::open(&live.run).unwrap().checkpoint_steps(), [0_u64; 0]);
}
