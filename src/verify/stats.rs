//! Owns: the comparison of the statistics of experiments with golden numbers.
//! Must not know: experiments, runs, terminals.
//! Invariant: every expected number of `stats.json` gets a verdict.

use super::{CheckResult, Verdict, read_json};
use crate::model::ModelError;
use crate::statistics::{
    LossCurve, PairedAnswers, PairedDifference, ReachRatio, bootstrap_mean, detectable_effect, flop_to_reach, holm,
    improvement_interval, iqm, iqm_interval, loss_at, power, probability_of_improvement, seeds_needed,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The file whose presence makes a folder one of statistics.
pub const STATS_FILE: &str = "stats.json";

/// Allowed error of a number: absolute, and relative to it.
const TOLERANCE: (f64, f64) = (1e-9, 1e-6);
/// Relative error of a detectable effect.
const EFFECT_TOLERANCE: f64 = 1e-4;
const SEED: u64 = 0;

#[derive(Deserialize)]
struct StatsFile {
    entries: Vec<StatsEntry>,
}

#[derive(Deserialize)]
struct StatsEntry {
    name: String,
    #[serde(flatten)]
    given: GivenNumbers,
    expected: Map<String, Value>,
}

/// A kind of entry, and what it is computed from.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum GivenNumbers {
    Paired { a: Vec<Option<f64>>, b: Vec<Option<f64>> },
    Bootstrap { d: Vec<f64>, resamples: usize },
    Iqm { scores: Vec<Vec<f64>>, resamples: usize },
    Improvement { x: Vec<Vec<f64>>, y: Vec<Vec<f64>>, resamples: usize },
    Mcnemar { a: String, b: String },
    Holm { p: Vec<f64> },
    EqualFlops { a: Vec<GivenCurve>, b: Vec<GivenCurve>, budgets: Vec<f64> },
    ToReach { a: Vec<GivenCurve>, b: Vec<GivenCurve>, target: f64 },
    Power { n: usize, sd: f64, effect: f64 },
    Detectable { n: Option<usize>, effect: Option<f64>, sd: f64, power: f64 },
}

#[derive(Deserialize)]
struct GivenCurve {
    flops: Vec<f64>,
    loss: Vec<f64>,
}

impl GivenCurve {
    fn curve(&self) -> LossCurve {
        LossCurve { flop: self.flops.clone(), loss: self.loss.clone() }
    }
}

/// Computes the entries of `stats.json` in the folder `dir`.
pub fn verify_stats(dir: &Path) -> Result<Vec<Verdict>, ModelError> {
    let file: StatsFile = read_json(&dir.join(STATS_FILE))?;
    Ok(file.entries.iter().flat_map(StatsEntry::verdicts).collect())
}

impl StatsEntry {
    fn verdicts(&self) -> Vec<Verdict> {
        let found = self.given.compute();
        let verdict = |(key, wanted): (&String, &Value)| {
            let band_of = key.strip_suffix("_band").or((key == "band").then_some("interval"));
            let result = match (band_of, found.get(key)) {
                // A band says how far its interval may be.
                (Some(_), _) => CheckResult::Input,
                (None, None) => CheckResult::NotComputed,
                (None, Some(value)) => self.compare(key, value, wanted),
            };
            Verdict { entry: format!("{}.{key}", self.name), result }
        };
        self.expected.iter().map(verdict).collect()
    }

    fn compare(&self, key: &str, found: &Value, wanted: &Value) -> CheckResult {
        let own_band = format!("{key}_band");
        let band = self.expected.get(&own_band).or(self.expected.get("band").filter(|_| key == "interval"));
        let tolerance = TOLERANCE.0;
        let error = match band {
            Some(band) => list_error(found, wanted, &|at, _| band[at].as_f64().unwrap_or(0.0)),
            None if key == "effect" => list_error(found, wanted, &|_, wanted| EFFECT_TOLERANCE * wanted.abs()),
            None => list_error(found, wanted, &|_, wanted| TOLERANCE.0 + TOLERANCE.1 * wanted.abs()),
        };
        // Errors are in units of what is allowed.
        CheckResult::Compared { error: error * tolerance, tolerance }
    }
}

