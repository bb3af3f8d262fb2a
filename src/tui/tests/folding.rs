//! Owns: tests of how events change the run state, and actions the view.
//! Must not know: how anything is drawn.
//! Invariant: none beyond the tests' own.

use super::*;
use crate::schema::protocol::{Alert, AlertTopic, Command};
use crate::tui::app::actions::{Action, Direction, Motion};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::{Effect, Overlay, ViewState};
use crate::tui::model::state::{RunModel, TrainerStatus};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 120, height: 40 };

#[test]
fn sparse_metrics_keep_their_last_value() {
    let state = training_state(203);
    assert_eq!(state.metrics.latest(Metric::ValidPlain), step_row(200).get(Metric::ValidPlain));
    assert_eq!(state.history(Series::Metric(Metric::LossRecycled)).buckets().len(), 1);
    assert_eq!(state.current_step(), 203);
}

#[test]
fn values_that_are_not_finite_are_reported_and_not_charted() {
    let mut state = training_state(10);
    for (step, value) in [(11, f64::NAN), (12, f64::INFINITY)] {
        let mut row = step_row(step);
        row.set(Metric::LossPlain, value);
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(2));
    }
    let (what, times) = state.metrics.not_finite.clone().unwrap();
    assert_eq!((what.as_str(), times), ("loss_plain_nats was inf at step 12", 2));
    assert_eq!(state.history(Series::Metric(Metric::LossPlain)).last_step(), Some(10));
    assert!(state.metrics.latest(Metric::LossPlain).unwrap().is_finite());
}

#[test]
fn alerts_about_the_run_are_red_and_a_stall_ends_with_the_next_step() {
    let red = |state: &RunModel| {
        let (theme, view) = (Theme::new(ColorDepth::TrueColor), ViewState::default());
        let ctx = RenderContext { state, live: state, view: &view, theme: &theme, tabs: layout::TabSet::None };
        let lines = crate::tui::panels::notice::lines(ctx, 200);
        lines.into_iter().find(|(role, _)| *role == crate::tui::theme::Role::Bad).map(|(_, text)| text)
    };
    for topic in [AlertTopic::DiskFull, AlertTopic::Divergence, AlertTopic::NotFinite, AlertTopic::Stalled] {
        let mut state = training_state(10);
        assert_eq!(red(&state), None);
        let alert = Alert::now(topic, Some("look".into()));
        state.apply(Event::Alert(alert), state.now);
        assert!(red(&state).is_some_and(|text| text.starts_with("! ") && text.ends_with(" look")));
        assert_eq!(state.attention().len(), 1);
    }
    // 210 steps of 0.1 s, then none.
    let mut state = training_state(210);
    let last = state.now;
    state.now = last + Duration::from_secs(60);
    assert_eq!(red(&state), None);
    state.now = last + Duration::from_secs(61);
    assert!(red(&state).unwrap().contains("no step for 61 s (a step usually takes 0.10 s); step 211"));
    for phase in [RunPhase::Paused, RunPhase::Eval, RunPhase::Save] {
        let mut held = state.clone();
        held.apply(Event::Phase(phase), state.now);
        held.now += Duration::from_secs(999);
        assert_eq!(red(&held), None, "{phase:?}");
        held.apply(Event::Phase(RunPhase::Train), held.now);
        assert_eq!(red(&held), None, "the step has just begun");
    }
    state.apply(Event::Step(Box::new(step_row(211))), state.now);
    assert_eq!((red(&state), state.attention().len()), (None, 0));
    // A watched run does not tell that it validates.
    let mut state = training_state(199);
    state.now += Duration::from_secs(999);
    assert_eq!(red(&state), None);
}

#[test]
fn a_fork_keeps_the_answers_and_a_resumed_run_gets_its_own_again() {
    let answer = |number, end_reason: Option<&str>| {
        let end_reason = end_reason.map(str::to_owned);
        Event::Answer(Box::new(PlaygroundAnswer { number, end_reason, ..PlaygroundAnswer::default() }))
    };
    let mut state = training_state(3);
    for event in [answer(1, None), answer(1, Some("end")), answer(1, None), answer(1, Some("end"))] {
        state.apply(event, state.now);
    }
    assert_eq!(state.answers.len(), 2, "an answer that has ended is never replaced");
    let mut info = run_info(2000);
    info.folder = "checkpoints/fork".into();
    state.apply(Event::Started(Box::new(info.clone())), state.now);
    assert_eq!(state.answers.len(), 2);
    state.apply(Event::Started(Box::new(info)), state.now);
    assert_eq!(state.answers.len(), 0);
}

#[test]
fn a_watched_run_is_stopped_from_here_unless_it_refuses() {
    let mut app = crate::tui::app::App::new(Theme::new(ColorDepth::TrueColor));
    (app.state, app.view.watching) = (training_state(5), true);
    let stop = |app: &mut crate::tui::app::App| {
        app.view.open_prompt("stop", &app.state);
        app.handle_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), SCREEN)
    };
    assert_eq!(stop(&mut app), Effect::Send(Command::Stop));
    assert!(app.view.stopping && !app.view.leaving);
    let refused = Alert::now(AlertTopic::DashboardEdit, Some("no".into()));
    app.apply(Event::Alert(refused), Duration::ZERO);
    assert!(!app.view.stopping);
    stop(&mut app);
    app.apply(Event::Finished(Box::new(summary())), Duration::ZERO);
    assert!(!app.view.stopping, "the dashboard stays");
    assert_eq!(stop(&mut app), Effect::None, "nobody is there to do it");
}

