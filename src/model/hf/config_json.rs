//! Owns: a Hugging Face `config.json` as a model's shape, both ways.
//! Must not know: weights, the other files of the folder.
//! Invariant: a key that would change what the model computes is either understood or refused by name.

use super::json_keys::JsonKeys;
use super::rope_json::{read_rope, rope_entries};
use crate::config::Arch;
use crate::files::foreign;
use crate::model::ModelError;
use crate::model::shape::{Family, ModelShape, RopeScaling};
use serde_json::{Value, json};
use std::path::Path;
use strum::VariantNames;

/// Largest size of a `config.json`, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Keys of other models that change the computation, with the values at which they do not.
const NEUTRAL_KEYS: &[(&str, &[f64])] = &[
    ("logit_scale", &[1.0]),
    ("logits_scaling", &[1.0]),
    ("final_logit_softcapping", &[]),
    ("attn_logit_softcapping", &[]),
    ("query_pre_attn_scalar", &[]),
    ("attention_multiplier", &[]),
    ("embedding_multiplier", &[1.0]),
    ("residual_multiplier", &[1.0]),
    ("scale_emb", &[1.0]),
    ("scale_depth", &[]),
    ("dim_model_base", &[]),
    ("clip_qkv", &[]),
    ("num_experts", &[0.0, 1.0]),
    ("num_local_experts", &[0.0, 1.0]),
    ("n_routed_experts", &[0.0]),
    ("num_nextn_predict_layers", &[0.0]),
    ("attention_chunk_size", &[]),
];

/// Keys of other models that must be absent, null or false.
const FORBIDDEN_FLAGS: &[&str] =
    &["quantization_config", "no_rope_layers", "use_qk_norm", "parallel_attn", "alibi", "use_parallel_residual"];

/// Reads a `config.json` file.
pub(super) fn read_json(file: &Path) -> Result<Value, ModelError> {
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let text = foreign::read_text(file, MAX_BYTES).map_err(|error| fail(error.cause.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        let kind = foreign::mistaken_kind(text.as_bytes());
        fail(kind.map_or_else(|| error.to_string(), |kind| format!("the file is {kind}")))
    })
}

impl ModelShape {
    /// Reads a Hugging Face `config.json` of one of the families in [`Family`].
    pub fn from_hf(file: &Path) -> Result<Self, ModelError> {
        let name = file.display().to_string();
        let value = read_json(file)?;
        let keys = JsonKeys { file: &name, value: &value };
        let kind = keys.optional_string("model_type")?;
        let Some(family) = kind.and_then(|kind| kind.parse::<Family>().ok()) else {
            return Err(keys.unsupported("model_type", kind.unwrap_or("null"), &Family::VARIANTS.join(", ")));
        };
        refuse_foreign_keys(&keys)?;
        match family {
            Family::Gpt2 => gpt2_shape(&keys),
            family => llama_shape(&keys, family),
        }
    }

    /// Returns the Hugging Face `config.json` of this shape.
    pub fn to_hf(&self) -> Value {
        if self.family == Family::Gpt2 {
            return json!({
                "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
                "vocab_size": self.vocab_size, "n_positions": self.max_len, "n_embd": self.width,
                "n_layer": self.layers, "n_head": self.heads, "n_inner": self.mlp_width,
                "layer_norm_epsilon": self.norm_eps, "tie_word_embeddings": self.tied,
                "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "dtype": "float32",
            });
        }
        let class = match self.family {
            Family::Mistral => "MistralForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
            _ => "LlamaForCausalLM",
        };
        let mut config = json!({
            "architectures": [class], "model_type": <&str>::from(self.family), "hidden_act": "silu",
            "vocab_size": self.vocab_size, "max_position_embeddings": self.max_len, "hidden_size": self.width,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_width,
            "intermediate_size": self.mlp_width, "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tied, "dtype": "float32",
        });
        match self.family {
            Family::Mistral => config["sliding_window"] = Value::Null,
            Family::Qwen2 => config["use_sliding_window"] = false.into(),
            Family::Qwen3 => {
                config["use_sliding_window"] = false.into();
                config["attention_bias"] = self.qkv_bias.into();
            }
            _ => {
                config["attention_bias"] = self.qkv_bias.into();
                config["mlp_bias"] = false.into();
            }
        }
        rope_entries(self).into_iter().for_each(|(key, value)| config[key] = value);
        config
    }
}

