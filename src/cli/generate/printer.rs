//! Owns: how generated rows are printed: as text with thoughts in between, or as lines of JSON.
//! Must not know: models, terminals.
//! Invariant: rows do not mix. A row is printed as it is generated once all earlier rows have ended.

use super::{GenerationStep, InputKind};
use crate::data::Tokenizer;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct JsonPosition {
    row: usize,
    kind: &'static str,
    token: Option<u32>,
    text: Option<String>,
    entropy: f64,
    top: Vec<JsonTokenProb>,
    after: Option<f64>,
}

#[derive(Serialize)]
struct JsonTokenProb {
    token: u32,
    text: Option<String>,
    p: f64,
}

pub(super) struct GenerationPrinter {
    rows: Vec<PrintedRow>,
    /// The row that is printed as it is generated; all earlier rows have ended.
    current: usize,
    json: bool,
    tokenizer: Option<Tokenizer>,
    /// Never printed as text.
    end_tokens: Vec<u32>,
}

#[derive(Default)]
struct PrintedRow {
    /// Formatted output that is not written yet.
    unwritten: String,
    /// The prompt and all tokens since: the text of a token may depend on earlier ones.
    ids: Vec<u32>,
    /// Bytes of the decoded text that are formatted already, the prompt's included.
    formatted_bytes: usize,
    /// Tokens whose text is not formatted yet: one character may span several tokens.
    pending_tokens: usize,
    in_thought: bool,
    /// Entropy after the last latent (nats), if known.
    entropy_after: Option<f64>,
    ended: bool,
}

impl GenerationPrinter {
    pub fn new(prompts: &[Vec<u32>], json: bool, tokenizer: Option<Tokenizer>, end_tokens: Vec<u32>) -> Self {
        let rows = prompts.iter().map(|prompt| PrintedRow { ids: prompt.clone(), ..PrintedRow::default() }).collect();
        let mut printer = Self { rows, current: 0, json, tokenizer, end_tokens };
        for row in 0..prompts.len() {
            printer.rows[row].formatted_bytes = printer.decode_row(row).len();
        }
        printer
    }

    /// Adds one position, and writes what can be written.
    pub fn add_step(&mut self, step: &GenerationStep, out: &mut impl Write) -> io::Result<()> {
        let text = if self.json { self.format_json(step) } else { self.format_text(step) };
        self.rows[step.row].unwritten.push_str(&text);
        self.write_ready(out)
    }

    /// Ends row `row`, and writes what can be written. Further calls for the same row do nothing.
    pub fn end_row(&mut self, row: usize, out: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.rows[row].ended, true) {
            return Ok(());
        }
        if !self.json {
            let state = &mut self.rows[row];
            if let (true, Some(after)) = (state.in_thought, state.entropy_after) {
                state.unwritten.push_str(&format!("{after:.2}⟩"));
            }
            let rest = self.take_unformatted(row);
            self.rows[row].unwritten.push_str(&rest);
            self.rows[row].unwritten.push('\n');
        }
        self.write_ready(out)
    }

    /// Writes the current row's pending output; an ended row makes the next one current.
    fn write_ready(&mut self, out: &mut impl Write) -> io::Result<()> {
        let (count, json) = (self.rows.len(), self.json);
        while let Some(row) = self.rows.get_mut(self.current) {
            out.write_all(std::mem::take(&mut row.unwritten).as_bytes())?;
            if !row.ended {
                break;
            }
            self.current += 1;
            if !json && self.current < count {
                writeln!(out, "---")?;
            }
        }
        Ok(())
    }

    fn format_text(&mut self, step: &GenerationStep) -> String {
        let row = &mut self.rows[step.row];
        let mut text = String::new();
        if step.kind == InputKind::Latent {
            if !row.in_thought {
                text = self.take_unformatted(step.row);
                text.push('⟨');
            }
            text.push_str(&format!("{:.2}→", step.distribution.entropy));
            // Not printed yet: a following latent begins with the same number.
            (self.rows[step.row].in_thought, self.rows[step.row].entropy_after) = (true, step.entropy_after);
            return text;
        }
        if std::mem::take(&mut row.in_thought) {
            text.push_str(&format!("{:.2}⟩", step.distribution.entropy));
        }
        row.ids.extend(step.token.filter(|id| !self.end_tokens.contains(id)));
        row.pending_tokens += 1;
        let whole = self.decode_row(step.row);
        // Eight tokens are enough for any character; what is still incomplete then is invalid.
        if !whole.ends_with('\u{FFFD}') || self.rows[step.row].pending_tokens >= 8 {
            text.push_str(&self.take_unformatted(step.row));
        }
        text
    }

    /// Returns the text that is not formatted yet, even if it ends within a character.
    fn take_unformatted(&mut self, row: usize) -> String {
        let text = self.decode_row(row);
        let row = &mut self.rows[row];
        let rest = text.get(row.formatted_bytes..).unwrap_or_default().to_owned();
        (row.formatted_bytes, row.pending_tokens) = (text.len(), 0);
        rest
    }

    /// Decodes the prompt and all tokens of a row; without a tokenizer, the ids themselves.
    fn decode_row(&self, row: usize) -> String {
        let ids = &self.rows[row].ids;
        match &self.tokenizer {
            _ if ids.is_empty() => String::new(),
            Some(tokenizer) => tokenizer.decode(ids),
            None => ids.iter().map(|id| format!("{id} ")).collect(),
        }
    }

    fn format_json(&self, step: &GenerationStep) -> String {
        let text = |id: u32| self.tokenizer.as_ref().map(|tokenizer| tokenizer.token_text(id));
        let top = step.distribution.top.iter().map(|(id, p)| JsonTokenProb { token: *id, text: text(*id), p: *p });
        let line = JsonPosition {
            row: step.row,
            kind: if step.kind == InputKind::Token { "token" } else { "latent" },
            token: step.token,
            text: step.token.and_then(text),
            entropy: step.distribution.entropy,
            top: top.collect(),
            after: step.entropy_after,
        };
        // Serialization cannot fail: the line holds only numbers and text.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }
}