#[test]
fn a_closed_channel_is_a_failure_unless_the_run_ended_or_was_asked_to_stop() {
    let mut died = training_state(3);
    died.record_panic("thread trainer panicked: out of cheese".into());
    died.handle_disconnect(false);
    assert_eq!(died.status, TrainerStatus::Failed("thread trainer panicked: out of cheese".into()));

    let mut asked = training_state(3);
    asked.handle_disconnect(true);
    assert_eq!(asked.status, TrainerStatus::Disconnected);

    let mut finished = training_state(3);
    finished.apply(Event::Finished(Box::new(summary())), Duration::from_secs(1));
    finished.handle_disconnect(false);
    assert_eq!(finished.status, TrainerStatus::Finished(Box::new(summary())));
}

#[test]
fn the_log_and_rows_are_bounded() {
    let mut state = RunModel::default();
    for line in 0..5000 {
        state.apply(log_event(LogLevel::Info, &line.to_string()), Duration::ZERO);
    }
    assert!(state.log.len() <= 2000);
    assert_eq!(state.log.back().unwrap().text, "4999");
    let mut row = token_row(1);
    row.cells = vec![row.cells[0].clone(); 100_000];
    state.apply(Event::ProbedRow(Box::new(row)), Duration::ZERO);
    assert!(state.last_token_row().unwrap().cells.len() <= 16_384);
}

#[test]
fn quitting_asks_during_the_run_and_not_after_it() {
    let (state, mut view) = (training_state(5), ViewState::default());
    assert_eq!(view.apply_action(Action::Quit, &state, SCREEN), Effect::None);
    assert_eq!(view.overlay, Overlay::StopDialog);
    assert_eq!(view.apply_action(Action::Interrupt, &state, SCREEN), Effect::Leave, "the second Ctrl-C leaves");
    assert_eq!(view.apply_action(Action::StopRun, &state, SCREEN), Effect::Send(Command::Stop));
    assert_eq!((view.stopping, view.overlay), (true, Overlay::None));
    assert_eq!(view.apply_action(Action::Quit, &state, SCREEN), Effect::None, "a checkpoint is being written");
    assert_eq!(view.overlay, Overlay::StopDialog);
    assert_eq!(view.apply_action(Action::LeaveNow, &state, SCREEN), Effect::Leave);

    let (mut over, mut view) = (training_state(5), ViewState::default());
    over.apply(Event::Failed("out of memory".into()), Duration::ZERO);
    assert_eq!(view.apply_action(Action::Quit, &over, SCREEN), Effect::Leave);
}

#[test]
fn a_pause_request_is_pending_until_the_run_is_paused() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    assert_eq!(view.apply_action(Action::Pause, &state, SCREEN), Effect::Send(Command::SetPaused(true)));
    assert_eq!(view.apply_action(Action::Pause, &state, SCREEN), Effect::Send(Command::SetPaused(false)));
    view.apply_action(Action::Pause, &state, SCREEN);
    view.reconcile(&state);
    assert_eq!(view.requested_pause, Some(true));
    state.apply(Event::Phase(RunPhase::Paused), Duration::from_secs(1));
    view.reconcile(&state);
    assert_eq!(view.requested_pause, None);
}

#[test]
fn a_frozen_display_stays_while_training_continues() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    view.apply_action(Action::ToggleFreeze, &state, SCREEN);
    let before = draw_text(&state, &view, 120, 40);
    state.apply(Event::ProbedRow(Box::new(token_row(99))), Duration::from_secs(9));
    for step in 6..50 {
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_secs(9));
    }
    assert_eq!(draw_text(&state, &view, 120, 40), before);
    assert!(before.contains("frozen"));
    state.apply(Event::Failed("out of memory".into()), Duration::from_secs(9));
    assert!(
        draw_text(&state, &view, 120, 40).contains("out of memory"),
        "a failure is shown although the display is frozen"
    );
    view.apply_action(Action::ToggleFreeze, &state, SCREEN);
    assert_eq!(view.tokens.row(view.displayed_state(&state)).unwrap().step, 99);
}

#[test]
fn older_rows_are_kept_and_the_selection_stays_within_the_row() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    view.panels.focus_on(Panel::Entropy);
    state.apply(Event::ProbedRow(Box::new(token_row(99))), Duration::from_secs(9));
    view.apply_action(Action::SelectRow(Direction::Backward), &state, SCREEN);
    assert_eq!(view.tokens.row(&state).unwrap().step, 5);
    view.apply_action(Action::SelectRow(Direction::Backward), &state, SCREEN);
    view.apply_action(Action::SelectRow(Direction::Forward), &state, SCREEN);
    assert_eq!(view.tokens.row(&state).unwrap().step, 99);
    for motion in [Motion::End, Motion::Right, Motion::Down, Motion::PageDown] {
        view.apply_action(Action::Move(motion), &state, SCREEN);
        assert_eq!(view.tokens.selected, 119);
    }
    for motion in [Motion::PageUp, Motion::Home, Motion::Left, Motion::Up] {
        view.apply_action(Action::Move(motion), &state, SCREEN);
    }
    assert_eq!(view.tokens.selected, 0);
    for step in 100..2000 {
        state.apply(Event::ProbedRow(Box::new(token_row(step))), Duration::from_secs(9));
    }
    assert!(state.token_rows.iter().map(|row| row.cells.len()).sum::<usize>() <= 65_536);
}
