//! Owns: the command line, opened by `:`: its text, what it completes, what it asks for.
//! Must not know: how it is drawn, the terminal, whether what it asks for is allowed (the trainer says).
//! Invariant: a line that means nothing is an error in words, and stays to be mended.

use super::view::Playing;
use crate::config::{Change, Config, Key};
use crate::message::{Command, Set};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Commands and what they do.
pub const COMMANDS: [(&str, &str); 19] = [
    ("set", "set KEY VALUE: a setting, from the next step on"),
    ("lr", "lr VALUE: the peak learning rate"),
    ("undo", "bring back how it was before the last setting"),
    ("note", "note TEXT: write something down at this step"),
    ("ask", "ask TEXT: the model goes on with it, in the playground"),
    ("policy", "policy NAME[:KEY=VALUE,…]: when it thinks there: never, fixed, entropy, trend"),
    ("temperature", "temperature VALUE: how tokens are chosen there; 0: the likeliest"),
    ("length", "length TOKENS: most of an answer there"),
    ("weights", "weights STEP|now: the checkpoint that answers there, or the present weights"),
    ("goto", "goto STEP: read the charts there"),
    ("checkpoint", "write a checkpoint now"),
    ("pause", "hold before the next step"),
    ("go", "go on"),
    ("step", "do one step of a run that holds"),
    ("export", "export [TABLE] FILE: a table as .parquet or .csv"),
    ("fork", "fork NAME [KEY=VALUE …]: stop this run, go on with another from its newest checkpoint"),
    ("resume", "resume [STEPS]: go on with a run that is over or dead, to so many steps in all"),
    ("help", "all keys"),
    ("quit", "leave"),
];

/// Lines remembered.
const REMEMBERED: usize = 100;

/// The line being typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What was typed.
    pub text: String,
    /// What is wrong with it.
    pub error: Option<String>,
    /// What the word at the end may become, where Tab has found more than one.
    pub candidates: Vec<String>,
    /// Characters behind the place where one types.
    pub behind: usize,
    /// Lines that were asked before, oldest first.
    before: Vec<String>,
    /// How far one has gone back in them.
    back: usize,
}

/// What typing led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// The line goes on.
    More,
    /// The line is given up.
    Closed,
    /// The line is as it is to be; of text alone.
    Done,
    /// The line asks the trainer for this.
    Asks(Command),
    /// The line asks the dashboard for this.
    Does(Does),
}

/// What the dashboard does itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// Bring back how it was before the last setting.
    Undo,
    /// Ask the playground, or change how it answers.
    Play(Playing),
    /// Read the charts at a step.
    Goto(u64),
    /// Write a table to a file.
    Export(String, String),
    /// Another run from the newest checkpoint: its name, overrides.
    Fork(String, Vec<String>),
    /// Go on with a run that is over, to so many steps in all where that is said.
    Resume(Option<u64>),
    /// Show all keys.
    Help,
    /// Leave.
    Quit,
}

impl Prompt {
    /// Opens it with `text`; what was asked before stays known.
    pub fn open(&mut self, text: String) {
        (self.text, self.error, self.back, self.behind) = (text, None, 0, 0);
        self.candidates.clear();
    }

    /// What was typed, before and behind the place where one types.
    pub fn halves(&self) -> (&str, &str) {
        let at = self
            .text
            .char_indices()
            .rev()
            .nth(self.behind.wrapping_sub(1))
            .map_or(self.text.len(), |(at, _)| at);
        self.text.split_at(if self.behind == 0 { self.text.len() } else { at })
    }

    fn with_halves(&mut self, edit: impl FnOnce(&mut String, &mut String)) {
        let (before, behind) = self.halves();
        let (mut before, mut behind) = (before.to_owned(), behind.to_owned());
        edit(&mut before, &mut behind);
        self.behind = behind.chars().count();
        self.text = before + &behind;
    }

