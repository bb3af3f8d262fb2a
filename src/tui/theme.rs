//! Owns: every colour and text attribute on the screen.
//! Must not know: what is drawn where.
//! Invariant: no meaning is carried by colour alone: without colours, attributes carry it.

use ratatui::style::{Color, Modifier, Style};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorDepth {
    /// No colours, or the user wants none (`NO_COLOR`).
    None,
    /// The 16 that every terminal has.
    Sixteen,
    /// The 256 indexed colours.
    Indexed,
    TrueColor,
}

/// The background of the terminal. The theme draws on it and never fills it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    #[default]
    Dark,
    Light,
}

/// Which background the user wants colours for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackgroundChoice {
    /// That of the terminal, as far as it tells.
    #[default]
    Auto,
    Dark,
    Light,
}

impl BackgroundChoice {
    pub fn next(self) -> Self {
        match self {
            Self::Auto => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::Auto,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "that of the terminal",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }
}

/// The meaning of a style; the theme maps it to colours and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Frame,
    /// The frame and the name of the focused panel.
    Focus,
    Name,
    Dim,
    Value,
    Key,
    Plain,
    PlainRaw,
    Recycled,
    RecycledRaw,
    /// The plain loss at the recycled positions.
    PlainAtRecycled,
    /// The control with a learned pause vector in place of the recycled states.
    Pause,
    /// The control with the mean embedding in place of the recycled states.
    Masked,
    /// The control with shuffled states: each from another position.
    Shuffled,
    /// Any other curve: the learning rate, a metric.
    Lr,
    /// The mark of a step with a config change or a note.
    Mark,
    /// The cursor: the step whose values the charts show.
    Cursor,
    Good,
    Warn,
    Bad,
    Selected,
}

/// How strongly a curve of a group of runs is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupTone {
    /// Its mean.
    Full,
    /// Its single runs.
    Faint,
    /// The band around its mean.
    Band,
}

/// Maps each [`Role`] and heat value to a style, for one colour depth and background.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    depth: ColorDepth,
    background: Background,
    /// The terminal's own background.
    detected: Background,
}

/// A colour in 24 bits, the nearest of the 256 indexed ones, and the nearest of the 16 named ones.
type Tint = ((u8, u8, u8), u8, Color);

// The curves use the palette of Okabe and Ito, which is safe for every common form of colour blindness.
const SKY: Tint = ((86, 180, 233), 74, Color::LightCyan);
const SKY_DIM: Tint = ((48, 96, 124), 24, Color::Cyan);
const BLUE: Tint = ((104, 136, 176), 67, Color::LightBlue);
const ORANGE: Tint = ((230, 159, 0), 214, Color::LightYellow);
const ORANGE_DIM: Tint = ((118, 84, 10), 94, Color::Yellow);
const GREEN: Tint = ((0, 178, 130), 36, Color::Green);
const VERMILION: Tint = ((226, 100, 30), 202, Color::LightRed);
const PURPLE: Tint = ((204, 121, 167), 175, Color::LightMagenta);
const YELLOW: Tint = ((216, 206, 70), 185, Color::Yellow);
const GREY: Tint = ((128, 128, 132), 244, Color::Gray);
const FRAME: Tint = ((84, 88, 96), 240, Color::DarkGray);
// The same hues with more contrast to white.
const NAVY: Tint = ((0, 94, 158), 25, Color::Blue);
const NAVY_DIM: Tint = ((150, 196, 224), 152, Color::Cyan);
const STEEL: Tint = ((70, 92, 132), 60, Color::Cyan);
const BROWN: Tint = ((172, 90, 0), 130, Color::Red);
const BROWN_DIM: Tint = ((230, 196, 140), 180, Color::Yellow);
const PINE: Tint = ((0, 122, 84), 29, Color::Green);
const BRICK: Tint = ((186, 48, 10), 124, Color::LightRed);
const PLUM: Tint = ((146, 60, 112), 89, Color::Magenta);
const OLIVE: Tint = ((122, 112, 0), 100, Color::Yellow);
const SLATE: Tint = ((92, 94, 102), 241, Color::DarkGray);
const SILVER: Tint = ((170, 174, 182), 248, Color::Gray);
/// The usual colour of a dark background, with which faint curves are mixed.
const DARK_GROUND: (u8, u8, u8) = (22, 24, 29);
const BLACK: Tint = ((0, 0, 0), 16, Color::Black);
const WHITE: Tint = ((255, 255, 255), 231, Color::White);

