//! Owns: the command line, opened with `:`: its text, completion, and the command it parses to.
//! Must not know: the terminal, how the line is drawn, whether a command is allowed (the trainer decides).
//! Invariant: a line that cannot be parsed gives an error message, and stays so that it can be corrected.

use super::command_list::COMMANDS;
use super::completion;
use crate::config::{Config, ConfigKey};
use crate::policy::switch::Policy;
use crate::schema::protocol::{Command, SetKeys};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const MAX_HISTORY: usize = 100;

/// The line being typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandPrompt {
    pub text: String,
    /// Why the line was refused.
    pub error: Option<String>,
    /// Completions of the last word, if Tab found more than one.
    pub candidates: Vec<String>,
    /// The candidate in the line, after Tab was pressed again.
    pub selected_candidate: Option<usize>,
    /// Where the word begins that the candidates complete, in bytes.
    word_start: usize,
    pub chars_after_cursor: usize,
    /// Submitted lines, oldest first.
    history: Vec<String>,
    /// Position in the history, counted from its end; 0 for the line being typed.
    history_offset: usize,
}

/// What a key press in the prompt led to.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptOutcome {
    Editing,
    Cancelled,
    /// The line was accepted as text (a filter).
    Accepted,
    Trainer(Command),
    Dashboard(DashboardCommand),
}

/// A command that the dashboard carries out itself.
#[derive(Clone, Debug, PartialEq)]
pub enum DashboardCommand {
    Undo,
    /// Send a prompt to the playground, or change its settings.
    Playground(PlaygroundCommand),
    Goto(u64),
    /// Write a table to a file: table name, file name.
    Export(String, String),
    /// Fork the run from its newest checkpoint: name, overrides.
    Fork(String, Vec<String>),
    /// Resume a run that has ended, up to this many steps in total if given.
    Resume(Option<u64>),
    /// Open the list of runs.
    Runs,
    Help,
    Quit,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PlaygroundCommand {
    /// Generate an answer to this prompt.
    Ask(String),
    Policy(String),
    Temperature(f64),
    Length(usize),
    /// Set the step of the checkpoint that answers; none for the current weights.
    Weights(Option<u64>),
}

impl CommandPrompt {
    /// Opens the prompt with `text`. The history is kept.
    pub fn open(&mut self, text: String) {
        (self.text, self.error, self.history_offset, self.chars_after_cursor) = (text, None, 0, 0);
        self.forget_candidates();
    }

    pub fn split_at_cursor(&self) -> (&str, &str) {
        let at = self
            .text
            .char_indices()
            .rev()
            .nth(self.chars_after_cursor.wrapping_sub(1))
            .map_or(self.text.len(), |(at, _)| at);
        self.text.split_at(if self.chars_after_cursor == 0 { self.text.len() } else { at })
    }

    fn edit_at_cursor(&mut self, edit: impl FnOnce(&mut String, &mut String)) {
        let (before, after) = self.split_at_cursor();
        let (mut before, mut after) = (before.to_owned(), after.to_owned());
        edit(&mut before, &mut after);
        self.chars_after_cursor = after.chars().count();
        self.text = before + &after;
    }

    /// Handles a key as text input, without completion or history.
    pub fn handle_text_key(&mut self, key: &KeyEvent) -> PromptOutcome {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => return PromptOutcome::Cancelled,
            KeyCode::Enter => return PromptOutcome::Accepted,
            KeyCode::Char('c') if control => return PromptOutcome::Cancelled,
            KeyCode::Char('u') if control => self.edit_at_cursor(|before, _| before.clear()),
            KeyCode::Char('w') if control => self.edit_at_cursor(|before, _| {
                let kept = before.trim_end().rfind(' ').map_or(0, |space| space + 1);
                before.truncate(kept);
            }),
            KeyCode::Backspace if self.text.is_empty() => return PromptOutcome::Cancelled,
            KeyCode::Backspace => self.edit_at_cursor(|before, _| {
                before.pop();
            }),
            KeyCode::Delete => self.edit_at_cursor(|_, after| {
                if !after.is_empty() {
                    after.remove(0);
                }
            }),
            KeyCode::Left => self.chars_after_cursor = (self.chars_after_cursor + 1).min(self.text.chars().count()),
            KeyCode::Right => self.chars_after_cursor = self.chars_after_cursor.saturating_sub(1),
            KeyCode::Home => self.chars_after_cursor = self.text.chars().count(),
            KeyCode::End => self.chars_after_cursor = 0,
            KeyCode::Char(c) if !control && !c.is_control() => self.edit_at_cursor(|before, _| before.push(c)),
            _ => return PromptOutcome::Editing,
        }
        self.error = None;
        PromptOutcome::Editing
    }

