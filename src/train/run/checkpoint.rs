//! Owns: a checkpoint folder: weights in the Hugging Face layout, tokenizer, optimizer, and the state of the run.
//! Must not know: when a checkpoint is due, how a loaded state is used.
//! Invariant: a folder named `step-…` was complete when written; its manifest shows whether it still is.

use super::recording;
use crate::config::Config;
use crate::data::StreamPosition;
use crate::files::atomic::StagedFolder;
use crate::files::foreign::{open_regular, read_text};
use crate::model::hf::{self, Companions};
use crate::record::RecordError;
use crate::record::check::CheckedItem;
use crate::record::run_folder::RunFolder;
use crate::schema::metrics::LossSummary;
use crate::schema::protocol::{BestCheckpoint, Lineage};
use crate::train::step::learner::Learner;
use crate::train::step::optimizer_state;
use crate::train::{ForkReset, TrainError};
use burn::optim::ModuleOptimizer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const CONFIG: &str = "run.toml";

/// The state of a run at a checkpoint. It is stored as `state.json`, whose keys are a file format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointState {
    pub run: String,
    pub step: u64,
    pub tokens: u64,
    /// Floating-point operations of all updates; older versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flop: Option<f64>,
    /// Position of the loader's next batch.
    pub loader: StreamPosition,
    pub config_version: u64,
    /// Number of pause-vector updates: until now, and until the last validation.
    #[serde(rename = "lessons")]
    pub pause_updates: (u64, u64),
    /// Number of validations after step 0.
    pub validations: usize,
    /// Seconds since training began, over all processes of the run.
    pub wall_s: f64,
    #[serde(rename = "seen")]
    pub losses: LossSummary,
    /// Level of the last update, such as the stage of a curriculum; older versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u64>,
    /// The best checkpoint so far, maybe this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestCheckpoint>,
    /// Fingerprint of the dataset, because the loader's position is only valid in the same data.
    #[serde(rename = "data")]
    pub dataset: String,
    /// State of the random streams, always `RANDOM_STATE`.
    #[serde(rename = "random")]
    pub random_state: String,
    /// When the checkpoint was written, local time, RFC 3339.
    #[serde(rename = "written")]
    pub written_at: String,
    #[serde(rename = "program")]
    pub program_version: String,
}

/// Explains in `state.json` why no random state is stored: the streams have none.
pub(in crate::train) const RANDOM_STATE: &str =
    "stateless: every stream is drawn from (run.seed, step, batch, pass, row)";

/// Files that every checkpoint has, besides the manifest.
const REQUIRED_FILES: [&str; 5] = ["config.json", "model.safetensors", OPTIMIZER, STATE, CONFIG];

/// Bytes of the largest text file of a checkpoint that is read.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Sizes and hashes of a checkpoint's files, by file name.
#[derive(Serialize, Deserialize)]
struct CheckpointManifest {
    /// Step of the checkpoint; older versions wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    files: BTreeMap<String, ManifestFile>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct ManifestFile {
    bytes: u64,
    sha256: String,
}

