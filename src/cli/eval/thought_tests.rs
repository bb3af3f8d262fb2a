//! Owns: the results of thought tests, as a table and as rows of a file.
//! Must not know: how a test is made.
//! Invariant: every difference has its interval and its p.

use crate::record::rows::thought_tests::ThoughtTestRow;
use crate::statistics::Estimate;
use crate::train::eval::thought_tests::ThoughtTestResult;
use std::io::Write;
use std::path::Path;

/// Returns the rows of all tests on the questions of `file`.
pub(super) fn test_rows(file: &Path, tested: &[(String, Vec<ThoughtTestResult>)]) -> Vec<ThoughtTestRow> {
    let row = |label: &str, result: &ThoughtTestResult| ThoughtTestRow {
        questions: file.display().to_string(),
        policy: label.to_owned(),
        test: result.name.clone(),
        count: result.questions as u64,
        latents: result.latents,
        accuracy: result.accuracy.mean,
        accuracy_low: result.accuracy.low,
        accuracy_high: result.accuracy.high,
        difference: result.difference.mean,
        difference_low: result.difference.low,
        difference_high: result.difference.high,
        only_unchanged: result.paired.only_first as u64,
        only_under_test: result.paired.only_second as u64,
        p: result.paired.p,
        follows_donor: result.follows_donor.map(|share| share.mean),
    };
    tested.iter().flat_map(|(label, results)| results.iter().map(|result| row(label, result))).collect()
}

/// Prints the thought tests of a policy.
pub(super) fn write_thought_tests(
    label: &str,
    results: &[ThoughtTestResult],
    out: &mut impl Write,
) -> std::io::Result<()> {
    writeln!(out, "\nIs the thought used? {label}")?;
    writeln!(
        out,
        "{:>8}  {:<16}  {:>8}  {:<18}  {:>9}  {:>7}  thought",
        "correct", "95 %", "change", "95 %", "p", "donor's"
    )?;
    let all = results.first().map_or(0, |result| result.questions);
    for result in results {
        let of = match result.questions == all {
            true => String::new(),
            false => format!(" ({} questions)", result.questions),
        };
        let percent = |share: Estimate| share.map(|share| 100.0 * share);
        let (accuracy, difference) = (percent(result.accuracy), percent(result.difference));
        let donor = result.follows_donor.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share.mean));
        writeln!(
            out,
            "{:>6.1} %  {:<16}  {:>+8.1}  {:<18}  {:>9.1e}  {donor:>7}  {}{of}",
            accuracy.mean,
            accuracy.interval_text(1),
            difference.mean,
            difference.interval_text(1),
            result.paired.p,
            result.name
        )?;
    }
    Ok(())
}
