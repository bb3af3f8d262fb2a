//! Owns: tests of what events do to the state, and actions to the view.
//! Must not know: how anything is drawn.
//! Invariant: none beyond the tests' own.

use super::super::draft::Nudge;
use super::super::keys::{self, Action, Motion, Scope};
use super::super::layout;
use super::super::state::{End, State};
use super::super::view::{Edit, Effect, Overlay, Panel, View};
use super::*;
use crate::message::{About, Alert, Changed, Command, Set};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 120, height: 40 };

#[test]
fn sparse_metrics_keep_their_last_value() {
    let state = training(203);
    assert_eq!(state.latest.get(Metric::ValidPlain), step_row(200).get(Metric::ValidPlain));
    assert_eq!(state.history(Series::Of(Metric::LossRecycled)).buckets().len(), 1);
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
    assert_eq!(state.history(Series::Of(Metric::LossPlain)).last_step(), Some(10));
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
    assert!(state.row().unwrap().cells.len() <= 16_384);
}

#[test]
fn leaving_asks_while_the_run_goes_on_and_not_after() {
    let (state, mut view) = (training(5), View::default());
    assert_eq!(view.act(Action::Quit, &state, SCREEN), Effect::None);
    assert_eq!(view.overlay, Overlay::Question);
    assert_eq!(view.act(Action::Interrupt, &state, SCREEN), Effect::Leave, "the second Ctrl-C leaves");
    assert_eq!(view.act(Action::Stop, &state, SCREEN), Effect::Send(Command::Stop));
    assert_eq!((view.stopping, view.overlay), (true, Overlay::None));
    assert_eq!(view.act(Action::Quit, &state, SCREEN), Effect::None, "a checkpoint is being written");
    assert_eq!(view.overlay, Overlay::Question);
    assert_eq!(view.act(Action::Leave, &state, SCREEN), Effect::Leave);

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
fn a_frozen_picture_stays_while_training_goes_on() {
    let (mut state, mut view) = (training(5), View::default());
    view.act(Action::Freeze, &state, SCREEN);
    let before = picture(&state, &view, 120, 40);
    state.apply(Event::Tokens(Box::new(token_row(99))), Duration::from_secs(9));
    for step in 6..50 {
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_secs(9));
    }
    assert_eq!(picture(&state, &view, 120, 40), before);
    assert!(before.contains("frozen"));
    state.apply(Event::Failed("out of memory".into()), Duration::from_secs(9));
    assert!(picture(&state, &view, 120, 40).contains("out of memory"), "what needs a person is told");
    view.act(Action::Freeze, &state, SCREEN);
    assert_eq!(view.row(view.seen(&state)).unwrap().step, 99);
}

#[test]
fn older_rows_are_kept_and_the_selection_stays_within_the_row() {
    let (mut state, mut view) = (training(5), View::default());
    view.look_at(Panel::Entropy);
    state.apply(Event::Tokens(Box::new(token_row(99))), Duration::from_secs(9));
    view.act(Action::Row(true), &state, SCREEN);
    assert_eq!(view.row(&state).unwrap().step, 5);
    view.act(Action::Row(true), &state, SCREEN);
    view.act(Action::Row(false), &state, SCREEN);
    assert_eq!(view.row(&state).unwrap().step, 99);
    for motion in [Motion::End, Motion::Right, Motion::Down, Motion::PageDown] {
        view.act(Action::Move(motion), &state, SCREEN);
        assert_eq!(view.selected, 119);
    }
    for motion in [Motion::PageUp, Motion::Home, Motion::Left, Motion::Up] {
        view.act(Action::Move(motion), &state, SCREEN);
    }
    assert_eq!(view.selected, 0);
    for step in 100..2000 {
        state.apply(Event::Tokens(Box::new(token_row(step))), Duration::from_secs(9));
    }
    assert!(state.rows.iter().map(|row| row.cells.len()).sum::<usize>() <= 65_536);
}

