//! Owns: the terminal while the dashboard is up: raw mode, the alternate screen, mouse capture, focus reports and captured
//! output; and restoring them on every exit and before every stop.
//! Must not know: what is drawn, the trainer.
//! Invariant: every exit (return, error, panic of the dashboard's thread, signal) leaves a readable terminal,
//! and nothing is drawn after it. A panic of any other thread neither ends the dashboard nor writes over it.

pub mod ascii;
pub mod background;
pub mod job_control;
pub mod notification;
pub mod screen;
pub mod stdio_capture;

use super::SignalFlags;
use crate::config::Notify;
use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::Show;
use crossterm::event::{DisableFocusChange, DisableMouseCapture, EnableFocusChange, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use notification::{DesktopProtocol, encode_notification};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use std::io::{BufWriter, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use stdio_capture::StdioCapture;

const MAX_PANICS: usize = 16;
/// How long an exit waits for a frame that is being written: the terminal may have stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// What any thread needs to restore the terminal.
struct HeldTerminal {
    draw_thread: Option<ThreadId>,
    writer: Option<TerminalWriter>,
    capture: Option<StdioCapture>,
    panics: Vec<String>,
}

static HELD: Mutex<HeldTerminal> =
    Mutex::new(HeldTerminal { draw_thread: None, writer: None, capture: None, panics: Vec::new() });
/// Held while a thread writes to the terminal.
static WRITE_LOCK: Mutex<()> = Mutex::new(());

fn lock_held() -> MutexGuard<'static, HeldTerminal> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn is_held() -> bool {
    lock_held().draw_thread.is_some()
}

/// A handle to the terminal itself: standard output may be redirected while the dashboard is up.
#[cfg(unix)]
type TerminalHandle = std::fs::File;
#[cfg(not(unix))]
type TerminalHandle = std::io::Stdout;

#[cfg(unix)]
fn open_terminal() -> std::io::Result<TerminalHandle> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?.into())
}

#[cfg(not(unix))]
fn open_terminal() -> std::io::Result<TerminalHandle> {
    Ok(std::io::stdout())
}

/// Writes to the terminal while the dashboard holds it. The rest of a frame after that is discarded.
pub struct TerminalWriter(TerminalHandle);

impl Write for TerminalWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _writing = WRITE_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        if is_held() { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Holds the terminal for the dashboard; dropping it restores the terminal.
pub struct TerminalGuard {
    pub terminal: Terminal<CrosstermBackend<BufWriter<TerminalWriter>>>,
    mouse_captured: bool,
    /// The source of keys, if that is not standard input.
    #[cfg(unix)]
    keyboard: Option<std::fs::File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// There are keys or mouse events, or the size has changed.
    Input,
    Timeout,
    /// The terminal is gone.
    HungUp,
}

impl TerminalGuard {
    /// Takes the terminal for this thread.
    ///
    /// # Errors
    /// The terminal cannot be opened or written.
    pub fn enter() -> std::io::Result<Self> {
        install_panic_hook();
        let screen = TerminalWriter(open_terminal()?);
        take_terminal()?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, screen)));
        let mut guard = Self {
            terminal: terminal.inspect_err(|_| restore_terminal())?,
            mouse_captured: false,
            #[cfg(unix)]
            keyboard: open_keyboard(),
        };
        // A killed process may have left the alternate screen open, with its last frame on it.
        guard.clear_screen()?;
        Ok(guard)
    }

    /// Asks the terminal to put `text` into the clipboard (OSC 52). Terminals that cannot, ignore it.
    pub fn copy_to_clipboard(&mut self, text: &str) -> std::io::Result<()> {
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Captures the mouse, or leaves it to the terminal.
    pub fn set_mouse_capture(&mut self, on: bool) -> std::io::Result<()> {
        if self.mouse_captured == on {
            return Ok(());
        }
        self.mouse_captured = on;
        let writer = self.terminal.backend_mut();
        if on { execute!(writer, EnableMouseCapture) } else { execute!(writer, DisableMouseCapture) }
    }

    /// Rings the bell or shows a desktop notification.
    pub fn notify(&mut self, notify: Notify, text: &str) -> std::io::Result<()> {
        let protocol = DesktopProtocol::choose(|name| std::env::var(name).ok());
        let writer = self.terminal.backend_mut();
        writer.write_all(encode_notification(notify, protocol, text).as_bytes())?;
        Write::flush(writer)
    }

    /// Suspends the process or takes the terminal again, if asked. Returns whether to redraw everything.
    pub fn handle_signals(&mut self, asked: &SignalFlags) -> std::io::Result<bool> {
        if asked.suspend.swap(false, Ordering::SeqCst) && job_control::can_stop() {
            self.suspend(asked)?;
            return Ok(true);
        }
        let redraw = asked.redraw.swap(false, Ordering::SeqCst);
        if redraw {
            restore_terminal();
            self.retake()?;
        }
        Ok(redraw)
    }

    /// Restores the terminal, stops the process group, and takes the terminal again when the group continues.
    fn suspend(&mut self, asked: &SignalFlags) -> std::io::Result<()> {
        restore_terminal();
        job_control::stop_process_group();
        // The continue signal has requested this redraw.
        asked.redraw.store(false, Ordering::SeqCst);
        self.retake()
    }

    /// Takes the terminal again, whatever its modes are and whatever was written on it.
    fn retake(&mut self) -> std::io::Result<()> {
        take_terminal()?;
        if self.mouse_captured {
            execute!(self.terminal.backend_mut(), EnableMouseCapture)?;
        }
        self.clear_screen()
    }

    /// Clears the screen and forgets what was drawn. Ratatui's own `clear` would ask the terminal for the
    /// cursor position over standard output, and fail if nothing answers.
    pub fn clear_screen(&mut self) -> std::io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl TerminalGuard {
    /// Restores what is left of the terminal. Ratatui's drop, which would write to it, is skipped.
    pub fn abandon(self) {
        restore_terminal();
        std::mem::forget(self);
    }

    /// Waits for input at most `time`. Crossterm alone would read forever from a terminal that hung up.
    #[cfg(unix)]
    pub fn wait_for_input(&self, time: Duration) -> std::io::Result<WaitOutcome> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdin = std::io::stdin();
        let mut fds = match &self.keyboard {
            Some(keyboard) => [PollFd::new(keyboard, PollFlags::IN)],
            None => [PollFd::new(&stdin, PollFlags::IN)],
        };
        // Size changes do not wake this poll, so it returns at least every 100 ms.
        let time = time.min(Duration::from_millis(100));
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if fds[0].revents().intersects(gone) {
            return Ok(WaitOutcome::HungUp);
        }
        let ready = crossterm::event::poll(Duration::ZERO)?;
        Ok(if ready { WaitOutcome::Input } else { WaitOutcome::Timeout })
    }

    #[cfg(not(unix))]
    pub fn wait_for_input(&self, time: Duration) -> std::io::Result<WaitOutcome> {
        let ready = crossterm::event::poll(time)?;
        Ok(if ready { WaitOutcome::Input } else { WaitOutcome::Timeout })
    }
}

