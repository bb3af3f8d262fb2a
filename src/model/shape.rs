//! Owns: the hyperparameters that fix a model's shape, from a run's config or Hugging Face's `config.json`.
//! Must not know: weights.
//! Invariant: every number is resolved: 0 never means "automatic" here.

use super::ModelError;
use crate::config;
use serde_json::{Value, json};
use std::path::Path;

pub use crate::config::Arch;

/// The architecture and dimensions of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    pub arch: Arch,
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
        Self {
            arch: model.arch,
            vocab_size: or(model.vocab_size, vocab_size),
            width: model.width,
            layers: model.layers,
            heads: model.heads,
            kv_heads: or(model.kv_heads, model.heads),
            head_width: model.width / model.heads,
            mlp_width: or(model.mlp_width, mlp_width),
            max_len: or(model.max_len, seq_len),
            norm_eps: if model.arch == Arch::Gpt2 { 1e-5 } else { 1e-6 },
            rope_theta: model.rope_theta,
            tied: model.tied || model.arch == Arch::Gpt2,
        }
    }

    /// Reads a Hugging Face `config.json` with `model_type` `gpt2` or `llama`.
    pub fn from_hf(file: &Path) -> Result<Self, ModelError> {
        let name = file.display().to_string();
        let fail = |message: String| ModelError::File { file: name.clone(), message };
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let hf = HfConfig { file: &name, value: &value };
        match hf.optional_string("model_type")? {
            Some("gpt2") => hf.gpt2(),
            Some("llama") => hf.llama(),
            other => Err(hf.unsupported("model_type", other.unwrap_or("null"), "gpt2, llama")),
        }
    }

    /// Returns the Hugging Face `config.json` of this shape.
    pub fn to_hf(&self) -> Value {
        match self.arch {
            Arch::Gpt2 => json!({
                "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
                "vocab_size": self.vocab_size, "n_positions": self.max_len, "n_embd": self.width,
                "n_layer": self.layers, "n_head": self.heads, "n_inner": self.mlp_width,
                "layer_norm_epsilon": self.norm_eps, "tie_word_embeddings": true,
                "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "dtype": "float32",
            }),
            Arch::Llama => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                "vocab_size": self.vocab_size, "max_position_embeddings": self.max_len, "hidden_size": self.width,
                "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
                "num_key_value_heads": self.kv_heads, "head_dim": self.head_width,
                "intermediate_size": self.mlp_width, "rms_norm_eps": self.norm_eps,
                "rope_theta": self.rope_theta, "attention_bias": false, "mlp_bias": false,
                "tie_word_embeddings": self.tied, "dtype": "float32",
            }),
        }
    }
}

/// A parsed `config.json`, with typed reads whose errors name file and key.
struct HfConfig<'a> {
    file: &'a str,
    value: &'a Value,
}