    /// Handles a key of the command line. `config` is the current config, for completing values.
    pub fn handle_key(&mut self, key: &KeyEvent, config: Option<&Config>) -> PromptOutcome {
        match key.code {
            KeyCode::Tab => {
                self.chars_after_cursor = 0;
                self.complete(config);
                self.error = None;
                return PromptOutcome::Editing;
            }
            KeyCode::Up => self.recall_history(1),
            KeyCode::Down => self.recall_history(-1),
            _ => {
                self.forget_candidates();
                return match self.handle_text_key(key) {
                    PromptOutcome::Accepted => self.submit(),
                    typed => typed,
                };
            }
        }
        (self.error, self.chars_after_cursor) = (None, 0);
        self.forget_candidates();
        PromptOutcome::Editing
    }

    fn submit(&mut self) -> PromptOutcome {
        match parse_command(&self.text) {
            Ok(typed) => {
                if typed != PromptOutcome::Cancelled && self.history.last() != Some(&self.text) {
                    self.history.push(self.text.clone());
                }
                if self.history.len() > MAX_HISTORY {
                    self.history.remove(0);
                }
                typed
            }
            Err(error) => {
                self.error = Some(error);
                PromptOutcome::Editing
            }
        }
    }

    /// Replaces the line by one from the history, `by` lines further back.
    fn recall_history(&mut self, by: isize) {
        self.history_offset = self.history_offset.saturating_add_signed(by).min(self.history.len());
        self.text = match self.history_offset {
            0 => String::new(),
            offset => self.history[self.history.len() - offset].clone(),
        };
    }

    /// Completes the last word as far as all candidates agree; pressed again, it cycles through them.
    fn complete(&mut self, config: Option<&Config>) {
        if self.candidates.len() > 1 {
            let next = self.selected_candidate.map_or(0, |at| (at + 1) % self.candidates.len());
            self.selected_candidate = Some(next);
            self.replace_last_word(&self.candidates[next].clone());
            return;
        }
        self.word_start = self.text.rfind(' ').map_or(0, |space| space + 1);
        self.candidates = completion::completions(&self.text, config);
        if !self.candidates.is_empty() {
            let shared = completion::common_prefix(&self.candidates).to_owned();
            self.replace_last_word(&shared);
        }
        if self.candidates.len() == 1 {
            self.candidates.clear();
        }
    }

    /// Replaces the word that the candidates complete.
    fn replace_last_word(&mut self, word: &str) {
        self.text.truncate(self.word_start);
        self.text.push_str(word);
    }

    fn forget_candidates(&mut self) {
        self.candidates.clear();
        self.selected_candidate = None;
    }

    /// Returns the config key that the line sets, as soon as it is complete.
    pub fn config_key(&self) -> Option<&'static ConfigKey> {
        let mut words = self.text.split([' ', '=']).filter(|word| !word.is_empty());
        let path = match words.next()? {
            "set" => words.next()?,
            "lr" => "optim.lr",
            _ => return None,
        };
        Config::find_key(path)
    }
}

