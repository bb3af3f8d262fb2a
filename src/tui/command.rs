//! Owns: the command line, opened by `:`: its text, what it completes, what it asks for.
//! Must not know: how it is drawn, the terminal, whether what it asks for is allowed (the trainer says).
//! Invariant: a line that means nothing is an error in words, and stays to be mended.

use crate::config::{Change, Config, Key};
use crate::message::{Command, Set};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Commands and what they do.
pub const COMMANDS: [(&str, &str); 5] = [
    ("set", "set KEY VALUE: a setting, from the next step on"),
    ("checkpoint", "write a checkpoint now"),
    ("pause", "hold before the next step"),
    ("go", "go on"),
    ("quit", "leave"),
];

/// The line being typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What was typed.
    pub text: String,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// What typing led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// The line goes on.
    More,
    /// The line is given up.
    Closed,
    /// The line asks for this.
    Asks(Command),
    /// The line asks to leave.
    Quits,
}

impl Prompt {
    /// Takes a key.
    pub fn press(&mut self, key: &KeyEvent) -> Typed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => return Typed::Closed,
            KeyCode::Char('c') if control => return Typed::Closed,
            KeyCode::Char('u') if control => self.text.clear(),
            KeyCode::Char('w') if control => {
                let kept = self.text.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.text.truncate(kept);
            }
            KeyCode::Backspace if self.text.is_empty() => return Typed::Closed,
            KeyCode::Backspace => drop(self.text.pop()),
            KeyCode::Tab => self.complete(),
            KeyCode::Enter => match asks(&self.text) {
                Ok(typed) => return typed,
                Err(error) => {
                    self.error = Some(error);
                    return Typed::More;
                }
            },
            KeyCode::Char(c) if !control && !c.is_control() => self.text.push(c),
            _ => return Typed::More,
        }
        self.error = None;
        Typed::More
    }

    /// The word at the end, as far as all that it may become agree.
    fn complete(&mut self) {
        let words: Vec<&str> = self.text.split(' ').collect();
        let known: Vec<String> = match words[..] {
            [word] => COMMANDS
                .iter()
                .map(|(name, _)| format!("{name} "))
                .filter(|name| name.starts_with(word))
                .collect(),
            ["set", word] => {
                live().map(|key| key.path() + " ").filter(|path| path.starts_with(word)).collect()
            }
            _ => Vec::new(),
        };
        let (Some(first), last) = (known.first(), words.last().copied().unwrap_or_default()) else { return };
        let shared = |most: usize, other: &String| {
            first.char_indices().zip(other.chars()).take_while(|((at, a), b)| *at < most && a == b).count()
        };
        let agree = known.iter().fold(first.len(), shared);
        self.text.truncate(self.text.len() - last.len());
        self.text.extend(first.chars().take(agree));
    }

    /// The key that the line is about, as soon as it is one.
    pub fn key(&self) -> Option<&'static Key> {
        let mut words = self.text.split([' ', '=']).filter(|word| !word.is_empty());
        let path = words.next().filter(|word| *word == "set").and(words.next())?;
        Config::keys().find(|key| key.path() == path)
    }
}

/// Keys that may change during a run.
fn live() -> impl Iterator<Item = &'static Key> {
    Config::keys().filter(|key| key.change == Change::Live)
}

fn asks(text: &str) -> Result<Typed, String> {
    let (name, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    match (name, rest.trim()) {
        ("", _) => Ok(Typed::Closed),
        ("set", rest) => {
            let parts =
                rest.split_once(['=', ' ']).map(|(key, value)| (key.trim(), value.trim_matches(['=', ' '])));
            let (key, value) =
                parts.filter(|(_, value)| !value.is_empty()).ok_or("set KEY VALUE is expected")?;
            Ok(Typed::Asks(Command::Set(Set::one(key, value))))
        }
        ("checkpoint", "") => Ok(Typed::Asks(Command::Save)),
        ("pause", "") => Ok(Typed::Asks(Command::Pause(true))),
        ("go", "") => Ok(Typed::Asks(Command::Pause(false))),
        ("quit" | "q", "") => Ok(Typed::Quits),
        _ => {
            let names: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
            Err(format!("no command `{}`; there are: {}", text.trim(), names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> (Prompt, Typed) {
        let mut prompt = Prompt::default();
        for c in text.chars() {
            let code = match c {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                c => KeyCode::Char(c),
            };
            let typed = prompt.press(&KeyEvent::new(code, KeyModifiers::NONE));
            if typed != Typed::More {
                return (prompt, typed);
            }
        }
        (prompt, Typed::More)
    }

    fn set(text: &str) -> (String, String) {
        match typed(text) {
            (_, Typed::Asks(Command::Set(set))) => set.values[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_setting_is_asked_for_in_every_spelling() {
        for text in
            ["set optim.lr 1e-4\n", "set optim.lr=1e-4\n", "set optim.lr = 1e-4\n", "se\top\tlr\t1e-4\n"]
        {
            assert_eq!(set(text), ("optim.lr".into(), "1e-4".into()), "{text:?}");
        }
        let curve = "set recycle.fraction [[0, 0.0], [500, 0.3]]\n";
        assert_eq!(set(curve).1, "[[0, 0.0], [500, 0.3]]");
    }

    #[test]
    fn tab_completes_as_far_as_all_agree() {
        assert_eq!(typed("set recycle.pa\t").0.text, "set recycle.pa");
        assert_eq!(typed("set recycle.pause\t").0.text, "set recycle.pause_share ");
        assert_eq!(typed("che\t").0.text, "checkpoint ");
        assert_eq!(typed("set data.ba\t").0.text, "set data.ba", "frozen keys are not offered");
        assert_eq!(typed("set optim.lr 5").0.key().unwrap().path(), "optim.lr");
    }

    #[test]
    fn what_means_nothing_is_said_and_kept() {
        for text in ["nonsense\n", "set\n", "set optim.lr\n", "set optim.lr =\n", "checkpoint now\n"] {
            let (prompt, typed) = typed(text);
            assert!(typed == Typed::More && prompt.error.is_some() && !prompt.text.is_empty(), "{text:?}");
        }
        assert_eq!(typed("checkpoint\n").1, Typed::Asks(Command::Save));
        assert_eq!(typed("\n").1, Typed::Closed);
        assert_eq!(typed("q\n").1, Typed::Quits);
    }
}
