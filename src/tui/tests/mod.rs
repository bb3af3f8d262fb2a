//! Owns: the tests of the dashboard, and the run that they use.
//! Must not know: terminals, threads, the time of day.
//! Invariant: results are the same on every machine: time comes from the test, text has no colours.

mod browsing;
mod folding;
mod several_runs;
mod snapshots;
mod view_actions;

use super::app::layout;
use super::app::view::ViewState;
use super::model::metrics::Series;
use super::model::state::RunModel;
use super::panels::RenderContext;
use super::picture::text_export;
use super::terminal::screen;
use super::theme::{ColorDepth, Theme};
use crate::config::{Config, Curve};
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::{LossSummary, Metric, StepRow};
use crate::schema::protocol::{
    AnswerPart, ConfigUpdate, Event, LogLevel, LogLine, PlaygroundAnswer, RunInfo, RunPhase, RunSummary,
    ValidationFigure, ValidationSample,
};
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::rows::{ChangeOutcome, ChangeRow, SystemRow};
use crate::schema::token_rows::{DecodedState, Thought, TokenCell, TokenProb, TokenRow};
use chrono::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use std::time::Duration;

/// Draws the screen of `state` and `view` as text.
fn draw_text(state: &RunModel, view: &ViewState, width: u16, height: u16) -> String {
    draw_text_in(state, view, width, height, ColorDepth::TrueColor)
}

fn draw_text_in(state: &RunModel, view: &ViewState, width: u16, height: u16, depth: ColorDepth) -> String {
    let theme = Theme::new(depth);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let ctx = RenderContext {
        state: view.displayed_state(state),
        live: state,
        view,
        theme: &theme,
        tabs: layout::TabSet::None,
    };
    terminal.draw(|frame| screen::render(frame, ctx)).unwrap();
    text_export::to_text(terminal.backend().buffer())
}

fn run_info(steps: u64) -> RunInfo {
    let mut config = Config::default();
    config.run.steps = steps;
    config.run.name = "prosqa".into();
    config.recycle.probability = Curve::from_knots(vec![(200, 0.0), (800, 1.0)]).unwrap();
    config.recycle.fraction = Curve::from_knots(vec![(200, 0.02), (1500, 0.25)]).unwrap();
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

/// Returns the metrics of a step: recycled ones every 4 steps from step 200 on, validation every 200 steps.
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
    row.set(Metric::PlainMs, 61.0);
    row.set(Metric::HeadMs, 12.0);
    row.set(Metric::UpdateMs, 7.5);
    row.set(Metric::StepMs, 82.0);
    for (metric, flop) in [(Metric::PlainFlop, 6.1e9), (Metric::HeadFlop, 8.3e8), (Metric::UpdateFlop, 2.1e7)] {
        row.set(metric, flop);
    }
    if step >= 200 && step.is_multiple_of(4) {
        row.set(Metric::Recycled, 32.0);
        row.set(Metric::RecycledMs, 40.0);
        row.set(Metric::RecycledFlop, 4.2e9);
        row.set(Metric::StepMs, 122.0);
        row.set(Metric::LatentMs, 1.288);
        row.set(Metric::LatentFlop, 4.85e7);
    }
    if step.is_multiple_of(200) {
        row.set(Metric::ValidPlain, base + 0.1);
        row.set(Metric::ValidRecycled, base + 0.7);
        row.set(Metric::ValidPlainAtRecycled, base + 0.4);
        row.set(Metric::ValidPause, base + 1.6);
        row.set(Metric::ValidMasked, base + 1.7);
        row.set(Metric::ValidShuffled, base + 2.9);
        row.set(Metric::SequentialMs, 3.071);
    }
    row.set(Metric::Tokens, (step * 2048) as f64);
    row.set(Metric::WallS, step as f64 * 0.1);
    row.set(Metric::TokensPerS, 20_480.0);
    row.set(Metric::Lr, 8.1e-4);
    row.set(Metric::GradNorm, 0.831);
    row.set(Metric::ShareOfPeak, 0.38);
    row.set(Metric::Epoch, 1.0);
    row
}

