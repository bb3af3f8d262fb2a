//! Owns: what the runs of arms show: each arm's spread over seeds, each comparison's difference, and the words for it.
//! Must not know: files, how a report is written.
//! Invariant: a verdict comes from the interval that holds for all declared comparisons at once, never from a p.

use super::results::RunResult;
use super::spec::{Better, ComparisonSpec, ValueOf};
use crate::statistics::{
    LossCurve, PairedDifference, ReachRatio, detectable_effect, holm, improvement_interval, iqm, iqm_interval, loss_at,
    probability_of_improvement, seeds_needed, t_interval, t_interval_at,
};

/// Resamples of a bootstrap, and its seed.
const RESAMPLES: usize = 10_000;
const BOOTSTRAP_SEED: u64 = 0;
/// Level of intervals, and power of the smallest detectable effect.
pub const LEVEL: f64 = 0.95;
pub const POWER: f64 = 0.8;

/// What decides, and what is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub primary: String,
    pub value: ValueOf,
    pub better: Better,
    /// The smallest difference that would matter; 0 if none is known.
    pub smallest_effect: f64,
    /// Value of the primary metric for "operations to reach"; none: the worst value of all runs.
    pub reach: Option<f64>,
    pub metrics: Vec<String>,
    pub comparisons: Vec<ComparisonSpec>,
}

impl Question {
    /// Returns the smallest difference of a metric that would matter; 0 if none is known. It is declared for the primary one.
    pub fn smallest_effect_of(&self, metric: &str) -> f64 {
        if metric == self.primary { self.smallest_effect } else { 0.0 }
    }
}

/// The runs of an arm, one place for each seed.
#[derive(Clone, Debug)]
pub struct ArmRuns {
    pub name: String,
    /// What it overrides, as `section.key = value`.
    pub overrides: Vec<String>,
    pub runs: Vec<Option<RunResult>>,
}

/// A metric of an arm over its seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricSpread {
    pub metric: String,
    /// By seed.
    pub values: Vec<Option<f64>>,
    pub n: usize,
    pub mean: Option<f64>,
    pub sd: Option<f64>,
    /// 95 % t interval of the mean.
    pub interval: Option<[f64; 2]>,
    /// Interquartile mean, with its 95 % bootstrap interval (Agarwal et al., arXiv 2108.13264).
    pub iqm: Option<f64>,
    pub iqm_interval: Option<[f64; 2]>,
}

/// An arm over its seeds.
#[derive(Clone, Debug)]
pub struct ArmSummary {
    pub name: String,
    pub overrides: Vec<String>,
    /// The primary metric, then the others.
    pub spreads: Vec<MetricSpread>,
    /// Means of updates, tokens, operations and seconds of a run.
    pub steps: Option<f64>,
    pub tokens: Option<f64>,
    pub flop: Option<f64>,
    pub wall_s: Option<f64>,
}

/// A comparison of two arms: the differences are those of `a` minus `b`, by seed.
#[derive(Clone, Debug)]
pub struct ComparisonResult {
    pub spec: ComparisonSpec,
    pub metric: String,
    pub differences: Vec<Option<f64>>,
    pub paired: PairedDifference,
    /// Interval that holds for all comparisons at once (Bonferroni).
    pub joint_interval: Option<[f64; 2]>,
    /// p of the t test, adjusted over all comparisons (Holm, 1979).
    pub p_holm: Option<f64>,
    /// Probability that a run of `a` is better than one of `b`, a tie counting half, with its bootstrap interval.
    pub improvement: Option<f64>,
    pub improvement_interval: Option<[f64; 2]>,
    /// The difference that these seeds would show with a power of 0.8, at their spread.
    pub detectable: Option<f64>,
    /// Seeds that the smallest effect that matters, or else the difference found, would need for that.
    pub seeds_needed: Option<usize>,
    /// The same difference at equal operations: at the most operations that all runs of both have.
    pub at_equal_flop: Option<(f64, PairedDifference)>,
    /// Operations that `a` needs to reach `reach`, divided by those of `b`.
    pub reach: Option<(f64, ReachRatio)>,
    pub verdict: ComparisonVerdict,
}

/// What an interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum ComparisonVerdict {
    #[strum(serialize = "a is better")]
    ABetter,
    #[strum(serialize = "b is better")]
    BBetter,
    /// The interval lies within the effects that do not matter.
    #[strum(serialize = "no difference that matters")]
    Equal,
    #[strum(serialize = "undecided")]
    Undecided,
    /// All differences are equal, so their interval says nothing of other seeds.
    #[strum(serialize = "no spread")]
    NoSpread,
    /// Fewer than two pairs of runs.
    #[strum(serialize = "too few runs")]
    TooFew,
}

