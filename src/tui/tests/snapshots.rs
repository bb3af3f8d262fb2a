//! Owns: snapshots of the whole screen in every important state and size.
//! Must not know: anything but run state and view.
//! Invariant: none beyond the stored snapshots.

use super::*;
use crate::tui::app::chart_settings::ChartSpan;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::rollout_view::RolloutOrder;
use crate::tui::app::token_view::EntropyDisplay;
use crate::tui::app::view::{Overlay, ViewState};
use crate::tui::plot::axis::Scale;
use crate::tui::plot::token_grid::TokenValue;
use insta::assert_snapshot;

fn focused(panel: Panel, expanded: bool) -> ViewState {
    let mut view = ViewState::default();
    view.panels.expanded = expanded;
    view.panels.focus_on(panel);
    view
}

#[test]
fn training_at_every_size() {
    let state = training_state(1234);
    assert_snapshot!("training_60x16", draw_text(&state, &ViewState::default(), 60, 16));
    assert_snapshot!("training_80x24", draw_text(&state, &ViewState::default(), 80, 24));
    assert_snapshot!("training_120x40", draw_text(&state, &ViewState::default(), 120, 40));
    assert_snapshot!("training_250x70", draw_text(&state, &ViewState::default(), 250, 70));
}

#[test]
fn a_screen_below_the_smallest_size_says_so() {
    assert_snapshot!("too_small", draw_text(&training_state(3), &ViewState::default(), 50, 10));
}

#[test]
fn without_colours_curves_differ_by_dashes() {
    let picture = draw_text_in(&training_state(1234), &focused(Panel::Loss, true), 80, 24, ColorDepth::None);
    assert_snapshot!("no_color", picture);
}

#[test]
fn before_the_first_event() {
    assert_snapshot!("empty", draw_text(&RunModel::default(), &ViewState::default(), 80, 24));
}

#[test]
fn the_dataset_is_prepared() {
    let mut state = RunModel::default();
    state.apply(Event::Phase(RunPhase::LoadData), Duration::ZERO);
    let progress = Event::Progress { label: "records".into(), done: 5760, total: 12_000 };
    state.apply(progress, Duration::from_millis(250));
    assert_snapshot!("preparing", draw_text(&state, &ViewState::default(), 80, 24));
    state.apply(Event::Phase(RunPhase::BuildModel), Duration::from_millis(500));
    state.apply(Event::Started(Box::new(run_info(2000))), Duration::from_millis(600));
    assert_snapshot!("building", draw_text(&state, &ViewState::default(), 120, 40));
}

#[test]
fn a_single_point() {
    let mut state = training_state(0);
    state.token_rows.clear();
    state.apply(Event::Step(Box::new(step_row(1))), Duration::from_secs(1));
    assert_snapshot!("one_point", draw_text(&state, &ViewState::default(), 80, 24));
}

#[test]
fn losses_that_are_not_finite() {
    let mut state = training_state(300);
    let mut row = step_row(301);
    row.set(Metric::LossPlain, f64::NAN);
    row.set(Metric::GradNorm, f64::INFINITY);
    state.apply(Event::Step(Box::new(row)), Duration::from_secs(31));
    assert_snapshot!("not_finite", draw_text(&state, &ViewState::default(), 80, 24));
}

#[test]
fn paused_and_frames_dropped() {
    let mut state = training_state(640);
    state.apply(Event::Phase(RunPhase::Paused), Duration::from_secs(64));
    state.dropped_frames = 1234;
    assert_snapshot!("paused", draw_text(&state, &ViewState::default(), 80, 24));
}

#[test]
fn the_trainer_died() {
    let mut state = training_state(400);
    let error = "out of memory: asked for 2.1 GiB of the device's memory at step 400 of 2000";
    state.apply(Event::Failed(error.into()), Duration::from_secs(40));
    assert_snapshot!("failed", draw_text(&state, &ViewState::default(), 80, 24));
}

#[test]
fn the_trainer_died_before_the_first_step() {
    let mut state = RunModel::default();
    let error = "cannot read datasets/prosqa/train-00000.parquet: row group 3 is cut off at byte 1,048,576";
    state.apply(Event::Failed(error.into()), Duration::ZERO);
    assert_snapshot!("failed_early", draw_text(&state, &ViewState::default(), 80, 24));
}

