//! Owns: the plain pass, the recycled passes, and the gradients of both.
//! Must not know: when to recycle, the optimizer, files, terminals.
//! Invariant: the state fed at `t` is that of `t-1`, same row, same batch; the target at `t` is unchanged.

use super::placement::Positions;
use crate::config::{Flow, LossOn};
use crate::model::{Transformer, head};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// A batch on the device.
#[derive(Clone)]
pub struct Tokens {
    /// Inputs `[B, T]`.
    pub inputs: Tensor<2, Int>,
    /// The token after each, `[B, T]`.
    pub targets: Tensor<2, Int>,
}

impl Tokens {
    /// Uploads `tokens` `[B, T+1]`, row-major: inputs are all but each row's last, targets all but its first.
    pub fn upload(tokens: &[i32], batch: usize, seq_len: usize, device: &Device) -> Self {
        let data = TensorData::new(tokens.to_vec(), [batch, seq_len + 1]);
        let all = Tensor::<2, Int>::from_data(data, device);
        Self { inputs: all.clone().narrow(1, 0, seq_len), targets: all.narrow(1, 1, seq_len) }
    }
}

/// What the recycled passes of a step are to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Recycled passes; pass k is fed by pass k-1. The last one's loss counts.
    pub passes: usize,
    /// Whether gradient crosses between passes.
    pub flow: Flow,
    /// Where the loss counts.
    pub loss_on: LossOn,
    /// Weight of the recycled loss beside the plain loss.
    pub weight: f64,
}

/// What a pass said, without autodiff, still on the device.
pub struct Said {
    /// nll at the positions where the loss counts, nats.
    pub nll: Tensor<1>,
    /// Entropy at the same positions, nats.
    pub entropy: Tensor<1>,
}

/// Chooses the recycled positions, given the plain entropy `[B·T]` on the device.
pub type Place<'a> = &'a mut dyn FnMut(&Tensor<1>) -> Positions;

/// One batch's passes.
pub struct Outcome {
    /// Gradients of `plain loss + weight · recycled loss`.
    pub grads: GradientsParams,
    /// The plain pass at all positions, `[B·T]`.
    pub plain: Said,
    /// The last recycled pass where its loss counts, and the recycled positions.
    pub recycled: Option<(Said, Positions)>,
}

/// The article's step for one batch, up to the gradients. `place` chooses the recycled positions, given the plain
/// entropy `[B·T]`; without it, or where it finds none, the step is a plain one. All losses and gradients are
/// multiplied by `share` (one over the batches of an update).
pub fn train(
    model: &Transformer,
    tokens: &Tokens,
    plan: &Plan,
    place: Option<Place<'_>>,
    share: f64,
) -> Outcome {
    // 1. Plain pass: hidden states, loss on all positions.
    let mut backward = Backward::new(model);
    let hidden = model.hidden(model.embed(tokens.inputs.clone()));
    let plain = backward.score(flatten(hidden.clone()), tokens.targets.clone().flatten(0, 1), share);
    let positions = place.map(|place| place(&plain.entropy)).filter(|positions| positions.count() > 0);
    let Some(positions) = positions else {
        return Outcome { grads: backward.finish(), plain, recycled: None };
    };
    // Detached: the plain gradients are taken now, which frees the plain graph before the next pass begins.
    let state = match plan.flow {
        Flow::Detached => {
            backward.take();
            hidden.inner()
        }
        Flow::Through => hidden,
    };
    // 2. Recycled passes, each fed by the one before; loss on the last.
    let recycled = recycle(model, tokens, state, &positions, plan);
    let (rows, targets) = match plan.loss_on {
        LossOn::All => (flatten(recycled), tokens.targets.clone().flatten(0, 1)),
        LossOn::Recycled => {
            let at = indices(&positions, &model.device().without_autodiff());
            (flatten(recycled).select(0, at.clone()), tokens.targets.clone().flatten::<1>(0, 1).select(0, at))
        }
    };
    let said = backward.score(rows, targets, share * plan.weight);
    // 3. One update from both is the caller's.
    Outcome { grads: backward.finish(), plain, recycled: Some((said, positions)) }
}

/// Hidden states `[B, T, D]` of the last of the recycled passes that start from `state` `[B, T, D]`.
fn recycle(
    model: &Transformer,
    tokens: &Tokens,
    state: Tensor<3>,
    positions: &Positions,
    plan: &Plan,
) -> Tensor<3> {
    let mut state = state;
    for pass in 1..=plan.passes {
        // In detached flow only the last pass has a loss, so only it needs a graph.
        let silent = plan.flow == Flow::Detached && pass < plan.passes;
        state = match silent {
            true => dense(&model.valid(), tokens, state, positions),
            false => dense(model, tokens, state, positions),
        };
    }
    state
}