/// The colours of groups of runs, on a dark and on a light background. They repeat after the last.
const GROUPS: [(Tint, Tint); 7] =
    [(SKY, NAVY), (ORANGE, BROWN), (GREEN, PINE), (PURPLE, PLUM), (VERMILION, BRICK), (YELLOW, OLIVE), (GREY, SLATE)];

/// The viridis colour map (van der Walt and Smith, 2015) at ninths, dark to bright.
const VIRIDIS: [Tint; 10] = [
    ((68, 1, 84), 53, Color::Black),
    ((72, 40, 120), 54, Color::Blue),
    ((62, 74, 137), 60, Color::Blue),
    ((49, 104, 142), 24, Color::Blue),
    ((38, 130, 142), 30, Color::Cyan),
    ((31, 158, 137), 36, Color::Cyan),
    ((53, 183, 121), 35, Color::Green),
    ((110, 206, 88), 77, Color::Green),
    ((181, 222, 43), 148, Color::LightYellow),
    ((253, 231, 37), 220, Color::LightYellow),
];

/// Purple over grey to orange (after Brewer's PuOr): from a more certain recycled pass to a less certain one.
const DIVERGING: [Tint; 7] = [
    ((84, 39, 136), 54, Color::Magenta),
    ((128, 115, 172), 97, Color::Magenta),
    ((178, 171, 210), 146, Color::LightMagenta),
    ((150, 150, 150), 246, Color::Gray),
    ((253, 184, 99), 215, Color::LightYellow),
    ((224, 130, 20), 172, Color::Yellow),
    ((179, 88, 6), 130, Color::Yellow),
];

impl Theme {
    pub fn new(depth: ColorDepth) -> Self {
        Self { depth, background: Background::Dark, detected: Background::Dark }
    }

    /// Returns the theme on a terminal of this background.
    pub fn on_background(self, detected: Background) -> Self {
        Self { background: detected, detected, ..self }
    }

    /// Uses the colours for the chosen background.
    pub fn choose_background(&mut self, choice: BackgroundChoice) {
        self.background = match choice {
            BackgroundChoice::Auto => self.detected,
            BackgroundChoice::Dark => Background::Dark,
            BackgroundChoice::Light => Background::Light,
        };
    }

    /// Reads the colour depth from the environment: `NO_COLOR` (no-color.org), `COLORTERM`, `TERM`.
    pub fn from_env() -> Self {
        let read = |name| std::env::var(name).unwrap_or_default();
        Self::new(color_depth(&read("NO_COLOR"), &read("COLORTERM"), &read("TERM")))
    }

    pub fn style(&self, role: Role) -> Style {
        let plain = Style::new();
        if self.depth == ColorDepth::None {
            return plain.add_modifier(attributes(role));
        }
        // Set explicitly: text in a border would inherit the border's colour.
        if role == Role::Value {
            return plain.fg(Color::Reset);
        }
        if role == Role::Selected {
            let (text, ground) = if self.background == Background::Dark { (BLACK, WHITE) } else { (WHITE, BLACK) };
            return plain.fg(self.color(text)).bg(self.color(ground));
        }
        let (on_dark, on_light) = tints(role);
        let tint = if self.background == Background::Dark { on_dark } else { on_light };
        let style = plain.fg(self.color(tint));
        if matches!(role, Role::Focus | Role::Bad) { style.add_modifier(Modifier::BOLD) } else { style }
    }

    /// Returns the number of groups of runs that have a colour of their own.
    pub fn group_colors(&self) -> usize {
        GROUPS.len()
    }

    /// Returns the style of the curves of a group of runs. Groups share colours if there are more than colours.
    pub fn group(&self, group: usize, tone: GroupTone) -> Style {
        let style = Style::new();
        if self.depth == ColorDepth::None {
            return if tone == GroupTone::Full { style } else { style.add_modifier(Modifier::DIM) };
        }
        let (on_dark, on_light) = GROUPS[group % GROUPS.len()];
        let (tint, ground) =
            if self.background == Background::Dark { (on_dark, DARK_GROUND) } else { (on_light, WHITE.0) };
        let share = match tone {
            GroupTone::Full => return style.fg(self.color(tint)),
            _ if self.depth == ColorDepth::Sixteen => return style.fg(self.color(tint)).add_modifier(Modifier::DIM),
            GroupTone::Faint => 0.45,
            GroupTone::Band => 0.68,
        };
        let rgb = mix_rgb(tint.0, ground, share);
        style.fg(self.color((rgb, nearest_indexed(rgb), tint.2)))
    }

    /// Returns the style of a value that is the fraction `share` (0..=1) of the largest possible one.
    pub fn heat(&self, share: f64) -> Style {
        self.interpolate(&VIRIDIS, share)
    }