#[test]
fn the_run_is_finished() {
    let mut state = training_state(2000);
    state.apply(Event::Finished(Box::new(summary())), Duration::from_secs(200));
    assert_snapshot!("finished_80x24", draw_text(&state, &ViewState::default(), 80, 24));
    assert_snapshot!("finished_120x40", draw_text(&state, &ViewState::default(), 120, 40));
}

#[test]
fn help_at_both_widths() {
    let state = training_state(20);
    let view = ViewState { overlay: Overlay::Help(0), ..ViewState::default() };
    assert_snapshot!("help_80x24", draw_text(&state, &view, 80, 24));
    assert_snapshot!("help_60x16", draw_text(&state, &view, 60, 16));
    assert_snapshot!("help_120x40", draw_text(&state, &view, 120, 40));
}

#[test]
fn the_stop_dialog() {
    let view = ViewState { overlay: Overlay::StopDialog, ..ViewState::default() };
    assert_snapshot!("question", draw_text(&training_state(20), &view, 80, 24));
}

#[test]
fn the_command_line() {
    let mut view = ViewState { overlay: Overlay::Prompt, ..ViewState::default() };
    assert_snapshot!("prompt_empty", footer(&view));
    view.prompt.text = "set recycle.fraction 0.2".into();
    assert_snapshot!("prompt_set", footer(&view));
    view.prompt.error = Some("no command `x`".into());
    assert_snapshot!("prompt_error", footer(&view));
}

/// Returns the last line of the screen.
fn footer(view: &ViewState) -> String {
    draw_text(&training_state(20), view, 80, 24).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn stopping() {
    let view = ViewState { stopping: true, ..ViewState::default() };
    assert_snapshot!("stopping", draw_text(&training_state(20), &view, 80, 24));
}

#[test]
fn every_panel_on_the_whole_screen() {
    let mut state = training_state(1234);
    add_history(&mut state);
    // tests/dashboard.rs draws a recorded run at other sizes.
    for panel in Panel::ALL {
        let mut view = focused(panel, true);
        (view.tokens.selected, view.charts.cursor) = (14, Some(700));
        assert_snapshot!(format!("{}_80x24", panel.name()), draw_text(&state, &view, 80, 24));
    }
}

#[test]
fn other_views_of_the_panels() {
    let mut state = training_state(1234);
    add_history(&mut state);
    let mut view = focused(Panel::Loss, true);
    (view.charts.span, view.charts.y_scale) = (ChartSpan::Last(300), Scale::Log);
    assert_snapshot!("loss_last_log", draw_text(&state, &view, 80, 24));
    let mut view = focused(Panel::Loss, true);
    (view.charts.x_scale, view.charts.loss_charts) = (Scale::Log, view.charts.loss_charts.next());
    assert_snapshot!("loss_difference_log_steps", draw_text(&state, &view, 80, 24));
    for (name, mode, picture_of) in [
        ("entropy_change", TokenValue::Difference, EntropyDisplay::Row),
        ("entropy_course", TokenValue::Nll, EntropyDisplay::Heatmap),
    ] {
        let mut view = focused(Panel::Entropy, true);
        (view.tokens.value, view.tokens.display) = (mode, picture_of);
        assert_snapshot!(name, draw_text_in(&state, &view, 80, 24, ColorDepth::None));
    }
    for (width, height) in [(60, 16), (160, 50)] {
        let mut view = focused(Panel::Layers, true);
        view.lists[Panel::Layers as usize].offset = 9;
        assert_snapshot!(format!("layers_{width}x{height}"), draw_text(&state, &view, width, height));
    }
    for panel in [Panel::Cost, Panel::Thoughts, Panel::Layers, Panel::Changes, Panel::Samples] {
        let name = format!("shared_{}", panel.name());
        assert_snapshot!(name, draw_text(&state, &focused(panel, false), 80, 24));
    }
}

#[test]
fn an_empty_run_and_one_with_a_single_step_have_every_panel() {
    let mut one = training_state(0);
    one.token_rows.clear();
    one.apply(Event::Step(Box::new(step_row(1))), Duration::from_secs(1));
    let mut pictures = String::new();
    for panel in Panel::ALL {
        for (name, state) in [("empty", &RunModel::default()), ("one step", &one)] {
            let picture = draw_text(state, &focused(panel, true), 80, 24);
            pictures += &format!("{name}, {}\n{picture}", panel.name());
        }
    }
    assert_snapshot!("empty_and_one", pictures);
}

#[test]
fn a_history_of_ten_million_steps_is_drawn_like_any_other() {
    let mut state = training_state(0);
    state.apply(Event::Started(Box::new(run_info(10_000_000))), Duration::ZERO);
    for step in (1..=10_000_000_u64).step_by(97) {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, if step % 1_000_003 < 97 { 1e9 } else { 2.0 + (step as f64 / 1e5).sin() });
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(1));
    }
    let mut view = focused(Panel::Loss, true);
    view.charts.y_scale = Scale::Log;
    assert_snapshot!("huge", draw_text(&state, &view, 120, 40));
}

