//! Owns: the KV cache of a batch: keys and values of past inputs, by columns. Rows may differ in length.
//! Must not know: what the inputs are, why a column is dropped.
//! Invariant: a row attends to its own columns except the dropped ones, and its next position follows the
//! last remaining one. The result equals that of a row of the remaining inputs alone.

use super::keys_values::KeysValues;
use super::{Transformer, index_tensor};
use crate::ops::AttentionMask;
use burn::tensor::Tensor;

/// The capacity in columns is a multiple of this.
const CAPACITY_STEP: usize = 64;

/// Keys and values of the past positions of a batch of B rows.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// One tensor `[B, capacity, (H+2G)·K]` for each block; empty before the first columns.
    blocks: Vec<Tensor<3>>,
    next_positions: Vec<usize>,
    /// Dropped columns of each row as ascending ranges, `[B]`.
    dropped: Vec<Vec<std::ops::Range<usize>>>,
    used_columns: usize,
    capacity: usize,
}

impl KvCache {
    /// Creates an empty cache for `rows` rows of about `columns` columns. It grows as needed.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self {
            blocks: Vec::new(),
            next_positions: vec![0; rows],
            dropped: vec![Vec::new(); rows],
            used_columns: 0,
            capacity: columns.next_multiple_of(CAPACITY_STEP),
        }
    }

    pub fn next_position(&self, row: usize) -> usize {
        self.next_positions[row]
    }

    /// Drops the last `count` columns of `row`. Its next position moves back by `count`.
    pub fn drop_last(&mut self, row: usize, count: usize) {
        if count > 0 {
            self.next_positions[row] -= count;
            self.dropped[row].push(self.used_columns - count..self.used_columns);
        }
    }

    /// Replaces the rows by the rows with indices `from`. An index may occur several times.
    pub fn select_rows(&mut self, from: &[usize]) {
        self.next_positions = from.iter().map(|row| self.next_positions[*row]).collect();
        self.dropped = from.iter().map(|row| self.dropped[*row].clone()).collect();
        for block in &mut self.blocks {
            *block = block.clone().select(0, index_tensor(from, &block.device()));
        }
    }

    /// Returns the attention mask of `s` new columns over the columns in use and each other.
    fn attention_mask(&self, s: usize) -> AttentionMask {
        let b = self.next_positions.len();
        let mut hidden = vec![false; b * self.capacity];
        for (hidden, ranges) in hidden.chunks_exact_mut(self.capacity).zip(&self.dropped) {
            ranges.iter().for_each(|range| hidden[range.clone()].fill(true));
        }
        if !hidden.contains(&true) {
            hidden.clear();
        }
        AttentionMask::sparse(b, s, self.capacity, vec![self.used_columns; b * s], Some(hidden))
    }

    /// Appends new columns: one element of `new` for each block.
    fn append(&mut self, new: Vec<KeysValues>) {
        let s = new.first().map_or(0, KeysValues::positions);
        if self.used_columns + s > self.capacity || self.blocks.is_empty() {
            self.grow(&new, s);
        }
        let columns = self.used_columns..self.used_columns + s;
        for (block, new) in self.blocks.iter_mut().zip(new) {
            // Taken out and put back, so that the tensor has a single owner and is written in place.
            let owned = std::mem::replace(block, Tensor::empty([0, 0, 0], &new.device()));
            *block = owned.slice_assign([0..self.next_positions.len(), columns.clone()], new.to_grid());
        }
        self.used_columns += s;
        self.next_positions.iter_mut().for_each(|next| *next += s);
    }

    /// Grows the tensors to hold `s` more columns, at least to twice the capacity.
    fn grow(&mut self, new: &[KeysValues], s: usize) {
        let b = self.next_positions.len();
        if !self.blocks.is_empty() {
            self.capacity = (2 * self.capacity).max((self.used_columns + s).next_multiple_of(CAPACITY_STEP));
        } else {
            self.capacity = self.capacity.max(s.next_multiple_of(CAPACITY_STEP));
        }
        let zeros = |new: &KeysValues| Tensor::zeros([b, self.capacity, new.width()], &new.device());
        let mut blocks: Vec<Tensor<3>> = new.iter().map(zeros).collect();
        for (block, old) in blocks.iter_mut().zip(&self.blocks) {
            let kept = old.clone().narrow(1, 0, self.used_columns);
            *block = block.clone().slice_assign([0..b, 0..self.used_columns], kept);
        }
        self.blocks = blocks;
    }
}

