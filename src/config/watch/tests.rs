//! Owns: every way in which editors and others save a file, on a real file system.
//! Must not know: how a save is noticed.
//! Invariant: none beyond the tests' own.

use super::*;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use tempfile::TempDir;

const REST: Duration = Duration::from_millis(100);
/// Enough even if the machine is busy with other things.
const LONG: Duration = Duration::from_secs(10);
const POLL: Timing = Timing { debounce: REST, poll: Duration::from_millis(50), gather: None };
/// So slow a poll that only events can be in time.
const GATHER: Option<Duration> = Some(Duration::from_millis(10));
const EVENTS: Timing = Timing { debounce: REST, poll: Duration::from_secs(600), gather: GATHER };

/// Does `test` with events and by polling alone, side by side.
fn both(test: impl Fn(Timing) + Sync) {
    std::thread::scope(|scope| {
        for timing in [EVENTS, POLL] {
            let test = &test;
            scope.spawn(move || test(timing));
        }
    });
}

struct Bench {
    dir: TempDir,
    file: PathBuf,
    watcher: Watcher,
}

impl Bench {
    fn new(timing: Timing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.toml");
        fs::write(&file, "a = 1\n").unwrap();
        let watcher = Watcher::start(vec![file.clone()], vec!["a = 1\n".into()], timing);
        Self { dir, file, watcher }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    /// The next report, waited for.
    fn next(&self) -> Result<String, ErrorKind> {
        next(&self.watcher)
    }

    fn nothing(&self) {
        nothing(&self.watcher);
    }

    /// Waits until the thread has seen the file as it is.
    fn settle(&self) {
        let until = Instant::now() + LONG;
        let seen = |file: &WatchedContent| file.stamp == Some(stamp(&self.file));
        while !seen(&self.watcher.shared.lock().files[0]) {
            assert!(Instant::now() < until, "it was not looked at");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn next(watcher: &Watcher) -> Result<String, ErrorKind> {
    let until = Instant::now() + LONG;
    loop {
        let mut saved = watcher.drain_saved();
        assert!(saved.len() <= 1, "{saved:?}");
        if let Some(saved) = saved.pop() {
            assert!(saved.at <= SystemTime::now());
            return saved.text.map_err(|error| error.kind());
        }
        assert!(Instant::now() < until, "nothing was reported");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn nothing(watcher: &Watcher) {
    std::thread::sleep(REST * 5);
    let saved = watcher.drain_saved();
    assert!(saved.is_empty(), "{saved:?}");
}

fn text(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Saves `text` into `file` in some way.
type Way = fn(&Path, &str);

const WAYS: [(&str, Way); 8] = [
    ("in place", |file, text| fs::write(file, text).unwrap()),
    ("emptied, then written", |file, text| {
        fs::write(file, "").unwrap();
        pause();
        fs::write(file, text).unwrap();
    }),
    ("in two halves", |file, text| {
        let mut out = fs::File::create(file).unwrap();
        let (one, two) = text.split_at(text.len() / 2);
        out.write_all(one.as_bytes()).unwrap();
        pause();
        out.write_all(two.as_bytes()).unwrap();
    }),
    ("another renamed over it (VS Code, our own)", |file, text| {
        let other = file.with_file_name(".x.toml.tmp");
        let mut out = fs::File::create(&other).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.sync_all().unwrap();
        fs::rename(&other, file).unwrap();
    }),
    ("renamed to a backup, then written anew (vim)", |file, text| {
        let backup = file.with_file_name("x.toml~");
        fs::rename(file, &backup).unwrap();
        pause();
        fs::write(file, text).unwrap();
        fs::remove_file(&backup).unwrap();
    }),
    ("removed, then written anew", |file, text| {
        fs::remove_file(file).unwrap();
        pause();
        fs::write(file, text).unwrap();
    }),
    ("moved from another folder (mv)", |file, text| {
        let folder = file.with_file_name("elsewhere");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("y.toml"), text).unwrap();
        fs::rename(folder.join("y.toml"), file).unwrap();
    }),
    ("another of the same size and time put in its place", |file, text| {
        let other = file.with_file_name("y.toml");
        let at = fs::metadata(file).unwrap().modified().unwrap();
        let mut out = fs::File::create(&other).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.set_modified(at).unwrap();
        fs::rename(&other, file).unwrap();
    }),
];

fn every_way_is_noticed_once(timing: Timing) {
    std::thread::scope(|scope| {
        for (name, save) in WAYS {
            scope.spawn(move || {
                let bench = Bench::new(timing);
                for new in ["a = 2\n", "a = 3\n", "a = 4\nb = 5\n"] {
                    save(&bench.file, new);
                    assert_eq!(bench.next(), text(new), "{name}");
                }
                bench.nothing();
            });
        }
    });
}

#[test]
fn every_way_of_saving_gives_an_event() {
    every_way_is_noticed_once(EVENTS);
}

#[test]
fn every_way_of_saving_is_noticed_without_events() {
    every_way_is_noticed_once(POLL);
}

/// As programs do it themselves, where they are.
#[cfg(unix)]
#[test]
fn sed_and_mv_are_noticed() {
    let bench = Bench::new(EVENTS);
    let run = |command: &str| {
        let status = std::process::Command::new("sh").args(["-c", command]).current_dir(&bench.dir).status();
        status.is_ok_and(|status| status.success())
    };
    if run("sed -i s/1/7/ x.toml") {
        assert_eq!(bench.next(), text("a = 7\n"));
    }
    if run("echo 'a = 8' > y.toml && mv -f y.toml x.toml") {
        assert_eq!(bench.next(), text("a = 8\n"));
    }
    if run("cp -p x.toml x.bak && echo 'a = 9' >> x.toml") {
        assert_eq!(bench.next(), text("a = 8\na = 9\n"));
    }
    if run("mv x.bak x.toml") {
        assert_eq!(bench.next(), text("a = 8\n"));
    }
}

/// A Kubernetes config map: `x.toml -> ..data/x.toml`, `..data -> ..1/`, and `..data` is swapped.
#[cfg(unix)]
#[test]
fn a_swapped_link_is_noticed() {
    use std::os::unix::fs::symlink;
    both(|timing| {
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
            assert_eq!(next(&watcher), text(&format!("a = {version}\n")));
        }
        // And the file that the link leads to now is followed.
        fs::write(at("..4/x.toml"), "a = 9\n").unwrap();
        assert_eq!(next(&watcher), text("a = 9\n"));
    });
}

/// A link whose target lies elsewhere, and is replaced there.
#[cfg(unix)]
#[test]
fn the_target_of_a_link_is_followed() {
    let bench = Bench::new(EVENTS);
    let link = tempfile::tempdir().unwrap();
    let path = link.path().join("link.toml");
    std::os::unix::fs::symlink(&bench.file, &path).unwrap();
    let watcher = Watcher::start(vec![path], vec!["a = 1\n".into()], EVENTS);
    // Written there, and replaced there.
    for (name, save) in [WAYS[0], WAYS[3], WAYS[0], WAYS[4]] {
        save(&bench.file, name);
        assert_eq!(next(&watcher), text(name));
    }
}

#[test]
fn two_files_and_a_path_from_here_are_followed() {
    let bench = Bench::new(EVENTS);
    fs::write(bench.at("y.toml"), "").unwrap();
    let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "../").collect::<String>();
    let here = |file: &Path| Path::new(&up).join(file.strip_prefix("/").unwrap_or(file));
    let files = vec![here(&bench.file), here(&bench.at("y.toml"))];
    let watcher = Watcher::start(files, vec!["a = 1\n".into()], EVENTS);
    fs::write(bench.at("y.toml"), "b = 1\n").unwrap();
    let until = Instant::now() + LONG;
    let saved = loop {
        let saved = watcher.drain_saved();
        if !saved.is_empty() || Instant::now() > until {
            break saved;
        }
        pause();
    };
    assert_eq!((saved.len(), saved[0].file), (1, 1));
    watcher.note_own_write(7, "no such file");
}

#[test]
fn the_same_content_is_no_news() {
    both(|timing| {
        let bench = Bench::new(timing);
        for (_, save) in WAYS {
            save(&bench.file, "a = 1\n");
        }
        fs::write(bench.at("other"), "x").unwrap();
        bench.nothing();
        bench.write("a = 2\n");
        bench.write("a = 1\n");
        bench.nothing();
    });
}

#[test]
fn our_own_writing_is_no_news() {
    both(|timing| {
        let bench = Bench::new(timing);
        bench.settle();
        bench.watcher.note_own_write(0, "a = 5\n");
        // Writing takes its time: what was there before is no news meanwhile.
        std::thread::sleep(REST * 2);
        bench.write("a = 5\n");
        bench.settle();
        // Written first, said afterwards.
        bench.write("a = 6\n");
        bench.watcher.note_own_write(0, "a = 6\n");
        // Twice at once.
        bench.watcher.note_own_write(0, "a = 7\n");
        bench.write("a = 7\n");
        bench.watcher.note_own_write(0, "a = 8\n");
        bench.write("a = 8\n");
        bench.nothing();
        // A person's save lies between.
        bench.write("a = 9\n");
        assert_eq!(bench.next(), text("a = 9\n"));
        bench.watcher.note_own_write(0, "a = 8\n");
        bench.write("a = 8\n");
        bench.nothing();
    });
}

#[test]
fn what_a_person_sets_back_is_news() {
    both(|timing| {
        let bench = Bench::new(timing);
        bench.settle();
        bench.watcher.note_own_write(0, "a = 5\n");
        bench.write("a = 5\n");
        // At once, before ours was seen: an editor that had the old text open.
        bench.write("a = 1\n");
        assert_eq!(bench.next(), text("a = 1\n"));
        // We meant to write, and could not; then somebody else saves what we meant.
        bench.watcher.note_own_write(0, "a = 6\n");
        bench.nothing();
        bench.write("a = 7\n");
        assert_eq!(bench.next(), text("a = 7\n"));
    });
}

#[test]
fn a_save_that_had_not_come_to_rest_is_not_lost_to_our_own() {
    let bench = Bench::new(Timing { debounce: REST * 5, gather: GATHER, ..POLL });
    bench.settle();
    bench.write("a = 2\n");
    bench.settle();
    // Meant, and never written.
    bench.watcher.note_own_write(0, "a = 5\n");
    assert_eq!(bench.next(), text("a = 2\n"));
}

#[test]
fn a_look_reports_at_once_and_only_once() {
    let bench = Bench::new(Timing { debounce: Duration::from_secs(600), gather: GATHER, ..POLL });
    for content in [&b"a = 2\n"[..], b"\xff", b"a = 3\n"] {
        fs::write(&bench.file, content).unwrap();
        let saved = bench.watcher.read_now();
        assert_eq!(saved.len(), 1);
        assert_eq!(saved[0].text.as_ref().ok().map(String::as_bytes), Some(content).filter(|text| text.is_ascii()));
        assert!(bench.watcher.read_now().is_empty());
    }
    bench.write("");
    assert!(bench.watcher.read_now().is_empty(), "it may be being written");
    fs::remove_file(&bench.file).unwrap();
    assert!(bench.watcher.read_now().is_empty(), "it may be being replaced");
    bench.nothing();
}

#[test]
fn what_a_look_leaves_to_the_thread_is_reported_by_it() {
    let bench = Bench::new(Timing { gather: None, ..EVENTS });
    bench.settle();
    bench.write("");
    assert!(bench.watcher.read_now().is_empty());
    assert_eq!(bench.next(), text(""));
}

#[test]
fn what_is_gone_empty_or_no_text_is_said_when_it_stays_so() {
    both(|timing| {
        let bench = Bench::new(timing);
        fs::remove_file(&bench.file).unwrap();
        assert_eq!(bench.next(), Err(ErrorKind::NotFound));
        // There again, as it was.
        bench.write("a = 1\n");
        assert_eq!(bench.next(), text("a = 1\n"));
        fs::write(&bench.file, b"a = \xff\n").unwrap();
        assert_eq!(bench.next(), Err(ErrorKind::InvalidData));
        bench.write("");
        assert_eq!(bench.next(), text(""));
        fs::write(&bench.file, vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(bench.next(), Err(ErrorKind::InvalidData));
        fs::remove_file(&bench.file).unwrap();
        fs::create_dir(&bench.file).unwrap();
        assert_eq!(bench.next(), Err(ErrorKind::InvalidData), "it is a folder");
    });
}

/// To open a pipe would hang.
#[cfg(unix)]
#[test]
fn a_pipe_is_not_read() {
    let bench = Bench::new(EVENTS);
    fs::remove_file(&bench.file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&bench.file).status();
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(bench.next(), Err(ErrorKind::InvalidData));
    }
}

#[test]
fn a_folder_that_is_made_anew_is_watched_again() {
    let mixed = Timing { poll: Duration::from_millis(200), debounce: REST / 2, gather: GATHER };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("folder/x.toml");
    // Not there yet.
    let watcher = Watcher::start(vec![file.clone()], vec!["a = 0\n".into()], mixed);
    assert_eq!(next(&watcher), Err(ErrorKind::NotFound));
    for round in 1..3 {
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(&file, format!("a = {round}\n")).unwrap();
        assert_eq!(next(&watcher), text(&format!("a = {round}\n")));
        fs::remove_dir_all(dir.path().join("folder")).unwrap();
        assert_eq!(next(&watcher), Err(ErrorKind::NotFound));
    }
}

/// Reading is an event, too, and must not lead to the next.
#[cfg(target_os = "linux")]
#[test]
fn without_a_change_events_cause_no_read() {
    use notify_debouncer_mini::notify::event::{AccessKind, EventKind};
    use notify_debouncer_mini::notify::{Event, Result, Watcher as _, recommended_watcher};
    let bench = Bench::new(EVENTS);
    bench.settle();
    std::thread::sleep(REST);
    let (send, opened) = std::sync::mpsc::channel();
    let mut own = recommended_watcher(move |event: Result<Event>| {
        let event = event.unwrap();
        if matches!(event.kind, EventKind::Access(AccessKind::Open(_)))
            && event.paths.iter().any(|path| path.ends_with("x.toml"))
        {
            send.send(()).unwrap();
        }
    })
    .unwrap();
    own.watch(bench.dir.path(), RecursiveMode::NonRecursive).unwrap();
    for _ in 0..50 {
        fs::write(bench.at("other"), "x").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(opened.try_iter().count(), 0);
    for _ in 0..3 {
        fs::read(&bench.file).unwrap();
        std::thread::sleep(REST);
    }
    assert_eq!(opened.try_iter().count(), 3, "only those of the test itself");
    bench.write("a = 2\n");
    assert_eq!(bench.next(), text("a = 2\n"));
    std::thread::sleep(REST * 3);
    let reads = opened.try_iter().count();
    assert!((1..=6).contains(&reads), "{reads}");
}

#[test]
fn it_ends_at_once_with_its_owner() {
    both(|timing| {
        let bench = Bench::new(timing);
        bench.settle();
        let began = Instant::now();
        drop(bench.watcher);
        assert!(began.elapsed() < Duration::from_millis(500));
    });
}

#[test]
fn when_it_was_saved_is_said() {
    let bench = Bench::new(Timing { gather: GATHER, ..POLL });
    for (hours, wanted) in [(-1, true), (1, false)] {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let at = if hours < 0 { now - hour } else { now + hour };
        let other = bench.at("y");
        fs::write(&other, format!("a = {hours}\n")).unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(at).unwrap();
        fs::rename(&other, &bench.file).unwrap();
        let saved = std::iter::repeat_with(|| {
            pause();
            bench.watcher.drain_saved()
        })
        .find(|saved| !saved.is_empty());
        let said = saved.unwrap()[0].at;
        assert_eq!(said.duration_since(at).is_ok_and(|apart| apart < Duration::from_secs(1)), wanted);
        assert!(said <= SystemTime::now());
    }
}
