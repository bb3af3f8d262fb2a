//! Owns: the terminal while the dashboard is up: raw mode, the alternate screen, the mouse, what is printed meanwhile, and
//! their end on every way out and at every stop.
//! Must not know: what is drawn, the trainer.
//! Invariant: whoever leaves (return, error, panic of the dashboard's thread, a signal) leaves a readable terminal, and
//! nothing is drawn after; a panic of any other thread neither takes the screen down nor writes over it.

use super::prints::Caught;
use super::{Asked, stop};
use crossterm::cursor::Show;
use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use std::io::{BufWriter, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Panics kept until the dashboard takes them up.
const PANICS: usize = 16;
/// How long who leaves waits for a picture that is just being written: a terminal may have stopped to read.
const PATIENCE: Duration = Duration::from_millis(500);

/// What those must know of the dashboard who end it.
struct Up {
    /// The thread that draws, while the dashboard is up.
    thread: Option<ThreadId>,
    /// The way to its terminal.
    screen: Option<Screen>,
    /// What is printed meanwhile.
    caught: Option<Caught>,
    /// What other threads said when they panicked.
    panics: Vec<String>,
}

static UP: Mutex<Up> = Mutex::new(Up { thread: None, screen: None, caught: None, panics: Vec::new() });
/// Held by who writes to the terminal.
static WRITING: Mutex<()> = Mutex::new(());

fn up() -> MutexGuard<'static, Up> {
    UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the screen is taken.
pub fn is_up() -> bool {
    up().thread.is_some()
}

/// The terminal itself: standard output may lead elsewhere while the dashboard is up.
#[cfg(unix)]
type Out = std::fs::File;
#[cfg(not(unix))]
type Out = std::io::Stdout;

/// A way of its own to the terminal.
#[cfg(unix)]
fn out() -> std::io::Result<Out> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?.into())
}

#[cfg(not(unix))]
fn out() -> std::io::Result<Out> {
    Ok(std::io::stdout())
}

/// Writes to the terminal while it is taken. What is left of a picture after that goes nowhere.
pub struct Screen(Out);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if is_up() { self.0.write(bytes) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The screen, taken. Dropping it gives the screen back.
pub struct Guard {
    /// Draws on the screen.
    pub terminal: Terminal<CrosstermBackend<BufWriter<Screen>>>,
    /// Whether the mouse is listened to.
    mouse: bool,
    /// Where keys come from, where that is not standard input.
    #[cfg(unix)]
    keyboard: Option<std::fs::File>,
}

/// What waiting for keys came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There are keys, or the size has changed.
    Keys,
    /// There are none.
    Nothing,
    /// There is no terminal any more.
    HungUp,
}

impl Guard {
    /// Takes the screen for this thread.
    pub fn enter() -> std::io::Result<Self> {
        install_panic_hook();
        let screen = Screen(out()?);
        take(false)?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, screen)));
        let mut guard = Self {
            terminal: terminal.inspect_err(|_| give_back())?,
            mouse: false,
            #[cfg(unix)]
            keyboard: keyboard(),
        };
        // A process that was killed has left the other screen open, with its picture on it.
        guard.wipe()?;
        Ok(guard)
    }

    /// Listens to the mouse, or leaves it to the terminal.
    pub fn mouse(&mut self, on: bool) -> std::io::Result<()> {
        if self.mouse == on {
            return Ok(());
        }
        self.mouse = on;
        let writer = self.terminal.backend_mut();
        if on { execute!(writer, EnableMouseCapture) } else { execute!(writer, DisableMouseCapture) }
    }

    /// Stops the process or takes the screen anew, as it was asked to; whether all is to be drawn anew.
    pub fn obey(&mut self, asked: &Asked) -> std::io::Result<bool> {
        if asked.suspend.swap(false, Ordering::SeqCst) && stop::may() {
            self.suspend(asked)?;
            return Ok(true);
        }
        let redraw = asked.redraw.swap(false, Ordering::SeqCst);
        if redraw {
            give_back();
            self.take_again()?;
        }
        Ok(redraw)
    }

    /// Gives the screen back, stops the process group, and takes the screen again when it goes on.
    fn suspend(&mut self, asked: &Asked) -> std::io::Result<()> {
        give_back();
        stop::stop();
        // Going on has asked for what is done now.
        asked.redraw.store(false, Ordering::SeqCst);
        self.take_again()
    }

    /// Whatever modes the terminal was left in, and whatever was written on it.
    fn take_again(&mut self) -> std::io::Result<()> {
        take(self.mouse)?;
        self.wipe()
    }

    /// Clears the screen and forgets what was drawn. Ratatui's own `clear` would ask the terminal where its cursor is, over
    /// standard output, and fail where nobody answers.
    fn wipe(&mut self) -> std::io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Guard {
    /// Gives back what can be given back of a terminal that is gone. Ratatui's own end must not try to write to it.
    pub fn abandon(self) {
        give_back();
        std::mem::forget(self);
    }

    /// Waits for keys at most `time`. Crossterm would read for ever from a terminal that has hung up, and so is asked only
    /// while there is one.
    #[cfg(unix)]
    pub fn wait(&self, time: Duration) -> std::io::Result<Waited> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdin = std::io::stdin();
        let mut fds = match &self.keyboard {
            Some(keyboard) => [PollFd::new(keyboard, PollFlags::IN)],
            None => [PollFd::new(&stdin, PollFlags::IN)],
        };
        // A changed size comes by another way: it is looked for in between.
        let time = time.min(Duration::from_millis(100));
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if fds[0].revents().intersects(gone) {
            return Ok(Waited::HungUp);
        }
        let keys = crossterm::event::poll(Duration::ZERO)?;
        Ok(if keys { Waited::Keys } else { Waited::Nothing })
    }

    /// Waits for keys at most `time`.
    #[cfg(not(unix))]
    pub fn wait(&self, time: Duration) -> std::io::Result<Waited> {
        let keys = crossterm::event::poll(time)?;
        Ok(if keys { Waited::Keys } else { Waited::Nothing })
    }
}

