//! Owns: the optimizer state as a safetensors file, whose tensors are named after the model's parameters.
//! Must not know: which optimizer it is, when it is saved.
//! Invariant: a state that is saved and loaded again has the same bits.
//!
//! Burn keys the state by parameter ids, which differ in every process, and exports it only as a burnpack.

use crate::files::foreign::read_regular;
use crate::model::{ModelError, Transformer};
use crate::record::RecordError;
use crate::train::TrainError;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Tensor;
use burn_pack::{Bytes, DType, Reader, Scalar, Writer};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

#[derive(Default)]
struct ParamNames {
    path: Vec<String>,
    by_id: BTreeMap<u64, String>,
}

impl ParamNames {
    fn from_model(model: &Transformer) -> Self {
        let mut names = Self::default();
        model.visit(&mut names);
        names
    }

    fn insert(&mut self, id: ParamId) {
        self.by_id.insert(id.val(), self.path.join("."));
    }
}

impl ModuleVisitor for ParamNames {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.insert(param.id);
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

/// Returns a function that turns an error into one that names `file`.
fn file_error(file: &Path) -> impl Fn(&dyn std::fmt::Display) -> TrainError {
    let file = file.display().to_string();
    move |error| TrainError::Model(ModelError::File { file: file.clone(), message: error.to_string() })
}

/// Writes the state of `optimizer` to `file`. Only f32 moments are supported.
pub(in crate::train) fn save(optimizer: &ModuleOptimizer, model: &Transformer, file: &Path) -> Result<(), TrainError> {
    let fail = file_error(file);
    let names = ParamNames::from_model(model).by_id;
    // Turns `id.rest` into `name.rest`.
    let renamed = |full: &str| {
        let (id, rest) = full.split_once('.')?;
        names.get(&id.parse().ok()?).map(|name| format!("{name}.{rest}"))
    };
    let pack = optimizer.to_record().into_bytes().map_err(|error| fail(&error))?;
    let reader = Reader::from_bytes(pack).map_err(|error| fail(&error))?;
    let mut metadata: HashMap<String, String> = HashMap::new();
    for (name, scalar) in reader.scalars() {
        if let Some(name) = renamed(name) {
            metadata.insert(name, encode_scalar(scalar));
        }
    }
    let mut tensors = BTreeMap::new();
    for tensor in reader.into_tensors().map_err(|error| fail(&error))? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(|error| fail(&error))?;
        if dtype != DType::F32 {
            return Err(fail(&format!("moments in {dtype:?} are not supported")));
        }
        if let Some(name) = renamed(&name) {
            tensors.insert(name, (shape.to_vec(), bytes));
        }
    }
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (shape, bytes)) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| fail(&error))?;
        views.push((name, view));
    }
    // A new optimizer has no scalars, and safetensors cannot read back an empty metadata map.
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let bytes = safetensors::serialize(views, metadata).map_err(|error| fail(&error))?;
    std::fs::write(file, bytes).map_err(RecordError::io("write", file)).map_err(TrainError::Record)
}

/// Returns `optimizer` with the state in `file`, and the number of tensors in it that match no parameter.
pub(in crate::train) fn load(
    optimizer: ModuleOptimizer,
    model: &Transformer,
    file: &Path,
) -> Result<(ModuleOptimizer, usize), TrainError> {
    let fail = file_error(file);
    let bytes = read_regular(file, u64::MAX).map_err(RecordError::from).map_err(TrainError::Record)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(&error))?;
    let stored = SafeTensors::deserialize(&bytes).map_err(|error| fail(&error))?;
    let names = ParamNames::from_model(model).by_id;
    let mut tensors = Vec::new();
    let mut unmatched = 0;
    for (name, view) in stored.iter() {
        let Some((id, rest)) = match_param(&names, name) else {
            unmatched += 1;
            continue;
        };
        check_moments(name, &view).map_err(|found| fail(&found))?;
        tensors.push(burn_pack::Tensor::new(
            format!("{id}.{rest}"),
            DType::F32,
            view.shape().to_vec(),
            Some(id),
            Bytes::from_bytes_vec(view.data().to_vec()),
        ));
    }
    let mut writer = Writer::new(tensors);
    for (name, value) in header.metadata().iter().flatten() {
        if let (Some((id, rest)), Some(scalar)) = (match_param(&names, name), decode_scalar(value)) {
            writer = writer.with_scalar(&format!("{id}.{rest}"), scalar);
        }
    }
    let pack = writer.into_bytes().map_err(|error| fail(&error))?;
    let record = OptimizerRecord::from_bytes(pack).map_err(|error| fail(&error))?;
    Ok((optimizer.load_record(record), unmatched))
}

/// Fails if a moment is not a finite f32: every update after it would be NaN.
fn check_moments(name: &str, view: &TensorView<'_>) -> Result<(), String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor `{name}` is {:?}; allowed: F32", view.dtype()));
    }
    let numbers = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    match numbers.enumerate().find(|(_, number)| !number.is_finite()) {
        Some((index, number)) => Err(format!("tensor `{name}` has the number {number} at index {index}")),
        None => Ok(()),
    }
}

/// Splits `full` into a parameter's id and the rest. Names contain dots: the longest that matches wins.
fn match_param<'a>(names: &BTreeMap<u64, String>, full: &'a str) -> Option<(u64, &'a str)> {
    let dots = full.rmatch_indices('.').map(|(dot, _)| dot);
    dots.into_iter().find_map(|dot| {
        let (id, _) = names.iter().find(|(_, name)| **name == full[..dot])?;
        Some((*id, &full[dot + 1..]))
    })
}

fn encode_scalar(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Int(value) => format!("int {value}"),
        Scalar::UInt(value) => format!("uint {value}"),
        Scalar::Float(value) => format!("float {value}"),
        Scalar::Bool(value) => format!("bool {value}"),
    }
}

fn decode_scalar(text: &str) -> Option<Scalar> {
    let (kind, value) = text.split_once(' ')?;
    match kind {
        "int" => value.parse().ok().map(Scalar::Int),
        "uint" => value.parse().ok().map(Scalar::UInt),
        "float" => value.parse().ok().map(Scalar::Float),
        "bool" => value.parse().ok().map(Scalar::Bool),
        _ => None,
    }
}
