//! Owns: the estimate of the memory that training needs, before it is asked for, and the limits of this process.
//! Must not know: tensors, the loop.
//! Invariant: the estimate is a lower bound: what it refuses cannot work.

use crate::config::{Arch, Config, Dtype};
use crate::model::ModelShape;
use crate::train::TrainError;

/// A part of the memory, the key that drives it most, and what it is.
struct MemoryPart {
    bytes: f64,
    key: &'static str,
    value: String,
    what: &'static str,
}

/// Fewest rows of logits that the head holds at a time.
const LOGIT_ROWS: usize = 256;

/// Fails if training a model of this shape on the CPU needs more memory than this process may have. Warns if it needs more
/// than is free now.
pub fn check_memory(config: &Config, shape: &ModelShape) -> Result<(), TrainError> {
    let parts = memory_parts(config, shape);
    let need: f64 = parts.iter().map(|part| part.bytes).sum();
    let limits = MemoryLimits::of_process();
    if need <= limits.allowed {
        if need > limits.available {
            tracing::warn!(
                "training needs at least {}, but only {} are free now: the system may swap or end the process",
                gigabytes(need),
                gigabytes(limits.available)
            );
        }
        return Ok(());
    }
    let largest = parts.iter().max_by(|a, b| a.bytes.total_cmp(&b.bytes));
    let list: Vec<_> =
        parts.iter().map(|part| format!("{} {} (`{}`)", gigabytes(part.bytes), part.what, part.key)).collect();
    Err(TrainError::InvalidSetting {
        key: largest.map_or("data.batch", |part| part.key),
        value: largest.map_or(String::new(), |part| part.value.clone()),
        reason: format!(
            "training needs at least {}, but this process may use {}: {}. Lower these keys, or set `run.activation_checkpointing`",
            gigabytes(need),
            gigabytes(limits.allowed),
            list.join(", ")
        ),
    })
}

fn gigabytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e8 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Returns the parts of the memory of a step with a plain pass alone.
fn memory_parts(config: &Config, shape: &ModelShape) -> [MemoryPart; 4] {
    let size = |count: usize| count as f64;
    let positions = size(config.data.batch) * size(config.data.seq_len);
    // Weights, gradients, and two moments of AdamW, as f32.
    let weights = 16.0 * shape.param_count();
    let number_bytes = if config.run.dtype == Dtype::Bf16 { 2.0 } else { 4.0 };
    let saved = match config.run.activation_checkpointing {
        true => size(shape.width),
        false => saved_numbers(shape),
    };
    let logits = positions.min(size(LOGIT_ROWS)) * size(shape.vocab_size) * 4.0;
    let activations = positions * size(shape.layers) * saved * number_bytes + logits;
    // Tokens and document starts.
    let batch = 5.0 * positions;
    [
        MemoryPart {
            bytes: activations,
            key: "data.batch",
            value: config.data.batch.to_string(),
            what: "for the activations of `data.batch` · `data.seq_len` positions",
        },
        MemoryPart {
            bytes: weights,
            key: "model.width",
            value: shape.width.to_string(),
            what: "for weights, gradients and optimizer",
        },
        MemoryPart {
            bytes: batch * size(config.data.prefetch + 2),
            key: "data.prefetch",
            value: config.data.prefetch.to_string(),
            what: "for batches read ahead",
        },
        MemoryPart {
            bytes: 4.0 * positions,
            key: "data.seq_len",
            value: config.data.seq_len.to_string(),
            what: "for the batch at hand",
        },
    ]
}

/// Returns how many numbers a block keeps for the backward pass, for each position: the inputs of its two norms and of its
/// products, packed queries, keys and values, and what the MLP's activation needs.
fn saved_numbers(shape: &ModelShape) -> f64 {
    let mixed = shape.heads * shape.head_width;
    let packed = mixed + 2 * shape.kv_heads * shape.head_width;
    let inner = if shape.arch == Arch::Llama { 3 } else { 2 };
    (4 * shape.width + packed + mixed + inner * shape.mlp_width) as f64
}

/// Memory in bytes that this process may use, and that is free now.
struct MemoryLimits {
    allowed: f64,
    available: f64,
}

impl MemoryLimits {
    /// Returns the smallest of the machine's memory and swap, the control group's limit, and the limit of address space.
    fn of_process() -> Self {
        let unlimited = Self { allowed: f64::INFINITY, available: f64::INFINITY };
        let Ok(mut system) = sysinfo::System::new() else { return unlimited };
        system.refresh_memory();
        let (total, swap) = (system.total_memory() as f64, system.total_swap() as f64);
        let mut allowed = if total > 0.0 { total + swap } else { f64::INFINITY };
        let mut available = if total > 0.0 { system.available_memory() as f64 } else { f64::INFINITY };
        if let Some(group) = system.cgroup_limits().filter(|group| group.total_memory > 0) {
            allowed = allowed.min(group.total_memory as f64 + group.free_swap as f64);
            available = available.min(group.free_memory as f64);
        }
        if let Some(limit) = address_space_limit() {
            (allowed, available) = (allowed.min(limit), available.min(limit));
        }
        Self { allowed, available }
    }
}

/// Returns the limit of `ulimit -v`, if there is one.
fn address_space_limit() -> Option<f64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::As).current.map(|bytes| bytes as f64);
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_the_key_and_the_need() {
        let mut config = Config::default();
        let shape = ModelShape::from_config(&config.model, 1000, config.data.seq_len);
        check_memory(&config, &shape).unwrap();
        (config.data.batch, config.data.seq_len) = (65536, 65536);
        let error = check_memory(&config, &shape).unwrap_err().to_string();
        assert!(
            error.contains("`data.batch` = 65536") && error.contains("GB") && error.contains("at least"),
            "{error}"
        );
        let config = Config::default();
        let error = check_memory(&config, &ModelShape { width: 1 << 24, ..shape }).unwrap_err().to_string();
        assert!(error.contains("`model.width` = 16777216"), "{error}");
    }
}
