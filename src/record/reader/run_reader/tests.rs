//! Owns: tests of reading a run folder as events.
//! Must not know: screens.
//! Invariant: none beyond the tests' own.

use super::*;
use crate::record::recorder::{RecordTiming, Recorder};
use crate::schema::layer_rows::LayerRow;
use crate::schema::protocol::LogLevel;
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::rows::{EventKind, EventRow};
use crate::schema::token_rows::{DecodedState, Thought, TokenCell, TokenProb, TokenRow};

#[test]
fn a_line_of_the_log_is_read_as_it_was_written() {
    let line = log::parse_line("2026-11-24 02:51:38.123 warn  two · lines").unwrap();
    assert_eq!((line.level, line.text.as_str()), (LogLevel::Warn, "two · lines"));
    assert_eq!(line.time.format("%H:%M:%S%.3f").to_string(), "02:51:38.123");
    assert!(log::parse_line("nonsense").is_none() && log::parse_line("").is_none());
}

#[test]
fn each_row_is_read_once_whether_in_the_log_or_in_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
    let timing = RecordTiming {
        sync_time: Duration::from_millis(5),
        sync_rows: 1,
        part_rows: 5,
        part_time: Duration::from_secs(3600),
        system_time: Duration::ZERO,
    };
    let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
    let mut tail = TableTail::new(folder.path().join("metrics"));
    let mut steps = Vec::new();
    for step in 1..=23 {
        recorder.record_step(StepRow::new(step));
        if step % 4 == 0 {
            std::thread::sleep(Duration::from_millis(20));
            steps.extend(tail.new_rows().iter().flat_map(rows::step_rows).map(|row| row.step()));
        }
    }
    drop(recorder);
    steps.extend(tail.new_rows().iter().flat_map(rows::step_rows).map(|row| row.step()));
    assert_eq!(steps, (1..=23).collect::<Vec<_>>());
}

fn token_row(step: u64) -> TokenRow {
    let top = vec![TokenProb { id: 3, prob: 0.5 }];
    let decoded = DecodedState { entropy: 0.25, top: top.clone() };
    let thought = Thought { position: 1, fed_by_pass: vec![decoded.clone(); 2], output_by_pass: vec![decoded; 2] };
    let cell = TokenCell { top_plain: top, text: "0 ".into(), ..TokenCell::default() };
    let cells = vec![cell.clone(), TokenCell { recycled: true, entropy_recycled: Some(0.5), ..cell }];
    let mut row = TokenRow { step, vocab_size: 9, cells, thoughts: vec![thought], ..TokenRow::default() };
    row.cells[0].entropy_recycled = Some(0.25);
    row.fill_token_texts(|id| format!("{id} "));
    row
}

