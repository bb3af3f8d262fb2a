//! Owns: the numbers that fix a model's shape, resolved from a run's config or a Hugging Face `config.json`.
//! Must not know: weights.
//! Invariant: every number is the one in force; no zeros that stand for "automatic".

use super::ModelError;
use crate::config;
use serde_json::{Value, json};
use std::path::Path;

pub use crate::config::Arch;

/// A model's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Which family's details.
    pub arch: Arch,
    /// Vocabulary (V).
    pub vocab_size: usize,
    /// Width (D).
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads (H).
    pub heads: usize,
    /// Key/value heads (G).
    pub kv_heads: usize,
    /// Head width (K).
    pub head_width: usize,
    /// Width of the MLP.
    pub mlp_width: usize,
    /// Positions the model can take.
    pub max_len: usize,
    /// Added to the variance in norms.
    pub norm_eps: f64,
    /// Base of the rotary angles (llama).
    pub rope_theta: f64,
    /// Whether the head shares the token embedding's matrix.
    pub tied: bool,
}

impl Shape {
    /// The shape that a run's config asks for, with the dataset's vocabulary where it names none.
    pub fn from_config(model: &config::Model, vocab_size: usize, seq_len: usize) -> Self {
        let or = |given: usize, otherwise: usize| if given == 0 { otherwise } else { given };
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

    /// Reads a Hugging Face `config.json` of the architecture `gpt2` or `llama`.
    pub fn from_hf(file: &Path) -> Result<Self, ModelError> {
        let name = file.display().to_string();
        let fail = |message: String| ModelError::File { file: name.clone(), message };
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        let hf = HfConfig { file: &name, value: &value };
        match hf.text("model_type")? {
            Some("gpt2") => hf.gpt2(),
            Some("llama") => hf.llama(),
            other => Err(hf.unsupported("model_type", other.unwrap_or("null"), "gpt2, llama")),
        }
    }

    /// The Hugging Face `config.json` of this shape.
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

/// A parsed `config.json`, for reading with errors that name file and key.
struct HfConfig<'a> {
    file: &'a str,
    value: &'a Value,
}

impl HfConfig<'_> {
    fn gpt2(&self) -> Result<Shape, ModelError> {
        let activation = self.text("activation_function")?.unwrap_or("gelu_new");
        if !["gelu_new", "gelu_pytorch_tanh"].contains(&activation) {
            return Err(self.unsupported("activation_function", activation, "gelu_new"));
        }
        self.must_be("scale_attn_weights", true)?;
        self.must_be("scale_attn_by_inverse_layer_idx", false)?;
        self.must_be("tie_word_embeddings", true)?;
        let (width, heads) = (self.number("n_embd")?, self.number("n_head")?);
        Ok(Shape {
            arch: Arch::Gpt2,
            vocab_size: self.number("vocab_size")?,
            width,
            layers: self.number("n_layer")?,
            heads,
            kv_heads: heads,
            head_width: self.head_width(width, heads)?,
            mlp_width: self.number_or("n_inner", 4 * width)?,
            max_len: self.number("n_positions")?,
            norm_eps: self.real("layer_norm_epsilon", &self.value["layer_norm_epsilon"])?.unwrap_or(1e-5),
            rope_theta: 10000.0,
            tied: true,
        })
    }

