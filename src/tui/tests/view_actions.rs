//! Owns: tests of what keys, the mouse and typed commands do to the view.
//! Must not know: how anything is drawn.
//! Invariant: none beyond the tests' own.

use super::*;
use crate::schema::protocol::{Alert, AlertTopic, Command, ConfigUpdate, SetKeys};
use crate::tui::app::actions::{Action, Direction, DraftEdit, Motion, Nudge};
use crate::tui::app::command::DashboardCommand;
use crate::tui::app::draft::NudgeSize;
use crate::tui::app::keys;
use crate::tui::app::keys::Scope;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::{Effect, Overlay, ReplyKind, ViewState};
use crate::tui::model::state::RunModel;
use crate::tui::theme::Role;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

const SCREEN: Rect = Rect { x: 0, y: 0, width: 120, height: 40 };

#[test]
fn a_setting_is_drafted_requested_and_answered() {
    let (mut state, mut view) = (training_state(300), ViewState::default());
    view.panels.focus_on(Panel::Schedule);
    view.apply_action(Action::Move(Motion::Down), &state, SCREEN);
    view.apply_action(Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Coarse)), &state, SCREEN);
    assert_eq!(view.active_scopes()[0], Scope::Draft);
    assert!(draw_text(&state, &view, 120, 40).contains("fraction 0.02 → 0.03 at 200 (◆ 1 of 2)"));
    let Effect::Send(Command::SetKeys(set)) = view.apply_action(Action::SendDraft, &state, SCREEN) else { panic!() };
    let (key, value) = &set.values[0];
    assert_eq!((key.as_str(), value.as_str()), ("recycle.fraction", "[[200, 0.03], [1500, 0.25]]"));
    assert!(draw_text(&state, &view, 120, 40).contains("requested"));
    let answer = change_row(301, "recycle.fraction", (0.02, 0.03), ChangeOutcome::Applied, None);
    let changed = ConfigUpdate { config: run_info(2000).config, version: 1, rows: vec![answer] };
    state.apply(Event::ConfigChanged(Box::new(changed)), Duration::from_secs(30));
    assert!(draw_text(&state, &view, 120, 40).contains("applied from step 301"));
    view.apply_action(Action::EditDraft(DraftEdit::NudgeValue(Nudge::Down, NudgeSize::Fine)), &state, SCREEN);
    assert_eq!(view.apply_action(Action::DiscardDraft, &state, SCREEN), Effect::None);
    assert_eq!(view.active_scopes()[0], Scope::Panel(Panel::Schedule));
}

#[test]
fn settings_are_undone_from_the_last_to_the_first() {
    let (mut state, mut view) = (training_state(300), ViewState::default());
    let apply = |state: &mut RunModel, weight: f64| {
        let mut config = state.run.as_ref().unwrap().config.clone();
        let old = config.recycle.weight.value_at(0);
        config.recycle.weight = Curve::constant(weight);
        let row = change_row(301, "recycle.weight", (old, weight), ChangeOutcome::Applied, None);
        let changed = ConfigUpdate { config, version: 1, rows: vec![row] };
        state.apply(Event::ConfigChanged(Box::new(changed)), Duration::from_secs(30));
    };
    assert_eq!(view.apply_action(Action::Undo, &state, SCREEN), Effect::None);
    assert!(view.reply.is_some(), "a reply says that there is nothing to undo");
    apply(&mut state, 0.5);
    apply(&mut state, 0.25);
    // Two undos are requested before the first is answered.
    let asked: Vec<Effect> = (0..2).map(|_| view.apply_action(Action::Undo, &state, SCREEN)).collect();
    let value = |effect: &Effect| match effect {
        Effect::Send(Command::SetKeys(set)) => set.values[0].1.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked.iter().map(value).collect::<Vec<_>>(), ["0.5", "1.0"]);
    apply(&mut state, 0.5);
    apply(&mut state, 1.0);
    view.reconcile(&state);
    apply(&mut state, 0.5);
    apply(&mut state, 0.25);
    view.reconcile(&state);
    for before in [0.5, 1.0] {
        let Effect::Send(Command::SetKeys(set)) = view.apply_action(Action::Undo, &state, SCREEN) else { panic!() };
        assert_eq!(set.values, [("recycle.weight".to_owned(), format!("{before:?}"))]);
        apply(&mut state, before);
        view.reconcile(&state);
    }
    assert_eq!(view.apply_action(Action::Undo, &state, SCREEN), Effect::None);
}