impl Transformer {
    /// Feeds `inputs` `[B, S, D]` as the next S positions of every row of `cache`. Returns their hidden
    /// states `[B, S, D]`, and adds their keys and values to the cache. The model must be without autodiff.
    pub fn forward_cached(&self, inputs: Tensor<3>, cache: &mut KvCache) -> Tensor<3> {
        let [b, s, _] = inputs.dims();
        let states = match cache.used_columns {
            0 => self.forward_from(inputs, 0, &[]),
            _ => {
                let cached: Vec<KeysValues> = cache.blocks.iter().cloned().map(KeysValues::from_grid).collect();
                let positions: Vec<usize> =
                    cache.next_positions.iter().flat_map(|next| (0..s).map(move |at| next + at)).collect();
                let positions = index_tensor(&positions, &self.device().without_autodiff()).reshape([b, s]);
                self.forward_at(inputs, &positions, &cache.attention_mask(s), &cached)
            }
        };
        cache.append(states.keys_values);
        states.hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::tensor::{Device, Int, TensorData};

    fn model(arch: config::Arch) -> Transformer {
        let config = config::Model { arch, width: 32, layers: 2, heads: 4, kv_heads: 0, ..Default::default() };
        Transformer::new(ModelShape::from_config(&config, 17, 200), 3, 0.3, &Device::flex())
    }

    fn embedded(model: &Transformer, rows: &[&[i32]]) -> Tensor<3> {
        let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        model.embed(Tensor::<2, Int>::from_data(data, &Device::flex()))
    }

    fn state_at(hidden: &Tensor<3>, row: usize, at: usize) -> Vec<f32> {
        hidden.clone().slice([row..row + 1, at..at + 1]).try_into_vec_as().unwrap()
    }

    fn assert_close(found: &[f32], wanted: &[f32], what: &str) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-4, "{what}: {found}, wanted {wanted}");
        }
    }

    #[test]
    fn rows_of_different_length_continue_as_each_would_alone() {
        for model in [config::Arch::Gpt2, config::Arch::Llama].map(model) {
            let long: Vec<i32> = (0..90).map(|at| at * 5 % 17).collect();
            let short: Vec<i32> = (0..90).map(|at| at * 3 % 17).collect();
            let mut cache = KvCache::new(2, 10);
            // The second row has 6 tokens and 4 of padding.
            model.forward_cached(embedded(&model, &[&long[..10], &short[..10]]), &mut cache);
            cache.drop_last(1, 4);
            let mut own = short[..6].to_vec();
            for at in 10..80 {
                // More columns than the first capacity, and at one point two columns at once.
                let s = if at == 70 { 2 } else { 1 };
                let pieces = [&long[at..at + s], &short[at..at + s]];
                let hidden = model.forward_cached(embedded(&model, &pieces), &mut cache);
                own.extend(&short[at..at + s]);
                if at == 70 {
                    break;
                }
                if at % 9 == 0 {
                    // The dropped column must have no effect.
                    cache.drop_last(1, 1);
                    own.pop();
                    continue;
                }
                assert_eq!([cache.next_position(0), cache.next_position(1)], [at + 1, own.len()]);
                let alone = [&long[..=at], &own].map(|row| model.forward(embedded(&model, &[row])).hidden);
                assert_close(&state_at(&hidden, 0, 0), &state_at(&alone[0], 0, at), "the long row");
                assert_close(&state_at(&hidden, 1, 0), &state_at(&alone[1], 0, own.len() - 1), "the short row");
            }
            let hidden = model.forward_cached(embedded(&model, &[&[1], &[2]]), &mut cache);
            own.push(2);
            let alone = model.forward(embedded(&model, &[&own])).hidden;
            assert_close(&state_at(&hidden, 1, 0), &state_at(&alone, 0, own.len() - 1), "after two at once");
        }
    }
}
