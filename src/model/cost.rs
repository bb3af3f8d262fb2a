//! Owns: floating-point operations of passes and updates, counted from shapes.
//! Must not know: time, devices.
//! Invariant: what is counted is what is computed: a masked score costs as much as a visible one.
//!
//! Counted are the matrix products, two operations a multiply-add, as is usual (Kaplan et al., arXiv 2001.08361, section
//! 2.1), and the update's element-wise arithmetic. A backward pass takes twice the products of the forward pass,
//! and once those with constant keys and values.

use super::Shape;

/// A part of a step's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The plain pass, forward and backward, without the head.
    Plain,
    /// All recycled passes, likewise.
    Recycled,
    /// Head, loss and their gradients, of the plain pass.
    PlainHead,
    /// The same of the recycled passes.
    RecycledHead,
    /// Norm, clipping, optimizer.
    Update,
}

impl Part {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Recycled => "recycled",
            Self::PlainHead => "plain head",
            Self::RecycledHead => "recycled head",
            Self::Update => "update",
        }
    }

    /// Both heads.
    pub const HEAD: &[Part] = &[Part::PlainHead, Part::RecycledHead];
    /// All that recycling adds to a step.
    pub const RECYCLING: &[Part] = &[Part::Recycled, Part::RecycledHead];
}

/// Operations and seconds of every part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    flop: [f64; 5],
    seconds: [f64; 5],
}

impl Costs {
    /// Adds to one part.
    pub fn add(&mut self, part: Part, flop: f64, seconds: f64) {
        self.flop[part as usize] += flop;
        self.seconds[part as usize] += seconds;
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for part in 0..self.flop.len() {
            self.flop[part] += other.flop[part];
            self.seconds[part] += other.seconds[part];
        }
    }

    /// Operations of `parts`.
    pub fn flop(&self, parts: &[Part]) -> f64 {
        parts.iter().map(|part| self.flop[*part as usize]).sum()
    }

    /// Seconds of `parts`; 0 where they were not timed.
    pub fn seconds(&self, parts: &[Part]) -> f64 {
        parts.iter().map(|part| self.seconds[*part as usize]).sum()
    }
}

/// Backward passes cost this much of the forward pass.
pub const BACKWARD: f64 = 2.0;
/// Element-wise operations a parameter: AdamW with decoupled decay 16, gradient norm 2.
const UPDATE: f64 = 18.0;

impl Shape {
    /// Forward through all blocks at `positions` positions, each scored against `keys` keys.
    pub fn blocks_flop(&self, positions: usize, keys: usize) -> f64 {
        let (q, kv) = (self.heads * self.head_width, self.kv_heads * self.head_width);
        let mlp = if self.arch == crate::config::Arch::Llama { 3 } else { 2 };
        let matrices = 2 * self.width * q + 2 * self.width * kv + mlp * self.width * self.mlp_width;
        2.0 * (self.layers * positions * matrices) as f64 + self.attention_flop(positions, keys)
    }

    /// The share of that which is scores and mixing with `keys` keys.
    pub fn attention_flop(&self, positions: usize, keys: usize) -> f64 {
        4.0 * (self.layers * positions * self.heads * self.head_width * keys) as f64
    }

    /// The head at `positions` positions, forward.
    pub fn head_flop(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * (self.width * self.vocab_size) as f64
    }

    /// One update of `params` parameters.
    pub fn update_flop(params: usize) -> f64 {
        UPDATE * params as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Model};

    #[test]
    fn operations_are_those_of_the_products() {
        let model = Model { arch: Arch::Gpt2, width: 8, layers: 3, heads: 2, ..Default::default() };
        let shape = Shape::from_config(&model, 11, 6);
        // Four D×D products, an MLP of 4·D, and two products with each key.
        let position = 4 * 8 * 8 + 2 * 8 * 32 + 2 * 8 * 5;
        assert_eq!(shape.blocks_flop(7, 5), (2 * 3 * 7 * position) as f64);
        assert_eq!(shape.head_flop(7), (2 * 7 * 8 * 11) as f64);
        let model = Model { arch: Arch::Llama, kv_heads: 1, mlp_width: 20, ..model };
        let shape = Shape::from_config(&model, 11, 6);
        let position = 2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 20 + 2 * 8 * 5;
        assert_eq!(shape.blocks_flop(7, 5), (2 * 3 * 7 * position) as f64);
    }
}
