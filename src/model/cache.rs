//! Owns: keys and values of what a batch of rows has gone through, one column of all rows after another, rows of
//! different length side by side.
//! Must not know: what the inputs are, why a column is forgotten.
//! Invariant: a row sees its own columns but the forgotten ones, and stands where its remaining ones end: what is computed
//! is what a row of these alone would give.

use super::attention::KeysValues;
use super::{Transformer, index};
use crate::ops::Sight;
use burn::tensor::Tensor;

/// Columns that are made room for at least.
const ROOM: usize = 64;

/// What a batch of rows leaves behind for its next positions.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Of each block, `[B, room, (H+2G)·K]`; empty before the first columns.
    blocks: Vec<Tensor<3>>,
    /// `[B]`: the position that comes next.
    next: Vec<usize>,
    /// `[B]`: forgotten columns, ascending ranges.
    forgotten: Vec<Vec<std::ops::Range<usize>>>,
    /// Columns in use, and room for so many.
    used: usize,
    room: usize,
}

impl Cache {
    /// For `rows` rows of about `columns` columns; more are made room for when they come.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self {
            blocks: Vec::new(),
            next: vec![0; rows],
            forgotten: vec![Vec::new(); rows],
            used: 0,
            room: columns.next_multiple_of(ROOM),
        }
    }

    /// The position that comes next in `row`.
    pub fn next(&self, row: usize) -> usize {
        self.next[row]
    }

    /// Forgets the last `count` columns of `row`, as if they had not been: its next position is where they began.
    pub fn forget(&mut self, row: usize, count: usize) {
        if count > 0 {
            self.next[row] -= count;
            self.forgotten[row].push(self.used - count..self.used);
        }
    }

    /// Rows `from` in place of those there are; one may come several times.
    pub fn choose(&mut self, from: &[usize]) {
        self.next = from.iter().map(|row| self.next[*row]).collect();
        self.forgotten = from.iter().map(|row| self.forgotten[*row].clone()).collect();
        for block in &mut self.blocks {
            *block = block.clone().select(0, index(from, &block.device()));
        }
    }

    /// What S more columns see of those in use, and of each other.
    fn sight(&self, s: usize) -> Sight {
        let b = self.next.len();
        let mut hidden = vec![false; b * self.room];
        for (hidden, ranges) in hidden.chunks_exact_mut(self.room).zip(&self.forgotten) {
            ranges.iter().for_each(|range| hidden[range.clone()].fill(true));
        }
        if !hidden.contains(&true) {
            hidden.clear();
        }
        Sight::sparse(b, s, self.room, vec![self.used; b * s], Some(hidden))
    }

    /// Appends the columns `own` of every block.
    fn put(&mut self, own: Vec<KeysValues>) {
        let s = own.first().map_or(0, KeysValues::positions);
        if self.used + s > self.room || self.blocks.is_empty() {
            self.make_room(&own, s);
        }
        let columns = self.used..self.used + s;
        for (block, own) in self.blocks.iter_mut().zip(own) {
            // Taken out and put back: nobody else has it, so that it is written to where it lies.
            let place = std::mem::replace(block, Tensor::empty([0, 0, 0], &own.device()));
            *block = place.slice_assign([0..self.next.len(), columns.clone()], own.grid());
        }
        self.used += s;
        self.next.iter_mut().for_each(|next| *next += s);
    }

    /// Room for `s` more columns, twice what there was at least.
    fn make_room(&mut self, own: &[KeysValues], s: usize) {
        let b = self.next.len();
        if !self.blocks.is_empty() {
            self.room = (2 * self.room).max((self.used + s).next_multiple_of(ROOM));
        } else {
            self.room = self.room.max(s.next_multiple_of(ROOM));
        }
        let fresh = |own: &KeysValues| Tensor::zeros([b, self.room, own.width()], &own.device());
        let mut blocks: Vec<Tensor<3>> = own.iter().map(fresh).collect();
        for (block, before) in blocks.iter_mut().zip(&self.blocks) {
            let kept = before.clone().narrow(1, 0, self.used);
            *block = block.clone().slice_assign([0..b, 0..self.used], kept);
        }
        self.blocks = blocks;
    }
}

