//! Owns: the key table. It defines what a key does, the footer's hints and the help page.
//! Must not know: how actions are applied, how hints are drawn.
//! Invariant: no key has two meanings in one scope.

use super::actions::{Action, BrowserAction, Direction, DraftEdit, Motion, MultiRunAction, Nudge, Zoom};
use super::draft::NudgeSize;
use super::panel_id::Panel;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere, dialogs included.
    Always,
    /// While no overlay is open, in any panel.
    Panels,
    /// While no overlay is open and this panel is focused.
    Panel(Panel),
    /// While no overlay is open and a list panel is focused.
    List,
    /// While an edit is in progress in the schedule panel.
    Draft,
    Help,
    /// In the dialog that asks whether to stop the run.
    StopDialog,
    /// In the list of runs.
    Runs,
    /// In the dialog that asks whether to delete runs.
    DeleteDialog,
    /// In the comparison of two runs.
    Comparison,
    /// In the dashboard of several runs.
    MultiRun,
    /// In the command line, which takes every other key as text.
    Prompt,
}

/// Returns whether `panel` is a list of lines that scrolls.
pub fn is_list_panel(panel: Panel) -> bool {
    matches!(panel, Panel::Run | Panel::Thoughts | Panel::Changes | Panel::Log | Panel::Samples | Panel::Playground)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPress(KeyCode, KeyModifiers);

impl KeyPress {
    pub fn from_char(c: char) -> Self {
        KeyPress(KeyCode::Char(c), KeyModifiers::NONE)
    }

    /// Returns the key with this name, such as `Left`, without modifiers.
    pub fn from_name(name: &str) -> Option<Self> {
        let code = match name {
            "Left" => KeyCode::Left,
            "Right" => KeyCode::Right,
            "Up" => KeyCode::Up,
            "Down" => KeyCode::Down,
            "PageUp" => KeyCode::PageUp,
            "PageDown" => KeyCode::PageDown,
            "Home" => KeyCode::Home,
            "End" => KeyCode::End,
            "Tab" => KeyCode::Tab,
            "Enter" => KeyCode::Enter,
            "Esc" => KeyCode::Esc,
            "Space" => KeyCode::Char(' '),
            _ => return None,
        };
        Some(KeyPress(code, KeyModifiers::NONE))
    }

    pub fn to_event(self) -> KeyEvent {
        KeyEvent::new(self.0, self.1)
    }

    pub fn name(self) -> String {
        let name = match self.0 {
            KeyCode::Char(' ') => "space".into(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::Left => "←".into(),
            KeyCode::Right => "→".into(),
            KeyCode::Up => "↑".into(),
            KeyCode::Down => "↓".into(),
            KeyCode::PageUp => "PgUp".into(),
            KeyCode::PageDown => "PgDn".into(),
            KeyCode::BackTab => "Shift-Tab".into(),
            other => format!("{other:?}"),
        };
        if self.1.contains(KeyModifiers::CONTROL) { format!("Ctrl-{}", name.to_uppercase()) } else { name }
    }

    fn matches(self, event: &KeyEvent) -> bool {
        // Some terminals report `?` and Shift-Tab with Shift. A plain key must come without Ctrl and Alt.
        let modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        self.0 == event.code && self.1 == modifiers
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys; each of them triggers the action.
    pub keys: &'static [KeyPress],
    pub scope: Scope,
    pub action: Action,
    /// Text for the help page. Adjacent rows with the same text share one line there.
    pub help: &'static str,
    /// One word for the footer, from the first of adjacent rows; empty if the footer omits the row.
    pub hint: &'static str,
}

const fn key(code: KeyCode) -> KeyPress {
    KeyPress(code, KeyModifiers::NONE)
}

const fn char(c: char) -> KeyPress {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> KeyPress {
    KeyPress(KeyCode::Char(c), KeyModifiers::CONTROL)
}

const fn bind(
    keys: &'static [KeyPress],
    scope: Scope,
    action: Action,
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, scope, action, help, hint }
}

#[rustfmt::skip] // one line per key
pub const BINDINGS: &[Binding] = &[
    bind(&[char('?')], Scope::Panels, Action::Help, "help", "show this help"),
    bind(&[char('q')], Scope::Panels, Action::Quit, "quit", "quit; asks first during a run"),
    bind(&[char(' ')], Scope::Panels, Action::Pause, "pause", "pause or continue training"),
    bind(&[char('s')], Scope::Panels, Action::Step, "", "run one step while paused"),
    bind(&[char(':')], Scope::Panels, Action::OpenPrompt(""), "command", "command line (Tab completes)"),
    bind(&[char('u')], Scope::Panels, Action::Undo, "undo", "undo the last config change"),
    bind(&[char('n')], Scope::Panels, Action::OpenPrompt("note "), "note", "write a note at this step"),
    bind(&[char('b')], Scope::Panels, Action::OpenPrompt("fork "), "", "fork from the newest checkpoint"),
    bind(&[char('r')], Scope::Panels, Action::Resume, "", "resume a run that has ended"),
    bind(&[char('f')], Scope::Panels, Action::ToggleFreeze, "freeze", "freeze the display, not the run"),
    bind(&[char('/')], Scope::Panels, Action::OpenFilter, "", "filter metrics, log, changes"),
    bind(&[key(KeyCode::Tab)], Scope::Panels, Action::NextPanel, "panel", "next panel"),
    bind(&[key(KeyCode::BackTab)], Scope::Panels, Action::PreviousPanel, "", "previous panel"),
    bind(&[char('1')], Scope::Panels, Action::FocusPanel(Panel::Run), "", "focus that panel"),
    bind(&[char('2')], Scope::Panels, Action::FocusPanel(Panel::Loss), "", "focus that panel"),
    bind(&[char('3')], Scope::Panels, Action::FocusPanel(Panel::Schedule), "", "focus that panel"),
    bind(&[char('4')], Scope::Panels, Action::FocusPanel(Panel::Entropy), "", "focus that panel"),
    bind(&[char('5')], Scope::Panels, Action::FocusPanel(Panel::Thoughts), "", "focus that panel"),
    bind(&[char('6')], Scope::Panels, Action::FocusPanel(Panel::Cost), "", "focus that panel"),
    bind(&[char('7')], Scope::Panels, Action::FocusPanel(Panel::Changes), "", "focus that panel"),
    bind(&[char('8')], Scope::Panels, Action::FocusPanel(Panel::Log), "", "focus that panel"),
    bind(&[char('9')], Scope::Panels, Action::FocusPanel(Panel::Samples), "", "focus that panel"),
    bind(&[char('p')], Scope::Panels, Action::FocusPanel(Panel::Playground), "", "focus the playground"),
    bind(&[char('i')], Scope::Panels, Action::FocusPanel(Panel::Layers), "", "focus the layers"),
    bind(&[char('o')], Scope::Panels, Action::FocusPanel(Panel::Rollouts), "", "focus the rollouts"),
    bind(&[char('e'), key(KeyCode::Enter)], Scope::Panels, Action::ToggleExpanded, "expand", "toggle full screen"),
    bind(&[key(KeyCode::Esc)], Scope::Panels, Action::Back, "", "leave filter, step, full screen"),
    bind(&[char('c')], Scope::Panels, Action::Copy, "", "copy what the panel shows"),
    bind(&[char('M')], Scope::Panels, Action::ToggleMouse, "", "toggle mouse capture"),
    bind(&[char('T')], Scope::Panels, Action::NextBackground, "", "colours for dark or light"),
    bind(&[char('R')], Scope::Panels, Action::BrowseRuns, "", "list of runs"),
    bind(&[char('{')], Scope::Panels, Action::SwitchRun(Direction::Backward), "", "switch between opened runs"),
    bind(&[char('}')], Scope::Panels, Action::SwitchRun(Direction::Forward), "", "switch between opened runs"),
    bind(&[ctrl('c')], Scope::Always, Action::Interrupt, "", "quit; twice to quit at once"),
    bind(&[ctrl('z')], Scope::Always, Action::Suspend, "", "suspend; fg brings it back"),

    bind(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Loss), Action::MoveCursor(-1), "step", "move the step cursor"),
    bind(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Loss), Action::MoveCursor(1), "", "move the step cursor"),
    bind(&[char('H')], Scope::Panel(Panel::Loss), Action::MoveCursor(-10), "", "move the cursor 10 columns"),
    bind(&[char('L')], Scope::Panel(Panel::Loss), Action::MoveCursor(10), "", "move the cursor 10 columns"),
    bind(&[char('+'), char('='), key(KeyCode::Up), char('k')], Scope::Panel(Panel::Loss), Action::Zoom(Zoom::In), "zoom", "zoom in"),
    bind(&[char('-'), key(KeyCode::Down), char('j')], Scope::Panel(Panel::Loss), Action::Zoom(Zoom::Out), "", "zoom out"),
    bind(&[char('<'), key(KeyCode::PageUp)], Scope::Panel(Panel::Loss), Action::Pan(Direction::Backward), "", "pan to earlier or later steps"),
    bind(&[char('>'), key(KeyCode::PageDown)], Scope::Panel(Panel::Loss), Action::Pan(Direction::Forward), "", "pan to earlier or later steps"),
    bind(&[char('z')], Scope::Panel(Panel::Loss), Action::NextChartSpan, "range", "show all, last half, last tenth"),
    bind(&[char('0'), key(KeyCode::Home)], Scope::Panel(Panel::Loss), Action::ShowWholeRun, "", "show the whole run"),
    bind(&[char('G'), key(KeyCode::End)], Scope::Panel(Panel::Loss), Action::FollowEnd, "", "follow the newest step"),
    bind(&[char('y')], Scope::Panel(Panel::Loss), Action::ToggleLogY, "log", "toggle the log loss axis"),
    bind(&[char('x')], Scope::Panel(Panel::Loss), Action::ToggleLogX, "", "toggle the log step axis"),
    bind(&[char('w')], Scope::Panel(Panel::Loss), Action::NextSmoothing, "smooth", "next smoothing level"),
    bind(&[char('d')], Scope::Panel(Panel::Loss), Action::NextLossCharts, "diff", "show losses, difference or both"),

    bind(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Schedule), Action::Move(Motion::Up), "setting", "select a setting"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Schedule), Action::Move(Motion::Down), "", "select a setting"),
    bind(&[char('+')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Fine)), "change", "raise or lower the value"),
    bind(&[char('-')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::NudgeValue(Nudge::Down, NudgeSize::Fine)), "", "raise or lower the value"),
    bind(&[char('K')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Coarse)), "", "raise or lower it coarsely"),
    bind(&[char('J')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::NudgeValue(Nudge::Down, NudgeSize::Coarse)), "", "raise or lower it coarsely"),
    bind(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::SelectKnot(Direction::Backward)), "", "select a knot"),
    bind(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::SelectKnot(Direction::Forward)), "", "select a knot"),
    bind(&[char('[')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::ShiftKnot(Direction::Backward)), "", "move the knot earlier or later"),
    bind(&[char(']')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::ShiftKnot(Direction::Forward)), "", "move the knot earlier or later"),
    bind(&[char('a')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::AddKnot), "knot", "add knot at cursor or next step"),
    bind(&[char('x')], Scope::Panel(Panel::Schedule), Action::EditDraft(DraftEdit::RemoveKnot), "", "remove the knot"),
    bind(&[char('=')], Scope::Panel(Panel::Schedule), Action::OpenPrompt("="), "type", "type a value"),

    bind(&[key(KeyCode::Enter)], Scope::Draft, Action::SendDraft, "apply", "apply the edit"),
    bind(&[key(KeyCode::Esc), char('q')], Scope::Draft, Action::DiscardDraft, "discard", "discard the edit"),
    bind(&[char('+'), key(KeyCode::Up), char('k')], Scope::Draft, Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Fine)), "value", "raise or lower the value"),
    bind(&[char('-'), key(KeyCode::Down), char('j')], Scope::Draft, Action::EditDraft(DraftEdit::NudgeValue(Nudge::Down, NudgeSize::Fine)), "", "raise or lower the value"),
    bind(&[char('K')], Scope::Draft, Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Coarse)), "coarse", "raise or lower it coarsely"),
    bind(&[char('J')], Scope::Draft, Action::EditDraft(DraftEdit::NudgeValue(Nudge::Down, NudgeSize::Coarse)), "", "raise or lower it coarsely"),
    bind(&[key(KeyCode::Left), char('h')], Scope::Draft, Action::EditDraft(DraftEdit::SelectKnot(Direction::Backward)), "knot", "select a knot"),
    bind(&[key(KeyCode::Right), char('l')], Scope::Draft, Action::EditDraft(DraftEdit::SelectKnot(Direction::Forward)), "", "select a knot"),
    bind(&[char('[')], Scope::Draft, Action::EditDraft(DraftEdit::ShiftKnot(Direction::Backward)), "move", "move the knot earlier or later"),
    bind(&[char(']')], Scope::Draft, Action::EditDraft(DraftEdit::ShiftKnot(Direction::Forward)), "", "move the knot earlier or later"),
    bind(&[char('a')], Scope::Draft, Action::EditDraft(DraftEdit::AddKnot), "add", "add knot at cursor or next step"),
    bind(&[char('x')], Scope::Draft, Action::EditDraft(DraftEdit::RemoveKnot), "remove", "remove the knot"),

    bind(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Left), "token", "select a token"),
    bind(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Right), "", "select a token"),
    bind(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Up), "", "select a token"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Down), "", "select a token"),
    bind(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageUp), "", "move by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageDown), "", "move by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Home), "", "go to the first or last token"),
    bind(&[key(KeyCode::End), char('G')], Scope::Panel(Panel::Entropy), Action::Move(Motion::End), "", "go to the first or last token"),
    bind(&[char('m')], Scope::Panel(Panel::Entropy), Action::NextTokenValue, "mode", "plain, recycled, diff or nll"),
    bind(&[char('t')], Scope::Panel(Panel::Entropy), Action::ToggleEntropyDisplay, "heatmap", "row as text, or run heatmap"),
    bind(&[char('[')], Scope::Panel(Panel::Entropy), Action::SelectRow(Direction::Backward), "row", "show an older or newer row"),
    bind(&[char(']')], Scope::Panel(Panel::Entropy), Action::SelectRow(Direction::Forward), "", "show an older or newer row"),

    bind(&[char('[')], Scope::Panel(Panel::Thoughts), Action::SelectRow(Direction::Backward), "row", "show an older or newer row"),
    bind(&[char(']')], Scope::Panel(Panel::Thoughts), Action::SelectRow(Direction::Forward), "", "show an older or newer row"),
    bind(&[char('v')], Scope::Panel(Panel::Log), Action::NextLogLevel, "level", "show all, warnings or errors"),

    bind(&[char('a')], Scope::Panel(Panel::Playground), Action::OpenPrompt("ask "), "ask", "type a prompt to continue"),
    bind(&[char('y')], Scope::Panel(Panel::Playground), Action::OpenPrompt("policy "), "policy", "set the thinking policy"),
    bind(&[char('[')], Scope::Panel(Panel::Playground), Action::NudgeThreshold(Nudge::Down), "threshold", "lower or raise the threshold"),
    bind(&[char(']')], Scope::Panel(Panel::Playground), Action::NudgeThreshold(Nudge::Up), "", "lower or raise the threshold"),
    bind(&[char('t')], Scope::Panel(Panel::Playground), Action::OpenPrompt("temperature "), "", "set the sampling temperature"),
    bind(&[char('w')], Scope::Panel(Panel::Playground), Action::OpenPrompt("weights "), "", "choose the weights that answer"),

    bind(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Layers), Action::Move(Motion::Up), "layer", "select a layer"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Layers), Action::Move(Motion::Down), "", "select a layer"),
    bind(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Layers), Action::Move(Motion::PageUp), "", "move by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Layers), Action::Move(Motion::PageDown), "", "move by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Panel(Panel::Layers), Action::Move(Motion::Home), "", "go to the first or last layer"),
    bind(&[key(KeyCode::End), char('G')], Scope::Panel(Panel::Layers), Action::Move(Motion::End), "", "go to the first or last layer"),

    bind(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::Up), "rollout", "select a rollout"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::Down), "", "select a rollout"),
    bind(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::Left), "group", "select a group"),
    bind(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::Right), "", "select a group"),
    bind(&[char('[')], Scope::Panel(Panel::Rollouts), Action::SelectRow(Direction::Backward), "iteration", "older or newer iteration"),
    bind(&[char(']')], Scope::Panel(Panel::Rollouts), Action::SelectRow(Direction::Forward), "", "older or newer iteration"),
    bind(&[char('t')], Scope::Panel(Panel::Rollouts), Action::ToggleRolloutOrder, "sort", "sort by reward, or as made"),
    bind(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Rollouts), Action::Move(Motion::PageUp), "", "scroll the rollout's text"),
    bind(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Rollouts), Action::Move(Motion::PageDown), "", "scroll the rollout's text"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::Home), "", "go to the first or last rollout"),
    bind(&[key(KeyCode::End), char('G')], Scope::Panel(Panel::Rollouts), Action::Move(Motion::End), "", "go to the first or last rollout"),

    bind(&[key(KeyCode::Up), char('k')], Scope::List, Action::Move(Motion::Up), "scroll", "scroll by a line"),
    bind(&[key(KeyCode::Down), char('j')], Scope::List, Action::Move(Motion::Down), "", "scroll by a line"),
    bind(&[key(KeyCode::PageUp)], Scope::List, Action::Move(Motion::PageUp), "", "scroll by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::List, Action::Move(Motion::PageDown), "", "scroll by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::List, Action::Move(Motion::Home), "", "go to the first or last line"),
    bind(&[key(KeyCode::End), char('G')], Scope::List, Action::Move(Motion::End), "", "go to the first or last line"),

    bind(&[key(KeyCode::Up), char('k')], Scope::Help, Action::Move(Motion::Up), "scroll", "scroll"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Help, Action::Move(Motion::Down), "", "scroll"),
    bind(&[key(KeyCode::PageUp)], Scope::Help, Action::Move(Motion::PageUp), "", "scroll by a page"),
    bind(&[key(KeyCode::PageDown), char(' ')], Scope::Help, Action::Move(Motion::PageDown), "", "scroll by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Help, Action::Move(Motion::Home), "", "go to the first or last line"),
    bind(&[key(KeyCode::End), char('G')], Scope::Help, Action::Move(Motion::End), "", "go to the first or last line"),
    bind(&[char('/')], Scope::Help, Action::SearchHelp, "search", "search this help"),
    bind(&[key(KeyCode::Esc), char('?'), char('q'), key(KeyCode::Enter)], Scope::Help, Action::Help, "close", "close this help"),
    bind(&[char('y')], Scope::StopDialog, Action::StopRun, "stop", "stop and write a checkpoint"),
    bind(&[char('n'), key(KeyCode::Esc)], Scope::StopDialog, Action::KeepRunning, "continue", "keep the run going"),
    bind(&[char('d')], Scope::StopDialog, Action::LeaveNow, "drop", "drop: quit now, no checkpoint"),

    bind(&[key(KeyCode::Enter)], Scope::Runs, Action::Runs(BrowserAction::Open), "open", "open the run in the dashboard"),
    bind(&[char(' ')], Scope::Runs, Action::Runs(BrowserAction::Mark), "mark", "mark the run"),
    bind(&[char('a')], Scope::Runs, Action::Runs(BrowserAction::MarkAll), "", "mark all runs or none"),
    bind(&[char('o')], Scope::Runs, Action::Runs(BrowserAction::OpenMarked), "", "open marked runs; { } switch"),
    bind(&[char('/')], Scope::Runs, Action::Runs(BrowserAction::Filter), "filter", "filter, as in optim.lr>1e-3"),
    bind(&[char('s')], Scope::Runs, Action::Runs(BrowserAction::Sort), "sort", "sort by a column or metric"),
    bind(&[char('S')], Scope::Runs, Action::Runs(BrowserAction::Reverse), "", "reverse the order"),
    bind(&[char('c')], Scope::Runs, Action::Runs(BrowserAction::Columns), "", "add columns"),
    bind(&[char('t')], Scope::Runs, Action::Runs(BrowserAction::Tag), "tag", "add tags; -TAG removes one"),
    bind(&[char('r')], Scope::Runs, Action::Runs(BrowserAction::Rename), "rename", "rename the run"),
    bind(&[char('d')], Scope::Runs, Action::Runs(BrowserAction::Compare), "diff", "compare two runs' configs"),
    bind(&[char('D')], Scope::Runs, Action::Runs(BrowserAction::Delete), "delete", "delete runs; asks first"),
    bind(&[key(KeyCode::Up), char('k')], Scope::Runs, Action::Move(Motion::Up), "", "select a run"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Runs, Action::Move(Motion::Down), "", "select a run"),
    bind(&[key(KeyCode::PageUp)], Scope::Runs, Action::Move(Motion::PageUp), "", "move by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::Runs, Action::Move(Motion::PageDown), "", "move by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Runs, Action::Move(Motion::Home), "", "go to the first or last run"),
    bind(&[key(KeyCode::End), char('G')], Scope::Runs, Action::Move(Motion::End), "", "go to the first or last run"),
    bind(&[key(KeyCode::Esc)], Scope::Runs, Action::Back, "", "drop filter, then marks; back"),
    bind(&[char('?')], Scope::Runs, Action::Help, "help", "show the keys of the list"),
    bind(&[char('q')], Scope::Runs, Action::Quit, "quit", "close the list"),
    bind(&[char('y')], Scope::DeleteDialog, Action::Runs(BrowserAction::ConfirmDelete), "delete", "delete for good"),
    bind(&[char('n'), key(KeyCode::Esc)], Scope::DeleteDialog, Action::Runs(BrowserAction::Close), "keep", "keep"),
    bind(&[key(KeyCode::Up), char('k')], Scope::Comparison, Action::Move(Motion::Up), "scroll", "scroll the comparison"),
    bind(&[key(KeyCode::Down), char('j')], Scope::Comparison, Action::Move(Motion::Down), "", "scroll the comparison"),
    bind(&[key(KeyCode::PageUp)], Scope::Comparison, Action::Move(Motion::PageUp), "", "scroll it by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::Comparison, Action::Move(Motion::PageDown), "", "scroll it by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::Comparison, Action::Move(Motion::Home), "", "go to its start or end"),
    bind(&[key(KeyCode::End), char('G')], Scope::Comparison, Action::Move(Motion::End), "", "go to its start or end"),
    bind(&[key(KeyCode::Esc), char('d'), char('q'), key(KeyCode::Enter)], Scope::Comparison, Action::Runs(BrowserAction::Close), "close", "close the comparison"),

    bind(&[key(KeyCode::Enter)], Scope::MultiRun, Action::MultiRun(MultiRunAction::Open), "open", "open the run's own dashboard"),
    bind(&[char('m')], Scope::MultiRun, Action::MultiRun(MultiRunAction::SelectMetric(Direction::Forward)), "metric", "next or previous metric"),
    bind(&[char('M')], Scope::MultiRun, Action::MultiRun(MultiRunAction::SelectMetric(Direction::Backward)), "", "next or previous metric"),
    bind(&[char('o')], Scope::MultiRun, Action::MultiRun(MultiRunAction::ChooseMetric), "", "type the metric to chart"),
    bind(&[char('x')], Scope::MultiRun, Action::MultiRun(MultiRunAction::NextXAxis), "axis", "over step, tokens, flop or time"),
    bind(&[char('X')], Scope::MultiRun, Action::ToggleLogX, "", "toggle the log x axis"),
    bind(&[char('y')], Scope::MultiRun, Action::ToggleLogY, "log", "toggle the log value axis"),
    bind(&[char('w')], Scope::MultiRun, Action::NextSmoothing, "smooth", "next smoothing level"),
    bind(&[char('z')], Scope::MultiRun, Action::NextChartSpan, "range", "show all, last half, last tenth"),
    bind(&[char('b')], Scope::MultiRun, Action::MultiRun(MultiRunAction::NextBand), "band", "band: 95 % t, min-max, none"),
    bind(&[char('l')], Scope::MultiRun, Action::MultiRun(MultiRunAction::ToggleRunLines), "lines", "show single runs, or means only"),
    bind(&[char('p')], Scope::MultiRun, Action::MultiRun(MultiRunAction::PinRun), "pin", "pin the run, or its whole group"),
    bind(&[char('P')], Scope::MultiRun, Action::MultiRun(MultiRunAction::PinGroup), "", "pin the run, or its whole group"),
    bind(&[char('h')], Scope::MultiRun, Action::MultiRun(MultiRunAction::HideRun), "hide", "hide the run, or its group"),
    bind(&[char('H')], Scope::MultiRun, Action::MultiRun(MultiRunAction::HideGroup), "", "hide the run, or its group"),
    bind(&[char('a')], Scope::MultiRun, Action::MultiRun(MultiRunAction::ShowAll), "", "show all, take all pins"),
    bind(&[char('/')], Scope::MultiRun, Action::MultiRun(MultiRunAction::Filter), "filter", "filter, as in optim.lr>1e-3"),
    bind(&[char('s')], Scope::MultiRun, Action::MultiRun(MultiRunAction::Sort), "sort", "sort by a column or metric"),
    bind(&[char('S')], Scope::MultiRun, Action::MultiRun(MultiRunAction::Reverse), "", "reverse the order"),
    bind(&[char('c')], Scope::MultiRun, Action::MultiRun(MultiRunAction::Columns), "", "add columns"),
    bind(&[key(KeyCode::Up), char('k')], Scope::MultiRun, Action::Move(Motion::Up), "", "select a run"),
    bind(&[key(KeyCode::Down), char('j')], Scope::MultiRun, Action::Move(Motion::Down), "", "select a run"),
    bind(&[key(KeyCode::PageUp)], Scope::MultiRun, Action::Move(Motion::PageUp), "", "move by a page"),
    bind(&[key(KeyCode::PageDown)], Scope::MultiRun, Action::Move(Motion::PageDown), "", "move by a page"),
    bind(&[key(KeyCode::Home), char('g')], Scope::MultiRun, Action::Move(Motion::Home), "", "go to the first or last run"),
    bind(&[key(KeyCode::End), char('G')], Scope::MultiRun, Action::Move(Motion::End), "", "go to the first or last run"),
    bind(&[key(KeyCode::Esc)], Scope::MultiRun, Action::Back, "", "drop the filter"),
    bind(&[char('?')], Scope::MultiRun, Action::Help, "help", "show the keys"),
    bind(&[char('q')], Scope::MultiRun, Action::Quit, "quit", "leave; runs go on"),
];

