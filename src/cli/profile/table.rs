//! Owns: a profile in words and columns.
//! Must not know: how it was measured.
//! Invariant: a number that was not measured is an empty cell, not a zero.

use crate::train::device::{Chosen, Kind};
use crate::train::profile::{Line, Profile};
use std::fmt::Write;

/// The tables of `profile`, which has this name.
pub(super) fn of(name: &str, profile: &Profile, chosen: &Chosen) -> String {
    let mut text = format!(
        "{name}: {:.2} ms a step, the mean of {} ({} recycled); {} parameters; {}\n\n",
        profile.ms, profile.steps, profile.recycled, profile.params, chosen.name
    );
    lines(&mut text, ["part", "", ""], &profile.parts);
    text.push('\n');
    lines(&mut text, ["operation", "calls", "MiB made"], &profile.operations);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let [allocations, bytes] = profile.allocations;
    // Writing into a string cannot fail.
    let _ = writeln!(text, "\nallocations a step: {allocations:.0}, {:.2} MiB", mib(bytes));
    let [readbacks, bytes] = profile.readbacks;
    let _ = writeln!(text, "readbacks a step:   {readbacks:.0}, {:.2} KiB", bytes / 1024.0);
    if chosen.kind != Kind::Cpu {
        text.push_str(ELSEWHERE);
    }
    text.push('\n');
    text
}

const ELSEWHERE: &str =
    "The device is not the CPU: an operation's time is that of handing it over, its way back is in `other`, a
readback waits for the device, and so does every part; memory is the process's, not the device's.\n";

/// Headed by what a line is, and by what only operations have.
fn lines(text: &mut String, [title, calls, made]: [&str; 3], lines: &[Line]) {
    let head = format!(
        "{title:<21} {calls:>8} {:>10} {:>7} {:>9} {:>9} {made:>9}",
        "ms a step", "share", "Gflop", "Gflop/s"
    );
    let _ = writeln!(text, "{}", head.trim_end());
    for line in lines {
        let name = format!("{:<12}{}", line.name, if calls.is_empty() { "" } else { line.of.name() });
        let cell = |there: bool, value: f64, digits: usize| match there {
            true => format!("{value:.digits$}"),
            false => String::new(),
        };
        let rate = if line.ms > 0.0 { line.gflop / line.ms * 1e3 } else { 0.0 };
        let row = format!(
            "{name:<21} {:>8} {:>10.3} {:>6.1}% {:>9} {:>9} {:>9}",
            cell(line.calls > 0.0, line.calls, 0),
            line.ms,
            line.share * 100.0,
            cell(line.gflop > 0.0, line.gflop, 3),
            cell(rate > 0.0, rate, 1),
            cell(line.bytes > 0.0, line.bytes / f64::from(1 << 20), 2),
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
}
