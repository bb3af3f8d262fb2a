//! Owns: the run's log: lines from `tracing` go to `log.txt` and to a listener.
//! Must not know: who listens, what is logged.
//! Invariant: a line reaches the file before the listener.

use crate::schema::protocol::{LogLevel, LogLine};
use chrono::TimeZone;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// A `tracing` layer that writes log lines. Clones share the same destination.
#[derive(Clone)]
pub struct RunLog {
    destination: Arc<Mutex<LogDestination>>,
    listener: Arc<dyn Fn(LogLine) + Send + Sync>,
}

enum LogDestination {
    /// No file yet: lines are kept in memory.
    Buffered(String),
    /// The run's `log.txt`, and the text that a full disk has kept out of it so far.
    File(File, String),
}

/// Bytes after which text that the file could not take is no longer kept.
const MAX_UNWRITTEN: usize = 1 << 20;

impl LogDestination {
    /// Writes `text`, or keeps it until there is room: a log that cannot be written must not end a run. The
    /// recorder reports a full disk.
    fn write(&mut self, text: &str) {
        match self {
            LogDestination::Buffered(lines) => lines.push_str(text),
            LogDestination::File(file, unwritten) => {
                if unwritten.len() < MAX_UNWRITTEN {
                    unwritten.push_str(text);
                }
                let length = file.metadata().map(|metadata| metadata.len());
                match (file.write_all(unwritten.as_bytes()), length) {
                    (Ok(()), _) => unwritten.clear(),
                    // Undo an incomplete write: the lines are written again when there is room.
                    (Err(_), Ok(length)) => drop(file.set_len(length)),
                    (Err(_), Err(_)) => {}
                }
            }
        }
    }
}

impl RunLog {
    /// Creates a log that passes each line to `listener`. It keeps lines in memory until it has a file.
    pub fn new(listener: impl Fn(LogLine) + Send + Sync + 'static) -> Self {
        let kept = Arc::new(Mutex::new(LogDestination::Buffered(String::new())));
        Self { destination: kept, listener: Arc::new(listener) }
    }

    /// Writes the lines kept so far to `file`, and all later lines as they come.
    pub fn write_to(&self, file: File) {
        let mut destination = self.destination.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match &mut *destination {
            LogDestination::Buffered(lines) => std::mem::take(lines),
            LogDestination::File(_, unwritten) => std::mem::take(unwritten),
        };
        *destination = LogDestination::File(file, String::new());
        destination.write(&kept);
    }

    fn emit(&self, line: LogLine) {
        let text = format!("{} {} {}\n", line.time.format(TIME_FORMAT), level_word(line.level), line.text);
        self.destination.lock().unwrap_or_else(PoisonError::into_inner).write(&text);
        (self.listener)(line);
    }
}

/// Format of a line's time in `log.txt`. Every time has the same length.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.3f";
const TIME_LEN: usize = "2026-11-24 02:51:38.123".len();

/// Parses a line of `log.txt`. Returns `None` if it is not a log line.
pub fn parse_line(line: &str) -> Option<LogLine> {
    let (time, rest) = line.split_at_checked(TIME_LEN)?;
    let at = chrono::NaiveDateTime::parse_from_str(time, TIME_FORMAT).ok()?;
    let at = chrono::Local.from_local_datetime(&at).earliest()?;
    let rest = rest.strip_prefix(' ')?;
    let levels = [LogLevel::Info, LogLevel::Warn, LogLevel::Error];
    let (level, text) = levels.into_iter().find_map(|level| Some((level, rest.strip_prefix(level_word(level))?)))?;
    Some(LogLine { time: at, level, text: text.strip_prefix(' ')?.to_owned() })
}

/// Returns a level as `log.txt` writes it, padded to 5 characters.
pub fn level_word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info ",
        LogLevel::Warn => "warn ",
        LogLevel::Error => "error",
    }
}

impl<S: Subscriber> Layer<S> for RunLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => LogLevel::Error,
            tracing::Level::WARN => LogLevel::Warn,
            tracing::Level::INFO => LogLevel::Info,
            // Debug output of libraries.
            _ => return,
        };
        let mut text = EventText(String::new());
        event.record(&mut text);
        self.emit(LogLine { time: chrono::Local::now(), level, text: text.0.replace('\n', " · ") });
    }
}

/// Collects an event's text: the message, then fields as ` name=value`.
struct EventText(String);

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tracing_subscriber::layer::SubscriberExt;

    #[cfg(target_os = "linux")]
    #[test]
    fn text_kept_by_a_full_disk_is_written_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let mut log = LogDestination::File(File::options().write(true).open("/dev/full").unwrap(), String::new());
        log.write("one\n");
        let LogDestination::File(file, unwritten) = &mut log else { panic!() };
        assert_eq!(unwritten, "one\n");
        *file = File::create(&path).unwrap();
        log.write("two\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_line_reaches_file_and_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let (sender, lines) = mpsc::channel();
        let log = RunLog::new(move |line| sender.send(line).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            tracing::info!("before there was a file");
            log.write_to(File::create(&path).unwrap());
            tracing::warn!(step = 3, "two\nlines");
            tracing::debug!("chatter");
        });
        assert_eq!(lines.try_recv().unwrap().level, LogLevel::Info);
        let line = lines.try_recv().unwrap();
        assert_eq!((line.level, line.text.as_str()), (LogLevel::Warn, "two · lines step=3"));
        assert!(lines.try_recv().is_err());
        let file = std::fs::read_to_string(path).unwrap();
        assert!(file.contains("info  before there was a file\n"), "{file}");
        assert!(file.ends_with("warn  two · lines step=3\n"), "{file}");
        let parsed = parse_line(file.lines().last().unwrap()).unwrap();
        assert_eq!(
            (parsed.level, parsed.text, parsed.time.timestamp_millis()),
            (line.level, line.text, line.time.timestamp_millis())
        );
    }
}
