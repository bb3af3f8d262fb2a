//! Owns: the rollouts panel, o: the groups of an iteration, the rollouts of a group, and a rollout's whole text.
//! Must not know: the terminal, keys, how rollouts were made or judged.
//! Invariant: the selected group and the selected rollout are in view. Right, wrong and cut are words, not colours.
//!
//! ```text
//! ╭ o rollouts step 40 · 3 groups of 4 · best reward first ────────────────────────────────────────────╮
//! │      prompt                                          right answer   mean reward     right          │
//! │ ›  1 … 3 → 7 | from 0 to 4 or 10 ?                   4                    0.500    2 of 4          │
//! │    2 … 5 → 6 | from 1 to 2 or 6 ?                    6                    1.000    4 of 4 all equal│
//! │    reward  advantage  tokens  latents         completion                                           │
//! │ ›   1.000     +0.866       1        3  right  ⟨3 7⟩⟨7 3⟩⟨4 10⟩ 4                                   │
//! │     0.000     -0.866       1        2  wrong  ⟨3 7⟩⟨10 4⟩ 10                                       │
//! │ …                                                                                                  │
//! │ rollout 2 · mean entropy of tokens 0.21, of latents 1.42 nats · coloured by entropy                │
//! │ 0 → 3 | 3 → 7 | 7 → 4 | from 0 to 4 or 10 ?                                                        │
//! │ ⟨3 7⟩⟨7 3⟩⟨4 10⟩ 4                                                                                 │
//! ╰────────────────────────────────────────────────────────────────────── iteration 8 of 8 ────────────╯
//! ```

use super::rollout_text::{TextColors, completion_line, completion_lines, mean_entropies};
use super::{LinePart, RenderContext, draw_frame, fit_line};
use crate::config::ObjectiveKind;
use crate::schema::rollout_rows::RolloutRow;
use crate::tui::app::layout;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::rollout_view::{RolloutOrder, SelectedGroup};
use crate::tui::app::view::ViewState;
use crate::tui::model::rollouts::{has_equal_rewards, mean_reward, right_count};
use crate::tui::model::state::RunModel;
use crate::tui::text;
use crate::tui::theme::{ColorDepth, Role, Theme};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// The fewest lines within the frame at which tables have headings.
const HEADINGS_MIN_HEIGHT: u16 = 6;
/// The fewest lines within the frame at which the selected rollout's whole text is drawn.
const TEXT_MIN_HEIGHT: u16 = 14;
/// The fewest cells that have room for all columns.
const WIDE: usize = 72;

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let Some(selected) = ctx.view.rollouts.selected(ctx.state) else {
        return render_empty(frame, area, ctx);
    };
    let within = draw_frame(frame, area, ctx, Panel::Rollouts, subtitle(ctx, &selected), place(ctx));
    let within = within.inner(Margin::new(1, 0));
    let areas = PanelAreas::new(within, &selected);
    frame.render_widget(Paragraph::new(group_lines(ctx, areas.groups, &selected)), areas.groups);
    frame.render_widget(Paragraph::new(rollout_lines(ctx, areas.rollouts, &selected)), areas.rollouts);
    if !areas.text.is_empty() {
        let lines = text_lines(ctx, &selected, areas.text.width);
        let from = ctx.view.rollouts.text_offset.min(hidden_lines(lines.len(), areas.text.height));
        let below = lines.len().saturating_sub(from + usize::from(areas.text.height.saturating_sub(1)));
        let heading = text_heading(ctx, selected.rollout(), areas.text.width, below);
        let shown = std::iter::once(heading).chain(lines.into_iter().skip(from)).collect::<Vec<_>>();
        frame.render_widget(Paragraph::new(shown), areas.text);
    }
}

/// Returns how many lines of the selected rollout's text do not fit; `within` is the area within the panel's frame.
pub fn text_scroll_limit(state: &RunModel, view: &ViewState, within: Rect) -> usize {
    let Some(selected) = view.rollouts.selected(state) else { return 0 };
    let area = PanelAreas::new(within.inner(Margin::new(1, 0)), &selected).text;
    let theme = Theme::new(ColorDepth::None);
    let ctx = RenderContext { state, live: state, view, theme: &theme, tabs: layout::TabSet::None };
    hidden_lines(text_lines(ctx, &selected, area.width).len(), area.height)
}

