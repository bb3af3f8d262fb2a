//! Owns: the hidden states of rows with latents, computed one latent after another or by passes over whole rows; their loss
//! and gradients.
//! Must not know: how rows are made, the optimizer, files.
//! Invariant: the state fed at a latent is the final state of the position before it. Both orders give the same states, if
//! there are as many passes as latents.

use super::rows::CurriculumRow;
use crate::config::{Control, LatentOrder, PassScope};
use crate::model::accumulator::{GradientAccumulator, PassOutput};
use crate::model::cost::StepPart;
use crate::model::{
    GatherIndex, HiddenStates, LatentNoise, LossTargets, RaggedContext, TokenBatch, Transformer, flatten_rows,
    index_tensor,
};
use crate::recycle::passes::{RecycledPass, recycled_pass};
use crate::recycle::placement::RecycledPositions;
use crate::rng::RngKey;
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use std::ops::Range;

/// How latents are computed.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentSettings {
    pub order: LatentOrder,
    /// Passes over whole rows, for [`LatentOrder::Parallel`]; 0: as many as a row has latents at most.
    pub passes: usize,
    /// Whether gradient flows through the fed states. Without it they are constants.
    pub through: bool,
    /// Feeds the pause vector instead of states.
    pub pause: bool,
    /// Noise on the fed states, for [`LatentOrder::Sequential`].
    pub noise: Option<LatentNoise>,
}

/// Hidden states of rows, and where each position of a row is found in them.
pub struct RowStates {
    /// `[B·C, D]`.
    hidden: Tensor<2>,
    /// Index into `hidden` of each position of each row.
    places: Vec<Vec<usize>>,
    pub flop: f64,
    pub backward_flop: f64,
}

impl RowStates {
    /// Returns the states `[N, D]` at pairs of row and position.
    pub fn states_at(&self, positions: &[(usize, usize)]) -> Tensor<2> {
        let indices: Vec<usize> = positions.iter().map(|(row, position)| self.places[*row][*position]).collect();
        self.hidden.clone().select(0, index_tensor(&indices, &self.hidden.device().without_autodiff()))
    }
}

/// Runs `rows`, each with at least two tokens, and returns the states of all inputs: every token but the last.
pub fn run_rows(model: &Transformer, rows: &[CurriculumRow], settings: &LatentSettings) -> RowStates {
    match settings.order {
        _ if rows.iter().all(|row| row.latents.is_empty()) => run_plain(model, rows),
        LatentOrder::Sequential => run_sequential(model, rows, settings),
        LatentOrder::Parallel => run_parallel(model, rows, settings),
    }
}

/// Returns the pairs of row and position whose next token is a target, and the ids of these targets, `[N]`.
pub fn labels(model: &Transformer, rows: &[CurriculumRow]) -> (Vec<(usize, usize)>, Tensor<1, Int>) {
    let of_row = |(index, row): (usize, &CurriculumRow)| {
        (row.given..row.ids.len()).map(move |target| ((index, target - 1), target)).collect::<Vec<_>>()
    };
    let pairs = rows.iter().enumerate().flat_map(of_row);
    let (places, ids): (Vec<_>, Vec<_>) =
        pairs.map(|(place, target)| (place, rows[place.0].ids[target] as usize)).unzip();
    (places, index_tensor(&ids, &model.device().without_autodiff()))
}

/// Adds `weight` times the mean nll of all targets of `rows` to the accumulator's loss. Returns nll and entropy of every
/// target, row by row.
pub fn add_rows(
    accumulator: &mut GradientAccumulator<'_>,
    rows: &[CurriculumRow],
    settings: &LatentSettings,
    weight: f64,
) -> PassOutput {
    let model = accumulator.model();
    let states = run_rows(model, rows, settings);
    let (places, targets) = labels(model, rows);
    accumulator.record_operations(StepPart::Plain, states.flop, states.backward_flop);
    let targets = LossTargets::new(targets, None);
    accumulator.add_loss(StepPart::PlainHead, states.states_at(&places), targets, weight)
}

