//! Owns: the tests of the layer probe, against numbers computed from the raw tensors.

use super::*;
use crate::config::{Config, Dropout};
use crate::data::Batch;
use crate::model::gradients::accumulate_gradients;
use crate::schema::metrics::{Metric, StepRow};
use crate::train::step::learner::Learner;
use crate::train::step::pretraining::PretrainingBatches;
use crate::train::step::update::UpdateBatches;
use crate::train::tests::{SEQ_LEN, model};
use std::collections::BTreeMap;

fn batch(seed: u64) -> Batch {
    let width = SEQ_LEN + 1;
    Batch {
        batch_size: 2,
        seq_len: SEQ_LEN,
        tokens: (0..2 * width as u64).map(|i| ((i * 7919 + seed * 31) % 101 % 13) as i32).collect(),
        doc_start: (0..2 * width).map(|at| at % width == 0).collect(),
        ..Batch::default()
    }
}

fn config(layers_every: u64) -> Config {
    let mut config = Config::default();
    config.recycle.every = 2;
    config.optim.accumulate = 2;
    // Gradients are clipped, and so differ from what the optimizer applies.
    config.optim.clip = 0.01;
    config.probe.layers_every = layers_every;
    config
}

/// The numbers of each layer, by its name.
type Numbers = BTreeMap<String, Vec<f32>>;

/// Reads the numbers of parameters or of their gradients, in the order of the model, layer by layer.
struct ReadNumbers<'a> {
    grads: Option<&'a GradientsParams>,
    path: Vec<String>,
    numbers: Numbers,
}

impl ModuleVisitor for ReadNumbers<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.grads {
            Some(grads) => grads.get::<D>(param.id),
            None => Some(param.val().inner()),
        };
        let Some(tensor) = tensor else { return };
        let name = match self.path[0].as_str() {
            "embed" => "embedding".to_owned(),
            "norm" => "last norm".to_owned(),
            "blocks" if ["norm1", "attention"].contains(&self.path[2].as_str()) => {
                format!("block {} attention", self.path[1])
            }
            "blocks" => format!("block {} mlp", self.path[1]),
            other => other.to_owned(),
        };
        self.numbers.entry(name).or_default().extend(tensor.try_into_vec_as::<f32>().unwrap());
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

fn numbers(model: &Transformer, grads: Option<&GradientsParams>) -> Numbers {
    let mut read = ReadNumbers { grads, path: Vec::new(), numbers: Numbers::new() };
    model.visit(&mut read);
    read.numbers
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
}

fn histogram(numbers: &[f32]) -> Vec<u32> {
    let mut counts = vec![0; MAGNITUDE_BUCKETS];
    for number in numbers {
        let power = f64::from(number.abs()).log2().floor();
        counts[(power + 29.0).clamp(0.0, 31.0) as usize] += 1;
    }
    counts
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-5 * wanted.abs()
}

#[test]
fn rows_are_what_the_raw_tensors_say() {
    let (config, batches) = (config(1), [batch(1), batch(2)]);
    let mut learner = Learner::new(model(3), &config.optim);
    for step in 1..=2 {
        let before = numbers(&learner.model, None);
        let mut update = PretrainingBatches::new(&config, &batches, 13, step);
        let mut grads = GradientsParams::new();
        for index in 0..batches.len() {
            let more = update.gradients(&learner.model, index, crate::model::accumulator::Timing::Off);
            accumulate_gradients(&learner.model, &mut grads, more.grads);
        }
        let grads = numbers(&learner.model, Some(&grads));
        let (row, failed) = learner.update(&config, &batches).unwrap();
        assert!(failed.is_none());
        let after = numbers(&learner.model, None);
        let rows = learner.take_layer_rows();
        let names: Vec<&str> = rows.iter().map(|row| row.layer.as_str()).collect();
        let wanted = ["embedding", "block 0 attention", "block 0 mlp", "block 1 attention", "block 1 mlp", "last norm"];
        assert_eq!(names, [&wanted[..], &["head", "feedback"]].concat());
        for row in &rows {
            let (old, new) = (&before[&row.layer], &after[&row.layer]);
            let difference: Vec<f32> = new.iter().zip(old).map(|(new, old)| new - old).collect();
            assert_eq!((row.step, row.params), (step, old.len() as u64));
            assert!(near(row.weight_norm, norm(old)), "{row:?}");
            assert_eq!(row.weight_histogram, histogram(old));
            let grad = grads.get(&row.layer);
            assert_eq!(grad.is_some(), row.layer != "feedback");
            assert_eq!((row.grad_norm.is_some(), row.update_norm.is_some()), (grad.is_some(), grad.is_some()));
            let Some(grad) = grad else { continue };
            assert!(near(row.grad_norm.unwrap(), norm(grad)), "{row:?} {}", norm(grad));
            assert_eq!(row.grad_histogram, histogram(grad));
            assert!(near(row.update_norm.unwrap(), norm(&difference)), "{row:?} {}", norm(&difference));
        }
        let all = rows.iter().filter_map(|row| row.grad_norm).map(|norm| norm * norm).sum::<f64>().sqrt();
        assert!(near(all, row.get(Metric::GradNorm).unwrap()) && all > 10.0 * config.optim.clip, "{all}");
    }
}

