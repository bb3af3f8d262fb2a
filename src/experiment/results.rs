//! Owns: what finished runs have measured: the curves of their metrics, their cost, and what they ran on.
//! Must not know: how arms are compared.
//! Invariant: a value is one that a run has recorded; nothing is smoothed, extended or filled in.

use super::ExperimentError;
use super::plan::{Experiment, PlannedRun};
use super::progress::ProgressState;
use super::spec::{Better, ValueOf};
use crate::record::rows::{self, TableRow};
use crate::record::run_folder::{RunFolder, read_json};
use crate::record::segments;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::RunInfo;
use crate::schema::rows::EventRow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A measured value, and the work that the run had done by then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CurvePoint {
    pub step: u64,
    /// Input tokens; what an earlier run had used that this one starts from counts, too.
    pub tokens: f64,
    /// Floating-point operations, counted likewise; none if they are not known.
    pub flop: Option<f64>,
    pub value: f64,
}

/// What a run has measured.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    pub name: String,
    pub seed: u64,
    pub folder: PathBuf,
    /// The points of each metric that was asked for, by its name, in the order of the steps.
    pub curves: BTreeMap<String, Vec<CurvePoint>>,
    pub steps: u64,
    pub tokens: f64,
    pub flop: Option<f64>,
    pub wall_s: f64,
    pub device: String,
    /// Number of parameters of the model.
    pub params: u64,
    /// Config changes that were applied while it ran.
    pub changes: usize,
    /// What of its tables could not be read, in words.
    pub damage: Vec<String>,
}

impl RunResult {
    /// Reads what the run in `folder` has measured of the `metrics`: columns of `metrics/` or figures of validations.
    pub fn read(folder: &Path, metrics: &[String]) -> Result<Self, ExperimentError> {
        let opened = RunFolder::open(folder)?;
        let table = segments::read_table(&folder.join(StepRow::TABLE))?;
        let steps: Vec<StepRow> = table.batches.iter().flat_map(rows::step_rows).collect();
        let info: Option<RunInfo> = read_json(&opened.run_info_file())?;
        let mut result = Self { folder: opened.path().to_owned(), damage: table.damage, ..Self::default() };
        if let Some(info) = info {
            (result.device, result.params) = (info.device, info.params);
        }
        if let Some(last) = steps.last() {
            result.steps = last.step();
            result.tokens = last.get(Metric::Tokens).unwrap_or(0.0);
            result.flop = last.get(Metric::TotalFlop);
            result.wall_s = last.get(Metric::WallS).unwrap_or(0.0);
        }
        let figures = if metrics.iter().all(|name| Metric::find(name).is_some()) {
            Vec::new()
        } else {
            let events = segments::read_table(&folder.join(EventRow::TABLE))?;
            result.damage.extend(events.damage);
            events.batches.iter().flat_map(rows::figures).collect()
        };
        for name in metrics {
            let points = match Metric::find(name) {
                Some(metric) => steps.iter().filter_map(|row| Some(point_of(row, row.get(metric)?))).collect(),
                None => {
                    let named = figures.iter().filter(|figure| figure.name == *name);
                    named.map(|figure| point_at(&steps, figure.step, figure.value)).collect()
                }
            };
            result.curves.insert(name.clone(), points);
        }
        Ok(result)
    }

    /// Returns the points of a metric; none if it was not measured.
    pub fn curve(&self, metric: &str) -> &[CurvePoint] {
        self.curves.get(metric).map_or(&[], Vec::as_slice)
    }

    /// Returns the value of a metric that counts; none if it was not measured, or is not finite.
    pub fn value(&self, metric: &str, of: ValueOf, better: Better) -> Option<f64> {
        let mut values = self.curve(metric).iter().map(|point| point.value);
        match (of, better) {
            (ValueOf::Last, _) => values.next_back().filter(|value| value.is_finite()),
            (ValueOf::Best, Better::Lower) => values.filter(|value| value.is_finite()).reduce(f64::min),
            (ValueOf::Best, Better::Higher) => values.filter(|value| value.is_finite()).reduce(f64::max),
        }
    }

    /// Drops operations, because those of its start are not known.
    fn forget_cost(&mut self) {
        self.flop = None;
        self.curves.values_mut().flatten().for_each(|point| point.flop = None);
    }

    /// Adds what an earlier run had used, from whose weights this one started.
    fn add_start(&mut self, start: &RunResult) {
        let add = |flop: Option<f64>| flop.zip(start.flop).map(|(own, before)| own + before);
        self.tokens += start.tokens;
        self.flop = add(self.flop);
        for point in self.curves.values_mut().flatten() {
            point.tokens += start.tokens;
            point.flop = add(point.flop);
        }
    }
}

