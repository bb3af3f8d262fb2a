//! Owns: rotary settings of a `config.json`, both ways: `rope_theta` with `rope_scaling`, or `rope_parameters`.
//! Must not know: how frequencies are computed.
//! Invariant: what is written is read back equal.

use super::json_keys::JsonKeys;
use crate::model::ModelError;
use crate::model::shape::{ModelShape, RopeScaling};
use serde_json::{Value, json};

/// The base of the frequencies if no file says it, as in transformers.
const DEFAULT_THETA: f64 = 10000.0;

/// Keys of a rotary variant that this program understands.
const KNOWN_KEYS: [&str; 14] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "partial_rotary_factor",
];

/// Reads base and scaling. Newer files have both under `rope_parameters`, older ones under `rope_theta` and `rope_scaling`.
pub(super) fn read_rope(keys: &JsonKeys, max_len: usize) -> Result<(f64, RopeScaling), ModelError> {
    let parent = if keys.value["rope_parameters"].is_null() { "rope_scaling" } else { "rope_parameters" };
    let variant = RopeVariant { keys, parent, value: &keys.value[parent] };
    for (key, value) in [("partial_rotary_factor", &keys.value["partial_rotary_factor"])]
        .into_iter()
        .chain([("partial_rotary_factor", &variant.value["partial_rotary_factor"])])
    {
        if let Some(part) = keys.optional_number(key, value)?.filter(|part| *part != 1.0) {
            return Err(keys.unsupported(key, &part.to_string(), "1"));
        }
    }
    let inner = keys.optional_number("rope_parameters.rope_theta", &variant.value["rope_theta"])?;
    let outer = keys.optional_number("rope_theta", &keys.value["rope_theta"])?;
    let theta = inner.or(outer).unwrap_or(DEFAULT_THETA);
    if theta <= 0.0 {
        return Err(keys.unsupported("rope_theta", &theta.to_string(), "numbers above 0"));
    }
    Ok((theta, variant.scaling(max_len)?))
}

/// The object that describes a rotary variant.
struct RopeVariant<'a> {
    keys: &'a JsonKeys<'a>,
    /// Its key in the file.
    parent: &'a str,
    value: &'a Value,
}

impl RopeVariant<'_> {
    fn scaling(&self, max_len: usize) -> Result<RopeScaling, ModelError> {
        let fields = match self.value {
            Value::Null => return Ok(RopeScaling::Default),
            Value::Object(fields) => fields,
            other => return Err(self.keys.unsupported(self.parent, &other.to_string(), "an object with rope_type")),
        };
        if let Some((key, value)) = fields.iter().find(|(key, _)| !KNOWN_KEYS.contains(&key.as_str())) {
            let allowed = "settings of the rope types default, linear, dynamic, llama3 and yarn";
            return Err(self.keys.unsupported(&format!("{}.{key}", self.parent), &value.to_string(), allowed));
        }
        let kind = ["rope_type", "type"].iter().find_map(|key| self.value[*key].as_str());
        let Some(kind) = kind else {
            let only_theta = fields.keys().all(|key| key == "rope_theta" || key == "partial_rotary_factor");
            return match only_theta {
                true => Ok(RopeScaling::Default),
                false => Err(self.keys.unsupported(self.parent, &self.value.to_string(), "an object with rope_type")),
            };
        };
        match kind {
            "default" => Ok(RopeScaling::Default),
            "linear" => Ok(RopeScaling::Linear { factor: self.factor("factor")? }),
            "dynamic" => Ok(RopeScaling::Dynamic { factor: self.factor("factor")? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: self.factor("factor")?,
                low_freq_factor: self.factor("low_freq_factor")?,
                high_freq_factor: self.factor("high_freq_factor")?,
                original_len: self.original_len(max_len)?,
            }),
            "yarn" => self.yarn(max_len),
            kind => Err(self.keys.unsupported(
                &format!("{}.rope_type", self.parent),
                kind,
                "default, linear, dynamic, llama3, yarn",
            )),
        }
    }

    fn yarn(&self, max_len: usize) -> Result<RopeScaling, ModelError> {
        let original_len = self.original_len(max_len)?;
        let factor = match self.optional("factor")? {
            Some(_) => self.factor("factor")?,
            None => max_len as f64 / original_len as f64,
        };
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let nonzero = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let inferred = match (nonzero(self.optional("mscale")?), nonzero(self.optional("mscale_all_dim")?)) {
            (Some(mscale), Some(all_dim)) => scale(mscale) / scale(all_dim),
            _ => scale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor: self.optional("attention_factor")?.unwrap_or(inferred),
            beta_fast: nonzero(self.optional("beta_fast")?).unwrap_or(32.0),
            beta_slow: nonzero(self.optional("beta_slow")?).unwrap_or(1.0),
            original_len,
            truncate: match &self.value["truncate"] {
                Value::Null => true,
                Value::Bool(truncate) => *truncate,
                other => return Err(self.keys.unsupported(&self.path("truncate"), &other.to_string(), "true, false")),
            },
        })
    }

    /// Returns the positions that the model was trained on first; the file may say them beside the variant.
    fn original_len(&self, max_len: usize) -> Result<usize, ModelError> {
        const KEY: &str = "original_max_position_embeddings";
        for (key, value) in [(KEY.to_owned(), &self.keys.value[KEY]), (self.path(KEY), &self.value[KEY])] {
            if !value.is_null() {
                return self.keys.integer_value(&key, value);
            }
        }
        Ok(max_len)
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.parent)
    }

    fn optional(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.keys.optional_number(&self.path(key), &self.value[key])
    }

    /// Reads a number above 0 that must be there.
    fn factor(&self, key: &str) -> Result<f64, ModelError> {
        match self.optional(key)? {
            Some(factor) if factor > 0.0 && factor.is_finite() => Ok(factor),
            Some(factor) => Err(self.keys.unsupported(&self.path(key), &factor.to_string(), "numbers above 0")),
            None => Err(self.keys.unsupported(&self.path(key), "null", "numbers above 0")),
        }
    }
}

/// Returns the keys and values that describe the rotary settings of `shape`.
pub(super) fn rope_entries(shape: &ModelShape) -> Vec<(&'static str, Value)> {
    let scaling = match &shape.rope_scaling {
        RopeScaling::Default => return vec![("rope_theta", shape.rope_theta.into())],
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_len } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_len,
        }),
        RopeScaling::Yarn { factor, attention_factor, beta_fast, beta_slow, original_len, truncate } => json!({
            "rope_type": "yarn", "factor": factor, "attention_factor": attention_factor, "beta_fast": beta_fast,
            "beta_slow": beta_slow, "original_max_position_embeddings": original_len, "truncate": truncate,
        }),
    };
    vec![("rope_theta", shape.rope_theta.into()), ("rope_scaling", scaling)]
}