fn token_row(step: u64) -> TokenRow {
    let words = ["Every", " wum", "pus", " is", " a", " rompus", ".", " 漢字", "\u{200b}", "\n", " Yes", "👍"];
    let top = |seed: usize| -> Vec<TokenProb> {
        (0..5)
            .map(|rank| TokenProb { id: ((seed + rank * 5) % 12) as u32, prob: 0.5 / f32::powi(2.0, rank as i32) })
            .collect()
    };
    let cells: Vec<TokenCell> = (0..120)
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
                top_plain: top(index),
                top_recycled: top(index + 1),
            }
        })
        .collect();
    let decoded = |entropy: f32, seed| DecodedState { entropy, top: top(seed) };
    let thoughts = cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| cell.recycled)
        .map(|(position, cell)| Thought {
            position,
            fed_by_pass: (0..4)
                .map(|pass| decoded(cell.entropy_plain / (1.0 + pass as f32 * 0.1), position + pass))
                .collect(),
            output_by_pass: (0..4)
                .map(|pass| decoded(cell.entropy_plain * (1.0 - pass as f32 * 0.05), position + pass))
                .collect(),
        })
        .collect();
    let words = words.iter().enumerate().map(|(id, word)| (id as u32, (*word).to_owned())).collect();
    TokenRow { step, vocab_size: 320, cells, thoughts, token_texts: words }
}

/// Returns a change row with this outcome.
fn change_row(step: u64, key: &str, (old, new): (f64, f64), outcome: ChangeOutcome, reason: Option<&str>) -> ChangeRow {
    ChangeRow {
        step,
        tokens: step * 2048,
        time: chrono::DateTime::UNIX_EPOCH,
        version: 1,
        set: format!("{step}-{key}"),
        key: (outcome != ChangeOutcome::Noted).then(|| key.to_owned()),
        old: json!(old),
        new: json!(new),
        value: new.to_string(),
        source: crate::schema::rows::ChangeSource::Keys,
        outcome,
        reason: reason.map(str::to_owned),
    }
}

/// Adds changes, a note, samples, answers and machine usage to the run.
fn add_history(state: &mut RunModel) {
    let mut config = run_info(2000).config;
    let rows = [
        change_row(300, "recycle.weight", (1.0, 0.5), ChangeOutcome::Applied, None),
        change_row(
            420,
            "optim.lr",
            (1e-3, 20.0),
            ChangeOutcome::Refused,
            Some("`optim.lr` = 20 is not allowed; allowed: from 0 to 10"),
        ),
        change_row(640, "", (0.0, 0.0), ChangeOutcome::Noted, Some("the loss has jumped: look at the batch")),
    ];
    for row in rows {
        if row.outcome == ChangeOutcome::Applied {
            config.recycle.weight = Curve::constant(0.5);
        }
        let changed = ConfigUpdate { config: config.clone(), version: 1, rows: vec![row] };
        state.apply(Event::ConfigChanged(Box::new(changed)), state.now);
    }
    for step in [200, 400] {
        let (prompt, text) = ("Every wumpus is a".to_owned(), " rompus . Every rompus is a yumpus .".to_owned());
        let sample = ValidationSample { step, decoding: "greedy".into(), prompt, text };
        state.apply(Event::Sample(Box::new(sample)), state.now);
    }
    let text = |text: &str| AnswerPart::Text(text.to_owned());
    let parts =
        vec![text(" is a wumpus . Every wumpus"), AnswerPart::Thought(vec![1.83, 0.97, 0.42]), text(" is a rompus .")];
    let answer = PlaygroundAnswer {
        number: 1,
        step: 400,
        policy: "entropy:start=1.5,stop=0.5".into(),
        prompt: "Every lempus is a wumpus . Is Tom a rompus or yumpus ? Every lempus".into(),
        parts,
        end_reason: Some("its end".into()),
    };
    let unfinished = PlaygroundAnswer { number: 2, end_reason: None, ..answer.clone() };
    for answer in [answer, PlaygroundAnswer { parts: vec![AnswerPart::Thought(vec![2.5, 1.25])], ..unfinished }] {
        state.apply(Event::Answer(Box::new(answer)), state.now);
    }
    for step in [1].into_iter().chain((50..=1200).step_by(50)) {
        state.apply(Event::Layers(layer_rows(step)), state.now);
    }
    state.apply(Event::System(Box::new(system_row())), state.now);
}

