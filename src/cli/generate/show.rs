//! Owns: how what is generated looks: text with thoughts in between, or lines of JSON; one row after another.
//! Must not know: models, terminals.
//! Invariant: rows do not mix: the first one comes as it is made, each other one when those before it are over.

use super::{Kind, Step};
use crate::data::Codec;
use serde::Serialize;
use std::io::{self, Write};

/// A line of JSON.
#[derive(Serialize)]
struct Position {
    row: usize,
    kind: &'static str,
    token: Option<u32>,
    text: Option<String>,
    entropy: f64,
    top: Vec<Top>,
    after: Option<f64>,
}

#[derive(Serialize)]
struct Top {
    token: u32,
    text: Option<String>,
    p: f64,
}

/// What has been shown of all rows.
pub(super) struct Show {
    rows: Vec<Row>,
    /// The row that is shown as it comes.
    current: usize,
    json: bool,
    codec: Option<Codec>,
    /// Is no text.
    end: Option<u32>,
}

#[derive(Default)]
struct Row {
    /// Made, not written yet.
    waiting: String,
    /// The prompt and all tokens since: how a token reads may depend on those before.
    ids: Vec<u32>,
    /// Bytes of their text that are out, or were given.
    shown: usize,
    /// Tokens whose text is not out: a character may go over several.
    held: usize,
    thinking: bool,
    /// The entropy after the last latent, where it is known.
    after: Option<f64>,
    over: bool,
}

impl Show {
    pub fn new(prompts: &[Vec<u32>], json: bool, codec: Option<Codec>, end: Option<u32>) -> Self {
        let rows = prompts.iter().map(|prompt| Row { ids: prompt.clone(), ..Row::default() }).collect();
        let mut show = Self { rows, current: 0, json, codec, end };
        for row in 0..prompts.len() {
            show.rows[row].shown = show.decoded(row).len();
        }
        show
    }

    /// One more position.
    pub fn step(&mut self, step: &Step, out: &mut impl Write) -> io::Result<()> {
        let text = if self.json { self.line(step) } else { self.text(step) };
        self.rows[step.row].waiting.push_str(&text);
        self.write(out)
    }

    /// Row `row` is over; saying so again changes nothing.
    pub fn ended(&mut self, row: usize, out: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.rows[row].over, true) {
            return Ok(());
        }
        if !self.json {
            let own = &mut self.rows[row];
            if let (true, Some(after)) = (own.thinking, own.after) {
                own.waiting.push_str(&format!("{after:.2}⟩"));
            }
            let rest = self.rest(row);
            self.rows[row].waiting.push_str(&rest);
            self.rows[row].waiting.push('\n');
        }
        self.write(out)
    }

    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        let (count, json) = (self.rows.len(), self.json);
        while let Some(row) = self.rows.get_mut(self.current) {
            out.write_all(std::mem::take(&mut row.waiting).as_bytes())?;
            if !row.over {
                break;
            }
            self.current += 1;
            if !json && self.current < count {
                writeln!(out, "---")?;
            }
        }
        Ok(())
    }

    fn text(&mut self, step: &Step) -> String {
        let row = &mut self.rows[step.row];
        let mut text = String::new();
        if step.kind == Kind::Latent {
            if !row.thinking {
                text = self.rest(step.row);
                text.push('⟨');
            }
            text.push_str(&format!("{:.2}→", step.said.entropy));
            // Written anew by the next latent, if there is one: it begins with the same number.
            (self.rows[step.row].thinking, self.rows[step.row].after) = (true, step.after);
            return text;
        }
        if std::mem::take(&mut row.thinking) {
            text.push_str(&format!("{:.2}⟩", step.said.entropy));
        }
        row.ids.extend(step.token.filter(|id| Some(*id) != self.end));
        row.held += 1;
        let whole = self.decoded(step.row);
        // Enough for any character, or what stands for none.
        if !whole.ends_with('\u{FFFD}') || self.rows[step.row].held >= 8 {
            text.push_str(&self.rest(step.row));
        }
        text
    }

    /// The text that is not out yet, whole characters or not.
    fn rest(&mut self, row: usize) -> String {
        let text = self.decoded(row);
        let row = &mut self.rows[row];
        let rest = text.get(row.shown..).unwrap_or_default().to_owned();
        (row.shown, row.held) = (text.len(), 0);
        rest
    }

    fn decoded(&self, row: usize) -> String {
        let ids = &self.rows[row].ids;
        match &self.codec {
            _ if ids.is_empty() => String::new(),
            Some(codec) => codec.decode(ids),
            None => ids.iter().map(|id| format!("{id} ")).collect(),
        }
    }

    fn line(&self, step: &Step) -> String {
        let text = |id: u32| self.codec.as_ref().map(|codec| codec.piece(id));
        let top = step.said.top.iter().map(|(id, p)| Top { token: *id, text: text(*id), p: *p });
        let line = Position {
            row: step.row,
            kind: if step.kind == Kind::Token { "token" } else { "latent" },
            token: step.token,
            text: step.token.and_then(text),
            entropy: step.said.entropy,
            top: top.collect(),
            after: step.after,
        };
        // Neither numbers nor text of these can fail to be written.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }
}