#[test]
fn the_mouse_focuses_panels_moves_the_cursor_and_zooms() {
    let (state, mut view) = (training_state(1234), ViewState::default());
    let event = |kind, column, row| MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    let left = MouseEventKind::Down(MouseButton::Left);
    view.handle_mouse(&event(left, 40, 12), &state, SCREEN, 0);
    let cross = view.charts.cursor.expect("a step is read");
    assert!((300..900).contains(&cross), "{cross}");
    view.handle_mouse(&event(MouseEventKind::ScrollUp, 40, 12), &state, SCREEN, 0);
    let (from, to) = view.charts.visible_steps(state.known_steps());
    assert!(to - from < 700 && (from..=to).contains(&cross));
    let entropy = view.panels.area_of(Panel::Entropy, SCREEN, 0);
    view.handle_mouse(&event(left, entropy.x + 8, entropy.y + 1), &state, SCREEN, 0);
    assert_eq!((view.panels.focus, view.tokens.selected), (Panel::Entropy, 1));
    view.handle_mouse(&event(left, entropy.x + 13, entropy.y), &state, SCREEN, 0);
    assert_eq!(view.panels.focus, Panel::Thoughts, "a hidden panel's name is a tab");
}

#[test]
fn a_filter_is_typed_kept_and_cleared() {
    let (mut state, mut view) = (training_state(300), ViewState::default());
    add_history(&mut state);
    view.panels.focus_on(Panel::Log);
    view.apply_action(Action::OpenFilter, &state, SCREEN);
    for c in "DISK".chars() {
        view.handle_prompt_key(&KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), &state);
    }
    view.handle_prompt_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), &state);
    let seen = draw_text(&state, &view, 120, 40);
    assert!(seen.contains("/disk") && seen.contains("the disk that holds") && !seen.contains("1,063,424 parameters"));
    view.apply_action(Action::Back, &state, SCREEN);
    assert!(draw_text(&state, &view, 120, 40).contains("1,063,424 parameters"));
}

#[test]
fn commands_of_the_dashboard_itself_take_effect() {
    let (mut state, mut view) = (training_state(300), ViewState::default());
    let typed = |view: &mut ViewState, state: &RunModel, text: &str| {
        view.apply_action(Action::OpenPrompt(""), state, SCREEN);
        text.chars().for_each(|c| {
            view.handle_prompt_key(&KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), state);
        });
        view.handle_prompt_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), state)
    };
    typed(&mut view, &state, "goto 120");
    assert_eq!(view.charts.cursor, Some(120));
    assert!(draw_text(&state, &view, 120, 40).contains("at step 120"));
    let export = Effect::Export("metrics".into(), "a.parquet".into());
    assert_eq!(typed(&mut view, &state, "export a.parquet"), export);
    assert_eq!(typed(&mut view, &state, "fork b"), Effect::Fork("b".into(), Vec::new()));
    for wrong in ["optim.lrr=1", "optim.lr=20", "model.width=32"] {
        assert_eq!(
            typed(&mut view, &state, &format!("fork b {wrong}")),
            Effect::None,
            "an invalid fork does not stop the run"
        );
        assert!(view.prompt.error.is_some() && view.overlay == Overlay::Prompt, "{wrong}");
        view.overlay = Overlay::None;
    }
    typed(&mut view, &state, "goto 999999");
    assert_eq!((view.charts.cursor, view.reply.is_some()), (Some(300), true));
    assert_eq!(typed(&mut view, &state, "resume"), Effect::None, "the run has not ended");
    assert_eq!(view.apply_action(Action::Resume, &state, SCREEN), Effect::None);
    state.apply(Event::Failed("out of memory".into()), Duration::from_secs(30));
    assert_eq!(view.apply_action(Action::Resume, &state, SCREEN), Effect::Resume(None));
    assert_eq!(typed(&mut view, &state, "note late"), Effect::WriteNote("late".into()));
    assert_eq!(typed(&mut view, &state, "lr 1"), Effect::None, "no trainer could apply it");
    assert!(view.prompt.error.is_some());
    view.overlay = Overlay::None;
    assert_eq!(typed(&mut view, &state, "resume 9"), Effect::Resume(Some(9)));
    state.reset_for_new_trainer();
    assert!(!state.is_over());
}

