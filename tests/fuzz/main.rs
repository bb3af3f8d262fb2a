//! Mutates files that the program reads, and reads them. Each input must give an error or a result, without a panic, an
//! abort, a hang, or more memory than a reader may take; a result must have the numbers of the original file where the
//! format has checksums.
//!
//! `cargo test` reads a sample. For many inputs:
//!
//! ```sh
//! COCONUT_LAB_FUZZ=20000 cargo test --test fuzz -- --nocapture
//! COCONUT_LAB_FUZZ=20000 COCONUT_LAB_FUZZ_TARGET=shard cargo test --test fuzz -- --nocapture
//! ```
//!
//! Inputs are split evenly over the targets. Input `n` of a target is the same on each machine. A child process reads
//! the inputs, so that the test survives it: the parent notes the input, keeps the mutated files, and goes on after it.

#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod mutator;
mod targets;

use coconut_lab::rng::item_rng;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use targets::{TARGETS, Target};

/// Number of inputs of all targets together in `cargo test`.
const SAMPLE: u64 = 1_200;
/// Address space of a child. Threads and the allocator reserve a part of it.
const CHILD_BYTES: u64 = 6 << 30;

const COUNT_VARIABLE: &str = "COCONUT_LAB_FUZZ";
const TARGET_VARIABLE: &str = "COCONUT_LAB_FUZZ_TARGET";
/// Says to a child: the target, the folder, and the first and the last input but one.
const CHILD_VARIABLE: &str = "COCONUT_LAB_FUZZ_CHILD";

#[test]
fn mutated_files_give_an_error_or_the_same_numbers() {
    // A child process runs this test, too, and reads what the variable says.
    if let Ok(task) = std::env::var(CHILD_VARIABLE) {
        return read_task(&task);
    }
    let requested = std::env::var(COUNT_VARIABLE).ok().map(|count| count.parse::<u64>().expect("a number of inputs"));
    let wanted = std::env::var(TARGET_VARIABLE).ok();
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|target| wanted.as_deref().is_none_or(|name| name == target.name)).collect();
    assert!(!targets.is_empty(), "no such target: {wanted:?}");
    let count = requested.unwrap_or(SAMPLE).div_ceil(targets.len() as u64);
    // The asked-for run holds to 5 s; a sample on a busy machine must not fail because of it.
    let patience = Duration::from_secs(if requested.is_some() { 5 } else { 60 });
    let dir = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for target in targets {
        let folder = dir.path().join(target.name);
        std::fs::create_dir(&folder).unwrap();
        (target.prepare)(&folder.join("original"));
        let results = run_target(target, &folder, count, patience, &mut failures);
        println!("{:<16} {count} inputs: {} read, {} refused", target.name, results.read, results.refused);
        assert!(results.read + results.refused > 0, "{}: no input was read", target.name);
    }
    if !failures.is_empty() {
        let kept = dir.keep();
        panic!("{} inputs fail; their files are in {}:\n{}", failures.len(), kept.display(), failures.join("\n"));
    }
}

#[derive(Default)]
struct Results {
    read: u64,
    refused: u64,
}

/// Has children read the inputs. A child that dies or hangs is replaced by one that begins with the next input.
fn run_target(target: &Target, folder: &Path, count: u64, patience: Duration, failures: &mut Vec<String>) -> Results {
    let (mut results, mut next) = (Results::default(), 0);
    while next < count && failures.len() < 20 {
        let (mut child, lines) = start_child(target, folder, next..count);
        // Until the first line the child reads the original.
        let mut allowed = patience.max(Duration::from_secs(60));
        let mut begun = None;
        let failure = loop {
            match lines.recv_timeout(allowed) {
                Ok(line) => match line.split_once(' ') {
                    Some(("begin", input)) => begun = Some(input.parse::<u64>().unwrap()),
                    Some(("read", _)) => results.read += 1,
                    Some(("refused", _)) => results.refused += 1,
                    Some(("differs", what)) => failures.push(failure_text(target, folder, begun, what)),
                    Some(("end", _)) => break None,
                    _ => {}
                },
                Err(RecvTimeoutError::Timeout) => break Some(format!("hangs for {} s", allowed.as_secs())),
                Err(RecvTimeoutError::Disconnected) => break Some("the process dies".to_owned()),
            }
            allowed = patience;
        };
        let _ = child.kill();
        let status = child.wait().unwrap();
        let Some(what) = failure else { break };
        failures.push(failure_text(target, folder, begun, &format!("{what} ({status})")));
        next = begun.map_or(count, |input| input + 1);
    }
    results
}

fn failure_text(target: &Target, folder: &Path, input: Option<u64>, what: &str) -> String {
    let Some(input) = input else { return format!("{}, the original: {what}", target.name) };
    let kept = folder.join(format!("failing-{input}"));
    let _ = std::fs::rename(folder.join("mutated"), &kept);
    format!("{}, input {input}: {what}", target.name)
}

/// Starts a child that reads the inputs, and returns the lines that it writes.
fn start_child(target: &Target, folder: &Path, inputs: std::ops::Range<u64>) -> (Child, Receiver<String>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "mutated_files_give_an_error_or_the_same_numbers", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_VARIABLE, format!("{}\n{}\n{}\n{}", target.name, folder.display(), inputs.start, inputs.end));
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let (sender, lines) = channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    (child, lines)
}

/// Reads the inputs that the parent asks for, within the limits of a child.
fn read_task(task: &str) {
    let [name, folder, first, end] = task.split('\n').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    rustix::process::setrlimit(
        rustix::process::Resource::As,
        rustix::process::Rlimit { current: Some(CHILD_BYTES), maximum: Some(CHILD_BYTES) },
    )
    .unwrap();
    abort_on_unguarded_panics();
    read_inputs(target, Path::new(folder), first.parse().unwrap()..end.parse().unwrap());
}

/// A panic on any thread is a failure, unless the program turns it into an error.
fn abort_on_unguarded_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !coconut_lab::files::foreign::is_guarded() {
            previous(info);
            std::process::abort();
        }
    }));
}

fn read_inputs(target: &Target, folder: &Path, inputs: std::ops::Range<u64>) {
    let (original, mutated) = (folder.join("original"), folder.join("mutated"));
    let expected = (target.read)(&original).unwrap_or_else(|error| panic!("the original of {}: {error}", target.name));
    let files: Vec<PathBuf> = target.files.iter().map(PathBuf::from).collect();
    for input in inputs {
        println!("begin {input}");
        let _ = std::fs::remove_dir_all(&mutated);
        copy_folder(&original, &mutated);
        let mut rng = item_rng([20_241_205, target.name.bytes().map(u64::from).sum(), input]);
        let file = &files[input as usize % files.len()];
        let bytes = std::fs::read(original.join(file)).unwrap();
        let changed = mutator::mutate(&bytes, &mut rng);
        std::fs::write(mutated.join(file), &changed).unwrap();
        match (target.read)(&mutated) {
            Err(_) => println!("refused {input}"),
            Ok(items) => match target.compare.difference(&expected, &items) {
                Some(difference) if changed != bytes => println!("differs {}: {difference}", file.display()),
                _ => println!("read {input}"),
            },
        }
    }
    println!("end {}", target.name);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
