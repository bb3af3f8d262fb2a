//! Tests the dashboard end to end: the real binary in a pseudo-terminal gets keys and draws a screen.
#![cfg(target_os = "linux")]

mod common;

use common::screen::{CTRL_C, CTRL_Z, ESC, LabProcess, Screen};
use common::*;
use rustix::process::Signal;
use std::path::{Path, PathBuf};

/// Arguments of a tiny run that outlasts every test.
const ARGS: &[&str] = &["run", "--config", "tiny.toml", "--steps", "1000000"];

/// Columns and rows of a screen that is large enough for all panels.
const SIZE: (u16, u16) = (100, 30);

fn start_dashboard() -> (tempfile::TempDir, Screen) {
    let dir = temp_dir_with_recipe(TINY);
    let screen = Screen::start(dir.path(), ARGS, SIZE);
    wait_for_training(&screen);
    (dir, screen)
}

/// Waits until the screen shows a run in training, in a complete frame.
fn wait_for_training(screen: &Screen) {
    screen.wait_for("a run in training", |text| {
        displayed_step(text).is_some_and(|step| step > 0) && is_complete_frame(text)
    });
}

/// Whether the frame is complete: the run's name in the header, and the keys in the last line.
fn is_complete_frame(text: &str) -> bool {
    text.contains(" tiny ") && text.lines().last().is_some_and(|line| line.contains("help"))
}

/// Returns the step that the screen shows, in any phase of the run.
fn displayed_step(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("  step "))?;
    let number = line.split("  step ").nth(1)?.split(" / ").next()?;
    number.replace(',', "").parse().ok()
}

/// Waits until the screen shows a later step than now.
fn wait_for_later_step(screen: &Screen) {
    let now = displayed_step(&screen.text());
    screen.wait_for("more steps", |text| {
        displayed_step(text).is_some() && displayed_step(text) > now && is_complete_frame(text)
    });
}

fn newest_run(dir: &Path) -> PathBuf {
    runs(dir).pop().unwrap()
}

/// Waits until the terminal is restored: main screen, visible cursor, no mouse reports.
fn wait_for_restored_terminal(screen: &Screen) {
    screen.wait_until("the restored terminal", |screen| {
        let mouse = screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None;
        !(screen.alternate_screen() || screen.hide_cursor() || mouse)
    });
}

#[test]
fn keys_control_the_run_and_quitting_restores_the_terminal() {
    let (dir, mut screen) = start_dashboard();
    screen.wait_until("the alternate screen", |screen| screen.alternate_screen() && screen.hide_cursor());
    screen.send_keys(":set optim.lr 0.003\r");
    screen.wait("the setting", || {
        let text = std::fs::read_to_string(newest_run(dir.path()).join("changes.jsonl"));
        text.is_ok_and(|text| text.contains("\"optim.lr\""))
    });
    screen.wait_for_text("config v1");
    screen.send_keys(" ");
    screen.wait_for_text("paused");
    screen.send_keys(" ");
    wait_for_later_step(&screen);
    screen.send_keys("q");
    screen.wait_for_text("Stop the run?");
    screen.send_keys("y");
    assert!(screen.wait_for_exit().success());
    wait_for_restored_terminal(&screen);
    let text = screen.text();
    assert!(text.contains("stopped after") && text.contains("checkpoint") && !text.contains("help"), "{text}");
}

#[test]
fn several_runs_are_on_one_chart_and_new_ones_appear() {
    let dir = temp_dir_with_recipe(TINY);
    let train = |name: &str, set: &str| {
        let args = ["run", "--config", "tiny.toml", "--headless", "--name", name, "--set", set];
        assert!(lab(dir.path(), &args).status.success());
    };
    train("one", "run.seed=1");
    train("two", "run.seed=2");
    let mut screen = Screen::start(dir.path(), &["watch", "--dir", "checkpoints"], SIZE);
    screen.wait_for("both runs in a group", |text| text.contains("2 runs · 1 group") && text.contains("n=2"));
    train("three", "optim.lr=0.02");
    screen.wait_for("a new run in a group of its own", |text| {
        text.contains("3 runs · 2 groups") && text.contains("optim.lr = 0.02")
    });
    screen.send_keys("G\r");
    // Runs of one second are in no certain order.
    screen.wait_for("a run's own dashboard", |text| text.contains("✓ finished") && text.contains("step 6 / 6"));
    screen.send_keys("q");
    screen.wait_for_text("3 runs · 2 groups");
    std::fs::remove_dir_all(newest_run(dir.path())).unwrap();
    screen.wait_for("the run that vanished", |text| text.contains("damaged") && text.contains("does not exist"));
    screen.send_keys("q");
    assert!(screen.wait_for_exit().success());
    wait_for_restored_terminal(&screen);
}