    /// Takes a key of a text that means itself.
    pub fn type_text(&mut self, key: &KeyEvent) -> Typed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => return Typed::Closed,
            KeyCode::Enter => return Typed::Done,
            KeyCode::Char('c') if control => return Typed::Closed,
            KeyCode::Char('u') if control => self.with_halves(|before, _| before.clear()),
            KeyCode::Char('w') if control => self.with_halves(|before, _| {
                let kept = before.trim_end().rfind(' ').map_or(0, |space| space + 1);
                before.truncate(kept);
            }),
            KeyCode::Backspace if self.text.is_empty() => return Typed::Closed,
            KeyCode::Backspace => self.with_halves(|before, _| {
                before.pop();
            }),
            KeyCode::Delete => self.with_halves(|_, behind| {
                if !behind.is_empty() {
                    behind.remove(0);
                }
            }),
            KeyCode::Left => self.behind = (self.behind + 1).min(self.text.chars().count()),
            KeyCode::Right => self.behind = self.behind.saturating_sub(1),
            KeyCode::Home => self.behind = self.text.chars().count(),
            KeyCode::End => self.behind = 0,
            KeyCode::Char(c) if !control && !c.is_control() => self.with_halves(|before, _| before.push(c)),
            _ => return Typed::More,
        }
        self.error = None;
        Typed::More
    }

    /// Takes a key of a command; `config` is the one in force.
    pub fn press(&mut self, key: &KeyEvent, config: Option<&Config>) -> Typed {
        match key.code {
            KeyCode::Tab => {
                self.behind = 0;
                self.complete(config);
                self.error = None;
                return Typed::More;
            }
            KeyCode::Up => self.recall(1),
            KeyCode::Down => self.recall(-1),
            _ => {
                self.candidates.clear();
                return match self.type_text(key) {
                    Typed::Done => self.ask(),
                    typed => typed,
                };
            }
        }
        (self.error, self.behind) = (None, 0);
        self.candidates.clear();
        Typed::More
    }

    fn ask(&mut self) -> Typed {
        match asks(&self.text) {
            Ok(typed) => {
                if typed != Typed::Closed && self.before.last() != Some(&self.text) {
                    self.before.push(self.text.clone());
                }
                if self.before.len() > REMEMBERED {
                    self.before.remove(0);
                }
                typed
            }
            Err(error) => {
                self.error = Some(error);
                Typed::More
            }
        }
    }

    /// A line that was asked before, `by` further back.
    fn recall(&mut self, by: isize) {
        self.back = self.back.saturating_add_signed(by).min(self.before.len());
        self.text = match self.back {
            0 => String::new(),
            back => self.before[self.before.len() - back].clone(),
        };
    }

    /// The word at the end, as far as all that it may become agree; a value becomes the present one.
    fn complete(&mut self, config: Option<&Config>) {
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
            ["fork", _, .., word] if !word.contains('=') => {
                Config::keys().map(|key| key.path() + "=").filter(|path| path.starts_with(word)).collect()
            }
            ["set", _, ""] => {
                let value = self.key().zip(config).map(|(key, config)| config.value(key).to_string());
                value.into_iter().collect()
            }
            _ => Vec::new(),
        };
        self.candidates.clear();
        let (Some(first), last) = (known.first(), words.last().copied().unwrap_or_default()) else { return };
        if known.len() > 1 {
            self.candidates.clone_from(&known);
        }
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
        let path = match words.next()? {
            "set" => words.next()?,
            "lr" => "optim.lr",
            _ => return None,
        };
        Config::keys().find(|key| key.path() == path)
    }
}

/// Keys that may change during a run.
fn live() -> impl Iterator<Item = &'static Key> {
    Config::keys().filter(|key| key.change == Change::Live)
}

