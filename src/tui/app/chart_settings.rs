//! Owns: the range of steps that charts show, the step cursor they share, and their scales.
//! Must not know: what is charted, or how.
//! Invariant: the range has at least two steps and lies in the run, after any sequence of keys.

use super::actions::{Direction, Zoom};
use crate::tui::plot::axis::Scale;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartSpan {
    #[default]
    All,
    /// The last steps of the run, following its end: number of steps.
    Last(u64),
    /// Fixed steps: first, last.
    Fixed(u64, u64),
}

/// Which charts the loss panel shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCharts {
    /// Losses, with their difference below if there is room.
    #[default]
    Both,
    Losses,
    Difference,
}

impl LossCharts {
    pub fn next(self) -> Self {
        match self {
            LossCharts::Both => LossCharts::Difference,
            LossCharts::Difference => LossCharts::Losses,
            LossCharts::Losses => LossCharts::Both,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChartSettings {
    pub span: ChartSpan,
    /// The step at which all charts show their values, if one is selected.
    pub cursor: Option<u64>,
    pub x_scale: Scale,
    pub y_scale: Scale,
    /// Weight of the past in smoothed curves; none for the value in the config.
    pub smoothing: Option<f64>,
    pub loss_charts: LossCharts,
}

const SMOOTHING_LEVELS: [f64; 6] = [0.0, 0.5, 0.8, 0.9, 0.97, 0.99];

impl ChartSettings {
    /// Returns the first and the last displayed step of a run with these steps. A fork does not start at 0.
    pub fn visible_steps(&self, (first, last): (u64, u64)) -> (u64, u64) {
        let last = last.max(first + 1);
        match self.span {
            ChartSpan::All => (first, last),
            ChartSpan::Last(width) => (last.saturating_sub(width.max(1)).max(first), last),
            ChartSpan::Fixed(from, to) => {
                let from = from.clamp(first, last - 1);
                (from, to.clamp(from + 1, last))
            }
        }
    }

    /// Halves or doubles the range around the cursor, else at a followed end, else around its middle.
    pub fn zoom(&mut self, run: (u64, u64), zoom: Zoom) {
        let (first, last) = run;
        let (from, to) = self.visible_steps(run);
        let width = to - from;
        let new_width = if zoom == Zoom::In { (width / 2).max(2) } else { width.saturating_mul(2) };
        let follows = !matches!(self.span, ChartSpan::Fixed(..));
        let center = self.cursor.filter(|cursor| (from..=to).contains(cursor));
        self.span = match center {
            _ if new_width >= last.saturating_sub(first) => ChartSpan::All,
            None if follows => ChartSpan::Last(new_width),
            center => {
                let center = center.unwrap_or(from + width / 2);
                let from = center.saturating_sub(new_width / 2).min(last.saturating_sub(new_width)).max(first);
                ChartSpan::Fixed(from, from + new_width)
            }
        };
    }

    /// Moves the range by a quarter of its width. At the end of the run it starts to follow it.
    pub fn pan(&mut self, run: (u64, u64), direction: Direction) {
        let (first, last) = run;
        let (from, to) = self.visible_steps(run);
        let (width, by) = (to - from, ((to - from) / 4).max(1));
        if self.span == ChartSpan::All {
            return;
        }
        self.span = if direction == Direction::Backward {
            let from = from.saturating_sub(by).max(first);
            ChartSpan::Fixed(from, from + width)
        } else if to + by >= last {
            ChartSpan::Last(width)
        } else {
            ChartSpan::Fixed(from + by, to + by)
        };
    }

    /// Cycles through the whole run, its last half, its last tenth.
    pub fn cycle_span(&mut self, (first, last): (u64, u64)) {
        let steps = last.saturating_sub(first);
        let (half, tenth) = (ChartSpan::Last((steps / 2).max(1)), ChartSpan::Last((steps / 10).max(1)));
        self.span = match self.span {
            ChartSpan::All => half,
            span if span == tenth => ChartSpan::All,
            ChartSpan::Last(width) if width > steps / 10 => tenth,
            _ => ChartSpan::All,
        };
    }

    /// Follows the end of the run again, with the same width. Removes the cursor.
    pub fn follow_end(&mut self) {
        if let ChartSpan::Fixed(from, to) = self.span {
            self.span = ChartSpan::Last(to - from);
        }
        self.cursor = None;
    }

    /// Moves the cursor by `by` of the range's `columns` columns. A new cursor starts at the end.
    pub fn move_cursor(&mut self, run: (u64, u64), columns: u16, by: i64) {
        let (from, to) = self.visible_steps(run);
        let column = ((to - from) / u64::from(columns.max(1))).max(1) as i64;
        let at = match self.cursor {
            Some(cursor) => cursor.clamp(from, to).saturating_add_signed(by.saturating_mul(column)),
            None => to,
        };
        self.cursor = Some(at.clamp(from, to));
    }

    /// Returns the weight of the past in smoothed curves; `default` is the value in the config.
    pub fn smoothing(&self, default: f64) -> f64 {
        self.smoothing.unwrap_or(default)
    }

    /// Selects the next stronger smoothing, or none after the strongest.
    pub fn cycle_smoothing(&mut self, default: f64) {
        let now = self.smoothing(default);
        let next = SMOOTHING_LEVELS.iter().copied().find(|smoothing| *smoothing > now + 1e-9);
        self.smoothing = Some(next.unwrap_or(SMOOTHING_LEVELS[0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_follows_the_end_unless_there_is_a_cursor() {
        let mut charts = ChartSettings::default();
        charts.zoom((0, 1000), Zoom::In);
        assert_eq!((charts.span, charts.visible_steps((0, 1000))), (ChartSpan::Last(500), (500, 1000)));
        assert_eq!(charts.visible_steps((0, 1200)), (700, 1200), "it follows");
        charts.cursor = Some(600);
        charts.zoom((0, 1000), Zoom::In);
        assert_eq!(charts.span, ChartSpan::Fixed(475, 725));
        charts.zoom((0, 1000), Zoom::Out);
        charts.zoom((0, 1000), Zoom::Out);
        assert_eq!(charts.span, ChartSpan::All);
    }

    #[test]
    fn panning_stops_at_the_start_and_follows_the_end() {
        let mut charts = ChartSettings { span: ChartSpan::Last(100), ..ChartSettings::default() };
        charts.pan((0, 1000), Direction::Backward);
        assert_eq!(charts.span, ChartSpan::Fixed(875, 975));
        (0..100).for_each(|_| charts.pan((0, 1000), Direction::Backward));
        assert_eq!(charts.span, ChartSpan::Fixed(0, 100));
        (0..100).for_each(|_| charts.pan((0, 1000), Direction::Forward));
        assert_eq!(charts.span, ChartSpan::Last(100));
    }

    #[test]
    fn no_key_sequence_leaves_the_run() {
        let mut charts = ChartSettings::default();
        for turn in 0..2000_u64 {
            let run = (turn % 3 * 40, turn % 3 * 40 + turn * 7919 % 500);
            match turn * 31 % 7 {
                0 => charts.zoom(run, Zoom::In),
                1 => charts.zoom(run, Zoom::Out),
                2 => charts.pan(run, Direction::Forward),
                3 => charts.pan(run, Direction::Backward),
                4 => charts.move_cursor(run, 40, -3),
                5 => charts.cycle_span(run),
                _ => charts.cursor = Some(turn),
            }
            let (from, to) = charts.visible_steps(run);
            assert!(run.0 <= from && from < to && to <= run.1.max(run.0 + 1), "{charts:?} {run:?}");
        }
    }

    #[test]
    fn smoothing_cycles() {
        let mut charts = ChartSettings::default();
        charts.cycle_smoothing(0.9);
        assert_eq!(charts.smoothing(0.9), 0.97);
        charts.cycle_smoothing(0.9);
        charts.cycle_smoothing(0.9);
        assert_eq!(charts.smoothing(0.9), 0.0);
    }
}