/// Returns how many of `lines` do not fit below the heading.
fn hidden_lines(lines: usize, height: u16) -> usize {
    lines.saturating_sub(usize::from(height.saturating_sub(1)))
}

/// How the panel is divided.
struct PanelAreas {
    groups: Rect,
    rollouts: Rect,
    /// Empty if there is no room.
    text: Rect,
}

impl PanelAreas {
    fn new(within: Rect, selected: &SelectedGroup) -> Self {
        let heading = u16::from(within.height >= HEADINGS_MIN_HEIGHT);
        let groups = (selected.groups.len().min(1000) as u16).min((within.height / 4).max(1)) + heading;
        let rollouts = selected.rollouts.len().min(1000) as u16 + heading;
        let rollouts = match within.height >= TEXT_MIN_HEIGHT {
            true => rollouts.min(within.height.saturating_sub(groups) / 2),
            false => within.height.saturating_sub(groups),
        };
        let lines = [Constraint::Length(groups), Constraint::Length(rollouts), Constraint::Fill(1)];
        let [groups, rollouts, text] = Layout::vertical(lines).areas(within);
        let text = if within.height >= TEXT_MIN_HEIGHT { text } else { Rect::ZERO };
        Self { groups, rollouts, text }
    }
}

fn render_empty(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let none = Line::default;
    let within = draw_frame(frame, area, ctx, Panel::Rollouts, none(), none()).inner(Margin::new(1, 0));
    let config = ctx.state.run.as_ref().map(|run| &run.config);
    let text = match config {
        None => "no rollouts yet",
        Some(config) if config.objective.kind != ObjectiveKind::Rl => {
            "this run has no rollouts: only objective.kind = \"rl\" makes them"
        }
        Some(config) if config.record.rollouts_every == 0 => "rollouts are not recorded (record.rollouts_every is 0)",
        Some(_) if ctx.state.is_over() => "no rollouts of this run were recorded (record.rollouts_every)",
        Some(_) => "no rollouts yet; record.rollouts_every says how often they are recorded",
    };
    let lines = text::wrap(text, usize::from(within.width)).into_iter();
    let lines: Vec<Line> = lines.map(|line| Line::from(ctx.span(Role::Dim, line))).collect();
    let y = within.y + within.height.saturating_sub(lines.len() as u16) / 2;
    frame.render_widget(Paragraph::new(lines), Rect { y, ..within }.intersection(within));
}

fn subtitle(ctx: RenderContext, selected: &SelectedGroup) -> Line<'static> {
    let step = ctx.view.rollouts.iteration(ctx.state).map_or(0, |iteration| iteration.step);
    let order = match ctx.view.rollouts.order {
        RolloutOrder::Reward => " · best reward first",
        RolloutOrder::Made => " · in made order",
    };
    let groups = selected.groups.len();
    let count = selected.groups.iter().map(|group| group.len()).max().unwrap_or(0);
    Line::from(vec![
        ctx.span(Role::Name, format!("step {}", text::with_separators(step))),
        ctx.span(Role::Name, format!(" · {groups} {} of {count}", if groups == 1 { "group" } else { "groups" })),
        ctx.span(Role::Name, order),
    ])
}

/// Returns which of the kept iterations is shown.
fn place(ctx: RenderContext) -> Line<'static> {
    let shown = ctx.view.rollouts.iteration(ctx.state).map(|iteration| iteration.step);
    let steps = ctx.state.rollouts.iterations().map(|iteration| iteration.step);
    let (count, at) = (steps.len(), steps.take_while(|step| Some(*step) <= shown).count());
    let newer = if at < count { ", ] newer" } else { "" };
    Line::from(ctx.span(Role::Name, format!(" iteration {at} of {count}{newer} ")))
}

/// The cells of a group's numbers after its prompt: right answer, mean reward, number right, mark.
fn group_cells(width: usize) -> [usize; 4] {
    if width < WIDE { [8, 7, 7, 2] } else { [14, 13, 10, 11] }
}

