//! Owns: drawing the whole screen: which panel is drawn where.
//! Must not know: what panels draw, the terminal.
//! Invariant: any state can be drawn at any size.

use crate::tui::app::layout;
use crate::tui::app::layout::{MIN_SIZE, ScreenAreas, TabSet};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::Overlay;
use crate::tui::panels;
use crate::tui::panels::RenderContext;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

pub fn render(frame: &mut Frame, ctx: RenderContext) {
    let screen = frame.area();
    let notice = panels::notice::lines(ctx, screen.width).len() as u16;
    let Some(areas) = ctx.view.panels.areas(screen, notice) else {
        return render_too_small(frame, screen, ctx);
    };
    let tabs = if ctx.view.panels.fill_screen(&areas) { TabSet::None } else { areas.tabs };
    let ctx = RenderContext { tabs, ..ctx };
    if ctx.view.panels.fill_screen(&areas) {
        let body = layout::full_screen_area(screen, notice);
        let run = Rect { x: screen.x + 1, width: screen.width.saturating_sub(2), height: 1, ..screen };
        frame.render_widget(panels::header::progress_line(ctx, run.width), run);
        let above = Rect { y: screen.y + 1, height: notice, ..screen };
        panels::notice::render(frame, above, ctx);
        match ctx.view.panels.focus {
            Panel::Run => panels::run::render(frame, body, ctx),
            panel => render_panel(frame, body, ctx, panel),
        }
    } else {
        panels::notice::render(frame, areas.notice, ctx);
        render_panels(frame, &areas, ctx);
    }
    match ctx.view.overlay {
        Overlay::Prompt | Overlay::Filter => panels::prompt::render(frame, areas.footer, ctx),
        _ => panels::footer::render(frame, areas.footer, ctx),
    }
    panels::reply::render(frame, screen, areas.footer, ctx);
    match ctx.view.overlay {
        Overlay::Help(_) | Overlay::HelpFilter => panels::help::render(frame, screen, ctx),
        Overlay::StopDialog => panels::stop_dialog::render(frame, screen, ctx),
        Overlay::None | Overlay::Prompt | Overlay::Filter => {}
    }
}

fn render_panels(frame: &mut Frame, areas: &ScreenAreas, ctx: RenderContext) {
    let preparing = ctx.state.is_preparing();
    for panel in Panel::ALL {
        let area = areas.panels[panel as usize];
        let hidden =
            preparing && !matches!(panel, Panel::Run | Panel::Log) && !areas.preparation.intersection(area).is_empty();
        if !hidden && !area.is_empty() {
            render_panel(frame, area, ctx, panel);
        }
    }
    if preparing {
        panels::prepare::render(frame, areas.preparation, ctx);
    }
}

fn render_panel(frame: &mut Frame, area: Rect, ctx: RenderContext, panel: Panel) {
    match panel {
        Panel::Run => panels::header::render(frame, area, ctx),
        Panel::Loss => panels::loss::render(frame, area, ctx),
        Panel::Schedule => panels::schedule::render(frame, area, ctx),
        Panel::Entropy => panels::entropy::render(frame, area, ctx),
        Panel::Thoughts => panels::thoughts::render(frame, area, ctx),
        Panel::Cost => panels::cost::render(frame, area, ctx),
        Panel::Changes => panels::changes::render(frame, area, ctx),
        Panel::Log => panels::log::render(frame, area, ctx),
        Panel::Samples => panels::samples::render(frame, area, ctx),
        Panel::Playground => panels::playground::render(frame, area, ctx),
        Panel::Layers => panels::layers::render(frame, area, ctx),
        Panel::Rollouts => panels::rollouts::render(frame, area, ctx),
    }
}

fn render_too_small(frame: &mut Frame, screen: Rect, ctx: RenderContext) {
    let (width, height) = MIN_SIZE;
    let lines = vec![
        Line::from(ctx.span(Role::Warn, format!("{}×{} is too small", screen.width, screen.height))),
        Line::from(ctx.span(Role::Name, format!("the dashboard needs {width}×{height}"))),
        Line::from(ctx.span(Role::Name, "the run continues")),
    ];
    let middle = layout::centered(screen, screen.width, lines.len() as u16);
    frame.render_widget(Paragraph::new(lines).centered(), middle);
}
