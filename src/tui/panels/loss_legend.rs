//! Owns: the legends of the loss panel: of its losses and of their differences, with as many marks as fit.
//! Must not know: the charts.
//! Invariant: what is compared is named first; a mark without a name is not in the list of marks to draw.

use super::legend::{LegendEntry, LegendForm, NameLength, legend_line};
use super::loss_marks::{
    ACCURACY_MARK, AT_RECYCLED, LOSS_MARKS, MARKS, PAUSE_DASH, PLAIN_AT_RECYCLED_DASH, PLAIN_DASH, QUESTIONS_MARK,
    RECYCLED_DASH, TRAINED_DIFFERENCE, ValidationMark, recycled_metric, validated_difference,
};
use super::{LinePart, RenderContext, fit_lines};
use crate::schema::metrics::Metric;
use crate::tui::model::metrics::Series;
use crate::tui::plot::chart::visible_dash;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::text::Line;

/// The fewest lines of the losses that have room for the legend of the validation marks.
const MARKS_MIN_HEIGHT: u16 = 6;
/// The fewest lines of the losses that have room for a second line of them.
const TWO_MARK_ROWS_MIN_HEIGHT: u16 = 9;
/// The fewest lines of the losses that have room for a second line of curve names.
const TWO_ROWS_MIN_HEIGHT: u16 = 7;

/// The legend of a chart, and the marks that it names: the chart draws no others.
pub(super) struct Legend {
    pub lines: Vec<Line<'static>>,
    pub marks: Vec<&'static ValidationMark>,
}

/// Returns the value of a curve: smoothed, at the cursor or at the end of the run.
pub(super) fn curve_value(ctx: RenderContext, series: Series) -> Option<f64> {
    ctx.state.history(series).smoothed_at(ctx.cursor_step(), ctx.smoothing())
}

/// Returns the last value of a mark that was measured up to the cursor, or up to the end of the run.
fn mark_value(ctx: RenderContext, series: Series) -> Option<f64> {
    ctx.state.history(series).bucket_at(ctx.cursor_step()).map(|bucket| bucket.mean)
}

/// Returns the legend of the losses: the curves, and all validation marks if they fit, else the plain one.
pub(super) fn loss_legend(ctx: RenderContext, width: u16, height: u16) -> Legend {
    let is_plain_run = ctx.state.run.as_ref().is_some_and(|run| run.config.recycle.every == 0);
    let recycles = !is_plain_run && !ctx.state.history(Series::Metric(Metric::ValidRecycled)).is_empty();
    let mark_rows = match height {
        _ if !recycles => 0,
        0..MARKS_MIN_HEIGHT => 0,
        MARKS_MIN_HEIGHT..TWO_MARK_ROWS_MIN_HEIGHT => 1,
        _ => 2,
    };
    let named = mark_legend(ctx, width, mark_rows);
    let rows = 1 + usize::from(height >= TWO_ROWS_MIN_HEIGHT + named.lines.len() as u16);
    let mut names = curve_names(ctx, width);
    if named.lines.is_empty() {
        names.extend(validation_part(ctx));
    }
    let between = if width < 60 { " " } else { "   " };
    let mut lines = fit_lines(ctx, names, between, usize::from(width), rows);
    if named.lines.is_empty() {
        return Legend { lines, marks: vec![own_mark(ctx)] };
    }
    lines.extend(named.lines);
    Legend { lines, marks: named.marks }
}

/// Returns the legend of the validation marks in at most `rows` lines, with as many controls as fit.
fn mark_legend(ctx: RenderContext, width: u16, rows: usize) -> Legend {
    let is_measured = |mark: &&ValidationMark| !ctx.state.history(Series::Metric(mark.metric)).is_empty();
    let mut marks: Vec<&'static ValidationMark> = MARKS.iter().filter(is_measured).collect();
    while rows > 0 && !marks.is_empty() {
        let (losses, controls) = marks.split_at(marks.len().min(LOSS_MARKS));
        let choices = [vec![&marks[..]], vec![losses, controls]];
        for groups in choices.iter().take(rows) {
            let lines = groups.iter().map(|marks| legend_line(ctx, &loss_entries(ctx, marks), &LOSS_FORMS, width));
            if let Some(lines) = lines.collect() {
                return Legend { lines, marks };
            }
        }
        marks.pop();
    }
    Legend { lines: Vec::new(), marks }
}

/// Returns the names and values of the curves, with raw values if there is room.
fn curve_names(ctx: RenderContext, width: u16) -> Vec<LinePart> {
    let curve = |rank, dash, name: &str, role: Role, metric: Metric| {
        let (series, glyph) = (Series::Metric(metric), visible_dash(ctx, dash).legend_glyph());
        let value = curve_value(ctx, series).map_or_else(|| "–".into(), text::decimal);
        let mut spans = vec![ctx.span(role, format!("{glyph} {name} ")), ctx.span(Role::Value, value)];
        let raw = ctx.state.history(series).bucket_at(ctx.cursor_step());
        if let Some(raw) = raw.filter(|_| width >= 110) {
            spans.push(ctx.span(Role::Dim, format!(" ({})", text::decimal(raw.mean))));
        }
        (rank, spans)
    };
    if ctx.state.is_rl() {
        return vec![curve(0, PLAIN_DASH, "reward", Role::Plain, Metric::Reward)];
    }
    if learns_questions(ctx) {
        return vec![curve(0, PLAIN_DASH, "questions", Role::Plain, Metric::LossQuestions)];
    }
    let is_recorded = |metric| !ctx.state.history(Series::Metric(metric)).is_empty();
    if !is_recorded(Metric::LossPlainAtRecycled) {
        return vec![
            curve(0, PLAIN_DASH, "plain", Role::Plain, Metric::LossPlain),
            curve(1, RECYCLED_DASH, "recycled", Role::Recycled, recycled_metric(ctx)),
        ];
    }
    // What may be compared stands together, what is another mean apart.
    let there = AT_RECYCLED[usize::from(width < 60) + usize::from(width < 34)];
    let mut parts = vec![
        curve(0, RECYCLED_DASH, "recycled", Role::Recycled, recycled_metric(ctx)),
        curve(0, PLAIN_AT_RECYCLED_DASH, there, Role::PlainAtRecycled, Metric::LossPlainAtRecycled),
    ];
    if is_recorded(Metric::LossPause) {
        parts.push(curve(3, PAUSE_DASH, "pause vector", Role::Pause, Metric::LossPause));
    }
    let all = if width < 60 { "plain, all" } else { "plain, all positions" };
    parts.push(curve(1, PLAIN_DASH, all, Role::Plain, Metric::LossPlain));
    parts
}

