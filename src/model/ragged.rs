//! Owns: rows of unequal length that are continued piece by piece, with gradients: the keys and values of their columns,
//! and which columns of a row are padding.
//! Must not know: what the pieces are.
//! Invariant: a row's states equal those of the row alone; padding is never seen.

use super::keys_values::KeysValues;
use super::{HiddenStates, Transformer, index_tensor};
use crate::ops::AttentionMask;
use burn::tensor::Tensor;

/// The columns that B rows have passed. Unlike a [`super::KvCache`] it is part of the graph.
#[derive(Clone, Debug)]
pub struct RaggedContext {
    /// Of each block; empty before the first piece.
    keys_values: Vec<KeysValues>,
    /// Whether each column of each row is padding, `[B][C]`.
    padding: Vec<Vec<bool>>,
    next_positions: Vec<usize>,
}

impl RaggedContext {
    pub fn new(rows: usize) -> Self {
        Self { keys_values: Vec::new(), padding: vec![Vec::new(); rows], next_positions: vec![0; rows] }
    }

    /// Returns the number of columns, C.
    pub fn columns(&self) -> usize {
        self.padding.first().map_or(0, Vec::len)
    }

    /// Returns the mask of `s` new columns, which see the columns so far and each other.
    fn attention_mask(&self, s: usize) -> AttentionMask {
        let (b, c) = (self.padding.len(), self.columns());
        let hidden = match self.padding.iter().any(|row| row.contains(&true)) {
            true => self.padding.concat(),
            false => Vec::new(),
        };
        AttentionMask::sparse(b, s, c, vec![c; b * s], Some(hidden))
    }

    fn append(&mut self, new: Vec<KeysValues>, s: usize, lengths: &[usize]) {
        self.keys_values = match self.keys_values.is_empty() {
            true => new,
            false => self.keys_values.iter().zip(&new).map(|(before, new)| before.concat(new)).collect(),
        };
        for (row, length) in lengths.iter().enumerate() {
            self.padding[row].extend((0..s).map(|column| column >= *length));
            self.next_positions[row] += length;
        }
    }
}

impl Transformer {
    /// Runs the next S columns of every row, inputs `[B, S, D]`, of which the first `lengths[b]` of row `b` are real and the
    /// others padding. Appends their keys and values to `context`.
    pub fn forward_ragged(&self, inputs: Tensor<3>, lengths: &[usize], context: &mut RaggedContext) -> HiddenStates {
        let [b, s, _] = inputs.dims();
        let states = match context.columns() {
            0 => self.forward_from(inputs, 0, &[]),
            _ => {
                // Padding has position 0: it may lie beyond the last position of the model.
                let position = |row: usize, column: usize| match column < lengths[row] {
                    true => context.next_positions[row] + column,
                    false => 0,
                };
                let positions: Vec<usize> = (0..b * s).map(|slot| position(slot / s, slot % s)).collect();
                let positions = index_tensor(&positions, &self.device().without_autodiff()).reshape([b, s]);
                self.forward_at(inputs, &positions, &context.attention_mask(s), &context.keys_values)
            }
        };
        context.append(states.keys_values.clone(), s, lengths);
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::tensor::{Device, Int, TensorData};

    fn embedded(model: &Transformer, rows: &[&[i32]]) -> Tensor<3> {
        let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        model.embed(Tensor::<2, Int>::from_data(data, &Device::flex()))
    }

    #[test]
    fn rows_in_padded_pieces_equal_each_row_alone() {
        for arch in [config::Arch::Gpt2, config::Arch::Llama] {
            let config = config::Model { arch, width: 32, layers: 2, heads: 4, ..Default::default() };
            // The longest row fills the model.
            let model = Transformer::new(ModelShape::from_config(&config, 17, 9), 3, 0.3, &Device::flex());
            let rows: [Vec<i32>; 2] = [(0..9).map(|at| at * 5 % 17).collect(), (0..5).map(|at| at * 3 % 17).collect()];
            // Columns of the first row, then of the second; the padding is token 16.
            let pieces: [(&[i32], &[i32]); 4] = [
                (&rows[0][..4], &rows[1][..2]),
                (&rows[0][4..5], &rows[1][2..3]),
                (&rows[0][5..6], &[]),
                (&rows[0][6..9], &rows[1][3..]),
            ];
            let (mut context, mut found) = (RaggedContext::new(2), [Vec::new(), Vec::new()]);
            for (first, second) in pieces {
                let mut padded = second.to_vec();
                padded.resize(first.len(), 16);
                let lengths = [first.len(), second.len()];
                let states = model.forward_ragged(embedded(&model, &[first, &padded]), &lengths, &mut context);
                for (row, length) in lengths.into_iter().enumerate() {
                    let real = states.hidden.clone().slice([row..row + 1, 0..length]);
                    found[row].extend(if length > 0 { real.try_into_vec_as::<f32>().unwrap() } else { Vec::new() });
                }
            }
            assert_eq!(context.columns(), 9);
            for (row, found) in rows.iter().zip(found) {
                let alone: Vec<f32> = model.forward(embedded(&model, &[row])).hidden.try_into_vec_as().unwrap();
                assert_eq!(alone.len(), found.len());
                assert!(alone.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-4), "{arch:?}");
            }
        }
    }
}
