//! Owns: measuring the layers around one update: norms of weights, gradients and updates, activations, histograms.
//! Must not know: when to measure, who records or shows it.
//! Invariant: measuring changes no number of the update, and waits for the device once, after it.

use super::readback::Readback;
use crate::config;
use crate::model::{ActivationTap, MeasuredActivations, Transformer};
use crate::ops::adamw::square_sum;
use crate::ops::magnitudes::{self, every_nth, magnitude_histogram, square_distance};
use crate::schema::layer_rows::{LEAST_EXPONENT, LayerRow, MAGNITUDE_BUCKETS};
use crate::train::TrainError;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::collections::HashMap;

// The record and the operation count in the same buckets.
const _: () = assert!(magnitudes::BUCKETS == MAGNITUDE_BUCKETS && magnitudes::LEAST_EXPONENT == LEAST_EXPONENT);

/// The most numbers of a layer that its histograms count.
const MAX_SAMPLE: usize = 1 << 16;

/// The layers of a model: their names in order, and the parameters of each.
struct LayerMap {
    layers: Vec<LayerParams>,
    /// The layer of each parameter.
    of_param: HashMap<ParamId, usize>,
    path: Vec<String>,
}

struct LayerParams {
    name: String,
    params: usize,
}

impl LayerMap {
    fn from_model(model: &Transformer) -> Self {
        let mut map = Self { layers: Vec::new(), of_param: HashMap::new(), path: Vec::new() };
        model.visit(&mut map);
        map
    }

    /// Returns every how many numbers of a layer one is counted. The number is odd, so that the sample does not stay in a few
    /// columns of matrices whose width is a power of two.
    fn stride(&self, layer: usize) -> usize {
        match self.layers[layer].params.div_ceil(MAX_SAMPLE) {
            stride if stride.is_multiple_of(2) => stride + 1,
            stride => stride,
        }
    }
}

impl ModuleVisitor for LayerMap {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = layer_name(&self.path);
        let at = match self.layers.iter().position(|layer| layer.name == name) {
            Some(at) => at,
            None => {
                self.layers.push(LayerParams { name, params: 0 });
                self.layers.len() - 1
            }
        };
        self.layers[at].params += param.shape().num_elements();
        self.of_param.insert(param.id, at);
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

/// Returns the name of the layer that a parameter at `path` belongs to.
fn layer_name(path: &[String]) -> String {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["embed" | "positions", ..] => "embedding".into(),
        ["blocks", block, "norm1" | "attention", ..] => format!("block {block} attention"),
        ["blocks", block, ..] => format!("block {block} mlp"),
        ["norm", ..] => "last norm".into(),
        [other, ..] => (*other).to_owned(),
        [] => String::new(),
    }
}

/// Measures the layers at one update. Created before its passes.
pub(super) struct LayerProbe {
    /// To be set in the model that runs the passes.
    pub tap: ActivationTap,
}

impl LayerProbe {
    /// Returns a probe if update `step` is to be measured.
    pub fn for_step(probe: &config::Probe, step: u64) -> Option<Self> {
        let due = probe.layers_every > 0 && (step == 1 || step.is_multiple_of(probe.layers_every));
        due.then(|| Self { tap: ActivationTap::default() })
    }

    /// Measures weights and gradients, `grads` as the optimizer will get them, and keeps the weights.
    pub fn measure_before(self, model: &Transformer, grads: &GradientsParams) -> UpdateProbe {
        let map = LayerMap::from_model(model);
        let sums = map.layers.iter().map(|_| LayerSums::default()).collect();
        let mut before = BeforeUpdate { map: &map, grads, sums, weights: GradientsParams::new() };
        model.visit(&mut before);
        let (sums, weights) = (before.sums, before.weights);
        UpdateProbe { map, sums, weights, activations: self.tap.take_measured() }
    }
}

/// What is measured of a layer, on the device.
#[derive(Default)]
struct LayerSums {
    weight_square: Option<Tensor<1>>,
    grad_square: Option<Tensor<1>>,
    update_square: Option<Tensor<1>>,
    weight_sample: Vec<Tensor<1>>,
    grad_sample: Vec<Tensor<1>>,
}

fn add_to(sum: &mut Option<Tensor<1>>, more: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + more,
        None => more,
    });
}

