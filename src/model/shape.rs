//! Owns: the hyperparameters that fix a model's shape, and how a run's config gives them.
//! Must not know: weights, files.
//! Invariant: every number is resolved: 0 never means "automatic" here.

use crate::config;

pub use crate::config::Arch;

/// The family of a model: which `model_type` its Hugging Face folder has. All but GPT-2 have the architecture `llama`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Family {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// How rotary frequencies are stretched for positions beyond those that a model was trained on first. Names and formulas
/// are those of `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    Default,
    /// All frequencies divided by `factor` (Chen et al., arXiv 2306.15595).
    Linear {
        factor: f64,
    },
    /// A base that grows with positions beyond `max_len`; up to there, nothing changes.
    Dynamic {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_len: usize,
    },
    /// YaRN (Peng et al., arXiv 2309.00071). `attention_factor` scales cosines and sines.
    Yarn {
        factor: f64,
        attention_factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_len: usize,
        truncate: bool,
    },
}

/// The architecture and dimensions of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    pub arch: Arch,
    pub family: Family,
    /// Number of tokens in the vocabulary (V).
    pub vocab_size: usize,
    /// Width of the residual stream (D).
    pub width: usize,
    pub layers: usize,
    /// Number of query heads (H).
    pub heads: usize,
    /// Number of key/value heads (G).
    pub kv_heads: usize,
    pub head_width: usize,
    /// Inner width of the MLP (F).
    pub mlp_width: usize,
    pub max_len: usize,
    pub norm_eps: f64,
    /// Base of the rotary frequencies (llama).
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output projection of the attention has a bias.
    pub out_bias: bool,
    /// Whether each head's queries and keys are normalized (Qwen3).
    pub qk_norm: bool,
    /// Whether the head shares the token embeddings.
    pub tied: bool,
}

impl ModelShape {
    /// Resolves the `[model]` section; `vocab_size` and `seq_len` fill what it leaves open.
    pub fn from_config(model: &config::Model, vocab_size: usize, seq_len: usize) -> Self {
        let or = |given: usize, default: usize| if given == 0 { default } else { given };
        let mlp_width = match model.arch {
            Arch::Gpt2 => 4 * model.width,
            Arch::Llama => (8 * model.width).div_ceil(3).next_multiple_of(32),
        };
        let gpt2 = model.arch == Arch::Gpt2;
        Self {
            arch: model.arch,
            family: if gpt2 { Family::Gpt2 } else { Family::Llama },
            vocab_size: or(model.vocab_size, vocab_size),
            width: model.width,
            layers: model.layers,
            heads: model.heads,
            kv_heads: or(model.kv_heads, model.heads),
            head_width: model.width / model.heads,
            mlp_width: or(model.mlp_width, mlp_width),
            max_len: or(model.max_len, seq_len),
            norm_eps: if gpt2 { 1e-5 } else { 1e-6 },
            rope_theta: model.rope_theta,
            rope_scaling: RopeScaling::Default,
            qkv_bias: gpt2,
            out_bias: gpt2,
            qk_norm: false,
            tied: model.tied || gpt2,
        }
    }
}
