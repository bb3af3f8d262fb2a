//! Owns: the optimizer's state as a safetensors file whose tensors are named as the model's parameters are.
//! Must not know: which optimizer it is, when it is saved.
//! Invariant: what is saved and loaded again is the same bits.
//!
//! Burn keeps the state by parameter ids, which are drawn anew in every process, and hands it out as a burnpack alone.

use super::TrainError;
use crate::model::{ModelError, Transformer};
use crate::record::RecordError;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Tensor;
use burn_pack::{Bytes, DType, Reader, Scalar, Writer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The parameters' names by id.
#[derive(Default)]
struct Names {
    path: Vec<String>,
    by_id: BTreeMap<u64, String>,
}

impl Names {
    fn of(model: &Transformer) -> Self {
        let mut names = Self::default();
        model.visit(&mut names);
        names
    }

    fn note(&mut self, id: ParamId) {
        self.by_id.insert(id.val(), self.path.join("."));
    }
}

impl ModuleVisitor for Names {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.note(param.id);
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

fn fail(file: &Path) -> impl Fn(&dyn std::fmt::Display) -> TrainError {
    let file = file.display().to_string();
    move |error| TrainError::Model(ModelError::File { file: file.clone(), message: error.to_string() })
}

/// Writes the state of `optimizer` to `file`.
pub(super) fn save(optimizer: &ModuleOptimizer, model: &Transformer, file: &Path) -> Result<(), TrainError> {
    let fail = fail(file);
    let names = Names::of(model).by_id;
    // `id.rest` to `name.rest`.
    let renamed = |full: &str| {
        let (id, rest) = full.split_once('.')?;
        names.get(&id.parse().ok()?).map(|name| format!("{name}.{rest}"))
    };
    let pack = optimizer.to_record().into_bytes().map_err(|error| fail(&error))?;
    let reader = Reader::from_bytes(pack).map_err(|error| fail(&error))?;
    let mut notes: HashMap<String, String> = HashMap::new();
    for (name, scalar) in reader.scalars() {
        if let Some(name) = renamed(name) {
            notes.insert(name, note(scalar));
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
    // An optimizer that has done nothing has none, and an empty list of them could not be read back.
    let notes = (!notes.is_empty()).then_some(notes);
    let bytes = safetensors::serialize(views, notes).map_err(|error| fail(&error))?;
    std::fs::write(file, bytes).map_err(RecordError::io("write", file)).map_err(TrainError::Record)
}

/// `optimizer`, which has done nothing yet, with the state in `file`. Parameters that it does not speak of begin afresh;
/// tensors that speak of none here are left out and counted.
pub(super) fn load(
    optimizer: ModuleOptimizer,
    model: &Transformer,
    file: &Path,
) -> Result<(ModuleOptimizer, usize), TrainError> {
    let fail = fail(file);
    let bytes = std::fs::read(file).map_err(RecordError::io("read", file)).map_err(TrainError::Record)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(&error))?;
    let stored = SafeTensors::deserialize(&bytes).map_err(|error| fail(&error))?;
    let names = Names::of(model).by_id;
    let mut tensors = Vec::new();
    let mut left = 0;
    for (name, view) in stored.iter() {
        let Some((id, rest)) = id_of(&names, name) else {
            left += 1;
            continue;
        };
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
        if let (Some((id, rest)), Some(scalar)) = (id_of(&names, name), scalar(value)) {
            writer = writer.with_scalar(&format!("{id}.{rest}"), scalar);
        }
    }
    let pack = writer.into_bytes().map_err(|error| fail(&error))?;
    let record = OptimizerRecord::from_bytes(pack).map_err(|error| fail(&error))?;
    Ok((optimizer.load_record(record), left))
}

/// The id of the parameter that `full` begins with the name of, and what follows. Names have dots themselves: the longest
/// that fits is the one.
fn id_of<'a>(names: &BTreeMap<u64, String>, full: &'a str) -> Option<(u64, &'a str)> {
    let dots = full.rmatch_indices('.').map(|(dot, _)| dot);
    dots.into_iter().find_map(|dot| {
        let (id, _) = names.iter().find(|(_, name)| **name == full[..dot])?;
        Some((*id, &full[dot + 1..]))
    })
}

fn note(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Int(value) => format!("int {value}"),
        Scalar::UInt(value) => format!("uint {value}"),
        Scalar::Float(value) => format!("float {value}"),
        Scalar::Bool(value) => format!("bool {value}"),
    }
}

fn scalar(note: &str) -> Option<Scalar> {
    let (kind, value) = note.split_once(' ')?;
    match kind {
        "int" => value.parse().ok().map(Scalar::Int),
        "uint" => value.parse().ok().map(Scalar::UInt),
        "float" => value.parse().ok().map(Scalar::Float),
        "bool" => value.parse().ok().map(Scalar::Bool),
        _ => None,
    }
}