fn parse_command(text: &str) -> Result<PromptOutcome, String> {
    let (name, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let dashboard = |command| Ok(PromptOutcome::Dashboard(command));
    let trainer = |command| Ok(PromptOutcome::Trainer(command));
    match (name, rest.trim()) {
        ("", _) => Ok(PromptOutcome::Cancelled),
        ("set", rest) => parse_set(rest),
        ("lr", value) if !value.is_empty() => trainer(Command::SetKeys(SetKeys::single("optim.lr", value))),
        ("lr", _) => Err("expected: lr VALUE".into()),
        ("note", "") => Err("expected: note TEXT".into()),
        ("note", text) => trainer(Command::Note(text.to_owned())),
        ("ask" | "policy" | "temperature" | "length" | "weights", rest) => parse_playground_command(name, rest),
        ("goto", step) => match step.replace(',', "").parse() {
            Ok(step) => dashboard(DashboardCommand::Goto(step)),
            Err(_) => Err("expected: goto STEP, a whole number".into()),
        },
        ("export", rest) => parse_export(rest),
        ("fork", rest) => parse_fork(rest),
        ("undo", "") => dashboard(DashboardCommand::Undo),
        ("resume", "") => dashboard(DashboardCommand::Resume(None)),
        ("resume", steps) => match steps.replace(',', "").parse() {
            Ok(steps) => dashboard(DashboardCommand::Resume(Some(steps))),
            Err(_) => Err("expected: resume [STEPS], a whole number".into()),
        },
        ("runs", "") => dashboard(DashboardCommand::Runs),
        ("help", "") => dashboard(DashboardCommand::Help),
        ("checkpoint", "") => trainer(Command::Save),
        ("pause", "") => trainer(Command::SetPaused(true)),
        ("go", "") => trainer(Command::SetPaused(false)),
        ("step", "") => trainer(Command::StepOnce),
        ("stop", "") => trainer(Command::Stop),
        ("stop", "drop") => trainer(Command::StopWithoutCheckpoint),
        ("quit" | "q", "") => dashboard(DashboardCommand::Quit),
        _ => Err(format!("unknown command `{name}`; Tab lists the commands")),
    }
}

fn parse_set(rest: &str) -> Result<PromptOutcome, String> {
    let parts = rest.split_once(['=', ' ']).map(|(key, value)| (key.trim(), value.trim_matches(['=', ' '])));
    let (key, value) = parts.filter(|(_, value)| !value.is_empty()).ok_or("expected: set KEY VALUE")?;
    Ok(PromptOutcome::Trainer(Command::SetKeys(SetKeys::single(key, value))))
}

fn parse_playground_command(name: &str, rest: &str) -> Result<PromptOutcome, String> {
    let expected = || {
        let help = COMMANDS.iter().find(|(command, _)| *command == name).map_or("", |(_, help)| help);
        format!("expected: {}", help.split(": ").next().unwrap_or_default())
    };
    let command = match (name, rest) {
        (_, "") => Err(expected()),
        ("ask", text) => Ok(PlaygroundCommand::Ask(text.to_owned())),
        // Whether the tokenizer has a token is known to the trainer alone.
        ("policy", policy) => {
            Policy::parse_with_tokens(policy, &|_| Some(0)).map(|_| PlaygroundCommand::Policy(policy.to_owned()))
        }
        ("weights", "now") => Ok(PlaygroundCommand::Weights(None)),
        ("weights", step) => {
            step.replace(',', "").parse().map(|step| PlaygroundCommand::Weights(Some(step))).map_err(|_| expected())
        }
        ("length", tokens) => match tokens.parse() {
            Ok(tokens) if tokens > 0 => Ok(PlaygroundCommand::Length(tokens)),
            _ => Err(expected()),
        },
        (_, value) => match value.parse::<f64>() {
            Ok(value) if (0.0..=100.0).contains(&value) => Ok(PlaygroundCommand::Temperature(value)),
            _ => Err("expected: temperature VALUE, from 0 to 100".into()),
        },
    };
    command.map(|command| PromptOutcome::Dashboard(DashboardCommand::Playground(command)))
}

fn parse_export(rest: &str) -> Result<PromptOutcome, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words[..] {
        [file] => Ok(PromptOutcome::Dashboard(DashboardCommand::Export("metrics".into(), file.into()))),
        [table, file] => Ok(PromptOutcome::Dashboard(DashboardCommand::Export(table.into(), file.into()))),
        _ => Err("expected: export [TABLE] FILE".into()),
    }
}

