//! Owns: legends of charts in one line: entries, the forms that they may take, and the longest form that fits.
//! Must not know: which chart the legend is of.
//! Invariant: a line is never wider than the cells that it was given.

use super::RenderContext;
use crate::tui::theme::Role;
use ratatui::text::Line;

/// The long, the short and the shortest name of a loss in a legend.
pub type LegendNames = [&'static str; 3];

pub enum LegendEntry {
    /// A word before other entries, and its short form.
    Word(&'static str, &'static str),
    /// A glyph with its names, and the value if there is one.
    Named { glyph: &'static str, role: Role, names: LegendNames, value: Option<String> },
}

/// Which of its names an entry shows: the value is an index into [`LegendNames`].
#[derive(Clone, Copy)]
pub enum NameLength {
    Long,
    Short,
    Shortest,
}

/// How long a legend line is written out.
pub struct LegendForm {
    pub name: NameLength,
    pub values: usize,
    /// Whether glyphs stand directly before names and words are short.
    pub tight: bool,
    pub between: &'static str,
}

/// Writes `entries` in the longest of `forms` that fits into `width` cells; `None` if none does.
pub fn legend_line(
    ctx: RenderContext,
    entries: &[LegendEntry],
    forms: &[LegendForm],
    width: u16,
) -> Option<Line<'static>> {
    let mut lines = forms.iter().map(|form| write_legend(ctx, entries, form));
    lines.find(|line| line.width() <= usize::from(width))
}

fn write_legend(ctx: RenderContext, entries: &[LegendEntry], form: &LegendForm) -> Line<'static> {
    let mut line = Line::default();
    let mut values_left = form.values;
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            line.push_span(ctx.span(Role::Frame, form.between));
        }
        match entry {
            LegendEntry::Word(long, short) => {
                line.push_span(ctx.span(Role::Name, if form.tight { *short } else { *long }));
            }
            LegendEntry::Named { glyph, role, names, value } => {
                let gap = if form.tight { "" } else { " " };
                let name = names[form.name as usize];
                line.push_span(ctx.span(*role, format!("{glyph}{gap}{name}")));
                if let Some(value) = value.as_ref().filter(|_| values_left > 0) {
                    line.push_span(ctx.span(Role::Value, format!(" {value}")));
                }
                values_left = values_left.saturating_sub(1);
            }
        }
    }
    line
}
