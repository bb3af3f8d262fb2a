//! Owns: `RunSeries`, what the charts of several runs keep of one run: a history of each metric, and what x axes need.
//! Must not know: groups, how a curve is drawn.
//! Invariant: bounded for a run of any length; a curve's points ascend in x.

use crate::schema::metrics::{Metric, StepRow};
use crate::schema::run_list::MetricRange;
use crate::tui::model::history::SeriesHistory;
use std::collections::BTreeMap;

/// Maximum number of buckets of a history: as many as a wide plot has columns of dots. Many runs are kept at once.
pub const MAX_BUCKETS_PER_SERIES: usize = 512;

/// What a chart of several runs has on its x axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XAxis {
    #[default]
    Step,
    Tokens,
    /// Floating-point operations of all steps that the run has recorded.
    Flop,
    /// Seconds since training began.
    WallTime,
}

impl XAxis {
    pub fn next(self) -> Self {
        match self {
            XAxis::Step => XAxis::Tokens,
            XAxis::Tokens => XAxis::Flop,
            XAxis::Flop => XAxis::WallTime,
            XAxis::WallTime => XAxis::Step,
        }
    }

    /// Returns its name, with the unit if there is one.
    pub fn title(self) -> &'static str {
        match self {
            XAxis::Step => "step",
            XAxis::Tokens => "tokens",
            XAxis::Flop => "flop",
            XAxis::WallTime => "wall time, s",
        }
    }
}

/// A point of a run's curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    pub x: f64,
    pub y: f64,
    /// Whether values that were not finite are missing before it.
    pub gap_before: bool,
}

#[derive(Clone, Debug, Default)]
pub struct RunSeries {
    histories: BTreeMap<Metric, SeriesHistory>,
    /// The operations up to each step.
    flop: Option<SeriesHistory>,
    flop_sum: f64,
    ranges: BTreeMap<Metric, MetricRange>,
    last_step: Option<u64>,
}

/// The operations of a step, part by part.
const FLOP_PARTS: [Metric; 4] = [Metric::PlainFlop, Metric::RecycledFlop, Metric::HeadFlop, Metric::UpdateFlop];

fn bounded_history() -> SeriesHistory {
    SeriesHistory::with_max_buckets(MAX_BUCKETS_PER_SERIES)
}

impl RunSeries {
    /// Adds a row. Steps that do not ascend are ignored.
    pub fn add(&mut self, row: &StepRow) {
        let step = row.step();
        if self.last_step.is_some_and(|last| step <= last) {
            return;
        }
        self.last_step = Some(step);
        for metric in Metric::ALL.iter().filter(|metric| **metric != Metric::Step) {
            let Some(value) = row.get(*metric) else { continue };
            self.histories.entry(*metric).or_insert_with(bounded_history).push(step, value);
            let range = self.ranges.entry(*metric).or_default();
            range.last = Some(value);
            if value.is_finite() {
                range.min = Some(range.min.map_or(value, |min| min.min(value)));
                range.max = Some(range.max.map_or(value, |max| max.max(value)));
            }
        }
        let parts = FLOP_PARTS.iter().filter_map(|metric| row.get(*metric)).filter(|flop| flop.is_finite());
        self.flop_sum += parts.sum::<f64>();
        if self.flop_sum > 0.0 {
            self.flop.get_or_insert_with(bounded_history).push(step, self.flop_sum);
        }
    }

    pub fn last_step(&self) -> Option<u64> {
        self.last_step
    }

    /// Returns what is known of each metric, in the order of [`Metric::ALL`].
    pub fn metric_ranges(&self) -> Vec<MetricRange> {
        let step = self.last_step.map(|step| step as f64);
        let range = |metric: &Metric| match metric {
            Metric::Step => MetricRange { last: step, min: None, max: step },
            metric => self.ranges.get(metric).copied().unwrap_or_default(),
        };
        Metric::ALL.iter().map(range).collect()
    }

