//! Owns: whether the terminal has a dark or a light background.
//! Must not know: colours.
//! Invariant: a terminal that does not answer counts as dark, and is not waited for longer than [`TIMEOUT`].

use crate::tui::theme::Background;
use std::time::Duration;
use terminal_colorsaurus::{QueryOptions, ThemeMode, theme_mode};

/// How long the terminal may take to answer.
const TIMEOUT: Duration = Duration::from_millis(250);

/// Asks the terminal for its background; first the variable `COLORFGBG`, which some terminals set.
pub fn detect_background() -> Background {
    let variable = std::env::var("COLORFGBG").ok();
    if let Some(background) = variable.as_deref().and_then(background_of_colorfgbg) {
        return background;
    }
    let mut options = QueryOptions::default();
    options.timeout = TIMEOUT;
    match theme_mode(options) {
        Ok(ThemeMode::Light) => Background::Light,
        Ok(ThemeMode::Dark) | Err(_) => Background::Dark,
    }
}

/// Returns the background that a `COLORFGBG` such as `15;0` names: the last part is a colour of 16.
fn background_of_colorfgbg(value: &str) -> Option<Background> {
    let color: u8 = value.rsplit(';').next()?.trim().parse().ok()?;
    match color {
        7 | 15 => Some(Background::Light),
        0..16 => Some(Background::Dark),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_background() {
        for (value, wanted) in [
            ("15;0", Some(Background::Dark)),
            ("0;15", Some(Background::Light)),
            ("0;default;15", Some(Background::Light)),
            ("0;7", Some(Background::Light)),
            ("15;default", None),
            ("", None),
            ("0;200", None),
        ] {
            assert_eq!(background_of_colorfgbg(value), wanted, "{value}");
        }
    }
}