/// Returns the heading and the groups around the selected one.
fn group_lines(ctx: RenderContext, area: Rect, selected: &SelectedGroup) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let cells = group_cells(width);
    let prompt = width.saturating_sub(5 + cells.iter().sum::<usize>());
    let names = if width < WIDE { ["answer", "mean", "right"] } else { ["right answer", "mean reward", "right"] };
    let heading = format!(
        "     {:<prompt$} {:<answer$}{:>mean$}{:>right$}",
        "prompt",
        names[0],
        names[1],
        names[2],
        answer = cells[0] - 1,
        mean = cells[1],
        right = cells[2],
        prompt = prompt
    );
    let has_heading = area.height > 1;
    let rows = usize::from(area.height) - usize::from(has_heading);
    let from = first_visible(selected.group_index, rows, selected.groups.len());
    let groups = selected.groups.iter().enumerate().skip(from).take(rows);
    let lines = groups.map(|(index, group)| group_line(ctx, group, index, index == selected.group_index, width));
    let heading = has_heading.then(|| Line::from(ctx.span(Role::Dim, heading)));
    heading.into_iter().chain(lines).collect()
}

/// Returns the first of `count` entries that is visible, so that the selected one is, in `rows` lines.
fn first_visible(selected: usize, rows: usize, count: usize) -> usize {
    selected.saturating_sub(rows / 2).min(count.saturating_sub(rows))
}

fn group_line(
    ctx: RenderContext,
    group: &[RolloutRow],
    index: usize,
    is_selected: bool,
    width: usize,
) -> Line<'static> {
    let [answer_cells, mean_cells, right_cells, mark_cells] = group_cells(width);
    let prompt_cells = width.saturating_sub(5 + answer_cells + mean_cells + right_cells + mark_cells);
    let (mark, role) = selection(ctx, is_selected);
    let first = group.first();
    let prompt = first.map_or_else(String::new, |row| text::clip_start(&row.prompt, prompt_cells));
    let answer = first.map_or_else(String::new, |row| text::clip(&row.right_answer, answer_cells - 1));
    let is_equal = has_equal_rewards(group);
    let equal = match (is_equal, width < WIDE) {
        (false, _) => "",
        (true, true) => " =",
        (true, false) => "  all equal",
    };
    let (mean, right, count) = (mean_reward(group), right_count(group), group.len());
    let right = if width < WIDE { format!("{right}/{count}") } else { format!("{right} of {count}") };
    Line::from(vec![
        ctx.span(role, format!("{mark}{:>3} ", index + 1)),
        ctx.span(Role::Value, padded(&prompt, prompt_cells)),
        ctx.span(Role::Plain, format!(" {}", padded(&answer, answer_cells - 1))),
        ctx.span(Role::Value, format!("{:>mean_cells$}", reward_text(mean))),
        ctx.span(Role::Value, format!("{right:>right_cells$}")),
        ctx.span(Role::Warn, equal),
    ])
}

/// Returns the mark of a line that is selected or not, and its style.
fn selection(ctx: RenderContext, is_selected: bool) -> (&'static str, Role) {
    let is_focused = ctx.view.panels.focus == Panel::Rollouts;
    match (is_selected, is_focused) {
        (true, true) => ("›", Role::Focus),
        (true, false) => ("›", Role::Name),
        (false, _) => (" ", Role::Name),
    }
}

fn padded(text: &str, cells: usize) -> String {
    format!("{text}{}", " ".repeat(cells.saturating_sub(text::width(text))))
}

fn reward_text(reward: f64) -> String {
    if reward.is_finite() { text::decimal(reward) } else { reward.to_string() }
}

/// Cells of the word whether a rollout is right, with the space around it.
const VERDICT_CELLS: usize = 9;

/// The cells of a rollout's numbers: reward, advantage, tokens, latents.
fn rollout_cells(width: usize) -> [usize; 4] {
    if width < WIDE { [8, 9, 5, 4] } else { [9, 11, 8, 9] }
}