#[test]
fn the_list_of_runs_opens_and_deletes_runs_alone_and_over_a_live_run() {
    let dir = temp_dir_with_recipe(TINY);
    for name in ["one", "two"] {
        assert!(lab(dir.path(), &["run", "--config", "tiny.toml", "--headless", "--name", name]).status.success());
    }
    let mut screen = Screen::start(dir.path(), &["runs"], SIZE);
    screen.wait_for("both runs", |text| text.contains("2 runs") && text.contains("one") && text.contains("two"));
    screen.send_keys("\r");
    screen.wait_for("the dashboard on the newest run", |text| text.contains("finished  two  step 6 / 6"));
    screen.send_keys("q");
    screen.wait_for_text("2 runs");
    screen.send_keys("D");
    screen.wait_for_text("Delete this run?");
    screen.send_keys("y");
    screen.wait_for_text("deleted 1 run");
    assert_eq!(runs(dir.path()).len(), 1);
    screen.send_keys("q");
    assert!(screen.wait_for_exit().success());
    wait_for_restored_terminal(&screen);

    let mut screen = Screen::start(dir.path(), ARGS, SIZE);
    wait_for_training(&screen);
    screen.send_keys(":runs\r");
    screen.wait_for("the list over the live run", |text| text.contains("2 runs") && text.contains("running"));
    screen.send_keys("j\r");
    screen.wait_for_text("finished  one  step 6 / 6");
    screen.send_keys("q");
    screen.wait_for_text("2 runs");
    screen.send_keys(ESC);
    wait_for_training(&screen);
    wait_for_later_step(&screen);
    screen.send_keys("qd");
    assert_eq!(screen.wait_for_exit().code(), Some(130));
}

#[test]
fn the_layout_follows_the_terminal_size() {
    let (_dir, screen) = start_dashboard();
    for (cols, rows) in [(80, 24), (60, 16), (50, 10), (120, 40), (79, 15), SIZE] {
        screen.resize(cols, rows);
        if cols < 60 || rows < 16 {
            screen.wait_for_text(&format!("{cols}×{rows} is too small"));
        } else {
            let edge = usize::from(cols);
            screen.wait_for("a frame of that size", |text| {
                let last = text.lines().last().is_some_and(|line| line.contains("help"));
                let wide = text.lines().any(|line| line.ends_with('╮') && line.chars().count() == edge);
                last && wide && text.lines().count() == usize::from(rows) && displayed_step(text).is_some()
            });
        }
    }
    wait_for_training(&screen);
    wait_for_later_step(&screen);
}

/// Starts the dashboard as a job of an interactive shell.
fn start_job() -> (tempfile::TempDir, Screen, LabProcess) {
    let dir = temp_dir_with_recipe(TINY);
    let screen = Screen::shell(dir.path(), SIZE);
    screen.send_keys(&format!("coconut-lab {}\r", ARGS.join(" ")));
    wait_for_training(&screen);
    let lab = screen.lab_process();
    (dir, screen, lab)
}

/// Waits until the job is suspended and the shell has its terminal back, restored.
fn wait_for_suspended_job(screen: &Screen, lab: LabProcess) {
    screen.wait("the stop", || lab.is_stopped());
    wait_for_restored_terminal(screen);
    screen.wait_for("the shell", |text| text.contains("Stopped") && text.trim_end().ends_with("shell>"));
}

#[test]
fn ctrl_z_suspends_and_fg_continues() {
    let (_dir, screen, lab) = start_job();
    for _ in 0..2 {
        screen.send_keys(CTRL_Z);
        wait_for_suspended_job(&screen, lab);
        // The shell's terminal works: it echoes what is typed, and runs it.
        screen.send_keys("clear; echo all ri''ght\r");
        screen.wait_for("the shell's output", |text| text.trim() == "all right\nshell>");
        screen.send_keys("fg\r");
        screen.wait_until("the alternate screen again", vt100::Screen::alternate_screen);
        wait_for_training(&screen);
        wait_for_later_step(&screen);
        assert!(!screen.text().contains("all right"), "{}", screen.text());
    }
    screen.send_keys("qy");
    wait_for_restored_terminal(&screen);
    screen.wait_for("the shell", |text| text.contains("stopped after") && text.ends_with("shell>"));
}

