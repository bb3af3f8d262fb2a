//! Runs the commands of README.md as they are printed there, one after another in a fresh folder, as a newcomer does. Runs
//! are cut to a few steps and evaluations to a few questions; all else is as printed.

mod common;

use common::{command, stderr, stdout};
use std::path::Path;

/// Arguments added to a verb, and arguments replaced, so that it takes seconds.
const SHORTENED: &[(&str, &[&str])] = &[
    ("run", &["--headless", "--set", "run.steps=3", "--set", "eval.batches=1"]),
    ("eval", &["--most", "4", "--max-new", "4"]),
    ("generate", &["--max-new", "4"]),
];

/// Returns the lines of the `sh` blocks of README.md, without comments.
fn command_lines() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines).map(|line| line.split("   #").next().unwrap().split("  #").next().unwrap());
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Splits a line into words as a shell does; quotes are single ones.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "an open quote: {line}");
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// Returns the arguments of a line that runs the program on the CPU, else nothing.
fn arguments(line: &str) -> Option<Vec<String>> {
    let words = shell_words(line);
    let starts = |prefix: &[&str]| words.iter().map(String::as_str).take(prefix.len()).eq(prefix.iter().copied());
    let skipped = if starts(&["coconut-lab"]) {
        1
    } else if starts(&["cargo", "run", "--release"]) {
        match words.get(3).map(String::as_str) {
            Some("--features") => return None,
            Some("--") => 4,
            _ => 3,
        }
    } else {
        return None;
    };
    Some(words[skipped..].to_vec())
}

/// Returns the arguments with which the command takes seconds.
fn shortened(mut words: Vec<String>) -> Vec<String> {
    if words.is_empty() {
        words.push("run".into());
    }
    let Some((_, added)) = SHORTENED.iter().find(|(verb, _)| *verb == words[0]) else { return words };
    for pair in added.chunks(2) {
        // `--set` may be given several times, other options once.
        if pair[0] != "--set"
            && let Some(at) = words.iter().position(|word| word == pair[0])
        {
            words.drain(at..at + pair.len());
        }
    }
    words.extend(added.iter().map(|word| (*word).to_owned()));
    words
}

#[test]
fn the_commands_of_the_readme_run_as_printed() {
    let dir = tempfile::tempdir().unwrap();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    std::fs::create_dir(dir.path().join("configs")).unwrap();
    for entry in std::fs::read_dir(configs).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), dir.path().join("configs").join(entry.file_name())).unwrap();
    }
    let lines = command_lines();
    let commands: Vec<_> = lines.iter().filter_map(|line| Some((line, arguments(line)?))).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for (line, words) in commands {
        let words = shortened(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = command(dir.path(), &words).output().unwrap();
        let text = format!("{line}\n{words:?}\n{}\n{}", stdout(&output), stderr(&output));
        assert!(output.status.success() && !stdout(&output).is_empty(), "{text}");
    }
}

/// Returns the example lines of the help pages, without the words that explain them.
fn help_examples() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/verbs.md");
    let text = std::fs::read_to_string(page).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("  coconut-lab "));
    let ends = ["   ", " | ", " > "];
    let command =
        |line: &str| ends.iter().fold(line.to_owned(), |line, end| line.split(end).next().unwrap().to_owned());
    lines.map(command).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_example_of_the_help_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let examples = help_examples();
    assert!(examples.len() > 40, "{examples:?}");
    for line in examples {
        // Arguments before `--help` are checked; nothing is done.
        let mut words = shell_words(&line);
        words.push("--help".into());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = command(dir.path(), &words).output().unwrap();
        assert!(output.status.success(), "{line}\n{}", stderr(&output));
    }
}