/// Writes the checkpoint of `state.step` and returns its folder. `save_more` adds files of the objective to it. An existing one of the same step is kept.
pub(in crate::train) fn write_checkpoint(
    folder: &RunFolder,
    learner: &Learner,
    companions: &Companions,
    config: &Config,
    state: &CheckpointState,
    save_more: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<PathBuf, TrainError> {
    let path = folder.checkpoint_folder(state.step);
    if path.is_dir() {
        return Ok(path);
    }
    let staged = StagedFolder::create(&path)?;
    let dir = staged.dir();
    hf::save(&learner.model, companions, dir)?;
    optimizer_state::save(learner.optimizer(), &learner.model, &dir.join(OPTIMIZER))?;
    save_more(dir)?;
    write_text(dir, CONFIG, config.to_toml()?)?;
    write_text(dir, STATE, to_json(state))?;
    write_text(dir, MANIFEST, to_json(&build_manifest(dir, state.step)?))?;
    staged.commit()?;
    Ok(path)
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn write_text(dir: &Path, name: &str, text: String) -> Result<(), TrainError> {
    let file = dir.join(name);
    Ok(std::fs::write(&file, text).map_err(RecordError::io("write", &file))?)
}

fn build_manifest(dir: &Path, step: u64) -> Result<CheckpointManifest, RecordError> {
    let entries = std::fs::read_dir(dir).map_err(RecordError::io("read", dir))?;
    let mut files = BTreeMap::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != MANIFEST {
            files.insert(name, hash_file(&path).map_err(RecordError::io("read", &path))?);
        }
    }
    Ok(CheckpointManifest { step: Some(step), files })
}

fn hash_file(path: &Path) -> std::io::Result<ManifestFile> {
    let (mut file, mut hash) = (open_regular(path).map_err(|error| error.cause)?, Sha256::new());
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
    Ok(ManifestFile { bytes, sha256: recording::hex(&hash.finalize()) })
}

/// Steps of damaged checkpoints, each with what is wrong.
type DamagedCheckpoints = Vec<(u64, String)>;

/// A checkpoint that was checked against its manifest.
#[derive(Clone)]
pub struct LoadedCheckpoint {
    pub dir: PathBuf,
    pub state: CheckpointState,
    pub config: Config,
}

/// Loads the checkpoint in `dir`. The error names the first missing or damaged file.
pub(in crate::train) fn read_checkpoint(dir: &Path) -> Result<LoadedCheckpoint, String> {
    let read_file = |name: &str| {
        read_text(&dir.join(name), MAX_TEXT_BYTES).map_err(|error| format!("{name} cannot be read: {}", error.cause))
    };
    let manifest: CheckpointManifest =
        serde_json::from_str(&read_file(MANIFEST)?).map_err(|error| format!("{MANIFEST}: {error}"))?;
    if let Some(name) = REQUIRED_FILES.into_iter().find(|name| !manifest.files.contains_key(*name)) {
        return Err(format!("{MANIFEST} does not list {name}, which every checkpoint has"));
    }
    for (name, expected) in &manifest.files {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("{MANIFEST} lists `{name}`, which is no file of the checkpoint"));
        }
        let actual = hash_file(&dir.join(name)).map_err(|error| format!("{name} cannot be read: {error}"))?;
        if actual.bytes != expected.bytes {
            return Err(format!("{name} has {} bytes instead of {}", actual.bytes, expected.bytes));
        }
        if actual != *expected {
            return Err(format!("{name} was changed after it was written (its SHA-256 differs)"));
        }
    }
    let state: CheckpointState =
        serde_json::from_str(&read_file(STATE)?).map_err(|error| format!("{STATE}: {error}"))?;
    let expected = manifest.step.unwrap_or(state.step);
    if state.step != expected || dir.file_name() != Some(RunFolder::checkpoint_name(expected).as_ref()) {
        return Err(format!("it is of step {expected} by {MANIFEST}, and of step {} by {STATE}", state.step));
    }
    let config = crate::config::from_text(&read_file(CONFIG)?, CONFIG, &[]).map_err(|error| error.to_string())?;
    Ok(LoadedCheckpoint { dir: dir.to_owned(), state, config })
}

/// Loads the checkpoint of `step`, or the newest intact one. Also returns the steps of the damaged ones, and
/// what is wrong with each.
pub(in crate::train) fn find_checkpoint(
    folder: &RunFolder,
    step: Option<u64>,
) -> Result<(Option<LoadedCheckpoint>, DamagedCheckpoints), TrainError> {
    let steps = folder.read_checkpoint_steps()?;
    if let Some(step) = step {
        let dir = folder.checkpoint_folder(step);
        let error = |reason: String| TrainError::NoCheckpoint { run: folder.path().display().to_string(), reason };
        if !steps.contains(&step) {
            let existing: Vec<String> = steps.iter().map(u64::to_string).collect();
            let existing = if existing.is_empty() { "none".into() } else { existing.join(", ") };
            return Err(error(format!("there is none of step {step}; existing steps: {existing}")));
        }
        let found = read_checkpoint(&dir).map_err(|reason| error(format!("{}: {reason}", dir.display())))?;
        return Ok((Some(found), Vec::new()));
    }
    let mut damaged = Vec::new();
    for step in steps.into_iter().rev() {
        let dir = folder.checkpoint_folder(step);
        match read_checkpoint(&dir) {
            Ok(found) => return Ok((Some(found), damaged)),
            Err(reason) => {
                tracing::warn!("{} is damaged; skipping it: {reason}", dir.display());
                damaged.push((step, format!("{} is damaged: {reason}", dir.display())));
            }
        }
    }
    Ok((None, damaged))
}