#[test]
fn values_that_are_not_finite_are_gaps() {
    let mut state = training_state(0);
    for step in 1..=400 {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, if (150..250).contains(&step) { f64::NAN } else { 2.0 });
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(1));
    }
    assert_snapshot!("gap", draw_text(&state, &focused(Panel::Loss, true), 80, 24));
}

#[test]
fn any_size_can_be_drawn_in_any_state() {
    let mut dead = RunModel::default();
    dead.apply(Event::Failed("x".repeat(500)), Duration::ZERO);
    for state in [RunModel::default(), training_state(0), training_state(50), rl_state(), dead] {
        for (width, height) in [(1, 1), (60, 16), (61, 17), (73, 20), (100, 23), (180, 45), (300, 20), (60, 90)] {
            for panel in Panel::ALL {
                for overlay in
                    [Overlay::None, Overlay::Help(99), Overlay::HelpFilter, Overlay::StopDialog, Overlay::Filter]
                {
                    let mut view = focused(panel, width % 2 == 0);
                    view.overlay = overlay;
                    draw_text(&state, &view, width, height);
                }
            }
        }
    }
}

#[test]
fn rollouts_are_shown_at_every_size() {
    let state = rl_state();
    let mut view = ViewState::default();
    view.reconcile(&state);
    assert_snapshot!("rl_120x40", draw_text(&state, &view, 120, 40));
    assert_snapshot!("rl_80x24", draw_text(&state, &view, 80, 24));
    view.panels.focus_on(Panel::Rollouts);
    assert_snapshot!("rl_wide_200x50", draw_text(&state, &view, 200, 50));
    view.panels.expanded = true;
    (view.rollouts.group, view.rollouts.rollout) = (0, 1);
    assert_snapshot!("rollouts_best_first_120x40", draw_text(&state, &view, 120, 40));
    (view.rollouts.group, view.rollouts.rollout, view.rollouts.step) = (2, 9, Some(600));
    view.rollouts.order = RolloutOrder::Made;
    assert_snapshot!("rollouts_made_order_60x16", draw_text(&state, &view, 60, 16));
    assert_snapshot!("rollouts_no_color", draw_text_in(&state, &view, 80, 24, ColorDepth::None));
}

#[test]
fn panels_of_a_run_that_learns_from_rewards() {
    let state = rl_state();
    for panel in [Panel::Run, Panel::Loss, Panel::Schedule, Panel::Cost] {
        assert_snapshot!(format!("rl_{}_80x24", panel.name()), draw_text(&state, &focused(panel, true), 80, 24));
    }
}

#[test]
fn a_curriculum_shows_its_stage_and_the_accuracy_by_steps() {
    let mut state = RunModel::default();
    let mut info = run_info(2000);
    let objective = &mut info.config.objective;
    objective.kind = crate::config::ObjectiveKind::Curriculum;
    (objective.max_latent_stage, objective.steps_per_stage) = (3, 400);
    state.apply(Event::Started(Box::new(info)), Duration::ZERO);
    for step in 1..=1234_u64 {
        let mut row = StepRow::new(step);
        row.set(Metric::LossQuestions, 2.0 / (1.0 + step as f64 / 100.0));
        row.set(Metric::Stage, (step / 400) as f64);
        row.set(Metric::Lr, 8.1e-4);
        if step.is_multiple_of(100) {
            row.set(Metric::ValidAccuracy, step as f64 / 1500.0);
            for steps in 2..=4 {
                let name = crate::schema::protocol::accuracy_by_steps_name(steps);
                let value = (step as f64 / (500.0 * steps as f64)).min(1.0);
                state.apply(Event::Figure(ValidationFigure { step, name, value }), Duration::ZERO);
            }
        }
        state.apply(Event::Step(Box::new(row)), Duration::from_millis(step * 100));
    }
    assert_snapshot!("curriculum_120x40", draw_text(&state, &ViewState::default(), 120, 40));
    assert_snapshot!("curriculum_schedule_80x24", draw_text(&state, &focused(Panel::Schedule, true), 80, 24));
}
