//! Owns: the tensors of a checkpoint folder: one safetensors file, or several that an index file names.
//! Must not know: what the tensors are for.
//! Invariant: an error names the file that is missing or broken, and the index where that asked for it.

use super::matrix::Matrix;
use crate::model::ModelError;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn_pack::Tensor as PackTensor;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Of several: which tensor lies in which.
const INDEX: &str = "model.safetensors.index.json";

/// What the index says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of a folder, read when they are taken.
pub(super) struct Weights {
    /// The file that says what is there.
    name: String,
    tensors: BTreeMap<String, (PathBuf, PackTensor)>,
}

impl Weights {
    /// Those in `dir`.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        let (whole, index) = (dir.join(WEIGHTS), dir.join(INDEX));
        match (whole.is_file(), index.is_file()) {
            (true, _) => Ok(Self { name: whole.display().to_string(), tensors: of_file(&whole)? }),
            (false, true) => Self::sharded(dir, &index),
            (false, false) => Err(file_error(&whole, format!("not there, nor is {INDEX}"))),
        }
    }

    fn sharded(dir: &Path, index: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(index).map_err(|error| file_error(index, error.to_string()))?;
        let read: Index =
            serde_json::from_str(&text).map_err(|error| file_error(index, error.to_string()))?;
        let mut files: Vec<&String> = read.weight_map.values().collect();
        files.sort();
        files.dedup();
        let mut tensors = BTreeMap::new();
        for file in files {
            let path = dir.join(file);
            if Path::new(file).components().count() != 1 {
                return Err(file_error(index, format!("names {file}, which is no file beside it")));
            }
            if !path.is_file() {
                return Err(file_error(&path, format!("not there, but {INDEX} names it")));
            }
            let own = of_file(&path)?;
            let wanted = read.weight_map.iter().filter(|(_, lies)| *lies == file);
            if let Some((tensor, _)) = wanted.clone().find(|(tensor, _)| !own.contains_key(*tensor)) {
                return Err(ModelError::Missing { file: path.display().to_string(), tensor: tensor.clone() });
            }
            tensors.extend(own);
        }
        Ok(Self { name: index.display().to_string(), tensors })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The first tensor of those whose names begin so that is not among `wanted`.
    pub fn beyond(&self, prefix: &str, wanted: impl Fn(&str) -> bool) -> Option<(&str, String)> {
        let own = self.tensors.iter().filter(|(name, _)| name.starts_with(prefix) && !wanted(name));
        own.map(|(name, (path, _))| (name.as_str(), path.display().to_string())).next()
    }

    /// The tensor of this name, and the file that it lies in.
    pub fn take(&self, tensor: &str) -> Result<(Matrix, String), ModelError> {
        let (path, found) = self
            .tensors
            .get(tensor)
            .ok_or_else(|| ModelError::Missing { file: self.name.clone(), tensor: tensor.to_owned() })?;
        Ok((matrix(path, found.clone())?, path.display().to_string()))
    }
}

/// Every tensor of one safetensors file, with the file.
fn of_file(path: &Path) -> Result<BTreeMap<String, (PathBuf, PackTensor)>, ModelError> {
    let mut store = SafetensorsStore::from_file(path);
    let all = store.get_all_tensors().map_err(|error| file_error(path, error.to_string()))?;
    Ok(all.iter().map(|(name, tensor)| (name.clone(), (path.to_owned(), tensor.clone()))).collect())
}

/// Every tensor of one safetensors file, read.
pub(super) fn matrices(path: &Path) -> Result<BTreeMap<String, Matrix>, ModelError> {
    let all = of_file(path)?.into_iter();
    all.map(|(name, (path, tensor))| Ok((name, matrix(&path, tensor)?))).collect()
}

fn matrix(path: &Path, tensor: PackTensor) -> Result<Matrix, ModelError> {
    let data = bridge::to_data(&tensor).map_err(|error| file_error(path, error.to_string()))?;
    Matrix::of(data).map_err(|message| file_error(path, message))
}

fn file_error(path: &Path, message: String) -> ModelError {
    ModelError::File { file: path.display().to_string(), message }
}
