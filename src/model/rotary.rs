//! Owns: rotary position angles (Su et al., arXiv 2104.09864) in the rotate-half form of Hugging Face's Llama.
//! Must not know: attention.
//! Invariant: the angle of a vector depends on its absolute position alone.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines `[max_len, K]` of every position.
#[derive(Module, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    /// Angles `position · theta^(-2i/K)`, for `i` in `0..K/2`, written twice.
    pub fn new(max_len: usize, head_width: usize, theta: f64, device: &Device) -> Self {
        let half = head_width / 2;
        let angles: Vec<f64> = (0..max_len)
            .flat_map(|position| {
                (0..head_width)
                    .map(move |i| position as f64 * theta.powf(-2.0 * (i % half) as f64 / head_width as f64))
            })
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [max_len, head_width]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Turns `x` `[B, H, T, K]`, whose position `t` of the row is position `t` of the table.
    pub fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, t, k] = x.dims();
        let rows = |table: &Tensor<2>| table.clone().narrow(0, 0, t).reshape([1, 1, t, k]);
        let first = x.clone().narrow(3, 0, k / 2);
        let second = x.clone().narrow(3, k / 2, k / 2);
        x * rows(&self.cos) + Tensor::cat(vec![second.neg(), first], 3) * rows(&self.sin)
    }
}
