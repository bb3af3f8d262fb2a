//! Owns: the mapping between the model's tensors and those of a checkpoint, by name and layout.
//! Must not know: files, numbers.
//! Invariant: every tensor of a model except its feedback is mapped exactly once.

use self::TensorLayout::{FusedThird, Same, Transposed};
use crate::config::Arch;
use crate::model::ModelShape;

/// How a checkpoint's tensor holds a matrix or vector of the model.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum TensorLayout {
    /// Same shape, same order.
    Same,
    /// A `Linear`'s weight, which PyTorch stores as `[out, in]`.
    Transposed,
    /// The n-th third of the last axis, of three (GPT-2's fused query, key, value).
    FusedThird(usize),
}

/// Name of the head in every checkpoint.
pub(super) const HEAD_NAME: &str = "lm_head.weight";

/// A tensor of the model and its counterpart in a checkpoint.
pub(super) struct TensorMapping {
    pub native_name: String,
    pub hf_name: String,
    pub layout: TensorLayout,
    /// Shape of the checkpoint's tensor.
    pub hf_dims: Vec<usize>,
}

/// Returns the prefix of tensor names in checkpoints of a model with a head.
pub(super) fn default_prefix(shape: &ModelShape) -> &'static str {
    match shape.arch {
        Arch::Gpt2 => "transformer.",
        Arch::Llama => "model.",
    }
}

/// Returns the prefix of a checkpoint's tensor names. Checkpoints of a base model without a head have none.
pub(super) fn detect_prefix(shape: &ModelShape, has: impl Fn(&str) -> bool) -> &'static str {
    let first = match shape.arch {
        Arch::Gpt2 => "wte.weight",
        Arch::Llama => "embed_tokens.weight",
    };
    if has(first) { "" } else { default_prefix(shape) }
}

pub(super) fn block_prefix(shape: &ModelShape, prefix: &str) -> String {
    match shape.arch {
        Arch::Gpt2 => format!("{prefix}h."),
        Arch::Llama => format!("{prefix}layers."),
    }
}

/// Returns the name of the token embeddings in a checkpoint.
pub(super) fn embedding_name(shape: &ModelShape, prefix: &str) -> String {
    match shape.arch {
        Arch::Gpt2 => format!("{prefix}wte.weight"),
        Arch::Llama => format!("{prefix}embed_tokens.weight"),
    }
}

/// Returns the whole mapping, in the order of the model.
pub(super) fn tensor_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    match shape.arch {
        Arch::Gpt2 => gpt2_mappings(shape, prefix),
        Arch::Llama => llama_mappings(shape, prefix),
    }
}

fn gpt2_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    let (d, f) = (shape.width, shape.mlp_width);
    let mut list = vec![
        mapping("embed.weight", format!("{prefix}wte.weight"), Same, &[shape.vocab_size, d]),
        mapping("positions.weight", format!("{prefix}wpe.weight"), Same, &[shape.max_len, d]),
    ];
    let norm: &[usize] = &[d];
    // Inputs and outputs of a matrix; a bias has the outputs.
    let tensors: [(&str, &str, TensorLayout, &[usize]); 8] = [
        ("norm1", "ln_1", Same, norm),
        ("attention.q", "attn.c_attn", FusedThird(0), &[d, 3 * d]),
        ("attention.k", "attn.c_attn", FusedThird(1), &[d, 3 * d]),
        ("attention.v", "attn.c_attn", FusedThird(2), &[d, 3 * d]),
        ("attention.out", "attn.c_proj", Same, &[d, d]),
        ("norm2", "ln_2", Same, norm),
        ("mlp.up", "mlp.c_fc", Same, &[d, f]),
        ("mlp.down", "mlp.c_proj", Same, &[f, d]),
    ];
    for layer in 0..shape.layers {
        for part in ["weight", "bias"] {
            list.extend(tensors.map(|(native, hf, layout, dims)| {
                let native = format!("blocks.{layer}.{native}.{part}");
                let dims = if part == "bias" { &dims[dims.len() - 1..] } else { dims };
                mapping(native, format!("{prefix}h.{layer}.{hf}.{part}"), layout, dims)
            }));
        }
    }
    let last = |part: &str| mapping(format!("norm.{part}"), format!("{prefix}ln_f.{part}"), Same, norm);
    list.extend(["weight", "bias"].map(last));
    list.extend(head_mapping(shape));
    list
}

fn llama_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    let (d, f, k) = (shape.width, shape.mlp_width, shape.head_width);
    let (q, kv) = (shape.heads * k, shape.kv_heads * k);
    let mut list = vec![mapping("embed.weight", format!("{prefix}embed_tokens.weight"), Same, &[shape.vocab_size, d])];
    let mut tensors: Vec<(&str, &str, TensorLayout, Vec<usize>)> = vec![
        ("norm1.weight", "input_layernorm.weight", Same, vec![d]),
        ("attention.q.weight", "self_attn.q_proj.weight", Transposed, vec![q, d]),
        ("attention.k.weight", "self_attn.k_proj.weight", Transposed, vec![kv, d]),
        ("attention.v.weight", "self_attn.v_proj.weight", Transposed, vec![kv, d]),
        ("attention.out.weight", "self_attn.o_proj.weight", Transposed, vec![d, q]),
        ("norm2.weight", "post_attention_layernorm.weight", Same, vec![d]),
        ("mlp.gate.weight", "mlp.gate_proj.weight", Transposed, vec![f, d]),
        ("mlp.up.weight", "mlp.up_proj.weight", Transposed, vec![f, d]),
        ("mlp.down.weight", "mlp.down_proj.weight", Transposed, vec![d, f]),
    ];
    if shape.qkv_bias {
        tensors.push(("attention.q.bias", "self_attn.q_proj.bias", Same, vec![q]));
        tensors.push(("attention.k.bias", "self_attn.k_proj.bias", Same, vec![kv]));
        tensors.push(("attention.v.bias", "self_attn.v_proj.bias", Same, vec![kv]));
    }
    if shape.out_bias {
        tensors.push(("attention.out.bias", "self_attn.o_proj.bias", Same, vec![d]));
    }
    if shape.qk_norm {
        tensors.push(("attention.q_norm.weight", "self_attn.q_norm.weight", Same, vec![k]));
        tensors.push(("attention.k_norm.weight", "self_attn.k_norm.weight", Same, vec![k]));
    }
    for layer in 0..shape.layers {
        list.extend(tensors.iter().map(|(native, hf, layout, dims)| {
            mapping(format!("blocks.{layer}.{native}"), format!("{prefix}layers.{layer}.{hf}"), *layout, dims)
        }));
    }
    list.push(mapping("norm.weight", format!("{prefix}norm.weight"), Same, &[d]));
    list.extend(head_mapping(shape));
    list
}

/// Returns the mapping of a head that does not share the token embeddings.
fn head_mapping(shape: &ModelShape) -> Option<TensorMapping> {
    let dims = [shape.vocab_size, shape.width];
    (!shape.tied).then(|| mapping("head.weight", HEAD_NAME.to_owned(), Transposed, &dims))
}

fn mapping(native_name: impl Into<String>, hf_name: String, layout: TensorLayout, hf_dims: &[usize]) -> TensorMapping {
    TensorMapping { native_name: native_name.into(), hf_name, layout, hf_dims: hf_dims.to_vec() }
}
