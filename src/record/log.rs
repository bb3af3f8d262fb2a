//! Owns: the run's log: lines from `tracing` to `log.txt` and to whoever listens.
//! Must not know: who listens, what is logged.
//! Invariant: a line reaches the file before anybody else.

use crate::message::{Level, LogLine};
use chrono::TimeZone;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// A sink for lines; clones write to the same place.
#[derive(Clone)]
pub struct RunLog {
    file: Arc<Mutex<Destination>>,
    listener: Arc<dyn Fn(LogLine) + Send + Sync>,
}

/// Where lines go.
enum Destination {
    /// Nowhere yet: kept for the file.
    Kept(String),
    /// To the run's `log.txt`, with what it had no room for yet.
    File(File, String),
}

/// How much of what there is no room for is kept.
const LEFT: usize = 1 << 20;

impl Destination {
    /// A log that cannot be written must not end a run: it is kept until there is room. The recorder tells of a full disk.
    fn write(&mut self, text: &str) {
        match self {
            Destination::Kept(lines) => lines.push_str(text),
            Destination::File(file, left) => {
                if left.len() < LEFT {
                    left.push_str(text);
                }
                let before = file.metadata().map(|about| about.len());
                match (file.write_all(left.as_bytes()), before) {
                    (Ok(()), _) => left.clear(),
                    // No half lines: they are written whole when there is room.
                    (Err(_), Ok(before)) => drop(file.set_len(before)),
                    (Err(_), Err(_)) => {}
                }
            }
        }
    }
}

impl RunLog {
    /// A log that tells `listener`, and keeps its lines until it has a file to write to.
    pub fn new(listener: impl Fn(LogLine) + Send + Sync + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Destination::Kept(String::new())));
        Self { file: kept, listener: Arc::new(listener) }
    }

    /// From now on lines go to `file`, too; those so far at once.
    pub fn write_to(&self, file: File) {
        let mut destination = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match &mut *destination {
            Destination::Kept(lines) => std::mem::take(lines),
            Destination::File(_, left) => std::mem::take(left),
        };
        *destination = Destination::File(file, String::new());
        destination.write(&kept);
    }

    fn line(&self, line: LogLine) {
        let text = format!("{} {} {}\n", line.at.format(TIME), word(line.level), line.text);
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(&text);
        (self.listener)(line);
    }
}

/// When a line was logged, as it stands in `log.txt`; as long for every moment.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";
const TIME_LEN: usize = "2026-11-24 02:51:38.123".len();

/// A line of `log.txt`, read again; none where it is none.
pub fn read_line(line: &str) -> Option<LogLine> {
    let (time, rest) = line.split_at_checked(TIME_LEN)?;
    let at = chrono::NaiveDateTime::parse_from_str(time, TIME).ok()?;
    let at = chrono::Local.from_local_datetime(&at).earliest()?;
    let rest = rest.strip_prefix(' ')?;
    let levels = [Level::Info, Level::Warn, Level::Error];
    let (level, text) =
        levels.into_iter().find_map(|level| Some((level, rest.strip_prefix(word(level))?)))?;
    Some(LogLine { at, level, text: text.strip_prefix(' ')?.to_owned() })
}

/// A level as it stands in `log.txt`.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Info => "info ",
        Level::Warn => "warn ",
        Level::Error => "error",
    }
}

impl<S: Subscriber> Layer<S> for RunLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            // Libraries' chatter.
            _ => return,
        };
        let mut text = Text(String::new());
        event.record(&mut text);
        self.line(LogLine { at: chrono::Local::now(), level, text: text.0.replace('\n', " · ") });
    }
}

/// The message, then fields as ` name=value`.
struct Text(String);

impl Visit for Text {
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
    fn what_there_is_no_room_for_is_written_when_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let mut log =
            Destination::File(File::options().write(true).open("/dev/full").unwrap(), String::new());
        log.write("one\n");
        let Destination::File(file, left) = &mut log else { panic!() };
        assert_eq!(left, "one\n");
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
        assert_eq!(lines.try_recv().unwrap().level, Level::Info);
        let line = lines.try_recv().unwrap();
        assert_eq!((line.level, line.text.as_str()), (Level::Warn, "two · lines step=3"));
        assert!(lines.try_recv().is_err());
        let file = std::fs::read_to_string(path).unwrap();
        assert!(file.contains("info  before there was a file\n"), "{file}");
        assert!(file.ends_with("warn  two · lines step=3\n"), "{file}");
        let again = read_line(file.lines().last().unwrap()).unwrap();
        assert_eq!(
            (again.level, again.text, again.at.timestamp_millis()),
            (line.level, line.text, line.at.timestamp_millis())
        );
    }
}
