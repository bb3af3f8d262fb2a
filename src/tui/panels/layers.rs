//! Owns: the layers panel, i: sizes of weights, gradients, updates and activations, a layer each, and histograms.
//! Must not know: the terminal, keys, how a layer was measured.
//! Invariant: each line is one layer, in the order of the model. The selected one is always in view.
//!
//! ```text
//! ╭ i layers step 450 · RMS and L2 norms, without unit ───────────────────────────╮
//! │ layer           weight RMS       gradient norm    update/weight    activation │
//! │ embedding       0.021  ▁▂▃▅▆▇█   0.124  █▅▃▂▂▁▁   1.1e-3  ▁▅██▇▆   0.021  ▁▂▃ │
//! │›0 attention     0.034  ▁▁▂▄▆▇█   0.087  █▄▂▂▂▁▁   3.1e-2! ▁▅██▇▆   0.412  ▁▂▃ │
//! │ …                                                                             │
//! │ block 0 attention · 65,664 parameters · largest activation 4.21               │
//! │ weights                             gradient                                  │
//! │               ▁▃▅▇█▅▁                      ▁▂▄▆█▇▅▃▁                          │
//! │   1e-8   1e-6   1e-4   1e-2   1       1e-8   1e-6   1e-4   1e-2   1           │
//! ╰───────────────────────────────────────────────────────────────────────────────╯
//! ```

use super::histogram_bars::{self, BARS};
use super::{LinePart, RenderContext, draw_frame, fit_line};
use crate::schema::layer_rows::{LayerRow, USUAL_UPDATE_RATIO};
use crate::tui::app::panel_id::Panel;
use crate::tui::model::history::SeriesHistory;
use crate::tui::model::layers::{LayerHistory, LayerNumber};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// The fewest lines within the frame at which histograms are drawn.
const HISTOGRAMS_MIN_HEIGHT: u16 = 14;
/// Lines of the histograms, with the line about the layer.
const HISTOGRAM_LINES: (u16, u16) = (7, 12);
/// Cells of a value with its mark, and of the gap before it.
const VALUE_CELLS: usize = 8;
/// The fewest cells of a sparkline that can be read.
const SPARKLINE_MIN_CELLS: usize = 4;
const SPARKLINE_MAX_CELLS: usize = 24;

/// A series that varies by less than this share of its largest value is drawn as constant.
const CONSTANT_SHARE: f64 = 0.01;

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let layers = ctx.state.layers.all();
    if layers.is_empty() {
        return render_empty(frame, area, ctx);
    }
    let selected = ctx.view.list(Panel::Layers).offset.min(layers.len() - 1);
    let place = format!(" {} of {} ", selected + 1, layers.len());
    let below = Line::from(ctx.span(Role::Name, place));
    let within = draw_frame(frame, area, ctx, Panel::Layers, subtitle(ctx), below).inner(Margin::new(1, 0));
    let lines = layers.len() as u16 + 1;
    let histograms = match within.height >= HISTOGRAMS_MIN_HEIGHT {
        true => within.height.saturating_sub(lines).clamp(HISTOGRAM_LINES.0, HISTOGRAM_LINES.1),
        false => 0,
    };
    let table = Constraint::Length(lines.min(within.height - histograms));
    let [table, bottom, _] =
        Layout::vertical([table, Constraint::Length(histograms), Constraint::Fill(1)]).areas(within);
    frame.render_widget(Paragraph::new(table_lines(ctx, table, selected)), table);
    if histograms > 0 {
        draw_selected(frame, bottom, ctx, &layers[selected].last);
    }
}

fn render_empty(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let none = Line::default;
    let within = draw_frame(frame, area, ctx, Panel::Layers, none(), none()).inner(Margin::new(1, 0));
    let every = ctx.state.run.as_ref().map_or(0, |run| run.config.probe.layers_every);
    let text = match every {
        _ if ctx.state.is_over() => "the layers of this run were not measured (probe.layers_every)".to_owned(),
        0 => "layers are not measured: `:set probe.layers_every 50` turns it on".to_owned(),
        every => format!("no layer has been measured yet; every {every} steps all are (probe.layers_every)"),
    };
    let lines = text::wrap(&text, usize::from(within.width)).into_iter();
    let lines: Vec<Line> = lines.map(|line| Line::from(ctx.span(Role::Dim, line))).collect();
    let y = within.y + within.height.saturating_sub(lines.len() as u16) / 2;
    frame.render_widget(Paragraph::new(lines), Rect { y, ..within }.intersection(within));
}