#[test]
fn a_number_is_drafted_asked_for_and_answered() {
    let (mut state, mut view) = (training(300), View::default());
    view.look_at(Panel::Schedule);
    view.act(Action::Move(Motion::Down), &state, SCREEN);
    view.act(Action::Draft(Edit::Value(true, Nudge::Coarse)), &state, SCREEN);
    assert_eq!(view.scopes()[0], Scope::Draft);
    assert!(picture(&state, &view, 120, 40).contains("fraction 0.02 → 0.03 at 200 (1 of 2)"));
    let Effect::Send(Command::Set(set)) = view.act(Action::DraftSend, &state, SCREEN) else { panic!() };
    let (key, value) = &set.values[0];
    assert_eq!((key.as_str(), value.as_str()), ("recycle.fraction", "[[200, 0.03], [1500, 0.25]]"));
    assert!(picture(&state, &view, 120, 40).contains("asked for"));
    let answer = change(301, "recycle.fraction", (0.02, 0.03), Outcome::Applied, None);
    let changed = Changed { config: info(2000).config, version: 1, rows: vec![answer] };
    state.apply(Event::Changed(Box::new(changed)), Duration::from_secs(30));
    assert!(picture(&state, &view, 120, 40).contains("from step 301 on"));
    view.act(Action::Draft(Edit::Value(false, Nudge::Fine)), &state, SCREEN);
    assert_eq!(view.act(Action::DraftDrop, &state, SCREEN), Effect::None);
    assert_eq!(view.scopes()[0], Scope::Panel(Panel::Schedule));
}

#[test]
fn the_last_setting_is_undone_and_the_one_before_after_it() {
    let (mut state, mut view) = (training(300), View::default());
    let apply = |state: &mut State, weight: f64| {
        let mut config = state.run.as_ref().unwrap().config.clone();
        let old = config.recycle.weight.at(0);
        config.recycle.weight = Curve::constant(weight);
        let row = change(301, "recycle.weight", (old, weight), Outcome::Applied, None);
        let changed = Changed { config, version: 1, rows: vec![row] };
        state.apply(Event::Changed(Box::new(changed)), Duration::from_secs(30));
    };
    assert_eq!(view.act(Action::Undo, &state, SCREEN), Effect::None);
    assert!(view.hint.is_some(), "that there is nothing is said");
    apply(&mut state, 0.5);
    apply(&mut state, 0.25);
    // Two that are asked for before the first is answered.
    let asked: Vec<Effect> = (0..2).map(|_| view.act(Action::Undo, &state, SCREEN)).collect();
    let value = |effect: &Effect| match effect {
        Effect::Send(Command::Set(set)) => set.values[0].1.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked.iter().map(value).collect::<Vec<_>>(), ["0.5", "1.0"]);
    apply(&mut state, 0.5);
    apply(&mut state, 1.0);
    view.settle(&state);
    apply(&mut state, 0.5);
    apply(&mut state, 0.25);
    view.settle(&state);
    for before in [0.5, 1.0] {
        let Effect::Send(Command::Set(set)) = view.act(Action::Undo, &state, SCREEN) else { panic!() };
        assert_eq!(set.values, [("recycle.weight".to_owned(), format!("{before:?}"))]);
        apply(&mut state, before);
        view.settle(&state);
    }
    assert_eq!(view.act(Action::Undo, &state, SCREEN), Effect::None);
}

#[test]
fn the_mouse_focuses_reads_and_zooms() {
    let (state, mut view) = (training(1234), View::default());
    let event = |kind, column, row| MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    let left = MouseEventKind::Down(MouseButton::Left);
    view.mouse(&event(left, 40, 12), &state, SCREEN, 0);
    let cross = view.charts.cross.expect("a step is read");
    assert!((300..900).contains(&cross), "{cross}");
    view.mouse(&event(MouseEventKind::ScrollUp, 40, 12), &state, SCREEN, 0);
    let (from, to) = view.charts.window(state.span());
    assert!(to - from < 700 && (from..=to).contains(&cross));
    let entropy = layout::panel(SCREEN, 0, &view, Panel::Entropy);
    view.mouse(&event(left, entropy.x + 8, entropy.y + 1), &state, SCREEN, 0);
    assert_eq!((view.focus, view.selected), (Panel::Entropy, 1));
    view.mouse(&event(left, entropy.x + 13, entropy.y), &state, SCREEN, 0);
    assert_eq!(view.focus, Panel::Thoughts, "a hidden panel's name is a tab");
}