/// Returns the rows of a model of 4 blocks. The updates of the first MLP are unusually large.
fn layer_rows(step: u64) -> Vec<LayerRow> {
    let blocks = (0..4).flat_map(|block| [format!("block {block} attention"), format!("block {block} mlp")]);
    let names = ["embedding".to_owned()].into_iter().chain(blocks);
    let names = names.chain(["last norm", "head", "feedback"].map(str::to_owned));
    let decay = (-(step as f64) / 400.0).exp();
    let row = |(index, layer): (usize, String)| {
        let (at, is_trained) = (index as f64, layer != "feedback");
        let weight_norm = 2.0 + at + 3.0 * (1.0 - decay);
        let ratio = if layer == "block 0 mlp" { 0.031 } else { 0.001 * (0.2 + decay) };
        let bell =
            |middle: i32| (0..32_i32).map(|bucket| 4000_u32 >> (bucket - middle).unsigned_abs().min(31)).collect();
        LayerRow {
            step,
            layer_index: index as u64,
            layer,
            params: 16_384,
            weight_norm,
            grad_norm: is_trained.then_some(0.02 * (at + 1.0) * (0.1 + decay)),
            update_norm: is_trained.then_some(weight_norm * ratio),
            activation_rms: (index < 10).then_some(0.3 * (at + 0.1)),
            activation_max: (index < 10).then_some(2.4 * (at + 0.1)),
            weight_histogram: bell(23),
            grad_histogram: if is_trained { bell(14) } else { Vec::new() },
        }
    };
    names.enumerate().map(row).collect()
}