/// Checks every checkpoint of a run: sizes and SHA-256 of its files, its state and its config.
pub fn check_checkpoints(folder: &RunFolder) -> Result<Vec<CheckedItem>, RecordError> {
    let check = |step| {
        let problem = read_checkpoint(&folder.checkpoint_folder(step)).err();
        CheckedItem::new(folder, &RunFolder::checkpoint_name(step), None, problem)
    };
    Ok(folder.read_checkpoint_steps()?.into_iter().map(check).collect())
}

/// Loads the parent checkpoint that `lineage` names, and which parts of it are reset.
pub(in crate::train) fn parent_checkpoint(
    lineage: &Lineage,
) -> Result<(Option<LoadedCheckpoint>, ForkReset), TrainError> {
    let (found, _) = find_checkpoint(&RunFolder::open(&lineage.folder)?, lineage.step)?;
    let without = |what: &str| lineage.left_out.iter().any(|word| word == what);
    let reset = ForkReset { optimizer: without("optimizer"), data: without("data"), step: without("step") };
    Ok((found, reset))
}

/// Returns the new `learner`'s optimizer with the stored state, and the number of tensors that match no parameter.
pub(in crate::train) fn load_optimizer(
    found: &LoadedCheckpoint,
    learner: &Learner,
) -> Result<(ModuleOptimizer, usize), TrainError> {
    optimizer_state::load(learner.optimizer().clone(), &learner.model, &found.dir.join(OPTIMIZER))
}