impl HfConfig<'_> {
    fn gpt2(&self) -> Result<ModelShape, ModelError> {
        let activation = self.optional_string("activation_function")?.unwrap_or("gelu_new");
        if !["gelu_new", "gelu_pytorch_tanh"].contains(&activation) {
            return Err(self.unsupported("activation_function", activation, "gelu_new"));
        }
        self.require_flag("scale_attn_weights", true)?;
        self.require_flag("scale_attn_by_inverse_layer_idx", false)?;
        self.require_flag("tie_word_embeddings", true)?;
        let (width, heads) = (self.positive_integer("n_embd")?, self.positive_integer("n_head")?);
        Ok(ModelShape {
            arch: Arch::Gpt2,
            vocab_size: self.positive_integer("vocab_size")?,
            width,
            layers: self.positive_integer("n_layer")?,
            heads,
            kv_heads: heads,
            head_width: self.head_width(width, heads)?,
            mlp_width: self.positive_integer_or("n_inner", 4 * width)?,
            max_len: self.positive_integer("n_positions")?,
            norm_eps: self.optional_number("layer_norm_epsilon", &self.value["layer_norm_epsilon"])?.unwrap_or(1e-5),
            rope_theta: 10000.0,
            tied: true,
        })
    }

    fn llama(&self) -> Result<ModelShape, ModelError> {
        let activation = self.optional_string("hidden_act")?.unwrap_or("silu");
        if activation != "silu" {
            return Err(self.unsupported("hidden_act", activation, "silu"));
        }
        self.require_flag("attention_bias", false)?;
        self.require_flag("mlp_bias", false)?;
        let (width, heads) = (self.positive_integer("hidden_size")?, self.positive_integer("num_attention_heads")?);
        let kv_heads = self.positive_integer_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.unsupported(
                "num_key_value_heads",
                &kv_heads.to_string(),
                "a divisor of num_attention_heads",
            ));
        }
        let head_width = match &self.value["head_dim"] {
            Value::Null => self.head_width(width, heads)?,
            _ => self.positive_integer("head_dim")?,
        };
        if !head_width.is_multiple_of(2) {
            return Err(self.unsupported("head_dim", &head_width.to_string(), "even numbers"));
        }
        Ok(ModelShape {
            arch: Arch::Llama,
            vocab_size: self.positive_integer("vocab_size")?,
            width,
            layers: self.positive_integer("num_hidden_layers")?,
            heads,
            kv_heads,
            head_width,
            mlp_width: self.positive_integer("intermediate_size")?,
            max_len: self.positive_integer("max_position_embeddings")?,
            norm_eps: self.optional_number("rms_norm_eps", &self.value["rms_norm_eps"])?.unwrap_or(1e-6),
            rope_theta: self.rope_theta()?,
            tied: self.optional_bool("tie_word_embeddings")?.unwrap_or(false),
        })
    }

    /// Reads the base of the rotary frequencies, and rejects variants of rotary embeddings. Newer files
    /// describe a variant under `rope_parameters`, older ones under `rope_scaling`.
    fn rope_theta(&self) -> Result<f64, ModelError> {
        for key in ["rope_parameters", "rope_scaling"] {
            self.require_plain_rotary(key)?;
        }
        if let Some(part) = self.optional_number("partial_rotary_factor", &self.value["partial_rotary_factor"])?
            && part != 1.0
        {
            return Err(self.unsupported("partial_rotary_factor", &part.to_string(), "1"));
        }
        let newer = self.optional_number("rope_parameters.rope_theta", &self.value["rope_parameters"]["rope_theta"])?;
        let theta = newer.or(self.optional_number("rope_theta", &self.value["rope_theta"])?).unwrap_or(10000.0);
        if theta <= 0.0 {
            return Err(self.unsupported("rope_theta", &theta.to_string(), "numbers above 0"));
        }
        Ok(theta)
    }

    /// Accepts an absent `key`, the variant `default`, or an object with nothing but a theta.
    fn require_plain_rotary(&self, key: &str) -> Result<(), ModelError> {
        let variant = &self.value[key];
        let kind = ["rope_type", "type"].iter().find_map(|key| variant[*key].as_str());
        match (variant, kind) {
            (Value::Null, _) | (_, Some("default")) => Ok(()),
            (_, Some(kind)) => Err(self.unsupported(&format!("{key}.rope_type"), kind, "default")),
            (Value::Object(keys), None) if keys.keys().all(|key| key == "rope_theta") => Ok(()),
            (other, None) => Err(self.unsupported(key, &other.to_string(), "rope_type = default")),
        }
    }

    fn head_width(&self, width: usize, heads: usize) -> Result<usize, ModelError> {
        if !width.is_multiple_of(heads) {
            return Err(self.unsupported(
                "number of heads",
                &heads.to_string(),
                &format!("divisors of the width {width}"),
            ));
        }
        Ok(width / heads)
    }

    fn positive_integer(&self, key: &str) -> Result<usize, ModelError> {
        let number = self.value[key].as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number > 0).ok_or_else(|| ModelError::File {
            file: self.file.to_owned(),
            message: format!("`{key}` must be an integer of at least 1, found {}", self.value[key]),
        })
    }

    /// Like [`Self::number`], but returns `default` if the key is absent or null.
    fn positive_integer_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        if self.value[key].is_null() { Ok(default) } else { self.positive_integer(key) }
    }

    /// Reads `value` as a number; `None` if it is absent or null. `key` names it in errors.
    fn optional_number(&self, key: &str, value: &Value) -> Result<Option<f64>, ModelError> {
        self.optional_value(key, value, "a number", Value::as_f64)
    }

    fn optional_string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.optional_value(key, &self.value[key], "a string", Value::as_str)
    }

    fn optional_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.optional_value(key, &self.value[key], "true or false", Value::as_bool)
    }

    /// Converts `value` with `read`; `None` if it is absent or null. An error says that `key` must be `what`.
    fn optional_value<'v, T>(
        &self,
        key: &str,
        value: &'v Value,
        what: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        match (value, read(value)) {
            (Value::Null, _) => Ok(None),
            (_, Some(found)) => Ok(Some(found)),
            (other, None) => Err(ModelError::File {
                file: self.file.to_owned(),
                message: format!("`{key}` must be {what}, found {other}"),
            }),
        }
    }

    fn require_flag(&self, key: &str, required: bool) -> Result<(), ModelError> {
        match self.optional_bool(key)? {
            Some(found) if found != required => Err(self.unsupported(key, &found.to_string(), &required.to_string())),
            _ => Ok(()),
        }
    }

    fn unsupported(&self, key: &str, found: &str, allowed: &str) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn unsupported_values_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for (text, wanted) in [
            (r#"{"model_type": "mamba"}"#, "`model_type` = mamba is not supported; supported: gpt2, llama"),
            (r#"{"model_type": "llama", "hidden_act": "relu"}"#, "`hidden_act` = relu"),
            (r#"{"model_type": "llama"}"#, "`hidden_size` must be an integer"),
            (
                r#"{"model_type": "gpt2", "n_embd": 0, "n_head": 1}"#,
                "`n_embd` must be an integer of at least 1, found 0",
            ),
            (r#"{"model_type": "gpt2", "tie_word_embeddings": false}"#, "`tie_word_embeddings` = false"),
            (
                r#"{"model_type":"llama","hidden_size":8,"num_attention_heads":2,"vocab_size":9,"num_hidden_layers":1,
                "intermediate_size":8,"max_position_embeddings":8,"rope_scaling":{"type":"yarn"}}"#,
                "`rope_scaling.rope_type` = yarn",
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
    fn rotary_variants_are_refused_under_either_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let shape = ModelShape::from_config(&config::Model { arch: Arch::Llama, ..Default::default() }, 100, 64);
        for (key, value, wanted) in [
            ("rope_scaling", json!({ "factor": 2.0 }), Some("`rope_scaling` = {\"factor\":2.0}")),
            ("rope_scaling", json!("linear"), Some("`rope_scaling` = \"linear\"")),
            ("rope_parameters", json!({ "full_attention": { "rope_type": "yarn" } }), Some("`rope_parameters` = ")),
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
