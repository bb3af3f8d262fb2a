//! Owns: a report as words and formatted numbers, ready for a template.
//! Must not know: template syntax, files.
//! Invariant: a number is formatted here and nowhere else, so that all forms of a report show the same.

use super::contents::Report;
use super::figures::ReportFigure;
use crate::experiment::analysis::{
    Analysis, ArmSummary, ComparisonResult, ComparisonVerdict, LEVEL, MetricSpread, POWER,
};
use crate::experiment::results::AbsentRun;
use crate::experiment::spec::{Better, HeldEqual};
use serde::Serialize;

/// A report as words.
#[derive(Clone, Debug, Serialize)]
pub struct ReportView {
    pub name: String,
    pub question: String,
    pub program: String,
    pub made_at: String,
    pub primary: String,
    pub better: &'static str,
    pub held: String,
    pub seeds: String,
    pub verdicts: Vec<VerdictView>,
    pub arms: Vec<ArmView>,
    /// Names of the metrics after the primary one, and a row for each arm.
    pub other_metrics: Vec<String>,
    pub comparisons: Vec<ComparisonView>,
    pub notes: Vec<String>,
    pub declarations: Vec<String>,
    pub absent: Vec<String>,
    pub machines: Vec<String>,
    pub commands: Vec<String>,
    pub figures: Vec<ReportFigure>,
}

