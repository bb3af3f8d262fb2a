//! Owns: the comparison of the statistics of experiments with golden numbers.
//! Must not know: how a number is computed.
//! Invariant: every expected number gets a verdict, if only that it is not computed here.

use super::{CheckResult, Verdict, read_json};
use crate::model::ModelError;
use crate::statistics::{
    LossCurve, PairedAnswers, PairedDifference, ReachRatio, bootstrap_mean, detectable_effect, equal_flop_difference,
    flop_to_reach, holm, improvement_interval, iqm, iqm_interval, loss_at, power, probability_of_improvement,
    seeds_needed,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file whose presence makes a folder one of statistics.
pub const STATISTICS_FILE: &str = "stats.json";

/// Allowed errors of numbers: absolute, and relative to the golden one.
const VALUE_TOLERANCE: (f64, f64) = (1e-9, 1e-6);
/// Of an effect, which is found by bisection.
const EFFECT_TOLERANCE: (f64, f64) = (0.0, 1e-4);
/// Counts, which are exact.
const COUNTS: [&str; 6] = ["n", "df", "only_a", "only_b", "never_a", "never_b"];
/// Seed of the resamples; any has to do.
const SEED: u64 = 1;
/// Level of the golden tests.
const ALPHA: f64 = 0.05;

#[derive(Deserialize)]
struct StatisticsFile {
    entries: Vec<StatisticsEntry>,
}

#[derive(Deserialize)]
struct StatisticsEntry {
    name: String,
    expected: Map<String, Value>,
    #[serde(flatten)]
    case: StatisticsCase,
}

/// What is given, by the kind of an entry.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StatisticsCase {
    Paired {
        a: Vec<Option<f64>>,
        b: Vec<Option<f64>>,
    },
    Bootstrap {
        d: Vec<f64>,
        resamples: usize,
    },
    Iqm {
        scores: Vec<Vec<f64>>,
        resamples: usize,
    },
    Improvement {
        x: Vec<Vec<f64>>,
        y: Vec<Vec<f64>>,
        resamples: usize,
    },
    Mcnemar {
        a: String,
        b: String,
    },
    Holm {
        p: Vec<f64>,
    },
    EqualFlops {
        a: Vec<GoldenCurve>,
        b: Vec<GoldenCurve>,
        budgets: Vec<f64>,
    },
    ToReach {
        a: Vec<GoldenCurve>,
        b: Vec<GoldenCurve>,
        target: f64,
    },
    Power {
        n: usize,
        sd: f64,
        effect: f64,
    },
    Detectable {
        n: Option<usize>,
        effect: Option<f64>,
        sd: f64,
        power: f64,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct GoldenCurve {
    flops: Vec<f64>,
    loss: Vec<f64>,
}

/// Computes the entries of `stats.json` in the folder `dir`.
pub fn verify_statistics(dir: &Path) -> Result<Vec<Verdict>, ModelError> {
    let golden: StatisticsFile = read_json(&dir.join(STATISTICS_FILE))?;
    Ok(golden.entries.into_iter().flat_map(StatisticsEntry::verdicts).collect())
}

impl StatisticsEntry {
    fn verdicts(self) -> Vec<Verdict> {
        let found = self.case.results();
        let mut verdicts = Vec::new();
        push_verdicts(&self.name, &self.expected, &found, &mut verdicts);
        verdicts
    }
}

/// Compares the numbers of `expected` by name. Bands say what is allowed, and have no verdict of their own.
fn push_verdicts(prefix: &str, expected: &Map<String, Value>, found: &Value, verdicts: &mut Vec<Verdict>) {
    for (name, golden) in expected.iter().filter(|(name, _)| *name != "band" && !name.ends_with("_band")) {
        let entry = format!("{prefix}.{name}");
        let found = found.get(name);
        let parts = golden.as_array().filter(|parts| !parts.is_empty() && parts.iter().all(Value::is_object));
        let Some(parts) = parts else {
            let band = if name == "interval" { expected.get("band") } else { expected.get(&format!("{name}_band")) };
            let result = found.map_or(CheckResult::NotComputed, |found| compare(name, golden, found, band));
            verdicts.push(Verdict { entry, result });
            continue;
        };
        for (index, part) in parts.iter().enumerate() {
            let found = found.and_then(|found| found.get(index)).unwrap_or(&Value::Null);
            push_verdicts(&format!("{entry}.{index}"), part.as_object().unwrap_or(&Map::new()), found, verdicts);
        }
    }
}

/// Compares numbers one by one and returns the error of the one that is worst for what it is allowed.
fn compare(name: &str, golden: &Value, found: &Value, band: Option<&Value>) -> CheckResult {
    let (golden, found) = (numbers(golden), numbers(found));
    let bands = band.map(numbers);
    let (absolute, relative) = match name {
        name if COUNTS.contains(&name) => (0.0, 0.0),
        "effect" => EFFECT_TOLERANCE,
        _ => VALUE_TOLERANCE,
    };
    let allowed = |index: usize, golden: f64| match &bands {
        Some(bands) => bands.get(index).copied().flatten().unwrap_or(0.0),
        None => absolute + relative * golden.abs(),
    };
    if golden.len() != found.len() {
        return CheckResult::Compared { error: f64::INFINITY, tolerance: 0.0 };
    }
    let error = |(index, pair): (usize, (&Option<f64>, &Option<f64>))| match pair {
        (Some(golden), Some(found)) => ((golden - found).abs(), allowed(index, *golden)),
        (None, None) => (0.0, 0.0),
        _ => (f64::INFINITY, 0.0),
    };
    let excess = |(error, allowed): (f64, f64)| if error == 0.0 { 0.0 } else { error / allowed };
    let worst = golden.iter().zip(&found).enumerate().map(error).reduce(|one, other| {
        let is_worse = excess(other).is_nan() || excess(other) > excess(one) || excess(one) == 0.0;
        if is_worse { other } else { one }
    });
    let (error, tolerance) = worst.unwrap_or((0.0, 0.0));
    CheckResult::Compared { error, tolerance }
}

/// Returns a number, or those of a list; null is `None`.
fn numbers(value: &Value) -> Vec<Option<f64>> {
    match value {
        Value::Array(values) => values.iter().map(Value::as_f64).collect(),
        value => vec![value.as_f64()],
    }
}

impl StatisticsCase {
    /// Computes the numbers by their names in the golden file.
    fn results(&self) -> Value {
        match self {
            Self::Paired { a, b } => paired_results(&PairedDifference::new(a, b)),
            Self::Bootstrap { d, resamples } => json!(bootstrap_mean(d, *resamples, SEED)),
            Self::Iqm { scores, resamples } => {
                json!({ "iqm": iqm(scores), "interval": iqm_interval(scores, *resamples, SEED) })
            }
            Self::Improvement { x, y, resamples } => json!({
                "probability": probability_of_improvement(x, y),
                "interval": improvement_interval(x, y, *resamples, SEED),
            }),
            Self::Mcnemar { a, b } => mcnemar_results(a, b),
            Self::Holm { p } => json!({ "adjusted": holm(p) }),
            Self::EqualFlops { a, b, budgets } => equal_flop_results(&curves(a), &curves(b), budgets),
            Self::ToReach { a, b, target } => reach_results(&curves(a), &curves(b), *target),
            Self::Power { n, sd, effect } => json!({ "power": power(*n, *sd, *effect, ALPHA) }),
            Self::Detectable { n, effect, sd, power } => match (n, effect) {
                (Some(n), _) => json!({ "effect": detectable_effect(*n, *sd, *power, ALPHA) }),
                (None, Some(effect)) => json!({ "n": seeds_needed(*effect, *sd, *power, ALPHA) }),
                (None, None) => Value::Null,
            },
            Self::Unknown => Value::Null,
        }
    }
}

fn paired_results(found: &PairedDifference) -> Value {
    json!({
        "n": found.n, "mean": found.mean, "sd": found.sd, "se": found.se, "t": found.t, "df": found.n as f64 - 1.0,
        "p_t": found.p_t, "ci": found.interval, "p_sign": found.p_sign,
    })
}

fn mcnemar_results(a: &str, b: &str) -> Value {
    let answers = |text: &str| text.chars().map(|answer| answer == '1').collect::<Vec<_>>();
    let (a, b) = (answers(a), answers(b));
    let accuracy = |answers: &[bool]| answers.iter().filter(|right| **right).count() as f64 / answers.len() as f64;
    let found = PairedAnswers::new(&a, &b);
    json!({
        "only_a": found.only_first, "only_b": found.only_second, "p": found.p,
        "accuracy_a": accuracy(&a), "accuracy_b": accuracy(&b),
    })
}

fn equal_flop_results(a: &[LossCurve], b: &[LossCurve], budgets: &[f64]) -> Value {
    let losses = |curves: &[LossCurve], flop: f64| curves.iter().map(|curve| loss_at(curve, flop)).collect::<Vec<_>>();
    let results = |flop: &f64| {
        let found = equal_flop_difference(a, b, *flop);
        json!({
            "flops": flop, "a": losses(a, *flop), "b": losses(b, *flop),
            "n": found.n, "mean": found.mean, "ci": found.interval,
        })
    };
    json!({ "budgets": budgets.iter().map(results).collect::<Vec<_>>() })
}

fn reach_results(a: &[LossCurve], b: &[LossCurve], target: f64) -> Value {
    let reached = |curves: &[LossCurve]| curves.iter().map(|curve| flop_to_reach(curve, target)).collect::<Vec<_>>();
    let found = ReachRatio::to_reach(a, b, target);
    json!({
        "a": reached(a), "b": reached(b), "n": found.n, "ratio": found.ratio, "ci": found.interval,
        "never_a": found.never_a, "never_b": found.never_b,
    })
}

fn curves(golden: &[GoldenCurve]) -> Vec<LossCurve> {
    golden.iter().map(|curve| LossCurve { flop: curve.flops.clone(), loss: curve.loss.clone() }).collect()
}