/// Opens the device that crossterm reads keys from when standard input is not a terminal.
#[cfg(unix)]
fn open_keyboard() -> Option<std::fs::File> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    if is_terminal { None } else { std::fs::File::open("/dev/tty").ok() }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Takes the terminal, completely or not at all.
fn take_terminal() -> std::io::Result<()> {
    let mut screen = TerminalWriter(open_terminal()?);
    // This stops a background process before anything is written.
    enable_raw_mode()?;
    {
        let mut up = lock_held();
        up.draw_thread = Some(std::thread::current().id());
        up.writer = open_terminal().ok().map(TerminalWriter);
    }
    let taken = StdioCapture::new().and_then(|capture| {
        lock_held().capture = Some(capture);
        execute!(screen, EnterAlternateScreen, EnableFocusChange)?;
        // A killed process may have left mouse capture on.
        execute!(screen, DisableMouseCapture)
    });
    taken.inspect_err(|_| restore_terminal())
}

/// Restores the terminal if the dashboard holds it; ignores errors. Later calls do nothing.
pub fn restore_terminal() {
    let _writing = lock_with_timeout(&WRITE_LOCK);
    let mut held = {
        let mut up = lock_held();
        (up.draw_thread.take(), up.writer.take(), up.capture.take())
    };
    if held.0.is_none() {
        return;
    }
    if let Some(capture) = &mut held.2 {
        capture.restore();
    }
    if let Some(TerminalWriter(out)) = &mut held.1 {
        let _ = execute!(out, DisableMouseCapture, DisableFocusChange, LeaveAlternateScreen, Show);
    }
    let _ = disable_raw_mode();
    // Dropping the capture prints the captured lines, now on the normal screen.
    drop(held);
}

/// Takes the lock, or gives up if a blocked terminal, or this thread in panic, keeps holding it.
fn lock_with_timeout(lock: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    let until = Instant::now() + WRITE_TIMEOUT;
    loop {
        match lock.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() > until => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Takes the messages of other threads' panics since the last call.
pub fn take_panics() -> Vec<String> {
    std::mem::take(&mut lock_held().panics)
}

/// Chains a panic hook before the current one, once. While the dashboard is up, a panic of its own thread
/// restores the terminal first, and messages of other threads are kept for the dashboard. Otherwise the
/// current hook runs unchanged.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if crate::files::foreign::is_guarded() || keep_panic(info) {
                return;
            }
            restore_terminal();
            previous(info);
        }));
    });
}

/// Keeps the message of another thread's panic while the dashboard is up. Returns whether it was kept.
fn keep_panic(info: &PanicHookInfo) -> bool {
    let mut up = lock_held();
    let here = std::thread::current();
    if up.draw_thread.is_none_or(|thread| thread == here.id()) {
        return false;
    }
    if up.panics.len() < MAX_PANICS {
        let name = here.name().unwrap_or("unnamed").to_owned();
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map_or(String::new(), |place| format!(" ({place})"));
        up.panics.push(format!("thread {name} panicked: {what}{place}"));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_threads_panic_is_kept_and_the_dashboard_stays_up() {
        install_panic_hook();
        lock_held().draw_thread = Some(std::thread::current().id());
        let died = std::thread::Builder::new().name("trainer".into()).spawn(|| panic!("out of cheese")).unwrap().join();
        let still_up = lock_held().draw_thread.take().is_some();
        assert!(died.is_err() && still_up);
        let panics = take_panics();
        let expected = "thread trainer panicked: out of cheese (src/";
        assert!(panics.iter().any(|text| text.starts_with(expected)), "{panics:?}");
    }
}
