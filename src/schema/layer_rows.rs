//! Owns: what is measured of a layer at a step: norms, ratio, activations, histograms; as plain data.
//! Must not know: columns, files, how a layer is measured.
//! Invariant: the rows of one step are in the order of the model's layers.

/// Counts of a histogram of magnitudes: those below 2^[`LEAST_EXPONENT`], one for each power of two, and the rest.
pub const MAGNITUDE_BUCKETS: usize = 32;

/// The first bucket of a histogram ends at two to this power; the last one begins at 4.
pub const LEAST_EXPONENT: i32 = -28;

/// Ratios of update norm to weight norm that are usual in training.
pub const USUAL_UPDATE_RATIO: (f64, f64) = (1e-4, 1e-2);

/// A layer at a step. A layer is the embedding, attention or MLP of a block with the norm before it, the last norm, the head,
/// or the feedback.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerRow {
    /// Number of updates done, including the measured one.
    pub step: u64,
    /// Place of the layer in the model, from 0.
    pub layer_index: u64,
    /// Name of the layer, such as `block 0 mlp`.
    pub layer: String,
    /// Number of parameters.
    pub params: u64,
    /// L2 norm of the parameters before the update.
    pub weight_norm: f64,
    /// L2 norm of the gradient before clipping; `None` if the step trains nothing of the layer.
    pub grad_norm: Option<f64>,
    /// L2 norm of the difference that the update makes.
    pub update_norm: Option<f64>,
    /// Root mean square of the residual stream after the layer.
    pub activation_rms: Option<f64>,
    /// Its largest magnitude.
    pub activation_max: Option<f64>,
    /// How many parameters of a sample have which magnitude, [`MAGNITUDE_BUCKETS`] counts.
    pub weight_histogram: Vec<u32>,
    /// The same of the gradient; empty without one.
    pub grad_histogram: Vec<u32>,
}

impl LayerRow {
    /// Returns the root mean square of the parameters.
    pub fn weight_rms(&self) -> f64 {
        self.weight_norm / (self.params.max(1) as f64).sqrt()
    }

    /// Returns the update norm divided by the weight norm; none without an update, or if all weights are 0.
    pub fn update_ratio(&self) -> Option<f64> {
        self.update_norm.map(|update| update / self.weight_norm).filter(|ratio| ratio.is_finite())
    }
}

/// Returns the magnitude at which a bucket of a histogram ends; infinity for the last one.
pub fn bucket_end(bucket: usize) -> f64 {
    if bucket + 1 < MAGNITUDE_BUCKETS { 2.0_f64.powi(LEAST_EXPONENT + bucket as i32) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rms_and_ratio_follow_from_the_norms() {
        let mut row = LayerRow { params: 16, weight_norm: 2.0, update_norm: Some(0.002), ..LayerRow::default() };
        assert_eq!((row.weight_rms(), row.update_ratio()), (0.5, Some(0.001)));
        row.weight_norm = 0.0;
        assert_eq!(row.update_ratio(), None);
    }

    #[test]
    fn the_last_bucket_begins_at_four() {
        assert_eq!(bucket_end(MAGNITUDE_BUCKETS - 2), 4.0);
        assert_eq!((bucket_end(0), bucket_end(MAGNITUDE_BUCKETS - 1)), (2.0_f64.powi(-28), f64::INFINITY));
    }
}
