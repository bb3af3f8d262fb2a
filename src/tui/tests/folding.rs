//! Owns: tests of what events do to the state, and actions to the view.
//! Must not know: how anything is drawn.
//! Invariant: none beyond the tests' own.

use super::super::keys::{self, Action, Motion};
use super::super::state::{End, State};
use super::super::view::{Effect, Overlay, Panel, View};
use super::*;
use crate::message::{About, Alert, Changed, Command, Set};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 120, height: 40 };

#[test]
fn sparse_metrics_keep_their_last_value() {
    let state = training(203);
    assert_eq!(state.latest.get(Metric::ValidPlain), step_row(200).get(Metric::ValidPlain));
    assert_eq!(state.history(Metric::LossRecycled).buckets().len(), 1);
    assert_eq!(state.step_now(), 203);
}

#[test]
fn what_is_not_finite_is_told_and_not_charted() {
    let mut state = training(10);
    for (step, value) in [(11, f64::NAN), (12, f64::INFINITY)] {
        let mut row = step_row(step);
        row.set(Metric::LossPlain, value);
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(2));
    }
    let (what, times) = state.not_finite.clone().unwrap();
    assert_eq!((what.as_str(), times), ("loss_plain_nats was inf at step 12", 2));
    assert_eq!(state.history(Metric::LossPlain).buckets().last().unwrap().last, 10);
    assert!(state.latest.get(Metric::LossPlain).unwrap().is_finite());
}

#[test]
fn a_closed_channel_is_a_death_only_when_nothing_was_said_and_nothing_asked() {
    let mut died = training(3);
    died.panicked("thread trainer panicked: out of cheese".into());
    died.disconnected(false);
    assert_eq!(died.end, End::Failed("thread trainer panicked: out of cheese".into()));

    let mut asked = training(3);
    asked.disconnected(true);
    assert_eq!(asked.end, End::Gone);

    let mut finished = training(3);
    finished.apply(Event::Finished(Box::new(summary())), Duration::from_secs(1));
    finished.disconnected(false);
    assert_eq!(finished.end, End::Finished(Box::new(summary())));
}

#[test]
fn the_log_and_rows_are_bounded() {
    let mut state = State::default();
    for line in 0..5000 {
        state.apply(log(Level::Info, &line.to_string()), Duration::ZERO);
    }
    assert!(state.log.len() <= 2000);
    assert_eq!(state.log.back().unwrap().text, "4999");
    let mut row = token_row(1);
    row.cells = vec![row.cells[0].clone(); 100_000];
    state.apply(Event::Tokens(Box::new(row)), Duration::ZERO);
    assert!(state.row.unwrap().cells.len() <= 16_384);
}

#[test]
fn leaving_asks_while_the_run_goes_on_and_not_after() {
    let (state, mut view) = (training(5), View::default());
    assert_eq!(view.act(Action::Quit, &state, SCREEN), Effect::None);
    assert_eq!(view.overlay, Overlay::Question);
    assert_eq!(view.act(Action::Interrupt, &state, SCREEN), Effect::Leave, "the second Ctrl-C leaves");
    assert_eq!(view.act(Action::Stop, &state, SCREEN), Effect::Send(Command::Stop));
    assert_eq!((view.stopping, view.overlay), (true, Overlay::None));
    assert_eq!(view.act(Action::Quit, &state, SCREEN), Effect::Leave, "q while stopping leaves at once");

    let (mut over, mut view) = (training(5), View::default());
    over.apply(Event::Failed("out of memory".into()), Duration::ZERO);
    assert_eq!(view.act(Action::Quit, &over, SCREEN), Effect::Leave);
}

#[test]
fn pause_is_asked_for_once_and_settles_when_it_has_come_true() {
    let (mut state, mut view) = (training(5), View::default());
    assert_eq!(view.act(Action::Pause, &state, SCREEN), Effect::Send(Command::Pause(true)));
    assert_eq!(view.act(Action::Pause, &state, SCREEN), Effect::Send(Command::Pause(false)));
    view.act(Action::Pause, &state, SCREEN);
    view.settle(&state);
    assert_eq!(view.pause_asked, Some(true));
    state.apply(Event::Phase(Phase::Paused), Duration::from_secs(1));
    view.settle(&state);
    assert_eq!(view.pause_asked, None);
}