#[test]
fn a_setting_is_typed_and_requested() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    let press = |view: &mut ViewState, code| view.handle_prompt_key(&KeyEvent::new(code, KeyModifiers::NONE), &state);
    view.apply_action(Action::OpenPrompt(""), &training_state(5), SCREEN);
    for c in "set optim.lr 0.5".chars() {
        assert_eq!(press(&mut view, KeyCode::Char(c)), Effect::None);
    }
    let Effect::Send(Command::SetKeys(SetKeys { values, .. })) = press(&mut view, KeyCode::Enter) else {
        panic!("no setting was requested")
    };
    assert_eq!((values, view.overlay), (vec![("optim.lr".into(), "0.5".into())], Overlay::None));
    let mut config = state.run.as_ref().unwrap().config.clone();
    config.optim.lr = 0.5;
    let changed = ConfigUpdate { config, version: 1, rows: Vec::new() };
    state.apply(Event::ConfigChanged(Box::new(changed)), Duration::from_secs(1));
    assert_eq!((state.run.as_ref().unwrap().config.optim.lr, state.config_version()), (0.5, 1));
}

#[test]
fn an_alert_is_shown_until_it_is_withdrawn() {
    let mut state = training_state(5);
    let about = || AlertTopic::ConfigFile("config.toml".into());
    for text in ["line 3", "line 4"] {
        state.apply(Event::Alert(Alert::now(about(), Some(text.into()))), Duration::ZERO);
    }
    assert_eq!(state.alerts.len(), 1);
    assert!(draw_text(&state, &ViewState::default(), 80, 24).contains("not applied: line 4"));
    state.apply(Event::Alert(Alert::now(about(), None)), Duration::ZERO);
    assert!(state.alerts.is_empty());
}

#[test]
fn leaving_a_run_of_another_process_does_not_stop_it() {
    let (state, mut view) = (training_state(5), ViewState { watching: true, ..ViewState::default() });
    assert_eq!(view.apply_action(Action::Quit, &state, SCREEN), Effect::Leave);
    assert!(!view.stopping);
}

#[test]
fn alerts_about_rollouts_are_warnings_until_they_are_over() {
    for topic in [AlertTopic::EqualRewards, AlertTopic::CutRollouts] {
        let mut state = rl_state();
        state.apply(Event::Alert(Alert::now(topic.clone(), Some("look".into()))), state.now);
        let (theme, view) = (Theme::new(ColorDepth::TrueColor), ViewState::default());
        let lines = |state: &RunModel| {
            let ctx = RenderContext { state, live: state, view: &view, theme: &theme, tabs: layout::TabSet::None };
            crate::tui::panels::notice::lines(ctx, 200)
        };
        let found = lines(&state);
        assert!(matches!(&found[..], [(Role::Warn, text)] if text.ends_with(" look")), "{found:?}");
        state.apply(Event::Alert(Alert::now(topic, None)), state.now);
        assert!(lines(&state).is_empty());
    }
}