#[derive(Clone, Debug, Serialize)]
pub struct VerdictView {
    /// `better`, `equal` or `open`.
    pub class: &'static str,
    pub text: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ArmView {
    pub name: String,
    pub overrides: String,
    pub n: String,
    pub mean: String,
    pub interval: String,
    pub sd: String,
    pub iqm: String,
    pub values: String,
    pub others: Vec<String>,
    pub steps: String,
    pub tokens: String,
    pub flop: String,
    pub minutes: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ComparisonView {
    pub title: String,
    pub n: String,
    pub mean: String,
    pub interval: String,
    pub joint_interval: String,
    pub p_t: String,
    pub p_holm: String,
    pub p_sign: String,
    pub improvement: String,
    pub detectable: String,
    pub seeds_needed: String,
    pub equal_flop: String,
    pub reach: String,
    pub verdict: &'static str,
}

impl ReportView {
    pub fn new(report: &Report, figures: &[ReportFigure]) -> Self {
        let analysis = &report.analysis;
        let question = &analysis.question;
        let family = analysis.comparisons.len();
        Self {
            name: report.name.clone(),
            question: report.question.clone(),
            program: format!("coconut-lab {}", env!("CARGO_PKG_VERSION")),
            made_at: chrono::Utc::now().format("%F %R UTC").to_string(),
            primary: question.primary.clone(),
            better: if question.better == Better::Lower { "lower" } else { "higher" },
            held: held_text(report.held),
            seeds: join_words(analysis.seeds.iter().map(u64::to_string)),
            verdicts: analysis.comparisons.iter().map(|found| verdict_view(found, analysis)).collect(),
            arms: analysis.arms.iter().map(arm_view).collect(),
            other_metrics: question.metrics.clone(),
            comparisons: analysis.comparisons.iter().map(|found| comparison_view(found, family)).collect(),
            notes: notes(report),
            declarations: declarations(report),
            absent: report.absent.iter().map(absent_text).collect(),
            machines: machines(report),
            commands: report.commands.clone(),
            figures: figures.to_vec(),
        }
    }
}

fn held_text(held: Option<(HeldEqual, f64)>) -> String {
    match held {
        Some((HeldEqual::Steps, budget)) => format!("{} updates", number(budget)),
        Some((HeldEqual::Tokens, budget)) => format!("{} input tokens", number(budget)),
        Some((HeldEqual::Flop, budget)) => format!("{} floating-point operations", number(budget)),
        None => "nothing was held equal".to_owned(),
    }
}

fn join_words(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Formats a number with four significant digits; large and small ones with an exponent.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 {
        return format!("{value}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    if size >= 1e4 && value.fract() == 0.0 {
        return format!("{value}");
    }
    let decimals = (3.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
    format!("{value:.decimals$}")
}

fn optional(value: Option<f64>) -> String {
    value.map_or("–".into(), number)
}

/// Formats an interval.
pub fn interval_text(interval: Option<[f64; 2]>) -> String {
    interval.map_or("–".into(), |[low, high]| format!("{} to {}", number(low), number(high)))
}

/// Returns the name of the metric that a comparison is about, or of both.
fn compared_title(found: &ComparisonResult) -> String {
    let ComparisonResult { spec, metric, .. } = found;
    match &spec.metric_b {
        Some(other) => format!("{} {metric} − {} {other}", spec.a, spec.b),
        None => format!("{} − {}", spec.a, spec.b),
    }
}

/// Says in a sentence what a comparison has shown.
pub fn verdict_text(found: &ComparisonResult, analysis: &Analysis) -> String {
    let (a, b, metric) = (&found.spec.a, &found.spec.b, &found.metric);
    let mean = found.paired.mean.unwrap_or(0.0);
    let family = match analysis.comparisons.len() {
        0 | 1 => String::new(),
        count => format!(", which holds for all {count} comparisons at once"),
    };
    let percent = LEVEL * 100.0;
    let interval =
        format!("{percent} % interval {}{family}; n = {}", interval_text(found.joint_interval), found.paired.n);
    match found.verdict {
        ComparisonVerdict::ABetter => {
            format!("{a} is better than {b}: {metric} of {a} − {b} is {} ({interval}).", number(mean))
        }
        ComparisonVerdict::BBetter => {
            // The sign is that of the tables: a minus b.
            format!("{b} is better than {a}: {metric} of {a} − {b} is {} ({interval}).", number(mean))
        }
        ComparisonVerdict::Equal => format!(
            "{a} and {b} do not differ by what matters: {metric} differs by {} ({interval}), within ±{}.",
            number(mean),
            number(analysis.question.smallest_effect_of(metric))
        ),
        ComparisonVerdict::Undecided => {
            format!(
                "{a} against {b} is undecided: {metric} differs by {} ({interval}).{}",
                number(mean),
                seeds_text(found, analysis)
            )
        }
        ComparisonVerdict::NoSpread => format!(
            "{a} against {b}: all {} differences of {metric} are {}, so they say nothing of other seeds.",
            found.paired.n,
            number(mean)
        ),
        ComparisonVerdict::TooFew => format!("{a} against {b}: too few runs ({} pairs of runs).", found.paired.n),
    }
}

/// Says how many seeds would decide.
fn seeds_text(found: &ComparisonResult, analysis: &Analysis) -> String {
    let smallest = analysis.question.smallest_effect_of(&found.metric);
    let effect = if smallest > 0.0 { smallest } else { found.paired.mean.unwrap_or(0.0).abs() };
    match found.seeds_needed {
        Some(seeds) => format!(
            " At this spread, {seeds} seeds would show a difference of {} with a power of {POWER}.",
            number(effect)
        ),
        None => String::new(),
    }
}

fn verdict_view(found: &ComparisonResult, analysis: &Analysis) -> VerdictView {
    let class = match found.verdict {
        ComparisonVerdict::ABetter | ComparisonVerdict::BBetter => "better",
        ComparisonVerdict::Equal => "equal",
        ComparisonVerdict::Undecided | ComparisonVerdict::NoSpread | ComparisonVerdict::TooFew => "open",
    };
    VerdictView { class, text: verdict_text(found, analysis) }
}

fn arm_view(arm: &ArmSummary) -> ArmView {
    let empty = MetricSpread::default();
    let primary = arm.spreads.first().unwrap_or(&empty);
    let spread = |spread: &MetricSpread| format!("{} ({})", optional(spread.mean), interval_text(spread.interval));
    ArmView {
        name: arm.name.clone(),
        overrides: if arm.overrides.is_empty() { "as the base recipe".into() } else { arm.overrides.join(", ") },
        n: primary.n.to_string(),
        mean: optional(primary.mean),
        interval: interval_text(primary.interval),
        sd: optional(primary.sd),
        iqm: format!("{} ({})", optional(primary.iqm), interval_text(primary.iqm_interval)),
        values: join_words(primary.values.iter().map(|value| optional(*value))),
        others: arm.spreads.iter().skip(1).map(spread).collect(),
        steps: optional(arm.steps),
        tokens: optional(arm.tokens),
        flop: optional(arm.flop),
        minutes: arm.wall_s.map_or("–".into(), |seconds| format!("{:.1}", seconds / 60.0)),
    }
}

fn comparison_view(found: &ComparisonResult, family: usize) -> ComparisonView {
    let probability = |p: Option<f64>| p.map_or("–".into(), p_text);
    let with_interval = |value: Option<f64>, interval| format!("{} ({})", optional(value), interval_text(interval));
    ComparisonView {
        title: compared_title(found),
        n: found.paired.n.to_string(),
        mean: optional(found.paired.mean),
        interval: interval_text(found.paired.interval),
        joint_interval: if family > 1 { interval_text(found.joint_interval) } else { "the same".into() },
        p_t: probability(found.paired.p_t),
        p_holm: probability(found.p_holm),
        // The exact test cannot give less with so few pairs.
        p_sign: format!("{} (least {})", p_text(found.paired.p_sign), p_text(found.paired.least_p_sign())),
        improvement: with_interval(found.improvement, found.improvement_interval),
        detectable: optional(found.detectable),
        seeds_needed: found.seeds_needed.map_or("–".into(), |seeds| seeds.to_string()),
        equal_flop: found.at_equal_flop.as_ref().map_or("–".into(), |(flop, difference)| {
            format!("{} at {}", with_interval(difference.mean, difference.interval), number(*flop))
        }),
        reach: found.reach.as_ref().map_or("–".into(), |(target, ratio)| {
            let never = format!("n = {}, never: {} of a, {} of b", ratio.n, ratio.never_a, ratio.never_b);
            format!("{} for {}; {never}", with_interval(ratio.ratio, ratio.interval), number(*target))
        }),
        verdict: found.verdict.into(),
    }
}

fn p_text(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{:.4}", p.min(1.0)) }
}

/// Returns what a reader has to know about the runs.
fn notes(report: &Report) -> Vec<String> {
    let runs = || report.runs.iter().flatten().flatten();
    let mut notes = Vec::new();
    for run in runs() {
        if run.changes > 0 {
            notes.push(format!("{}: {} config changes were applied while it ran", run.name, run.changes));
        }
        notes.extend(run.damage.iter().map(|damage| format!("{}: {damage}", run.name)));
    }
    let mut devices: Vec<&str> = runs().map(|run| run.device.as_str()).collect();
    devices.sort_unstable();
    devices.dedup();
    if devices.len() > 1 {
        notes.push(format!("the runs are from {} devices, so their times do not compare", devices.len()));
    }
    let pairs = report.analysis.comparisons.iter().map(|found| found.paired.n).max().unwrap_or(0);
    if (1..6).contains(&pairs) {
        let least = p_text(2.0 / 2f64.powi(pairs as i32));
        notes
            .push(format!("with {pairs} pairs the sign-flip p cannot be below {least}, however large a difference is"));
    }
    notes
}

fn declarations(report: &Report) -> Vec<String> {
    let Some(hash) = &report.hash else {
        return vec!["Nothing was declared before the runs: what follows explores, and decides nothing.".into()];
    };
    let mut lines = Vec::new();
    for (index, record) in report.declarations.iter().enumerate() {
        let at = record.at.format("%F %R UTC");
        let what = match index {
            0 => "declared".to_owned(),
            _ => {
                let changes = record.declaration.differences(&report.declarations[index - 1].declaration);
                format!("CHANGED ({})", changes.join("; "))
            }
        };
        lines.push(format!("{at}: {what}, when {} runs existed; SHA-256 {}", record.runs_before, record.hash));
    }
    match report.declarations.last() {
        Some(last) if last.hash != *hash => {
            lines.push(format!("CHANGED since then in the file, before this report; SHA-256 {hash}"))
        }
        Some(_) => {}
        None => lines.push(format!("not recorded: no run was made here by `experiment run`; SHA-256 {hash}")),
    }
    lines
}

fn absent_text(run: &AbsentRun) -> String {
    match run.reason.as_str() {
        "" => format!("{} is {}", run.name, run.state),
        reason => format!("{} is {}: {reason}", run.name, run.state),
    }
}

fn machines(report: &Report) -> Vec<String> {
    let mut devices: Vec<String> = report
        .runs
        .iter()
        .flatten()
        .flatten()
        .map(|run| format!("{}, {} parameters", run.device, run.params))
        .collect();
    devices.sort();
    devices.dedup();
    let mut lines: Vec<String> = devices.into_iter().map(|device| format!("trained on {device}")).collect();
    lines.push(format!("reported on {}", report.machine));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (2.34567, "2.346"),
            (-0.0213456, "-0.02135"),
            (31415.0, "31415"),
            (314.159, "314.2"),
            (2.5e9, "2.500e9"),
            (1.5e-6, "1.500e-6"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(interval_text(Some([-0.5, 1.0])), "-0.5000 to 1.000");
    }
}