    /// Returns the style of a change by `share` (-1..=1) of the largest possible one.
    pub fn difference(&self, share: f64) -> Style {
        self.interpolate(&DIVERGING, (share + 1.0) / 2.0)
    }

    /// Returns whether there are colours. Without them, dash patterns tell curves apart.
    pub fn has_colors(&self) -> bool {
        self.depth != ColorDepth::None
    }

    fn interpolate(&self, stops: &[Tint], share: f64) -> Style {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        if self.depth == ColorDepth::None {
            return Style::new().add_modifier(match share {
                s if s < 1.0 / 3.0 => Modifier::DIM,
                s if s < 2.0 / 3.0 => Modifier::empty(),
                _ => Modifier::BOLD,
            });
        }
        let at = share * (stops.len() - 1) as f64;
        let (low, high) = (stops[at.floor() as usize], stops[at.ceil() as usize]);
        let rgb = mix_rgb(low.0, high.0, at.fract());
        let near = if at.fract() < 0.5 { low } else { high };
        // Above a relative luminance of about 0.18 (WCAG 2), black text has more contrast than white text.
        let bright = match self.depth {
            ColorDepth::Sixteen => !matches!(near.2, Color::Black | Color::Blue | Color::Magenta),
            _ => luminance(rgb) > 0.18,
        };
        let text = if bright { BLACK } else { WHITE };
        Style::new().bg(self.color((rgb, near.1, near.2))).fg(self.color(text))
    }

    fn color(&self, (rgb, index, named): Tint) -> Color {
        match self.depth {
            ColorDepth::TrueColor => Color::Rgb(rgb.0, rgb.1, rgb.2),
            ColorDepth::Sixteen => named,
            _ => Color::Indexed(index),
        }
    }
}

/// Returns the colours of a role on a dark and on a light background.
fn tints(role: Role) -> (Tint, Tint) {
    match role {
        Role::Focus | Role::Key | Role::Plain => (SKY, NAVY),
        Role::PlainRaw => (SKY_DIM, NAVY_DIM),
        Role::Recycled | Role::Warn => (ORANGE, BROWN),
        Role::RecycledRaw => (ORANGE_DIM, BROWN_DIM),
        Role::PlainAtRecycled => (BLUE, STEEL),
        Role::Pause => (PURPLE, PLUM),
        Role::Masked | Role::Mark => (YELLOW, OLIVE),
        Role::Shuffled | Role::Bad => (VERMILION, BRICK),
        Role::Lr | Role::Good => (GREEN, PINE),
        Role::Cursor | Role::Value | Role::Selected => (WHITE, BLACK),
        Role::Dim | Role::Name => (GREY, SLATE),
        Role::Frame => (FRAME, SILVER),
    }
}

fn color_depth(no_color: &str, colorterm: &str, term: &str) -> ColorDepth {
    if !no_color.is_empty() || term == "dumb" {
        ColorDepth::None
    } else if colorterm == "truecolor" || colorterm == "24bit" {
        ColorDepth::TrueColor
    } else if SIXTEEN_COLOR_TERMS.contains(&term) {
        ColorDepth::Sixteen
    } else {
        ColorDepth::Indexed
    }
}

/// Values of `TERM` with 16 colours. Every other terminal is assumed to have 256.
const SIXTEEN_COLOR_TERMS: [&str; 8] =
    ["linux", "ansi", "vt100", "vt220", "xterm-16color", "screen-16color", "cygwin", "xterm-color"];

fn attributes(role: Role) -> Modifier {
    match role {
        Role::Focus | Role::Key | Role::Recycled | Role::Warn | Role::Mark | Role::Cursor => Modifier::BOLD,
        Role::Bad | Role::Selected => Modifier::REVERSED,
        Role::Frame | Role::Dim | Role::PlainRaw | Role::RecycledRaw => Modifier::DIM,
        _ => Modifier::empty(),
    }
}

fn mix_rgb(a: (u8, u8, u8), b: (u8, u8, u8), share: f64) -> (u8, u8, u8) {
    let channel = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    (channel(a.0, b.0), channel(a.1, b.1), channel(a.2, b.2))
}

/// Returns the nearest colour of the cube of 6×6×6 among the 256 indexed ones.
fn nearest_indexed((r, g, b): (u8, u8, u8)) -> u8 {
    // The levels of the cube: 0, 95, 135, 175, 215, 255.
    let level = |c: u8| match c {
        0..48 => 0,
        48..115 => 1,
        _ => (c - 35) / 40,
    };
    16 + 36 * level(r) + 6 * level(g) + level(b)
}

