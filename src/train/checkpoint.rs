//! Owns: a checkpoint folder: weights in the Hugging Face layout, the tokenizer, optimizer, and where the run stands.
//! Must not know: when one is due, what becomes of a state that was read.
//! Invariant: a folder named `step-…` is complete; its manifest tells whether it still is.

use super::run::Seen;
use super::step::Learner;
use super::{TrainError, moments};
use crate::config::Config;
use crate::data::{Codec, Position};
use crate::model::hf;
use crate::record::RecordError;
use crate::record::folder::{RunFolder, whole_folder};
use burn::optim::ModuleOptimizer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const CONFIG: &str = "run.toml";

/// Where a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// The run's id.
    pub run: String,
    /// Updates done.
    pub step: u64,
    /// Input tokens seen.
    pub tokens: u64,
    /// Where the loader's next batch begins.
    pub loader: Position,
    /// Version of the config in force.
    pub config_version: u64,
    /// Updates that taught the pause vector, and those of them before the last validation.
    pub lessons: (u64, u64),
    /// Validations made after step 0.
    pub validations: usize,
    /// Seconds since training began.
    pub wall_s: f64,
    /// First and last losses.
    pub seen: Seen,
    /// What the dataset was, in words: another one has no such position.
    pub data: String,
    /// Where the random streams stand.
    pub random: String,
    /// When it was written, and by which version of the program.
    pub written: String,
    pub program: String,
}

/// Why there is no random state: it needs none.
pub(super) const RANDOM: &str = "stateless: every stream is drawn from (run.seed, step, batch, pass, row)";

/// Sizes and hashes of a checkpoint's files.
#[derive(Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, Listed>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Listed {
    bytes: u64,
    sha256: String,
}

/// Writes the checkpoint of `state.step`. Replaces none: where the folder is there already, it is of the same step of the
/// same run.
pub(super) fn write(
    folder: &RunFolder,
    learner: &Learner,
    codec: Option<&Codec>,
    config: &Config,
    state: &State,
) -> Result<PathBuf, TrainError> {
    let path = folder.checkpoint(state.step);
    if path.is_dir() {
        return Ok(path);
    }
    whole_folder(&path, TrainError::Record, |dir| {
        hf::save(&learner.model, codec.and_then(Codec::eos_id), dir)?;
        moments::save(learner.optimizer(), &learner.model, &dir.join(OPTIMIZER))?;
        if let Some(codec) = codec {
            codec.save(&dir.join("tokenizer.json"))?;
        }
        text(dir, CONFIG, config.to_toml()?)?;
        text(dir, STATE, json(state))?;
        text(dir, MANIFEST, json(&manifest(dir)?))
    })?;
    Ok(path)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn text(dir: &Path, name: &str, text: String) -> Result<(), TrainError> {
    let file = dir.join(name);
    Ok(std::fs::write(&file, text).map_err(RecordError::io("write", &file))?)
}

/// What is in `dir`, but for a manifest.
fn manifest(dir: &Path) -> Result<Manifest, RecordError> {
    let entries = std::fs::read_dir(dir).map_err(RecordError::io("read", dir))?;
    let mut files = BTreeMap::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != MANIFEST {
            files.insert(name, listed(&path).map_err(RecordError::io("read", &path))?);
        }
    }
    Ok(Manifest { files })
}

fn listed(path: &Path) -> std::io::Result<Listed> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    Ok(Listed { bytes, sha256: hex(&hash.finalize()) })
}

/// A hash as it is written.
pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A checkpoint that was found whole.
pub(super) struct Found {
    pub dir: PathBuf,
    pub state: State,
    /// The config in force when it was written.
    pub config: Config,
}

/// The checkpoint in `dir`, if it is whole; what is the matter with it otherwise.
pub(super) fn read(dir: &Path) -> Result<Found, String> {
    let said = |name: &str| {
        std::fs::read_to_string(dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))
    };
    let manifest: Manifest =
        serde_json::from_str(&said(MANIFEST)?).map_err(|error| format!("{MANIFEST}: {error}"))?;
    for (name, wanted) in &manifest.files {
        let found = listed(&dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))?;
        if found.bytes != wanted.bytes {
            return Err(format!("{name} has {} bytes and should have {}", found.bytes, wanted.bytes));
        }
        if found != *wanted {
            return Err(format!("the bytes of {name} are not those that were written (sha256)"));
        }
    }
    let state = serde_json::from_str(&said(STATE)?).map_err(|error| format!("{STATE}: {error}"))?;
    let config = crate::config::from_text(&said(CONFIG)?, CONFIG, &[]).map_err(|error| error.to_string())?;
    Ok(Found { dir: dir.to_owned(), state, config })
}

/// The optimizer of `learner`, which has done nothing yet, with the checkpoint's state; and how many of its tensors fit
/// nothing here.
pub(super) fn optimizer(found: &Found, learner: &Learner) -> Result<(ModuleOptimizer, usize), TrainError> {
    moments::load(learner.optimizer().clone(), &learner.model, &found.dir.join(OPTIMIZER))
}

