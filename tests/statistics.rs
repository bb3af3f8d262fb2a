//! Holds the statistics of experiments to the independent oracle (`tests/fixtures/stats`).

use coconut_lab::verify::{CheckResult, verify_stats};
use std::path::Path;

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stats")
}

#[test]
fn statistics_meet_the_golden_numbers() {
    let verdicts = verify_stats(&fixture()).unwrap();
    let missed: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.failed() || verdict.result == CheckResult::NotComputed)
        .map(|verdict| (verdict.entry.as_str(), verdict.result))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    let compared = verdicts.iter().filter(|verdict| matches!(verdict.result, CheckResult::Compared { .. })).count();
    assert!(compared > 130, "{compared}");
}

#[test]
fn a_wrong_number_fails() {
    let text = std::fs::read_to_string(fixture().join("stats.json")).unwrap();
    for (from, to, entry) in [
        ("\"p_sign\": 0.0078125", "\"p_sign\": 0.0078126", "paired-all.p_sign"),
        ("\"only_b\": 9", "\"only_b\": 8", "mcnemar.only_b"),
        ("\"t\": null", "\"t\": 1.0", "paired-one.t"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert!(text.contains(from));
        std::fs::write(dir.path().join("stats.json"), text.replacen(from, to, 1)).unwrap();
        let failed: Vec<_> = verify_stats(dir.path()).unwrap().into_iter().filter(|verdict| verdict.failed()).collect();
        assert_eq!(failed.iter().map(|verdict| verdict.entry.as_str()).collect::<Vec<_>>(), [entry]);
    }
}
