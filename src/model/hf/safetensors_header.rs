//! Owns: the check of a safetensors file's header before any library believes it.
//! Must not know: what the tensors are.
//! Invariant: after a check, every tensor of the header lies within the file and has as many bytes as its shape needs.

use crate::files::foreign;
use crate::model::ModelError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Largest header, as in the safetensors library.
const MAX_HEADER: u64 = 100 << 20;
/// Bytes of the header's length, before the header.
const LENGTH_BYTES: u64 = 8;

#[derive(Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Checks the header of the safetensors file `path`.
pub(super) fn check(path: &Path) -> Result<(), ModelError> {
    let fail = |message: String| ModelError::File { file: path.display().to_string(), message };
    if let Some(kind) = foreign::mistaken_kind_of_file(path) {
        return Err(fail(format!("the file is {kind}")));
    }
    let mut file = foreign::open_regular(path).map_err(|error| fail(error.cause.to_string()))?;
    let length = file.metadata().map_err(|error| fail(error.to_string()))?.len();
    let mut prefix = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut prefix).map_err(|_| fail(format!("not a safetensors file: only {length} bytes")))?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER {
        return Err(fail(format!("not a safetensors file: its first bytes say a header of {header_length} bytes")));
    }
    if LENGTH_BYTES + header_length > length {
        return Err(fail(incomplete(length, LENGTH_BYTES + header_length)));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(|error| fail(error.to_string()))?;
    let mut entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|error| fail(format!("damaged safetensors header: {error}")))?;
    entries.remove("__metadata__");
    let data_length = length - LENGTH_BYTES - header_length;
    for (name, entry) in entries {
        let entry: TensorEntry = serde_json::from_value(entry)
            .map_err(|error| fail(format!("damaged safetensors header: tensor `{name}`: {error}")))?;
        check_entry(&entry, data_length).map_err(|message| fail(format!("tensor `{name}`: {message}")))?;
    }
    Ok(())
}

fn check_entry(entry: &TensorEntry, data_length: u64) -> Result<(), String> {
    let bits: u64 = match entry.dtype.as_str() {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        other => return Err(format!("numbers of type {other} are not supported; supported: F32, F16, BF16, F64")),
    };
    let numbers = entry.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes = numbers.and_then(|numbers| numbers.checked_mul(bits / 8));
    let [from, to] = entry.data_offsets;
    if to < from || bytes != Some(to - from) {
        return Err(format!(
            "damaged header: shape {:?} of {} does not fill bytes {from} to {to}",
            entry.shape, entry.dtype
        ));
    }
    if to > data_length {
        return Err(incomplete(data_length, to));
    }
    Ok(())
}

fn incomplete(found: u64, needed: u64) -> String {
    format!(
        "the file is incomplete: it ends after {found} bytes of data, but its header needs {needed} (a download that broke off?)"
    )
}
