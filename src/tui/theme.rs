//! Owns: every colour and attribute on the screen.
//! Must not know: what is drawn where.
//! Invariant: no meaning by colour alone: without colours, attributes say the same.

use ratatui::style::{Color, Modifier, Style};

/// How many colours the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// None, or the user wants none (`NO_COLOR`).
    None,
    /// The 16 that every terminal has.
    Sixteen,
    /// The 256 indexed colours.
    Indexed,
    /// 24 bits.
    True,
}

/// What a style says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames and axes.
    Frame,
    /// The frame and the name of the focused panel.
    Focus,
    /// Names of things.
    Name,
    /// What may be overlooked.
    Dim,
    /// Values.
    Value,
    /// A key that can be pressed.
    Key,
    /// The plain curve.
    Plain,
    /// The plain curve's raw points.
    PlainRaw,
    /// The recycled curve.
    Recycled,
    /// The recycled curve's raw points.
    RecycledRaw,
    /// The plain curve at the recycled positions.
    PlainAtRecycled,
    /// A learned pause in the place of the states.
    Pause,
    /// The mean embedding in their place.
    Masked,
    /// The state of another position in their place.
    Shuffled,
    /// A curve of its own: the learning rate, a metric.
    Lr,
    /// A step at which the config was changed, or something was noted.
    Mark,
    /// The step that is read.
    Cross,
    /// All is well.
    Good,
    /// Something is not as asked for.
    Warn,
    /// Something failed.
    Bad,
    /// The selected token.
    Selected,
}

/// The colours of the screen.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    depth: Depth,
}

/// A colour in 24 bits, and the nearest of the 256 and of the 16.
type Tint = ((u8, u8, u8), u8, Color);

// The curves are from Okabe and Ito's palette, told apart with every common form of colour blindness.
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
const BLACK: Tint = ((0, 0, 0), 16, Color::Black);
const WHITE: Tint = ((255, 255, 255), 231, Color::White);

/// Viridis (van der Walt and Smith, 2015) at ninths, dark to bright.
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

/// Purple over grey to orange (after Brewer's PuOr): the recycled pass more certain … less certain.
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
    /// A theme of `depth`.
    pub fn new(depth: Depth) -> Self {
        Self { depth }
    }

    /// The theme that the environment asks for: `NO_COLOR` (no-color.org), `COLORTERM`, `TERM`.
    pub fn from_env() -> Self {
        let read = |name| std::env::var(name).unwrap_or_default();
        Self::new(depth(&read("NO_COLOR"), &read("COLORTERM"), &read("TERM")))
    }

    /// The style that says `role`.
    pub fn style(&self, role: Role) -> Style {
        let plain = Style::new();
        if self.depth == Depth::None {
            return plain.add_modifier(attributes(role));
        }
        match role {
            Role::Frame => plain.fg(self.color(FRAME)),
            Role::Focus => plain.fg(self.color(SKY)).add_modifier(Modifier::BOLD),
            Role::Dim => plain.fg(self.color(GREY)),
            Role::Name => plain.fg(self.color(GREY)),
            // Said outright, as within a border the border's colour would hold.
            Role::Value => plain.fg(Color::Reset),
            Role::Key => plain.fg(self.color(SKY)),
            Role::Plain => plain.fg(self.color(SKY)),
            Role::PlainRaw => plain.fg(self.color(SKY_DIM)),
            Role::Recycled => plain.fg(self.color(ORANGE)),
            Role::RecycledRaw => plain.fg(self.color(ORANGE_DIM)),
            Role::PlainAtRecycled => plain.fg(self.color(BLUE)),
            Role::Pause => plain.fg(self.color(PURPLE)),
            Role::Masked | Role::Mark => plain.fg(self.color(YELLOW)),
            Role::Shuffled => plain.fg(self.color(VERMILION)),
            Role::Cross => plain.fg(self.color(WHITE)),
            Role::Lr | Role::Good => plain.fg(self.color(GREEN)),
            Role::Warn => plain.fg(self.color(ORANGE)),
            Role::Bad => plain.fg(self.color(VERMILION)).add_modifier(Modifier::BOLD),
            Role::Selected => plain.fg(self.color(BLACK)).bg(self.color(WHITE)),
        }
    }

    /// The style of a token whose entropy is `share` (0..1) of the largest possible.
    pub fn heat(&self, share: f64) -> Style {
        self.scale(&VIRIDIS, share)
    }

    /// The style of a token whose entropy changed by `share` (-1..1).
    pub fn difference(&self, share: f64) -> Style {
        self.scale(&DIVERGING, (share + 1.0) / 2.0)
    }

    /// Whether colours tell curves apart; if not, dashes must.
    pub fn has_colors(&self) -> bool {
        self.depth != Depth::None
    }

    fn scale(&self, stops: &[Tint], share: f64) -> Style {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        if self.depth == Depth::None {
            return Style::new().add_modifier(match share {
                s if s < 1.0 / 3.0 => Modifier::DIM,
                s if s < 2.0 / 3.0 => Modifier::empty(),
                _ => Modifier::BOLD,
            });
        }
        let at = share * (stops.len() - 1) as f64;
        let (low, high) = (stops[at.floor() as usize], stops[at.ceil() as usize]);
        let rgb = mix(low.0, high.0, at.fract());
        let near = if at.fract() < 0.5 { low } else { high };
        // The contrast of black and white text crosses near this luminance (WCAG 2, relative luminance 0.18).
        let bright = match self.depth {
            Depth::Sixteen => !matches!(near.2, Color::Black | Color::Blue | Color::Magenta),
            _ => luminance(rgb) > 0.18,
        };
        let ink = if bright { BLACK } else { WHITE };
        Style::new().bg(self.color((rgb, near.1, near.2))).fg(self.color(ink))
    }

    fn color(&self, (rgb, index, named): Tint) -> Color {
        match self.depth {
            Depth::True => Color::Rgb(rgb.0, rgb.1, rgb.2),
            Depth::Sixteen => named,
            _ => Color::Indexed(index),
        }
    }
}