/// Where crossterm reads keys from when standard input is no terminal.
#[cfg(unix)]
fn keyboard() -> Option<std::fs::File> {
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    if is_terminal { None } else { std::fs::File::open("/dev/tty").ok() }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Takes the terminal, whole or not at all.
fn take(mouse: bool) -> std::io::Result<()> {
    let mut screen = Screen(out()?);
    // In the background this stops the process, before anything is written.
    enable_raw_mode()?;
    {
        let mut up = up();
        up.thread = Some(std::thread::current().id());
        up.screen = out().ok().map(Screen);
    }
    let taken = Caught::new().and_then(|caught| {
        up().caught = Some(caught);
        execute!(screen, EnterAlternateScreen)?;
        // A process that was killed has left the mouse on.
        if mouse { execute!(screen, EnableMouseCapture) } else { execute!(screen, DisableMouseCapture) }
    });
    taken.inspect_err(|_| give_back())
}

/// Gives the screen back, once, if it is taken. Nothing can be done about errors on the way out.
pub fn give_back() {
    let _writing = patiently(&WRITING);
    let mut left = {
        let mut up = up();
        (up.thread.take(), up.screen.take(), up.caught.take())
    };
    if left.0.is_none() {
        return;
    }
    if let Some(caught) = &mut left.2 {
        caught.restore();
    }
    if let Some(Screen(out)) = &mut left.1 {
        let _ = execute!(out, DisableMouseCapture, LeaveAlternateScreen, Show);
    }
    let _ = disable_raw_mode();
    // And now what was printed last, on a screen that can be read.
    drop(left);
}

/// The lock, unless it is held too long: by a terminal that does not read, or by the thread itself, in panic.
fn patiently(lock: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() > until => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// What other threads have said in panic since the last call.
pub fn take_panics() -> Vec<String> {
    std::mem::take(&mut up().panics)
}

/// Chains a panic hook before the present one, once. While the dashboard is up, a panic of its own thread gives the
/// screen back first, and other threads' messages are kept for the dashboard to show; otherwise nothing changes.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if keep(info) {
                return;
            }
            give_back();
            before(info);
        }));
    });
}

/// Keeps the message if it is another thread's while the dashboard is up.
fn keep(info: &PanicHookInfo) -> bool {
    let mut up = up();
    let here = std::thread::current();
    if up.thread.is_none_or(|thread| thread == here.id()) {
        return false;
    }
    if up.panics.len() < PANICS {
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
        up().thread = Some(std::thread::current().id());
        let died = std::thread::Builder::new()
            .name("trainer".into())
            .spawn(|| panic!("out of cheese"))
            .unwrap()
            .join();
        let still_up = up().thread.take().is_some();
        assert!(died.is_err() && still_up);
        let panics = take_panics();
        let expected = "thread trainer panicked: out of cheese (src/";
        assert!(panics.iter().any(|text| text.starts_with(expected)), "{panics:?}");
    }
}
