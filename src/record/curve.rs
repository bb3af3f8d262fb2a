//! Owns: a metric of a run as a curve over steps, tokens, operations or time.
//! Must not know: how a curve is drawn, how curves of several runs are averaged.
//! Invariant: x ascends; a row without the metric is no point.

use super::RecordError;
use super::rows::{TableRow, step_rows};
use super::segments;
use crate::schema::metrics::{Metric, StepRow};
use std::path::Path;

/// What a curve runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurveAxis {
    Step,
    Tokens,
    /// Floating-point operations since the start of the run.
    TotalFlop,
    /// Seconds since training began.
    WallTime,
}

/// The points of a metric, and what of the table could not be read, in words.
#[derive(Debug, Default, PartialEq)]
pub struct MetricCurve {
    /// As `(x, value)`.
    pub points: Vec<(f64, f64)>,
    pub damage: Vec<String>,
}

/// Parts of a step whose operations make the total, for rows that do not have it as a metric.
const FLOP_PARTS: [Metric; 4] = [Metric::PlainFlop, Metric::RecycledFlop, Metric::HeadFlop, Metric::UpdateFlop];

impl MetricCurve {
    /// Reads a metric of the run folder `run`. The run may continue meanwhile.
    pub fn read(run: &Path, axis: CurveAxis, metric: Metric) -> Result<Self, RecordError> {
        let table = segments::read_table(&run.join(StepRow::TABLE))?;
        let (mut points, mut flop) = (Vec::new(), 0.0);
        for row in table.batches.iter().flat_map(step_rows) {
            flop += FLOP_PARTS.iter().filter_map(|part| row.get(*part)).sum::<f64>();
            let x = match axis {
                CurveAxis::Step => Some(row.step() as f64),
                CurveAxis::Tokens => row.get(Metric::Tokens),
                CurveAxis::WallTime => row.get(Metric::WallS),
                CurveAxis::TotalFlop => Metric::find("total_flop").and_then(|total| row.get(total)).or(Some(flop)),
            };
            points.extend(x.zip(row.get(metric)));
        }
        // Time may stand still or go back a little in a resumed run; its last row at an x counts.
        points.reverse();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|next, kept| next.0 == kept.0);
        Ok(Self { points, damage: table.damage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table::Table;

    #[test]
    fn rows_with_the_metric_are_points_in_ascending_order() {
        let run = tempfile::tempdir().unwrap();
        let mut table = Table::open(run.path()).unwrap();
        for step in 0..5_u64 {
            let mut row = StepRow::new(step);
            row.set_if_some(Metric::ValidPlain, (step != 3).then_some(10.0 - step as f64));
            row.set(Metric::Tokens, 100.0 * step as f64);
            row.set(Metric::WallS, [0.0, 2.0, 2.0, 5.0, 1.0][step as usize]);
            row.set(Metric::PlainFlop, 4.0);
            row.set(Metric::HeadFlop, 1.0);
            table.push(row);
        }
        table.compact(&Vec::new()).unwrap();
        let read = |axis| MetricCurve::read(run.path(), axis, Metric::ValidPlain).unwrap().points;
        assert_eq!(read(CurveAxis::Step), [(0.0, 10.0), (1.0, 9.0), (2.0, 8.0), (4.0, 6.0)]);
        assert_eq!(read(CurveAxis::Tokens)[3], (400.0, 6.0));
        assert_eq!(read(CurveAxis::TotalFlop), [(5.0, 10.0), (10.0, 9.0), (15.0, 8.0), (25.0, 6.0)]);
        assert_eq!(read(CurveAxis::WallTime), [(0.0, 10.0), (1.0, 6.0), (2.0, 8.0)]);
        assert!(MetricCurve::read(run.path(), CurveAxis::Step, Metric::Lr).unwrap().points.is_empty());
    }
}