/// Returns the selected rollout: group, place among those made, and the iteration's step.
fn selected_rollout(state: &RunModel, view: &ViewState) -> (usize, usize, u64) {
    let selected = view.rollouts.selected(state).unwrap();
    (selected.group_index, selected.rollout().rollout, selected.rollout().step)
}

#[test]
fn keys_move_through_rollouts_groups_and_iterations() {
    let (state, mut view) = (rl_state(), focused_on(Panel::Rollouts));
    let mut press = |action: Action| {
        view.apply_action(action, &state, SCREEN);
        selected_rollout(&state, &view)
    };
    // Of the first group, rollouts 0 and 2 are right.
    assert_eq!(press(Action::Move(Motion::Down)), (0, 2, 1200));
    assert_eq!(press(Action::Move(Motion::Down)), (0, 1, 1200));
    assert_eq!(press(Action::ToggleRolloutOrder), (0, 1, 1200), "the same rollout");
    assert_eq!(press(Action::Move(Motion::Down)), (0, 2, 1200));
    assert_eq!(press(Action::Move(Motion::Right)), (1, 0, 1200));
    assert_eq!(press(Action::Move(Motion::Up)), (0, 3, 1200), "over the end of a group");
    assert_eq!(press(Action::Move(Motion::End)), (2, 3, 1200));
    assert_eq!(press(Action::Move(Motion::Down)), (2, 3, 1200));
    assert_eq!(press(Action::SelectRow(Direction::Backward)), (2, 3, 900));
    assert_eq!(press(Action::SelectRow(Direction::Backward)).2, 600);
    assert_eq!(press(Action::SelectRow(Direction::Forward)).2, 900);
    assert_eq!(press(Action::Move(Motion::Home)), (0, 0, 900));
    view.apply_dashboard_command(DashboardCommand::Goto(290), &state);
    assert_eq!(selected_rollout(&state, &view).2, 300);
    view.apply_action(Action::Back, &state, SCREEN);
    assert_eq!(selected_rollout(&state, &view).2, 1200);
    let copied = view.text_to_copy(&state).unwrap();
    assert!(copied.contains("from 0 to 4 or 10 ?") && copied.contains("right answer: 4"), "{copied}");
}

#[test]
fn a_long_rollout_is_scrolled_to_its_end_and_no_further() {
    let (mut state, mut view) = (rl_state(), focused_on(Panel::Rollouts));
    view.panels.expanded = true;
    let text: String = (0..900).map(|word| format!("w{word} ")).collect();
    state.apply(Event::Rollouts(vec![RolloutRow { step: 1234, text, ..RolloutRow::default() }]), Duration::ZERO);
    assert!(!draw_text(&state, &view, 120, 40).contains("w899"));
    for _ in 0..40 {
        view.apply_action(Action::Move(Motion::PageDown), &state, SCREEN);
    }
    let end = draw_text(&state, &view, 120, 40);
    assert!(end.contains("w899") && end.contains("w800"), "{end}");
    view.apply_action(Action::Move(Motion::PageUp), &state, SCREEN);
    assert!(!draw_text(&state, &view, 120, 40).contains("w899"));
}

#[test]
fn a_run_that_learns_from_rewards_begins_with_its_rollouts() {
    let (state, mut view) = (rl_state(), ViewState::default());
    view.reconcile(&state);
    assert!(view.panels.slots.contains(&Panel::Rollouts));
    let mut plain = training_state(5);
    plain.apply(Event::Started(Box::new(run_info(500))), Duration::ZERO);
    view.reconcile(&plain);
    assert!(!view.panels.slots.contains(&Panel::Rollouts), "the next run has none");
    view.panels.focus_on(Panel::Rollouts);
    assert!(draw_text(&training_state(5), &view, 80, 24).contains("this run has no rollouts"));
}

fn focused_on(panel: Panel) -> ViewState {
    let mut view = ViewState::default();
    view.panels.focus_on(panel);
    view
}

