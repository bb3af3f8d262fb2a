//! Owns: the one table of keys. What a key does, the footer's hints and the help page all come from it.
//! Must not know: how actions are carried out, how hints are drawn.
//! Invariant: in one scope no key stands twice.

use super::draft::Nudge;
use super::view::{Edit, Panel};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere, questions included.
    Always,
    /// Over the panels, whichever is focused.
    Panels,
    /// Over the panels, when this one is focused.
    Panel(Panel),
    /// Over the panels, when one is focused that is a list.
    List,
    /// While an edit is made in the schedule.
    Draft,
    /// On the help page.
    Help,
    /// Under the question whether to stop.
    Question,
    /// In the command line, which takes all others as text.
    Prompt,
}

/// Whether `panel` is a list.
pub fn is_list(panel: Panel) -> bool {
    matches!(
        panel,
        Panel::Run | Panel::Thoughts | Panel::Changes | Panel::Log | Panel::Samples | Panel::Playground
    )
}

/// A way through rows or lines.
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
    /// The way back.
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

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show or hide the help page.
    Help,
    /// Leave, with a question while the run goes on.
    Quit,
    /// As `Quit`; a second time leaves at once.
    Interrupt,
    /// Stop the process until the shell lets it go on.
    Suspend,
    /// Hold the run, or go on.
    Pause,
    /// One step of a run that holds.
    Step,
    /// Go on with a run that is over.
    Resume,
    /// Bring back how it was before the last setting.
    Undo,
    /// Open the command line with this text in it; `=`: the value of the number that is looked at.
    Prompt(&'static str),
    /// Filter the focused panel.
    Filter,
    /// Focus the next panel.
    Next,
    /// Focus the panel before.
    Previous,
    /// Focus this panel.
    Focus(Panel),
    /// The focused panel on the whole screen, or back.
    Expand,
    /// Back to all panels.
    Back,
    /// Hold the picture, or let it go.
    Freeze,
    /// Take the mouse, or leave it to the terminal.
    Mouse,
    /// Move in the focused panel or page.
    Move(Motion),
    /// Half as much of the run in the charts (`true`), or twice as much.
    Zoom(bool),
    /// All of the run, its last half, its last tenth.
    Span,
    /// All of the run.
    Whole,
    /// Follow the end of the run.
    Follow,
    /// The part of the run after (`true`) or before.
    Pan(bool),
    /// The step that is read, so many columns on.
    Cross(i64),
    /// A logarithmic axis of steps, or a linear one.
    LogX,
    /// A logarithmic axis of losses, or a linear one.
    LogY,
    /// Another smoothing.
    Smooth,
    /// Losses, difference, or both.
    Parts,
    /// Show another entropy.
    Mode,
    /// The row as text, or the course of the entropies.
    Picture,
    /// An older row (`true`), or a newer one.
    Row(bool),
    /// The least level of the log that is shown.
    Level,
    /// Thoughts of the playground begin at a higher entropy (`true`), or a lower one.
    Threshold(bool),
    /// Change a number, without asking for it yet.
    Draft(Edit),
    /// Ask for what was changed.
    DraftSend,
    /// Give it up.
    DraftDrop,
    /// Stop the run, wait for its checkpoint, leave.
    Stop,
    /// Do not stop.
    GoOn,
    /// Leave without waiting.
    Leave,
}

/// A key as it is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(KeyCode, KeyModifiers);

impl Key {
    /// That of a character.
    pub fn of(c: char) -> Self {
        Key(KeyCode::Char(c), KeyModifiers::NONE)
    }

    /// That of a name, such as `Left`.
    pub fn named(name: &str) -> Option<Self> {
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
        Some(Key(code, KeyModifiers::NONE))
    }

    /// As the terminal says it.
    pub fn event(self) -> KeyEvent {
        KeyEvent::new(self.0, self.1)
    }

    /// Its name, as it is shown.
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

    fn is(self, event: &KeyEvent) -> bool {
        // Terminals differ in whether `?` or Shift-Tab come with Shift; a plain key must come without Ctrl and Alt.
        let modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        self.0 == event.code && self.1 == modifiers
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys, any of which will do.
    pub keys: &'static [Key],
    /// Where they work.
    pub scope: Scope,
    /// What they ask for.
    pub action: Action,
    /// What they do, for the help page. Neighbours with the same words share a line there.
    pub help: &'static str,
    /// One word for the footer, of the first of neighbours; empty: not there.
    pub hint: &'static str,
}

const fn key(code: KeyCode) -> Key {
    Key(code, KeyModifiers::NONE)
}

const fn char(c: char) -> Key {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::CONTROL)
}