/// Removes all checkpoints but the last `keep` (0: all), those of every `keep_every`-th step (0: none) and the best one.
pub(in crate::train) fn prune_checkpoints(
    folder: &RunFolder,
    keep: usize,
    keep_every: u64,
    best: Option<u64>,
) -> Result<(), RecordError> {
    let steps = folder.checkpoint_steps();
    let num_old = if keep == 0 { 0 } else { steps.len().saturating_sub(keep) };
    for step in steps.into_iter().take(num_old) {
        if keep_every > 0 && step.is_multiple_of(keep_every) || best == Some(step) {
            continue;
        }
        let path = folder.checkpoint_folder(step);
        // Rename it first, so that a folder with a checkpoint's name is always complete.
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
            batch_size: 2,
            seq_len: SEQ_LEN,
            tokens: (0..2 * width as u64).map(|i| ((i * 7919 + seed * 31) % 101 % 13) as i32).collect(),
            doc_start: (0..2 * width).map(|at| at % width == 0).collect(),
            ..Batch::default()
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
            losses.push(row.get(crate::schema::metrics::Metric::LossPlain).unwrap().to_bits());
        }
        (learner, losses)
    }

    fn state(step: u64) -> CheckpointState {
        CheckpointState {
            run: "r".into(),
            step,
            tokens: 1,
            flop: Some(1.0),
            loader: StreamPosition::default(),
            config_version: 0,
            pause_updates: (0, 0),
            validations: 0,
            wall_s: 0.0,
            losses: LossSummary::default(),
            level: None,
            best: None,
            dataset: String::new(),
            random_state: RANDOM_STATE.into(),
            written_at: String::new(),
            program_version: String::new(),
        }
    }

    fn folder(dir: &Path) -> RunFolder {
        RunFolder::create(dir, "x", chrono::Local::now()).unwrap()
    }

    #[test]
    fn training_from_a_checkpoint_equals_training_without_interruption() {
        let dir = tempfile::tempdir().unwrap();
        let (learner, _) = train(Learner::new(model(3), &config().optim), 0..5);
        let path =
            write_checkpoint(&folder(dir.path()), &learner, &Companions::default(), &config(), &state(5), |_| Ok(()))
                .unwrap();
        let (on, losses) = train(learner, 5..9);

        let found = read_checkpoint(&path).unwrap();
        let loaded = hf::load(&path, &burn::tensor::Device::flex().autodiff()).unwrap();
        let mut loaded = loaded.with_feedback(crate::model::FeedbackSpec::PLAIN, 0);
        assert_eq!(hf::load_feedback(&path, &mut loaded).unwrap(), hf::FeedbackLoad::Loaded);
        let again = Learner::new(loaded, &config().optim);
        let (optimizer, unmatched) = load_optimizer(&found, &again).unwrap();
        let again = again.with_state(optimizer, found.state.step, 0);
        assert_eq!((again.step, unmatched), (5, 0));
        let (again, same) = train(again, 5..9);
        assert_eq!(losses, same);
        assert!(weights(&on) == weights(&again));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let learner = Learner::new(model(3), &config().optim);
        let path =
            write_checkpoint(&folder, &learner, &Companions::default(), &config(), &state(5), |_| Ok(())).unwrap();
        assert!(read_checkpoint(&path).is_ok());
        let file = path.join(OPTIMIZER);
        let bytes = std::fs::read(&file).unwrap();
        let mut wrong = bytes.clone();
        wrong[9] ^= 1;
        std::fs::write(&file, wrong).unwrap();
        assert!(read_checkpoint(&path).err().unwrap().contains("optimizer.safetensors was changed after"));
        std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_checkpoint(&path).err().unwrap().contains("bytes instead of"));
        std::fs::remove_file(&file).unwrap();
        assert!(read_checkpoint(&path).err().unwrap().contains("optimizer.safetensors cannot be read"));
        std::fs::write(&file, &bytes).unwrap();
        let moved = path.with_file_name("step-000009");
        std::fs::rename(&path, &moved).unwrap();
        assert!(read_checkpoint(&moved).err().unwrap().contains("of step 5"));
        std::fs::rename(&moved, &path).unwrap();
        let manifest = std::fs::read_to_string(path.join(MANIFEST)).unwrap();
        assert!(read_checkpoint(&path).is_ok() && manifest.contains("\"step\": 5"));
        for (wrong, found) in [
            ("{}".to_owned(), "missing field"),
            ("{\"files\": {}}".to_owned(), "does not list config.json"),
            (manifest.replace("\"step\": 5", "\"step\": 6"), "of step 6 by"),
            (manifest.replace("\"tokenizer.json\"", "\"x\"").replace("\"run.toml\"", "\"../run.toml\""), "run.toml"),
        ] {
            std::fs::write(path.join(MANIFEST), wrong).unwrap();
            let error = read_checkpoint(&path).err().unwrap();
            assert!(error.contains(found), "{error}");
        }
        std::fs::remove_file(path.join(MANIFEST)).unwrap();
        assert!(read_checkpoint(&path).err().unwrap().contains("manifest.json cannot be read"));
    }

    #[test]
    fn the_last_ones_and_every_mth_are_kept() {
        for (keep, every, best, left) in [
            (0, 0, None, &[1, 2, 3, 4, 5][..]),
            (2, 0, None, &[4, 5]),
            (1, 2, None, &[2, 4, 5]),
            (2, 0, Some(1), &[1, 4, 5]),
            (9, 0, None, &[1, 2, 3, 4, 5]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = folder(dir.path());
            (1..=5).for_each(|step| std::fs::create_dir(folder.checkpoint_folder(step)).unwrap());
            prune_checkpoints(&folder, keep, every, best).unwrap();
            assert_eq!(folder.checkpoint_steps(), left);
        }
    }
}