/// Runs rows without latents.
fn run_plain(model: &Transformer, rows: &[CurriculumRow]) -> RowStates {
    let tokens = padded_tokens(model, rows, &rows.iter().map(|row| 0..row.ids.len() - 1).collect::<Vec<_>>());
    let width = tokens.dims()[1];
    row_states(model.forward(model.embed(tokens)), rows, width)
}

fn row_states(states: HiddenStates, rows: &[CurriculumRow], width: usize) -> RowStates {
    let places = rows.iter().enumerate();
    let places = places.map(|(index, row)| (0..row.ids.len() - 1).map(|at| index * width + at).collect()).collect();
    let HiddenStates { hidden, flop, backward_flop, .. } = states;
    RowStates { hidden: flatten_rows(&hidden), places, flop, backward_flop }
}

/// Runs passes over whole rows. Before pass k+1, the states of pass k are fed at all latents, so that after pass k the first
/// k latents are exact.
fn run_parallel(model: &Transformer, rows: &[CurriculumRow], settings: &LatentSettings) -> RowStates {
    let most = rows.iter().map(|row| row.latents.len()).max().unwrap_or(0);
    let passes = if settings.passes == 0 { most } else { settings.passes };
    let ids = padded(rows, &rows.iter().map(|row| 0..row.ids.len()).collect::<Vec<_>>());
    let seq_len = ids.len() / rows.len() - 1;
    let tokens = TokenBatch::upload(&ids, rows.len(), seq_len, &model.device().without_autodiff());
    let positions = RecycledPositions { seq_len, rows: rows.iter().map(|row| row.latents.clone()).collect() };
    if settings.pause {
        return row_states(run_with_pause(model, tokens.inputs, &positions), rows, seq_len);
    }
    let (reach, control) = (PassScope::Dense, Control::None);
    let pass = RecycledPass { reach, control, scale: 1.0, jitter: 0.0, rng_key: RngKey::default() };
    // Without gradient through the states, only the last pass has a graph.
    let constant = (!settings.through).then(|| model.valid());
    let earlier = constant.as_ref().unwrap_or(model);
    let mut states = earlier.forward(earlier.embed(tokens.inputs.clone()));
    let (mut flop, mut backward_flop) = (states.flop, 0.0);
    for number in 1..=passes {
        let runs = if number == passes { model } else { earlier };
        if constant.is_none() {
            backward_flop += states.backward_flop;
        }
        states = recycled_pass(runs, &tokens, states, &positions, &pass).0;
        flop += states.flop;
    }
    let states = HiddenStates { flop, backward_flop: backward_flop + states.backward_flop, ..states };
    row_states(states, rows, seq_len)
}

/// Runs whole rows with the pause vector at these positions: a constant needs no pass before.
fn run_with_pause(model: &Transformer, inputs: Tensor<2, Int>, positions: &RecycledPositions) -> HiddenStates {
    let index = GatherIndex::new(&positions.rows, positions.seq_len, &model.device().without_autodiff());
    let embeddings = model.embed(inputs);
    let width = embeddings.dims()[2];
    let pause = model.feedback.pause.val().unsqueeze::<2>().expand([positions.count(), width]);
    model.forward(index.scatter(&embeddings, pause))
}

/// Runs what precedes the first latent of each row, then piece after piece: a latent and the tokens up to the next one, with
/// keys and values kept. A batch costs one piece more than its row with the most latents has latents.
fn run_sequential(model: &Transformer, rows: &[CurriculumRow], settings: &LatentSettings) -> RowStates {
    let mut pieces = Pieces::new(rows.len());
    let most = rows.iter().map(|row| row.latents.len()).max().unwrap_or(0);
    let mut last: Option<Tensor<2>> = None;
    for number in 0..=most {
        let ranges: Vec<Range<usize>> = rows.iter().map(|row| piece_range(row, number)).collect();
        let lengths: Vec<usize> = ranges.iter().map(Range::len).collect();
        let inputs = match last.take() {
            None => model.embed(padded_tokens(model, rows, &ranges)),
            Some(states) => {
                let latents = latent_inputs(model, states, settings, &vec![number - 1; rows.len()]).unsqueeze_dim(1);
                let rest: Vec<_> = ranges.iter().map(|range| (range.start + 1).min(range.end)..range.end).collect();
                match rest.iter().all(Range::is_empty) {
                    true => latents,
                    false => Tensor::cat(vec![latents, model.embed(padded_tokens(model, rows, &rest))], 1),
                }
            }
        };
        let states = pieces.run(model, inputs, &lengths);
        let columns = states.dims()[1];
        // The states before the next latents. Those of a row without further latents are not used.
        let end = |(row, length): (usize, &usize)| row * columns + length.saturating_sub(1);
        let ends: Vec<usize> = lengths.iter().enumerate().map(end).collect();
        let ends = index_tensor(&ends, &model.device().without_autodiff());
        last = Some(flatten_rows(&states).select(0, ends));
    }
    pieces.finish()
}

