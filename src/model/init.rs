//! Owns: initial weights, drawn on the host so that a seed gives the same model on every device.
//! Must not know: what a weight is used for.
//! Invariant: the values depend only on (seed, order of the calls, shapes).

use crate::rng::{SeededRng, seeded_rng};
use burn::module::{Param, ParamId};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

/// Creates initialized parameters on a device.
pub(super) struct WeightInit<'a> {
    rng: SeededRng,
    std: f64,
    residual_std: f64,
    device: &'a Device,
}

impl<'a> WeightInit<'a> {
    /// The last matrix of each of `branches` residual branches gets `std / √branches` (Radford et al. 2019).
    pub fn new(seed: u64, std: f64, branches: usize, device: &'a Device) -> Self {
        Self { rng: seeded_rng(seed), std, residual_std: std / (branches as f64).sqrt(), device }
    }

    pub fn linear(&mut self, input: usize, output: usize, bias: bool) -> Linear {
        self.linear_with_std(input, output, bias, self.std)
    }

    pub fn residual_linear(&mut self, input: usize, output: usize, bias: bool) -> Linear {
        self.linear_with_std(input, output, bias, self.residual_std)
    }

    pub fn embedding(&mut self, entries: usize, width: usize) -> Embedding {
        Embedding { weight: self.normal_matrix(entries, width, self.std) }
    }

    pub fn constant(&self, width: usize, value: f32) -> Param<Tensor<1>> {
        self.param(TensorData::new(vec![value; width], [width]))
    }

    /// Returns a vector `[width]` of normal values, drawn like one embedding.
    pub fn normal_vector(&mut self, width: usize) -> Param<Tensor<1>> {
        let values = self.normal_values(width, self.std);
        self.param(TensorData::new(values, [width]))
    }

    /// Returns a square matrix without bias that has `value` on its diagonal and 0 elsewhere.
    pub fn diagonal_linear(&self, width: usize, value: f32) -> Linear {
        let mut values = vec![0.0_f32; width * width];
        values.iter_mut().step_by(width + 1).for_each(|entry| *entry = value);
        Linear { weight: self.param(TensorData::new(values, [width, width])), bias: None }
    }

    fn linear_with_std(&mut self, input: usize, output: usize, bias: bool, std: f64) -> Linear {
        Linear { weight: self.normal_matrix(input, output, std), bias: bias.then(|| self.constant(output, 0.0)) }
    }

    fn normal_matrix(&mut self, rows: usize, columns: usize, std: f64) -> Param<Tensor<2>> {
        if std == 0.0 {
            // The weights will be loaded from a file: no numbers are drawn.
            return self.param(TensorData::new(vec![0.0_f32; rows * columns], [rows, columns]));
        }
        let values = self.normal_values(rows * columns, std);
        self.param(TensorData::new(values, [rows, columns]))
    }

    fn normal_values(&mut self, count: usize, std: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let (a, b) = self.normal_pair();
            values.extend([(a * std) as f32, (b * std) as f32]);
        }
        values.truncate(count);
        values
    }

    /// Draws two independent standard normal numbers (Box and Muller 1958).
    fn normal_pair(&mut self) -> (f64, f64) {
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.rng.random::<f64>();
        (radius * angle.cos(), radius * angle.sin())
    }

    fn param<const D: usize>(&self, data: TensorData) -> Param<Tensor<D>> {
        let value = Tensor::from_data(data, self.device);
        let trained = self.device.is_autodiff();
        Param::initialized(ParamId::new(), if trained { value.require_grad() } else { value })
    }
}
