//! Owns: the dashboard's snapshots, and the run they are taken of.
//! Must not know: terminals, threads, the time of day.
//! Invariant: the same on every machine: time comes from the test, colours are left out of the text.

mod folding;
mod snapshots;

use super::panel::Scene;
use super::screen;
use super::state::State;
use super::text;
use super::theme::{Depth, Theme};
use super::view::View;
use crate::config::{Config, Curve};
use crate::message::{Event, Level, LogLine, Phase, RunInfo, Summary, TokenCell, TokenRow};
use crate::record::registry::{Metric, StepRow};
use chrono::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use std::time::Duration;

/// The screen of `state` and `view` as text.
fn picture(state: &State, view: &View, width: u16, height: u16) -> String {
    picture_in(state, view, width, height, Depth::True)
}

fn picture_in(state: &State, view: &View, width: u16, height: u16, depth: Depth) -> String {
    let theme = Theme::new(depth);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let scene = Scene { state, view, theme: &theme };
    terminal.draw(|frame| screen::render(frame, scene)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    rows.map(|row| line(row).trim_end().to_owned() + "\n").collect()
}

/// A row of cells as text: the cells that a wide character hides are left out.
fn line(row: &[Cell]) -> String {
    let mut hidden = 0;
    let mut text = String::new();
    for cell in row {
        if hidden == 0 {
            text.push_str(cell.symbol());
            hidden = text::width(cell.symbol()).max(1);
        }
        hidden -= 1;
    }
    text
}

fn info(steps: u64) -> RunInfo {
    let mut config = Config::default();
    config.run.steps = steps;
    config.run.name = "prosqa".into();
    config.recycle.probability = Curve::through(vec![(200, 0.0), (800, 1.0)]).unwrap();
    config.recycle.fraction = Curve::through(vec![(200, 0.02), (1500, 0.25)]).unwrap();
    RunInfo {
        config,
        version: 0,
        lineage: None,
        recipe: None,
        folder: "checkpoints/2026-11-24T02-51-38-prosqa".into(),
        device: "NVIDIA H100 (cuda:0)".into(),
        device_reason: "CUDA is built in and answers".into(),
        params: 1_063_424,
        vocab_size: 320,
        train_docs: 12_000,
        peak_flop_per_s: Some(2e11),
    }
}

/// The metrics of a step; recycled ones every fourth step from 200 on, validation every 200.
fn step_row(step: u64) -> StepRow {
    let mut row = StepRow::new(step);
    let base = 0.6 + 5.2 * (-(step as f64) / 300.0).exp();
    let wobble = ((step * 7919) % 101) as f64 / 404.0 - 0.125;
    row.set(Metric::LossPlain, base + wobble);
    if step >= 200 && step.is_multiple_of(4) {
        row.set(Metric::LossRecycled, base * 1.1 + 0.5 + wobble);
        row.set(Metric::LossRecycledAtRecycled, base * 1.1 + 0.5 + wobble);
        row.set(Metric::LossPlainAtRecycled, base * 1.1 - wobble);
    }
    if step.is_multiple_of(200) {
        row.set(Metric::ValidPlain, base + 0.1);
    }
    row.set(Metric::Tokens, (step * 2048) as f64);
    row.set(Metric::WallS, step as f64 * 0.1);
    row.set(Metric::TokensPerS, 20_480.0);
    row.set(Metric::Lr, 8.1e-4);
    row.set(Metric::GradNorm, 0.831);
    row.set(Metric::Epoch, 1.0);
    row
}

fn token_row(step: u64) -> TokenRow {
    let words =
        ["Every", " wum", "pus", " is", " a", " rompus", ".", " 漢字", "\u{200b}", "\n", " Yes", "👍"];
    let cells = (0..120)
        .map(|index| {
            let entropy = ((index * 37) % 100) as f32 / 100.0 * 5.77;
            let recycled = index % 9 == 5;
            TokenCell {
                id: index as u32,
                text: words[index % words.len()].into(),
                doc_start: index % 48 == 0,
                entropy_plain: entropy,
                entropy_recycled: Some(entropy * 0.9),
                nll_plain: entropy * 0.7,
                recycled,
                ..TokenCell::default()
            }
        })
        .collect();
    TokenRow { step, vocab_size: 320, cells, ..TokenRow::default() }
}

fn log(level: Level, text: &str) -> Event {
    let at = chrono::Local.with_ymd_and_hms(2026, 11, 24, 12, 51, 38).unwrap();
    Event::Log(LogLine { at, level, text: text.into() })
}

/// A run of 2000 steps that has come to step `steps`, one every 100 ms.
fn training(steps: u64) -> State {
    let mut state = State::default();
    state.apply(Event::Phase(Phase::Build), Duration::ZERO);
    state.apply(log(Level::Info, "1,063,424 parameters, vocabulary of 320"), Duration::ZERO);
    state.apply(Event::Started(Box::new(info(2000))), Duration::ZERO);
    state.apply(Event::Phase(Phase::Train), Duration::ZERO);
    for step in 1..=steps {
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_millis(step * 100));
    }
    state.apply(Event::Tokens(Box::new(token_row(steps))), Duration::from_millis(steps * 100));
    let warning = "the disk that holds checkpoints has 1.2 GiB left; a checkpoint takes 0.4 GiB";
    state.apply(log(Level::Warn, warning), Duration::from_millis(steps * 100));
    state
}

fn summary() -> Summary {
    Summary {
        folder: "checkpoints/2026-11-24T02-51-38-prosqa".into(),
        steps: 2000,
        tokens: 4_096_000,
        took: Duration::from_secs(200),
        loss_plain: Some((5.8, 0.712)),
        loss_recycled: Some((5.1, 1.204)),
        valid_plain: Some((5.81, 0.8)),
        recycled_steps: 450,
        checkpoint: Some("checkpoints/2026-11-24T02-51-38-prosqa/step-2000".into()),
        stopped: false,
    }
}
