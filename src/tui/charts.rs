//! Owns: which part of the run the charts show, the step that is read in all of them, and their scales.
//! Must not know: what is charted, how.
//! Invariant: a window has at least two steps and lies in the run, whatever was pressed.

/// The part of the run that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of it.
    All,
    /// So many steps at its end, which it follows.
    Last(u64),
    /// From a step to another.
    Fixed(u64, u64),
}

/// Which charts the loss panel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parts {
    /// Losses, and below them their difference where there is room.
    Both,
    /// Losses alone.
    Losses,
    /// The difference alone.
    Difference,
}

impl Parts {
    /// The one after.
    pub fn next(self) -> Self {
        match self {
            Parts::Both => Parts::Difference,
            Parts::Difference => Parts::Losses,
            Parts::Losses => Parts::Both,
        }
    }
}

/// How charts are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charts {
    /// The part of the run.
    pub span: Span,
    /// The step that is read.
    pub cross: Option<u64>,
    /// Whether the axis of steps is logarithmic.
    pub log_x: bool,
    /// Whether that of losses is.
    pub log_y: bool,
    /// Weight of the past in smoothed curves; none: as the config says.
    pub smoothing: Option<f64>,
    /// Which charts the loss panel shows.
    pub parts: Parts,
}

impl Default for Charts {
    fn default() -> Self {
        Self { span: Span::All, cross: None, log_x: false, log_y: false, smoothing: None, parts: Parts::Both }
    }
}

/// What smoothing can be chosen.
const SMOOTHINGS: [f64; 6] = [0.0, 0.5, 0.8, 0.9, 0.97, 0.99];

impl Charts {
    /// First and last step that are shown of a run that has the steps `first..=last`: it may have begun with another's.
    pub fn window(&self, (first, last): (u64, u64)) -> (u64, u64) {
        let last = last.max(first + 1);
        match self.span {
            Span::All => (first, last),
            Span::Last(width) => (last.saturating_sub(width.max(1)).max(first), last),
            Span::Fixed(from, to) => {
                let from = from.clamp(first, last - 1);
                (from, to.clamp(from + 1, last))
            }
        }
    }

    /// Half as much of the run, or twice as much: around the step that is read, else at the end that is followed.
    pub fn zoom(&mut self, run: (u64, u64), inward: bool) {
        let (first, last) = run;
        let (from, to) = self.window(run);
        let width = to - from;
        let wanted = if inward { (width / 2).max(2) } else { width.saturating_mul(2) };
        let follows = !matches!(self.span, Span::Fixed(..));
        let center = self.cross.filter(|cross| (from..=to).contains(cross));
        self.span = match center {
            _ if wanted >= last.saturating_sub(first) => Span::All,
            None if follows => Span::Last(wanted),
            center => {
                let center = center.unwrap_or(from + width / 2);
                let from = center.saturating_sub(wanted / 2).min(last.saturating_sub(wanted)).max(first);
                Span::Fixed(from, from + wanted)
            }
        };
    }

    /// A quarter of what is shown to the left or the right. At the end of the run it follows it.
    pub fn pan(&mut self, run: (u64, u64), forward: bool) {
        let (first, last) = run;
        let (from, to) = self.window(run);
        let (width, by) = (to - from, ((to - from) / 4).max(1));
        if self.span == Span::All {
            return;
        }
        self.span = if !forward {
            let from = from.saturating_sub(by).max(first);
            Span::Fixed(from, from + width)
        } else if to + by >= last {
            Span::Last(width)
        } else {
            Span::Fixed(from + by, to + by)
        };
    }

    /// From all to the last half, to the last tenth, and back.
    pub fn next_span(&mut self, (first, last): (u64, u64)) {
        let steps = last.saturating_sub(first);
        let (half, tenth) = (Span::Last((steps / 2).max(1)), Span::Last((steps / 10).max(1)));
        self.span = match self.span {
            Span::All => half,
            span if span == tenth => Span::All,
            Span::Last(width) if width > steps / 10 => tenth,
            _ => Span::All,
        };
    }

    /// Follows the end of the run again, with as much of it as is shown.
    pub fn follow(&mut self) {
        if let Span::Fixed(from, to) = self.span {
            self.span = Span::Last(to - from);
        }
        self.cross = None;
    }

    /// Moves the step that is read by `by` columns where `columns` show the window. It comes in at the end.
    pub fn move_cross(&mut self, run: (u64, u64), columns: u16, by: i64) {
        let (from, to) = self.window(run);
        let column = ((to - from) / u64::from(columns.max(1))).max(1) as i64;
        let at = match self.cross {
            Some(cross) => cross.clamp(from, to).saturating_add_signed(by.saturating_mul(column)),
            None => to,
        };
        self.cross = Some(at.clamp(from, to));
    }

    /// The weight of the past in smoothed curves, where the config says `usual`.
    pub fn smoothing(&self, usual: f64) -> f64 {
        self.smoothing.unwrap_or(usual)
    }

    /// The next stronger smoothing, and none after the strongest.
    pub fn smooth_more(&mut self, usual: f64) {
        let now = self.smoothing(usual);
        let next = SMOOTHINGS.iter().copied().find(|smoothing| *smoothing > now + 1e-9);
        self.smoothing = Some(next.unwrap_or(SMOOTHINGS[0]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_follows_the_end_until_a_step_is_read() {
        let mut charts = Charts::default();
        charts.zoom((0, 1000), true);
        assert_eq!((charts.span, charts.window((0, 1000))), (Span::Last(500), (500, 1000)));
        assert_eq!(charts.window((0, 1200)), (700, 1200), "it follows");
        charts.cross = Some(600);
        charts.zoom((0, 1000), true);
        assert_eq!(charts.span, Span::Fixed(475, 725));
        charts.zoom((0, 1000), false);
        charts.zoom((0, 1000), false);
        assert_eq!(charts.span, Span::All);
    }

    #[test]
    fn panning_stops_at_the_beginning_and_follows_at_the_end() {
        let mut charts = Charts { span: Span::Last(100), ..Charts::default() };
        charts.pan((0, 1000), false);
        assert_eq!(charts.span, Span::Fixed(875, 975));
        (0..100).for_each(|_| charts.pan((0, 1000), false));
        assert_eq!(charts.span, Span::Fixed(0, 100));
        (0..100).for_each(|_| charts.pan((0, 1000), true));
        assert_eq!(charts.span, Span::Last(100));
    }

    #[test]
    fn no_sequence_leaves_the_run() {
        let mut charts = Charts::default();
        for turn in 0..2000_u64 {
            let run = (turn % 3 * 40, turn % 3 * 40 + turn * 7919 % 500);
            match turn * 31 % 7 {
                0 => charts.zoom(run, true),
                1 => charts.zoom(run, false),
                2 => charts.pan(run, true),
                3 => charts.pan(run, false),
                4 => charts.move_cross(run, 40, -3),
                5 => charts.next_span(run),
                _ => charts.cross = Some(turn),
            }
            let (from, to) = charts.window(run);
            assert!(run.0 <= from && from < to && to <= run.1.max(run.0 + 1), "{charts:?} {run:?}");
        }
    }

    #[test]
    fn smoothing_goes_round() {
        let mut charts = Charts::default();
        charts.smooth_more(0.9);
        assert_eq!(charts.smoothing(0.9), 0.97);
        charts.smooth_more(0.9);
        charts.smooth_more(0.9);
        assert_eq!(charts.smoothing(0.9), 0.0);
    }
}