#[test]
fn a_frozen_row_stays_and_the_selection_stays_within_the_row() {
    let (mut state, mut view) = (training(5), View::default());
    view.focus = Panel::Entropy;
    view.act(Action::Freeze, &state, SCREEN);
    state.apply(Event::Tokens(Box::new(token_row(99))), Duration::from_secs(9));
    assert_eq!(view.row(&state).unwrap().step, 5);
    view.act(Action::Freeze, &state, SCREEN);
    assert_eq!(view.row(&state).unwrap().step, 99);
    for motion in [Motion::End, Motion::Right, Motion::Down, Motion::PageDown] {
        view.act(Action::Move(motion), &state, SCREEN);
        assert_eq!(view.selected, 119);
    }
    for motion in [Motion::PageUp, Motion::Home, Motion::Left, Motion::Up] {
        view.act(Action::Move(motion), &state, SCREEN);
    }
    assert_eq!(view.selected, 0);
}

#[test]
fn a_setting_is_typed_and_asked_for() {
    let (mut state, mut view) = (training(5), View::default());
    let press = |view: &mut View, code| view.type_key(&KeyEvent::new(code, KeyModifiers::NONE), &state);
    view.act(Action::Prompt, &training(5), SCREEN);
    for c in "set optim.lr 0.5".chars() {
        assert_eq!(press(&mut view, KeyCode::Char(c)), Effect::None);
    }
    let Effect::Send(Command::Set(Set { values, .. })) = press(&mut view, KeyCode::Enter) else {
        panic!("nothing was asked for")
    };
    assert_eq!((values, view.overlay), (vec![("optim.lr".into(), "0.5".into())], Overlay::None));
    let mut config = state.run.as_ref().unwrap().config.clone();
    config.optim.lr = 0.5;
    let changed = Changed { config, version: 1, rows: Vec::new() };
    state.apply(Event::Changed(Box::new(changed)), Duration::from_secs(1));
    assert_eq!((state.run.as_ref().unwrap().config.optim.lr, state.version()), (0.5, 1));
}

#[test]
fn an_alert_stands_until_it_is_taken_back() {
    let mut state = training(5);
    let about = || About::File("config.toml".into());
    for text in ["line 3", "line 4"] {
        state.apply(Event::Alert(Alert { about: about(), text: Some(text.into()) }), Duration::ZERO);
    }
    assert_eq!(state.alerts.len(), 1);
    assert!(picture(&state, &View::default(), 80, 24).contains("not taken up: line 4"));
    state.apply(Event::Alert(Alert { about: about(), text: None }), Duration::ZERO);
    assert!(state.alerts.is_empty());
}

#[test]
fn leaving_a_run_of_another_process_does_not_stop_it() {
    let (state, mut view) = (training(5), View { watching: true, ..View::default() });
    assert_eq!(view.act(Action::Quit, &state, SCREEN), Effect::Leave);
    assert!(!view.stopping);
}

#[test]
fn panels_are_walked_in_a_circle() {
    let (state, mut view) = (training(1), View::default());
    for _ in Panel::ALL {
        view.act(Action::Next, &state, SCREEN);
    }
    assert_eq!(view.focus, Panel::Loss);
    view.act(Action::Previous, &state, SCREEN);
    assert_eq!(view.focus, Panel::Run);
}

#[test]
fn no_sequence_of_keys_breaks_the_screen() {
    let (mut state, mut view, mut seed) = (training(250), View::default(), 7_u64);
    let mut draw = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    for step in 251..651 {
        let bindings: Vec<_> = keys::within(&view.scopes()).collect();
        let screen = Rect::new(0, 0, 50 + draw(100) as u16, 14 + draw(30) as u16);
        if view.overlay == Overlay::Prompt {
            let codes = [KeyCode::Char('s'), KeyCode::Char('漢'), KeyCode::Tab, KeyCode::Enter, KeyCode::Esc];
            let key = KeyEvent::new(codes[draw(5) as usize], KeyModifiers::NONE);
            view.type_key(&key, &state);
        } else {
            view.act(bindings[draw(bindings.len() as u64) as usize].action, &state, screen);
        }
        view.settle(&state);
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_millis(step * 100));
        picture(&state, &view, screen.width, screen.height);
    }
}
