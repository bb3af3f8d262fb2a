//! Owns: tests of the dashboard of several runs: the fold, filter and order, pins, and snapshots of the screen.
//! Must not know: files, threads, terminals.
//! Invariant: the runs are the same on every machine.

use crate::config::Config;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::multi_run::{MultiRunUpdate, WorkUpdate};
use crate::schema::run_list::{RunListRow, RunListUpdate};
use crate::schema::status::RunState;
use crate::tui::app::keys::KeyPress;
use crate::tui::multi_run::app::MultiRunApp;
use crate::tui::multi_run::chart_data;
use crate::tui::multi_run::input::MultiRunEffect;
use crate::tui::multi_run::run_series::MAX_BUCKETS_PER_SERIES;
use crate::tui::multi_run::state::MAX_RUNS;
use crate::tui::picture::text_export;
use crate::tui::theme::{ColorDepth, Role, Theme};
use insta::assert_snapshot;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::path::PathBuf;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 120, height: 40 };

/// A run that began in the minute `number`: recycling every `every`-th step, with this seed.
fn row(number: u64, every: u64, seed: u64) -> RunListRow {
    let mut config = Config::default();
    (config.recycle.every, config.run.seed, config.run.steps) = (every, seed, 400);
    config.run.name = format!("every-{every}-seed-{seed}");
    let run = format!("20261124-10{number:02}00-{}", config.run.name);
    RunListRow {
        folder: PathBuf::from("checkpoints").join(&run),
        run,
        state: Some(RunState::Running),
        steps: 400,
        began: chrono::DateTime::from_timestamp(number as i64 * 60, 0),
        settings: toml::Table::try_from(config).unwrap(),
        ..RunListRow::default()
    }
}

fn step_row(step: u64, every: u64, seed: u64) -> StepRow {
    let mut row = StepRow::new(step);
    let base = 0.6 + 0.1 * every as f64 + 5.2 * (-(step as f64) / 80.0).exp();
    let wobble = ((step * 7919 + seed * 104_729) % 101) as f64 / 404.0 - 0.125;
    row.set(Metric::LossPlain, base + wobble + 0.05 * seed as f64);
    row.set(Metric::Tokens, (step * 1024) as f64);
    row.set(Metric::WallS, step as f64 * 0.25);
    row.set(Metric::PlainFlop, 6.1e9);
    row.set(Metric::HeadFlop, 8.3e8);
    if step.is_multiple_of(100) {
        row.set(Metric::ValidPlain, base + 0.1 + 0.02 * seed as f64);
    }
    row
}

fn read(row: RunListRow) -> MultiRunUpdate {
    MultiRunUpdate::List(RunListUpdate::Row(Box::new(row)))
}

fn steps(run: &RunListRow, every: u64, seed: u64, steps: std::ops::RangeInclusive<u64>) -> MultiRunUpdate {
    MultiRunUpdate::Steps(run.folder.clone(), steps.map(|step| step_row(step, every, seed)).collect())
}

/// Runs of three groups: recycling every second step with three seeds, every fourth with two, never with one.
fn runs() -> Vec<(RunListRow, u64, u64)> {
    let runs = [(2, 0), (2, 1), (2, 2), (4, 0), (4, 1), (0, 0)];
    runs.into_iter().enumerate().map(|(index, (every, seed))| (row(index as u64, every, seed), every, seed)).collect()
}

fn app_in(depth: ColorDepth) -> MultiRunApp {
    let mut app = MultiRunApp::new("checkpoints".into(), Theme::new(depth));
    app.apply(runs().into_iter().flat_map(|(row, every, seed)| {
        let steps = steps(&row, every, seed, 1..=if seed == 1 { 300 } else { 400 });
        [read(row), steps]
    }));
    app.apply([MultiRunUpdate::List(RunListUpdate::Progress { done: 6, total: 6 })]);
    app
}

fn app() -> MultiRunApp {
    app_in(ColorDepth::TrueColor)
}

