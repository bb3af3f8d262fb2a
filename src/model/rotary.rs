//! Owns: rotary position angles (Su et al., arXiv 2104.09864) in the rotate-half form of Llama, with the scaled frequencies
//! of later models.
//! Must not know: attention.
//! Invariant: the angles of a vector depend only on its absolute position. Only positions that are used cost anything.

use super::shape::{ModelShape, RopeScaling};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

/// Fewest positions of a table.
const MIN_POSITIONS: usize = 64;

/// The frequencies of a model, and cosines and sines of the positions used so far.
#[derive(Module, Debug)]
pub struct Rotary {
    /// Angle per position, `[K]`: each of K/2 frequencies twice.
    #[module(skip)]
    frequencies: Arc<Vec<f64>>,
    /// Factor of all cosines and sines; 1 except with YaRN.
    #[module(skip)]
    amplitude: f64,
    #[module(skip)]
    table: Arc<Mutex<Option<RotaryAngles>>>,
}

impl Rotary {
    pub fn new(shape: &ModelShape) -> Self {
        let half = shape.head_width / 2;
        let frequencies = half_frequencies(shape);
        let amplitude = match shape.rope_scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        };
        let frequencies = (0..shape.head_width).map(|i| frequencies[i % half]).collect();
        Self { frequencies: Arc::new(frequencies), amplitude, table: Arc::default() }
    }

    /// Returns the angles of positions `0..t`, `[t, K]`, on `device`.
    pub fn first_angles(&self, t: usize, device: &Device) -> RotaryAngles {
        self.table(t, device).map(|table| table.narrow(0, 0, t))
    }

    /// Returns the angles of `positions` `[B, S]`, all below `end`, as `[B·S, K]`.
    pub fn angles_at(&self, positions: &Tensor<2, Int>, end: usize, device: &Device) -> RotaryAngles {
        let flat = positions.clone().flatten::<1>(0, 1);
        self.table(end, device).map(|table| table.select(0, flat.clone()))
    }

    /// Returns a table of at least `end` positions, and keeps it for the next call.
    fn table(&self, end: usize, device: &Device) -> RotaryAngles {
        let host = device.clone().without_autodiff();
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |table: &RotaryAngles| table.cos.dims()[0] >= end && table.cos.device() == host;
        let table = match kept.take() {
            Some(table) if fits(&table) => table,
            _ => self.compute(end.next_power_of_two().max(MIN_POSITIONS), &host),
        };
        *kept = Some(table.clone());
        match device.is_autodiff() {
            true => table.map(Tensor::from_inner),
            false => table,
        }
    }

    fn compute(&self, positions: usize, device: &Device) -> RotaryAngles {
        let table = |f: fn(f64) -> f64| {
            let angles = (0..positions).flat_map(|position| self.frequencies.iter().map(move |w| position as f64 * w));
            let values: Vec<f32> = angles.map(|angle| (self.amplitude * f(angle)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [positions, self.frequencies.len()]), device)
        };
        RotaryAngles { cos: table(f64::cos), sin: table(f64::sin) }
    }
}

/// Returns the K/2 frequencies of a head, in radians per position.
fn half_frequencies(shape: &ModelShape) -> Vec<f64> {
    let (width, theta) = (shape.head_width as f64, shape.rope_theta);
    let plain = (0..shape.head_width / 2).map(|i| theta.powf(-2.0 * i as f64 / width));
    match shape.rope_scaling {
        // The model takes no more than `max_len` positions, up to which dynamic scaling changes nothing.
        RopeScaling::Default | RopeScaling::Dynamic { .. } => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|w| w / factor).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_len } => plain
            .map(|w| {
                // Rotations over the original length.
                let rotations = original_len as f64 * w / TAU;
                let share = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
                if rotations < low_freq_factor {
                    w / factor
                } else if rotations > high_freq_factor {
                    w
                } else {
                    (1.0 - share) * w / factor + share * w
                }
            })
            .collect(),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_len, truncate, .. } => {
            // The dimension that makes so many rotations over the original length.
            let dimension =
                |rotations: f64| width * (original_len as f64 / (rotations * TAU)).ln() / (2.0 * theta.ln());
            let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(width - 1.0));
            if low == high {
                high += 0.001;
            }
            let interpolated = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            plain.enumerate().map(|(i, w)| w / factor * interpolated(i) + w * (1.0 - interpolated(i))).collect()
        }
    }
}

/// Cosines and sines of one forward pass: `[S, K]` if all rows have the same positions, else `[B·S, K]`.
#[derive(Clone, Debug)]
pub struct RotaryAngles {
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
}

impl RotaryAngles {
    fn map(self, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self { cos: f(self.cos), sin: f(self.sin) }
    }
}