fn asks(text: &str) -> Result<Typed, String> {
    let (name, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let does = |does| Ok(Typed::Does(does));
    let asks = |command| Ok(Typed::Asks(command));
    match (name, rest.trim()) {
        ("", _) => Ok(Typed::Closed),
        ("set", rest) => set(rest),
        ("lr", value) if !value.is_empty() => asks(Command::Set(Set::one("optim.lr", value))),
        ("lr", _) => Err("lr VALUE is expected".into()),
        ("note", "") => Err("note TEXT is expected".into()),
        ("note", text) => asks(Command::Note(text.to_owned())),
        ("ask" | "policy" | "temperature" | "length" | "weights", rest) => play(name, rest),
        ("goto", step) => match step.replace(',', "").parse() {
            Ok(step) => does(Does::Goto(step)),
            Err(_) => Err("goto STEP is expected, a whole number".into()),
        },
        ("export", rest) => export(rest),
        ("fork", rest) => fork(rest),
        ("undo", "") => does(Does::Undo),
        ("resume", "") => does(Does::Resume(None)),
        ("resume", steps) => match steps.replace(',', "").parse() {
            Ok(steps) => does(Does::Resume(Some(steps))),
            Err(_) => Err("resume [STEPS] is expected, a whole number".into()),
        },
        ("help", "") => does(Does::Help),
        ("checkpoint", "") => asks(Command::Save),
        ("pause", "") => asks(Command::Pause(true)),
        ("go", "") => asks(Command::Pause(false)),
        ("step", "") => asks(Command::Step),
        ("quit" | "q", "") => does(Does::Quit),
        _ => Err(format!("no command `{name}`; Tab shows which there are")),
    }
}

fn set(rest: &str) -> Result<Typed, String> {
    let parts = rest.split_once(['=', ' ']).map(|(key, value)| (key.trim(), value.trim_matches(['=', ' '])));
    let (key, value) = parts.filter(|(_, value)| !value.is_empty()).ok_or("set KEY VALUE is expected")?;
    Ok(Typed::Asks(Command::Set(Set::one(key, value))))
}

fn play(name: &str, rest: &str) -> Result<Typed, String> {
    let expected = || {
        let help = COMMANDS.iter().find(|(own, _)| *own == name).map_or("", |(_, help)| help);
        format!("{} is expected", help.split(':').next().unwrap_or_default())
    };
    let playing = match (name, rest) {
        (_, "") => Err(expected()),
        ("ask", text) => Ok(Playing::Ask(text.to_owned())),
        ("policy", policy) => Ok(Playing::Policy(policy.to_owned())),
        ("weights", "now") => Ok(Playing::Weights(None)),
        ("weights", step) => {
            step.replace(',', "").parse().map(|step| Playing::Weights(Some(step))).map_err(|_| expected())
        }
        ("length", most) => match most.parse() {
            Ok(most) if most > 0 => Ok(Playing::Length(most)),
            _ => Err(expected()),
        },
        (_, value) => match value.parse::<f64>() {
            Ok(value) if (0.0..=100.0).contains(&value) => Ok(Playing::Temperature(value)),
            _ => Err("temperature VALUE is expected, from 0 to 100".into()),
        },
    };
    playing.map(|playing| Typed::Does(Does::Play(playing)))
}

fn export(rest: &str) -> Result<Typed, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words[..] {
        [file] => Ok(Typed::Does(Does::Export("metrics".into(), file.into()))),
        [table, file] => Ok(Typed::Does(Does::Export(table.into(), file.into()))),
        _ => Err("export [TABLE] FILE is expected".into()),
    }
}