/// Refuses keys of other models that change the computation.
fn refuse_foreign_keys(keys: &JsonKeys) -> Result<(), ModelError> {
    for (key, neutral) in NEUTRAL_KEYS {
        if let Some(found) = keys.optional_number(key, &keys.value[*key])?
            && !neutral.contains(&found)
        {
            return Err(keys.unsupported(key, &found.to_string(), "the key absent or null"));
        }
    }
    for key in FORBIDDEN_FLAGS {
        let value = &keys.value[*key];
        if !matches!(value, Value::Null | Value::Bool(false)) && *value != json!([]) {
            return Err(keys.unsupported(key, &value.to_string(), "the key absent, null or false"));
        }
    }
    Ok(())
}

fn gpt2_shape(keys: &JsonKeys) -> Result<ModelShape, ModelError> {
    let activation = keys.optional_string("activation_function")?.unwrap_or("gelu_new");
    if !["gelu_new", "gelu_pytorch_tanh"].contains(&activation) {
        return Err(keys.unsupported("activation_function", activation, "gelu_new"));
    }
    keys.require_flag("scale_attn_weights", true)?;
    keys.require_flag("scale_attn_by_inverse_layer_idx", false)?;
    keys.require_flag("add_cross_attention", false)?;
    let (width, heads) = (keys.positive_integer("n_embd")?, keys.positive_integer("n_head")?);
    Ok(ModelShape {
        arch: Arch::Gpt2,
        family: Family::Gpt2,
        vocab_size: keys.positive_integer("vocab_size")?,
        width,
        layers: keys.positive_integer("n_layer")?,
        heads,
        kv_heads: heads,
        head_width: head_width(keys, width, heads)?,
        mlp_width: keys.positive_integer_or("n_inner", 4 * width)?,
        max_len: keys.positive_integer("n_positions")?,
        norm_eps: keys.optional_number("layer_norm_epsilon", &keys.value["layer_norm_epsilon"])?.unwrap_or(1e-5),
        rope_theta: 10000.0,
        rope_scaling: RopeScaling::Default,
        qkv_bias: true,
        out_bias: true,
        qk_norm: false,
        tied: keys.optional_bool("tie_word_embeddings")?.unwrap_or(true),
    })
}

fn llama_shape(keys: &JsonKeys, family: Family) -> Result<ModelShape, ModelError> {
    let activation = keys.optional_string("hidden_act")?.unwrap_or("silu");
    if activation != "silu" {
        return Err(keys.unsupported("hidden_act", activation, "silu"));
    }
    keys.require_flag("mlp_bias", false)?;
    let bias = match family {
        Family::Qwen2 => false,
        _ => keys.optional_bool("attention_bias")?.unwrap_or(false),
    };
    if family == Family::Mistral && bias {
        return Err(keys.unsupported("attention_bias", "true", "false"));
    }
    let (width, heads) = (keys.positive_integer("hidden_size")?, keys.positive_integer("num_attention_heads")?);
    // What an absent key means is what transformers takes it to mean.
    let kv_heads = match (&keys.value["num_key_value_heads"], family) {
        (Value::Null, Family::Mistral) if keys.is_absent("num_key_value_heads") => 8,
        (Value::Null, Family::Qwen2 | Family::Qwen3) if keys.is_absent("num_key_value_heads") => 32,
        (Value::Null, _) => heads,
        _ => keys.positive_integer("num_key_value_heads")?,
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.unsupported("num_key_value_heads", &kv_heads.to_string(), "a divisor of num_attention_heads"));
    }
    let head_width = match (&keys.value["head_dim"], family) {
        (Value::Null, Family::Qwen3) => 128,
        (Value::Null, _) => head_width(keys, width, heads)?,
        _ => keys.positive_integer("head_dim")?,
    };
    if !head_width.is_multiple_of(2) {
        return Err(keys.unsupported("head_dim", &head_width.to_string(), "even numbers"));
    }
    let (layers, max_len) = (keys.positive_integer("num_hidden_layers")?, keys.positions("max_position_embeddings")?);
    refuse_sliding_window(keys, family, layers, max_len)?;
    let (rope_theta, rope_scaling) = read_rope(keys, max_len)?;
    Ok(ModelShape {
        arch: Arch::Llama,
        family,
        vocab_size: keys.positive_integer("vocab_size")?,
        width,
        layers,
        heads,
        kv_heads,
        head_width,
        mlp_width: keys.positive_integer("intermediate_size")?,
        max_len,
        norm_eps: keys.optional_number("rms_norm_eps", &keys.value["rms_norm_eps"])?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        qkv_bias: bias || family == Family::Qwen2,
        out_bias: bias,
        qk_norm: family == Family::Qwen3,
        tied: keys.optional_bool("tie_word_embeddings")?.unwrap_or(false),
    })
}

