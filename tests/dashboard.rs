//! Tests the dashboard end to end: the real binary in a pseudo-terminal gets keys and draws a screen.
#![cfg(target_os = "linux")]

mod common;

use common::screen::{CTRL_C, CTRL_Z, ESC, Lab, Screen};
use common::*;
use rustix::process::Signal;
use std::path::{Path, PathBuf};

/// Arguments of a tiny run that outlasts every test.
const ARGS: &[&str] = &["run", "--config", "tiny.toml", "--steps", "1000000"];

/// Columns and rows of a screen that is large enough for all panels.
const SIZE: (u16, u16) = (100, 30);

fn started() -> (tempfile::TempDir, Screen) {
    let dir = place(TINY);
    let screen = Screen::start(dir.path(), ARGS, SIZE);
    trains(&screen);
    (dir, screen)
}

/// Waits until the screen shows a run that makes steps.
fn trains(screen: &Screen) {
    screen.wait_for("a run that trains", |text| step(text).is_some_and(|step| step > 0) && whole(text));
}

/// Whether the frame is complete: it has the first line, and the keys in the last one.
fn whole(text: &str) -> bool {
    text.contains(" tiny ") && text.lines().last().is_some_and(|line| line.contains("help"))
}

/// Returns the step that the screen shows, in any phase of the run.
fn step(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("  step "))?;
    let number = line.split("  step ").nth(1)?.split(" / ").next()?;
    number.replace(',', "").parse().ok()
}

/// Waits until the screen shows a later step than now.
fn goes_on(screen: &Screen) {
    let now = step(&screen.text());
    screen.wait_for("more steps", |text| step(text).is_some() && step(text) > now && whole(text));
}

fn run(dir: &Path) -> PathBuf {
    runs(dir).pop().unwrap()
}

/// Waits until the terminal is restored: main screen, visible cursor, no mouse reports.
fn given_back(screen: &Screen) {
    screen.wait_until("the terminal as it was", |screen| {
        let mouse = screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None;
        !(screen.alternate_screen() || screen.hide_cursor() || mouse)
    });
}

#[test]
fn keys_steer_the_run_and_leave_a_terminal_that_can_be_read() {
    let (dir, mut screen) = started();
    screen.wait_until("a screen of its own", |screen| screen.alternate_screen() && screen.hide_cursor());
    screen.keys(":set optim.lr 0.003\r");
    screen.wait("the setting", || {
        let text = std::fs::read_to_string(run(dir.path()).join("changes.jsonl"));
        text.is_ok_and(|text| text.contains("\"optim.lr\""))
    });
    screen.shows("config v1");
    screen.keys(" ");
    screen.shows("paused");
    screen.keys(" ");
    goes_on(&screen);
    screen.keys("q");
    screen.shows("Stop the run?");
    screen.keys("y");
    assert!(screen.end().success());
    given_back(&screen);
    let text = screen.text();
    assert!(text.contains("stopped after") && text.contains("checkpoint") && !text.contains("help"), "{text}");
}

#[test]
fn the_picture_follows_the_size_of_the_terminal() {
    let (_dir, screen) = started();
    for (cols, rows) in [(80, 24), (60, 16), (50, 10), (120, 40), (79, 15), SIZE] {
        screen.resize(cols, rows);
        if cols < 60 || rows < 16 {
            screen.shows(&format!("{cols}×{rows} is too small"));
        } else {
            let edge = usize::from(cols);
            screen.wait_for("a picture of that size", |text| {
                let last = text.lines().last().is_some_and(|line| line.contains("help"));
                let wide = text.lines().any(|line| line.ends_with('╮') && line.chars().count() == edge);
                last && wide && text.lines().count() == usize::from(rows) && step(text).is_some()
            });
        }
    }
    trains(&screen);
    goes_on(&screen);
}

/// Starts the dashboard as a job of an interactive shell.
fn job() -> (tempfile::TempDir, Screen, Lab) {
    let dir = place(TINY);
    let screen = Screen::shell(dir.path(), SIZE);
    screen.keys(&format!("coconut-lab {}\r", ARGS.join(" ")));
    trains(&screen);
    let lab = screen.lab();
    (dir, screen, lab)
}