/// Presses keys: a key's name is that key, other words are typed, with `␣` for a space.
fn press(app: &mut MultiRunApp, keys: &str) -> MultiRunEffect {
    let mut effect = MultiRunEffect::None;
    for word in keys.split(' ') {
        let keys: Vec<KeyPress> = match KeyPress::from_name(word) {
            Some(key) => vec![key],
            None => word.replace('␣', " ").chars().map(KeyPress::from_char).collect(),
        };
        for key in keys {
            effect = app.handle_key(&key.to_event(), SCREEN);
        }
    }
    effect
}

fn text(app: &MultiRunApp, width: u16, height: u16) -> String {
    text_export::to_text(&app.render_to_buffer(width, height))
}

fn names(app: &MultiRunApp) -> Vec<String> {
    app.state.list.visible_rows().map(|row| row.name().to_owned()).collect()
}

/// Returns the groups in the chart, each with its number of curves.
fn charted(app: &MultiRunApp) -> Vec<(String, usize)> {
    let Some(metric) = app.view.charted_metric(&app.state) else { return Vec::new() };
    let data = chart_data::collect(&app.state, &app.view, metric);
    let groups = data.into_iter().flat_map(|data| data.groups);
    groups.map(|group| (group.letter, group.runs.len())).collect()
}

fn owned(groups: &[(&str, usize)]) -> Vec<(String, usize)> {
    groups.iter().map(|(letter, runs)| ((*letter).to_owned(), *runs)).collect()
}

#[test]
fn the_screen_at_every_size() {
    let mut app = app();
    assert_snapshot!("several_60x16", text(&app, 60, 16));
    assert_snapshot!("several_80x24", text(&app, 80, 24));
    app.apply_work(WorkUpdate::Status("arm every-4, seed 1: step 300/400".into()));
    press(&mut app, "Down p");
    assert_snapshot!("several_120x40", text(&app, 120, 40));
    press(&mut app, "p o valid_loss_plain Enter x b b");
    app.apply_work(WorkUpdate::Ended("6 of 6 runs have finished".into()));
    assert_snapshot!("several_validation_120x40", text(&app, 120, 40));
    assert_snapshot!("several_too_small", text(&app, 50, 10));
    assert_snapshot!("several_empty", text(&MultiRunApp::new("x".into(), Theme::new(ColorDepth::None)), 80, 24));
}

#[test]
fn without_colours_and_in_ascii_groups_have_letters() {
    let mut app = MultiRunApp { ascii: true, ..app_in(ColorDepth::None) };
    press(&mut app, "l");
    let text = text(&app, 100, 30);
    assert!(text.is_ascii());
    assert_snapshot!("several_ascii", text);
}

#[test]
fn help_and_prompts() {
    let mut app = app();
    press(&mut app, "?");
    assert_snapshot!("several_help_80x24", text(&app, 80, 24));
    press(&mut app, "Esc o");
    press(&mut app, "valid");
    assert_snapshot!("several_metric_prompt", text(&app, 80, 24));
    press(&mut app, "_nothing Enter");
    assert!(text(&app, 80, 24).contains("no run has a metric `valid_nothing`"));
    press(&mut app, "Esc /");
    press(&mut app, "recycle.evry=2");
    assert!(text(&app, 120, 24).contains("the nearest known one is `recycle.every`"));
}

#[test]
fn every_size_and_every_state_can_be_drawn() {
    let mut pinned = app();
    press(&mut pinned, "p Down Down P Down h y X x z w");
    let mut tiny = MultiRunApp::new("x".into(), Theme::new(ColorDepth::None));
    let (row, every, seed) = runs().remove(0);
    tiny.apply([steps(&row, every, seed, 1..=1), read(row.clone()), steps(&row, every, seed, 1..=1)]);
    let mut help = app();
    press(&mut help, "? End");
    for app in [&pinned, &tiny, &help, &MultiRunApp::new("x".into(), Theme::new(ColorDepth::Sixteen))] {
        for (width, height) in [(1, 1), (59, 16), (60, 16), (61, 17), (80, 20), (200, 60), (300, 90)] {
            app.render_to_buffer(width, height);
        }
    }
}

