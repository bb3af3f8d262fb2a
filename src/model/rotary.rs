//! Owns: rotary position angles (Su et al., arXiv 2104.09864) in the rotate-half form of Hugging Face's Llama.
//! Must not know: attention.
//! Invariant: the angle of a vector depends on its absolute position alone.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

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
        let speed = |i: usize| theta.powf(-2.0 * (i % half) as f64 / head_width as f64);
        let speeds: Vec<f64> = (0..head_width).map(speed).collect();
        let angles: Vec<f64> = (0..max_len)
            .flat_map(|position| speeds.iter().map(move |speed| position as f64 * speed))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [max_len, head_width]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// The angles of positions `0..t`.
    pub fn row(&self, t: usize) -> Angles {
        let rows = |table: &Tensor<2>| table.clone().narrow(0, 0, t);
        Angles { cos: rows(&self.cos), sin: rows(&self.sin) }
    }

    /// The angles of `positions` `[B, S]`.
    pub fn at(&self, positions: &Tensor<2, Int>) -> Angles {
        let flat = positions.clone().flatten::<1>(0, 1);
        let rows = |table: &Tensor<2>| table.clone().select(0, flat.clone());
        Angles { cos: rows(&self.cos), sin: rows(&self.sin) }
    }
}

/// Cosines and sines of the positions of one forward pass, `[S, K]` where they are the same in every row, else `[B·S, K]`.
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
}
