//! Owns: the tensors of a checkpoint folder: one safetensors file, or several that an index file names.
//! Must not know: what the tensors are used for.
//! Invariant: an error names the file that is missing or broken, and the index file if that refers to it.

use super::config_json::read_json;
use super::matrix::HostMatrix;
use super::safetensors_header;
use crate::files::foreign;
use crate::model::ModelError;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn_pack::Tensor as PackTensor;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of an unsharded checkpoint's only file.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the index of a sharded checkpoint, which maps each tensor to its file.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Name of the only file of older checkpoints.
const PICKLE_FILE: &str = "pytorch_model.bin";

#[derive(Deserialize)]
struct WeightIndex {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of a checkpoint folder, read on demand.
pub(super) struct CheckpointTensors {
    /// The file that lists the tensors: the index, or the only file.
    source_file: String,
    tensors: BTreeMap<String, (PathBuf, PackTensor)>,
}

impl CheckpointTensors {
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        let (whole, index) = (dir.join(WEIGHTS_FILE), dir.join(INDEX_FILE));
        match (whole.is_file(), index.is_file()) {
            (true, _) => Ok(Self { source_file: whole.display().to_string(), tensors: list_tensors(&whole)? }),
            (false, true) => Self::sharded(dir, &index),
            (false, false) if whole.exists() => Err(file_error(&whole, "not a regular file".to_owned())),
            (false, false) if dir.join(PICKLE_FILE).exists() => Err(file_error(
                &dir.join(PICKLE_FILE),
                format!("a PyTorch pickle, which may run code and is not read: convert it to {WEIGHTS_FILE}"),
            )),
            (false, false) => Err(file_error(&whole, format!("file not found, and there is no {INDEX_FILE} either"))),
        }
    }

    fn sharded(dir: &Path, index: &Path) -> Result<Self, ModelError> {
        let read: WeightIndex =
            serde_json::from_value(read_json(index)?).map_err(|error| file_error(index, error.to_string()))?;
        let mut files: Vec<&String> = read.weight_map.values().collect();
        files.sort();
        files.dedup();
        let mut tensors = BTreeMap::new();
        for file in files {
            let path = dir.join(file);
            if Path::new(file).components().count() != 1 {
                return Err(file_error(
                    index,
                    format!("refers to {file}, which is not a file name in the same folder"),
                ));
            }
            if !path.is_file() {
                return Err(file_error(&path, format!("file not found, but {INDEX_FILE} refers to it")));
            }
            let found = list_tensors(&path)?;
            let expected = read.weight_map.iter().filter(|(_, name)| *name == file);
            if let Some((tensor, _)) = expected.clone().find(|(tensor, _)| !found.contains_key(*tensor)) {
                return Err(ModelError::Missing { file: path.display().to_string(), tensor: tensor.clone() });
            }
            tensors.extend(found);
        }
        Ok(Self { source_file: index.display().to_string(), tensors })
    }

    /// Returns the number of tensors.
    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    /// Returns the shape of a tensor from its header, and its file.
    pub fn dims(&self, tensor: &str) -> Result<(Vec<usize>, String), ModelError> {
        let (path, found) = self.find(tensor)?;
        Ok((found.shape.to_vec(), path.display().to_string()))
    }

    fn find(&self, tensor: &str) -> Result<&(PathBuf, PackTensor), ModelError> {
        let missing = || ModelError::Missing { file: self.source_file.clone(), tensor: tensor.to_owned() };
        self.tensors.get(tensor).ok_or_else(missing)
    }

    pub fn contains(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Returns the first tensor whose name starts with `prefix` and is not `expected`, and its file.
    pub fn first_unexpected(&self, prefix: &str, expected: impl Fn(&str) -> bool) -> Option<(&str, String)> {
        let mut unexpected = self.tensors.iter().filter(|(name, _)| name.starts_with(prefix) && !expected(name));
        unexpected.next().map(|(name, (path, _))| (name.as_str(), path.display().to_string()))
    }

    /// Reads the tensor with this name. Also returns the file that holds it.
    pub fn read_tensor(&self, tensor: &str) -> Result<(HostMatrix, String), ModelError> {
        let (path, found) = self.find(tensor)?;
        Ok((read_matrix(path, found.clone())?, path.display().to_string()))
    }
}

/// Lists the tensors of a safetensors file without reading their values. Each comes with the file's path.
fn list_tensors(path: &Path) -> Result<BTreeMap<String, (PathBuf, PackTensor)>, ModelError> {
    safetensors_header::check(path)?;
    let mut store = SafetensorsStore::from_file(path);
    let listed = foreign::catch_panic(|| store.get_all_tensors().cloned().map_err(|error| error.to_string()));
    let tensors = listed.and_then(|listed| listed).map_err(|error| file_error(path, error))?;
    Ok(tensors.iter().map(|(name, tensor)| (name.clone(), (path.to_owned(), tensor.clone()))).collect())
}

pub(super) fn read_matrices(path: &Path) -> Result<BTreeMap<String, HostMatrix>, ModelError> {
    let tensors = list_tensors(path)?.into_iter();
    tensors.map(|(name, (path, tensor))| Ok((name, read_matrix(&path, tensor)?))).collect()
}

/// Reads the values of `tensor` from `path`, as f32.
fn read_matrix(path: &Path, tensor: PackTensor) -> Result<HostMatrix, ModelError> {
    let read = || HostMatrix::from_data(bridge::to_data(&tensor).map_err(|error| error.to_string())?);
    foreign::catch_panic(read).and_then(|read| read).map_err(|message| file_error(path, message))
}

fn file_error(path: &Path, message: String) -> ModelError {
    ModelError::File { file: path.display().to_string(), message }
}
