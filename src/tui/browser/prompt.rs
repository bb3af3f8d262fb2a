//! Owns: what is typed in the browser: filter, order, columns, tags, a new name; and its completion.
//! Must not know: how the line is drawn, how a request is carried out.
//! Invariant: a line that cannot be accepted stays, with its error.

use super::input::BrowserEffect;
use super::state::{BrowserView, PromptKind, RunBrowser};
use crate::run_list::column::Column;
use crate::run_list::sort::SortOrder;
use crate::schema::run_list::{RunListRequest, TagEdit};
use crate::tui::app::command::{CommandPrompt, PromptOutcome};
use crossterm::event::{KeyCode, KeyEvent};

impl RunBrowser {
    /// Opens the prompt with what there is now.
    pub fn open_prompt(&mut self, kind: PromptKind) {
        let names = |columns: &[Column]| columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(" ");
        let text = match kind {
            PromptKind::Filter => self.settings.filter.clone(),
            PromptKind::Sort => String::new(),
            PromptKind::Columns => names(&self.settings.columns),
            PromptKind::Tags => String::new(),
            PromptKind::Rename => self.selected_row().map(|row| row.name().to_owned()).unwrap_or_default(),
        };
        self.view = BrowserView::Prompt(kind);
        self.prompt.open(text);
    }

    /// Handles a key of the prompt.
    pub fn handle_prompt_key(&mut self, kind: PromptKind, key: &KeyEvent) -> BrowserEffect {
        if key.code == KeyCode::Tab {
            complete(&mut self.prompt, kind);
            self.preview_filter(kind);
            return BrowserEffect::None;
        }
        self.prompt.candidates.clear();
        match self.prompt.handle_text_key(key) {
            PromptOutcome::Accepted => return self.accept_prompt(kind),
            PromptOutcome::Cancelled => {
                if kind == PromptKind::Filter {
                    let _ = self.set_filter("");
                }
                self.view = BrowserView::List;
            }
            _ => self.preview_filter(kind),
        }
        BrowserEffect::None
    }

    /// Filters while a person types, as far as the text can be understood.
    fn preview_filter(&mut self, kind: PromptKind) {
        if kind == PromptKind::Filter {
            let text = self.prompt.text.clone();
            self.prompt.error = self.set_filter(&text).err();
        }
    }

    fn accept_prompt(&mut self, kind: PromptKind) -> BrowserEffect {
        let text = self.prompt.text.trim().to_owned();
        match self.accept_text(kind, &text) {
            Ok(effect) => {
                self.view = BrowserView::List;
                effect
            }
            Err(error) => {
                self.prompt.error = Some(error);
                BrowserEffect::None
            }
        }
    }

    fn accept_text(&mut self, kind: PromptKind, text: &str) -> Result<BrowserEffect, String> {
        match kind {
            PromptKind::Filter => self.set_filter(text)?,
            PromptKind::Sort if text.is_empty() => self.set_order(SortOrder::default()),
            PromptKind::Sort => self.set_order(SortOrder::parse(text)?),
            PromptKind::Columns => {
                let names = text.split([' ', ',']).filter(|name| !name.is_empty());
                self.settings.columns = names.map(Column::parse).collect::<Result<_, _>>()?;
            }
            PromptKind::Tags if text.is_empty() => {}
            PromptKind::Tags => {
                let request = RunListRequest::EditTags(std::mem::take(&mut self.targets), parse_tags(text)?);
                return Ok(BrowserEffect::Request(request));
            }
            PromptKind::Rename if text.is_empty() => return Err("a name is missing".into()),
            PromptKind::Rename => {
                let renamed = self.targets.first().cloned();
                let request = |run| BrowserEffect::Request(RunListRequest::Rename(run, text.to_owned()));
                return Ok(renamed.map_or(BrowserEffect::None, request));
            }
        }
        Ok(BrowserEffect::None)
    }
}

/// Parses `good -draft`: tags to add, and with a `-` before them tags to remove.
fn parse_tags(text: &str) -> Result<TagEdit, String> {
    let mut edit = TagEdit::default();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        match word.strip_prefix('-') {
            Some("") => return Err("`-` must be followed by the tag to remove".into()),
            Some(tag) => edit.remove.push(tag.to_owned()),
            None => edit.add.push(word.strip_prefix('+').unwrap_or(word).to_owned()),
        }
    }
    Ok(edit)
}

/// Completes the last word as far as all names of columns agree.
fn complete(prompt: &mut CommandPrompt, kind: PromptKind) {
    let has_columns = matches!(kind, PromptKind::Filter | PromptKind::Sort | PromptKind::Columns);
    complete_word(prompt, if has_columns { Column::names() } else { Vec::new() });
}

/// Completes the last word as far as all `names` that begin with it agree. If there are several, they are candidates.
pub fn complete_word(prompt: &mut CommandPrompt, names: Vec<String>) {
    prompt.candidates.clear();
    prompt.chars_after_cursor = 0;
    let word = prompt.text.rsplit([' ', ',']).next().unwrap_or_default();
    let word = word.strip_prefix('-').unwrap_or(word).to_owned();
    let known: Vec<String> = names.into_iter().filter(|name| name.starts_with(&word)).collect();
    let Some(first) = known.first() else { return };
    let agree = known.iter().fold(first.len(), |agree, name| {
        let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        agree.min(same)
    });
    prompt.text.push_str(first.get(word.len()..agree).unwrap_or_default());
    if known.len() > 1 {
        prompt.candidates = known;
    }
}