fn point_of(row: &StepRow, value: f64) -> CurvePoint {
    let (tokens, flop) = (row.get(Metric::Tokens).unwrap_or(0.0), row.get(Metric::TotalFlop));
    CurvePoint { step: row.step(), tokens, flop, value }
}

/// Returns the point of a figure at `step`; its work is that of the step's row.
fn point_at(steps: &[StepRow], step: u64, value: f64) -> CurvePoint {
    let found = steps.binary_search_by_key(&step, StepRow::step).ok().map(|index| point_of(&steps[index], value));
    found.unwrap_or(CurvePoint { step, tokens: 0.0, flop: None, value })
}

/// A run that has no result, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct AbsentRun {
    pub name: String,
    pub state: String,
    pub reason: String,
}

/// The results of all runs of an experiment.
#[derive(Clone, Debug, Default)]
pub struct ExperimentResults {
    /// By arm, then by seed, as the file lists them; none if the run is not finished.
    pub runs: Vec<Vec<Option<RunResult>>>,
    pub absent: Vec<AbsentRun>,
}

impl Experiment {
    /// Returns the names of all metrics that the experiment speaks of, the primary one first.
    pub fn metric_names(&self) -> Vec<String> {
        let spec = &self.spec;
        let compared = spec.comparisons.iter().flat_map(|c| [c.metric.clone(), c.metric_b.clone()]).flatten();
        let mut names = vec![spec.primary.clone()];
        for name in spec.metrics.iter().cloned().chain(compared) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Reads the results of the runs that are finished.
    pub fn results(&self) -> ExperimentResults {
        let metrics = self.metric_names();
        let (progress, seeds) = (self.progress(), self.spec.seeds.len());
        let mut found = ExperimentResults { runs: vec![vec![None; seeds]; self.spec.arms.len()], absent: Vec::new() };
        for (index, (run, progress)) in self.runs.iter().zip(&progress).enumerate() {
            let (ProgressState::Finished, Some(folder)) = (&progress.state, &progress.folder) else {
                found.absent.push(absent_run(run, &progress.state));
                continue;
            };
            let mut result = match RunResult::read(folder, &metrics) {
                Ok(result) => result,
                Err(error) => {
                    let (name, state) = (run.name.clone(), "damaged".to_owned());
                    found.absent.push(AbsentRun { name, state, reason: error.to_string() });
                    continue;
                }
            };
            (result.name, result.seed, result.changes) = (run.name.clone(), run.seed, progress.changes);
            let seed = index / self.spec.arms.len();
            match self.start_of(run).map(|start| found.runs[start.arm][seed].as_ref()) {
                Some(Some(start)) => result.add_start(start),
                // What the start has used is not known.
                Some(None) => result.forget_cost(),
                None => {}
            }
            found.runs[run.arm][seed] = Some(result);
        }
        found
    }
}

fn absent_run(run: &PlannedRun, state: &ProgressState) -> AbsentRun {
    let reason = match state {
        ProgressState::Failed(error) => error.clone(),
        ProgressState::Differs(keys) => keys.join("; "),
        _ => String::new(),
    };
    AbsentRun { name: run.name.clone(), state: state.word().to_owned(), reason }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes the result of a run whose `metric` has these values, one every ten steps of 100 operations each.
    pub fn result(seed: u64, metric: &str, values: &[f64]) -> RunResult {
        let point = |(index, value): (usize, &f64)| {
            let step = 10 * (index as u64 + 1);
            CurvePoint { step, tokens: step as f64 * 8.0, flop: Some(step as f64 * 100.0), value: *value }
        };
        let points: Vec<CurvePoint> = values.iter().enumerate().map(point).collect();
        let last = points.last().copied().unwrap_or_default();
        RunResult {
            name: format!("x-s{seed}"),
            seed,
            steps: last.step,
            tokens: last.tokens,
            flop: last.flop,
            curves: [(metric.to_owned(), points)].into(),
            ..RunResult::default()
        }
    }

    #[test]
    fn the_last_or_the_best_value_counts() {
        let run = result(0, "m", &[3.0, 1.0, 2.0, f64::NAN]);
        assert_eq!(run.value("m", ValueOf::Best, Better::Lower), Some(1.0));
        assert_eq!(run.value("m", ValueOf::Best, Better::Higher), Some(3.0));
        assert_eq!(run.value("m", ValueOf::Last, Better::Lower), None, "it ended with no number");
        assert_eq!(run.value("other", ValueOf::Last, Better::Lower), None);
    }

    #[test]
    fn the_work_of_the_start_counts() {
        let (mut run, start) = (result(0, "m", &[3.0, 2.0]), result(0, "m", &[5.0]));
        run.add_start(&start);
        assert_eq!((run.flop, run.tokens, run.steps), (Some(3000.0), 240.0, 20));
        assert_eq!(run.curve("m")[0], CurvePoint { step: 10, tokens: 160.0, flop: Some(2000.0), value: 3.0 });
    }
}
