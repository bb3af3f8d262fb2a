//! Owns: what keys can do: actions, movements and edits, as plain values.
//! Must not know: which key triggers an action, how it is applied.
//! Invariant: an action says all that it needs, except the state that it is applied to.

use super::draft::NudgeSize;
use super::panel_id::Panel;

/// A direction along steps, knots or token rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Backward,
    Forward,
}

/// Whether a value is raised or lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    In,
    Out,
}

/// A movement through rows or lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    Left,
    Right,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl Motion {
    pub fn reversed(self) -> Self {
        match self {
            Motion::Left => Motion::Right,
            Motion::Right => Motion::Left,
            Motion::Up => Motion::Down,
            Motion::Down => Motion::Up,
            Motion::PageUp => Motion::PageDown,
            Motion::PageDown => Motion::PageUp,
            Motion::Home => Motion::End,
            Motion::End => Motion::Home,
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show or hide the help page.
    Help,
    /// Type what to search the help page for.
    SearchHelp,
    Quit,
    /// Like `Quit`; the second time leaves at once.
    Interrupt,
    Suspend,
    /// Copy what the focused panel shows to the clipboard.
    Copy,
    Pause,
    Step,
    Resume,
    Undo,
    /// Open the command line with this text. `=` stands for a `set` command with the selected setting.
    OpenPrompt(&'static str),
    OpenFilter,
    NextPanel,
    PreviousPanel,
    FocusPanel(Panel),
    ToggleExpanded,
    /// Leave one level: alerts, filter, step cursor, full screen.
    Back,
    ToggleFreeze,
    ToggleMouse,
    /// Cycle the colours through those for the terminal's background, a dark and a light one.
    NextBackground,
    /// Move in the focused panel or in the help page.
    Move(Motion),
    /// Show half or twice as many steps in the charts.
    Zoom(Zoom),
    /// Cycle the charts through the whole run, its last half, its last tenth.
    NextChartSpan,
    ShowWholeRun,
    FollowEnd,
    Pan(Direction),
    /// Move the step cursor by this many columns.
    MoveCursor(i64),
    ToggleLogX,
    ToggleLogY,
    NextSmoothing,
    /// Switch between losses, difference, and both.
    NextLossCharts,
    NextTokenValue,
    ToggleEntropyDisplay,
    /// Show an older or newer row of tokens or iteration of rollouts.
    SelectRow(Direction),
    ToggleRolloutOrder,
    NextLogLevel,
    /// Raise or lower the entropy threshold of the playground's policy.
    NudgeThreshold(Nudge),
    EditDraft(DraftEdit),
    SendDraft,
    DiscardDraft,
    /// Open the list of runs over the dashboard.
    BrowseRuns,
    /// Show the previous or next of the runs that were opened together.
    SwitchRun(Direction),
    /// Something in the list of runs.
    Runs(BrowserAction),
    /// Something in the dashboard of several runs.
    MultiRun(MultiRunAction),
    /// Stop the run, wait for its checkpoint, then leave.
    StopRun,
    /// Close the stop dialog and keep the run running.
    KeepRunning,
    /// Leave without waiting for a checkpoint.
    LeaveNow,
}

/// What a key does in the list of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrowserAction {
    /// Open the selected run in the dashboard.
    Open,
    /// Open the marked runs in the dashboard, where keys switch between them.
    OpenMarked,
    /// Mark the selected run, or take its mark.
    Mark,
    /// Mark all visible runs, or take their marks.
    MarkAll,
    Filter,
    Sort,
    Reverse,
    Columns,
    Tag,
    Rename,
    /// Ask whether to delete the marked runs, or the selected one.
    Delete,
    /// Compare the configs of two runs.
    Compare,
    ConfirmDelete,
    /// Close a dialog or the comparison.
    Close,
}

/// What a key does in the dashboard of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiRunAction {
    /// Open the selected run in its own dashboard.
    Open,
    /// Chart the next or the previous metric.
    SelectMetric(Direction),
    /// Type the metric to chart.
    ChooseMetric,
    /// Chart over steps, tokens, floating-point operations or time.
    NextXAxis,
    /// Draw the band of the t interval, that from the smallest to the largest value, or none.
    NextBand,
    /// Draw the single runs, or only the means of their groups.
    ToggleRunLines,
    /// Draw the selected run whatever is hidden, and stronger than others; or as the others.
    PinRun,
    PinGroup,
    HideRun,
    HideGroup,
    /// Show what is hidden, and take all pins.
    ShowAll,
    Filter,
    Sort,
    Reverse,
    Columns,
}

/// What a key does to the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftEdit {
    NudgeValue(Nudge, NudgeSize),
    SelectKnot(Direction),
    ShiftKnot(Direction),
    /// Add a knot at the step cursor, or at the next step.
    AddKnot,
    RemoveKnot,
}
