//! Owns: typed reads of the keys of a JSON file, with errors that name file and key.
//! Must not know: what a key means.
//! Invariant: a key of the wrong type is an error, never its default.

use crate::model::ModelError;
use serde_json::Value;

/// Largest integer that a key may have: sizes are products of a few of these, and must not overflow.
const MAX_INTEGER: u64 = 1 << 31;

/// A parsed JSON file.
pub(super) struct JsonKeys<'a> {
    pub file: &'a str,
    pub value: &'a Value,
}

impl JsonKeys<'_> {
    /// Whether the key is not there at all, which is not the same as null.
    pub fn is_absent(&self, key: &str) -> bool {
        self.value.get(key).is_none()
    }

    pub fn positive_integer(&self, key: &str) -> Result<usize, ModelError> {
        self.integer_value(key, &self.value[key])
    }

    /// Reads a number of positions, which costs nothing by itself and may be any.
    pub fn positions(&self, key: &str) -> Result<usize, ModelError> {
        let number = self.value[key].as_u64().filter(|number| *number > 0);
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| ModelError::File {
            file: self.file.to_owned(),
            message: format!("`{key}` must be an integer of at least 1, found {}", self.value[key]),
        })
    }

    /// Reads `value` as an integer from 1 to 2³¹. `key` names it in errors.
    pub fn integer_value(&self, key: &str, value: &Value) -> Result<usize, ModelError> {
        let number = value.as_u64().filter(|number| (1..=MAX_INTEGER).contains(number));
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| ModelError::File {
            file: self.file.to_owned(),
            message: format!("`{key}` must be an integer of at least 1 and at most {MAX_INTEGER}, found {value}"),
        })
    }

    /// Like [`Self::positive_integer`], but returns `default` if the key is absent or null.
    pub fn positive_integer_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        if self.value[key].is_null() { Ok(default) } else { self.positive_integer(key) }
    }

    /// Reads `value` as a number; `None` if it is absent or null. `key` names it in errors.
    pub fn optional_number(&self, key: &str, value: &Value) -> Result<Option<f64>, ModelError> {
        self.optional_value(key, value, "a number", Value::as_f64)
    }

    pub fn optional_string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.optional_value(key, &self.value[key], "a string", Value::as_str)
    }

    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.optional_value(key, &self.value[key], "true or false", Value::as_bool)
    }

    /// Converts `value` with `read`; `None` if it is absent or null. An error says that `key` must be `what`.
    pub fn optional_value<'v, T>(
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

    pub fn require_flag(&self, key: &str, required: bool) -> Result<(), ModelError> {
        match self.optional_bool(key)? {
            Some(found) if found != required => Err(self.unsupported(key, &found.to_string(), &required.to_string())),
            _ => Ok(()),
        }
    }

    pub fn unsupported(&self, key: &str, found: &str, allowed: &str) -> ModelError {
        ModelError::Unsupported {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }
}
