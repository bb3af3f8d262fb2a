//! Owns: `MultiRunView`, what the user looks at in the dashboard of several runs: metric, axes, band, what is pinned or
//! hidden.
//! Must not know: keys, how anything is drawn.
//! Invariant: pins and hidden runs belong to runs and groups, not to lines; what is pinned is drawn.

use super::group_curve::GroupBand;
use super::run_groups::RunGroup;
use super::run_series::XAxis;
use super::state::MultiRunState;
use crate::schema::metrics::Metric;
use crate::tui::app::chart_settings::ChartSettings;
use crate::tui::app::command::CommandPrompt;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is drawn over the charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiRunScreen {
    #[default]
    Charts,
    /// The keys, scrolled down by this many lines.
    Help(u16),
    /// The metric to chart is typed.
    MetricPrompt,
}

/// Whether the single runs of groups are drawn beside the means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunLines {
    #[default]
    Shown,
    Hidden,
}

/// Which part of the x axis is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AxisSpan {
    #[default]
    All,
    LastHalf,
    LastTenth,
}

impl AxisSpan {
    pub fn next(self) -> Self {
        match self {
            AxisSpan::All => AxisSpan::LastHalf,
            AxisSpan::LastHalf => AxisSpan::LastTenth,
            AxisSpan::LastTenth => AxisSpan::All,
        }
    }

    /// Returns the first place that is shown, of an axis from `low` to `high`.
    pub fn start(self, low: f64, high: f64) -> f64 {
        match self {
            AxisSpan::All => low,
            AxisSpan::LastHalf => high - (high - low) / 2.0,
            AxisSpan::LastTenth => high - (high - low) / 10.0,
        }
    }
}

/// Whether a curve is drawn, and how strongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emphasis {
    /// Something else is pinned.
    Behind,
    Usual,
    Pinned,
}

#[derive(Clone, Debug, Default)]
pub struct MultiRunView {
    /// The metric that was chosen; none for the first usual one that there is.
    pub metric: Option<Metric>,
    pub axis: XAxis,
    pub band: GroupBand,
    pub run_lines: RunLines,
    pub span: AxisSpan,
    /// Scales and smoothing; its steps are not used.
    pub charts: ChartSettings,
    pub pinned_runs: BTreeSet<PathBuf>,
    pub pinned_groups: BTreeSet<usize>,
    pub hidden_runs: BTreeSet<PathBuf>,
    pub hidden_groups: BTreeSet<usize>,
    pub screen: MultiRunScreen,
    pub metric_prompt: CommandPrompt,
}

/// Weight of the past in smoothed curves, if none was chosen.
const SMOOTHING: f64 = 0.9;
/// What is charted if nothing was chosen: the first that there is.
const USUAL_METRICS: [Metric; 4] = [Metric::Reward, Metric::LossQuestions, Metric::LossPlain, Metric::ValidPlain];

impl MultiRunView {
    pub fn smoothing(&self) -> f64 {
        self.charts.smoothing(SMOOTHING)
    }

    pub fn cycle_smoothing(&mut self) {
        self.charts.cycle_smoothing(SMOOTHING);
    }

    /// Returns the metric that is charted; none before the first value.
    pub fn charted_metric(&self, state: &MultiRunState) -> Option<Metric> {
        let known = state.metrics();
        let usual = || USUAL_METRICS.into_iter().find(|metric| known.contains(metric));
        self.metric.or_else(usual).or(known.first().copied())
    }

    /// Whether the run in `folder` is drawn for itself because it is pinned.
    pub fn is_pinned(&self, folder: &Path) -> bool {
        self.pinned_runs.contains(folder)
    }

    /// Whether the run is left out of the chart, whatever the filter says.
    pub fn is_hidden(&self, folder: &Path, group: Option<&RunGroup>) -> bool {
        let group_is_hidden = group.is_some_and(|group| self.hidden_groups.contains(&group.slot));
        let is_pinned = self.is_pinned(folder) || group.is_some_and(|group| self.pinned_groups.contains(&group.slot));
        (self.hidden_runs.contains(folder) || group_is_hidden) && !is_pinned
    }

    /// Returns how strongly the mean of a group is drawn.
    pub fn group_emphasis(&self, slot: usize) -> Emphasis {
        match self.pinned_groups.contains(&slot) {
            true => Emphasis::Pinned,
            false if self.has_pins() => Emphasis::Behind,
            false => Emphasis::Usual,
        }
    }

    pub fn has_pins(&self) -> bool {
        !self.pinned_runs.is_empty() || !self.pinned_groups.is_empty()
    }

    /// Pins the run, or takes its pin. A run that is pinned is not hidden.
    pub fn toggle_run_pin(&mut self, folder: &Path) {
        if !self.pinned_runs.remove(folder) {
            self.pinned_runs.insert(folder.to_owned());
            self.hidden_runs.remove(folder);
        }
    }

    pub fn toggle_group_pin(&mut self, slot: usize) {
        if !self.pinned_groups.remove(&slot) {
            self.pinned_groups.insert(slot);
            self.hidden_groups.remove(&slot);
        }
    }

    /// Hides the run, or shows it again. A run that is hidden is not pinned.
    pub fn toggle_run(&mut self, folder: &Path) {
        if !self.hidden_runs.remove(folder) {
            self.hidden_runs.insert(folder.to_owned());
            self.pinned_runs.remove(folder);
        }
    }

    pub fn toggle_group(&mut self, slot: usize) {
        if !self.hidden_groups.remove(&slot) {
            self.hidden_groups.insert(slot);
            self.pinned_groups.remove(&slot);
        }
    }

    pub fn show_all(&mut self) {
        self.hidden_runs.clear();
        self.hidden_groups.clear();
        self.pinned_runs.clear();
        self.pinned_groups.clear();
    }
}