fn depth(no_color: &str, colorterm: &str, term: &str) -> Depth {
    if !no_color.is_empty() || term == "dumb" {
        Depth::None
    } else if colorterm == "truecolor" || colorterm == "24bit" {
        Depth::True
    } else if SIXTEEN.contains(&term) {
        Depth::Sixteen
    } else {
        Depth::Indexed
    }
}

/// Terminals that are known to have no more than 16 colours. Others that say nothing have had 256 for twenty years.
const SIXTEEN: [&str; 8] =
    ["linux", "ansi", "vt100", "vt220", "xterm-16color", "screen-16color", "cygwin", "xterm-color"];

fn attributes(role: Role) -> Modifier {
    match role {
        Role::Focus | Role::Key | Role::Recycled | Role::Warn | Role::Mark | Role::Cross => Modifier::BOLD,
        Role::Bad | Role::Selected => Modifier::REVERSED,
        Role::Frame | Role::Dim | Role::PlainRaw | Role::RecycledRaw => Modifier::DIM,
        _ => Modifier::empty(),
    }
}

fn mix(a: (u8, u8, u8), b: (u8, u8, u8), share: f64) -> (u8, u8, u8) {
    let part = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    (part(a.0, b.0), part(a.1, b.1), part(a.2, b.2))
}

/// Relative luminance, WCAG 2.
fn luminance(rgb: (u8, u8, u8)) -> f64 {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    0.2126 * linear(rgb.0) + 0.7152 * linear(rgb.1) + 0.0722 * linear(rgb.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_respected() {
        assert_eq!(depth("1", "truecolor", "xterm"), Depth::None);
        assert_eq!(depth("", "truecolor", "xterm"), Depth::True);
        assert_eq!(depth("", "", "xterm-256color"), Depth::Indexed);
        assert_eq!(depth("", "", "linux"), Depth::Sixteen);
    }

    #[test]
    fn sixteen_colours_are_named_ones_and_readable() {
        let theme = Theme::new(Depth::Sixteen);
        for share in 0..=20 {
            for style in
                [theme.heat(f64::from(share) / 20.0), theme.difference(f64::from(share) / 10.0 - 1.0)]
            {
                assert!(
                    style.fg != style.bg && !matches!(style.bg, Some(Color::Rgb(..) | Color::Indexed(_)))
                );
            }
        }
    }

    #[test]
    fn heat_takes_any_number_and_stays_readable() {
        let theme = Theme::new(Depth::True);
        for share in [f64::NAN, -1.0, 0.0, 0.5, 1.0, 2.0, f64::INFINITY] {
            let style = theme.heat(share);
            assert_ne!(style.fg, style.bg);
        }
        assert_ne!(theme.heat(0.0).fg, theme.heat(1.0).fg);
        assert_ne!(theme.difference(-1.0).bg, theme.difference(1.0).bg);
    }

    #[test]
    fn without_colours_there_are_none() {
        let theme = Theme::new(Depth::None);
        let styles =
            [theme.heat(0.9), theme.difference(0.1), theme.style(Role::Bad), theme.style(Role::Selected)];
        assert!(styles.iter().all(|style| style.fg.is_none() && style.bg.is_none()));
    }
}
