//! Owns: the one table of keys. What a key does, the footer's hints and the help page all come from it.
//! Must not know: how actions are carried out, how hints are drawn.
//! Invariant: in one scope no key stands twice.

use super::view::Panel;
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
    /// On the help page.
    Help,
    /// Under the question whether to stop.
    Question,
    /// In the command line, which takes all others as text.
    Prompt,
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

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show or hide the help page.
    Help,
    /// Leave, with a question while the run goes on.
    Quit,
    /// As `Quit`; a second time leaves at once.
    Interrupt,
    /// Hold the run, or go on.
    Pause,
    /// Open the command line.
    Prompt,
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
    /// Move in the focused panel or page.
    Move(Motion),
    /// Show another part of the run in the loss chart.
    Zoom,
    /// Show another entropy.
    Mode,
    /// Hold the shown row, or let it go.
    Freeze,
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
    row(&[Key(KeyCode::Char('c'), KeyModifiers::CONTROL)], Scope::Always, Action::Interrupt, "", "quit; twice: at once"),
    row(&[char('?')], Scope::Panels, Action::Help, "help", "this page"),
    row(&[char('q')], Scope::Panels, Action::Quit, "quit", "quit; asks during the run"),
    row(&[char(' ')], Scope::Panels, Action::Pause, "pause", "pause, or go on"),
    row(&[char(':')], Scope::Panels, Action::Prompt, "set", "command line: set, checkpoint"),
    row(&[key(KeyCode::Tab)], Scope::Panels, Action::Next, "panel", "next panel"),
    row(&[key(KeyCode::BackTab)], Scope::Panels, Action::Previous, "", "previous panel"),
    row(&[char('1')], Scope::Panels, Action::Focus(Panel::Run), "", "go to that panel"),
    row(&[char('2')], Scope::Panels, Action::Focus(Panel::Loss), "", "go to that panel"),
    row(&[char('3')], Scope::Panels, Action::Focus(Panel::Schedule), "", "go to that panel"),
    row(&[char('4')], Scope::Panels, Action::Focus(Panel::Entropy), "", "go to that panel"),
    row(&[char('5')], Scope::Panels, Action::Focus(Panel::Log), "", "go to that panel"),
    row(&[char('e'), key(KeyCode::Enter)], Scope::Panels, Action::Expand, "expand", "full screen, or back"),
    row(&[key(KeyCode::Esc)], Scope::Panels, Action::Back, "", "back to all panels"),
    row(&[key(KeyCode::Up)], Scope::Panel(Panel::Run), Action::Move(Motion::Up), "scroll", "scroll the figures"),
    row(&[key(KeyCode::Down)], Scope::Panel(Panel::Run), Action::Move(Motion::Down), "", "scroll the figures"),
    row(&[char('z')], Scope::Panel(Panel::Loss), Action::Zoom, "zoom", "all, last half or tenth"),
    row(&[key(KeyCode::Left)], Scope::Panel(Panel::Entropy), Action::Move(Motion::Left), "token", "choose a token"),
    row(&[key(KeyCode::Right)], Scope::Panel(Panel::Entropy), Action::Move(Motion::Right), "", "choose a token"),
    row(&[key(KeyCode::Up)], Scope::Panel(Panel::Entropy), Action::Move(Motion::Up), "", "choose a token"),
    row(&[key(KeyCode::Down)], Scope::Panel(Panel::Entropy), Action::Move(Motion::Down), "", "choose a token"),
    row(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageUp), "", "a page of tokens"),
    row(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Entropy), Action::Move(Motion::PageDown), "", "a page of tokens"),
    row(&[key(KeyCode::Home)], Scope::Panel(Panel::Entropy), Action::Move(Motion::Home), "", "first or last token"),
    row(&[key(KeyCode::End)], Scope::Panel(Panel::Entropy), Action::Move(Motion::End), "", "first or last token"),
    row(&[char('m')], Scope::Panel(Panel::Entropy), Action::Mode, "mode", "plain, recycled, change"),
    row(&[char('f')], Scope::Panel(Panel::Entropy), Action::Freeze, "freeze", "freeze the row, or let go"),
    row(&[key(KeyCode::Up)], Scope::Panel(Panel::Log), Action::Move(Motion::Up), "scroll", "older or newer lines"),
    row(&[key(KeyCode::Down)], Scope::Panel(Panel::Log), Action::Move(Motion::Down), "", "older or newer lines"),
    row(&[key(KeyCode::PageUp)], Scope::Panel(Panel::Log), Action::Move(Motion::PageUp), "", "a page of lines"),
    row(&[key(KeyCode::PageDown)], Scope::Panel(Panel::Log), Action::Move(Motion::PageDown), "", "a page of lines"),
    row(&[key(KeyCode::Home)], Scope::Panel(Panel::Log), Action::Move(Motion::Home), "", "oldest or newest line"),
    row(&[key(KeyCode::End)], Scope::Panel(Panel::Log), Action::Move(Motion::End), "", "oldest or newest line"),
    row(&[key(KeyCode::Up)], Scope::Help, Action::Move(Motion::Up), "", "scroll"),
    row(&[key(KeyCode::Down)], Scope::Help, Action::Move(Motion::Down), "", "scroll"),
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
                let over_panels = |s| matches!(s, Scope::Panels | Scope::Panel(_));
                let other_panels = matches!((a.scope, b.scope), (Scope::Panel(x), Scope::Panel(y)) if x != y);
                let meet = a.scope == b.scope
                    || [a.scope, b.scope].contains(&Scope::Always)
                    || (over_panels(a.scope) && over_panels(b.scope) && !other_panels);
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