/// All that an experiment shows.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub question: Question,
    pub seeds: Vec<u64>,
    pub arms: Vec<ArmSummary>,
    pub comparisons: Vec<ComparisonResult>,
}

impl Analysis {
    /// Analyses the runs of `arms`, which have a place for each of `seeds`.
    pub fn new(question: Question, seeds: Vec<u64>, arms: &[ArmRuns]) -> Self {
        let summaries = arms.iter().map(|arm| summarize(arm, &question)).collect::<Vec<_>>();
        let reach = question.reach.or_else(|| worst_value(&summaries, question.better));
        let find = |name: &str| arms.iter().find(|arm| arm.name == name);
        let pairs = question.comparisons.iter().filter_map(|spec| Some((spec, find(&spec.a)?, find(&spec.b)?)));
        let mut comparisons: Vec<ComparisonResult> =
            pairs.map(|(spec, a, b)| compare(&question, spec, a, b, reach)).collect();
        adjust(&mut comparisons, &question);
        Self { question, seeds, arms: summaries, comparisons }
    }
}

fn summarize(arm: &ArmRuns, question: &Question) -> ArmSummary {
    let metrics = std::iter::once(&question.primary).chain(&question.metrics);
    let spreads = metrics.map(|metric| spread(arm, metric, question)).collect();
    let mean = |value: &dyn Fn(&RunResult) -> Option<f64>| {
        let values: Option<Vec<f64>> = arm.runs.iter().flatten().map(value).collect();
        values.filter(|values| !values.is_empty()).map(|values| mean_of(&values))
    };
    ArmSummary {
        name: arm.name.clone(),
        overrides: arm.overrides.clone(),
        spreads,
        steps: mean(&|run| Some(run.steps as f64)),
        tokens: mean(&|run| Some(run.tokens)),
        flop: mean(&|run| run.flop),
        wall_s: mean(&|run| Some(run.wall_s)),
    }
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the direction of a metric: that of the question for the primary one, else by its name.
fn better_of(metric: &str, question: &Question) -> Better {
    match metric == question.primary {
        true => question.better,
        false => Better::of_metric(metric).unwrap_or(question.better),
    }
}

fn values_by_seed(arm: &ArmRuns, metric: &str, question: &Question) -> Vec<Option<f64>> {
    let better = better_of(metric, question);
    arm.runs.iter().map(|run| run.as_ref()?.value(metric, question.value, better)).collect()
}

fn spread(arm: &ArmRuns, metric: &str, question: &Question) -> MetricSpread {
    let values = values_by_seed(arm, metric, question);
    let known: Vec<f64> = values.iter().copied().flatten().collect();
    let scores: Vec<Vec<f64>> = known.iter().map(|value| vec![*value]).collect();
    let mean = (!known.is_empty()).then(|| mean_of(&known));
    let square = |mean: f64| known.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let sd = mean.filter(|_| known.len() > 1).map(|mean| (square(mean) / (known.len() - 1) as f64).sqrt());
    MetricSpread {
        metric: metric.to_owned(),
        values,
        n: known.len(),
        mean,
        sd,
        interval: t_interval(&known),
        iqm: iqm(&scores),
        iqm_interval: iqm_interval(&scores, RESAMPLES, BOOTSTRAP_SEED).filter(|_| known.len() > 1),
    }
}

/// Returns the worst value of all runs: every run has reached it.
fn worst_value(arms: &[ArmSummary], better: Better) -> Option<f64> {
    let values =
        arms.iter().filter_map(|arm| arm.spreads.first()).flat_map(|spread| spread.values.iter().flatten().copied());
    match better {
        Better::Lower => values.reduce(f64::max),
        Better::Higher => values.reduce(f64::min),
    }
}

fn compare(
    question: &Question,
    spec: &ComparisonSpec,
    a: &ArmRuns,
    b: &ArmRuns,
    reach: Option<f64>,
) -> ComparisonResult {
    let metric = spec.metric.clone().unwrap_or_else(|| question.primary.clone());
    let metric_b = spec.metric_b.clone().unwrap_or_else(|| metric.clone());
    let (values_a, values_b) = (values_by_seed(a, &metric, question), values_by_seed(b, &metric_b, question));
    let paired = PairedDifference::new(&values_a, &values_b);
    let differences = values_a.iter().zip(&values_b).map(|(a, b)| Some((*a)? - (*b)?)).collect();
    let scores = |values: &[Option<f64>]| {
        // The better run has the higher score.
        let sign = if better_of(&metric, question) == Better::Lower { -1.0 } else { 1.0 };
        values.iter().flatten().map(|value| vec![sign * value]).collect::<Vec<_>>()
    };
    let (scores_a, scores_b) = (scores(&values_a), scores(&values_b));
    let several = paired.n > 1;
    let spread = paired.sd.filter(|sd| *sd > 0.0);
    let smallest = question.smallest_effect_of(&metric);
    let effect = if smallest > 0.0 { smallest } else { paired.mean.unwrap_or(0.0).abs() };
    let same_metric = metric == metric_b;
    // As the verdict: for all comparisons at once.
    let alpha = (1.0 - LEVEL) / question.comparisons.len().max(1) as f64;
    ComparisonResult {
        spec: spec.clone(),
        differences,
        joint_interval: paired.interval,
        p_holm: paired.p_t,
        improvement: probability_of_improvement(&scores_a, &scores_b),
        improvement_interval: improvement_interval(&scores_a, &scores_b, RESAMPLES, BOOTSTRAP_SEED).filter(|_| several),
        detectable: spread.and_then(|sd| detectable_effect(paired.n, sd, POWER, alpha)),
        seeds_needed: spread.filter(|_| effect > 0.0).and_then(|sd| seeds_needed(effect, sd, POWER, alpha)),
        at_equal_flop: same_metric.then(|| equal_flop(a, b, &metric)).flatten(),
        reach: reach
            .filter(|_| same_metric && metric == question.primary)
            .and_then(|target| Some((target, reach_ratio(a, b, &metric, target, question.better)?))),
        paired,
        metric,
        verdict: ComparisonVerdict::TooFew,
    }
}

/// Sets what depends on how many comparisons there are.
fn adjust(comparisons: &mut [ComparisonResult], question: &Question) {
    let count = comparisons.len().max(1) as f64;
    let p: Vec<f64> = comparisons.iter().map(|found| found.paired.p_t.unwrap_or(1.0)).collect();
    for (found, adjusted) in comparisons.iter_mut().zip(holm(&p)) {
        found.p_holm = found.paired.p_t.map(|_| adjusted);
        let known: Vec<f64> = found.differences.iter().copied().flatten().collect();
        found.joint_interval = t_interval_at(&known, 1.0 - (1.0 - LEVEL) / count);
        let better = better_of(&found.metric, question);
        found.verdict = verdict(found.joint_interval, better, question.smallest_effect_of(&found.metric));
    }
}

/// Returns what the interval of a difference, `a` minus `b`, says.
pub fn verdict(interval: Option<[f64; 2]>, better: Better, smallest_effect: f64) -> ComparisonVerdict {
    let Some([low, high]) = interval else { return ComparisonVerdict::TooFew };
    if low == high {
        return ComparisonVerdict::NoSpread;
    }
    let within = |limit: f64| low >= -limit && high <= limit;
    match better {
        _ if smallest_effect > 0.0 && within(smallest_effect) => ComparisonVerdict::Equal,
        Better::Lower if high < 0.0 => ComparisonVerdict::ABetter,
        Better::Lower if low > 0.0 => ComparisonVerdict::BBetter,
        Better::Higher if low > 0.0 => ComparisonVerdict::ABetter,
        Better::Higher if high < 0.0 => ComparisonVerdict::BBetter,
        _ => ComparisonVerdict::Undecided,
    }
}

/// Returns the curve of a metric over operations; none if they are not known.
fn flop_curve(run: &RunResult, metric: &str, sign: f64) -> Option<LossCurve> {
    let points = run.curve(metric);
    let flop: Option<Vec<f64>> = points.iter().map(|point| point.flop).collect();
    let loss = points.iter().map(|point| sign * point.value).collect();
    flop.filter(|flop| !flop.is_empty()).map(|flop| LossCurve { flop, loss })
}

fn equal_flop(a: &ArmRuns, b: &ArmRuns, metric: &str) -> Option<(f64, PairedDifference)> {
    let curves = |arm: &ArmRuns| -> Vec<Option<LossCurve>> {
        arm.runs.iter().map(|run| flop_curve(run.as_ref()?, metric, 1.0)).collect()
    };
    let (a, b) = (curves(a), curves(b));
    let ends = a.iter().chain(&b).flatten().filter_map(|curve| curve.flop.last().copied());
    let budget = ends.reduce(f64::min)?;
    let values = |curves: &[Option<LossCurve>]| -> Vec<Option<f64>> {
        curves.iter().map(|curve| loss_at(curve.as_ref()?, budget)).collect()
    };
    let difference = PairedDifference::new(&values(&a), &values(&b));
    (difference.n > 0).then_some((budget, difference))
}

fn reach_ratio(a: &ArmRuns, b: &ArmRuns, metric: &str, target: f64, better: Better) -> Option<ReachRatio> {
    // Of a metric whose larger values are better, the mirrored curve falls to the mirrored target.
    let sign = if better == Better::Lower { 1.0 } else { -1.0 };
    // A missing run takes its seed out of the pairs; it is not one that never arrives.
    let pairs = a.runs.iter().zip(&b.runs).filter_map(|(a, b)| a.as_ref().zip(b.as_ref()));
    let curves: Option<Vec<(LossCurve, LossCurve)>> =
        pairs.map(|(a, b)| flop_curve(a, metric, sign).zip(flop_curve(b, metric, sign))).collect();
    let (a, b): (Vec<LossCurve>, Vec<LossCurve>) = curves.filter(|curves| !curves.is_empty())?.into_iter().unzip();
    Some(ReachRatio::to_reach(&a, &b, sign * target))
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::result;
    use super::*;

    fn question(comparisons: &[(&str, &str)]) -> Question {
        let spec = |(a, b): &(&str, &str)| ComparisonSpec {
            a: (*a).to_owned(),
            b: (*b).to_owned(),
            metric: None,
            metric_b: None,
        };
        Question {
            primary: "loss".into(),
            value: ValueOf::Last,
            better: Better::Lower,
            smallest_effect: 0.0,
            reach: None,
            metrics: Vec::new(),
            comparisons: comparisons.iter().map(spec).collect(),
        }
    }

    fn arm(name: &str, last: &[f64]) -> ArmRuns {
        let run = |(seed, last): (usize, &f64)| Some(result(seed as u64, "loss", &[5.0, *last]));
        ArmRuns { name: name.into(), overrides: Vec::new(), runs: last.iter().enumerate().map(run).collect() }
    }

    #[test]
    fn words_come_from_the_interval() {
        let say = |interval, better, smallest| verdict(interval, better, smallest);
        assert_eq!(say(Some([-0.3, -0.1]), Better::Lower, 0.0), ComparisonVerdict::ABetter);
        assert_eq!(say(Some([-0.3, -0.1]), Better::Higher, 0.0), ComparisonVerdict::BBetter);
        assert_eq!(say(Some([-0.3, 0.1]), Better::Lower, 0.0), ComparisonVerdict::Undecided);
        assert_eq!(say(Some([-0.3, 0.1]), Better::Lower, 0.5), ComparisonVerdict::Equal);
        assert_eq!(say(Some([-0.3, -0.1]), Better::Lower, 0.2), ComparisonVerdict::ABetter);
        assert_eq!(say(Some([0.2, 0.2]), Better::Lower, 0.0), ComparisonVerdict::NoSpread);
        assert_eq!(say(None, Better::Lower, 0.0), ComparisonVerdict::TooFew);
    }

    #[test]
    fn a_difference_is_paired_by_seed() {
        let arms = [arm("a", &[2.0, 3.0, 4.0]), arm("b", &[2.5, 3.6, 4.4])];
        let found = Analysis::new(question(&[("a", "b")]), vec![0, 1, 2], &arms);
        let comparison = &found.comparisons[0];
        assert!((comparison.paired.mean.unwrap() + 0.5).abs() < 1e-12);
        assert_eq!(comparison.verdict, ComparisonVerdict::ABetter);
        assert_eq!(comparison.joint_interval, comparison.paired.interval, "one comparison alone");
        assert_eq!(comparison.paired.p_sign, 0.25, "three seeds cannot do better");
        // Both end with 2,000 operations; `a` reaches the end of `b` before.
        let (budget, at_equal) = comparison.at_equal_flop.as_ref().unwrap();
        assert_eq!((*budget, at_equal.mean), (2000.0, comparison.paired.mean));
        let (target, ratio) = comparison.reach.as_ref().unwrap();
        assert_eq!(*target, 4.4, "the worst value of all runs");
        assert_eq!((ratio.never_a, ratio.never_b, ratio.n), (0, 0, 3));
    }

    #[test]
    fn more_comparisons_need_wider_intervals() {
        let arms = [arm("a", &[2.0, 3.0, 4.0]), arm("b", &[2.5, 3.6, 4.4]), arm("c", &[2.4, 3.1, 4.5])];
        let alone = Analysis::new(question(&[("a", "b")]), vec![0, 1, 2], &arms);
        let family = Analysis::new(question(&[("a", "b"), ("a", "c"), ("b", "c")]), vec![0, 1, 2], &arms);
        let width = |found: &Analysis| found.comparisons[0].joint_interval.map(|[low, high]| high - low).unwrap();
        assert!(width(&family) > 1.5 * width(&alone));
        assert_eq!(family.comparisons[0].paired, alone.comparisons[0].paired);
    }

    #[test]
    fn a_missing_run_takes_its_seed_out() {
        let mut arms = [arm("a", &[2.0, 3.0, 4.0]), arm("b", &[2.5, 3.6, 4.4])];
        arms[1].runs[0] = None;
        let found = Analysis::new(question(&[("a", "b")]), vec![0, 1, 2], &arms);
        let comparison = &found.comparisons[0];
        assert_eq!((comparison.paired.n, comparison.differences[0]), (2, None));
        assert_eq!((found.arms[0].spreads[0].n, found.arms[1].spreads[0].n), (3, 2));
    }
}