/// Refuses a sliding window that is shorter than the positions of the model, in any layer.
fn refuse_sliding_window(keys: &JsonKeys, family: Family, layers: usize, max_len: usize) -> Result<(), ModelError> {
    let window = match keys.value["sliding_window"] {
        // transformers' own default of these families.
        Value::Null if keys.is_absent("sliding_window") && family != Family::Llama => 4096,
        Value::Null => return Ok(()),
        _ => keys.positive_integer("sliding_window")?,
    };
    let full_layers = keys.positive_integer_or("max_window_layers", 28)?;
    let in_use = match family {
        Family::Llama => false,
        Family::Mistral => true,
        _ => {
            let typed = keys.value["layer_types"].as_array();
            let slides = |types: &Vec<Value>| types.iter().any(|kind| kind == "sliding_attention");
            keys.optional_bool("use_sliding_window")?.unwrap_or(false) && typed.map_or(full_layers < layers, slides)
        }
    };
    match in_use && window < max_len {
        true => Err(keys.unsupported(
            "sliding_window",
            &window.to_string(),
            &format!("null, or a window of at least max_position_embeddings ({max_len})"),
        )),
        false => Ok(()),
    }
}

fn head_width(keys: &JsonKeys, width: usize, heads: usize) -> Result<usize, ModelError> {
    if !width.is_multiple_of(heads) {
        return Err(keys.unsupported("number of heads", &heads.to_string(), &format!("divisors of the width {width}")));
    }
    Ok(width / heads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn written_configs_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for arch in [Arch::Gpt2, Arch::Llama] {
            let model = config::Model { arch, ..Default::default() };
            let shape = ModelShape::from_config(&model, 100, 64);
            std::fs::write(&file, shape.to_hf().to_string()).unwrap();
            assert_eq!(ModelShape::from_hf(&file).unwrap(), shape);
        }
        let plain = ModelShape::from_config(&config::Model { arch: Arch::Llama, ..Default::default() }, 100, 64);
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            attention_factor: 1.25,
            beta_fast: 16.0,
            beta_slow: 2.0,
            original_len: 32,
            truncate: false,
        };
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_len: 16 };
        for (family, rope_scaling) in [
            (Family::Llama, llama3),
            (Family::Mistral, RopeScaling::Linear { factor: 2.0 }),
            (Family::Qwen2, RopeScaling::Dynamic { factor: 2.0 }),
            (Family::Qwen3, yarn),
        ] {
            let (qkv_bias, qk_norm) = (family == Family::Qwen2, family == Family::Qwen3);
            let shape = ModelShape { family, rope_scaling, qkv_bias, qk_norm, ..plain.clone() };
            std::fs::write(&file, shape.to_hf().to_string()).unwrap();
            assert_eq!(ModelShape::from_hf(&file).unwrap(), shape);
        }
    }

    #[test]
    fn a_sliding_window_is_refused_if_it_is_shorter_than_the_model() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let plain = ModelShape::from_config(&config::Model { arch: Arch::Llama, ..Default::default() }, 100, 64);
        for (family, changes, refused) in [
            (Family::Mistral, json!({ "sliding_window": 63 }), true),
            (Family::Mistral, json!({ "sliding_window": 64 }), false),
            (Family::Qwen2, json!({ "sliding_window": 8 }), false),
            (Family::Qwen2, json!({ "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1 }), true),
            (Family::Qwen2, json!({ "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 99 }), false),
            (
                Family::Qwen3,
                json!({ "sliding_window": 8, "use_sliding_window": true, "layer_types": ["sliding_attention"] }),
                true,
            ),
        ] {
            let mut config = ModelShape { family, ..plain.clone() }.to_hf();
            changes.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
            std::fs::write(&file, config.to_string()).unwrap();
            let found = ModelShape::from_hf(&file);
            assert_eq!(found.is_err(), refused, "{family:?} {changes}");
            if let Err(error) = found {
                assert!(error.to_string().contains("`sliding_window` = "), "{error}");
            }
        }
    }

    #[test]
    fn unsupported_values_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for (text, wanted) in [
            (
                r#"{"model_type": "mamba"}"#,
                "`model_type` = mamba is not supported; supported: gpt2, llama, mistral, qwen2, qwen3",
            ),
            (r#"{"model_type": "llama", "hidden_act": "relu"}"#, "`hidden_act` = relu"),
            (r#"{"model_type": "llama"}"#, "`hidden_size` must be an integer"),
            (
                r#"{"model_type": "gpt2", "n_embd": 0, "n_head": 1}"#,
                "`n_embd` must be an integer of at least 1 and at most 2147483648, found 0",
            ),
            (
                r#"{"model_type": "gpt2", "n_embd": 9223372036854775807}"#,
                "`n_embd` must be an integer of at least 1 and at most",
            ),
            (r#"{"model_type": "llama", "num_local_experts": 8}"#, "`num_local_experts` = 8"),
            (r#"{"model_type": "llama", "quantization_config": {"bits": 4}}"#, "`quantization_config` = {\"bits\":4}"),
            (
                r#"{"model_type":"llama","hidden_size":8,"num_attention_heads":2,"vocab_size":9,"num_hidden_layers":1,
                "intermediate_size":8,"max_position_embeddings":8,"rope_scaling":{"type":"longrope"}}"#,
                "`rope_scaling.rope_type` = longrope",
            ),
            ("{", "config.json"),
            ("{}", "`model_type` = null"),
            (r#"{"model_type": ["llama"]}"#, "`model_type` must be a string, found [\"llama\"]"),
        ] {
            std::fs::write(&file, text).unwrap();
            let found = ModelShape::from_hf(&file).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found:?} should contain {wanted:?}");
        }
    }

    #[test]
    fn rotary_variants_are_read_or_refused_under_either_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let shape = ModelShape::from_config(&config::Model { arch: Arch::Llama, ..Default::default() }, 100, 64);
        for (key, value, wanted) in [
            ("rope_scaling", json!({ "factor": 2.0 }), Some("`rope_scaling` = {\"factor\":2.0}")),
            ("rope_scaling", json!("linear"), Some("`rope_scaling` = \"linear\"")),
            (
                "rope_parameters",
                json!({ "full_attention": { "rope_type": "yarn" } }),
                Some("`rope_parameters.full_attention` = "),
            ),
            ("rope_scaling", json!({ "rope_type": "linear" }), Some("`rope_scaling.factor` = null")),
            (
                "rope_scaling",
                json!({ "rope_type": "yarn", "factor": 2.0, "heads": 1 }),
                Some("`rope_scaling.heads` = 1"),
            ),
            ("rope_scaling", json!({ "rope_type": "yarn", "factor": 2.0, "mscale": 1.0 }), None),
            ("partial_rotary_factor", json!(0.5), Some("`partial_rotary_factor` = 0.5")),
            ("rope_theta", json!("500000"), Some("`rope_theta` must be a number, found \"500000\"")),
            ("rope_theta", json!(0), Some("`rope_theta` = 0")),
            ("rms_norm_eps", json!("1e-5"), Some("`rms_norm_eps` must be a number")),
            ("rope_scaling", json!({ "rope_type": "default" }), None),
            ("rope_parameters", json!({ "rope_theta": 10000.0 }), None),
        ] {
            let mut config = shape.to_hf();
            config[key] = value;
            std::fs::write(&file, config.to_string()).unwrap();
            match (ModelShape::from_hf(&file), wanted) {
                (Ok(_), None) => {}
                (Err(error), Some(wanted)) => assert!(error.to_string().contains(wanted), "{error}"),
                (found, _) => panic!("{key}: {found:?}"),
            }
        }
    }
}
