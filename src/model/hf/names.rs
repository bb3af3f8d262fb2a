//! Owns: which of our tensors stands where in a checkpoint, by name and layout.
//! Must not know: files, numbers.
//! Invariant: every tensor of a model but its feedback is named once.

use crate::config::Arch;
use crate::model::Shape;

/// How our matrix or vector stands in a checkpoint's tensor.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Layout {
    /// As it is.
    Same,
    /// A `Linear`'s weight, which others store as `[out, in]`.
    Transposed,
    /// The n-th third of the last axis, of three (GPT-2's fused query, key, value).
    Third(usize),
}

/// One of our tensors and where it stands.
pub(super) struct Entry {
    pub ours: String,
    pub theirs: String,
    pub layout: Layout,
}

pub(super) fn default_prefix(shape: &Shape) -> &'static str {
    match shape.arch {
        Arch::Gpt2 => "transformer.",
        Arch::Llama => "model.",
    }
}

/// Checkpoints of a bare base model leave the prefix out.
pub(super) fn prefix(shape: &Shape, has: impl Fn(&str) -> bool) -> &'static str {
    let first = match shape.arch {
        Arch::Gpt2 => "wte.weight",
        Arch::Llama => "embed_tokens.weight",
    };
    if has(first) { "" } else { default_prefix(shape) }
}

/// How the names of the blocks' tensors begin.
pub(super) fn layers(shape: &Shape, prefix: &str) -> String {
    match shape.arch {
        Arch::Gpt2 => format!("{prefix}h."),
        Arch::Llama => format!("{prefix}layers."),
    }
}

/// The whole mapping, in the order of the model.
pub(super) fn entries(shape: &Shape, prefix: &str) -> Vec<Entry> {
    use Layout::{Same, Third, Transposed};
    let mut list = Vec::new();
    let mut add = |ours: String, theirs: String, layout| list.push(Entry { ours, theirs, layout });
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
                    block("attention.q", "attn.c_attn", Third(0));
                    block("attention.k", "attn.c_attn", Third(1));
                    block("attention.v", "attn.c_attn", Third(2));
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

pub(super) fn theirs_dims(ours: &[usize], layout: Layout) -> Vec<usize> {
    let mut dims = ours.to_vec();
    match layout {
        Layout::Same => {}
        Layout::Transposed => dims.reverse(),
        Layout::Third(_) => {
            if let Some(last) = dims.last_mut() {
                *last *= 3;
            }
        }
    }
    dims
}