#[test]
fn the_fold_groups_runs_and_follows_new_ones() {
    let mut app = MultiRunApp::new("checkpoints".into(), Theme::new(ColorDepth::TrueColor));
    let runs = runs();
    let (first, every, seed) = &runs[0];
    app.apply([steps(first, *every, *seed, 1..=5)]);
    assert!(app.state.folders().is_empty(), "steps of a run that was not read are ignored");
    app.apply([read(first.clone()), steps(first, *every, *seed, 1..=5)]);
    assert_eq!(charted(&app), owned(&[("A", 1)]));
    app.apply([read(runs[3].0.clone()), steps(&runs[3].0, 4, 0, 1..=5), read(runs[1].0.clone())]);
    assert_eq!(charted(&app), owned(&[("A", 1), ("B", 1)]), "a run without steps has no curve");
    let labels: Vec<&str> = app.state.groups.all().iter().map(|group| group.label.as_str()).collect();
    assert_eq!(labels, ["recycle.every = 2", "recycle.every = 4"]);
    app.apply([steps(&runs[1].0, 2, 1, 1..=7)]);
    assert_eq!(charted(&app), owned(&[("A", 2), ("B", 1)]));
    let shown = app.state.list.row(&runs[1].0.folder).unwrap();
    assert_eq!((shown.step, shown.metric(Metric::Tokens).last), (7, Some(7.0 * 1024.0)), "the table follows the steps");
    app.apply([MultiRunUpdate::Restarted(first.folder.clone()), steps(first, 2, 0, 1..=2)]);
    assert_eq!(app.state.list.row(&first.folder).unwrap().step, 2);
}

#[test]
fn a_run_that_vanishes_keeps_its_curve_and_group_and_has_its_problem() {
    let mut app = app();
    let (first, ..) = &runs()[0];
    let gone = RunListRow {
        folder: first.folder.clone(),
        run: first.run.clone(),
        problems: vec!["checkpoints/x: not a run folder: it does not exist".into()],
        ..RunListRow::default()
    };
    app.apply([read(gone)]);
    assert_eq!(charted(&app), owned(&[("A", 3), ("B", 2), ("C", 1)]));
    let text = text(&app, 120, 40);
    assert!(text.contains("damaged") && text.contains("it does not exist"), "{text}");
    let damaged =
        RunListRow { folder: "y".into(), run: "y".into(), problems: vec!["z".into()], ..RunListRow::default() };
    app.apply([read(damaged), MultiRunUpdate::Steps("y".into(), (1..9).map(|step| step_row(step, 9, 0)).collect())]);
    assert_eq!(charted(&app).len(), 3, "a run without a config has no group");
    press(&mut app, "End P");
    assert!(text_of_message(&app).contains("has no group"), "{}", text_of_message(&app));
    app.apply([MultiRunUpdate::List(RunListUpdate::Removed("y".into()))]);
    assert_eq!(app.state.folders().len(), 6);
}

fn text_of_message(app: &MultiRunApp) -> String {
    app.state.list.message.as_ref().map(|(_, text)| text.clone()).unwrap_or_default()
}

#[test]
fn filter_and_order_decide_what_is_charted_and_where_it_stands() {
    let mut app = app();
    assert_eq!(names(&app)[0], "every-2-seed-0", "in the order of their beginnings");
    press(&mut app, "s -loss_plain Enter");
    assert_eq!(names(&app)[0], "every-4-seed-1");
    press(&mut app, "S");
    assert_eq!(names(&app)[0], "every-0-seed-0");
    press(&mut app, "/ recycle.every>0␣run.seed<2 Enter");
    assert_eq!(names(&app).len(), 4);
    assert_eq!(charted(&app), owned(&[("A", 2), ("B", 2)]));
    press(&mut app, "/ ␣valid_loss_plain<1 Enter");
    assert_eq!(charted(&app), owned(&[("A", 1)]), "{:?}", names(&app));
    press(&mut app, "Esc");
    assert_eq!(names(&app).len(), 6, "Esc drops the filter");
    assert_eq!(press(&mut app, "Home Enter"), MultiRunEffect::Open(runs()[5].0.folder.clone()));
    assert_eq!(press(&mut app, "q"), MultiRunEffect::Leave);
}

