//! Owns: pictures of the whole screen in every state and size that matters.
//! Must not know: anything but state and view.
//! Invariant: none beyond the stored pictures.

use super::super::charts::Span;
use super::super::heat::Mode;
use super::super::view::{Overlay, Panel, Picture, View};
use super::*;
use insta::assert_snapshot;

fn focused(panel: Panel, expanded: bool) -> View {
    let mut view = View { expanded, ..View::default() };
    view.look_at(panel);
    view
}

#[test]
fn training_at_every_size() {
    let state = training(1234);
    assert_snapshot!("training_60x16", picture(&state, &View::default(), 60, 16));
    assert_snapshot!("training_80x24", picture(&state, &View::default(), 80, 24));
    assert_snapshot!("training_120x40", picture(&state, &View::default(), 120, 40));
    assert_snapshot!("training_250x70", picture(&state, &View::default(), 250, 70));
}

#[test]
fn below_the_smallest_size_it_says_so() {
    assert_snapshot!("too_small", picture(&training(3), &View::default(), 50, 10));
}

#[test]
fn without_colours_curves_are_told_apart_by_dashes() {
    let picture = picture_in(&training(1234), &focused(Panel::Loss, true), 80, 24, Depth::None);
    assert_snapshot!("no_color", picture);
}

#[test]
fn nothing_known_yet() {
    assert_snapshot!("empty", picture(&State::default(), &View::default(), 80, 24));
}

#[test]
fn the_dataset_is_made() {
    let mut state = State::default();
    state.apply(Event::Phase(Phase::Data), Duration::ZERO);
    let progress = Event::Progress { what: "records".into(), done: 5760, total: 12_000 };
    state.apply(progress, Duration::from_millis(250));
    assert_snapshot!("preparing", picture(&state, &View::default(), 80, 24));
    state.apply(Event::Phase(Phase::Build), Duration::from_millis(500));
    state.apply(Event::Started(Box::new(info(2000))), Duration::from_millis(600));
    assert_snapshot!("building", picture(&state, &View::default(), 120, 40));
}

#[test]
fn a_single_point() {
    let mut state = training(0);
    state.rows.clear();
    state.apply(Event::Step(Box::new(step_row(1))), Duration::from_secs(1));
    assert_snapshot!("one_point", picture(&state, &View::default(), 80, 24));
}

#[test]
fn losses_that_are_not_finite() {
    let mut state = training(300);
    let mut row = step_row(301);
    row.set(Metric::LossPlain, f64::NAN);
    row.set(Metric::GradNorm, f64::INFINITY);
    state.apply(Event::Step(Box::new(row)), Duration::from_secs(31));
    assert_snapshot!("not_finite", picture(&state, &View::default(), 80, 24));
}

#[test]
fn paused_and_frames_dropped() {
    let mut state = training(640);
    state.apply(Event::Phase(Phase::Paused), Duration::from_secs(64));
    state.dropped = 1234;
    assert_snapshot!("paused", picture(&state, &View::default(), 80, 24));
}

#[test]
fn the_trainer_died() {
    let mut state = training(400);
    let error = "out of memory: asked for 2.1 GiB of the device's memory at step 400 of 2000";
    state.apply(Event::Failed(error.into()), Duration::from_secs(40));
    assert_snapshot!("failed", picture(&state, &View::default(), 80, 24));
}

#[test]
fn the_trainer_died_before_the_first_step() {
    let mut state = State::default();
    let error = "cannot read datasets/prosqa/train-00000.parquet: row group 3 is cut off at byte 1,048,576";
    state.apply(Event::Failed(error.into()), Duration::ZERO);
    assert_snapshot!("failed_early", picture(&state, &View::default(), 80, 24));
}

#[test]
fn the_run_is_over() {
    let mut state = training(2000);
    state.apply(Event::Finished(Box::new(summary())), Duration::from_secs(200));
    assert_snapshot!("finished_80x24", picture(&state, &View::default(), 80, 24));
    assert_snapshot!("finished_120x40", picture(&state, &View::default(), 120, 40));
}

#[test]
fn help_at_both_widths() {
    let state = training(20);
    let view = View { overlay: Overlay::Help(0), ..View::default() };
    assert_snapshot!("help_80x24", picture(&state, &view, 80, 24));
    assert_snapshot!("help_60x16", picture(&state, &view, 60, 16));
    assert_snapshot!("help_120x40", picture(&state, &view, 120, 40));
}

#[test]
fn the_question() {
    let view = View { overlay: Overlay::Question, ..View::default() };
    assert_snapshot!("question", picture(&training(20), &view, 80, 24));
}

