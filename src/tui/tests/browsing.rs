//! Owns: tests of the browser of runs: keys, requests, and snapshots of the screen.
//! Must not know: files, threads, terminals.
//! Invariant: the rows are the same on every machine.

use crate::config::Config;
use crate::schema::metrics::Metric;
use crate::schema::protocol::{Lineage, LogLevel};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource};
use crate::schema::run_list::{
    ComparedRun, MetricRange, RunComparison, RunListRequest, RunListRow, RunListUpdate, SettingDifference, TagEdit,
};
use crate::schema::status::RunState;
use crate::tui::app::keys::KeyPress;
use crate::tui::browser::draw;
use crate::tui::browser::input::BrowserEffect;
use crate::tui::browser::state::{BelowList, BrowserSettings, RunBrowser};
use crate::tui::picture::text_export;
use crate::tui::terminal::ascii::convert_to_ascii;
use crate::tui::theme::{ColorDepth, Role, Theme};
use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use serde_json::json;
use std::path::PathBuf;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

/// A run that began in the minute `number`, so that names and times are in one order.
fn row(number: u64, name: &str, state: RunState, loss: Option<f64>) -> RunListRow {
    let mut config = Config::default();
    config.optim.lr = 1e-3 * number as f64;
    let mut metrics = vec![MetricRange::default(); Metric::ALL.len()];
    metrics[Metric::ValidPlain as usize] = MetricRange { last: loss, min: loss, max: loss };
    metrics[Metric::ValidAccuracy as usize].last = loss.map(|loss| 1.0 - loss / 10.0);
    let run = format!("20261124-10{number:02}00-{name}");
    RunListRow {
        folder: PathBuf::from("checkpoints").join(&run),
        run,
        state: Some(state),
        step: 100 * number,
        steps: 2000,
        bytes: 1_234_567 * number,
        metrics,
        settings: toml::Table::try_from(config).unwrap(),
        ..RunListRow::default()
    }
}

fn rows() -> Vec<RunListRow> {
    let mut rows = vec![
        row(1, "quickstart", RunState::Finished, Some(1.25)),
        row(2, "colder", RunState::Running, Some(0.75)),
        row(3, "a-run-with-a-very-long-name-that-no-small-screen-has-room-for", RunState::Failed, None),
        row(4, "interrupted-one", RunState::Interrupted, Some(f64::NAN)),
        row(5, "漢字", RunState::Stopped, Some(2.5)),
        row(6, "broken", RunState::Finished, Some(3.0)),
    ];
    let lineage = Lineage { folder: rows[0].folder.clone(), step: Some(100), left_out: Vec::new() };
    rows[1].lineage = Some(lineage);
    rows[0].tags = vec!["baseline".into(), "lr/1e-3".into()];
    rows[5].problems = vec!["metrics/part-00003.parquet: damaged: its checksum differs".into(), "x".into()];
    rows
}

/// A browser with these runs, in the order of their names: times depend on the machine's zone.
fn browser() -> RunBrowser {
    let settings = BrowserSettings { dir: "checkpoints".into(), ..BrowserSettings::default() };
    let mut browser = RunBrowser::new(settings);
    rows().into_iter().for_each(|row| browser.apply(RunListUpdate::Row(Box::new(row))));
    browser.apply(RunListUpdate::Progress { done: 6, total: 6 });
    browser.sort_rows();
    press(&mut browser, "s run Enter");
    browser
}

/// Presses keys: a key's name is that key, other words are typed, with `␣` for a space.
fn press(browser: &mut RunBrowser, keys: &str) -> BrowserEffect {
    let mut effect = BrowserEffect::None;
    for word in keys.split(' ') {
        let keys: Vec<KeyPress> = match KeyPress::from_name(word) {
            Some(key) => vec![key],
            None => word.replace('␣', " ").chars().map(KeyPress::from_char).collect(),
        };
        for key in keys {
            effect = browser.handle_key(&key.to_event(), SCREEN);
        }
    }
    effect
}

fn names(browser: &RunBrowser) -> Vec<String> {
    browser.visible_rows().map(|row| row.name().chars().take(6).collect()).collect()
}

fn folder(number: usize) -> PathBuf {
    rows()[number - 1].folder.clone()
}