pub fn bindings_in(scopes: &[Scope]) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(|binding| scopes.contains(&binding.scope))
}

/// Returns the rows of `scope`, with adjacent rows that share their help text grouped together.
pub fn binding_groups(scope: Scope) -> Vec<Vec<&'static Binding>> {
    let mut groups: Vec<Vec<&Binding>> = Vec::new();
    for binding in bindings_in(&[scope]) {
        match groups.last_mut() {
            Some(group) if group[0].help == binding.help => group.push(binding),
            _ => groups.push(vec![binding]),
        }
    }
    groups
}

/// Returns the action of `event` in `scopes`.
pub fn action_for(event: &KeyEvent, scopes: &[Scope]) -> Option<Action> {
    bindings_in(scopes).find(|binding| binding.keys.iter().any(|key| key.matches(event))).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_in_one_scope() {
        for (index, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[index + 1..] {
                let apart = |one, other| match (one, other) {
                    (Scope::Panel(x), Scope::Panel(y)) => x != y,
                    (Scope::Panel(x), Scope::List) | (Scope::List, Scope::Panel(x)) => !is_list_panel(x),
                    _ => false,
                };
                let over = |s| matches!(s, Scope::Panels | Scope::Panel(_) | Scope::List);
                let meet = a.scope == b.scope
                    || [a.scope, b.scope].contains(&Scope::Always)
                    || (over(a.scope) && over(b.scope) && !apart(a.scope, b.scope));
                let shared = a.keys.iter().any(|key| b.keys.contains(key));
                assert!(!(meet && shared), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn an_action_depends_on_the_scope() {
        let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action_for(&press(KeyCode::Char('q')), &[Scope::Panels]), Some(Action::Quit));
        assert_eq!(action_for(&press(KeyCode::Char('q')), &[Scope::Help]), Some(Action::Help));
        assert_eq!(action_for(&press(KeyCode::Char('c')), &[Scope::Always]), None);
        assert_eq!(action_for(&c, &[Scope::StopDialog, Scope::Always]), Some(Action::Interrupt));
        let shifted = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(action_for(&shifted, &[Scope::Panels]), Some(Action::Help));
    }
}