/// Returns the histogram of all samples of a layer together; none without samples.
fn sample_histogram(samples: Vec<Tensor<1>>) -> Option<Tensor<1>> {
    (!samples.is_empty()).then(|| magnitude_histogram(Tensor::cat(samples, 0)))
}

struct BeforeUpdate<'a> {
    map: &'a LayerMap,
    grads: &'a GradientsParams,
    sums: Vec<LayerSums>,
    /// The parameters that have a gradient.
    weights: GradientsParams,
}

impl ModuleVisitor for BeforeUpdate<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(&layer) = self.map.of_param.get(&param.id) else { return };
        let (weight, stride, sums) = (param.val().inner(), self.map.stride(layer), &mut self.sums[layer]);
        add_to(&mut sums.weight_square, square_sum(weight.clone()));
        sums.weight_sample.push(every_nth(weight.clone(), stride));
        if let Some(grad) = self.grads.get::<D>(param.id) {
            add_to(&mut sums.grad_square, square_sum(grad.clone()));
            sums.grad_sample.push(every_nth(grad, stride));
            self.weights.register(param.id, weight);
        }
    }
}

/// A probe that waits for the update. It holds the weights before it.
pub(super) struct UpdateProbe {
    map: LayerMap,
    sums: Vec<LayerSums>,
    weights: GradientsParams,
    activations: Vec<MeasuredActivations>,
}

impl UpdateProbe {
    /// READBACK: measures the update that `model` has had, reads all at once, and returns a row for each layer.
    pub fn measure_after(self, model: &Transformer, step: u64) -> Result<Vec<LayerRow>, TrainError> {
        let mut after = AfterUpdate { map: &self.map, weights: self.weights, sums: self.sums };
        model.visit(&mut after);
        let on_device: Vec<[Option<Tensor<1>>; VALUES]> = after
            .sums
            .into_iter()
            .enumerate()
            .map(|(index, sums)| {
                let activations = self.activations.get(index).map(|measured| measured.magnitudes.clone());
                let histograms = [sums.weight_sample, sums.grad_sample].map(sample_histogram);
                let [weights, grads] = histograms;
                [sums.weight_square, sums.grad_square, sums.update_square, activations, weights, grads]
            })
            .collect();
        let mut readback = Readback::default();
        on_device.iter().flatten().flatten().for_each(|tensor| readback.add(tensor));
        let mut read = readback.read()?.into_iter();
        let rows = on_device.iter().enumerate().map(|(index, tensors)| {
            let values = tensors.each_ref().map(|tensor| tensor.as_ref().and_then(|_| read.next()));
            let layer = &self.map.layers[index];
            let count = self.activations.get(index).map_or(1, |measured| measured.count);
            LayerRow {
                step,
                layer_index: index as u64,
                layer: layer.name.clone(),
                params: layer.params as u64,
                ..row_from_values(values, count)
            }
        });
        Ok(rows.collect())
    }
}

/// Tensors that are read for each layer.
const VALUES: usize = 6;

/// Returns a row with what was read; `count`: how many numbers the activations are.
fn row_from_values(values: [Option<Vec<f32>>; VALUES], count: usize) -> LayerRow {
    let [weight, grad, update, activations, weights, grads] = values;
    let norm = |square: Option<Vec<f32>>| Some(f64::from(*square?.first()?).sqrt());
    let histogram =
        |counts: Option<Vec<f32>>| counts.unwrap_or_default().into_iter().map(|count| count as u32).collect();
    let rms = |values: &Vec<f32>| Some((f64::from(*values.first()?) / count as f64).sqrt());
    LayerRow {
        weight_norm: norm(weight).unwrap_or_default(),
        grad_norm: norm(grad),
        update_norm: norm(update),
        activation_rms: activations.as_ref().and_then(rms),
        activation_max: activations.as_ref().and_then(|values| values.get(1)).copied().map(f64::from),
        weight_histogram: histogram(weights),
        grad_histogram: histogram(grads),
        ..LayerRow::default()
    }
}

struct AfterUpdate<'a> {
    map: &'a LayerMap,
    weights: GradientsParams,
    sums: Vec<LayerSums>,
}

impl ModuleVisitor for AfterUpdate<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(before) = self.weights.remove::<D>(param.id) else { return };
        let Some(&layer) = self.map.of_param.get(&param.id) else { return };
        add_to(&mut self.sums[layer].update_square, square_distance(param.val().inner(), before));
    }
}

#[cfg(test)]
mod tests;
