//! Owns: every way in which editors and others save a file, on a real file system.
//! Must not know: how a save is noticed.
//! Invariant: none beyond the tests' own.

use super::*;
use std::fs;

const TIMING: Timing = Timing { debounce: Duration::from_millis(30), poll: Duration::from_millis(100) };
/// So slow that only events can be in time.
const EVENTS: Timing = Timing { debounce: Duration::from_millis(30), poll: Duration::from_secs(600) };

fn start(file: &Path, timing: Timing, events: bool) -> Watcher {
    fs::write(file, "a = 1\n").unwrap();
    let watcher = Watcher::with(vec![file.to_owned()], vec!["a = 1\n".into()], timing, events);
    // The folder is watched a moment after the start.
    std::thread::sleep(Duration::from_millis(100));
    watcher
}

/// The next report, waited for.
fn next(watcher: &Watcher) -> Result<String, ErrorKind> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let mut saved = watcher.take();
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
    std::thread::sleep(Duration::from_millis(400));
    let saved = watcher.take();
    assert!(saved.is_empty(), "{saved:?}");
}

fn text(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

/// Saves `text` into `file` in some way.
type Way = fn(&Path, &str);

const WAYS: [(&str, Way); 6] = [
    ("in place", |file, text| fs::write(file, text).unwrap()),
    ("emptied, then written", |file, text| {
        fs::write(file, "").unwrap();
        std::thread::sleep(Duration::from_millis(40));
        fs::write(file, text).unwrap();
    }),
    ("another renamed over it (sed -i, VS Code, our own)", |file, text| {
        let other = file.with_file_name(".x.tmp");
        fs::write(&other, text).unwrap();
        fs::rename(&other, file).unwrap();
    }),
    ("renamed to a backup, then written anew (vim)", |file, text| {
        let backup = file.with_file_name("x.toml~");
        fs::rename(file, &backup).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(file, text).unwrap();
        fs::remove_file(&backup).unwrap();
    }),
    ("removed, then written anew", |file, text| {
        fs::remove_file(file).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(file, text).unwrap();
    }),
    ("in two halves", |file, text| {
        use std::io::Write;
        let mut out = fs::File::create(file).unwrap();
        let (one, two) = text.split_at(text.len() / 2);
        out.write_all(one.as_bytes()).unwrap();
        out.flush().unwrap();
        std::thread::sleep(Duration::from_millis(10));
        out.write_all(two.as_bytes()).unwrap();
    }),
];

#[test]
fn every_way_of_saving_is_noticed_once() {
    for (timing, events) in [(EVENTS, true), (TIMING, false)] {
        for (name, save) in WAYS {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("x.toml");
            let watcher = start(&file, timing, events);
            for new in ["a = 2\n", "a = 3\nb = 4\n"] {
                save(&file, new);
                assert_eq!(next(&watcher), text(new), "{name}, events {events}");
            }
            std::thread::sleep(Duration::from_millis(100));
            assert!(watcher.take().is_empty(), "{name}, events {events}");
        }
    }
}

/// As `sed -i` and `vim` themselves do it, where they are.
#[cfg(unix)]
#[test]
fn sed_in_place_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let watcher = start(&file, EVENTS, true);
    let sed = std::process::Command::new("sed").args(["-i", "s/1/7/"]).arg(&file).status();
    if sed.is_ok_and(|status| status.success()) {
        assert_eq!(next(&watcher), text("a = 7\n"));
    }
}

/// A Kubernetes config map: `x.toml -> ..data/x.toml`, `..data -> ..1/`, and `..data` is swapped.
#[cfg(unix)]
#[test]
fn a_swapped_link_is_noticed() {
    use std::os::unix::fs::symlink;
    for (timing, events) in [(EVENTS, true), (TIMING, false)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, content) in [("..1", "a = 1\n"), ("..2", "a = 2\n")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("x.toml"), content).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/x.toml", at("x.toml")).unwrap();
        let watcher = Watcher::with(vec![at("x.toml")], vec!["a = 1\n".into()], timing, events);
        std::thread::sleep(Duration::from_millis(100));
        symlink("..2", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        assert_eq!(next(&watcher), text("a = 2\n"));
        // And the file that the link leads to now is followed.
        fs::write(at("..2").join("x.toml"), "a = 3\n").unwrap();
        assert_eq!(next(&watcher), text("a = 3\n"));
    }
}

#[test]
fn the_same_content_and_our_own_are_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let watcher = start(&file, TIMING, true);
    fs::write(&file, "a = 1\n").unwrap();
    fs::write(dir.path().join("other"), "x").unwrap();
    nothing(&watcher);
    watcher.own(0, "a = 5\n");
    // Writing takes its time: what was there before is no news meanwhile.
    std::thread::sleep(Duration::from_millis(200));
    fs::write(&file, "a = 5\n").unwrap();
    nothing(&watcher);
    fs::write(&file, "a = 1\n").unwrap();
    assert_eq!(next(&watcher), text("a = 1\n"), "a person has set it back");
}

#[test]
fn a_look_reports_at_once_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let watcher = start(&file, Timing { debounce: Duration::from_secs(600), ..TIMING }, true);
    fs::write(&file, "a = 2\n").unwrap();
    let saved = watcher.look();
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0].text.as_ref().unwrap(), "a = 2\n");
    assert!(watcher.look().is_empty());
    fs::write(&file, "").unwrap();
    assert!(watcher.look().is_empty(), "it may be being written");
    nothing(&watcher);
}

#[test]
fn what_is_gone_or_no_text_is_said_when_it_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let watcher = start(&file, TIMING, true);
    fs::remove_file(&file).unwrap();
    assert_eq!(next(&watcher), Err(ErrorKind::NotFound));
    fs::write(&file, b"a = \xff\n").unwrap();
    assert_eq!(next(&watcher), Err(ErrorKind::InvalidData));
    fs::write(&file, vec![b' '; MOST_BYTES as usize + 1]).unwrap();
    assert_eq!(next(&watcher), Err(ErrorKind::InvalidData));
    fs::write(&file, "a = 1\n").unwrap();
    assert_eq!(next(&watcher), text("a = 1\n"));
    nothing(&watcher);
}

#[test]
fn it_ends_at_once_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let watcher = start(&dir.path().join("x.toml"), EVENTS, true);
    let began = Instant::now();
    drop(watcher);
    assert!(began.elapsed() < Duration::from_secs(5));
}