/// Returns an iteration of 3 questions about graphs with 4 rollouts each. All of the second are right; one of the third
/// is cut.
fn rollout_rows(step: u64) -> Vec<RolloutRow> {
    let questions = [
        ("0 → 3 | 3 → 7 | 0 → 5 | 7 → 4 | 5 → 10 | from 0 to 4 or 10 ?", "4", ["4", "10", "4", "10"]),
        ("1 → 2 | 1 → 8 | 8 → 6 | 2 → 9 | from 1 to 6 or 13 ?", "6", ["6", "6", "6", "6"]),
        ("漢字 → 12 | 12 → \u{1b}[2J | 11 → 14 | from 12 to 14 or 11 ?", "14", ["11", "11", "14", "14 14 14"]),
    ];
    let thoughts = ["⟨3 7⟩", "⟨7 3⟩", "⟨4 10⟩"];
    let rows_of = |(group, (prompt, right, answers)): (usize, (&str, &str, [&str; 4]))| {
        let exact = answers.map(|answer| f64::from(u8::from(answer == right)));
        let mean = exact.iter().sum::<f64>() / 4.0;
        let std = (exact.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        let row = |rollout: usize| {
            let (answer, latents) = (answers[rollout], (rollout + group) % 4);
            let words = answer.split(' ').count();
            let ids = std::iter::repeat_n(None, latents).chain((0..words as u32).map(Some));
            let entropy = |at: usize| if at < latents { 1.4 - at as f32 * 0.4 } else { 0.2 };
            RolloutRow {
                step,
                group,
                rollout,
                prompt: prompt.into(),
                right_answer: right.into(),
                text: format!("{} {answer}", thoughts[..latents].concat()),
                reward: exact[rollout],
                advantage: if std > 0.0 { (exact[rollout] - mean) / std } else { 0.0 },
                exact: exact[rollout],
                format: f64::from(u8::from(words == 1)),
                is_truncated: words > 1,
                tokens: words,
                latents,
                token_ids: ids.collect(),
                entropies: (0..latents + words).map(entropy).collect(),
                log_probs: vec![-0.1; latents + words],
            }
        };
        (0..4).map(row).collect::<Vec<_>>()
    };
    questions.into_iter().enumerate().flat_map(rows_of).collect()
}

/// Returns the state of a run that learns from rewards, at step 1234 of 2000.
fn rl_state() -> RunModel {
    let mut state = RunModel::default();
    let mut info = run_info(2000);
    info.config.objective.kind = crate::config::ObjectiveKind::Rl;
    info.config.recycle.every = 0;
    state.apply(Event::Started(Box::new(info)), Duration::ZERO);
    state.apply(Event::Phase(RunPhase::Train), Duration::ZERO);
    for step in 1..=1234_u64 {
        let learned = 1.0 - (-(step as f64) / 600.0).exp();
        let wobble = ((step * 7919) % 101) as f64 / 1010.0;
        let mut row = StepRow::new(step);
        let values = [
            (Metric::Reward, 0.3 + 0.5 * learned + wobble),
            (Metric::FracRewardZeroStd, 0.1 + 0.4 * learned),
            (Metric::LatentsShare, 0.6 - 0.2 * learned),
            (Metric::CompletionMeanLength, 3.0),
            (Metric::RolloutMs, 240.0),
            (Metric::RolloutTokensPerS, 2100.0),
            (Metric::StepMs, 410.0),
            (Metric::Lr, 1e-5),
            (Metric::GradNorm, 0.21),
            (Metric::TokensPerS, 900.0),
        ];
        values.into_iter().for_each(|(metric, value)| row.set(metric, value));
        if step.is_multiple_of(200) {
            row.set(Metric::ValidAccuracy, 0.4 + 0.4 * learned);
        }
        state.apply(Event::Step(Box::new(row)), Duration::from_millis(step * 100));
        if step.is_multiple_of(300) {
            state.apply(Event::Rollouts(rollout_rows(step)), Duration::from_millis(step * 100));
        }
    }
    state
}

fn system_row() -> SystemRow {
    SystemRow {
        step: 1234,
        time: chrono::DateTime::UNIX_EPOCH,
        process_cpu: 1.9,
        machine_cpu: 1.95,
        cores: 2,
        process_bytes: 412 << 20,
        memory_used_bytes: 3 << 30,
        memory_bytes: 24 << 30,
        disk_free_bytes: Some(61 << 30),
        gpu: None,
    }
}

fn log_event(level: LogLevel, text: &str) -> Event {
    let at = chrono::Local.with_ymd_and_hms(2026, 11, 24, 12, 51, 38).unwrap();
    Event::Log(LogLine { time: at, level, text: text.into() })
}

/// Returns the state of a run of 2000 steps at step `steps`, with one step every 100 ms.
fn training_state(steps: u64) -> RunModel {
    let mut state = RunModel::default();
    state.apply(Event::Phase(RunPhase::BuildModel), Duration::ZERO);
    state.apply(log_event(LogLevel::Info, "1,063,424 parameters, vocabulary of 320"), Duration::ZERO);
    state.apply(Event::Started(Box::new(run_info(2000))), Duration::ZERO);
    state.apply(Event::Phase(RunPhase::Train), Duration::ZERO);
    for step in 1..=steps {
        state.apply(Event::Step(Box::new(step_row(step))), Duration::from_millis(step * 100));
    }
    for step in (10..=steps).step_by(10) {
        state.histograms.push(&(&token_row(step)).into());
    }
    state.apply(Event::ProbedRow(Box::new(token_row(steps))), Duration::from_millis(steps * 100));
    let warning = "the disk that holds checkpoints has 1.2 GiB left; a checkpoint takes 0.4 GiB";
    state.apply(log_event(LogLevel::Warn, warning), Duration::from_millis(steps * 100));
    state
}

fn summary() -> RunSummary {
    RunSummary {
        folder: "checkpoints/2026-11-24T02-51-38-prosqa".into(),
        steps: 2000,
        tokens: 4_096_000,
        duration: Duration::from_secs(200),
        losses: LossSummary {
            plain: Some((5.8, 0.712)),
            recycled: Some((5.1, 1.204)),
            valid: Some((5.81, 0.8)),
            recycled_steps: 450,
            ..LossSummary::default()
        },
        checkpoint: Some("checkpoints/2026-11-24T02-51-38-prosqa/step-2000".into()),
        best: None,
        stopped_early: false,
    }
}