/// Returns the inputs of piece `number` of a row: from its latent of that number, counted from 1, to before the next.
fn piece_range(row: &CurriculumRow, number: usize) -> Range<usize> {
    let inputs = row.ids.len() - 1;
    let bound = |index: usize| row.latents.get(index).copied().unwrap_or(inputs).min(inputs);
    match number {
        0 => 0..bound(0),
        _ => bound(number - 1)..bound(number),
    }
}

/// Returns what is fed at latents, `[B, D]`, after the states before them. `fed`: how many latents each row was fed before.
fn latent_inputs(model: &Transformer, states: Tensor<2>, settings: &LatentSettings, fed: &[usize]) -> Tensor<2> {
    if settings.pause {
        let pause = model.feedback.pause.val();
        let width = pause.dims()[0];
        return pause.unsqueeze::<2>().expand([fed.len(), width]);
    }
    let states = if settings.through { states } else { states.inner() };
    let states = model.feedback.transform_state(states, model.embed.weight.val());
    match &settings.noise {
        Some(noise) => noise.add_to(states, fed),
        None => states,
    }
}

/// The pieces of a sequential run.
struct Pieces {
    context: RaggedContext,
    /// Hidden states of each piece, `[B, S, D]`.
    hidden: Vec<Tensor<3>>,
    /// Column of each position of each row.
    columns: Vec<Vec<usize>>,
    flop: f64,
    backward_flop: f64,
}

impl Pieces {
    fn new(rows: usize) -> Self {
        Self {
            context: RaggedContext::new(rows),
            hidden: Vec::new(),
            columns: vec![Vec::new(); rows],
            flop: 0.0,
            backward_flop: 0.0,
        }
    }

    /// Runs the next piece, `[B, S, D]`, with `lengths` real columns in each row, and returns its states.
    fn run(&mut self, model: &Transformer, inputs: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let first = self.context.columns();
        let states = model.forward_ragged(inputs, lengths, &mut self.context);
        for (row, length) in self.columns.iter_mut().zip(lengths) {
            row.extend(first..first + length);
        }
        self.flop += states.flop;
        self.backward_flop += states.backward_flop;
        self.hidden.push(states.hidden.clone());
        states.hidden
    }

    fn finish(self) -> RowStates {
        let columns = self.context.columns();
        let places = self.columns.iter().enumerate();
        let places = places.map(|(row, at)| at.iter().map(|column| row * columns + column).collect()).collect();
        let hidden = flatten_rows(&Tensor::cat(self.hidden, 1));
        RowStates { hidden, places, flop: self.flop, backward_flop: self.backward_flop }
    }
}

/// Uploads a part of each row as `[B, S]`, padded at the end.
fn padded_tokens(model: &Transformer, rows: &[CurriculumRow], parts: &[Range<usize>]) -> Tensor<2, Int> {
    let ids = padded(rows, parts);
    let width = ids.len() / rows.len();
    Tensor::from_data(TensorData::new(ids, [rows.len(), width]), &model.device().without_autodiff())
}

/// Returns a part of each row, one after the other, all padded at the end to the length of the longest.
fn padded(rows: &[CurriculumRow], parts: &[Range<usize>]) -> Vec<i32> {
    let width = parts.iter().map(Range::len).max().unwrap_or(0);
    let mut ids = Vec::with_capacity(rows.len() * width);
    for (index, (row, part)) in rows.iter().zip(parts).enumerate() {
        ids.extend(row.ids[part.clone()].iter().map(|id| *id as i32));
        ids.resize((index + 1) * width, 0);
    }
    ids
}
