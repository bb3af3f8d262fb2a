//! Tests the statistics of experiments: against independent golden numbers, and by what they promise over many simulated
//! experiments.

mod common;

use coconut_lab::rng::{RngKey, RngPurpose, RngStream};
use coconut_lab::statistics::{PairedDifference, bootstrap_mean, holm, iqm_interval, power};
use coconut_lab::verify::{CheckResult, verify_statistics};
use common::*;
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stats")
}

#[test]
fn every_number_matches_the_oracle() {
    let verdicts = verify_statistics(&fixture()).unwrap();
    for verdict in &verdicts {
        assert!(!verdict.failed(), "{} {:?}", verdict.entry, verdict.result);
        assert_ne!(verdict.result, CheckResult::NotComputed, "{}", verdict.entry);
    }
    let names: Vec<&str> = verdicts.iter().map(|verdict| verdict.entry.as_str()).collect();
    for name in ["paired-three.p_sign", "bootstrap-skewed.bca", "equal-flops.budgets.6.ci", "to-reach-never.ratio"] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(names.len(), 173);
}

#[test]
fn changed_and_unknown_numbers_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let golden = std::fs::read_to_string(fixture().join("stats.json")).unwrap();
    let changed = golden
        .replacen("\"p_sign\": 0.25", "\"p_sign\": 0.125", 1)
        .replacen("\"p_t\": null", "\"p_t\": 1.0", 1)
        .replacen("\"n\": 16}", "\"n\": 17}", 1)
        .replacen("\"kind\": \"holm\"", "\"kind\": \"bonferroni\"", 1);
    std::fs::write(dir.path().join("stats.json"), changed).unwrap();
    let verdicts = verify_statistics(dir.path()).unwrap();
    let mut failed: Vec<_> = verdicts.iter().filter(|v| v.failed()).map(|v| v.entry.as_str()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["paired-one.p_t", "paired-three.p_sign", "seeds-for-0.015.n"]);
    let output = lab(dir.path(), &["verify", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).ends_with("169 held, 3 failed, 1 not computed\n"), "{}", stdout(&output));
    std::fs::write(dir.path().join("stats.json"), "{\"entries\": [{\"name\": 1}]}").unwrap();
    let output = lab(dir.path(), &["verify", "."]);
    assert!(stderr(&output).contains("stats.json"), "{}", stderr(&output));
    assert_ne!(output.status.code(), Some(0));
}

fn stream(row: usize) -> RngStream {
    RngKey { seed: 5, ..RngKey::default() }.stream(RngPurpose::Jitter, row)
}

/// Runs of two arms that share what a seed does to both and differ by `effect`, over `n` seeds.
fn paired_experiment(n: usize, effect: f64, stream: &mut RngStream) -> PairedDifference {
    let shared: Vec<f64> = (0..n).map(|_| 3.0 + 0.2 * stream.normal()).collect();
    let mut arm =
        |shift: f64| shared.iter().map(|base| Some(base + shift + 0.05 * stream.normal())).collect::<Vec<_>>();
    let (a, b) = (arm(effect), arm(0.0));
    PairedDifference::new(&a, &b)
}

#[test]
fn intervals_of_few_seeds_cover_the_true_difference() {
    for n in [3, 5, 10] {
        let mut stream = stream(n);
        let covers = |_: &usize| {
            let [low, high] = paired_experiment(n, 0.03, &mut stream).interval.unwrap();
            low <= 0.03 && 0.03 <= high
        };
        let covered = (0..1000).filter(covers).count();
        assert!((930..=970).contains(&covered), "{n} seeds: {covered} of 1000");
    }
}

#[test]
fn six_equal_arms_seldom_seem_to_differ() {
    // Five arms against the same sixth: the tests depend on each other.
    let (mut stream, experiments, seeds) = (stream(0), 4000, 5);
    let mut any_below = [0_u32; 2];
    for _ in 0..experiments {
        let mut arm = || (0..seeds).map(|_| Some(stream.normal())).collect::<Vec<_>>();
        let base = arm();
        let p: Vec<f64> = (0..5).map(|_| PairedDifference::new(&arm(), &base).p_t.unwrap()).collect();
        for (count, p) in any_below.iter_mut().zip([p.clone(), holm(&p)]) {
            *count += u32::from(p.iter().any(|p| *p <= 0.05));
        }
    }
    let [unadjusted, adjusted] = any_below.map(|count| f64::from(count) / f64::from(experiments));
    // Three standard errors of a share of 0.05 in 4,000 are 0.0103.
    assert!(adjusted <= 0.0603, "{adjusted}");
    assert!(unadjusted > 0.12, "without the adjustment: {unadjusted}");
}

#[test]
fn the_sign_flip_test_and_the_t_test_hold_their_level_and_have_their_power() {
    let mut stream = stream(1);
    let (n, sd) = (8, 0.05 * std::f64::consts::SQRT_2);
    let mut share = |effect: f64, is_small: fn(&PairedDifference) -> bool| {
        let found = (0..2000).filter(|_| is_small(&paired_experiment(n, effect, &mut stream))).count();
        found as f64 / 2000.0
    };
    let level = share(0.0, |found| found.p_sign <= 0.05);
    assert!((0.03..0.065).contains(&level), "{level}");
    let found = share(0.07, |found| found.p_t.is_some_and(|p| p <= 0.05));
    let wanted = power(n, sd, 0.07, 0.05);
    assert!((found - wanted).abs() < 0.035, "{found} for {wanted}");
}

#[test]
fn bootstrap_intervals_cover_and_hold_the_same_numbers_for_the_same_seed() {
    let mut stream = stream(2);
    let mut covered = [0, 0];
    for seed in 0..400 {
        // The mean of an exponential distribution is 1.
        let values: Vec<f64> = (0..40).map(|_| -(1.0 - stream.uniform()).ln()).collect();
        let found = bootstrap_mean(&values, 500, seed).unwrap();
        for (count, [low, high]) in covered.iter_mut().zip([found.percentile, found.bca]) {
            *count += usize::from(low <= 1.0 && 1.0 <= high);
        }
    }
    // With 40 skewed values both are known to be a little short of 380.
    assert!(covered.iter().all(|covered| (350..=396).contains(covered)), "{covered:?}");
    let scores: Vec<Vec<f64>> = (0..5).map(|_| (0..4).map(|_| stream.normal()).collect()).collect();
    assert_eq!(iqm_interval(&scores, 300, 1), iqm_interval(&scores, 300, 1));
    assert_ne!(iqm_interval(&scores, 300, 1), iqm_interval(&scores, 300, 2));
}