#[test]
fn a_filter_is_typed_kept_and_taken_back() {
    let (mut state, mut view) = (training(300), View::default());
    told(&mut state);
    view.look_at(Panel::Log);
    view.act(Action::Filter, &state, SCREEN);
    for c in "DISK".chars() {
        view.type_key(&KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), &state);
    }
    view.type_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), &state);
    let seen = picture(&state, &view, 120, 40);
    assert!(
        seen.contains("/disk")
            && seen.contains("the disk that holds")
            && !seen.contains("1,063,424 parameters")
    );
    view.act(Action::Back, &state, SCREEN);
    assert!(picture(&state, &view, 120, 40).contains("1,063,424 parameters"));
}

#[test]
fn commands_of_the_dashboard_itself_are_carried_out() {
    let (mut state, mut view) = (training(300), View::default());
    let typed = |view: &mut View, state: &State, text: &str| {
        view.act(Action::Prompt(""), state, SCREEN);
        text.chars().for_each(|c| {
            view.type_key(&KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), state);
        });
        view.type_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), state)
    };
    typed(&mut view, &state, "goto 120");
    assert_eq!(view.charts.cross, Some(120));
    assert!(picture(&state, &view, 120, 40).contains("at step 120"));
    let export = Effect::Export("metrics".into(), "a.parquet".into());
    assert_eq!(typed(&mut view, &state, "export a.parquet"), export);
    assert_eq!(typed(&mut view, &state, "fork b"), Effect::Fork("b".into(), Vec::new()));
    for wrong in ["optim.lrr=1", "optim.lr=20", "model.width=32"] {
        assert_eq!(
            typed(&mut view, &state, &format!("fork b {wrong}")),
            Effect::None,
            "nothing is stopped for it"
        );
        assert!(view.prompt.error.is_some() && view.overlay == Overlay::Prompt, "{wrong}");
        view.overlay = Overlay::None;
    }
    typed(&mut view, &state, "goto 999999");
    assert_eq!((view.charts.cross, view.hint.is_some()), (Some(300), true));
    assert_eq!(typed(&mut view, &state, "resume"), Effect::None, "it goes on");
    assert_eq!(view.act(Action::Resume, &state, SCREEN), Effect::None);
    state.apply(Event::Failed("out of memory".into()), Duration::from_secs(30));
    assert_eq!(view.act(Action::Resume, &state, SCREEN), Effect::Resume(None));
    assert_eq!(typed(&mut view, &state, "note late"), Effect::Note("late".into()));
    assert_eq!(typed(&mut view, &state, "lr 1"), Effect::None, "nobody could take it up");
    assert!(view.prompt.error.is_some());
    view.overlay = Overlay::None;
    assert_eq!(typed(&mut view, &state, "resume 9"), Effect::Resume(Some(9)));
    state.begin_again();
    assert!(!state.is_over());
}