fn fork(rest: &str) -> Result<Typed, String> {
    let mut words = rest.split_whitespace().map(str::to_owned);
    let name = words.next().ok_or("fork NAME [KEY=VALUE …] is expected")?;
    let sets: Vec<String> = words.collect();
    match sets.iter().find(|set| !set.contains('=')) {
        Some(set) => Err(format!("`{set}` is no KEY=VALUE")),
        None => Ok(Typed::Does(Does::Fork(name, sets))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> (Prompt, Typed) {
        let mut prompt = Prompt::default();
        let typed = type_into(&mut prompt, text);
        (prompt, typed)
    }

    fn type_into(prompt: &mut Prompt, text: &str) -> Typed {
        let config = Config::default();
        for c in text.chars() {
            let code = match c {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '↑' => KeyCode::Up,
                '↓' => KeyCode::Down,
                c => KeyCode::Char(c),
            };
            let typed = prompt.press(&KeyEvent::new(code, KeyModifiers::NONE), Some(&config));
            if typed != Typed::More {
                return typed;
            }
        }
        Typed::More
    }

    fn set(text: &str) -> (String, String) {
        match typed(text) {
            (_, Typed::Asks(Command::Set(set))) => set.values[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_setting_is_asked_for_in_every_spelling() {
        for text in [
            "set optim.lr 1e-4\n",
            "set optim.lr=1e-4\n",
            "set optim.lr = 1e-4\n",
            "se\top\tlr\t1e-4\n",
            "lr 1e-4\n",
        ] {
            assert_eq!(set(text), ("optim.lr".into(), "1e-4".into()), "{text:?}");
        }
        let curve = "set recycle.fraction [[0, 0.0], [500, 0.3]]\n";
        assert_eq!(set(curve).1, "[[0, 0.0], [500, 0.3]]");
    }

    #[test]
    fn tab_completes_as_far_as_all_agree_and_to_the_present_value() {
        assert_eq!(typed("set recycle.pa\t").0.text, "set recycle.pa");
        assert_eq!(typed("set recycle.pause\t").0.text, "set recycle.pause_share ");
        assert_eq!(typed("che\t").0.text, "checkpoint ");
        assert_eq!(typed("set data.ba\t").0.text, "set data.ba", "frozen keys are not offered");
        assert_eq!(typed("set optim.lr \t").0.text, "set optim.lr 0.001");
        assert_eq!(typed("set optim.lr 5").0.key().unwrap().path(), "optim.lr");
        assert_eq!(typed("lr 5").0.key().unwrap().path(), "optim.lr");
    }

    #[test]
    fn what_means_nothing_is_said_and_kept() {
        for text in [
            "nonsense\n",
            "set\n",
            "set optim.lr\n",
            "set optim.lr =\n",
            "checkpoint now\n",
            "lr\n",
            "goto soon\n",
            "resume soon\n",
            "note \n",
            "fork\n",
            "fork a b\n",
            "export\n",
            "ask\n",
            "length 0\n",
            "temperature cold\n",
            "weights soon\n",
        ] {
            let (prompt, typed) = typed(text);
            assert!(typed == Typed::More && prompt.error.is_some() && !prompt.text.is_empty(), "{text:?}");
        }
        assert_eq!(typed("checkpoint\n").1, Typed::Asks(Command::Save));
        assert_eq!(typed("\n").1, Typed::Closed);
        assert_eq!(typed("q\n").1, Typed::Does(Does::Quit));
        assert_eq!(typed("goto 1,200\n").1, Typed::Does(Does::Goto(1200)));
        assert_eq!(typed("resume 4000\n").1, Typed::Does(Does::Resume(Some(4000))));
        assert_eq!(typed("note two words\n").1, Typed::Asks(Command::Note("two words".into())));
        let fork = Does::Fork("colder".into(), vec!["optim.lr=1e-4".into()]);
        assert_eq!(typed("fork colder optim.lr=1e-4\n").1, Typed::Does(fork));
        let play = |playing| Typed::Does(Does::Play(playing));
        assert_eq!(typed("ask Is it: so?\n").1, play(Playing::Ask("Is it: so?".into())));
        assert_eq!(typed("policy never\n").1, play(Playing::Policy("never".into())));
        assert_eq!(typed("weights 1,200\n").1, play(Playing::Weights(Some(1200))));
        assert_eq!(typed("weights now\n").1, play(Playing::Weights(None)));
        assert_eq!(typed("export a.csv\n").1, Typed::Does(Does::Export("metrics".into(), "a.csv".into())));
    }

    #[test]
    fn the_line_is_mended_in_its_middle() {
        let mut prompt = Prompt::default();
        prompt.open("lr 1é4".into());
        let press = |prompt: &mut Prompt, codes: &[KeyCode]| {
            for code in codes {
                prompt.press(&KeyEvent::new(*code, KeyModifiers::NONE), None);
            }
        };
        press(&mut prompt, &[KeyCode::Left, KeyCode::Backspace, KeyCode::Char('e'), KeyCode::Char('-')]);
        assert_eq!(prompt.text, "lr 1e-4");
        let codes = [KeyCode::Home, KeyCode::Delete, KeyCode::Delete, KeyCode::Left, KeyCode::Char('x')];
        press(&mut prompt, &codes);
        assert_eq!((prompt.halves(), prompt.text.as_str()), (("x", " 1e-4"), "x 1e-4"));
        assert_eq!(
            typed("set rec\t\t").0.candidates.len(),
            live().filter(|key| key.path().starts_with("rec")).count()
        );
    }

    #[test]
    fn what_was_asked_before_comes_back() {
        let mut prompt = Prompt::default();
        type_into(&mut prompt, "lr 1\n");
        prompt.open(String::new());
        type_into(&mut prompt, "lr 2\n");
        prompt.open(String::new());
        type_into(&mut prompt, "↑");
        assert_eq!(prompt.text, "lr 2");
        type_into(&mut prompt, "↑↑↑");
        assert_eq!(prompt.text, "lr 1");
        type_into(&mut prompt, "↓↓");
        assert_eq!(prompt.text, "");
    }
}
