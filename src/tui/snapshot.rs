//! Owns: pictures of the dashboard for a paper or a page: SVG or text, of a run that is told as events.
//! Must not know: where the events come from, files, terminals.
//! Invariant: the same events and wishes give the same picture.

use super::keys::Key;
use super::stage::Stage;
use super::theme::Depth;
use super::view::{Effect, Panel};
use super::{plain, svg};
use crate::message::Event;
use ratatui::layout::Rect;
use std::time::Duration;

/// What the picture is to be.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The panel that fills it; none: all panels.
    pub panel: Option<Panel>,
    /// Columns and lines.
    pub size: (u16, u16),
    /// Keys that are pressed before it is taken.
    pub keys: String,
    /// Whether it is to be ASCII alone.
    pub ascii: bool,
    /// Its format.
    pub format: Format,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Scalable, with colours.
    Svg,
    /// Lines of text.
    Text,
}

/// The largest screen that is drawn, columns and lines.
pub const MOST: (u16, u16) = (500, 200);

/// The picture of a run that `events` tell of.
///
/// # Errors
/// What is wrong with the keys.
pub fn draw(events: impl IntoIterator<Item = Event>, wish: &Wish, title: &str) -> Result<String, String> {
    // What has no colours tells by other means what they tell.
    let depth = if wish.format == Format::Text { Depth::None } else { Depth::True };
    let mut stage = Stage::new(depth, wish.ascii);
    events.into_iter().for_each(|event| stage.apply(event, Duration::ZERO));
    if let Some(panel) = wish.panel {
        stage.view.look_at(panel);
        stage.view.expanded = true;
    }
    let screen = Rect::new(0, 0, wish.size.0, wish.size.1);
    for key in keys(&wish.keys)? {
        if stage.press(&key.event(), screen) != Effect::None {
            return Err(format!("`{}` does more than change the picture", key.name()));
        }
    }
    let buffer = stage.picture(wish.size.0, wish.size.1);
    Ok(match wish.format {
        Format::Svg => svg::svg(&buffer, title),
        Format::Text => plain::text(&buffer),
    })
}

/// Single characters, and names in angle brackets: `ym<Left><Left>`.
fn keys(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|after| after.split_once('>'));
        match named.and_then(|(name, after)| Some((Key::named(name)?, after))) {
            Some((key, after)) => {
                keys.push(key);
                rest = after;
            }
            None if c == '<' && named.is_some_and(|(name, _)| name.len() > 1 && !name.contains(' ')) => {
                return Err(format!(
                    "no key `{}>`; there are <Left>, <Right>, <Up>, <Down>, <PageUp>, <PageDown>, \
                                    <Home>, <End>, <Tab>, <Enter>, <Esc>, <Space>",
                    rest.split('>').next().unwrap_or(rest)
                ));
            }
            None => {
                keys.push(Key::of(c));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::keys::within;
    use super::*;

    /// Plays `session` through a dashboard again and again, each time as its next `steps` steps, with random keys on screens
    /// of random sizes in between; the weight after each time.
    pub(crate) fn play(session: &[Event], steps: u64, times: u64) -> Vec<usize> {
        let mut stage = Stage::new(Depth::Indexed, false);
        let mut seed = 7_u64;
        let mut draw = move |most: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % most
        };
        let mut weights = Vec::new();
        for time in 0..times {
            for (index, event) in session.iter().enumerate() {
                if let Some(event) = later(event, time * steps, time == 0) {
                    stage.apply(event, Duration::from_millis((time * 1_000_000) + index as u64 * 10));
                }
                if index % 60 == 0 {
                    let screen = Rect::new(0, 0, 40 + draw(220) as u16, 10 + draw(70) as u16);
                    (0..3).for_each(|_| press_any(&mut stage, &mut draw, screen));
                    stage.picture(screen.width, screen.height);
                }
            }
            weights.push(stage.state.weight());
        }
        weights
    }

    fn press_any(stage: &mut Stage, draw: &mut impl FnMut(usize) -> usize, screen: Rect) {
        let scopes = stage.view.scopes();
        let keys: Vec<Key> = within(&scopes).flat_map(|binding| binding.keys).copied().collect();
        let texts = ["s", "e", "t", " ", "1", "漢", "<Tab>", "<Enter>", "<Esc>", "<Up>"];
        let key = match keys.len() {
            0 => super::keys(texts[draw(texts.len())]).unwrap()[0],
            count => keys[draw(count)],
        };
        stage.press(&key.event(), screen);
    }

    /// The event as of a run that has come `by` steps further; what begins or ends a run only the first time.
    fn later(event: &Event, by: u64, first: bool) -> Option<Event> {
        let moved = |row: &crate::record::registry::StepRow| {
            let mut row = row.clone();
            row.set(crate::record::registry::Metric::Step, (row.step() + by) as f64);
            row
        };
        Some(match event {
            Event::Started(_) if !first => return None,
            Event::Finished(_) => return None,
            Event::Step(row) => Event::Step(Box::new(moved(row))),
            Event::Past(rows) => Event::Past(rows.iter().map(moved).collect()),
            Event::Tokens(row) => {
                let mut row = row.clone();
                row.step += by;
                Event::Tokens(row)
            }
            Event::Spreads(spreads) => {
                let mut spreads = spreads.clone();
                spreads.iter_mut().for_each(|spread| spread.step += by);
                Event::Spreads(spreads)
            }
            other => other.clone(),
        })
    }

    #[test]
    fn keys_are_characters_or_names() {
        let names = |text: &str| keys(text).unwrap().iter().map(|key| key.name()).collect::<Vec<_>>();
        assert_eq!(names("ym<Left>:<"), ["y", "m", "←", ":", "<"]);
        assert_eq!(names("note a b"), ["n", "o", "t", "e", "space", "a", "space", "b"]);
        assert!(keys("<Lfet>").unwrap_err().contains("<Left>"));
    }
}
