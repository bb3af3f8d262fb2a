//! Runs the real binary in a pseudo-terminal, sends it keys and reads its screen.
//!
//! ```text
//! let screen = Screen::start(dir.path(), &["run", "--config", "tiny.toml"], (100, 30));
//! screen.wait_for_text("training");
//! screen.send_keys(":set optim.lr 1e-3\r");
//! screen.resize(60, 16);
//! screen.wait_for("the small layout", |text| text.contains("step"));
//! screen.wait_until("a cursor", |screen| !screen.hide_cursor());
//! ```
//!
//! The terminal answers no queries. Every wait has the same generous deadline. If it passes, the test fails and prints
//! the whole screen.

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait, with room for a machine under load.
const DEADLINE: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_coconut-lab");

/// Keys that are not printable characters.
pub const CTRL_C: &str = "\x03";
pub const CTRL_Z: &str = "\x1a";
pub const ENTER: &str = "\r";
pub const ESC: &str = "\x1b";
pub const UP: &str = "\x1b[A";
pub const DOWN: &str = "\x1b[B";

/// A pseudo-terminal and its process. Dropping it kills all processes in the terminal.
pub struct Screen {
    child: Child,
    terminal: File,
    parser: Arc<Mutex<vt100::Parser>>,
    reader: JoinHandle<()>,
}

impl Screen {
    /// Starts the binary in a terminal of `size` columns and rows.
    pub fn start(dir: &Path, args: &[&str], size: (u16, u16)) -> Self {
        Self::open(dir, &[&[BINARY], args].concat(), size)
    }

    /// Starts an interactive shell with job control and an alias `coconut-lab` for the binary. Its prompt is `shell>`.
    pub fn shell(dir: &Path, size: (u16, u16)) -> Self {
        let screen = Self::open(dir, &["bash", "--norc", "--noprofile", "-i"], size);
        // The prompt is typed in two parts, so that its echo is not mistaken for the prompt.
        screen.send_keys(&format!("alias coconut-lab='{BINARY}'; PS1='she''ll>'; clear\r"));
        screen.wait_for("the prompt", |text| text.trim() == "shell>");
        screen
    }

    fn open(dir: &Path, words: &[&str], (cols, rows): (u16, u16)) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags).expect("a pseudo-terminal");
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, winsize(cols, rows)).unwrap();
        let end = File::from(ioctl_tiocgptpeer(&terminal, flags).unwrap());
        // `setsid` makes this the controlling terminal of a new session. It does not fork, so its PID is the program's.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words).current_dir(dir);
        command.env("XDG_STATE_HOME", dir.join("state")).env("HISTFILE", "/dev/null");
        command.env("TERM", "xterm-256color").env("COLORTERM", "").env("LANG", "C.UTF-8");
        command.env_remove("LC_ALL").env_remove("NO_COLOR").env_remove("PROMPT_COMMAND");
        command.stdin(end.try_clone().unwrap()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = command.spawn().expect("`setsid` of util-linux");
        drop(command); // closes this process's copy of the program's end
        let terminal = File::from(terminal);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let (from, to) = (terminal.try_clone().unwrap(), parser.clone());
        let reader = std::thread::spawn(move || feed_parser(from, &to));
        Self { child, terminal, parser, reader }
    }

    pub fn send_keys(&self, keys: &str) {
        (&self.terminal).write_all(keys.as_bytes()).unwrap();
    }

    /// Resizes the terminal, which signals its processes.
    pub fn resize(&self, cols: u16, rows: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(rows, cols);
        tcsetwinsize(&self.terminal, winsize(cols, rows)).unwrap();
    }

    /// Returns the current screen as text, one line per row.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen contains `expected`.
    pub fn wait_for_text(&self, expected: &str) {
        self.wait_for(expected, |text| text.contains(expected));
    }

    /// Waits until `condition` returns true for the text of the screen.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) {
        self.wait_until(what, |screen| condition(&screen.contents()));
    }

    /// Waits until `condition` returns true for the terminal: its cursor, colours, main or alternate screen.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        self.wait(what, || condition(self.parser.lock().unwrap().screen()));
    }

    /// Waits until `condition` returns true. Panics with the current screen if the deadline passes.
    pub fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "timed out waiting for {what}; the screen:\n{}", self.framed_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process has ended and everything that it wrote is on the screen.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not exit; the screen:\n{}", self.framed_text());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.wait("the rest of the output", || self.reader.is_finished());
        status
    }

    /// Returns the process of the dashboard, in a shell or without one.
    pub fn lab_process(&self) -> LabProcess {
        let binary = std::fs::canonicalize(BINARY).unwrap();
        let find = || {
            let is_binary = |pid: &Pid| {
                let program = format!("/proc/{}/exe", pid.as_raw_nonzero());
                std::fs::read_link(program).is_ok_and(|program| program == binary)
            };
            self.session_pids().into_iter().find(is_binary)
        };
        self.wait("a process of the binary", || find().is_some());
        LabProcess(find().unwrap())
    }

    /// Returns all processes of the terminal's session.
    fn session_pids(&self) -> Vec<Pid> {
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let leader = self.child.id().to_string();
        let in_session = |pid: &Pid| proc_stat_fields(*pid).is_some_and(|stat| stat.get(3) == Some(&leader));
        pids.filter_map(Pid::from_raw).filter(in_session).collect()
    }

    /// Returns the screen with a frame, for a panic message.
    fn framed_text(&self) -> String {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let cols = screen.size().1;
        let rule = "-".repeat(usize::from(cols));
        let rows: Vec<String> = screen.rows(0, cols).map(|row| format!("|{row}")).collect();
        format!("{rule}\n{}\n{rule}", rows.join("\n"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A run continues without its terminal, so it must be killed.
        for pid in self.session_pids() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A process of the binary.
#[derive(Clone, Copy)]
pub struct LabProcess(Pid);

impl LabProcess {
    pub fn signal(self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// Whether the process is suspended, as by Ctrl-Z.
    pub fn is_stopped(self) -> bool {
        proc_stat_fields(self.0).is_some_and(|stat| stat[0] == "T")
    }

    /// Returns the target of one of its file descriptors.
    pub fn fd_target(self, fd: u32) -> String {
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", self.0.as_raw_nonzero())).unwrap();
        link.to_string_lossy().into_owned()
    }

    /// Writes to the target of one of its file descriptors, as a library in the process would.
    pub fn write_to_fd(self, fd: u32, text: &str) {
        let path = format!("/proc/{}/fd/{fd}", self.0.as_raw_nonzero());
        let mut open = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut open, OFlags::NOCTTY.bits().cast_signed());
        open.write(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }
}

/// Returns the fields of `/proc/PID/stat` after the name: state, parent, group, session and others.
fn proc_stat_fields(pid: Pid) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(stat.rsplit(") ").next()?.split(' ').map(str::to_owned).collect())
}

fn winsize(cols: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Feeds the terminal's output to `parser`. Reading fails once every process has closed the terminal.
fn feed_parser(mut from: File, parser: &Mutex<vt100::Parser>) {
    let mut bytes = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        parser.lock().unwrap().process(&bytes[..count]);
    }
}