/// Whether the run learns questions instead of token shards.
fn learns_questions(ctx: RenderContext) -> bool {
    !ctx.state.history(Series::Metric(Metric::LossQuestions)).is_empty()
}

/// Returns the mark of the run's own loss at validations.
fn own_mark(ctx: RenderContext) -> &'static ValidationMark {
    match () {
        () if ctx.state.is_rl() => &ACCURACY_MARK,
        () if learns_questions(ctx) => &QUESTIONS_MARK,
        () => &MARKS[0],
    }
}

/// Returns the mark of the run's own validation loss with its value.
fn validation_part(ctx: RenderContext) -> Option<LinePart> {
    let mark = own_mark(ctx);
    let value = mark_value(ctx, Series::Metric(mark.metric))?;
    let what = if ctx.state.is_rl() { "accuracy" } else { "validation" };
    let name = ctx.span(mark.role, format!("{} {what} ", mark.glyph));
    Some((2, vec![name, ctx.span(Role::Value, text::decimal(value))]))
}

/// The forms of the legend of the losses, from the longest to the shortest.
const LOSS_FORMS: [LegendForm; 9] = [
    LegendForm { name: NameLength::Long, values: usize::MAX, tight: false, between: "  " },
    // The plain, the recycled and the plain loss at the same positions are to be compared.
    LegendForm { name: NameLength::Long, values: 3, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 3, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 3, tight: true, between: " " },
    LegendForm { name: NameLength::Long, values: 0, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 1, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 0, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 0, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 0, tight: true, between: " " },
];

/// The forms of the legend of the differences, from the longest to the shortest, which takes 55 cells.
const DIFFERENCE_FORMS: [LegendForm; 7] = [
    LegendForm { name: NameLength::Long, values: usize::MAX, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: usize::MAX, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 2, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 1, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 1, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 1, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 0, tight: true, between: " " },
];

/// Returns the legend entries of these marks in the chart of the losses.
fn loss_entries(ctx: RenderContext, marks: &[&'static ValidationMark]) -> Vec<LegendEntry> {
    let named = |mark: &'static ValidationMark| LegendEntry::Named {
        glyph: mark.glyph,
        role: mark.role,
        names: mark.names,
        value: mark_value(ctx, Series::Metric(mark.metric)).map(text::decimal),
    };
    [LegendEntry::Word("validation:", "val")].into_iter().chain(marks.iter().copied().map(named)).collect()
}

/// Returns the legend of the differences, with as many controls as fit into `width` cells.
pub(super) fn difference_legend(ctx: RenderContext, width: u16) -> Legend {
    let measured =
        |mark: &&ValidationMark| mark.is_control && !ctx.state.history(validated_difference(mark)).is_empty();
    let mut marks: Vec<&'static ValidationMark> = MARKS.iter().filter(measured).collect();
    loop {
        let line = legend_line(ctx, &difference_entries(ctx, &marks), &DIFFERENCE_FORMS, width);
        if let Some(line) = line {
            return Legend { lines: vec![line], marks };
        }
        if marks.pop().is_none() {
            return Legend { lines: vec![Line::default()], marks };
        }
    }
}

/// Returns the legend entries of the difference in training, and of these controls in validations.
fn difference_entries(ctx: RenderContext, marks: &[&'static ValidationMark]) -> Vec<LegendEntry> {
    let signed = |value: f64| format!("{value:+.3}");
    let mut entries = vec![LegendEntry::Word("recycled −", "recycled −")];
    if let Some(value) = curve_value(ctx, TRAINED_DIFFERENCE) {
        let (role, value) = (Role::Recycled, Some(signed(value)));
        entries.push(LegendEntry::Named { glyph: "━", role, names: AT_RECYCLED, value });
    }
    if !marks.is_empty() {
        entries.push(LegendEntry::Word("validation:", "val"));
    }
    entries.extend(marks.iter().copied().map(|mark| LegendEntry::Named {
        glyph: mark.glyph,
        role: mark.role,
        names: mark.names,
        value: mark_value(ctx, validated_difference(mark)).map(signed),
    }));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells that a legend takes in its shortest form, without values.
    fn shortest(word: &str, names: impl Iterator<Item = &'static str>) -> usize {
        text::width(word) + names.map(|name| 2 + text::width(name)).sum::<usize>()
    }

    #[test]
    fn the_legend_of_all_marks_fits_a_panel_on_a_screen_of_60_columns() {
        let (frame_and_margins, columns) = (4, 60);
        assert!(shortest("val", MARKS.iter().map(|mark| mark.names[1])) <= columns - frame_and_margins);
        // The panel beside another one on that screen has room for what is compared.
        let beside = 60 * 56 / 100 - frame_and_margins - 1;
        assert!(shortest("val", MARKS[..LOSS_MARKS].iter().map(|mark| mark.names[2])) <= beside);
    }
}