/// Returns the largest error of numbers in units of what each is allowed; infinite if anything else differs: kinds, lengths,
/// whole numbers, null against a number.
fn list_error(found: &Value, wanted: &Value, allowed: &dyn Fn(usize, f64) -> f64) -> f64 {
    match (found, wanted) {
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let errors = found.iter().zip(wanted).enumerate();
            errors
                .map(|(at, (found, wanted))| list_error(found, wanted, &|_, value| allowed(at, value)))
                .fold(0.0, |worst: f64, error| if error.is_nan() { error } else { worst.max(error) })
        }
        (Value::Object(found), Value::Object(wanted)) if found.len() == wanted.len() => {
            let error = |(key, wanted): (&String, &Value)| {
                found.get(key).map_or(f64::INFINITY, |found| list_error(found, wanted, allowed))
            };
            wanted.iter().map(error).fold(0.0, f64::max)
        }
        (Value::Number(found), Value::Number(wanted)) => {
            let (value, target) = (found.as_f64().unwrap_or(f64::NAN), wanted.as_f64().unwrap_or(f64::NAN));
            let is_exact = wanted.is_i64() || wanted.is_u64();
            match (value - target).abs() {
                0.0 => 0.0,
                _ if is_exact => f64::INFINITY,
                error => error / allowed(0, target),
            }
        }
        (found, wanted) if found == wanted => 0.0,
        _ => f64::INFINITY,
    }
}

impl GivenNumbers {
    /// Computes the entry, under the names of the expected numbers.
    fn compute(&self) -> Map<String, Value> {
        let value = match self {
            GivenNumbers::Paired { a, b } => {
                let found = PairedDifference::new(a, b);
                let df = found.n.saturating_sub(1);
                json!({"n": found.n, "mean": found.mean, "sd": found.sd, "se": found.se, "t": found.t, "df": df,
                    "p_t": found.p_t, "ci": found.interval, "p_sign": found.p_sign})
            }
            GivenNumbers::Bootstrap { d, resamples } => bootstrap_mean(d, *resamples, SEED).map_or_else(
                Value::default,
                |found| json!({"mean": found.mean, "percentile": found.percentile, "bca": found.bca}),
            ),
            GivenNumbers::Iqm { scores, resamples } => {
                json!({"iqm": iqm(scores), "interval": iqm_interval(scores, *resamples, SEED)})
            }
            GivenNumbers::Improvement { x, y, resamples } => {
                let interval = improvement_interval(x, y, *resamples, SEED);
                json!({"probability": probability_of_improvement(x, y), "interval": interval})
            }
            GivenNumbers::Mcnemar { a, b } => {
                let bits = |text: &str| text.chars().map(|letter| letter == '1').collect::<Vec<bool>>();
                let (a, b) = (bits(a), bits(b));
                let accuracy = |bits: &[bool]| bits.iter().filter(|bit| **bit).count() as f64 / bits.len() as f64;
                let found = PairedAnswers::new(&a, &b);
                json!({"only_a": found.only_first, "only_b": found.only_second, "accuracy_a": accuracy(&a),
                    "accuracy_b": accuracy(&b), "p": found.p})
            }
            GivenNumbers::Holm { p } => json!({"adjusted": holm(p)}),
            GivenNumbers::EqualFlops { a, b, budgets } => {
                let at = |budget: &f64| losses_at(a, b, *budget);
                json!({"budgets": budgets.iter().map(at).collect::<Vec<_>>()})
            }
            GivenNumbers::ToReach { a, b, target } => {
                let reached = |curves: &[GivenCurve]| -> Vec<Option<f64>> {
                    curves.iter().map(|given| flop_to_reach(&given.curve(), *target)).collect()
                };
                let (a, b) = (reached(a), reached(b));
                let found = ReachRatio::new(&a, &b);
                json!({"a": a, "b": b, "n": found.n, "ratio": found.ratio, "ci": found.interval,
                    "never_a": found.never_a, "never_b": found.never_b})
            }
            GivenNumbers::Power { n, sd, effect } => json!({"power": power(*n, *sd, *effect)}),
            GivenNumbers::Detectable { n: Some(n), sd, power, .. } => {
                json!({"effect": detectable_effect(*n, *sd, *power)})
            }
            GivenNumbers::Detectable { effect, sd, power, .. } => {
                json!({"n": seeds_needed(effect.unwrap_or(0.0), *sd, *power)})
            }
        };
        match value {
            Value::Object(numbers) => numbers,
            _ => Map::new(),
        }
    }
}

fn losses_at(a: &[GivenCurve], b: &[GivenCurve], budget: f64) -> Value {
    let losses = |curves: &[GivenCurve]| -> Vec<Option<f64>> {
        curves.iter().map(|given| loss_at(&given.curve(), budget)).collect()
    };
    let (a, b) = (losses(a), losses(b));
    let found = PairedDifference::new(&a, &b);
    json!({"flops": budget, "a": a, "b": b, "n": found.n, "mean": found.mean, "ci": found.interval})
}
