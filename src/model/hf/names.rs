//! Owns: the mapping between the model's tensors and those of a checkpoint, by name and layout.
//! Must not know: files, numbers.
//! Invariant: every tensor of a model except its feedback is mapped exactly once.

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

/// Returns the prefix of the names of all block tensors.
pub(super) fn block_prefix(shape: &ModelShape, prefix: &str) -> String {
    match shape.arch {
        Arch::Gpt2 => format!("{prefix}h."),
        Arch::Llama => format!("{prefix}layers."),
    }
}

/// Returns the whole mapping, in the order of the model.
pub(super) fn tensor_mappings(shape: &ModelShape, prefix: &str) -> Vec<TensorMapping> {
    use TensorLayout::{FusedThird, Same, Transposed};
    let mut list = Vec::new();
    let mut add = |ours: String, theirs: String, layout| {
        list.push(TensorMapping { native_name: ours, hf_name: theirs, layout })
    };
    match shape.arch {
        Arch::Gpt2 => {
            add("embed.weight".into(), format!("{prefix}wte.weight"), Same);
            add("positions.weight".into(), format!("{prefix}wpe.weight"), Same);
            for layer in 0..shape.layers {
                for part in ["weight", "bias"] {
                    let mut block = |ours: &str, theirs: &str, layout| {
                        add(
                            format!("blocks.{layer}.{ours}.{part}"),
                            format!("{prefix}h.{layer}.{theirs}.{part}"),
                            layout,
                        )
                    };
                    block("norm1", "ln_1", Same);
                    block("attention.q", "attn.c_attn", FusedThird(0));
                    block("attention.k", "attn.c_attn", FusedThird(1));
                    block("attention.v", "attn.c_attn", FusedThird(2));
                    block("attention.out", "attn.c_proj", Same);
                    block("norm2", "ln_2", Same);
                    block("mlp.up", "mlp.c_fc", Same);
                    block("mlp.down", "mlp.c_proj", Same);
                }
            }
            add("norm.weight".into(), format!("{prefix}ln_f.weight"), Same);
            add("norm.bias".into(), format!("{prefix}ln_f.bias"), Same);
        }
        Arch::Llama => {
            add("embed.weight".into(), format!("{prefix}embed_tokens.weight"), Same);
            for layer in 0..shape.layers {
                let mut block = |ours: &str, theirs: &str, layout| {
                    add(
                        format!("blocks.{layer}.{ours}.weight"),
                        format!("{prefix}layers.{layer}.{theirs}.weight"),
                        layout,
                    )
                };
                block("norm1", "input_layernorm", Same);
                block("attention.q", "self_attn.q_proj", Transposed);
                block("attention.k", "self_attn.k_proj", Transposed);
                block("attention.v", "self_attn.v_proj", Transposed);
                block("attention.out", "self_attn.o_proj", Transposed);
                block("norm2", "post_attention_layernorm", Same);
                block("mlp.gate", "mlp.gate_proj", Transposed);
                block("mlp.up", "mlp.up_proj", Transposed);
                block("mlp.down", "mlp.down_proj", Transposed);
            }
            add("norm.weight".into(), format!("{prefix}norm.weight"), Same);
            if !shape.tied {
                add("head.weight".into(), "lm_head.weight".into(), Transposed);
            }
        }
    }
    list
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
