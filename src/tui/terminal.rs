//! Owns: the terminal while the dashboard is up: raw mode, the alternate screen, and their end on every way out.
//! Must not know: what is drawn, the trainer.
//! Invariant: whoever leaves (return, error, panic of the dashboard's thread) leaves a readable terminal; a panic
//! of any other thread neither takes the screen down nor writes over it.

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::io::{BufWriter, Stdout, stdout};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// Panics kept until the dashboard takes them up.
const PANICS: usize = 16;

/// What the panic hook must know of the dashboard.
struct Up {
    /// The thread that draws, while the dashboard is up.
    thread: Option<ThreadId>,
    /// What other threads said when they panicked.
    panics: Vec<String>,
}

static UP: Mutex<Up> = Mutex::new(Up { thread: None, panics: Vec::new() });

fn up() -> MutexGuard<'static, Up> {
    UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The screen, taken. Dropping it gives the screen back.
pub struct Guard {
    /// Draws on the screen.
    pub terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
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
        enable_raw_mode()?;
        up().thread = Some(std::thread::current().id());
        let opened = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, stdout()))))
            // A process that was killed has left the other screen open, with its picture on it.
            .and_then(|mut terminal| terminal.clear().map(|()| terminal));
        match opened {
            Ok(terminal) => Ok(Self {
                terminal,
                #[cfg(unix)]
                keyboard: keyboard(),
            }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Guard {
    pub fn mouse(&mut self, _on: bool) -> std::io::Result<()> {
        Ok(())
    }

    pub fn suspend(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Gives back what can be given back of a terminal that is gone. Ratatui's own end would write to standard error, and
    /// panic where that is gone, too.
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

/// Gives the screen back, once, if it is taken. Nothing can be done about errors on the way out.
pub fn give_back() {
    if up().thread.take().is_some() {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
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
