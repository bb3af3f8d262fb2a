//! Owns: rotary position angles (Su et al., arXiv 2104.09864) in the rotate-half form of Llama.
//! Must not know: attention.
//! Invariant: the angles of a vector depend only on its absolute position.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Precomputed cosines and sines of every position, `[max_len, K]` each.
#[derive(Module, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    /// Computes the angles `position · theta^(-2i/K)` for `i` in `0..K/2`, each of them twice, on `device`.
    pub fn new(max_len: usize, head_width: usize, theta: f64, device: &Device) -> Self {
        let half = head_width / 2;
        let frequency = |i: usize| theta.powf(-2.0 * (i % half) as f64 / head_width as f64);
        let frequencies: Vec<f64> = (0..head_width).map(frequency).collect();
        let angles: Vec<f64> = (0..max_len)
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [max_len, head_width]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Returns the angles of positions `0..t`, `[t, K]`.
    pub fn first_angles(&self, t: usize) -> RotaryAngles {
        let rows = |table: &Tensor<2>| table.clone().narrow(0, 0, t);
        RotaryAngles { cos: rows(&self.cos), sin: rows(&self.sin) }
    }

    /// Returns the angles of `positions` `[B, S]`, as `[B·S, K]`.
    pub fn angles_at(&self, positions: &Tensor<2, Int>) -> RotaryAngles {
        let flat = positions.clone().flatten::<1>(0, 1);
        let rows = |table: &Tensor<2>| table.clone().select(0, flat.clone());
        RotaryAngles { cos: rows(&self.cos), sin: rows(&self.sin) }
    }
}

/// Cosines and sines of one forward pass: `[S, K]` if all rows have the same positions, else `[B·S, K]`.
#[derive(Clone, Debug)]
pub struct RotaryAngles {
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
}
