//! Owns: capturing what drivers and C libraries print to standard output and error while the dashboard is up.
//! Must not know: the screen, who prints, how lines are shown.
//! Invariant: while capturing, printed text never reaches the terminal and printing never blocks forever. Nothing is
//! lost: lines that the dashboard has not taken are written to standard error after the terminal is restored.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most lines kept for the dashboard; later ones are only counted.
const MAX_LINES: usize = 256;
const MAX_LINE_BYTES: usize = 1024;

/// The lines that were captured and not taken yet.
struct CapturedLines {
    /// Whether a dashboard is up that will take the lines.
    capturing: bool,
    lines: VecDeque<String>,
    dropped: usize,
}

static CAPTURED: Mutex<CapturedLines> =
    Mutex::new(CapturedLines { capturing: false, lines: VecDeque::new(), dropped: 0 });

fn lock_captured() -> MutexGuard<'static, CapturedLines> {
    CAPTURED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the lines captured since the last call. They may hold control characters.
pub fn take_captured_lines() -> Vec<String> {
    let mut kept = lock_captured();
    let mut lines: Vec<String> = kept.lines.drain(..).collect();
    if kept.dropped > 0 {
        lines.push(format!("… {} more lines were printed", std::mem::take(&mut kept.dropped)));
    }
    lines
}

/// Keeps a line for the dashboard, or writes it to standard error if no dashboard is up any more.
fn keep_line(line: String) {
    let mut kept = lock_captured();
    if !kept.capturing {
        drop(kept);
        let _ = writeln!(std::io::stderr(), "{line}");
    } else if kept.lines.len() < MAX_LINES {
        kept.lines.push_back(line);
    } else {
        kept.dropped += 1;
    }
}

/// Splits bytes into lines. A carriage return ends a line too, because progress bars write it.
#[derive(Default)]
struct LineSplitter {
    line: Vec<u8>,
    truncated: bool,
}

impl LineSplitter {
    fn push_bytes(&mut self, bytes: &[u8], to: &mut impl FnMut(String)) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.finish_line(to),
                _ if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
                _ => self.truncated = true,
            }
        }
    }

    fn finish_line(&mut self, to: &mut impl FnMut(String)) {
        if !self.line.is_empty() {
            let mark = if self.truncated { "…" } else { "" };
            to(format!("{}{mark}", String::from_utf8_lossy(&self.line)));
        }
        *self = Self::default();
    }
}

/// Emits the lines of `from` up to its end, so that no thread that prints is blocked.
fn read_lines(mut from: impl Read, to: &mut impl FnMut(String)) {
    let mut lines = LineSplitter::default();
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => lines.push_bytes(&bytes[..count], to),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.finish_line(to);
}

#[cfg(unix)]
pub use unix::StdioCapture;

#[cfg(unix)]
mod unix {
    use super::{keep_line, lock_captured, read_lines, take_captured_lines};
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};
    use rustix::termios::isatty;
    use std::io::Write;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    /// How long to wait for the last lines. A child process may keep the pipe open forever.
    const LAST_LINES_TIMEOUT: Duration = Duration::from_millis(250);

    /// Redirects standard output and error into a pipe, if they are the terminal. Dropping it restores them.
    pub struct StdioCapture {
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        reader: JoinHandle<()>,
    }

    impl StdioCapture {
        /// Starts to capture.
        ///
        /// # Errors
        /// The pipe or its reader thread cannot be created.
        pub fn new() -> std::io::Result<Self> {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let reader = std::thread::Builder::new()
                .name("stdio-capture".into())
                .spawn(move || read_lines(std::fs::File::from(read), &mut keep_line))?;
            let mut capture = Self { stdout: None, stderr: None, reader };
            // Without /dev/tty, crossterm asks standard output for the size, so it must stay the terminal.
            if std::fs::File::open("/dev/tty").is_err() {
                return Ok(capture);
            }
            // Text printed earlier belongs on the terminal.
            let _ = std::io::stdout().flush();
            lock_captured().capturing = true;
            capture.stdout = redirect(stdout(), || dup2_stdout(&write))?;
            capture.stderr = redirect(stderr(), || dup2_stderr(&write))?;
            Ok(capture)
        }

        pub fn restore(&mut self) {
            if let Some(real) = self.stdout.take() {
                let _ = dup2_stdout(&real);
            }
            if let Some(real) = self.stderr.take() {
                let _ = dup2_stderr(&real);
            }
        }
    }

    /// Redirects a file descriptor if it is the terminal. Returns a duplicate of the original then.
    fn redirect(
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

    impl Drop for StdioCapture {
        fn drop(&mut self) {
            self.restore();
            let until = Instant::now() + LAST_LINES_TIMEOUT;
            while !self.reader.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Only after restoring: the reader must not write into its own pipe.
            lock_captured().capturing = false;
            for line in take_captured_lines() {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }
}

/// Captures nothing on platforms other than Unix.
#[cfg(not(unix))]
pub struct StdioCapture;

#[cfg(not(unix))]
impl StdioCapture {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub fn restore(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (LineSplitter::default(), Vec::new());
        let mut to = |line| out.push(line);
        parts.iter().for_each(|part| lines.push_bytes(part, &mut to));
        lines.finish_line(&mut to);
        out
    }

    #[test]
    fn bytes_become_lines_and_long_ones_are_cut() {
        assert_eq!(
            lines(&[b"wa", b"rning\nnvrtc\r\n\n 10%\r 20%", b"\xff"]),
            ["warning", "nvrtc", " 10%", " 20%\u{fffd}"]
        );
        let long = lines(&[&[b'x'; 5000], b"\nshort\n"]);
        assert_eq!((long[0].len(), long[1].as_str()), (MAX_LINE_BYTES + "…".len(), "short"));
        assert!(long[0].ends_with('…'));
    }

    #[test]
    fn captured_lines_are_bounded_and_printing_never_blocks() {
        use std::io::Cursor;
        // Only this test captures: the output of tests is not a terminal and is not redirected.
        lock_captured().capturing = true;
        read_lines(Cursor::new("printed\n".repeat(MAX_LINES + 50)), &mut keep_line);
        lock_captured().capturing = false;
        let prints = take_captured_lines();
        assert_eq!((prints.len(), prints[0].as_str()), (MAX_LINES + 1, "printed"));
        assert_eq!(prints[MAX_LINES], "… 50 more lines were printed");
        assert!(take_captured_lines().is_empty());
    }
}
