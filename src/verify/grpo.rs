//! Owns: the comparison of advantages, losses, gradients and metrics of group-relative policy optimization with golden numbers.
//! Must not know: models, the training loop, terminals.
//! Invariant: every entry of the golden file and every loss and metric of `cases.json` gets a verdict.

use super::{CASES_FILE, CheckResult, GoldenFile, Verdict, read_json};
use crate::config::{ImportanceLevel, RewardScale, RlLoss};
use crate::model::ModelError;
use crate::rl::advantages::{GroupAdvantages, group_advantages, weighted_rewards};
use crate::rl::events::{CountingRule, RolloutEventKind, RolloutEvents, SwitchCounting, TruncatedCounting};
use crate::rl::loss::{EventScores, LossPlan, LossSettings, PartLoss};
use crate::rl::metrics::MetricInputs;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The file whose presence makes a folder one of rollouts.
pub const ROLLOUTS_FILE: &str = "rollouts.safetensors";

/// Allowed errors: absolute, and relative to the golden number.
const VALUE_TOLERANCE: (f64, f64) = (1e-5, 1e-4);
const GRADIENT_TOLERANCE: (f64, f64) = (1e-6, 1e-4);

#[derive(Deserialize)]
struct GrpoCases {
    each: usize,
    reward_weights: Vec<f64>,
    reward_names: Vec<String>,
    cases: Vec<GrpoCase>,
}

#[derive(Deserialize)]
struct GrpoCase {
    name: String,
    rewards: String,
    scale: RewardScale,
    loss_type: RlLoss,
    level: ImportanceLevel,
    epsilon: f64,
    epsilon_high: f64,
    beta: f64,
    new: String,
    old: String,
    #[serde(rename = "ref")]
    reference: String,
    count_switches: bool,
    mask_truncated: bool,
    truncated: String,
    top_entropy: f64,
    max_completion: usize,
    micro_batches: usize,
    loss: f64,
    #[serde(default)]
    metrics: BTreeMap<String, Option<f64>>,
}

/// Computes the cases of the folder `dir`.
pub fn verify_grpo(dir: &Path) -> Result<Vec<Verdict>, ModelError> {
    let cases: GrpoCases = read_json(&dir.join(CASES_FILE))?;
    let given = GoldenFile::load(&dir.join(ROLLOUTS_FILE))?;
    let golden = GoldenFile::load(&dir.join("golden.safetensors"))?;
    let mut verdicts = Vec::new();
    for case in &cases.cases {
        verdicts.extend(CaseResults::compute(&cases, case, &given)?.verdicts(case, &golden));
    }
    let known: Vec<&str> = cases.cases.iter().map(|case| case.name.as_str()).collect();
    let is_unknown = |entry: &&String| entry.rsplit_once('.').is_none_or(|(case, _)| !known.contains(&case));
    let unknown = golden.entries.keys().filter(is_unknown);
    verdicts.extend(unknown.map(|entry| Verdict { entry: entry.clone(), result: CheckResult::NotComputed }));
    Ok(verdicts)
}

/// What a case comes to.
struct CaseResults {
    loss: f64,
    advantages: Vec<f64>,
    counted: Vec<Vec<bool>>,
    found: PartLoss,
    metrics: BTreeMap<String, f64>,
}

impl CaseResults {
    fn compute(cases: &GrpoCases, case: &GrpoCase, given: &GoldenFile) -> Result<Self, ModelError> {
        let fail = |message: String| ModelError::File { file: given.file.clone(), message };
        let matrix = |name: &str| rows_of(given, name);
        let values: Vec<Vec<Option<f64>>> =
            matrix(&case.rewards)?.into_iter().map(|row| row.into_iter().map(present).collect()).collect();
        let names: Vec<&str> = cases.reward_names.iter().map(String::as_str).collect();
        let rewards = weighted_rewards(&values, &names, &cases.reward_weights).map_err(|e| fail(e.to_string()))?;
        let GroupAdvantages { values: advantages, is_equal } = group_advantages(&rewards, cases.each, case.scale);
        let events = case.events(given)?;
        let counted: Vec<Vec<bool>> = events.iter().map(|events| events.counted(case.rule())).collect();
        let new = matrix(&case.new)?;
        let old = if case.old == "new" { new.clone() } else { matrix(&case.old)? };
        let (reference, entropies) = (matrix(&case.reference)?, matrix("entropy")?);
        let size = counted.len() / case.micro_batches.max(1);
        let parts: Vec<_> = (0..case.micro_batches).map(|part| part * size..(part + 1) * size).collect();
        let included = vec![true; counted.len()];
        let plan = LossPlan::new(case.settings(), counted.clone(), advantages.clone(), &included, &parts);
        let threshold = plan.entropy_threshold(&entropies);
        let mut found = PartLoss::default();
        for part in parts {
            let scores = EventScores {
                new: &new[part.clone()],
                old: &old[part.clone()],
                reference: Some(&reference[part.clone()]),
                entropies: &entropies[part.clone()],
            };
            let part = plan.part_loss(part, &scores, threshold);
            found.loss += part.loss;
            found.grads.extend(part.grads);
            found.ratios.extend(part.ratios);
            found.kl.extend(part.kl);
        }
        let inputs = MetricInputs {
            events: &events,
            counted: &counted,
            reward_names: &names,
            reward_values: &values,
            rewards: &rewards,
            is_equal: &is_equal,
            advantages: &advantages,
            ratios: &found.ratios,
            kl: (case.beta > 0.0).then_some(&found.kl[..]),
            entropies: &entropies,
            level: case.level,
            epsilon: case.epsilon,
            epsilon_high: case.epsilon_high,
        };
        let metrics = inputs.trl_metrics().into_iter().collect();
        Ok(Self { loss: found.loss, advantages, counted, found, metrics })
    }

