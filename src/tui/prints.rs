//! Owns: what drivers and C libraries print by themselves to standard output and error while the dashboard is up.
//! Must not know: the screen, who prints, how it is shown.
//! Invariant: while it catches, what is printed never reaches the terminal and never blocks for ever; nothing is lost: what
//! the dashboard has not taken up is written to standard error once the screen is back.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines kept until the dashboard takes them up; later ones are counted.
const LINES: usize = 256;
/// Bytes kept of a line.
const LONGEST: usize = 1024;

/// What was printed and not taken up.
struct Kept {
    /// Whether there is a dashboard that will take it up.
    catching: bool,
    lines: VecDeque<String>,
    /// Lines that had no room.
    missed: usize,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { catching: false, lines: VecDeque::new(), missed: 0 });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was printed since the last call, in lines as they are: control characters are the caller's to take out.
pub fn take_prints() -> Vec<String> {
    let mut kept = kept();
    let mut lines: Vec<String> = kept.lines.drain(..).collect();
    if kept.missed > 0 {
        lines.push(format!("… {} more lines were printed", std::mem::take(&mut kept.missed)));
    }
    lines
}

/// Keeps a line for the dashboard, or says it where there is none any more.
fn keep(line: String) {
    let mut kept = kept();
    if !kept.catching {
        drop(kept);
        let _ = writeln!(std::io::stderr(), "{line}");
    } else if kept.lines.len() < LINES {
        kept.lines.push_back(line);
    } else {
        kept.missed += 1;
    }
}

/// Bytes to lines. A carriage return ends one too: a progress bar is many short lines, not a long one.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], to: &mut impl FnMut(String)) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end(to),
                _ if self.line.len() < LONGEST => self.line.push(byte),
                _ => self.cut = true,
            }
        }
    }

    /// Hands on what there is of a line; an empty one says nothing.
    fn end(&mut self, to: &mut impl FnMut(String)) {
        if !self.line.is_empty() {
            let mark = if self.cut { "…" } else { "" };
            to(format!("{}{mark}", String::from_utf8_lossy(&self.line)));
        }
        *self = Self::default();
    }
}

/// Reads to the end, whatever becomes of the lines: who prints must not wait.
fn drain(mut from: impl Read, to: &mut impl FnMut(String)) {
    let mut lines = Lines::default();
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => lines.take(&bytes[..count], to),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.end(to);
}

#[cfg(unix)]
pub use unix::Caught;

#[cfg(unix)]
mod unix {
    use super::{drain, keep, kept, take_prints};
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};
    use rustix::termios::isatty;
    use std::io::Write;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    /// How long the last prints may take to come; a child process that prints may have the pipe open for ever.
    const LAST_PRINTS: Duration = Duration::from_millis(250);

    /// Standard output and error lead into a pipe, those that are the terminal; dropping it leads them back.
    pub struct Caught {
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        reader: JoinHandle<()>,
    }

    impl Caught {
        /// Catches from now on.
        pub fn new() -> std::io::Result<Self> {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let reader = std::thread::Builder::new()
                .name("prints".into())
                .spawn(move || drain(std::fs::File::from(read), &mut keep))?;
            let mut caught = Self { stdout: None, stderr: None, reader };
            // Crossterm would ask standard output for the size, which must stay the terminal then.
            if std::fs::File::open("/dev/tty").is_err() {
                return Ok(caught);
            }
            // What was said before belongs on the terminal.
            let _ = std::io::stdout().flush();
            kept().catching = true;
            caught.stdout = lead(stdout(), || dup2_stdout(&write))?;
            caught.stderr = lead(stderr(), || dup2_stderr(&write))?;
            Ok(caught)
        }

        /// Leads them back to the terminal.
        pub fn restore(&mut self) {
            if let Some(real) = self.stdout.take() {
                let _ = dup2_stdout(&real);
            }
            if let Some(real) = self.stderr.take() {
                let _ = dup2_stderr(&real);
            }
        }
    }

    /// Leads the file descriptor elsewhere, if it is the terminal; what it was.
    fn lead(
        fd: BorrowedFd<'_>,
        elsewhere: impl FnOnce() -> rustix::io::Result<()>,
    ) -> std::io::Result<Option<OwnedFd>> {
        if !isatty(fd) {
            return Ok(None);
        }
        let real = fcntl_dupfd_cloexec(fd, 3)?;
        elsewhere()?;
        Ok(Some(real))
    }

    impl Drop for Caught {
        fn drop(&mut self) {
            self.restore();
            let until = Instant::now() + LAST_PRINTS;
            while !self.reader.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            // After the way back: the reader must not write into its own pipe.
            kept().catching = false;
            for line in take_prints() {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }
}

/// Elsewhere nothing is caught.
#[cfg(not(unix))]
pub struct Caught;

#[cfg(not(unix))]
impl Caught {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub fn restore(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let mut to = |line| out.push(line);
        parts.iter().for_each(|part| lines.take(part, &mut to));
        lines.end(&mut to);
        out
    }

    #[test]
    fn bytes_become_lines_and_long_ones_are_cut() {
        assert_eq!(
            lines(&[b"wa", b"rning\nnvrtc\r\n\n 10%\r 20%", b"\xff"]),
            ["warning", "nvrtc", " 10%", " 20%\u{fffd}"]
        );
        let long = lines(&[&[b'x'; 5000], b"\nshort\n"]);
        assert_eq!((long[0].len(), long[1].as_str()), (LONGEST + "…".len(), "short"));
        assert!(long[0].ends_with('…'));
    }

    #[test]
    fn what_is_kept_is_bounded_and_whoever_prints_never_waits() {
        use std::io::Cursor;
        // Only this test catches: the tests' own output is no terminal's, and is left alone.
        kept().catching = true;
        drain(Cursor::new("printed\n".repeat(LINES + 50)), &mut keep);
        kept().catching = false;
        let prints = take_prints();
        assert_eq!((prints.len(), prints[0].as_str()), (LINES + 1, "printed"));
        assert_eq!(prints[LINES], "… 50 more lines were printed");
        assert!(take_prints().is_empty());
    }
}