const fn row(
    keys: &'static [Key],
    scope: Scope,
    action: Action,
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, scope, action, help, hint }
}

/// The table.
#[rustfmt::skip] // one line a key
pub const BINDINGS: &[Binding] = &[
    row(&[char('?')], Scope::Panels, Action::Help, "help", "this page"),
    row(&[char('q')], Scope::Panels, Action::Quit, "quit", "quit; asks during the run"),
    row(&[char(' ')], Scope::Panels, Action::Pause, "pause", "pause, or go on"),
    row(&[char('s')], Scope::Panels, Action::Step, "", "one step of a paused run"),
    row(&[char(':')], Scope::Panels, Action::Prompt(""), "command", "command line; Tab completes"),
    row(&[char('u')], Scope::Panels, Action::Undo, "undo", "undo the last setting"),
    row(&[char('n')], Scope::Panels, Action::Prompt("note "), "note", "write a note at this step"),
    row(&[char('b')], Scope::Panels, Action::Prompt("fork "), "", "fork from the newest checkpoint"),
    row(&[char('r')], Scope::Panels, Action::Resume, "", "go on with a run that is over"),
    row(&[char('f')], Scope::Panels, Action::Freeze, "freeze", "hold the picture; training goes on"),
    row(&[char('/')], Scope::Panels, Action::Filter, "", "filter metrics, log, changes"),
    row(&[key(KeyCode::Tab)], Scope::Panels, Action::Next, "panel", "next panel"),
    row(&[key(KeyCode::BackTab)], Scope::Panels, Action::Previous, "", "previous panel"),
    row(&[char('1')], Scope::Panels, Action::Focus(Panel::Run), "", "go to that panel"),
    row(&[char('2')], Scope::Panels, Action::Focus(Panel::Loss), "", "go to that panel"),
    row(&[char('3')], Scope::Panels, Action::Focus(Panel::Schedule), "", "go to that panel"),
    row(&[char('4')], Scope::Panels, Action::Focus(Panel::Entropy), "", "go to that panel"),
    row(&[char('5')], Scope::Panels, Action::Focus(Panel::Thoughts), "", "go to that panel"),
    row(&[char('6')], Scope::Panels, Action::Focus(Panel::Cost), "", "go to that panel"),
    row(&[char('7')], Scope::Panels, Action::Focus(Panel::Changes), "", "go to that panel"),
    row(&[char('8')], Scope::Panels, Action::Focus(Panel::Log), "", "go to that panel"),
    row(&[char('9')], Scope::Panels, Action::Focus(Panel::Samples), "", "go to that panel"),
    row(&[char('p')], Scope::Panels, Action::Focus(Panel::Playground), "", "go to the playground"),
    row(&[char('e'), key(KeyCode::Enter)], Scope::Panels, Action::Expand, "expand", "full screen, or back"),
    row(&[key(KeyCode::Esc)], Scope::Panels, Action::Back, "", "back: filter, step, full screen"),
    row(&[char('M')], Scope::Panels, Action::Mouse, "", "leave the mouse to the terminal"),
    row(&[ctrl('c')], Scope::Always, Action::Interrupt, "", "quit; twice: at once"),
    row(&[ctrl('z')], Scope::Always, Action::Suspend, "", "to the shell; fg comes back"),

    row(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Loss), Action::Cross(-1), "step", "read the charts at a step"),
    row(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Loss), Action::Cross(1), "", "read the charts at a step"),
    row(&[char('H')], Scope::Panel(Panel::Loss), Action::Cross(-10), "", "the same, in larger steps"),
    row(&[char('L')], Scope::Panel(Panel::Loss), Action::Cross(10), "", "the same, in larger steps"),
    row(&[char('+'), char('='), key(KeyCode::Up), char('k')], Scope::Panel(Panel::Loss), Action::Zoom(true), "zoom", "zoom in"),
    row(&[char('-'), key(KeyCode::Down), char('j')], Scope::Panel(Panel::Loss), Action::Zoom(false), "", "zoom out"),
    row(&[char('<'), key(KeyCode::PageUp)], Scope::Panel(Panel::Loss), Action::Pan(false), "", "earlier or later"),
    row(&[char('>'), key(KeyCode::PageDown)], Scope::Panel(Panel::Loss), Action::Pan(true), "", "earlier or later"),
    row(&[char('z')], Scope::Panel(Panel::Loss), Action::Span, "part", "all, last half, last tenth"),
    row(&[char('0'), key(KeyCode::Home)], Scope::Panel(Panel::Loss), Action::Whole, "", "all of the run"),
    row(&[char('G'), key(KeyCode::End)], Scope::Panel(Panel::Loss), Action::Follow, "", "follow the end"),
    row(&[char('y')], Scope::Panel(Panel::Loss), Action::LogY, "log", "logarithmic losses, or linear"),
    row(&[char('x')], Scope::Panel(Panel::Loss), Action::LogX, "", "logarithmic steps, or linear"),
    row(&[char('w')], Scope::Panel(Panel::Loss), Action::Smooth, "smooth", "another smoothing"),
    row(&[char('d')], Scope::Panel(Panel::Loss), Action::Parts, "difference", "losses, difference, or both"),

    row(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Schedule), Action::Move(Motion::Up), "number", "choose a number"),
    row(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Schedule), Action::Move(Motion::Down), "", "choose a number"),
    row(&[char('+')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Value(true, Nudge::Fine)), "change", "more or less"),
    row(&[char('-')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Value(false, Nudge::Fine)), "", "more or less"),
    row(&[char('K')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Value(true, Nudge::Coarse)), "", "much more or less"),
    row(&[char('J')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Value(false, Nudge::Coarse)), "", "much more or less"),
    row(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Knot(false)), "", "choose a knot"),
    row(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Knot(true)), "", "choose a knot"),
    row(&[char('[')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Shift(false)), "", "the knot earlier or later"),
    row(&[char(']')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Shift(true)), "", "the knot earlier or later"),
    row(&[char('a')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Add), "knot", "a knot at the read or next step"),
    row(&[char('x')], Scope::Panel(Panel::Schedule), Action::Draft(Edit::Remove), "", "the knot away"),
    row(&[char('=')], Scope::Panel(Panel::Schedule), Action::Prompt("="), "type", "type a value"),

    row(&[key(KeyCode::Enter)], Scope::Draft, Action::DraftSend, "apply", "ask for what was changed"),
    row(&[key(KeyCode::Esc), char('q')], Scope::Draft, Action::DraftDrop, "give up", "give it up"),
    row(&[char('+'), key(KeyCode::Up), char('k')], Scope::Draft, Action::Draft(Edit::Value(true, Nudge::Fine)), "value", "more or less"),
    row(&[char('-'), key(KeyCode::Down), char('j')], Scope::Draft, Action::Draft(Edit::Value(false, Nudge::Fine)), "", "more or less"),
    row(&[char('K')], Scope::Draft, Action::Draft(Edit::Value(true, Nudge::Coarse)), "coarse", "much more or less"),
    row(&[char('J')], Scope::Draft, Action::Draft(Edit::Value(false, Nudge::Coarse)), "", "much more or less"),
    row(&[key(KeyCode::Left), char('h')], Scope::Draft, Action::Draft(Edit::Knot(false)), "knot", "choose a knot"),
    row(&[key(KeyCode::Right), char('l')], Scope::Draft, Action::Draft(Edit::Knot(true)), "", "choose a knot"),
    row(&[char('[')], Scope::Draft, Action::Draft(Edit::Shift(false)), "when", "the knot earlier or later"),
    row(&[char(']')], Scope::Draft, Action::Draft(Edit::Shift(true)), "", "the knot earlier or later"),
    row(&[char('a')], Scope::Draft, Action::Draft(Edit::Add), "add", "a knot at the read or next step"),
    row(&[char('x')], Scope::Draft, Action::Draft(Edit::Remove), "remove", "the knot away"),

    row(&[key(KeyCode::Left), char('h')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Left), "token", "choose a token"),
    row(&[key(KeyCode::Right), char('l')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Right), "", "choose a token"),
    row(&[key(KeyCode::Up), char('k')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Up), "", "choose a token"),
    row(&[key(KeyCode::Down), char('j')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Down), "", "choose a token"),
    row(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageUp), "", "a page of tokens"),
    row(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageDown), "", "a page of tokens"),
    row(&[key(KeyCode::Home), char('g')], Scope::Panel(Panel::Entropy), Action::Move(Motion::Home), "", "first or last token"),
    row(&[key(KeyCode::End), char('G')], Scope::Panel(Panel::Entropy), Action::Move(Motion::End), "", "first or last token"),
    row(&[char('m')], Scope::Panel(Panel::Entropy), Action::Mode, "mode", "plain, recycled, change, nll"),
    row(&[char('t')], Scope::Panel(Panel::Entropy), Action::Picture, "picture", "the row, or the whole run"),
    row(&[char('[')], Scope::Panel(Panel::Entropy), Action::Row(true), "row", "an older or newer row"),
    row(&[char(']')], Scope::Panel(Panel::Entropy), Action::Row(false), "", "an older or newer row"),

    row(&[char('[')], Scope::Panel(Panel::Thoughts), Action::Row(true), "row", "an older or newer row"),
    row(&[char(']')], Scope::Panel(Panel::Thoughts), Action::Row(false), "", "an older or newer row"),
    row(&[char('v')], Scope::Panel(Panel::Log), Action::Level, "level", "all, warnings, errors"),

    row(&[char('a')], Scope::Panel(Panel::Playground), Action::Prompt("ask "), "ask", "type a text to go on with"),
    row(&[char('y')], Scope::Panel(Panel::Playground), Action::Prompt("policy "), "policy", "when it thinks"),
    row(&[char('[')], Scope::Panel(Panel::Playground), Action::Threshold(false), "threshold", "thoughts begin at 0.1 nats less or more"),
    row(&[char(']')], Scope::Panel(Panel::Playground), Action::Threshold(true), "", "thoughts begin at 0.1 nats less or more"),
    row(&[char('t')], Scope::Panel(Panel::Playground), Action::Prompt("temperature "), "", "how tokens are chosen"),
    row(&[char('w')], Scope::Panel(Panel::Playground), Action::Prompt("weights "), "", "which weights answer"),

    row(&[key(KeyCode::Up), char('k')], Scope::List, Action::Move(Motion::Up), "scroll", "a line up or down"),
    row(&[key(KeyCode::Down), char('j')], Scope::List, Action::Move(Motion::Down), "", "a line up or down"),
    row(&[key(KeyCode::PageUp)], Scope::List, Action::Move(Motion::PageUp), "", "a page up or down"),
    row(&[key(KeyCode::PageDown)], Scope::List, Action::Move(Motion::PageDown), "", "a page up or down"),
    row(&[key(KeyCode::Home), char('g')], Scope::List, Action::Move(Motion::Home), "", "first or last line"),
    row(&[key(KeyCode::End), char('G')], Scope::List, Action::Move(Motion::End), "", "first or last line"),

    row(&[key(KeyCode::Up), char('k')], Scope::Help, Action::Move(Motion::Up), "scroll", "scroll"),
    row(&[key(KeyCode::Down), char('j')], Scope::Help, Action::Move(Motion::Down), "", "scroll"),
    row(&[key(KeyCode::Esc), char('?'), char('q'), key(KeyCode::Enter)], Scope::Help, Action::Help, "close", "close this page"),
    row(&[char('y')], Scope::Question, Action::Stop, "stop", "stop, write a checkpoint"),
    row(&[char('n'), key(KeyCode::Esc)], Scope::Question, Action::GoOn, "go on", "go on with the run"),
    row(&[char('d')], Scope::Question, Action::Leave, "drop", "drop the run, leave now"),
];