    /// Iterates over the metrics that have a value.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> {
        self.histories.iter().filter(|(_, history)| !history.is_empty()).map(|(metric, _)| *metric)
    }

    /// Returns the curve of `metric` over `axis`, smoothed with this weight of the past per step. Values before the first
    /// place on the axis that is known are left out.
    pub fn curve(&self, metric: Metric, axis: XAxis, smoothing: f64) -> Vec<CurvePoint> {
        let Some(history) = self.histories.get(&metric) else { return Vec::new() };
        let points = history.smoothed(smoothing).filter_map(|(bucket, y)| {
            let x = self.x_at(axis, bucket.last_step)?;
            Some(CurvePoint { x, y, gap_before: bucket.gap_before })
        });
        points.collect()
    }

    /// Returns where `step` lies on `axis`, between its neighbours in the history.
    fn x_at(&self, axis: XAxis, step: u64) -> Option<f64> {
        let history = match axis {
            XAxis::Step => return Some(step as f64),
            XAxis::Tokens => self.histories.get(&Metric::Tokens)?,
            XAxis::WallTime => self.histories.get(&Metric::WallS)?,
            XAxis::Flop => self.flop.as_ref()?,
        };
        // Its values never fall: the smallest of a bucket belongs to its first step, the largest to its last.
        let before = history.bucket_at(step)?;
        let between = |(from, low): (u64, f64), (to, high): (u64, f64)| {
            let share = (step - from) as f64 / (to - from).max(1) as f64;
            low + (high - low) * share.min(1.0)
        };
        if step <= before.last_step {
            let is_single = before.first_step == before.last_step;
            let low = if is_single { before.max } else { before.min };
            return Some(between((before.first_step, low), (before.last_step, before.max)));
        }
        let after = history.buckets_in(before.last_step + 1, u64::MAX).first();
        Some(after.map_or(before.max, |after| between((before.last_step, before.max), (after.first_step, after.min))))
    }

    #[cfg(test)]
    pub fn retained_buckets(&self) -> usize {
        self.histories.values().chain(&self.flop).map(|history| history.buckets().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> StepRow {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, 1000.0 - step as f64);
        row.set(Metric::Tokens, step as f64 * 64.0);
        row.set(Metric::PlainFlop, 10.0);
        row.set(Metric::HeadFlop, 5.0);
        row
    }

    #[test]
    fn every_axis_has_the_place_of_a_step_however_many_buckets_were_merged() {
        let mut series = RunSeries::default();
        (1..=5000).for_each(|step| series.add(&row(step)));
        for (axis, by_step) in [(XAxis::Step, 1.0), (XAxis::Tokens, 64.0), (XAxis::Flop, 15.0)] {
            let curve = series.curve(Metric::LossPlain, axis, 0.0);
            assert!(curve.windows(2).all(|pair| pair[0].x < pair[1].x), "{axis:?}");
            assert!(curve.len() >= MAX_BUCKETS_PER_SERIES / 2, "{axis:?}: {}", curve.len());
            for step in [1, 17, 2500, 4999, 5000] {
                let x = series.x_at(axis, step).unwrap();
                assert!((x / (step as f64 * by_step) - 1.0).abs() < 1e-9, "{axis:?} at {step}: {x}");
            }
        }
        assert!(series.curve(Metric::LossPlain, XAxis::WallTime, 0.0).is_empty(), "it was not recorded");
        assert!(series.curve(Metric::ValidPlain, XAxis::Step, 0.0).is_empty());
    }

    #[test]
    fn a_value_between_two_places_and_one_before_the_first() {
        let mut series = RunSeries::default();
        let mut first = StepRow::new(0);
        first.set(Metric::ValidPlain, 9.0);
        series.add(&first);
        series.add(&row(10));
        let mut middle = StepRow::new(15);
        middle.set(Metric::ValidPlain, 8.0);
        series.add(&middle);
        series.add(&row(20));
        let point = |x, y| CurvePoint { x, y, gap_before: false };
        assert_eq!(series.curve(Metric::ValidPlain, XAxis::Tokens, 0.0), [point(960.0, 8.0)]);
        assert_eq!(series.curve(Metric::ValidPlain, XAxis::Step, 0.0), [point(0.0, 9.0), point(15.0, 8.0)]);
        assert_eq!((series.x_at(XAxis::Tokens, 99), series.x_at(XAxis::Tokens, 9)), (Some(1280.0), None));
    }

    #[test]
    fn histories_are_bounded_and_ranges_exact() {
        let mut series = RunSeries::default();
        for step in 0..20_000 {
            series.add(&row(step));
            series.add(&row(step / 2));
        }
        assert!(series.retained_buckets() <= 5 * MAX_BUCKETS_PER_SERIES);
        let ranges = series.metric_ranges();
        let loss = ranges[Metric::LossPlain as usize];
        assert_eq!(loss, MetricRange { last: Some(-18_999.0), min: Some(-18_999.0), max: Some(1000.0) });
        assert_eq!((ranges[Metric::Step as usize].last, series.last_step()), (Some(19_999.0), Some(19_999)));
    }
}