    fn llama(&self) -> Result<Shape, ModelError> {
        let activation = self.text("hidden_act")?.unwrap_or("silu");
        if activation != "silu" {
            return Err(self.unsupported("hidden_act", activation, "silu"));
        }
        self.must_be("attention_bias", false)?;
        self.must_be("mlp_bias", false)?;
        let (width, heads) = (self.number("hidden_size")?, self.number("num_attention_heads")?);
        let kv_heads = self.number_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.unsupported(
                "num_key_value_heads",
                &kv_heads.to_string(),
                "a divisor of num_attention_heads",
            ));
        }
        let head_width = match &self.value["head_dim"] {
            Value::Null => self.head_width(width, heads)?,
            _ => self.number("head_dim")?,
        };
        if !head_width.is_multiple_of(2) {
            return Err(self.unsupported("head_dim", &head_width.to_string(), "even numbers"));
        }
        Ok(Shape {
            arch: Arch::Llama,
            vocab_size: self.number("vocab_size")?,
            width,
            layers: self.number("num_hidden_layers")?,
            heads,
            kv_heads,
            head_width,
            mlp_width: self.number("intermediate_size")?,
            max_len: self.number("max_position_embeddings")?,
            norm_eps: self.real("rms_norm_eps", &self.value["rms_norm_eps"])?.unwrap_or(1e-6),
            rope_theta: self.rope_theta()?,
            tied: self.flag("tie_word_embeddings")?.unwrap_or(false),
        })
    }

    /// Plain rotary angles only; `rope_parameters` is the newer, `rope_scaling` the older place of a variant.
    fn rope_theta(&self) -> Result<f64, ModelError> {
        for place in ["rope_parameters", "rope_scaling"] {
            self.plain_rotary(place)?;
        }
        if let Some(part) = self.real("partial_rotary_factor", &self.value["partial_rotary_factor"])?
            && part != 1.0
        {
            return Err(self.unsupported("partial_rotary_factor", &part.to_string(), "1"));
        }
        let newer = self.real("rope_parameters.rope_theta", &self.value["rope_parameters"]["rope_theta"])?;
        let theta = newer.or(self.real("rope_theta", &self.value["rope_theta"])?).unwrap_or(10000.0);
        if theta <= 0.0 {
            return Err(self.unsupported("rope_theta", &theta.to_string(), "numbers above 0"));
        }
        Ok(theta)
    }

    /// Nothing at `place`, or an object that says `default`, or nothing but a theta.
    fn plain_rotary(&self, place: &str) -> Result<(), ModelError> {
        let variant = &self.value[place];
        let kind = ["rope_type", "type"].iter().find_map(|key| variant[*key].as_str());
        match (variant, kind) {
            (Value::Null, _) | (_, Some("default")) => Ok(()),
            (_, Some(kind)) => Err(self.unsupported(&format!("{place}.rope_type"), kind, "default")),
            (Value::Object(keys), None) if keys.keys().all(|key| key == "rope_theta") => Ok(()),
            (other, None) => Err(self.unsupported(place, &other.to_string(), "rope_type = default")),
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

    /// A whole number of at least 1.
    fn number(&self, key: &str) -> Result<usize, ModelError> {
        let number = self.value[key].as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number > 0).ok_or_else(|| ModelError::File {
            file: self.file.to_owned(),
            message: format!("`{key}` must be a whole number of at least 1, found {}", self.value[key]),
        })
    }

    /// As [`Self::number`], or `otherwise` where the key is absent or null.
    fn number_or(&self, key: &str, otherwise: usize) -> Result<usize, ModelError> {
        if self.value[key].is_null() { Ok(otherwise) } else { self.number(key) }
    }

    /// The number at `value`, which is called `key`; none where it is absent or null.
    fn real(&self, key: &str, value: &Value) -> Result<Option<f64>, ModelError> {
        self.kind(key, value, "a number", Value::as_f64)
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.kind(key, &self.value[key], "a text", Value::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.kind(key, &self.value[key], "true or false", Value::as_bool)
    }

    /// What `read` makes of `value`; what is there must be of that kind.
    fn kind<'v, T>(
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

    fn must_be(&self, key: &str, wanted: bool) -> Result<(), ModelError> {
        match self.flag(key)? {
            Some(found) if found != wanted => {
                Err(self.unsupported(key, &found.to_string(), &wanted.to_string()))
            }
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
    fn what_it_writes_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for arch in [Arch::Gpt2, Arch::Llama] {
            let model = config::Model { arch, ..Default::default() };
            let shape = Shape::from_config(&model, 100, 64);
            std::fs::write(&file, shape.to_hf().to_string()).unwrap();
            assert_eq!(Shape::from_hf(&file).unwrap(), shape);
        }
    }

    #[test]
    fn what_it_cannot_run_it_refuses_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        for (text, wanted) in [
            (r#"{"model_type": "mamba"}"#, "`model_type` = mamba is not supported; supported: gpt2, llama"),
            (r#"{"model_type": "llama", "hidden_act": "relu"}"#, "`hidden_act` = relu"),
            (r#"{"model_type": "llama"}"#, "`hidden_size` must be a whole number"),
            (
                r#"{"model_type": "gpt2", "n_embd": 0, "n_head": 1}"#,
                "`n_embd` must be a whole number of at least 1, found 0",
            ),
            (r#"{"model_type": "gpt2", "tie_word_embeddings": false}"#, "`tie_word_embeddings` = false"),
            (
                r#"{"model_type":"llama","hidden_size":8,"num_attention_heads":2,"vocab_size":9,"num_hidden_layers":1,
                "intermediate_size":8,"max_position_embeddings":8,"rope_scaling":{"type":"yarn"}}"#,
                "`rope_scaling.rope_type` = yarn",
            ),
            ("{", "config.json"),
            ("{}", "`model_type` = null"),
            (r#"{"model_type": ["llama"]}"#, "`model_type` must be a text, found [\"llama\"]"),
        ] {
            std::fs::write(&file, text).unwrap();
            let found = Shape::from_hf(&file).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found:?} should contain {wanted:?}");
        }
    }

    #[test]
    fn rotary_variants_are_refused_wherever_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let shape = Shape::from_config(&config::Model { arch: Arch::Llama, ..Default::default() }, 100, 64);
        for (key, value, wanted) in [
            ("rope_scaling", json!({ "factor": 2.0 }), Some("`rope_scaling` = {\"factor\":2.0}")),
            ("rope_scaling", json!("linear"), Some("`rope_scaling` = \"linear\"")),
            (
                "rope_parameters",
                json!({ "full_attention": { "rope_type": "yarn" } }),
                Some("`rope_parameters` = "),
            ),
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
            match (Shape::from_hf(&file), wanted) {
                (Ok(_), None) => {}
                (Err(error), Some(wanted)) => assert!(error.to_string().contains(wanted), "{error}"),
                (found, _) => panic!("{key}: {found:?}"),
            }
        }
    }
}