/// Returns the relative luminance as WCAG 2 defines it, 0 to 1.
fn luminance(rgb: (u8, u8, u8)) -> f64 {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    0.2126 * linear(rgb.0) + 0.7152 * linear(rgb.1) + 0.0722 * linear(rgb.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_respected() {
        assert_eq!(color_depth("1", "truecolor", "xterm"), ColorDepth::None);
        assert_eq!(color_depth("", "truecolor", "xterm"), ColorDepth::TrueColor);
        assert_eq!(color_depth("", "", "xterm-256color"), ColorDepth::Indexed);
        assert_eq!(color_depth("", "", "linux"), ColorDepth::Sixteen);
    }

    #[test]
    fn text_is_readable_on_both_backgrounds() {
        // The contrast of WCAG 2 between two relative luminances.
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        let roles = [Role::Name, Role::Key, Role::Plain, Role::Recycled, Role::PlainAtRecycled, Role::Pause];
        let more = [Role::Masked, Role::Shuffled, Role::Lr, Role::Cursor, Role::Bad, Role::Dim];
        for role in roles.into_iter().chain(more) {
            let (dark, light) = tints(role);
            assert!(contrast(luminance(dark.0), luminance((0x16, 0x18, 0x1d))) >= 3.0, "{role:?} on dark");
            assert!(contrast(luminance(light.0), 1.0) >= 4.0, "{role:?} on light");
        }
    }

    #[test]
    fn groups_of_runs_are_readable_and_their_tones_differ() {
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        for (dark, light) in GROUPS {
            assert!(contrast(luminance(dark.0), luminance(DARK_GROUND)) >= 3.0, "{dark:?}");
            assert!(contrast(luminance(light.0), 1.0) >= 4.0, "{light:?}");
        }
        for depth in [ColorDepth::TrueColor, ColorDepth::Indexed] {
            let theme = Theme::new(depth);
            for group in 0..GROUPS.len() {
                let [full, faint, band] =
                    [GroupTone::Full, GroupTone::Faint, GroupTone::Band].map(|tone| theme.group(group, tone).fg);
                assert!(full != faint && full != band, "{depth:?} {group}");
                // The 256 colours have too few dark ones.
                assert!(faint != band || depth == ColorDepth::Indexed, "{group}");
            }
        }
        let plain = Theme::new(ColorDepth::None).group(3, GroupTone::Band);
        assert!(plain.fg.is_none() && plain.add_modifier == Modifier::DIM);
        for (rgb, index) in [((0, 0, 0), 16), ((255, 255, 255), 231), ((95, 135, 175), 67)] {
            assert_eq!(nearest_indexed(rgb), index);
        }
    }

    #[test]
    fn the_choice_of_a_background_is_kept_apart_from_what_the_terminal_has() {
        let mut theme = Theme::new(ColorDepth::TrueColor).on_background(Background::Light);
        let light = theme.style(Role::Plain);
        theme.choose_background(BackgroundChoice::Dark);
        assert_ne!(theme.style(Role::Plain), light);
        theme.choose_background(BackgroundChoice::Auto);
        assert_eq!(theme.style(Role::Plain), light);
    }

    #[test]
    fn sixteen_colours_are_named_ones_and_readable() {
        let theme = Theme::new(ColorDepth::Sixteen);
        for share in 0..=20 {
            for style in [theme.heat(f64::from(share) / 20.0), theme.difference(f64::from(share) / 10.0 - 1.0)] {
                assert!(style.fg != style.bg && !matches!(style.bg, Some(Color::Rgb(..) | Color::Indexed(_))));
            }
        }
    }

    #[test]
    fn heat_takes_any_number_and_stays_readable() {
        let theme = Theme::new(ColorDepth::TrueColor);
        for share in [f64::NAN, -1.0, 0.0, 0.5, 1.0, 2.0, f64::INFINITY] {
            let style = theme.heat(share);
            assert_ne!(style.fg, style.bg);
        }
        assert_ne!(theme.heat(0.0).fg, theme.heat(1.0).fg);
        assert_ne!(theme.difference(-1.0).bg, theme.difference(1.0).bg);
    }

    #[test]
    fn without_colours_there_are_none() {
        let theme = Theme::new(ColorDepth::None);
        let styles = [theme.heat(0.9), theme.difference(0.1), theme.style(Role::Bad), theme.style(Role::Selected)];
        assert!(styles.iter().all(|style| style.fg.is_none() && style.bg.is_none()));
    }
}
