//! Tests the watcher on a real file system, with every method by which editors and other programs save a file.

use super::*;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use tempfile::TempDir;

const DEBOUNCE: Duration = Duration::from_millis(100);
/// Longest wait, with room for a machine under load.
const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Timing = Timing { debounce: DEBOUNCE, poll: Duration::from_millis(50), gather: None };
const GATHER: Option<Duration> = Some(Duration::from_millis(10));
/// Polls so slowly that only events can report a save in time.
const EVENTS: Timing = Timing { debounce: DEBOUNCE, poll: Duration::from_secs(600), gather: GATHER };

/// Runs `test` with events and with polling alone, in parallel.
fn with_events_and_polling(test: impl Fn(Timing) + Sync) {
    std::thread::scope(|scope| {
        for timing in [EVENTS, POLL] {
            let test = &test;
            scope.spawn(move || test(timing));
        }
    });
}

struct WatchFixture {
    dir: TempDir,
    file: PathBuf,
    watcher: Watcher,
}

impl WatchFixture {
    fn new(timing: Timing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.toml");
        fs::write(&file, "a = 1\n").unwrap();
        let watcher = Watcher::start(vec![file.clone()], vec!["a = 1\n".into()], timing);
        Self { dir, file, watcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    /// Waits for the next report, and returns its text or its kind of error.
    fn next_report(&self) -> Result<String, ErrorKind> {
        next_report(&self.watcher)
    }

    fn assert_no_report(&self) {
        assert_no_report(&self.watcher);
    }

    /// Waits until the thread has read the file in its current state.
    fn wait_until_read(&self) {
        let deadline = Instant::now() + DEADLINE;
        let seen = |file: &WatchedContent| file.stamp == Some(stamp(&self.file));
        while !seen(&self.watcher.shared.lock().files[0]) {
            assert!(Instant::now() < deadline, "the thread did not read the file");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn next_report(watcher: &Watcher) -> Result<String, ErrorKind> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut saved = watcher.drain_saved();
        assert!(saved.len() <= 1, "{saved:?}");
        if let Some(saved) = saved.pop() {
            assert!(saved.at <= SystemTime::now());
            return saved.text.map_err(|error| error.kind());
        }
        assert!(Instant::now() < deadline, "nothing was reported");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_no_report(watcher: &Watcher) {
    std::thread::sleep(DEBOUNCE * 5);
    let saved = watcher.drain_saved();
    assert!(saved.is_empty(), "{saved:?}");
}

fn saved_text(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

fn wait_briefly() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Saves a text to a file.
type SaveMethod = fn(&Path, &str);

const SAVE_METHODS: [(&str, SaveMethod); 8] = [
    ("in place", |file, text| fs::write(file, text).unwrap()),
    ("emptied, then written", |file, text| {
        fs::write(file, "").unwrap();
        wait_briefly();
        fs::write(file, text).unwrap();
    }),
    ("in two halves", |file, text| {
        let mut out = fs::File::create(file).unwrap();
        let (one, two) = text.split_at(text.len() / 2);
        out.write_all(one.as_bytes()).unwrap();
        wait_briefly();
        out.write_all(two.as_bytes()).unwrap();
    }),
    ("another renamed over it (VS Code, our own)", |file, text| {
        let other = file.with_file_name(".x.toml.tmp");
        let mut out = fs::File::create(&other).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.sync_all().unwrap();
        fs::rename(&other, file).unwrap();
    }),
    ("renamed to a backup, then written again (vim)", |file, text| {
        let backup = file.with_file_name("x.toml~");
        fs::rename(file, &backup).unwrap();
        wait_briefly();
        fs::write(file, text).unwrap();
        fs::remove_file(&backup).unwrap();
    }),
    ("removed, then written again", |file, text| {
        fs::remove_file(file).unwrap();
        wait_briefly();
        fs::write(file, text).unwrap();
    }),
    ("moved from another folder (mv)", |file, text| {
        let folder = file.with_file_name("elsewhere");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("y.toml"), text).unwrap();
        fs::rename(folder.join("y.toml"), file).unwrap();
    }),
    ("replaced by a file of the same size and time", |file, text| {
        let other = file.with_file_name("y.toml");
        let at = fs::metadata(file).unwrap().modified().unwrap();
        let mut out = fs::File::create(&other).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.set_modified(at).unwrap();
        fs::rename(&other, file).unwrap();
    }),
];

fn assert_every_save_is_reported_once(timing: Timing) {
    std::thread::scope(|scope| {
        for (name, save) in SAVE_METHODS {
            scope.spawn(move || {
                let fixture = WatchFixture::new(timing);
                for new in ["a = 2\n", "a = 3\n", "a = 4\nb = 5\n"] {
                    save(&fixture.file, new);
                    assert_eq!(fixture.next_report(), saved_text(new), "{name}");
                }
                fixture.assert_no_report();
            });
        }
    });
}

#[test]
fn every_save_method_is_reported_by_events() {
    assert_every_save_is_reported_once(EVENTS);
}

#[test]
fn every_save_method_is_reported_by_polling() {
    assert_every_save_is_reported_once(POLL);
}

/// Saves with real programs, if they are installed.
#[cfg(unix)]
#[test]
fn sed_and_mv_are_reported() {
    let fixture = WatchFixture::new(EVENTS);
    let run = |command: &str| {
        let status = std::process::Command::new("sh").args(["-c", command]).current_dir(&fixture.dir).status();
        status.is_ok_and(|status| status.success())
    };
    if run("sed -i s/1/7/ x.toml") {
        assert_eq!(fixture.next_report(), saved_text("a = 7\n"));
    }
    if run("echo 'a = 8' > y.toml && mv -f y.toml x.toml") {
        assert_eq!(fixture.next_report(), saved_text("a = 8\n"));
    }
    if run("cp -p x.toml x.bak && echo 'a = 9' >> x.toml") {
        assert_eq!(fixture.next_report(), saved_text("a = 8\na = 9\n"));
    }
    if run("mv x.bak x.toml") {
        assert_eq!(fixture.next_report(), saved_text("a = 8\n"));
    }
}

/// A Kubernetes config map: `x.toml -> ..data/x.toml`, `..data -> ..1/`, and `..data` is swapped.
#[cfg(unix)]
#[test]
fn a_swapped_symlink_is_reported() {
    use std::os::unix::fs::symlink;
    with_events_and_polling(|timing| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in 1..5 {
            fs::create_dir(at(&format!("..{version}"))).unwrap();
            fs::write(at(&format!("..{version}/x.toml")), format!("a = {version}\n")).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/x.toml", at("x.toml")).unwrap();
        let watcher = Watcher::start(vec![at("x.toml")], vec!["a = 1\n".into()], timing);
        for version in 2..5 {
            symlink(format!("..{version}"), at("..tmp")).unwrap();
            fs::rename(at("..tmp"), at("..data")).unwrap();
            fs::remove_dir_all(at(&format!("..{}", version - 1))).unwrap();
            assert_eq!(next_report(&watcher), saved_text(&format!("a = {version}\n")));
        }
        // The new target of the link is watched, too.
        fs::write(at("..4/x.toml"), "a = 9\n").unwrap();
        assert_eq!(next_report(&watcher), saved_text("a = 9\n"));
    });
}

/// The link's target is in another folder, and is written and replaced there.
#[cfg(unix)]
#[test]
fn the_target_of_a_symlink_is_watched() {
    let fixture = WatchFixture::new(EVENTS);
    let link = tempfile::tempdir().unwrap();
    let path = link.path().join("link.toml");
    std::os::unix::fs::symlink(&fixture.file, &path).unwrap();
    let watcher = Watcher::start(vec![path], vec!["a = 1\n".into()], EVENTS);
    for (name, save) in [SAVE_METHODS[0], SAVE_METHODS[3], SAVE_METHODS[0], SAVE_METHODS[4]] {
        save(&fixture.file, name);
        assert_eq!(next_report(&watcher), saved_text(name));
    }
}

#[test]
fn two_files_with_relative_paths_are_watched() {
    let fixture = WatchFixture::new(EVENTS);
    fs::write(fixture.path("y.toml"), "").unwrap();
    let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "../").collect::<String>();
    let here = |file: &Path| Path::new(&up).join(file.strip_prefix("/").unwrap_or(file));
    let files = vec![here(&fixture.file), here(&fixture.path("y.toml"))];
    let watcher = Watcher::start(files, vec!["a = 1\n".into()], EVENTS);
    fs::write(fixture.path("y.toml"), "b = 1\n").unwrap();
    let deadline = Instant::now() + DEADLINE;
    let saved = loop {
        let saved = watcher.drain_saved();
        if !saved.is_empty() || Instant::now() > deadline {
            break saved;
        }
        wait_briefly();
    };
    assert_eq!((saved.len(), saved[0].file), (1, 1));
    watcher.note_own_write(7, "no such file");
}

#[test]
fn the_same_content_is_not_reported() {
    with_events_and_polling(|timing| {
        let fixture = WatchFixture::new(timing);
        for (_, save) in SAVE_METHODS {
            save(&fixture.file, "a = 1\n");
        }
        fs::write(fixture.path("other"), "x").unwrap();
        fixture.assert_no_report();
        fixture.write("a = 2\n");
        fixture.write("a = 1\n");
        fixture.assert_no_report();
    });
}

#[test]
fn our_own_writes_are_not_reported() {
    with_events_and_polling(|timing| {
        let fixture = WatchFixture::new(timing);
        fixture.wait_until_read();
        fixture.watcher.note_own_write(0, "a = 5\n");
        // A write takes time. Until then, the old text is not reported.
        std::thread::sleep(DEBOUNCE * 2);
        fixture.write("a = 5\n");
        fixture.wait_until_read();
        // The write comes first, and its note after it.
        fixture.write("a = 6\n");
        fixture.watcher.note_own_write(0, "a = 6\n");
        // Two writes in a row.
        fixture.watcher.note_own_write(0, "a = 7\n");
        fixture.write("a = 7\n");
        fixture.watcher.note_own_write(0, "a = 8\n");
        fixture.write("a = 8\n");
        fixture.assert_no_report();
        // A person saves between two of our writes.
        fixture.write("a = 9\n");
        assert_eq!(fixture.next_report(), saved_text("a = 9\n"));
        fixture.watcher.note_own_write(0, "a = 8\n");
        fixture.write("a = 8\n");
        fixture.assert_no_report();
    });
}

#[test]
fn a_save_that_restores_the_old_text_is_reported() {
    with_events_and_polling(|timing| {
        let fixture = WatchFixture::new(timing);
        fixture.wait_until_read();
        fixture.watcher.note_own_write(0, "a = 5\n");
        fixture.write("a = 5\n");
        // An editor that has the old text open saves it before our write is read.
        fixture.write("a = 1\n");
        assert_eq!(fixture.next_report(), saved_text("a = 1\n"));
        // Our write was noted and failed. The save after it is reported.
        fixture.watcher.note_own_write(0, "a = 6\n");
        fixture.assert_no_report();
        fixture.write("a = 7\n");
        assert_eq!(fixture.next_report(), saved_text("a = 7\n"));
    });
}

#[test]
fn a_save_within_the_debounce_time_is_not_lost_to_our_own_write() {
    let fixture = WatchFixture::new(Timing { debounce: DEBOUNCE * 5, gather: GATHER, ..POLL });
    fixture.wait_until_read();
    fixture.write("a = 2\n");
    fixture.wait_until_read();
    // Noted, and never written.
    fixture.watcher.note_own_write(0, "a = 5\n");
    assert_eq!(fixture.next_report(), saved_text("a = 2\n"));
}

#[test]
fn read_now_reports_at_once_and_only_once() {
    let fixture = WatchFixture::new(Timing { debounce: Duration::from_secs(600), gather: GATHER, ..POLL });
    for content in [&b"a = 2\n"[..], b"\xff", b"a = 3\n"] {
        fs::write(&fixture.file, content).unwrap();
        let saved = fixture.watcher.read_now();
        assert_eq!(saved.len(), 1);
        assert_eq!(saved[0].text.as_ref().ok().map(String::as_bytes), Some(content).filter(|text| text.is_ascii()));
        assert!(fixture.watcher.read_now().is_empty());
    }
    fixture.write("");
    assert!(fixture.watcher.read_now().is_empty(), "an empty file may be in the middle of a write");
    fs::remove_file(&fixture.file).unwrap();
    assert!(fixture.watcher.read_now().is_empty(), "a missing file may be in the middle of a replacement");
    fixture.assert_no_report();
}

#[test]
fn the_thread_reports_what_read_now_skips() {
    let fixture = WatchFixture::new(Timing { gather: None, ..EVENTS });
    fixture.wait_until_read();
    fixture.write("");
    assert!(fixture.watcher.read_now().is_empty());
    assert_eq!(fixture.next_report(), saved_text(""));
}

#[test]
fn a_missing_empty_or_unreadable_file_is_reported_if_it_stays_so() {
    with_events_and_polling(|timing| {
        let fixture = WatchFixture::new(timing);
        fs::remove_file(&fixture.file).unwrap();
        assert_eq!(fixture.next_report(), Err(ErrorKind::NotFound));
        // The file is there again, with its old text.
        fixture.write("a = 1\n");
        assert_eq!(fixture.next_report(), saved_text("a = 1\n"));
        fs::write(&fixture.file, b"a = \xff\n").unwrap();
        assert_eq!(fixture.next_report(), Err(ErrorKind::InvalidData));
        fixture.write("");
        assert_eq!(fixture.next_report(), saved_text(""));
        fs::write(&fixture.file, vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(fixture.next_report(), Err(ErrorKind::InvalidData));
        fs::remove_file(&fixture.file).unwrap();
        fs::create_dir(&fixture.file).unwrap();
        assert_eq!(fixture.next_report(), Err(ErrorKind::InvalidData), "it is a folder");
    });
}

/// Opening a pipe would block.
#[cfg(unix)]
#[test]
fn a_pipe_is_not_read() {
    let fixture = WatchFixture::new(EVENTS);
    fs::remove_file(&fixture.file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&fixture.file).status();
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(fixture.next_report(), Err(ErrorKind::InvalidData));
    }
}

#[test]
fn a_recreated_folder_is_watched_again() {
    let mixed = Timing { poll: Duration::from_millis(200), debounce: DEBOUNCE / 2, gather: GATHER };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("folder/x.toml");
    // The folder does not exist yet.
    let watcher = Watcher::start(vec![file.clone()], vec!["a = 0\n".into()], mixed);
    assert_eq!(next_report(&watcher), Err(ErrorKind::NotFound));
    for round in 1..3 {
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(&file, format!("a = {round}\n")).unwrap();
        assert_eq!(next_report(&watcher), saved_text(&format!("a = {round}\n")));
        fs::remove_dir_all(dir.path().join("folder")).unwrap();
        assert_eq!(next_report(&watcher), Err(ErrorKind::NotFound));
    }
}

/// A read causes an event, too. It must not cause another read.
#[cfg(target_os = "linux")]
#[test]
fn events_without_a_change_cause_no_read() {
    use notify_debouncer_mini::notify::event::{AccessKind, EventKind};
    use notify_debouncer_mini::notify::{Event, Result, Watcher as _, recommended_watcher};
    let fixture = WatchFixture::new(EVENTS);
    fixture.wait_until_read();
    std::thread::sleep(DEBOUNCE);
    let (send, opened) = std::sync::mpsc::channel();
    let mut observer = recommended_watcher(move |event: Result<Event>| {
        let event = event.unwrap();
        if matches!(event.kind, EventKind::Access(AccessKind::Open(_)))
            && event.paths.iter().any(|path| path.ends_with("x.toml"))
        {
            send.send(()).unwrap();
        }
    })
    .unwrap();
    observer.watch(fixture.dir.path(), RecursiveMode::NonRecursive).unwrap();
    for _ in 0..50 {
        fs::write(fixture.path("other"), "x").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(opened.try_iter().count(), 0);
    for _ in 0..3 {
        fs::read(&fixture.file).unwrap();
        std::thread::sleep(DEBOUNCE);
    }
    assert_eq!(opened.try_iter().count(), 3, "only the reads of the test itself");
    fixture.write("a = 2\n");
    assert_eq!(fixture.next_report(), saved_text("a = 2\n"));
    std::thread::sleep(DEBOUNCE * 3);
    let reads = opened.try_iter().count();
    assert!((1..=6).contains(&reads), "{reads}");
}

#[test]
fn dropping_the_watcher_ends_its_thread_at_once() {
    with_events_and_polling(|timing| {
        let fixture = WatchFixture::new(timing);
        fixture.wait_until_read();
        let began = Instant::now();
        drop(fixture.watcher);
        assert!(began.elapsed() < Duration::from_millis(500));
    });
}

#[test]
fn the_report_has_the_time_of_the_save() {
    let fixture = WatchFixture::new(Timing { gather: GATHER, ..POLL });
    for (hours, expected) in [(-1, true), (1, false)] {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let at = if hours < 0 { now - hour } else { now + hour };
        let other = fixture.path("y");
        fs::write(&other, format!("a = {hours}\n")).unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(at).unwrap();
        fs::rename(&other, &fixture.file).unwrap();
        let saved = std::iter::repeat_with(|| {
            wait_briefly();
            fixture.watcher.drain_saved()
        })
        .find(|saved| !saved.is_empty());
        let saved_at = saved.unwrap()[0].at;
        assert_eq!(saved_at.duration_since(at).is_ok_and(|apart| apart < Duration::from_secs(1)), expected);
        assert!(saved_at <= SystemTime::now());
    }
}