#[test]
fn panels_are_walked_in_a_circle() {
    let (state, mut view) = (training_state(1), ViewState::default());
    for _ in Panel::ALL {
        view.apply_action(Action::NextPanel, &state, SCREEN);
    }
    assert_eq!(view.panels.focus, Panel::Loss);
    view.apply_action(Action::PreviousPanel, &state, SCREEN);
    assert_eq!(view.panels.focus, Panel::Run);
}

#[test]
fn no_sequence_of_keys_breaks_the_screen() {
    keys_at_random(training_state(250));
    keys_at_random(rl_state());
}

fn keys_at_random(state: RunModel) {
    let (mut state, mut view, mut seed) = (state, ViewState::default(), 7_u64);
    let mut random = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for step in 251..651 {
        let bindings: Vec<_> = keys::bindings_in(&view.active_scopes()).collect();
        let screen = Rect::new(0, 0, 50 + random(100) as u16, 14 + random(30) as u16);
        if matches!(view.overlay, Overlay::Prompt | Overlay::Filter | Overlay::HelpFilter) {
            let codes = [KeyCode::Char('s'), KeyCode::Char('漢'), KeyCode::Tab, KeyCode::Enter, KeyCode::Esc];
            let key = KeyEvent::new(codes[random(5) as usize], KeyModifiers::NONE);
            view.handle_prompt_key(&key, &state);
        } else {
            view.apply_action(bindings[random(bindings.len() as u64) as usize].action, &state, screen);
        }
        view.reconcile(&state);
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_millis(step * 100));
        draw_text(&state, &view, screen.width, screen.height);
    }
}

#[test]
fn a_scrolled_list_stays_in_place_while_it_grows() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    view.panels.focus_on(Panel::Log);
    (0..40).for_each(|line| state.apply(log_event(LogLevel::Info, &format!("line {line}")), Duration::ZERO));
    view.reconcile(&state);
    for _ in 0..5 {
        view.apply_action(Action::Move(Motion::Up), &state, SCREEN);
    }
    let bottom = |view: &ViewState, state: &RunModel| {
        draw_text(state, view, 120, 40).lines().nth(37).unwrap_or_default().to_owned()
    };
    let before = bottom(&view, &state);
    assert!(before.contains("line 34"), "{before}");
    (40..60).for_each(|line| state.apply(log_event(LogLevel::Info, &format!("line {line}")), Duration::ZERO));
    view.reconcile(&state);
    assert_eq!(bottom(&view, &state), before);
    // The list cannot scroll back to entries that were dropped.
    (60..9000).for_each(|line| state.apply(log_event(LogLevel::Info, &format!("line {line}")), Duration::ZERO));
    view.reconcile(&state);
    assert!(draw_text(&state, &view, 120, 40).contains("line 7000"), "the oldest entry that is kept");
}

#[test]
fn another_run_in_the_same_dashboard_begins_with_a_clean_view() {
    let (mut state, mut view) = (training_state(300), ViewState::default());
    view.reconcile(&state);
    view.apply_action(Action::ToggleFreeze, &state, SCREEN);
    view.panels.focus_on(Panel::Schedule);
    view.apply_action(Action::EditDraft(DraftEdit::NudgeValue(Nudge::Up, NudgeSize::Fine)), &state, SCREEN);
    view.apply_action(Action::SendDraft, &state, SCREEN);
    assert!(view.sent_edit.is_some() && view.frozen.is_some());
    state.apply(Event::Started(Box::new(run_info(500))), Duration::from_secs(40));
    view.reconcile(&state);
    assert!(view.sent_edit.is_none() && view.frozen.is_none() && view.draft.is_none());
}

