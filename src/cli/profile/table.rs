//! Owns: a profile as text: a headline and two tables.
//! Must not know: how it was measured.
//! Invariant: a number that was not measured is an empty cell, not a zero.

use crate::bench::profile::{Profile, ProfileLine};
use crate::device::{DeviceKind, SelectedDevice};
use std::fmt::Write;

pub(super) fn format_tables(name: &str, profile: &Profile, chosen: &SelectedDevice) -> String {
    let mut text = format!(
        "{name}: {:.2} ms per step, the mean of {} ({} recycled); {} parameters; {}\n\n",
        profile.step_ms, profile.steps, profile.recycled_steps, profile.params, chosen.name
    );
    push_table(&mut text, ["part", "", ""], &profile.parts);
    text.push('\n');
    push_table(&mut text, ["operation", "calls", "MiB alloc"], &profile.operations);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let [allocations, bytes] = profile.allocations;
    // Writing into a string cannot fail.
    let _ = writeln!(text, "\nallocations per step: {allocations:.0}, {:.2} MiB", mib(bytes));
    let [readbacks, bytes] = profile.readbacks;
    let _ = writeln!(text, "readbacks per step:   {readbacks:.0}, {:.2} KiB", bytes / 1024.0);
    if chosen.kind != DeviceKind::Cpu {
        text.push_str(GPU_NOTE);
    }
    text.push('\n');
    text
}

const GPU_NOTE: &str =
    "The device is not the CPU. An operation's time is that of submitting it; its backward pass is in `other`.
Readbacks and parts wait for the device. Memory is that of the process, not of the device.\n";

/// Appends a table. The titles are those of the first column and, for operations, of calls and allocations.
fn push_table(text: &mut String, [title, calls, allocated]: [&str; 3], lines: &[ProfileLine]) {
    let head = format!(
        "{title:<21} {calls:>8} {:>10} {:>7} {:>9} {:>9} {allocated:>9}",
        "ms/step", "share", "Gflop", "Gflop/s"
    );
    let _ = writeln!(text, "{}", head.trim_end());
    for line in lines {
        let name = format!("{:<12}{}", line.name, if calls.is_empty() { "" } else { line.kind.name() });
        let cell = |measured: bool, value: f64, digits: usize| match measured {
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