fn drawn(browser: &RunBrowser, width: u16, height: u16) -> ratatui::buffer::Buffer {
    let theme = Theme::new(ColorDepth::TrueColor);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::render(frame, browser, &theme)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(browser: &RunBrowser, width: u16, height: u16) -> String {
    text_export::to_text(&drawn(browser, width, height))
}

fn comparison() -> RunComparison {
    let difference = |key: &str, a: &str, b: &str| SettingDifference { key: key.into(), a: a.into(), b: b.into() };
    let change = ChangeRow {
        step: 1500,
        tokens: 0,
        time: chrono::DateTime::UNIX_EPOCH,
        version: 1,
        set: "a".into(),
        value: "0.3".into(),
        key: Some("recycle.fraction".into()),
        old: json!(0.1),
        new: json!(0.3),
        source: ChangeSource::Keys,
        outcome: ChangeOutcome::Applied,
        reason: None,
    };
    RunComparison {
        a: ComparedRun { run: "20261124-100100-quickstart".into(), version: 1, changes: vec![change] },
        b: ComparedRun { run: "20261124-100200-colder".into(), version: 0, changes: Vec::new() },
        current: vec![
            difference("optim.lr", "0.001", "0.0001"),
            difference("recycle.fraction", "[[0, 0.0], [500, 0.125], [1000, 0.25], [2000, 0.3]]", "0.3"),
        ],
        initial: vec![difference("optim.lr", "0.001", "0.0001")],
    }
}

#[test]
fn the_list_at_every_size() {
    let mut list = browser();
    press(&mut list, "Space Down");
    assert_snapshot!("runs_60x16", text(&list, 60, 16));
    assert_snapshot!("runs_80x24", text(&list, 80, 24));
    press(&mut list, "c optim.lr␣valid_accuracy Enter S End");
    assert_snapshot!("runs_120x40", text(&list, 120, 40));
    assert_snapshot!("runs_too_small", text(&list, 50, 10));
}

#[test]
fn the_list_in_ascii() {
    let mut list = browser();
    list.below = BelowList::Dashboard(Some(folder(2)));
    press(&mut list, "Space /");
    let mut buffer = drawn(&list, 80, 24);
    convert_to_ascii(&mut buffer);
    let text = text_export::to_text(&buffer);
    assert!(text.is_ascii());
    assert_snapshot!("runs_ascii", text);
}

#[test]
fn dialogs_and_prompts() {
    let mut list = browser();
    press(&mut list, "Space Down Space D");
    assert_snapshot!("runs_delete_60x16", text(&list, 60, 16));
    press(&mut list, "n ?");
    assert_snapshot!("runs_help_60x16", text(&list, 60, 16));
    press(&mut list, "Esc /");
    press(&mut list, "state=done");
    assert_snapshot!("runs_filter_error", text(&list, 80, 24));
    list.apply(RunListUpdate::Comparison(Box::new(comparison())));
    assert_snapshot!("runs_comparison_60x16", text(&list, 60, 16));
    assert_snapshot!("runs_comparison_120x40", text(&list, 120, 40));
    assert_snapshot!("runs_empty", text(&RunBrowser::new(BrowserSettings::default()), 80, 24));
}

#[test]
fn every_size_and_every_state_can_be_drawn() {
    let mut many = browser();
    for number in 0..300 {
        many.apply(RunListUpdate::Row(Box::new(row(number % 60, &format!("run-{number}"), RunState::Finished, None))));
    }
    many.sort_rows();
    let mut all = browser();
    press(&mut all, "/ state!=running Enter a D");
    let mut compared = browser();
    compared.apply(RunListUpdate::Comparison(Box::new(comparison())));
    press(&mut compared, "End");
    let mut help = browser();
    press(&mut help, "? End");
    for browser in [&many, &all, &compared, &help, &RunBrowser::default()] {
        for (width, height) in [(1, 1), (59, 16), (60, 16), (61, 19), (80, 20), (200, 17), (300, 90)] {
            drawn(browser, width, height);
        }
    }
}

#[test]
fn the_selected_line_has_one_style_from_edge_to_edge() {
    let buffer = drawn(&browser(), 80, 24);
    let selected = Theme::new(ColorDepth::TrueColor).style(Role::Selected);
    for column in 0..80 {
        let cell = &buffer[(column, 2)];
        assert_eq!((Some(cell.fg), Some(cell.bg)), (selected.fg, selected.bg), "column {column}");
        assert_ne!(Some(buffer[(column, 3)].bg), selected.bg);
    }
}

#[test]
fn sorting_filtering_and_marks_follow_the_runs() {
    let mut list = browser();
    assert_eq!(names(&list), ["quicks", "colder", "a-run-", "interr", "漢字", "broken"]);
    press(&mut list, "Down Space");
    press(&mut list, "s -valid_loss_plain Enter");
    assert_eq!(names(&list), ["broken", "漢字", "quicks", "colder", "a-run-", "interr"], "missing and NaN last");
    assert_eq!(list.selected_row().unwrap().name(), "a-run-with-a-very-long-name-that-no-small-screen-has-room-for");
    press(&mut list, "S");
    assert_eq!(names(&list)[..2], ["colder", "quicks"]);
    press(&mut list, "/ optim.lr>=5e-3 Enter");
    assert_eq!(names(&list), ["漢字", "broken"]);
    assert_eq!(press(&mut list, "o"), BrowserEffect::Open(vec![folder(2)]), "a mark outlasts the filter");
    press(&mut list, "Esc");
    assert_eq!(names(&list).len(), 6, "Esc drops the filter first");
    press(&mut list, "Esc");
    assert_eq!(press(&mut list, "o"), BrowserEffect::None, "then the marks");
    assert_eq!(press(&mut list, "Esc"), BrowserEffect::None, "and there is nothing below");
    list.below = BelowList::Dashboard(None);
    assert_eq!(press(&mut list, "Esc"), BrowserEffect::Close);
    assert_eq!(press(&mut browser(), "q"), BrowserEffect::Close);
}

#[test]
fn a_wrong_line_stays_with_its_error_and_tab_completes() {
    let mut list = browser();
    press(&mut list, "s optim.lrr Enter");
    assert!(text(&list, 120, 24).contains("the nearest known one is `optim.lr`"));
    press(&mut list, "Esc s");
    press(&mut list, "-valid_acc Tab Enter");
    assert_eq!(list.settings.order.text(), "-valid_accuracy");
    press(&mut list, "/ optim.min Tab");
    assert!(text(&list, 120, 24).contains("/optim.min_lr▏"), "{}", text(&list, 120, 24));
    press(&mut list, "=1 Enter");
    assert_eq!(names(&list).len(), 0);
    assert!(text(&list, 80, 24).contains("no run meets the filter"));
}

#[test]
fn requests_name_the_runs_and_deletion_is_confirmed() {
    let mut list = browser();
    assert_eq!(press(&mut list, "Enter"), BrowserEffect::Open(vec![folder(1)]));
    press(&mut list, "t good");
    press(&mut list, "Space");
    let edit = TagEdit { add: vec!["good".into()], remove: vec!["draft".into()] };
    assert_eq!(
        press(&mut list, "-draft Enter"),
        BrowserEffect::Request(RunListRequest::EditTags(vec![folder(1)], edit))
    );
    let renamed = BrowserEffect::Request(RunListRequest::Rename(folder(1), "quickstart2".into()));
    assert_eq!(press(&mut list, "r 2 Enter"), renamed);
    press(&mut list, "d");
    assert!(text(&list, 80, 24).contains("mark a run with space"));
    let compare = BrowserEffect::Request(RunListRequest::Compare(folder(1), folder(2)));
    assert_eq!(press(&mut list, "Space d"), compare, "the marked one and the selected one");
    press(&mut list, "Space D");
    assert!(text(&list, 80, 24).contains("colder is running; stop it before you delete it"));
    let stopped = RunListRow { state: Some(RunState::Stopped), ..rows()[1].clone() };
    list.apply(RunListUpdate::Row(Box::new(stopped)));
    list.sort_rows();
    press(&mut list, "D");
    let question = text(&list, 80, 24);
    assert!(question.contains("Delete 2 runs?") && question.contains("20261124-100100-quickstart"), "{question}");
    assert_eq!(press(&mut list, "n"), BrowserEffect::None);
    assert_eq!(press(&mut list, "y"), BrowserEffect::None, "the dialog is closed");
    let deleted = BrowserEffect::Request(RunListRequest::Delete(vec![folder(1), folder(2)]));
    assert_eq!(press(&mut list, "D y"), deleted);
    press(&mut list, "Esc D");
    let question = text(&list, 80, 24);
    assert!(question.contains("Delete this run?") && !question.contains("started from"), "{question}");
    press(&mut list, "n Home D");
    assert!(text(&list, 80, 24).contains("another run started from"));
}

#[test]
fn what_the_reader_reports_changes_the_list() {
    let mut list = browser();
    press(&mut list, "Down Space Up");
    let new = folder(2).with_file_name("20261124-100200-warmer");
    list.apply(RunListUpdate::Renamed(folder(2), new.clone()));
    let renamed = RunListRow { folder: new.clone(), run: "20261124-100200-warmer".into(), ..rows()[1].clone() };
    list.apply(RunListUpdate::Row(Box::new(renamed)));
    list.sort_rows();
    assert_eq!(names(&list)[1], "warmer");
    assert_eq!(press(&mut list, "o"), BrowserEffect::Open(vec![new]), "its mark, too");
    press(&mut list, "Home Down Down");
    list.apply(RunListUpdate::Removed(folder(3)));
    list.apply(RunListUpdate::Message(LogLevel::Info, "deleted 1 run".into()));
    list.sort_rows();
    assert_eq!((list.row_count(), list.selected_row().unwrap().name()), (5, "interrupted-one"), "the line stays");
    assert!(text(&list, 80, 24).contains("deleted 1 run"));
    list.apply(RunListUpdate::Removed(folder(3)));
    for number in [1, 4, 5, 6] {
        list.apply(RunListUpdate::Removed(folder(number)));
    }
    list.apply(RunListUpdate::Removed("checkpoints/20261124-100200-warmer".into()));
    list.sort_rows();
    assert_eq!((list.row_count(), press(&mut list, "Enter")), (0, BrowserEffect::None));
}