/// Returns the heading and the rollouts around the selected one.
fn rollout_lines(ctx: RenderContext, area: Rect, selected: &SelectedGroup) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let names = match width < WIDE {
        true => ["reward", "advant.", "tok", "lat"],
        false => ["reward", "advantage", "tokens", "latents"],
    };
    let columns: String =
        names.iter().zip(rollout_cells(width)).map(|(name, cells)| format!("{name:>cells$}")).collect();
    let heading = format!(" {columns}{}completion", " ".repeat(VERDICT_CELLS));
    let has_heading = area.height > 2;
    let rows = usize::from(area.height) - usize::from(has_heading);
    let from = first_visible(selected.rollout_index, rows, selected.rollouts.len());
    let rollouts = selected.rollouts.iter().enumerate().skip(from).take(rows);
    let lines = rollouts.map(|(index, row)| rollout_line(ctx, row, index == selected.rollout_index, width));
    let heading = has_heading.then(|| Line::from(ctx.span(Role::Dim, text::clip(&heading, width))));
    heading.into_iter().chain(lines).collect()
}

fn rollout_line(ctx: RenderContext, row: &RolloutRow, is_selected: bool, width: usize) -> Line<'static> {
    let (mark, role) = selection(ctx, is_selected);
    let advantage_role = match row.advantage {
        advantage if advantage > 0.0 => Role::Good,
        advantage if advantage < 0.0 => Role::Bad,
        _ => Role::Dim,
    };
    let (verdict, verdict_role) = verdict(row);
    let [reward, advantage, tokens, latents] = rollout_cells(width);
    let mut line = Line::from(vec![
        ctx.span(role, mark),
        ctx.span(Role::Value, format!("{:>reward$}", reward_text(row.reward))),
        ctx.span(advantage_role, format!("{:>advantage$}", format!("{:+.3}", row.advantage))),
        ctx.span(Role::Name, format!("{:>tokens$}{:>latents$}", row.tokens, row.latents)),
        ctx.span(verdict_role, format!("  {verdict:<0$}", VERDICT_CELLS - 2)),
    ]);
    let room = width.saturating_sub(line.width());
    line.extend(completion_line(ctx, row, room));
    line
}

/// Returns whether a rollout is right, in a word.
fn verdict(row: &RolloutRow) -> (&'static str, Role) {
    match row {
        row if row.is_truncated => ("cut", Role::Warn),
        row if row.exact > 0.5 => ("right", Role::Good),
        _ => ("wrong", Role::Bad),
    }
}

/// Returns the line above the text of the selected rollout.
fn text_heading(ctx: RenderContext, row: &RolloutRow, width: u16, below: usize) -> Line<'static> {
    let [tokens, latents] = mean_entropies(row).map(|mean| mean.map_or_else(|| "–".into(), text::decimal));
    let mut parts: Vec<LinePart> = vec![
        ctx.part(0, Role::Focus, format!("rollout {}", row.rollout + 1)),
        ctx.named_part(1, "mean entropy of tokens", tokens),
        ctx.named_part(1, "of latents", latents),
        ctx.part(3, Role::Name, "nats"),
    ];
    if colors(ctx) == TextColors::Entropies {
        parts.push(ctx.part(2, Role::Name, "coloured by entropy"));
    }
    if below > 0 {
        parts.push(ctx.part(0, Role::Key, format!("{below} more lines, PgDn")));
    }
    fit_line(ctx, parts, " · ", usize::from(width))
}

/// Returns the whole prompt, right answer and completion of the selected rollout.
fn text_lines(ctx: RenderContext, selected: &SelectedGroup, width: u16) -> Vec<Line<'static>> {
    let (row, width) = (selected.rollout(), usize::from(width));
    let wrapped = |role: Role, text: &str| {
        let lines = text::wrap(&text::make_visible(text), width).into_iter();
        lines.map(|line| Line::from(Span::styled(line, ctx.theme.style(role)))).collect::<Vec<_>>()
    };
    let mut lines = wrapped(Role::Name, &row.prompt);
    lines.extend(wrapped(Role::Plain, &format!("right answer: {}", row.right_answer)));
    lines.extend(completion_lines(ctx, row, width, colors(ctx)));
    lines
}

/// Entropies as colours, if there are colours and entropies.
fn colors(ctx: RenderContext) -> TextColors {
    let has_entropies = ctx.view.rollouts.selected(ctx.state).is_some_and(|one| !one.rollout().entropies.is_empty());
    if ctx.theme.has_colors() && has_entropies { TextColors::Entropies } else { TextColors::Kinds }
}