#[test]
fn stop_signals_from_outside_leave_a_correct_screen() {
    let (_dir, screen, lab) = start_job();
    // The same signal as Ctrl-Z sends.
    lab.signal(Signal::TSTP);
    wait_for_suspended_job(&screen, lab);
    screen.send_keys("fg\r");
    screen.wait_until("the alternate screen again", vt100::Screen::alternate_screen);
    wait_for_training(&screen);
    wait_for_later_step(&screen);
    // This signal cannot be caught, so the shell writes on the dashboard's screen.
    lab.signal(Signal::STOP);
    screen.wait("the stop", || lab.is_stopped());
    screen.wait_for_text("shell>");
    screen.send_keys("fg\r");
    wait_for_training(&screen);
    wait_for_later_step(&screen);
    screen
        .wait_for("the dashboard without the shell's text", |text| !text.contains("shell>") && is_complete_frame(text));
    screen.wait_until("the alternate screen", |screen| screen.alternate_screen() && screen.hide_cursor());
}

#[test]
fn what_nobody_could_wake_does_not_stop() {
    // The process leads its session; no shell could continue it.
    let (_dir, screen) = start_dashboard();
    let lab = screen.lab_process();
    screen.send_keys(CTRL_Z);
    lab.signal(Signal::TSTP);
    wait_for_later_step(&screen);
    screen.send_keys(" ");
    screen.wait_for_text("paused");
    assert!(!lab.is_stopped());
    // On SIGCONT without a stop it redraws the screen.
    lab.signal(Signal::CONT);
    screen.send_keys(" ");
    wait_for_later_step(&screen);
}

#[test]
fn sigterm_restores_the_terminal() {
    let (_dir, mut screen) = start_dashboard();
    screen.lab_process().signal(Signal::TERM);
    assert_eq!(screen.wait_for_exit().code(), Some(75));
    wait_for_restored_terminal(&screen);
    assert!(screen.text().contains("stopped after"), "{}", screen.text());
}

#[test]
fn library_output_does_not_corrupt_the_screen() {
    let (_dir, mut screen) = start_dashboard();
    let lab = screen.lab_process();
    screen.wait("stdout and stderr to be captured", || {
        [1, 2].into_iter().all(|fd| lab.fd_target(fd).starts_with("pipe:"))
    });
    // Pause, so that nothing else is logged during this time.
    screen.send_keys(" ");
    screen.wait_for_text("paused");
    // This is more than a pipe holds, and the writer must not block.
    lab.write_to_fd(1, &"ptxas: a\x1b[2Jwarning\n".repeat(20_000));
    lab.write_to_fd(2, "nvrtc: deprecated\n");
    // The log shows the text without the escape sequence that clears the screen.
    screen.send_keys("8e");
    screen.wait_for("the printed lines in the log", |text| {
        text.contains("more lines were printed") || text.contains("nvrtc: deprecated")
    });
    assert!(!screen.text().lines().any(|line| line.starts_with("ptxas") || line.starts_with("nvrtc")));
    screen.send_keys("e ");
    wait_for_training(&screen);
    wait_for_later_step(&screen);
    screen.send_keys(CTRL_C);
    screen.send_keys("y");
    assert!(screen.wait_for_exit().success());
    wait_for_restored_terminal(&screen);
    assert!(screen.text().contains("stopped after"), "{}", screen.text());
}

#[test]
fn a_fork_continues_in_the_same_dashboard_and_the_first_run_keeps_its_note() {
    let (dir, screen) = start_dashboard();
    screen.send_keys("nodd, look at it\r");
    screen.wait("the note", || {
        let text = std::fs::read_to_string(newest_run(dir.path()).join("changes.jsonl"));
        text.is_ok_and(|text| text.contains("odd, look at it") && text.contains("noted"))
    });
    screen.send_keys("b");
    screen.wait_for_text(":fork tiny-2");
    screen.send_keys(" optim.lr=0.003\r");
    let fork_step = |text: &str| displayed_step(text).filter(|_| text.contains("  tiny-2  step "));
    screen.wait_for("the fork", |text| fork_step(text).is_some());
    let now = fork_step(&screen.text());
    screen.wait_for("steps of the fork", |text| fork_step(text) > now);
    let folders = runs(dir.path());
    assert_eq!(folders.len(), 2, "{folders:?}");
    screen.send_keys(":fork again optim.lrr=1\r");
    screen.wait_for_text("the nearest known one is");
    screen.send_keys(ESC);
    screen.wait_for("the keys instead of the prompt", |text| text.lines().last().unwrap().contains("help"));
    let now = fork_step(&screen.text());
    screen.wait_for("steps of the run, which was not stopped", |text| fork_step(text) > now);
    let run_json = std::fs::read_to_string(folders[1].join("run.json")).unwrap();
    assert!(run_json.contains("lineage") && run_json.contains("-tiny"), "{run_json}");
    screen.send_keys("qy");
    wait_for_restored_terminal(&screen);
}

