//! Owns: pictures of the dashboard for a paper or a page, as SVG or text, drawn from the events of a run.
//! Must not know: where the events come from, files, terminals.
//! Invariant: the same events and options give the same picture.

use super::{svg, text_export};
use crate::schema::protocol::Event;
use crate::tui::app::App;
use crate::tui::app::keys::KeyPress;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::Effect;
pub use crate::tui::theme::Background;
use crate::tui::theme::{ColorDepth, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// The panel that fills the picture; `None` draws all panels.
    pub panel: Option<Panel>,
    pub size: (u16, u16),
    /// Keys to press before drawing, such as `ym<Left>`.
    pub keys: String,
    pub ascii: bool,
    pub background: Background,
    pub colors: PictureColors,
    pub format: PictureFormat,
}

/// The colours of an SVG picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureColors {
    All,
    /// The 16 that every terminal has.
    Sixteen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    Svg,
    Text,
}

pub const MAX_SIZE: (u16, u16) = (500, 200);

/// Returns a picture of the dashboard after `events`, in the requested format. `title` is the title of an SVG.
///
/// # Errors
/// Returns what is wrong with the keys.
pub fn draw(events: impl IntoIterator<Item = Event>, options: &SnapshotOptions, title: &str) -> Result<String, String> {
    let mut app = App { ascii: options.ascii, ..App::new(options.theme()) };
    events.into_iter().for_each(|event| app.apply(event, Duration::ZERO));
    if let Some(panel) = options.panel {
        app.view.panels.focus_on(panel);
        app.view.panels.expanded = true;
    }
    let screen = Rect::new(0, 0, options.size.0, options.size.1);
    for key in parse_keys(&options.keys)? {
        if app.handle_key(&key.to_event(), screen) != Effect::None {
            return Err(format!("the key `{}` does more than change the picture", key.name()));
        }
    }
    Ok(options.encode(&app.render_to_buffer(options.size.0, options.size.1), title))
}

impl SnapshotOptions {
    /// Returns the theme of the picture.
    pub(super) fn theme(&self) -> Theme {
        // Text has no colours: the theme without colours uses other means.
        let depth = match (self.format, self.colors) {
            (PictureFormat::Text, _) => ColorDepth::None,
            (PictureFormat::Svg, PictureColors::All) => ColorDepth::TrueColor,
            (PictureFormat::Svg, PictureColors::Sixteen) => ColorDepth::Sixteen,
        };
        Theme::new(depth).on_background(self.background)
    }

    /// Writes a drawn screen in the requested format.
    pub(super) fn encode(&self, screen: &Buffer, title: &str) -> String {
        match self.format {
            PictureFormat::Svg => svg::to_svg(screen, title, self.background),
            PictureFormat::Text => text_export::to_text(screen),
        }
    }
}

/// Parses keys: single characters, and names in angle brackets, as in `ym<Left><Left>`.
pub(super) fn parse_keys(text: &str) -> Result<Vec<KeyPress>, String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|after| after.split_once('>'));
        match named.and_then(|(name, after)| Some((KeyPress::from_name(name)?, after))) {
            Some((key, after)) => {
                keys.push(key);
                rest = after;
            }
            None if c == '<' && named.is_some_and(|(name, _)| name.len() > 1 && !name.contains(' ')) => {
                return Err(format!(
                    "unknown key `{}>`; known names are <Left>, <Right>, <Up>, <Down>, <PageUp>, <PageDown>, \
                                    <Home>, <End>, <Tab>, <Enter>, <Esc>, <Space>",
                    rest.split('>').next().unwrap_or(rest)
                ));
            }
            None => {
                keys.push(KeyPress::from_char(c));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tui::app::keys::bindings_in;

    /// Replays `session` through one dashboard `times` times, each time `steps` steps later, and presses
    /// random keys on screens of random sizes. Returns the memory weight after each time.
    pub(crate) fn replay(session: &[Event], steps: u64, times: u64) -> Vec<usize> {
        let mut app = App::new(Theme::new(ColorDepth::Indexed));
        let mut seed = 7_u64;
        let mut random = move |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % bound
        };
        let mut weights = Vec::new();
        for time in 0..times {
            for (index, event) in session.iter().enumerate() {
                if let Some(event) = shifted_by(event, time * steps, time == 0) {
                    app.apply(event, Duration::from_millis((time * 1_000_000) + index as u64 * 10));
                }
                if index % 60 == 0 {
                    let screen = Rect::new(0, 0, 40 + random(220) as u16, 10 + random(70) as u16);
                    (0..3).for_each(|_| press_random_key(&mut app, &mut random, screen));
                    app.render_to_buffer(screen.width, screen.height);
                }
            }
            weights.push(app.state.retained_items());
        }
        weights
    }

    fn press_random_key(app: &mut App, random: &mut impl FnMut(usize) -> usize, screen: Rect) {
        let scopes = app.view.active_scopes();
        let keys: Vec<KeyPress> = bindings_in(&scopes).flat_map(|binding| binding.keys).copied().collect();
        let texts = ["s", "e", "t", " ", "1", "漢", "<Tab>", "<Enter>", "<Esc>", "<Up>"];
        let key = match keys.len() {
            0 => super::parse_keys(texts[random(texts.len())]).unwrap()[0],
            count => keys[random(count)],
        };
        app.handle_key(&key.to_event(), screen);
    }

    /// Returns the event moved by `by` steps. The start of a run is kept only the first time, its end never.
    fn shifted_by(event: &Event, by: u64, first: bool) -> Option<Event> {
        let moved = |row: &crate::schema::metrics::StepRow| {
            let mut row = row.clone();
            row.set(crate::schema::metrics::Metric::Step, (row.step() + by) as f64);
            row
        };
        Some(match event {
            Event::Started(_) if !first => return None,
            Event::Finished(_) => return None,
            Event::Step(row) => Event::Step(Box::new(moved(row))),
            Event::History(rows) => Event::History(rows.iter().map(moved).collect()),
            Event::ProbedRow(row) => {
                let mut row = row.clone();
                row.step += by;
                Event::ProbedRow(row)
            }
            Event::EntropyHistograms(spreads) => {
                let mut spreads = spreads.clone();
                spreads.iter_mut().for_each(|spread| spread.step += by);
                Event::EntropyHistograms(spreads)
            }
            other => other.clone(),
        })
    }

    #[test]
    fn keys_are_characters_or_names() {
        let names = |text: &str| parse_keys(text).unwrap().iter().map(|key| key.name()).collect::<Vec<_>>();
        assert_eq!(names("ym<Left>:<"), ["y", "m", "←", ":", "<"]);
        assert_eq!(names("note a b"), ["n", "o", "t", "e", "space", "a", "space", "b"]);
        assert!(parse_keys("<Lfet>").unwrap_err().contains("<Left>"));
    }
}
