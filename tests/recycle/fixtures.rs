//! Small random models, tokens and placements for the tests, and comparisons of tensors.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use coconut_lab::config::{Arch, Control, GradientFlow, LossPositions, Model, PassScope, PositionBudget};
use coconut_lab::model::{FeedbackSpec, HiddenStates, ModelShape, TokenBatch, Transformer, head};
use coconut_lab::recycle::passes::{self, RecyclePlan, RecycledPass};
use coconut_lab::recycle::placement::{self, PlacementRows, RecycledPositions};
use coconut_lab::rng::RngKey;

pub const V: usize = 31;
pub const T: usize = 12;
pub const B: usize = 3;
pub const PASS_SCOPES: [PassScope; 3] = [PassScope::Dense, PassScope::Isolated, PassScope::Joint];

pub fn model(arch: Arch, seed: u64) -> Transformer {
    let kv_heads = if arch == Arch::Llama { 2 } else { 4 };
    let config = Model { arch, width: 32, layers: 2, heads: 4, kv_heads, ..Default::default() };
    // Large weights: a new model is near the identity, which would hide errors.
    Transformer::new(ModelShape::from_config(&config, V, T), seed, 0.25, &Device::flex().autodiff())
}

pub fn model_with_feedback(arch: Arch, seed: u64, spec: FeedbackSpec) -> Transformer {
    model(arch, seed).with_feedback(spec, seed)
}

pub fn ids(seed: u64) -> Vec<i32> {
    (0..B * (T + 1)).map(|i| ((i as u64 * 7919 + seed * 104_729 + 13) % 1009 % V as u64) as i32).collect()
}

pub fn tokens(ids: &[i32]) -> TokenBatch {
    TokenBatch::upload(ids, ids.len() / (T + 1), T, &Device::flex())
}

pub fn rng_key(seed: u64, step: u64) -> RngKey {
    RngKey { seed, step, ..RngKey::default() }
}

pub fn random_positions(seed: u64, fraction: f64) -> RecycledPositions {
    let starts: Vec<bool> = (0..B * T).map(|i| i % T == 0).collect();
    let rows = PlacementRows { seq_len: T, doc_start: &starts, max_prefix_fraction: 0.0, rng_key: rng_key(seed, 1) };
    placement::random(rows, PositionBudget::Fraction(fraction))
}

pub fn no_positions(batch: usize) -> RecycledPositions {
    RecycledPositions { seq_len: T, rows: vec![Vec::new(); batch] }
}

pub fn pass(reach: PassScope) -> RecycledPass {
    RecycledPass { reach, control: Control::None, scale: 1.0, jitter: 0.0, rng_key: rng_key(7, 1) }
}

pub fn plan(reach: PassScope, flow: GradientFlow, loss_on: LossPositions, weights: &[f64]) -> RecyclePlan {
    RecyclePlan { pass: pass(reach), loss_weights: weights.to_vec(), flow, cut: 0, loss_on }
}

pub fn plain_pass(model: &Transformer, tokens: &TokenBatch) -> HiddenStates {
    model.forward(model.embed(tokens.inputs.clone()))
}

/// Returns the hidden states `[B, T, D]` after `passes` recycled passes. Sparse passes keep the states of the other
/// positions.
pub fn hidden_states(
    model: &Transformer,
    tokens: &TokenBatch,
    placed: &RecycledPositions,
    pass: &RecycledPass,
    passes: usize,
) -> Tensor<3> {
    let model = model.valid();
    let mut states = plain_pass(&model, tokens);
    for _ in 0..passes {
        states = passes::recycled_pass(&model, tokens, states, placed, pass).0;
    }
    states.hidden
}

/// Returns the NLL at `placed` in one recycled pass.
pub fn nll_at_recycled(
    model: &Transformer,
    tokens: &TokenBatch,
    placed: &RecycledPositions,
    pass: &RecycledPass,
) -> Vec<f32> {
    let model = model.valid();
    let (_, own) = passes::recycled_pass(&model, tokens, plain_pass(&model, tokens), placed, pass);
    let at = coconut_lab::model::index_tensor(&placed.flat_indices(), &Device::flex());
    values(head::score_hidden(&model, own, tokens.flat_targets().select(0, at), None).nll)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// Returns the largest absolute difference.
pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |max, (a, b)| max.max((a - b).abs()))
}

pub fn assert_close<const D: usize>(a: Tensor<D>, b: Tensor<D>, tolerance: f32) {
    let max_difference = max_difference(&values(a), &values(b));
    assert!(max_difference <= tolerance, "{max_difference}");
}