impl Transformer {
    /// Goes on with every row of `cache`: inputs `[B, S, D]`, position by position after those before. Their hidden states
    /// `[B, S, D]`. The model is without autodiff.
    pub fn advance(&self, inputs: Tensor<3>, cache: &mut Cache) -> Tensor<3> {
        let [b, s, _] = inputs.dims();
        let states = match cache.used {
            0 => self.next(inputs, 0, &[]),
            _ => {
                let before: Vec<KeysValues> = cache.blocks.iter().cloned().map(KeysValues::of).collect();
                let positions: Vec<usize> =
                    cache.next.iter().flat_map(|next| (0..s).map(move |at| next + at)).collect();
                let positions = index(&positions, &self.device().without_autodiff()).reshape([b, s]);
                self.at(inputs, &positions, &cache.sight(s), &before)
            }
        };
        cache.put(states.context);
        states.hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::Shape;
    use burn::tensor::{Device, Int, TensorData};

    fn model(arch: config::Arch) -> Transformer {
        let config =
            config::Model { arch, width: 32, layers: 2, heads: 4, kv_heads: 0, ..Default::default() };
        Transformer::new(Shape::from_config(&config, 17, 200), 3, 0.3, &Device::flex())
    }

    fn embedded(model: &Transformer, rows: &[&[i32]]) -> Tensor<3> {
        let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        model.embed(Tensor::<2, Int>::from_data(data, &Device::flex()))
    }

    fn last(hidden: &Tensor<3>, row: usize, at: usize) -> Vec<f32> {
        hidden.clone().slice([row..row + 1, at..at + 1]).try_into_vec_as().unwrap()
    }

    fn close(found: &[f32], wanted: &[f32], what: &str) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-4, "{what}: {found}, wanted {wanted}");
        }
    }

    #[test]
    fn rows_of_different_length_go_on_as_each_would_alone() {
        for model in [config::Arch::Gpt2, config::Arch::Llama].map(model) {
            let long: Vec<i32> = (0..90).map(|at| at * 5 % 17).collect();
            let short: Vec<i32> = (0..90).map(|at| at * 3 % 17).collect();
            let mut cache = Cache::new(2, 10);
            // The second row has 6 tokens, and four that stand for nothing.
            model.advance(embedded(&model, &[&long[..10], &short[..10]]), &mut cache);
            cache.forget(1, 4);
            let mut own = short[..6].to_vec();
            for at in 10..80 {
                // More than there was room for at first, two columns at once in between.
                let s = if at == 70 { 2 } else { 1 };
                let pieces = [&long[at..at + s], &short[at..at + s]];
                let hidden = model.advance(embedded(&model, &pieces), &mut cache);
                own.extend(&short[at..at + s]);
                if at == 70 {
                    break;
                }
                if at % 9 == 0 {
                    // As if it had not been.
                    cache.forget(1, 1);
                    own.pop();
                    continue;
                }
                assert_eq!([cache.next(0), cache.next(1)], [at + 1, own.len()]);
                let alone = [&long[..=at], &own].map(|row| model.row(embedded(&model, &[row])).hidden);
                close(&last(&hidden, 0, 0), &last(&alone[0], 0, at), "the long row");
                close(&last(&hidden, 1, 0), &last(&alone[1], 0, own.len() - 1), "the short row");
            }
            let hidden = model.advance(embedded(&model, &[&[1], &[2]]), &mut cache);
            own.push(2);
            let alone = model.row(embedded(&model, &[&own])).hidden;
            close(&last(&hidden, 1, 0), &last(&alone, 0, own.len() - 1), "after two at once");
        }
    }
}
