//! Owns: fresh weights, drawn on the host so that one seed gives one model on every device.
//! Must not know: what a weight is for.
//! Invariant: the values depend on (seed, order of the calls, shapes) alone.

use burn::module::{Param, ParamId};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A source of fresh parameters.
pub(super) struct Init<'a> {
    rng: Xoshiro256PlusPlus,
    std: f64,
    residual_std: f64,
    device: &'a Device,
}

impl<'a> Init<'a> {
    /// Matrices with standard deviation `std`; those that end one of a model's `branches` residual branches
    /// with `std / √branches` (Radford et al. 2019).
    pub fn new(seed: u64, std: f64, branches: usize, device: &'a Device) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            std,
            residual_std: std / (branches as f64).sqrt(),
            device,
        }
    }

    pub fn linear(&mut self, input: usize, output: usize, bias: bool) -> Linear {
        self.projection(input, output, bias, self.std)
    }

    pub fn residual(&mut self, input: usize, output: usize, bias: bool) -> Linear {
        self.projection(input, output, bias, self.residual_std)
    }

    pub fn embedding(&mut self, entries: usize, width: usize) -> Embedding {
        Embedding { weight: self.normal(entries, width, self.std) }
    }

    pub fn constant(&self, width: usize, value: f32) -> Param<Tensor<1>> {
        self.param(TensorData::new(vec![value; width], [width]))
    }

    /// A vector drawn like an embedding.
    pub fn vector(&mut self, width: usize) -> Param<Tensor<1>> {
        let values = self.draw(width, self.std);
        self.param(TensorData::new(values, [width]))
    }

    /// A square matrix without bias, `value` on its diagonal and nothing elsewhere.
    pub fn diagonal(&self, width: usize, value: f32) -> Linear {
        let mut values = vec![0.0_f32; width * width];
        values.iter_mut().step_by(width + 1).for_each(|entry| *entry = value);
        Linear { weight: self.param(TensorData::new(values, [width, width])), bias: None }
    }

    fn projection(&mut self, input: usize, output: usize, bias: bool, std: f64) -> Linear {
        Linear { weight: self.normal(input, output, std), bias: bias.then(|| self.constant(output, 0.0)) }
    }

    fn normal(&mut self, rows: usize, columns: usize, std: f64) -> Param<Tensor<2>> {
        if std == 0.0 {
            // A model that is about to be loaded draws nothing.
            return self.param(TensorData::new(vec![0.0_f32; rows * columns], [rows, columns]));
        }
        let values = self.draw(rows * columns, std);
        self.param(TensorData::new(values, [rows, columns]))
    }

    fn draw(&mut self, count: usize, std: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let (a, b) = self.normal_pair();
            values.extend([(a * std) as f32, (b * std) as f32]);
        }
        values.truncate(count);
        values
    }

    /// Two independent standard normal numbers (Box and Muller 1958).
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