/// Returns the subtitle: the step, and what the numbers are.
fn subtitle(ctx: RenderContext) -> Line<'static> {
    let last = ctx.state.layers.last_step();
    let step = ctx.view.charts.cursor.into_iter().chain(last).min().unwrap_or_default();
    Line::from(vec![
        ctx.span(Role::Name, format!("step {}", text::with_separators(step))),
        ctx.span(Role::Name, " · RMS and L2 norms, without unit"),
        ctx.span(Role::Name, " · usual update/weight 1e-4 to 1e-2"),
    ])
}

/// The columns of the table.
struct TableColumns {
    name: usize,
    /// Of each number, with the sparkline.
    number: usize,
    sparkline: usize,
}

impl TableColumns {
    fn for_width(width: usize) -> Self {
        let name = if width < 72 { 14 } else { 19 };
        let number = width.saturating_sub(name) / LayerNumber::ALL.len();
        // A space before the value and one before the sparkline.
        let sparkline = match number.saturating_sub(VALUE_CELLS + 2) {
            0..SPARKLINE_MIN_CELLS => 0,
            cells => cells.min(SPARKLINE_MAX_CELLS),
        };
        Self { name, number, sparkline }
    }
}

/// Returns the heading and the layers around the selected one.
fn table_lines(ctx: RenderContext, area: Rect, selected: usize) -> Vec<Line<'static>> {
    let columns = TableColumns::for_width(usize::from(area.width));
    let rows = usize::from(area.height).saturating_sub(1).max(1);
    let from = (selected + 1).saturating_sub(rows);
    let layers = ctx.state.layers.all().iter().enumerate().skip(from).take(rows);
    let focused = ctx.view.panels.focus == Panel::Layers;
    let lines = layers.map(|(index, layer)| layer_line(ctx, &columns, layer, focused && index == selected));
    std::iter::once(heading(ctx, &columns)).chain(lines).collect()
}

fn heading(ctx: RenderContext, columns: &TableColumns) -> Line<'static> {
    let short = ["weight", "gradient", "upd/wgt", "active"];
    let middle = ["weight RMS", "grad norm", "upd/weight", "activation"];
    let long = ["weight RMS", "gradient norm", "update/weight", "activation RMS"];
    let names = match columns.sparkline {
        0 => short,
        _ if columns.number < 17 => middle,
        _ => long,
    };
    let mut line = format!("{:<1$}", " layer", columns.name);
    for name in names {
        let name = text::clip(name, columns.number.saturating_sub(1));
        match columns.sparkline {
            0 => line += &format!("{name:>0$}", columns.number),
            _ => line += &format!("  {name:<0$}", columns.number.saturating_sub(2)),
        }
    }
    Line::from(ctx.span(Role::Dim, line))
}

fn layer_line(ctx: RenderContext, columns: &TableColumns, layer: &LayerHistory, is_selected: bool) -> Line<'static> {
    let name = if columns.name < 19 { layer.last.layer.trim_start_matches("block ") } else { &layer.last.layer };
    let (mark, role) = if is_selected { ("›", Role::Focus) } else { (" ", Role::Name) };
    let name = text::clip(name, columns.name.saturating_sub(2));
    let gap = " ".repeat(columns.name.saturating_sub(1 + text::width(&name)));
    let mut line = Line::from(ctx.span(role, format!("{mark}{name}{gap}")));
    for number in LayerNumber::ALL {
        line.extend(number_spans(ctx, columns, layer, number));
    }
    line
}

/// Returns a value, its mark and its sparkline, as wide as the column.
fn number_spans(
    ctx: RenderContext,
    columns: &TableColumns,
    layer: &LayerHistory,
    number: LayerNumber,
) -> [Span<'static>; 2] {
    let value = layer.value_at(number, ctx.view.charts.cursor);
    let share = lr_share(ctx, ctx.view.charts.cursor.unwrap_or(layer.last.step));
    let unusual = number == LayerNumber::UpdateRatio && value.is_some_and(|ratio| is_unusual_ratio(ratio, share));
    let role = if unusual { Role::Warn } else { Role::Value };
    let text = value.map_or_else(|| "–".into(), format_value) + if unusual { "!" } else { " " };
    if columns.sparkline == 0 {
        return [ctx.span(role, format!("{text:>0$}", columns.number)), Span::default()];
    }
    let text = format!("{text:>0$} ", VALUE_CELLS + 1);
    let drawn = sparkline(layer.series(number), columns.sparkline);
    let gap = columns.number.saturating_sub(text::width(&text) + text::width(&drawn));
    [ctx.span(role, text), ctx.span(Role::Lr, drawn + &" ".repeat(gap))]
}

/// Returns the learning rate at `step` as a share of its peak.
fn lr_share(ctx: RenderContext, step: u64) -> f64 {
    let config = ctx.state.run.as_ref().map(|run| &run.config);
    config.map_or(1.0, |config| config.lr_after(&ctx.state.metrics.work_done(), step) / config.optim.lr)
}