/// Waits until the job is suspended and the shell has its terminal back, restored.
fn stopped(screen: &Screen, lab: Lab) {
    screen.wait("the stop", || lab.is_stopped());
    given_back(screen);
    screen.wait_for("the shell", |text| text.contains("Stopped") && text.trim_end().ends_with("shell>"));
}

#[test]
fn ctrl_z_and_fg_stop_and_go_on() {
    let (_dir, screen, lab) = job();
    for _ in 0..2 {
        screen.keys(CTRL_Z);
        stopped(&screen, lab);
        // The shell's terminal works: it echoes what is typed, and runs it.
        screen.keys("clear; echo all ri''ght\r");
        screen.wait_for("the shell's word", |text| text.trim() == "all right\nshell>");
        screen.keys("fg\r");
        screen.wait_until("the screen taken again", vt100::Screen::alternate_screen);
        trains(&screen);
        goes_on(&screen);
        assert!(!screen.text().contains("all right"), "{}", screen.text());
    }
    screen.keys("qy");
    given_back(&screen);
    screen.wait_for("the shell", |text| text.contains("stopped after") && text.ends_with("shell>"));
}

#[test]
fn stops_from_outside_end_with_a_right_picture() {
    let (_dir, screen, lab) = job();
    // The same signal as Ctrl-Z sends.
    lab.signal(Signal::TSTP);
    stopped(&screen, lab);
    screen.keys("fg\r");
    screen.wait_until("the screen taken again", vt100::Screen::alternate_screen);
    trains(&screen);
    goes_on(&screen);
    // This signal cannot be caught, so the shell writes on the dashboard's screen.
    lab.signal(Signal::STOP);
    screen.wait("the stop", || lab.is_stopped());
    screen.shows("shell>");
    screen.keys("fg\r");
    trains(&screen);
    goes_on(&screen);
    screen.wait_for("a picture alone", |text| !text.contains("shell>") && whole(text));
    screen.wait_until("a screen of its own", |screen| screen.alternate_screen() && screen.hide_cursor());
}

#[test]
fn what_nobody_could_wake_does_not_stop() {
    // The process leads its session; no shell could continue it.
    let (_dir, screen) = started();
    let lab = screen.lab();
    screen.keys(CTRL_Z);
    lab.signal(Signal::TSTP);
    goes_on(&screen);
    screen.keys(" ");
    screen.shows("paused");
    assert!(!lab.is_stopped());
    // On SIGCONT without a stop it redraws the screen.
    lab.signal(Signal::CONT);
    screen.keys(" ");
    goes_on(&screen);
}

#[test]
fn a_signal_to_end_gives_the_terminal_back() {
    let (_dir, mut screen) = started();
    screen.lab().signal(Signal::TERM);
    assert!(screen.end().success());
    given_back(&screen);
    assert!(screen.text().contains("stopped after"), "{}", screen.text());
}

#[test]
fn what_libraries_print_does_not_paint_over_the_screen() {
    let (_dir, mut screen) = started();
    let lab = screen.lab();
    screen.wait("what is printed to be caught", || [1, 2].into_iter().all(|fd| lab.leads_to(fd).starts_with("pipe:")));
    // Pause, so that nothing else is logged during this time.
    screen.keys(" ");
    screen.shows("paused");
    // More than a pipe holds: the writer must not block.
    lab.print(1, &"ptxas: a\x1b[2Jwarning\n".repeat(20_000));
    lab.print(2, "nvrtc: deprecated\n");
    // The log shows the text without the escape sequence that clears the screen.
    screen.keys("8e");
    screen.wait_for("what was printed, in the log", |text| {
        text.contains("more lines were printed") || text.contains("nvrtc: deprecated")
    });
    assert!(!screen.text().lines().any(|line| line.starts_with("ptxas") || line.starts_with("nvrtc")));
    screen.keys("e ");
    trains(&screen);
    goes_on(&screen);
    screen.keys(CTRL_C);
    screen.keys("y");
    assert!(screen.end().success());
    given_back(&screen);
    assert!(screen.text().contains("stopped after"), "{}", screen.text());
}