#[test]
fn a_setting_is_typed_and_asked_for() {
    let (mut state, mut view) = (training(5), View::default());
    let press = |view: &mut View, code| view.type_key(&KeyEvent::new(code, KeyModifiers::NONE), &state);
    view.act(Action::Prompt(""), &training(5), SCREEN);
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
        if matches!(view.overlay, Overlay::Prompt | Overlay::Filter) {
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

#[test]
fn what_is_read_stays_in_its_place_while_more_comes() {
    let (mut state, mut view) = (training(5), View::default());
    view.look_at(Panel::Log);
    (0..40).for_each(|line| state.apply(log(Level::Info, &format!("line {line}")), Duration::ZERO));
    view.settle(&state);
    for _ in 0..5 {
        view.act(Action::Move(Motion::Up), &state, SCREEN);
    }
    let bottom = |view: &View, state: &State| {
        picture(state, view, 120, 40).lines().nth(37).unwrap_or_default().to_owned()
    };
    let before = bottom(&view, &state);
    assert!(before.contains("line 34"), "{before}");
    (40..60).for_each(|line| state.apply(log(Level::Info, &format!("line {line}")), Duration::ZERO));
    view.settle(&state);
    assert_eq!(bottom(&view, &state), before);
    // What is forgotten cannot be gone back to.
    (60..9000).for_each(|line| state.apply(log(Level::Info, &format!("line {line}")), Duration::ZERO));
    view.settle(&state);
    assert!(picture(&state, &view, 120, 40).contains("line 7000"), "the oldest that is left");
}

#[test]
fn another_run_in_the_same_dashboard_begins_with_a_clean_view() {
    let (mut state, mut view) = (training(300), View::default());
    view.settle(&state);
    view.act(Action::Freeze, &state, SCREEN);
    view.look_at(Panel::Schedule);
    view.act(Action::Draft(Edit::Value(true, Nudge::Fine)), &state, SCREEN);
    view.act(Action::DraftSend, &state, SCREEN);
    assert!(view.sent.is_some() && view.frozen.is_some());
    state.apply(Event::Started(Box::new(info(500))), Duration::from_secs(40));
    view.settle(&state);
    assert!(view.sent.is_none() && view.frozen.is_none() && view.draft.is_none());
}

#[test]
fn an_alert_of_the_past_is_read_and_goes() {
    let (mut state, mut view) = (training(5), View::default());
    let text = Some("`optim.lr` = 20 is not allowed".to_owned());
    state.apply(Event::Alert(Alert { about: About::Keys, text }), Duration::ZERO);
    assert!(picture(&state, &view, 80, 24).contains("is not allowed"));
    view.act(Action::Back, &state, SCREEN);
    assert!(!picture(&state, &view, 80, 24).contains("is not allowed"));
    // What was read stays away when another is read.
    let mut row = step_row(6);
    row.set(Metric::LossPlain, f64::NAN);
    state.apply(Event::Step(Box::new(row)), Duration::ZERO);
    view.act(Action::Back, &state, SCREEN);
    let both = picture(&state, &view, 80, 24);
    assert!(!both.contains("is not allowed") && !both.contains("NaN"), "{both}");
    // What still is does not go.
    let full = Some("no room on the disk".to_owned());
    state.apply(Event::Alert(Alert { about: About::Disk, text: full }), Duration::ZERO);
    view.act(Action::Back, &state, SCREEN);
    assert!(picture(&state, &view, 80, 24).contains("no room"));
}

#[test]
fn a_run_that_is_over_still_tells_what_else_there_is() {
    let (mut state, view) = (training(200), View::default());
    state.apply(Event::Finished(Box::new(summary())), Duration::from_secs(200));
    let text = Some("`optim.lr` holds when it is resumed".to_owned());
    state.apply(Event::Alert(Alert { about: About::Keys, text }), Duration::ZERO);
    let picture = picture(&state, &view, 120, 40);
    assert!(
        picture.contains("done: 2,000 steps") && picture.contains("holds when it is resumed"),
        "{picture}"
    );
}

#[test]
fn a_resumed_run_shows_its_past_from_the_beginning() {
    let (mut state, view) = (State::default(), View::default());
    state.apply(Event::Started(Box::new(info(2000))), Duration::ZERO);
    state.apply(Event::Past((1..=500).map(step_row).collect()), Duration::ZERO);
    state.apply(Event::Phase(Phase::Paused), Duration::ZERO);
    assert!(!state.is_preparing());
    assert!(picture(&state, &view, 120, 40).contains("plain "));
    state.apply(Event::Phase(Phase::Compile), Duration::ZERO);
    assert!(picture(&state, &view, 120, 40).contains("compiling"));
}
