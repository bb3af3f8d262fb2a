//! Tests the learner, which runs the passes: live changes, plain steps, costs.

use crate::fixtures::*;
use coconut_lab::config::{Arch, Config, Curve, LossPositions, Mixture, PassScope, Placement};
use coconut_lab::data::Batch;
use coconut_lab::schema::metrics::{Metric, StepRow};
use coconut_lab::train::Learner;

fn batch(seed: u64) -> Batch {
    let doc_start = (0..B * (T + 1)).map(|i| i % (T + 1) == 0).collect();
    Batch { batch_size: B, seq_len: T, tokens: ids(seed), doc_start, ..Batch::default() }
}

fn config() -> Config {
    let mut config = Config::default();
    config.recycle.every = 1;
    config.optim.warmup = 0;
    config
}

/// Returns rows and final embeddings of six steps, each with the config that `config_at` returns.
fn train(config_at: impl Fn(u64) -> Config) -> (Vec<StepRow>, Vec<f32>) {
    let mut learner = Learner::new(model(Arch::Llama, 1), &config_at(1).optim);
    let step = |step| {
        let (row, error) = learner.update(&config_at(step), &[batch(step)]).unwrap();
        assert!(error.is_none());
        row
    };
    let rows = (1..=6).map(step).collect();
    (rows, values(learner.model.embed.weight.val()))
}

#[test]
fn a_live_change_equals_a_curve_with_a_jump_at_that_step() {
    let (low, high) = (0.1, 0.4);
    let jump = |low, high| Curve::from_knots(vec![(3, low), (4, high)]).unwrap();
    let curves = train(|_| {
        let mut config = config();
        config.recycle.fraction = jump(low, high);
        config.recycle.weight = jump(0.5, 2.0);
        config.recycle.scale = jump(1.0, 0.7);
        config.recycle.probability = jump(1.0, 0.5);
        config
    });
    let live = train(|step| {
        let mut config = config();
        let current = |low, high| Curve::constant(if step <= 3 { low } else { high });
        config.recycle.fraction = current(low, high);
        config.recycle.weight = current(0.5, 2.0);
        config.recycle.scale = current(1.0, 0.7);
        config.recycle.probability = current(1.0, 0.5);
        config
    });
    assert_eq!(curves.1, live.1);
    assert_ne!(curves.1, train(|_| config()).1);
}

#[test]
fn passes_placement_and_reach_can_change_between_any_two_steps() {
    let changed = train(|step| {
        let mut config = config();
        config.recycle.passes = Mixture::always(1 + step % 3);
        config.recycle.reach = [PassScope::Dense, PassScope::Isolated, PassScope::Joint][step as usize % 3];
        config.recycle.placement = [Placement::EntropyNext, Placement::Span][step as usize % 2];
        config.recycle.every = 1 + step / 5;
        config
    });
    let passes: Vec<_> = changed.0.iter().map(|row| row.get(Metric::RecycledPasses)).collect();
    assert_eq!(passes, [Some(2.0), Some(3.0), Some(1.0), Some(2.0), None, Some(1.0)]);
}

/// The optimizer state survives a change: a step of another kind after five steps differs from the same step with a new
/// optimizer.
#[test]
fn a_live_change_keeps_the_optimizer_state() {
    let dense = config();
    let mut sparse = config();
    (sparse.recycle.reach, sparse.recycle.placement) = (PassScope::Joint, Placement::EntropyAt);
    let mut kept = Learner::new(model(Arch::Llama, 1), &dense.optim);
    for step in 1..=5 {
        assert!(kept.update(&dense, &[batch(step)]).unwrap().1.is_none());
    }
    let mut fresh = Learner::new(kept.model.clone(), &dense.optim);
    fresh.step = kept.step;
    let [kept, fresh] = [&mut kept, &mut fresh].map(|learner| {
        assert!(learner.update(&sparse, &[batch(6)]).unwrap().1.is_none());
        values(learner.model.embed.weight.val())
    });
    assert!(max_difference(&kept, &fresh) > 1e-5);
}

#[test]
fn a_step_that_does_not_recycle_is_a_plain_step() {
    let off =
        train(|_| Config { recycle: coconut_lab::config::Recycle { every: 0, ..Default::default() }, ..config() });
    let late = train(|_| {
        let mut config = config();
        config.recycle.every = 1000;
        config
    });
    assert_eq!(off.1, late.1);
    assert!(late.0.iter().all(|row| row.get(Metric::LossRecycled).is_none()));
}