#[test]
fn a_fork_goes_on_in_the_same_dashboard_with_a_note_in_the_first() {
    let (dir, screen) = started();
    screen.keys("nodd, look at it\r");
    screen.wait("the note", || {
        let text = std::fs::read_to_string(run(dir.path()).join("changes.jsonl"));
        text.is_ok_and(|text| text.contains("odd, look at it") && text.contains("noted"))
    });
    screen.keys("b");
    screen.shows(":fork tiny-2");
    screen.keys(" optim.lr=0.003\r");
    let of_fork = |text: &str| step(text).filter(|_| text.contains("  tiny-2  step "));
    screen.wait_for("the fork", |text| of_fork(text).is_some());
    let now = of_fork(&screen.text());
    screen.wait_for("steps of the fork", |text| of_fork(text) > now);
    let folders = runs(dir.path());
    assert_eq!(folders.len(), 2, "{folders:?}");
    screen.keys(":fork again optim.lrr=1\r");
    screen.shows("the nearest known one is");
    screen.keys(ESC);
    screen.wait_for("the keys in the place of the line", |text| text.lines().last().unwrap().contains("help"));
    let now = of_fork(&screen.text());
    screen.wait_for("the run that was not stopped for it", |text| of_fork(text) > now);
    let about = std::fs::read_to_string(folders[1].join("run.json")).unwrap();
    assert!(about.contains("lineage") && about.contains("-tiny"), "{about}");
    screen.keys("qy");
    given_back(&screen);
}

/// Requests a checkpoint and waits for it.
fn saved(dir: &Path, screen: &Screen) {
    screen.keys(":checkpoint\r");
    screen.wait("a checkpoint", || {
        let entries = std::fs::read_dir(run(dir)).unwrap();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
    });
}

#[test]
fn a_trainer_that_dies_leaves_its_charts_and_is_taken_up_again_by_a_key() {
    let (dir, screen) = started();
    saved(dir.path(), &screen);
    // Replace the folder of a table by a file, so that the next segment cannot be written.
    let (metrics, aside) = (run(dir.path()).join("metrics"), dir.path().join("aside"));
    std::fs::rename(&metrics, &aside).unwrap();
    std::fs::write(&metrics, "").unwrap();
    screen.keys(":checkpoint\r");
    screen.shows("training failed");
    let text = screen.text();
    assert!(text.contains("metrics") && text.contains("plain "), "{text}");
    screen.keys("\x1b[D");
    screen.shows("at step");
    std::fs::remove_file(&metrics).unwrap();
    std::fs::rename(&aside, &metrics).unwrap();
    screen.keys("r");
    screen.wait_for("the run to go on", |text| !text.contains("training failed") && step(text).is_some());
    goes_on(&screen);
    screen.keys("qy");
    given_back(&screen);
}

#[test]
fn a_run_whose_process_is_gone_is_taken_up_again_by_a_key() {
    let (dir, screen) = started();
    saved(dir.path(), &screen);
    screen.lab().signal(Signal::KILL);
    drop(screen);
    let name = run(dir.path()).file_name().unwrap().to_string_lossy().into_owned();
    let screen = Screen::start(dir.path(), &["watch", &name], SIZE);
    screen.shows("its process is gone");
    screen.keys("r");
    screen.wait_for("the run to go on", |text| !text.contains("its process is gone") && step(text).is_some());
    goes_on(&screen);
    assert_eq!(runs(dir.path()).len(), 1);
    screen.keys("qy");
    given_back(&screen);
}

/// Draws snapshots of a recorded run of 2000 steps with the verb `snapshot`.
#[test]
fn every_panel_of_a_recorded_run_is_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("picture.txt");
    let draw = |args: &[&str]| {
        let mut all = vec!["snapshot", "tests/fixtures/session", "--out", file.to_str().unwrap()];
        all.extend(args);
        let drawn = lab(root, &all);
        assert!(drawn.status.success(), "{}", stderr(&drawn));
        std::fs::read_to_string(&file).unwrap()
    };
    let panels = ["run", "loss", "schedule", "entropy", "thoughts", "cost", "changes", "log", "samples"];
    for size in ["80x24", "120x40", "250x70"] {
        insta::assert_snapshot!(format!("session_{size}"), draw(&["--size", size]));
        for panel in panels {
            insta::assert_snapshot!(format!("{panel}_{size}"), draw(&["--panel", panel, "--size", size]));
        }
    }
    insta::assert_snapshot!("session_ascii", draw(&["--size", "100x30", "--ascii"]));
    assert!(draw(&["--ascii"]).is_ascii());
}