/// One dense recycled pass: hidden states `[B, T, D]` over all positions, fed by the pass before.
pub fn dense(model: &Transformer, tokens: &Tokens, before: Tensor<3>, positions: &Positions) -> Tensor<3> {
    model.hidden(feed(model.embed(tokens.inputs.clone()), before, positions))
}

/// THE alignment: at every recycled position `t` the input is the state of `t-1`; elsewhere the token's embedding.
/// All `[B, T, D]`. Positions enter later, in the model: that of `t` in both cases.
fn feed(embeddings: Tensor<3>, before: Tensor<3>, positions: &Positions) -> Tensor<3> {
    let [b, t, d] = embeddings.dims();
    let device = embeddings.device().without_autodiff();
    let nothing = Tensor::zeros([b, 1, d], &device);
    let shifted = Tensor::cat(vec![nothing, before.narrow(1, 0, t - 1)], 1);
    let mask = Tensor::<3, Bool>::from_data(TensorData::new(positions.mask(), [b, t, 1]), &device);
    embeddings.mask_where(mask.expand([b, t, d]), shifted)
}

/// `[B, T, D]` to `[B·T, D]`.
fn flatten(hidden: Tensor<3>) -> Tensor<2> {
    hidden.flatten(0, 1)
}

/// The recycled positions as indices into `[B·T]`.
pub fn indices(positions: &Positions, device: &Device) -> Tensor<1, Int> {
    let flat: Vec<i32> = positions.flat().into_iter().map(|index| index as i32).collect();
    let count = flat.len();
    Tensor::from_data(TensorData::new(flat, [count]), device)
}

/// Collects losses, as surrogates with the same gradient, and takes their gradients once or pass by pass.
struct Backward<'a> {
    model: &'a Transformer,
    open: Option<Tensor<1>>,
    matrix: Option<Tensor<2>>,
    taken: GradientsAccumulator<Transformer>,
}

impl<'a> Backward<'a> {
    fn new(model: &'a Transformer) -> Self {
        Self { model, open: None, matrix: None, taken: GradientsAccumulator::new() }
    }

    /// Scores `hidden` `[N, D]` and opens the loss `scale · mean(nll)`.
    fn score(&mut self, hidden: Tensor<2>, targets: Tensor<1, Int>, scale: f64) -> Said {
        let [n, _] = hidden.dims();
        let weights = Tensor::full([n], scale / n as f64, &self.model.device().without_autodiff());
        let scores = head::score(self.model, hidden.clone(), targets, Some(weights));
        if let Some(surrogate) = scores.surrogate(hidden) {
            self.open = Some(match self.open.take() {
                Some(open) => open + surrogate,
                None => surrogate,
            });
        }
        if let Some(grads) = scores.grads {
            self.matrix = Some(match self.matrix.take() {
                Some(sum) => sum + grads.matrix,
                None => grads.matrix,
            });
        }
        Said { nll: scores.nll, entropy: scores.entropy }
    }

    /// Takes the gradients of what is open, and frees its graph.
    fn take(&mut self) {
        if let Some(open) = self.open.take() {
            let grads = GradientsParams::from_grads(open.backward(), self.model);
            self.taken.accumulate(self.model, grads);
        }
    }

    fn finish(mut self) -> GradientsParams {
        self.take();
        let mut grads = self.taken.grads();
        if let Some(matrix) = self.matrix {
            head::add_matrix_grad(self.model, &mut grads, matrix);
        }
        grads
    }
}

/// What a look at a batch sees: plain and recycled pass at all positions, without gradients.
pub struct Look {
    /// The plain pass, `[B·T]`.
    pub plain: Said,
    /// The last recycled pass, `[B·T]`, and the recycled positions; absent where `place` found none.
    pub recycled: Option<(Said, Positions)>,
}

/// Plain pass and `passes` recycled passes on `model` (without autodiff), scored at all positions. Without `place`
/// the plain pass alone.
pub fn look(model: &Transformer, tokens: &Tokens, passes: usize, place: Option<Place<'_>>) -> Look {
    let targets = tokens.targets.clone().flatten::<1>(0, 1);
    let said = |hidden: Tensor<3>| {
        let scores = head::score(model, flatten(hidden), targets.clone(), None);
        Said { nll: scores.nll, entropy: scores.entropy }
    };
    let mut state = model.hidden(model.embed(tokens.inputs.clone()));
    let plain = said(state.clone());
    let positions = place.map(|place| place(&plain.entropy)).filter(|positions| positions.count() > 0);
    let Some(positions) = positions else {
        return Look { plain, recycled: None };
    };
    for _ in 0..passes {
        state = dense(model, tokens, state, &positions);
    }
    Look { recycled: Some((said(state), positions)), plain }
}
