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
    /// Returns the opposite movement.
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
    /// Leave; asks first while the run is running.
    Quit,
    /// Like `Quit`; the second time leaves at once.
    Interrupt,
    /// Suspend the process until the shell resumes it.
    Suspend,
    /// Pause the run, or continue it.
    Pause,
    /// Run one step of a paused run.
    Step,
    /// Resume a run that has ended.
    Resume,
    /// Undo the last config change.
    Undo,
    /// Open the command line with this text. `=` stands for a `set` command with the selected setting.
    OpenPrompt(&'static str),
    /// Filter the focused panel.
    OpenFilter,
    NextPanel,
    PreviousPanel,
    FocusPanel(Panel),
    /// Show the focused panel on the full screen, or all panels.
    ToggleExpanded,
    /// Leave one level: alerts, filter, step cursor, full screen.
    Back,
    /// Freeze the display, or unfreeze it.
    ToggleFreeze,
    /// Capture the mouse, or leave it to the terminal.
    ToggleMouse,
    /// Move in the focused panel or in the help page.
    Move(Motion),
    /// Show half or twice as many steps in the charts.
    Zoom(Zoom),
    /// Cycle the charts through the whole run, its last half, its last tenth.
    NextChartSpan,
    ShowWholeRun,
    /// Follow the newest step.
    FollowEnd,
    /// Show later or earlier steps.
    Pan(Direction),
    /// Move the step cursor by this many columns.
    MoveCursor(i64),
    /// Switch the step axis between linear and logarithmic.
    ToggleLogX,
    /// Switch the loss axis between linear and logarithmic.
    ToggleLogY,
    /// Switch to the next smoothing level.
    NextSmoothing,
    /// Switch between losses, difference, and both.
    NextLossCharts,
    /// Switch to the next value shown for each token.
    NextTokenValue,
    /// Switch between the token row and the entropy heatmap.
    ToggleEntropyDisplay,
    /// Show an older or a newer token row.
    SelectRow(Direction),
    /// Switch to the next minimum level of the log.
    NextLogLevel,
    /// Raise or lower the entropy threshold of the playground's policy.
    NudgeThreshold(Nudge),
    /// Change the edit in progress, without sending it.
    EditDraft(DraftEdit),
    /// Send the edit in progress to the trainer.
    SendDraft,
    /// Discard the edit in progress.
    DiscardDraft,
    /// Stop the run, wait for its checkpoint, then leave.
    StopRun,
    /// Close the stop dialog and keep the run running.
    KeepRunning,
    /// Leave without waiting for a checkpoint.
    LeaveNow,
}

/// What a key does to the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftEdit {
    /// Raise or lower the value of the knot.
    NudgeValue(Nudge, NudgeSize),
    /// Select the next or the previous knot.
    SelectKnot(Direction),
    /// Move the knot to a later or an earlier step.
    ShiftKnot(Direction),
    /// Add a knot at the step cursor, or at the next step.
    AddKnot,
    RemoveKnot,
}
