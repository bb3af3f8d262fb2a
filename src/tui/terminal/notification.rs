//! Owns: the terminal's bell and desktop notifications: which escape codes, for which terminal.
//! Must not know: what is told, and when.
//! Invariant: no character of a text can steer the terminal, or end the notification early.

use crate::config::Notify;

/// Longest text of a notification, in characters.
const MAX_CHARS: usize = 200;
const TITLE: &str = "coconut-lab";

/// How a terminal shows a desktop notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesktopProtocol {
    /// It shows none, or might print the codes.
    None,
    /// iTerm2, kitty, WezTerm, Ghostty; most others ignore it.
    Osc9,
    /// rxvt, foot, and terminals based on VTE.
    Osc777,
    /// OSC 9 for the terminal around tmux, which passes it on if `allow-passthrough` is on.
    Osc9InTmux,
}

impl DesktopProtocol {
    /// Chooses by the environment variables that `variable` returns.
    pub fn choose(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let starts = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
        if variable("TMUX").is_some_and(|socket| !socket.is_empty()) {
            return Self::Osc9InTmux;
        }
        if term.is_empty() || starts(&["linux", "dumb", "screen", "tmux", "vt"]) {
            return Self::None;
        }
        let is_vte = variable("VTE_VERSION").is_some_and(|version| !version.is_empty());
        if is_vte || starts(&["rxvt", "foot"]) { Self::Osc777 } else { Self::Osc9 }
    }
}

/// Returns the bytes that tell `text` by `notify`. The bell comes first.
pub fn encode_notification(notify: Notify, protocol: DesktopProtocol, text: &str) -> String {
    let bell = match notify {
        Notify::None => return String::new(),
        Notify::Bell => return "\x07".to_owned(),
        Notify::Desktop => "\x07",
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
    match protocol {
        DesktopProtocol::None => bell.to_owned(),
        // The title also keeps a text that begins with a number from being another command of OSC 9.
        DesktopProtocol::Osc9 => format!("{bell}\x1b]9;{TITLE}: {text}\x07"),
        DesktopProtocol::Osc777 => format!("{bell}\x1b]777;notify;{TITLE};{}\x07", text.replace(';', ",")),
        DesktopProtocol::Osc9InTmux => format!("{bell}\x1bPtmux;\x1b\x1b]9;{TITLE}: {text}\x07\x1b\\"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_follows_the_terminal() {
        for (variables, protocol) in [
            (&[("TERM", "xterm-kitty")][..], DesktopProtocol::Osc9),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], DesktopProtocol::Osc9),
            (&[("TERM", "xterm-256color"), ("VTE_VERSION", "7600")], DesktopProtocol::Osc777),
            (&[("TERM", "foot")], DesktopProtocol::Osc777),
            (&[("TERM", "tmux-256color"), ("TMUX", "/tmp/tmux-0/default,1,0")], DesktopProtocol::Osc9InTmux),
            (&[("TERM", "screen-256color")], DesktopProtocol::None),
            (&[("TERM", "linux")], DesktopProtocol::None),
            (&[], DesktopProtocol::None),
        ] {
            let lookup =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(DesktopProtocol::choose(lookup), protocol, "{variables:?}");
        }
    }

    #[test]
    fn a_text_cannot_steer_the_terminal() {
        let text = "a\x07b\x1b]0;c\u{9c}d;\n".to_owned() + &"x".repeat(1000);
        for protocol in [DesktopProtocol::Osc9, DesktopProtocol::Osc777, DesktopProtocol::Osc9InTmux] {
            let sent = encode_notification(Notify::Desktop, protocol, &text);
            // The bell, and the end of the sequence.
            assert_eq!(sent.matches('\x07').count(), 2, "{sent:?}");
            assert!(sent.chars().count() < MAX_CHARS + 60 && sent.contains("a b ]0"), "{sent:?}");
            assert!(!sent.contains(['\u{9c}', '\n']), "{sent:?}");
        }
        let of_777 = encode_notification(Notify::Desktop, DesktopProtocol::Osc777, "a;b");
        assert_eq!(of_777, "\x07\x1b]777;notify;coconut-lab;a,b\x07");
        assert_eq!(encode_notification(Notify::Bell, DesktopProtocol::Osc9, "a"), "\x07");
        assert_eq!(encode_notification(Notify::None, DesktopProtocol::Osc9, "a"), "");
        assert_eq!(encode_notification(Notify::Desktop, DesktopProtocol::None, "a"), "\x07");
    }
}