#[test]
fn activations_are_those_of_the_first_batch() {
    let (config, batches) = (config(1), [batch(1), batch(2)]);
    let mut learner = Learner::new(model(3), &config.optim);
    let before = learner.model.valid();
    learner.update(&config, &batches).unwrap();
    let rows = learner.take_layer_rows();
    let tokens = crate::train::step::pretraining::upload_batch(&batches[0], &before.device());
    let embedded = before.embed(tokens.inputs.clone());
    let hidden = before.forward(embedded.clone()).hidden;
    for (row, states) in [(&rows[0], embedded), (&rows[5], hidden)] {
        let states: Vec<f32> = states.try_into_vec_as().unwrap();
        assert!(near(row.activation_rms.unwrap(), norm(&states) / (states.len() as f64).sqrt()), "{row:?}");
        let largest = states.iter().fold(0.0_f32, |largest, state| largest.max(state.abs()));
        assert_eq!(row.activation_max, Some(f64::from(largest)));
    }
    assert!(rows[1..5].iter().all(|row| row.activation_rms.is_some()));
    assert!(rows[6..].iter().all(|row| row.activation_rms.is_none()), "head and feedback");
}

#[test]
fn measuring_changes_no_bit_of_the_training() {
    let dropout = Dropout { embedding: 0.1, attention: 0.1, residual: 0.1 };
    for (dropout, checkpointing) in [(Dropout::default(), false), (Dropout::default(), true), (dropout, false)] {
        let [without, with] = [0, 2].map(|every| {
            let config = Config { dropout: dropout.clone(), ..config(every) };
            let execution = crate::model::Execution::new(Default::default(), checkpointing);
            let mut learner = Learner::new(model(3).with_execution(execution), &config.optim);
            let mut measured = 0;
            let rows: Vec<StepRow> = (1..=5)
                .map(|step| {
                    let (mut row, failed) = learner.update(&config, &[batch(step), batch(step + 100)]).unwrap();
                    assert!(failed.is_none());
                    measured += usize::from(!learner.take_layer_rows().is_empty());
                    [Metric::PlainMs, Metric::RecycledMs, Metric::HeadMs, Metric::UpdateMs, Metric::LatentMs]
                        .into_iter()
                        .for_each(|metric| row.set(metric, 0.0));
                    row
                })
                .collect();
            let bits: Vec<u32> = numbers(&learner.model, None).into_values().flatten().map(f32::to_bits).collect();
            (rows, bits, measured)
        });
        assert_eq!((without.2, with.2), (0, 3), "steps 1, 2 and 4");
        assert!(without.0 == with.0 && without.1 == with.1, "dropout {dropout:?}, checkpointing {checkpointing}");
    }
}

#[test]
fn the_first_step_and_every_nth_are_measured() {
    let due = |every: u64| -> Vec<u64> {
        let probe = config::Probe { layers_every: every, ..Default::default() };
        (1..=10).filter(|step| LayerProbe::for_step(&probe, *step).is_some()).collect()
    };
    assert_eq!((due(0), due(4)), (vec![], vec![1, 4, 8]));
}

#[test]
fn a_sample_is_bounded_and_its_stride_odd() {
    for params in [1, MAX_SAMPLE, MAX_SAMPLE + 1, 4 * MAX_SAMPLE, 50_257 * 768] {
        let layers = vec![LayerParams { name: String::new(), params }];
        let map = LayerMap { layers, of_param: HashMap::new(), path: Vec::new() };
        let stride = map.stride(0);
        assert!(stride % 2 == 1 && params.div_ceil(stride) <= MAX_SAMPLE, "{params}: {stride}");
    }
}
