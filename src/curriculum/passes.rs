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
    GatherIndex, HiddenStates, LossTargets, RaggedContext, TokenBatch, Transformer, flatten_rows, index_tensor,
};
use crate::recycle::passes::{RecycledPass, recycled_pass};
use crate::recycle::placement::RecycledPositions;
use crate::rng::RngKey;
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use std::ops::Range;

/// How latents are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentSettings {
    pub order: LatentOrder,
    /// Passes over whole rows, for [`LatentOrder::Parallel`]; 0: as many as a row has latents at most.
    pub passes: usize,
    /// Whether gradient flows through the fed states. Without it they are constants.
    pub through: bool,
    /// Feeds the pause vector instead of states.
    pub pause: bool,
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
    let tokens = padded_tokens(model, rows, |row| 0..row.ids.len() - 1);
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
    let ids = padded(rows, |row| 0..row.ids.len());
    let seq_len = ids.len() / rows.len() - 1;
    let tokens = TokenBatch::upload(&ids, rows.len(), seq_len, &model.device().without_autodiff());
    let positions = RecycledPositions { seq_len, rows: rows.iter().map(|row| row.latents.clone().collect()).collect() };
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

/// Runs what precedes the latents once, then one latent after another, then the rest, with keys and values kept. Rows are
/// aligned at their latents: a batch costs as many pieces as its row with the most latents, plus two.
fn run_sequential(model: &Transformer, rows: &[CurriculumRow], settings: &LatentSettings) -> RowStates {
    let mut pieces = Pieces::new(rows.len());
    let before: Vec<usize> = rows.iter().map(|row| row.latents.start).collect();
    let prefix = model.embed(padded_tokens(model, rows, |row| 0..row.latents.start));
    let states = pieces.run(model, prefix, &before);
    let columns = states.dims()[1];
    let ends: Vec<usize> = before.iter().enumerate().map(|(row, length)| row * columns + length - 1).collect();
    // The states before the next latent. Those of a row without further latents are not used.
    let mut last = flatten_rows(&states).select(0, index_tensor(&ends, &model.device().without_autodiff()));
    let most = rows.iter().map(|row| row.latents.len()).max().unwrap_or(0);
    for number in 0..most {
        let lengths: Vec<usize> = rows.iter().map(|row| usize::from(number < row.latents.len())).collect();
        let input = match settings.pause {
            true => {
                let pause = model.feedback.pause.val();
                let width = pause.dims()[0];
                pause.unsqueeze::<2>().expand([rows.len(), width])
            }
            false => {
                let last = if settings.through { last.clone() } else { last.clone().inner() };
                model.feedback.transform_state(last, model.embed.weight.val())
            }
        };
        last = pieces.run(model, input.unsqueeze_dim(1), &lengths).squeeze_dim(1);
    }
    let after = |row: &CurriculumRow| row.latents.end..row.ids.len() - 1;
    let lengths: Vec<usize> = rows.iter().map(|row| after(row).len()).collect();
    if lengths.iter().any(|length| *length > 0) {
        pieces.run(model, model.embed(padded_tokens(model, rows, after)), &lengths);
    }
    pieces.finish()
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
fn padded_tokens(
    model: &Transformer,
    rows: &[CurriculumRow],
    part: impl Fn(&CurriculumRow) -> Range<usize>,
) -> Tensor<2, Int> {
    let ids = padded(rows, part);
    let width = ids.len() / rows.len();
    Tensor::from_data(TensorData::new(ids, [rows.len(), width]), &model.device().without_autodiff())
}

/// Returns a part of each row, one after the other, all padded at the end to the length of the longest.
fn padded(rows: &[CurriculumRow], part: impl Fn(&CurriculumRow) -> Range<usize>) -> Vec<i32> {
    let width = rows.iter().map(|row| part(row).len()).max().unwrap_or(0);
    let mut ids = Vec::with_capacity(rows.len() * width);
    for (index, row) in rows.iter().enumerate() {
        ids.extend(row.ids[part(row)].iter().map(|id| *id as i32));
        ids.resize((index + 1) * width, 0);
    }
    ids
}