/// The rows that work in any of `scopes`.
pub fn within(scopes: &[Scope]) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(|binding| scopes.contains(&binding.scope))
}

/// The rows of `scope`, those together that stand beside each other and do the same kind of thing.
pub fn groups(scope: Scope) -> Vec<Vec<&'static Binding>> {
    let mut groups: Vec<Vec<&Binding>> = Vec::new();
    for binding in within(&[scope]) {
        match groups.last_mut() {
            Some(group) if group[0].help == binding.help => group.push(binding),
            _ => groups.push(vec![binding]),
        }
    }
    groups
}

/// What `event` asks for in `scopes`.
pub fn action(event: &KeyEvent, scopes: &[Scope]) -> Option<Action> {
    within(scopes).find(|binding| binding.keys.iter().any(|key| key.is(event))).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice_where_both_would_work() {
        for (index, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[index + 1..] {
                let apart = |one, other| match (one, other) {
                    (Scope::Panel(x), Scope::Panel(y)) => x != y,
                    (Scope::Panel(x), Scope::List) | (Scope::List, Scope::Panel(x)) => !is_list(x),
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
    fn a_key_means_what_its_scope_says() {
        let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(&press(KeyCode::Char('q')), &[Scope::Panels]), Some(Action::Quit));
        assert_eq!(action(&press(KeyCode::Char('q')), &[Scope::Help]), Some(Action::Help));
        assert_eq!(action(&press(KeyCode::Char('c')), &[Scope::Always]), None);
        assert_eq!(action(&c, &[Scope::Question, Scope::Always]), Some(Action::Interrupt));
        let shifted = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(action(&shifted, &[Scope::Panels]), Some(Action::Help));
    }
}