    /// Compares the case with its golden numbers.
    fn verdicts(&self, case: &GrpoCase, golden: &GoldenFile) -> Vec<Verdict> {
        let entry = |what: &str| format!("{}.{what}", case.name);
        let mut verdicts =
            vec![Verdict { entry: entry("loss"), result: compare(&[self.loss], &[case.loss], VALUE_TOLERANCE) }];
        for (name, wanted) in &case.metrics {
            // What is absent here has to be null there.
            let list = |value: Option<f64>| value.into_iter().collect::<Vec<_>>();
            let result = compare(&list(self.metrics.get(name).copied()), &list(*wanted), VALUE_TOLERANCE);
            verdicts.push(Verdict { entry: entry(&format!("metrics.{name}")), result });
        }
        let prefix = entry("");
        for (name, (_, wanted)) in golden.entries.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            let result = match &name[prefix.len()..] {
                "advantages" => compare(&self.advantages, wanted, VALUE_TOLERANCE),
                "mask" => {
                    let mask: Vec<f64> =
                        self.counted.iter().flatten().map(|counted| f64::from(u8::from(*counted))).collect();
                    compare(&mask, wanted, (0.0, 0.0))
                }
                "ratio" => compare(&self.found.ratios.concat(), wanted, VALUE_TOLERANCE),
                "kl" => compare(&self.found.kl.concat(), wanted, VALUE_TOLERANCE),
                "grad" => compare(&self.found.grads.concat(), wanted, GRADIENT_TOLERANCE),
                _ => CheckResult::NotComputed,
            };
            verdicts.push(Verdict { entry: name.clone(), result });
        }
        verdicts
    }
}

impl GrpoCase {
    fn rule(&self) -> CountingRule {
        CountingRule {
            switches: if self.count_switches { SwitchCounting::Counted } else { SwitchCounting::Ignored },
            truncated: if self.mask_truncated { TruncatedCounting::Masked } else { TruncatedCounting::Kept },
        }
    }

    fn settings(&self) -> LossSettings {
        LossSettings {
            loss_type: self.loss_type,
            level: self.level,
            epsilon: self.epsilon,
            epsilon_high: self.epsilon_high,
            beta: self.beta,
            top_entropy: self.top_entropy,
            max_completion_length: self.max_completion,
        }
    }

    /// Returns the events of each rollout. Behind its end there is nothing, which counts as little as an inserted token does.
    fn events(&self, given: &GoldenFile) -> Result<Vec<RolloutEvents>, ModelError> {
        let fail =
            |kind: f64| ModelError::File { file: given.file.clone(), message: format!("unknown event kind {kind}") };
        let kind = |kind: &f64| match *kind as i64 {
            0 | 4 => Ok(RolloutEventKind::ForcedSwitch),
            1 => Ok(RolloutEventKind::Token),
            2 => Ok(RolloutEventKind::Latent),
            3 => Ok(RolloutEventKind::SampledSwitch),
            _ => Err(fail(*kind)),
        };
        let truncated = &given.get("truncated")?.1;
        let rollout = |(index, kinds): (usize, Vec<f64>)| {
            let is_truncated = self.truncated == "all" || truncated.get(index).is_some_and(|cut| *cut != 0.0);
            Ok(RolloutEvents { kinds: kinds.iter().map(kind).collect::<Result<_, _>>()?, is_truncated })
        };
        rows_of(given, "kind")?.into_iter().enumerate().map(rollout).collect()
    }
}

fn present(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

/// Returns the rows of a matrix.
fn rows_of(given: &GoldenFile, name: &str) -> Result<Vec<Vec<f64>>, ModelError> {
    let (dims, values) = given.get(name)?;
    Ok(values.chunks(dims.get(1).copied().unwrap_or(1).max(1)).map(<[f64]>::to_vec).collect())
}

/// Compares number by number. The error is relative to what each number is allowed, in units of the absolute tolerance.
fn compare(found: &[f64], golden: &[f64], (absolute, relative): (f64, f64)) -> CheckResult {
    if found.len() != golden.len() {
        return CheckResult::Compared { error: f64::INFINITY, tolerance: absolute };
    }
    // An allowed error grows with the number: scaled back, all are compared with the absolute tolerance.
    let scaled = |(found, golden): (&f64, &f64)| {
        let error = (found - golden).abs();
        if error == 0.0 { 0.0 } else { error * absolute / (absolute + relative * golden.abs()) }
    };
    let worst = found
        .iter()
        .zip(golden)
        .map(scaled)
        .fold(0.0, |worst: f64, error| if error.is_nan() { error } else { worst.max(error) });
    CheckResult::Compared { error: worst, tolerance: absolute }
}