#[test]
fn token_rows_samples_and_notes_are_sent_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
    // The default folder may have a dataset, whose tokenizer would be used.
    std::fs::write(folder.version_file(0), format!("[data]\ndir = {:?}\n", dir.path().join("none"))).unwrap();
    let info = r#"{"lineage": null, "recipe": null, "folder": "", "device": "", "device_reason": "",
        "params": 1, "vocab_size": 9, "train_docs": 1}"#;
    std::fs::write(folder.run_info_file(), info).unwrap();
    let note = r#"{"step": 2, "tokens": 0, "time": "2026-11-24T02:51:38Z", "version": 0, "set": "a", "key": null,
        "old": null, "new": null, "source": "keys", "outcome": "noted", "reason": "odd"}"#;
    std::fs::write(folder.changes_file(), note.replace('\n', "") + "\n").unwrap();
    let timing = RecordTiming {
        sync_time: Duration::from_millis(5),
        sync_rows: 1,
        part_rows: 5000,
        part_time: Duration::from_secs(3600),
        system_time: Duration::ZERO,
    };
    let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
    let sample = EventRow {
        step: 2,
        tokens: 0,
        time: chrono::Utc::now(),
        kind: EventKind::Sample,
        name: "a".into(),
        value: Some(0.5),
        text: Some("b".into()),
    };
    recorder.record_event(sample);
    (1..=3).for_each(|step| recorder.record_tokens(token_row(step)));
    recorder.flush();
    let (sender, events) = sync_channel(99);
    let mut reader = RunReader::new(folder.clone(), sender);
    assert!(reader.poll());
    let sent: Vec<Event> = events.try_iter().collect();
    let histograms = sent.iter().find_map(|event| match event {
        Event::EntropyHistograms(histograms) => Some(histograms.clone()),
        _ => None,
    });
    assert_eq!(histograms.unwrap(), [EntropyHistogram::from(&token_row(1)), EntropyHistogram::from(&token_row(2))]);
    let tokens = |sent: &[Event]| {
        let rows = sent.iter().filter_map(|event| match event {
            Event::ProbedRow(row) => Some((**row).clone()),
            _ => None,
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(tokens(&sent), [token_row(3)]);
    assert!(sent.iter().any(|event| matches!(event, Event::Sample(sample) if sample.text == "b")));
    let noted = |event: &Event| match event {
        Event::ConfigChanged(changed) => changed.rows[0].reason.as_deref() == Some("odd"),
        _ => false,
    };
    assert!(sent.iter().any(noted) && !sent.iter().any(|event| matches!(event, Event::Alert(_))));
    recorder.record_tokens(token_row(4));
    recorder.flush();
    reader.poll();
    let sent: Vec<Event> = events.try_iter().collect();
    assert_eq!((sent.len(), tokens(&sent)), (1, vec![token_row(4)]));
}

#[test]
fn the_rollouts_of_an_iteration_are_one_event() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
    let timing = RecordTiming {
        sync_time: Duration::from_secs(9),
        sync_rows: 1,
        part_rows: 1,
        part_time: Duration::ZERO,
        system_time: Duration::ZERO,
    };
    let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
    let row = |step, rollout| RolloutRow { step, rollout, text: format!("{step} {rollout}"), ..RolloutRow::default() };
    let (sender, events) = sync_channel(99);
    let mut reader = RunReader::new(folder, sender);
    let mut read = || -> Vec<Vec<RolloutRow>> {
        recorder.flush();
        reader.emit_rollouts();
        let rows = |event| match event {
            Event::Rollouts(rows) => Some(rows),
            _ => None,
        };
        events.try_iter().filter_map(rows).collect()
    };
    recorder.record_rollouts(vec![row(5, 0), row(5, 1)]);
    recorder.record_rollouts(vec![row(10, 0), row(10, 1)]);
    assert_eq!(read(), [vec![row(5, 0), row(5, 1)], vec![row(10, 0), row(10, 1)]]);
    recorder.record_rollouts((0..4).flat_map(|step| (0..3000).map(move |rollout| row(15 + step, rollout))).collect());
    let steps: Vec<u64> = read().iter().map(|rows| rows[0].step).collect();
    assert_eq!(steps, [17, 18], "as many as a screen keeps");
}

#[test]
fn the_layers_of_a_step_are_one_event_and_histograms_come_with_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
    let timing = RecordTiming {
        sync_time: Duration::from_secs(9),
        sync_rows: 1,
        part_rows: 1,
        part_time: Duration::ZERO,
        system_time: Duration::ZERO,
    };
    let recorder = Recorder::start(&folder, timing, String::new()).unwrap();
    let row = |step, layer: &str| LayerRow {
        step,
        layer: layer.into(),
        weight_histogram: vec![step as u32; 32],
        ..LayerRow::default()
    };
    let (sender, events) = sync_channel(99);
    let mut reader = RunReader::new(folder, sender);
    let mut read = || -> Vec<Vec<LayerRow>> {
        recorder.flush();
        reader.emit_layers();
        let rows = |event| match event {
            Event::Layers(rows) => Some(rows),
            _ => None,
        };
        events.try_iter().filter_map(rows).collect()
    };
    let old = |row: LayerRow| LayerRow { weight_histogram: Vec::new(), ..row };
    recorder.record_layers(vec![row(1, "embedding"), row(1, "head")]);
    recorder.flush();
    recorder.record_layers(vec![row(5, "embedding")]);
    assert_eq!(read(), [vec![old(row(1, "embedding")), old(row(1, "head"))], vec![row(5, "embedding")]]);
    recorder.record_layers(vec![row(9, "embedding")]);
    assert_eq!(read(), [vec![row(9, "embedding")]]);
}