#[test]
fn a_run_paused_in_one_process_continues_by_another() {
    let (dir, screen) = start_dashboard();
    let watch = Screen::start(dir.path(), &["watch", "last"], SIZE);
    watch.wait_for("the run", |text| displayed_step(text).is_some());
    screen.send_keys(" ");
    screen.wait_for_text("paused; space continues");
    watch.wait_for_text("paused; space continues");
    let now = displayed_step(&screen.text());
    watch.send_keys("s");
    let stepped =
        |text: &str| displayed_step(text) == now.map(|step| step + 1) && text.contains("paused; space continues");
    screen.wait_for("a single step", stepped);
    watch.wait_for("a single step", stepped);
    watch.send_keys(" ");
    wait_for_later_step(&screen);
    watch.wait_for("more steps", |text| {
        displayed_step(text) > now.map(|step| step + 1) && is_complete_frame(text) && !text.contains("paused")
    });
    watch.send_keys(" ");
    screen.wait_for_text("paused; space continues");
    watch.wait_for_text("paused; space continues");
    watch.send_keys(":policy never\r");
    watch.send_keys(":length 2\r");
    watch.send_keys(":ask Every wumpus\r");
    watch.wait_for("the answer", |text| text.contains("Every wumpus ⟦") && text.contains('⟧'));
    let output = lab(dir.path(), &["control", "last", "go"]);
    assert!(output.status.success(), "{}", stderr(&output));
    wait_for_later_step(&screen);
    watch.send_keys(":stop\r");
    // The run's own dashboard stays.
    screen.wait_for_text("stopped after");
    watch.wait_for_text("stopped after");
    watch.send_keys("q");
    wait_for_restored_terminal(&watch);
    screen.send_keys("q");
    wait_for_restored_terminal(&screen);
}

/// Requests a checkpoint and waits until it is saved.
fn save_checkpoint(dir: &Path, screen: &Screen) {
    screen.send_keys(":checkpoint\r");
    screen.wait("a checkpoint", || {
        let entries = std::fs::read_dir(newest_run(dir)).unwrap();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
    });
}

#[test]
fn a_failed_trainer_keeps_its_charts_and_a_key_resumes_it() {
    let (dir, screen) = start_dashboard();
    save_checkpoint(dir.path(), &screen);
    // Replace the folder of a table with a file, so that the next segment cannot be written.
    let (metrics, aside) = (newest_run(dir.path()).join("metrics"), dir.path().join("aside"));
    std::fs::rename(&metrics, &aside).unwrap();
    std::fs::write(&metrics, "").unwrap();
    screen.send_keys(":checkpoint\r");
    screen.wait_for_text("training failed");
    let text = screen.text();
    assert!(text.contains("metrics") && text.contains("plain "), "{text}");
    screen.send_keys("\x1b[D");
    screen.wait_for_text("at step");
    std::fs::remove_file(&metrics).unwrap();
    std::fs::rename(&aside, &metrics).unwrap();
    screen.send_keys("r");
    screen.wait_for("the run to continue", |text| !text.contains("training failed") && displayed_step(text).is_some());
    wait_for_later_step(&screen);
    screen.send_keys("qy");
    wait_for_restored_terminal(&screen);
}

#[test]
fn a_key_resumes_a_run_whose_process_is_gone() {
    let (dir, screen) = start_dashboard();
    save_checkpoint(dir.path(), &screen);
    screen.lab_process().signal(Signal::KILL);
    drop(screen);
    let name = newest_run(dir.path()).file_name().unwrap().to_string_lossy().into_owned();
    let screen = Screen::start(dir.path(), &["watch", &name], SIZE);
    screen.wait_for_text("its process is gone");
    screen.send_keys("r");
    screen.wait_for("the run to continue", |text| {
        !text.contains("its process is gone") && displayed_step(text).is_some()
    });
    wait_for_later_step(&screen);
    assert_eq!(runs(dir.path()).len(), 1);
    screen.send_keys("qy");
    wait_for_restored_terminal(&screen);
}

/// Draws snapshots of a recorded run of 2000 steps with the verb `snapshot`.
#[test]
fn every_panel_of_a_recorded_run_is_drawn() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("snapshot.txt");
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
