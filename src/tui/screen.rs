//! Owns: the whole screen of one scene: which panel is drawn where.
//! Must not know: what panels draw, the terminal.
//! Invariant: any scene can be drawn on any size.

use super::layout::{self, Areas, MIN};
use super::panel::{self, Scene};
use super::theme::Role;
use super::view::{Overlay, Panel};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Draws `scene` on all of `frame`.
pub fn render(frame: &mut Frame, scene: Scene) {
    let screen = frame.area();
    let notice = panel::notice::lines(scene, screen.width).len() as u16;
    let Some(areas) = layout::areas(screen, notice, &scene.view.shown) else {
        return render_too_small(frame, screen, scene);
    };
    let scene = Scene { tabs: areas.shares && !layout::whole_screen(scene.view, &areas), ..scene };
    if layout::whole_screen(scene.view, &areas) {
        let rest = layout::expanded(screen, notice);
        let run = Rect { x: screen.x + 1, width: screen.width.saturating_sub(2), height: 1, ..screen };
        frame.render_widget(panel::header::progress(scene, run.width), run);
        let above = Rect { y: screen.y + 1, height: notice, ..screen };
        panel::notice::render(frame, above, scene);
        render_panel(frame, rest, scene, scene.view.focus, true);
    } else {
        panel::notice::render(frame, areas.notice, scene);
        render_panels(frame, &areas, scene);
    }
    match scene.view.overlay {
        Overlay::Prompt | Overlay::Filter => panel::prompt::render(frame, areas.footer, scene),
        _ => panel::footer::render(frame, areas.footer, scene),
    }
    match scene.view.overlay {
        Overlay::Help(_) => panel::help::render(frame, screen, scene),
        Overlay::Question => panel::question::render(frame, screen, scene),
        Overlay::None | Overlay::Prompt | Overlay::Filter => {}
    }
}

fn render_panels(frame: &mut Frame, areas: &Areas, scene: Scene) {
    let preparing = scene.state.is_preparing();
    for panel in Panel::ALL {
        let area = areas.panels[panel as usize];
        let hidden = preparing
            && !matches!(panel, Panel::Run | Panel::Log)
            && !areas.stage.intersection(area).is_empty();
        if !hidden && !area.is_empty() {
            render_panel(frame, area, scene, panel, false);
        }
    }
    if preparing {
        panel::prepare::render(frame, areas.stage, scene);
    }
}

fn render_panel(frame: &mut Frame, area: Rect, scene: Scene, panel: Panel, whole: bool) {
    match panel {
        Panel::Run if whole => panel::run::render(frame, area, scene),
        Panel::Run => panel::header::render(frame, area, scene),
        Panel::Loss => panel::loss::render(frame, area, scene),
        Panel::Schedule => panel::schedule::render(frame, area, scene),
        Panel::Entropy => panel::entropy::render(frame, area, scene),
        Panel::Thoughts => panel::thoughts::render(frame, area, scene),
        Panel::Cost => panel::cost::render(frame, area, scene),
        Panel::Changes => panel::changes::render(frame, area, scene),
        Panel::Log => panel::log::render(frame, area, scene),
        Panel::Samples => panel::samples::render(frame, area, scene),
        Panel::Playground => panel::playground::render(frame, area, scene),
    }
}

fn render_too_small(frame: &mut Frame, screen: Rect, scene: Scene) {
    let (width, height) = MIN;
    let lines = vec![
        Line::from(scene.span(Role::Warn, format!("{}×{} is too small", screen.width, screen.height))),
        Line::from(scene.span(Role::Name, format!("the dashboard needs {width}×{height}"))),
        Line::from(scene.span(Role::Name, "the run goes on")),
    ];
    let middle = layout::centered(screen, screen.width, lines.len() as u16);
    frame.render_widget(Paragraph::new(lines).centered(), middle);
}
