//! Owns: the floating-point operations of passes and updates, counted from shapes.
//! Must not know: how time is measured, devices.
//! Invariant: the count is of what is computed: a masked attention score costs as much as a visible one.
//!
//! Counted are matrix products, with two operations for a multiply-add as usual (Kaplan et al., arXiv
//! 2001.08361, section 2.1), and the element-wise arithmetic of the update. A backward pass costs twice the
//! products of its forward pass, but only once the products with constant keys and values.

use super::ModelShape;

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum StepPart {
    /// Blocks of the plain pass, forward and backward, without the head.
    Plain,
    /// Blocks of all recycled passes, forward and backward, without the head.
    Recycled,
    /// Head, loss and their gradients in the plain pass.
    #[strum(serialize = "plain head")]
    PlainHead,
    /// Head, loss and their gradients in the recycled passes.
    #[strum(serialize = "recycled head")]
    RecycledHead,
    /// Gradient norm, clipping and optimizer.
    Update,
}

impl StepPart {
    /// Returns the name that traces and tables use.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Head and loss of all passes.
    pub const HEAD: &[StepPart] = &[StepPart::PlainHead, StepPart::RecycledHead];
    /// Everything that recycling adds to a step.
    pub const RECYCLING: &[StepPart] = &[StepPart::Recycled, StepPart::RecycledHead];
}

/// Floating-point operations and seconds of each part of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartCosts {
    flop: [f64; 5],
    seconds: [f64; 5],
}

impl PartCosts {
    pub fn add(&mut self, part: StepPart, flop: f64, seconds: f64) {
        self.flop[part as usize] += flop;
        self.seconds[part as usize] += seconds;
    }

    pub fn add_all(&mut self, other: &Self) {
        for part in 0..self.flop.len() {
            self.flop[part] += other.flop[part];
            self.seconds[part] += other.seconds[part];
        }
    }

    pub fn flop(&self, parts: &[StepPart]) -> f64 {
        parts.iter().map(|part| self.flop[*part as usize]).sum()
    }

    /// Returns the total seconds of `parts`; 0 if they were not timed.
    pub fn seconds(&self, parts: &[StepPart]) -> f64 {
        parts.iter().map(|part| self.seconds[*part as usize]).sum()
    }
}

/// Operations of a backward pass, as a multiple of its forward pass.
pub const BACKWARD_FACTOR: f64 = 2.0;
/// Element-wise operations of an update for each parameter: 16 for AdamW, 2 for the gradient norm.
const UPDATE_FLOP_PER_PARAM: f64 = 18.0;

impl ModelShape {
    /// Returns the operations of all blocks, forward, at positions that attend to `keys` keys each.
    pub fn blocks_flop(&self, positions: usize, keys: usize) -> f64 {
        let (q, kv) = (self.heads * self.head_width, self.kv_heads * self.head_width);
        let mlp = if self.arch == crate::config::Arch::Llama { 3 } else { 2 };
        let matrices = 2 * self.width * q + 2 * self.width * kv + mlp * self.width * self.mlp_width;
        2.0 * (self.layers * positions * matrices) as f64 + self.attention_flop(positions, keys)
    }

    /// Returns the part of [`Self::blocks_flop`] that is attention scores and mixing of values.
    pub fn attention_flop(&self, positions: usize, keys: usize) -> f64 {
        4.0 * (self.layers * positions * self.heads * self.head_width * keys) as f64
    }

    pub fn head_flop(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * (self.width * self.vocab_size) as f64
    }

    /// Returns the number of parameters, without those of the feedback. As a float, because foreign sizes may be anything.
    pub fn param_count(&self) -> f64 {
        let size = |count: usize| count as f64;
        let (d, f, k) = (size(self.width), size(self.mlp_width), size(self.head_width));
        let (q, kv) = (size(self.heads) * k, size(self.kv_heads) * k);
        let gpt2 = self.arch == crate::config::Arch::Gpt2;
        let flag = |flag: bool, count: f64| if flag { count } else { 0.0 };
        let norm = if gpt2 { 2.0 * d } else { d };
        let attention = 2.0 * d * q + 2.0 * d * kv + flag(self.qkv_bias, q + 2.0 * kv) + flag(self.out_bias, d);
        let mlp = if gpt2 { 2.0 * d * f + f + d } else { 3.0 * d * f };
        let block = attention + mlp + 2.0 * norm + flag(self.qk_norm, 2.0 * k);
        let embeddings = size(self.vocab_size) * d * if self.tied { 1.0 } else { 2.0 };
        embeddings + flag(gpt2, size(self.max_len) * d) + size(self.layers) * block + norm
    }

    pub fn update_flop(params: usize) -> f64 {
        UPDATE_FLOP_PER_PARAM * params as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Model};
    use burn::module::Module;

    #[test]
    fn parameters_are_counted_without_building_a_model() {
        for arch in [Arch::Gpt2, Arch::Llama] {
            let model = Model { arch, width: 16, layers: 2, heads: 2, kv_heads: 1, ..Default::default() };
            let model = if arch == Arch::Gpt2 { Model { kv_heads: 0, ..model } } else { model };
            let shape = ModelShape::from_config(&model, 11, 6);
            let (qkv_bias, qk_norm) = (true, arch == Arch::Llama);
            for shape in [shape.clone(), ModelShape { qkv_bias, qk_norm, tied: false, ..shape }] {
                let model = crate::model::Transformer::new(shape.clone(), 0, 0.1, &burn::tensor::Device::flex());
                let feedback = model.feedback.num_params();
                assert_eq!(shape.param_count(), (model.num_params() - feedback) as f64, "{shape:?}");
            }
        }
    }

    #[test]
    fn operations_are_those_of_the_products() {
        let model = Model { arch: Arch::Gpt2, width: 8, layers: 3, heads: 2, ..Default::default() };
        let shape = ModelShape::from_config(&model, 11, 6);
        // Four D×D products, an MLP of width 4·D, and two products with each key.
        let position = 4 * 8 * 8 + 2 * 8 * 32 + 2 * 8 * 5;
        assert_eq!(shape.blocks_flop(7, 5), (2 * 3 * 7 * position) as f64);
        assert_eq!(shape.head_flop(7), (2 * 7 * 8 * 11) as f64);
        let model = Model { arch: Arch::Llama, kv_heads: 1, mlp_width: 20, ..model };
        let shape = ModelShape::from_config(&model, 11, 6);
        let position = 2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 20 + 2 * 8 * 5;
        assert_eq!(shape.blocks_flop(7, 5), (2 * 3 * 7 * position) as f64);
    }
}