#[test]
fn pins_outlast_filters_and_hidden_runs_are_left_out() {
    let mut app = app();
    press(&mut app, "h");
    assert_eq!(charted(&app), owned(&[("A", 2), ("B", 2), ("C", 1)]));
    press(&mut app, "H");
    assert_eq!(charted(&app), owned(&[("B", 2), ("C", 1)]));
    press(&mut app, "p");
    assert_eq!(charted(&app), owned(&[("A", 1), ("B", 2), ("C", 1)]), "a pinned run is drawn");
    press(&mut app, "End P / run.seed=1 Enter");
    assert_eq!(charted(&app), owned(&[("A", 1), ("B", 1), ("C", 1)]), "a pinned group, too");
    assert!(text(&app, 120, 40).contains("2 pinned"));
    press(&mut app, "Esc a");
    assert_eq!(charted(&app), owned(&[("A", 3), ("B", 2), ("C", 1)]));
    assert!(!app.view.has_pins());
}

#[test]
fn a_metric_is_chosen_by_keys_or_by_a_part_of_its_name() {
    let mut app = app();
    assert_eq!(app.view.charted_metric(&app.state), Some(Metric::LossPlain));
    press(&mut app, "m");
    let next = app.view.charted_metric(&app.state);
    press(&mut app, "M");
    assert_eq!(app.view.charted_metric(&app.state), Some(Metric::LossPlain));
    assert_ne!(next, Some(Metric::LossPlain));
    press(&mut app, "o valid Enter");
    assert_eq!(app.view.charted_metric(&app.state), Some(Metric::ValidPlain));
    press(&mut app, "o loss Enter");
    assert!(app.view.metric_prompt.error.as_ref().unwrap().contains("may be loss_plain_nats, valid_loss_plain_nats"));
    for _ in 0..5 {
        press(&mut app, "Esc x");
        assert!(!charted(&app).is_empty(), "{:?}", app.view.axis);
    }
}

#[test]
fn means_have_the_colour_of_their_group_and_the_selected_line_one_style() {
    let mut app = app();
    press(&mut app, "l");
    let theme = Theme::new(ColorDepth::TrueColor);
    let buffer = app.render_to_buffer(120, 40);
    let has_dots = |buffer: &Buffer, style: ratatui::style::Style| {
        buffer.content().iter().any(|cell| {
            let is_braille = cell.symbol().chars().all(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
            is_braille && Some(cell.fg) == style.fg
        })
    };
    for slot in 0..3 {
        assert!(has_dots(&buffer, theme.group(slot, crate::tui::theme::GroupTone::Full)), "{slot}");
    }
    let selected = theme.style(Role::Selected);
    let line = (0..40).find(|y| Some(buffer[(0, *y)].bg) == selected.bg).unwrap();
    assert!((0..120).all(|x| Some(buffer[(x, line)].bg) == selected.bg));
    press(&mut app, "P");
    let buffer = app.render_to_buffer(120, 40);
    assert!(!has_dots(&buffer, theme.group(1, crate::tui::theme::GroupTone::Full)), "others step back");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut app = MultiRunApp::new("x".into(), Theme::new(ColorDepth::None));
    let one = row(0, 2, 0);
    app.apply([read(one.clone())]);
    for part in 0..40 {
        app.apply([steps(&one, 2, 0, part * 500 + 1..=part * 500 + 500)]);
    }
    let series = app.state.series(&one.folder).unwrap();
    assert!(series.retained_buckets() <= 8 * MAX_BUCKETS_PER_SERIES);
    app.apply((0..MAX_RUNS as u64 + 5).map(|number| {
        let run = format!("20261124-101500-r{number}");
        read(RunListRow { folder: run.clone().into(), run, ..row(1, 2, number) })
    }));
    assert_eq!((app.state.folders().len(), app.state.list.row_count()), (MAX_RUNS, MAX_RUNS));
    assert!(text_of_message(&app).contains("only 400 runs are shown"));
}