#[test]
fn the_command_line() {
    let mut view = View { overlay: Overlay::Prompt, ..View::default() };
    assert_snapshot!("prompt_empty", footer(&view));
    view.prompt.text = "set recycle.fraction 0.2".into();
    assert_snapshot!("prompt_set", footer(&view));
    view.prompt.error = Some("no command `x`".into());
    assert_snapshot!("prompt_error", footer(&view));
}

/// The last line of the screen.
fn footer(view: &View) -> String {
    picture(&training(20), view, 80, 24).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn stopping() {
    let view = View { stopping: true, ..View::default() };
    assert_snapshot!("stopping", picture(&training(20), &view, 80, 24));
}

#[test]
fn every_panel_on_the_whole_screen() {
    let mut state = training(1234);
    told(&mut state);
    // Real runs are drawn at other sizes by tests/dashboard.rs.
    for panel in Panel::ALL {
        let mut view = focused(panel, true);
        (view.selected, view.charts.cross) = (14, Some(700));
        assert_snapshot!(format!("{}_80x24", panel.name()), picture(&state, &view, 80, 24));
    }
}

#[test]
fn other_ways_to_look() {
    let mut state = training(1234);
    told(&mut state);
    let mut view = focused(Panel::Loss, true);
    (view.charts.span, view.charts.log_y) = (Span::Last(300), true);
    assert_snapshot!("loss_last_log", picture(&state, &view, 80, 24));
    let mut view = focused(Panel::Loss, true);
    (view.charts.log_x, view.charts.parts) = (true, view.charts.parts.next());
    assert_snapshot!("loss_difference_log_steps", picture(&state, &view, 80, 24));
    for (name, mode, picture_of) in
        [("entropy_change", Mode::Difference, Picture::Row), ("entropy_course", Mode::Nll, Picture::Course)]
    {
        let mut view = focused(Panel::Entropy, true);
        (view.mode, view.picture) = (mode, picture_of);
        assert_snapshot!(name, picture_in(&state, &view, 80, 24, Depth::None));
    }
    for panel in [Panel::Cost, Panel::Thoughts, Panel::Changes, Panel::Samples] {
        let name = format!("shared_{}", panel.name());
        assert_snapshot!(name, picture(&state, &focused(panel, false), 80, 24));
    }
}

#[test]
fn an_empty_run_and_one_with_a_single_step_have_every_panel() {
    let mut one = training(0);
    one.rows.clear();
    one.apply(Event::Step(Box::new(step_row(1))), Duration::from_secs(1));
    let mut pictures = String::new();
    for panel in Panel::ALL {
        for (name, state) in [("empty", &State::default()), ("one step", &one)] {
            let picture = picture(state, &focused(panel, true), 80, 24);
            pictures += &format!("{name}, {}\n{picture}", panel.name());
        }
    }
    assert_snapshot!("empty_and_one", pictures);
}

#[test]
fn a_history_of_ten_million_steps_is_drawn_like_any_other() {
    let mut state = training(0);
    state.apply(Event::Started(Box::new(info(10_000_000))), Duration::ZERO);
    for step in (1..=10_000_000_u64).step_by(97) {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, if step % 1_000_003 < 97 { 1e9 } else { 2.0 + (step as f64 / 1e5).sin() });
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(1));
    }
    let mut view = focused(Panel::Loss, true);
    view.charts.log_y = true;
    assert_snapshot!("huge", picture(&state, &view, 120, 40));
}

#[test]
fn values_that_are_not_finite_are_gaps() {
    let mut state = training(0);
    for step in 1..=400 {
        let mut row = StepRow::new(step);
        row.set(Metric::LossPlain, if (150..250).contains(&step) { f64::NAN } else { 2.0 });
        state.apply(Event::Step(Box::new(row)), Duration::from_secs(1));
    }
    assert_snapshot!("gap", picture(&state, &focused(Panel::Loss, true), 80, 24));
}

#[test]
fn any_size_can_be_drawn_in_any_state() {
    let mut dead = State::default();
    dead.apply(Event::Failed("x".repeat(500)), Duration::ZERO);
    for state in [State::default(), training(0), training(50), dead] {
        for (width, height) in
            [(1, 1), (60, 16), (61, 17), (73, 20), (100, 23), (180, 45), (300, 20), (60, 90)]
        {
            for panel in Panel::ALL {
                for overlay in [Overlay::None, Overlay::Help(99), Overlay::Question, Overlay::Filter] {
                    let mut view = focused(panel, width % 2 == 0);
                    view.overlay = overlay;
                    picture(&state, &view, width, height);
                }
            }
        }
    }
}