/// Returns whether an update changes the weights by an unusual share. Small ones are judged as if the learning rate were at
/// its peak: during warm-up and decay they are as they should be.
fn is_unusual_ratio(ratio: f64, lr_share: f64) -> bool {
    let (low, high) = USUAL_UPDATE_RATIO;
    ratio > high || ratio < low * lr_share.min(1.0)
}

/// Formats a norm or a ratio in at most seven cells.
fn format_value(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if !(0.01..1000.0).contains(&v) => format!("{value:.1e}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Returns a series over all its steps in so many cells, from its least to its largest value.
fn sparkline(series: &SeriesHistory, cells: usize) -> String {
    let buckets = series.buckets_in(0, u64::MAX);
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return " ".repeat(cells) };
    let means = || buckets.iter().map(|bucket| bucket.mean);
    let (low, high) = (means().fold(f64::INFINITY, f64::min), means().fold(f64::NEG_INFINITY, f64::max));
    let span = (last.first_step - first.first_step) as f64;
    let bar = |cell: usize| {
        let step = first.first_step + (span * cell as f64 / (cells - 1).max(1) as f64).round() as u64;
        let value = series.bucket_at(step).map_or(low, |bucket| bucket.mean);
        let share = if high - low > CONSTANT_SHARE * high.abs() { (value - low) / (high - low) } else { 0.5 };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    (0..cells).map(bar).collect()
}

/// Draws a line about the selected layer, and its histograms side by side.
fn draw_selected(frame: &mut Frame, area: Rect, ctx: RenderContext, row: &LayerRow) {
    let [about, bars] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    let about = Rect { y: about.y + 1, height: 1, ..about };
    frame.render_widget(about_line(ctx, row, usize::from(area.width)), about);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(bars);
    histogram_bars::render(frame, left, ctx, "weights by magnitude", &row.weight_histogram);
    histogram_bars::render(frame, right, ctx, "gradient by magnitude", &row.grad_histogram);
}

/// Returns the selected layer with the numbers that the table has no room for.
fn about_line(ctx: RenderContext, row: &LayerRow, width: usize) -> Line<'static> {
    let value = |value: Option<f64>| value.map_or_else(|| "–".into(), format_value);
    let mut parts: Vec<LinePart> = vec![
        ctx.part(0, Role::Focus, text::clip(&row.layer, 30)),
        ctx.part(2, Role::Name, format!("{} parameters", text::with_separators(row.params))),
        ctx.named_part(3, "weight norm", format_value(row.weight_norm)),
        ctx.named_part(4, "update norm", value(row.update_norm)),
        ctx.named_part(1, "largest activation", value(row.activation_max)),
    ];
    if ctx.view.charts.cursor.is_some() {
        // The table may show an earlier step.
        parts.insert(1, ctx.part(0, Role::Name, format!("at step {}", text::with_separators(row.step))));
    }
    fit_line(ctx, parts, " · ", width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_seven_cells_at_most() {
        for (value, wanted) in [
            (0.0, "0"),
            (1.234e-9, "1.2e-9"),
            (0.0123, "0.012"),
            (9.876, "9.88"),
            (98.76, "98.8"),
            (987.6, "988"),
            (1.5e120, "1.5e120"),
        ] {
            assert_eq!(format_value(value), wanted);
        }
    }

    #[test]
    fn a_sparkline_reaches_from_the_least_to_the_largest_value() {
        let mut series = SeriesHistory::default();
        assert_eq!(sparkline(&series, 3), "   ");
        series.push(1, 5.0);
        assert_eq!(sparkline(&series, 3), "▅▅▅");
        (2..=8).for_each(|step| series.push(step, 5.0 + step as f64));
        assert_eq!(sparkline(&series, 4), "▁▄▆█");
        let mut constant = SeriesHistory::default();
        (1..=8).for_each(|step| constant.push(step, 0.031 + step as f64 * 1e-12));
        assert_eq!(sparkline(&constant, 2), "▅▅", "rounding is no trend");
    }

    #[test]
    fn small_ratios_are_judged_at_the_peak_learning_rate() {
        assert!([1e-4, 1e-3, 1e-2].into_iter().all(|ratio| !is_unusual_ratio(ratio, 1.0)));
        assert!([0.0, 9.9e-5, 1.1e-2].into_iter().all(|ratio| is_unusual_ratio(ratio, 1.0)));
        assert!(!is_unusual_ratio(2e-6, 0.01) && is_unusual_ratio(9e-7, 0.01) && is_unusual_ratio(1.1e-2, 0.01));
        assert!(!is_unusual_ratio(0.0, 0.0) && !is_unusual_ratio(1e-3, f64::NAN));
    }
}