#[test]
fn costs_are_counted_by_part() {
    let mut config = config();
    config.recycle.fraction = Curve::constant(0.25);
    config.probe.cost = 2;
    for (reach, positions, keys) in [(PassScope::Dense, B * T, T), (PassScope::Joint, B * 3, T + 3)] {
        config.recycle.reach = reach;
        let (rows, _) = train(|_| config.clone());
        let (model, row) = (model(Arch::Llama, 1), &rows[1]);
        let shape = model.shape();
        let assert_metric = |metric: Metric, expected: f64| assert_eq!(row.get(metric), Some(expected), "{metric:?}");
        assert_metric(Metric::PlainFlop, 3.0 * shape.blocks_flop(B * T, T));
        // Plain keys and values are constants in a sparse pass: they have no gradient.
        let skipped_flop = shape.attention_flop(positions, keys) - shape.attention_flop(positions, 3);
        let skipped_flop = if reach == PassScope::Dense { 0.0 } else { skipped_flop };
        assert_metric(Metric::RecycledFlop, 3.0 * shape.blocks_flop(positions, keys) - skipped_flop);
        assert_metric(Metric::HeadFlop, 3.0 * shape.head_flop(B * T + B * 3));
        let passes = 3.0 * shape.blocks_flop(positions, keys) - skipped_flop;
        assert_metric(Metric::LatentFlop, (passes + 3.0 * shape.head_flop(B * 3)) / (B * 3) as f64);
        // Every second step is timed.
        let ms = [Metric::PlainMs, Metric::RecycledMs, Metric::HeadMs, Metric::UpdateMs, Metric::LatentMs];
        assert!(ms.iter().all(|metric| rows[0].get(*metric).is_none()));
        assert!(ms.iter().all(|metric| row.get(*metric).is_some_and(|ms| ms > 0.0)));
    }
}

#[test]
fn pause_updates_have_their_own_loss_metric() {
    let mut config = config();
    config.recycle.pause_share = 0.5;
    // A pause-vector update has one pass, which counts even if the weight of a first pass is 0.
    config.recycle.passes = Mixture::always(2);
    config.recycle.pass_weights = vec![0.0, 1.0];
    (config.recycle.flow, config.recycle.cut) = (coconut_lab::config::GradientFlow::Through, 1);
    let rows = train(|_| config.clone()).0;
    let has = |row: &StepRow, metric| row.get(metric).is_some();
    let pause_updates = rows.iter().filter(|row| has(row, Metric::LossPause)).count();
    assert!((1..6).contains(&pause_updates), "{pause_updates}");
    for row in &rows {
        assert_ne!(has(row, Metric::LossPause), has(row, Metric::LossRecycledAtRecycled));
        assert!(has(row, Metric::Recycled) && has(row, Metric::LatentMs));
    }
}

/// The last token of a row is a target and no input. If its label says that it does not count, nothing depends on it.
#[test]
fn a_target_that_does_not_count_changes_nothing() {
    for loss_on in [LossPositions::All, LossPositions::Recycled] {
        let update = |last: i32, ignored: bool| {
            let mut config = config();
            (config.recycle.loss_on, config.recycle.fraction) = (loss_on, Curve::constant(0.9));
            let mut batch = batch(3);
            batch.ignored = vec![false; batch.tokens.len()];
            for row in 0..B {
                batch.tokens[row * (T + 1) + T] = last;
                batch.ignored[row * (T + 1) + T] = ignored;
            }
            let mut learner = Learner::new(model(Arch::Llama, 1), &config.optim);
            let (row, error) = learner.update(&config, &[batch]).unwrap();
            assert!(error.is_none());
            let losses = [Metric::LossPlain, Metric::LossRecycled, Metric::LossRecycledAtRecycled];
            (losses.map(|metric| row.get(metric).unwrap().to_bits()), values(learner.model.embed.weight.val()))
        };
        assert_eq!(update(1, true), update(2, true));
        assert_ne!(update(1, false).0, update(2, false).0);
        assert_ne!(update(1, true).1, update(1, false).1);
    }
}