#[test]
fn an_alert_about_a_past_event_can_be_dismissed() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    let mut row = step_row(6);
    row.set(Metric::LossPlain, f64::NAN);
    state.apply(Event::Step(Box::new(row)), Duration::ZERO);
    assert!(draw_text(&state, &view, 80, 24).contains("NaN"));
    view.apply_action(Action::Back, &state, SCREEN);
    assert!(!draw_text(&state, &view, 80, 24).contains("NaN"));
    // An alert about a present state cannot be dismissed.
    let full = Some("no room on the disk".to_owned());
    state.apply(Event::Alert(Alert::now(AlertTopic::DiskFull, full)), Duration::ZERO);
    view.apply_action(Action::Back, &state, SCREEN);
    assert!(draw_text(&state, &view, 80, 24).contains("no room"));
}

#[test]
fn a_reply_stands_above_the_key_hints_until_the_next_key() {
    let (state, mut view) = (training_state(5), ViewState::default());
    let text = "`optim.lr` = 20: expected a number from 0 to 10".to_owned();
    let refusal = Event::Alert(Alert::now(AlertTopic::DashboardEdit, Some(text)));
    view.observe_event(&refusal);
    assert_eq!(view.reply, None, "nothing was requested: the refusal is one of the past");
    view.await_reply(&Command::SetKeys(SetKeys::single("optim.lr", "20")));
    view.observe_event(&refusal);
    let lines: Vec<String> = draw_text(&state, &view, 80, 24).lines().map(str::to_owned).collect();
    assert!(lines[22].contains("✗ `optim.lr` = 20: expected"), "{lines:?}");
    view.observe_event(&refusal);
    view.apply_action(Action::Back, &state, SCREEN);
    view.observe_event(&refusal);
    assert_eq!(view.reply, None, "a request has one reply");
}

#[test]
fn a_change_is_confirmed_where_it_was_typed() {
    let (mut state, mut view) = (training_state(5), ViewState::default());
    view.await_reply(&Command::SetKeys(SetKeys::single("optim.lr", "1e-4")));
    let row = change_row(6, "optim.lr", (1e-3, 1e-4), ChangeOutcome::Applied, None);
    let update = ConfigUpdate { config: run_info(2000).config, version: 1, rows: vec![row] };
    view.observe_event(&Event::ConfigChanged(Box::new(update.clone())));
    state.apply(Event::ConfigChanged(Box::new(update)), Duration::ZERO);
    let reply = view.reply.clone().unwrap();
    assert!(reply.kind == ReplyKind::Done && reply.text.starts_with("optim.lr "), "{reply:?}");
    assert!(draw_text(&state, &view, 80, 24).contains("from step 6 on; u undoes it"));
}

#[test]
fn the_step_cursor_moves_the_token_row_too() {
    let (mut state, mut view) = (training_state(600), ViewState::default());
    state.token_rows.clear();
    for step in [100, 200, 600] {
        state.apply(Event::ProbedRow(Box::new(token_row(step))), Duration::ZERO);
    }
    let steps: Vec<u64> = state.token_rows.iter().map(|row| row.step).collect();
    let asked = steps[1] + 1;
    view.apply_dashboard_command(DashboardCommand::Goto(asked), &state);
    assert_eq!((view.charts.cursor, view.tokens.row(&state).map(|row| row.step)), (Some(asked), Some(steps[1])));
    view.apply_action(Action::Back, &state, SCREEN);
    assert_eq!(view.tokens.row(&state).map(|row| row.step), steps.last().copied());
}

#[test]
fn a_resumed_run_shows_its_past_from_the_beginning() {
    let (mut state, view) = (RunModel::default(), ViewState::default());
    state.apply(Event::Started(Box::new(run_info(2000))), Duration::ZERO);
    state.apply(Event::History((1..=500).map(step_row).collect()), Duration::ZERO);
    state.apply(Event::Phase(RunPhase::Paused), Duration::ZERO);
    assert!(!state.is_preparing());
    assert!(draw_text(&state, &view, 120, 40).contains("plain "));
    state.apply(Event::Phase(RunPhase::Compile), Duration::ZERO);
    assert!(draw_text(&state, &view, 120, 40).contains("compiling"));
}
