//! Owns: what the terminal can show, as the environment says: Unicode, and moving the cursor.
//! Must not know: what is shown.
//! Invariant: only environment variables decide, as for other programs; the width is asked of the terminal.

/// Whether the locale is UTF-8: the first of LC_ALL, LC_CTYPE and LANG that is set decides; without one it is C.
/// On Windows the console takes Unicode in any locale.
pub(super) fn takes_unicode() -> bool {
    cfg!(windows) || is_utf8_locale(["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).ok()))
}

fn is_utf8_locale(values: [Option<String>; 3]) -> bool {
    let deciding = values.into_iter().flatten().find(|value| !value.is_empty());
    deciding.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Whether the terminal can move its cursor: not if TERM is `dumb` or empty.
pub(super) fn moves_cursor() -> bool {
    cfg!(windows) || std::env::var("TERM").is_ok_and(|term| !matches!(term.as_str(), "" | "dumb" | "unknown"))
}

/// Returns the columns of the terminal at standard output; 100 without one.
pub(super) fn columns() -> usize {
    #[cfg(unix)]
    {
        use rustix::stdio::stdout as output;
        if let Ok(size) = rustix::termios::tcgetwinsize(output())
            && size.ws_col > 0
        {
            return usize::from(size.ws_col);
        }
    }
    100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let locale = |values: [&str; 3]| is_utf8_locale(values.map(|value| (value != "-").then(|| value.to_owned())));
        assert!(locale(["-", "-", "de_DE.UTF-8"]) && locale(["C.utf8", "C", "C"]) && locale(["", "", "en_US.UTF-8"]));
        assert!(!locale(["C", "en_US.UTF-8", "en_US.UTF-8"]) && !locale(["-", "POSIX", "en_US.UTF-8"]));
        assert!(!locale(["-", "-", "en_US.ISO-8859-1"]) && !locale(["-", "-", "-"]));
    }
}