/// Removes checkpoints: all but the last `keep` (0: none is removed) and those of every `keep_every`-th step.
pub(super) fn thin(folder: &RunFolder, keep: usize, keep_every: u64) -> Result<(), RecordError> {
    let steps = folder.checkpoints();
    let old = if keep == 0 { 0 } else { steps.len().saturating_sub(keep) };
    for step in steps.into_iter().take(old) {
        if keep_every > 0 && step.is_multiple_of(keep_every) {
            continue;
        }
        let path = folder.checkpoint(step);
        // Without its name first: a checkpoint is whole or not there.
        let hidden = folder.path().join(format!(".step-{step:06}.old"));
        std::fs::rename(&path, &hidden).map_err(RecordError::io("rename", &path))?;
        std::fs::remove_dir_all(&hidden).map_err(RecordError::io("remove", &hidden))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::data::Batch;
    use crate::train::tests::{SEQ_LEN, model};
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::Tensor;

    fn batch(seed: u64) -> Batch {
        let width = SEQ_LEN + 1;
        Batch {
            batch: 2,
            seq_len: SEQ_LEN,
            tokens: (0..2 * width as u64).map(|i| ((i * 7919 + seed * 31) % 101 % 13) as i32).collect(),
            doc_start: (0..2 * width).map(|at| at % width == 0).collect(),
            after: Position::default(),
            epoch: 0,
        }
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.recycle.every = 2;
        config.optim.accumulate = 2;
        config
    }

    fn weights(learner: &Learner) -> Vec<u32> {
        struct Bits(Vec<u32>);
        impl ModuleVisitor for Bits {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().try_into_vec_as::<f32>().unwrap().iter().map(|v| v.to_bits()));
            }
        }
        let mut bits = Bits(Vec::new());
        learner.model.visit(&mut bits);
        bits.0
    }

    fn train(mut learner: Learner, steps: std::ops::Range<u64>) -> (Learner, Vec<u64>) {
        let mut losses = Vec::new();
        for step in steps {
            let (row, failed) = learner.update(&config(), &[batch(step), batch(step + 100)]).unwrap();
            assert!(failed.is_none());
            losses.push(row.get(crate::record::registry::Metric::LossPlain).unwrap().to_bits());
        }
        (learner, losses)
    }

    fn state(step: u64) -> State {
        State {
            run: "r".into(),
            step,
            tokens: 1,
            loader: Position::default(),
            config_version: 0,
            lessons: (0, 0),
            validations: 0,
            wall_s: 0.0,
            seen: Seen::default(),
            data: String::new(),
            random: RANDOM.into(),
            written: String::new(),
            program: String::new(),
        }
    }

    fn folder(dir: &Path) -> RunFolder {
        RunFolder::create(dir, "x", chrono::Local::now()).unwrap()
    }

    #[test]
    fn what_goes_on_from_a_checkpoint_is_what_would_have_gone_on() {
        let dir = tempfile::tempdir().unwrap();
        let (learner, _) = train(Learner::new(model(3), &config().optim), 0..5);
        let path = write(&folder(dir.path()), &learner, None, &config(), &state(5)).unwrap();
        let (on, losses) = train(learner, 5..9);

        let found = read(&path).unwrap();
        let loaded = hf::load(&path, &burn::tensor::Device::flex().autodiff()).unwrap();
        let mut loaded = loaded.with_feedback(crate::model::Form::PLAIN, 0);
        assert_eq!(hf::load_feedback(&path, &mut loaded).unwrap(), hf::Found::Filled);
        let again = Learner::new(loaded, &config().optim);
        let (optimizer, left) = optimizer(&found, &again).unwrap();
        let again = again.at(optimizer, found.state.step, 0);
        assert_eq!((again.step, left), (5, 0));
        let (again, same) = train(again, 5..9);
        assert_eq!(losses, same);
        assert!(weights(&on) == weights(&again));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let learner = Learner::new(model(3), &config().optim);
        let path = write(&folder, &learner, None, &config(), &state(5)).unwrap();
        assert!(read(&path).is_ok());
        let file = path.join(OPTIMIZER);
        let bytes = std::fs::read(&file).unwrap();
        let mut wrong = bytes.clone();
        wrong[9] ^= 1;
        std::fs::write(&file, wrong).unwrap();
        assert!(read(&path).err().unwrap().contains("the bytes of optimizer.safetensors are not those"));
        std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(&path).err().unwrap().contains("bytes and should have"));
        std::fs::remove_file(&file).unwrap();
        assert!(read(&path).err().unwrap().contains("optimizer.safetensors cannot be read"));
        std::fs::remove_file(path.join(MANIFEST)).unwrap();
        assert!(read(&path).err().unwrap().contains("manifest.json cannot be read"));
    }

    #[test]
    fn the_last_ones_and_every_mth_are_kept() {
        for (keep, every, left) in
            [(0, 0, &[1, 2, 3, 4, 5][..]), (2, 0, &[4, 5]), (1, 2, &[2, 4, 5]), (9, 0, &[1, 2, 3, 4, 5])]
        {
            let dir = tempfile::tempdir().unwrap();
            let folder = folder(dir.path());
            (1..=5).for_each(|step| std::fs::create_dir(folder.checkpoint(step)).unwrap());
            thin(&folder, keep, every).unwrap();
            assert_eq!(folder.checkpoints(), left);
        }
    }
}