fn parse_fork(rest: &str) -> Result<PromptOutcome, String> {
    let mut words = rest.split_whitespace().map(str::to_owned);
    let name = words.next().ok_or("expected: fork NAME [KEY=VALUE …]")?;
    let sets: Vec<String> = words.collect();
    match sets.iter().find(|set| !set.contains('=')) {
        Some(set) => Err(format!("`{set}` is not KEY=VALUE")),
        None => Ok(PromptOutcome::Dashboard(DashboardCommand::Fork(name, sets))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> (CommandPrompt, PromptOutcome) {
        let mut prompt = CommandPrompt::default();
        let typed = type_into(&mut prompt, text);
        (prompt, typed)
    }

    fn type_into(prompt: &mut CommandPrompt, text: &str) -> PromptOutcome {
        let config = Config::default();
        for c in text.chars() {
            let code = match c {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '↑' => KeyCode::Up,
                '↓' => KeyCode::Down,
                c => KeyCode::Char(c),
            };
            let typed = prompt.handle_key(&KeyEvent::new(code, KeyModifiers::NONE), Some(&config));
            if typed != PromptOutcome::Editing {
                return typed;
            }
        }
        PromptOutcome::Editing
    }

    fn set(text: &str) -> (String, String) {
        match typed(text) {
            (_, PromptOutcome::Trainer(Command::SetKeys(set))) => set.values[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn set_accepts_every_spelling() {
        for text in
            ["set optim.lr 1e-4\n", "set optim.lr=1e-4\n", "set optim.lr = 1e-4\n", "se\top\tlr\t1e-4\n", "lr 1e-4\n"]
        {
            assert_eq!(set(text), ("optim.lr".into(), "1e-4".into()), "{text:?}");
        }
        let curve = "set recycle.fraction [[0, 0.0], [500, 0.3]]\n";
        assert_eq!(set(curve).1, "[[0, 0.0], [500, 0.3]]");
    }

    #[test]
    fn tab_completes_the_common_prefix_and_the_current_value() {
        assert_eq!(typed("set recycle.pa\t").0.text, "set recycle.pa");
        assert_eq!(typed("set recycle.pause\t").0.text, "set recycle.pause_share ");
        assert_eq!(typed("che\t").0.text, "checkpoint ");
        assert_eq!(typed("set data.ba\t").0.text, "set data.ba", "frozen keys are not offered");
        assert_eq!(typed("set optim.lr \t").0.text, "set optim.lr 0.001");
        let (prompt, _) = typed("set recycle.placement e\t");
        assert_eq!(prompt.text, "set recycle.placement entropy_");
        assert_eq!(prompt.candidates, ["entropy_at", "entropy_next"]);
        let cycled = |tabs| typed(&format!("set recycle.placement entropy_{}", "\t".repeat(tabs))).0.text;
        assert_eq!(
            [2, 3, 4].map(cycled),
            ["at", "next", "at"].map(|end| format!("set recycle.placement entropy_{end}"))
        );
        let keys = typed("set \t\t\t").0;
        assert_eq!(keys.text, format!("set {}", keys.candidates[1]));
        assert_eq!(typed("set run.paused t\t").0.text, "set run.paused true");
        assert_eq!(typed("set optim.lr 5").0.config_key().unwrap().path(), "optim.lr");
        assert_eq!(typed("lr 5").0.config_key().unwrap().path(), "optim.lr");
    }

    #[test]
    fn an_invalid_line_is_kept_with_an_error() {
        for text in [
            "nonsense\n",
            "set\n",
            "set optim.lr\n",
            "set optim.lr =\n",
            "checkpoint now\n",
            "stop now\n",
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
            "policy entropy:begin=1\n",
            "policy sometimes\n",
        ] {
            let (prompt, typed) = typed(text);
            assert!(typed == PromptOutcome::Editing && prompt.error.is_some() && !prompt.text.is_empty(), "{text:?}");
        }
        assert_eq!(typed("checkpoint\n").1, PromptOutcome::Trainer(Command::Save));
        assert_eq!(typed("stop\n").1, PromptOutcome::Trainer(Command::Stop));
        assert_eq!(typed("stop drop\n").1, PromptOutcome::Trainer(Command::StopWithoutCheckpoint));
        assert_eq!(typed("\n").1, PromptOutcome::Cancelled);
        assert_eq!(typed("q\n").1, PromptOutcome::Dashboard(DashboardCommand::Quit));
        assert_eq!(typed("goto 1,200\n").1, PromptOutcome::Dashboard(DashboardCommand::Goto(1200)));
        assert_eq!(typed("resume 4000\n").1, PromptOutcome::Dashboard(DashboardCommand::Resume(Some(4000))));
        assert_eq!(typed("note two words\n").1, PromptOutcome::Trainer(Command::Note("two words".into())));
        let fork = DashboardCommand::Fork("colder".into(), vec!["optim.lr=1e-4".into()]);
        assert_eq!(typed("fork colder optim.lr=1e-4\n").1, PromptOutcome::Dashboard(fork));
        let play = |command| PromptOutcome::Dashboard(DashboardCommand::Playground(command));
        assert_eq!(typed("ask Is it: so?\n").1, play(PlaygroundCommand::Ask("Is it: so?".into())));
        assert_eq!(typed("policy never\n").1, play(PlaygroundCommand::Policy("never".into())));
        assert_eq!(typed("weights 1,200\n").1, play(PlaygroundCommand::Weights(Some(1200))));
        assert_eq!(typed("weights now\n").1, play(PlaygroundCommand::Weights(None)));
        assert_eq!(
            typed("export a.csv\n").1,
            PromptOutcome::Dashboard(DashboardCommand::Export("metrics".into(), "a.csv".into()))
        );
    }

    #[test]
    fn the_line_is_edited_at_the_cursor() {
        let mut prompt = CommandPrompt::default();
        prompt.open("lr 1é4".into());
        let press = |prompt: &mut CommandPrompt, codes: &[KeyCode]| {
            for code in codes {
                prompt.handle_key(&KeyEvent::new(*code, KeyModifiers::NONE), None);
            }
        };
        press(&mut prompt, &[KeyCode::Left, KeyCode::Backspace, KeyCode::Char('e'), KeyCode::Char('-')]);
        assert_eq!(prompt.text, "lr 1e-4");
        let codes = [KeyCode::Home, KeyCode::Delete, KeyCode::Delete, KeyCode::Left, KeyCode::Char('x')];
        press(&mut prompt, &codes);
        assert_eq!((prompt.split_at_cursor(), prompt.text.as_str()), (("x", " 1e-4"), "x 1e-4"));
        assert_eq!(
            typed("set rec\t\t").0.candidates.len(),
            completion::live_keys().filter(|key| key.path().starts_with("rec")).count()
        );
    }

    #[test]
    fn submitted_lines_come_back_from_the_history() {
        let mut prompt = CommandPrompt::default();
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
