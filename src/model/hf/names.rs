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

/// A tensor of the model and its counterpart in a checkpoint.
pub(super) struct TensorMapping {
    pub native_name: String,
    pub hf_name: String,
    pub layout: TensorLayout,
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

/// Returns the whole mapping, in the order of the model.
pub(super) fn tensor_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    match shape.arch {
        Arch::Gpt2 => gpt2_mappings(shape, prefix),
        Arch::Llama => llama_mappings(shape, prefix),
    }
}

fn gpt2_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    let mut list = vec![
        mapping("embed.weight", format!("{prefix}wte.weight"), Same),
        mapping("positions.weight", format!("{prefix}wpe.weight"), Same),
    ];
    let tensors = [
        ("norm1", "ln_1", Same),
        ("attention.q", "attn.c_attn", FusedThird(0)),
        ("attention.k", "attn.c_attn", FusedThird(1)),
        ("attention.v", "attn.c_attn", FusedThird(2)),
        ("attention.out", "attn.c_proj", Same),
        ("norm2", "ln_2", Same),
        ("mlp.up", "mlp.c_fc", Same),
        ("mlp.down", "mlp.c_proj", Same),
    ];
    for layer in 0..shape.layers {
        for part in ["weight", "bias"] {
            list.extend(tensors.map(|(native, hf, layout)| {
                let native = format!("blocks.{layer}.{native}.{part}");
                mapping(native, format!("{prefix}h.{layer}.{hf}.{part}"), layout)
            }));
        }
    }
    list.extend(["weight", "bias"].map(|part| mapping(format!("norm.{part}"), format!("{prefix}ln_f.{part}"), Same)));
    list
}

fn llama_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    let mut list = vec![mapping("embed.weight", format!("{prefix}embed_tokens.weight"), Same)];
    let tensors = [
        ("norm1", "input_layernorm", Same),
        ("attention.q", "self_attn.q_proj", Transposed),
        ("attention.k", "self_attn.k_proj", Transposed),
        ("attention.v", "self_attn.v_proj", Transposed),
        ("attention.out", "self_attn.o_proj", Transposed),
        ("norm2", "post_attention_layernorm", Same),
        ("mlp.gate", "mlp.gate_proj", Transposed),
        ("mlp.up", "mlp.up_proj", Transposed),
        ("mlp.down", "mlp.down_proj", Transposed),
    ];
    for layer in 0..shape.layers {
        list.extend(tensors.map(|(native, hf, layout)| {
            let native = format!("blocks.{layer}.{native}.weight");
            mapping(native, format!("{prefix}layers.{layer}.{hf}.weight"), layout)
        }));
    }
    list.push(mapping("norm.weight", format!("{prefix}norm.weight"), Same));
    if !shape.tied {
        list.push(mapping("head.weight", "lm_head.weight".into(), Transposed));
    }
    list
}

fn mapping(native_name: impl Into<String>, hf_name: String, layout: TensorLayout) -> TensorMapping {
    TensorMapping { native_name: native_name.into(), hf_name, layout }
}

/// Returns the shape of a checkpoint's tensor that holds a tensor of shape `ours` in this layout.
pub(super) fn hf_dims(ours: &[usize], layout: TensorLayout) -> Vec<usize> {
    let mut dims = ours.to_vec();
    match layout {
        TensorLayout::Same => {}
        TensorLayout::Transposed => dims.reverse(),
        TensorLayout::FusedThird(_) => {
            if let Some(last) = dims.last_mut() {
                *last *= 3;
            }
        }
    }
    dims
}
