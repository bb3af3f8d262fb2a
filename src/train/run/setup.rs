//! Owns: the setup before the first step: the dataset, the device, the model, the run folder.
//! Must not know: the training loop.
//! Invariant: settings that do not fit together are refused before training.

use super::checkpoint::{self, LoadedCheckpoint};
use super::memory;
use super::publisher::Publisher;
use super::resume_journal;
use super::run_plan::{ResumedFolder, RunPlan, config_file_error};
use crate::config::{self, Config, GeneratedDataset, ObjectiveKind, PositionBudget};
use crate::data::{
    Dataset, Loader, LoaderOptions, MARKERS, Progress, ProsqaOptions, Split, StreamPosition, Tokenizer,
    generation_end_tokens, make_prosqa,
};
use crate::device;
use crate::files::atomic::{replace_file, replace_json};
use crate::model::hf::Companions;
use crate::model::{Execution, FeedbackSpec, ModelShape, Transformer, hf};
use crate::record::log::RunLog;
use crate::record::run_folder::{RunFolder, RunLock};
use crate::record::{RecordError, changes};
use crate::schema::protocol::{Event, RunInfo, RunPhase};
use crate::train::TrainError;
use crate::train::live::replay;
use crate::train::objective::curriculum::Curriculum;
use crate::train::objective::pretraining::Pretraining;
use crate::train::objective::rl::{self, RlObjective};
use crate::train::objective::{Objective, ObjectiveStart};
use crate::train::step::learner::Learner;
use burn::module::Module;
use burn::tensor::Device;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

/// Minimum time between two progress frames.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// Opens the dataset in `data.dir`. Makes it first if it does not exist and `data.make` says so.
pub fn open_dataset(config: &Config, out: &mut Publisher) -> Result<Dataset, TrainError> {
    out.send_fact(Event::Phase(RunPhase::LoadData));
    let dir = Path::new(&config.data.dir);
    if config.data.make == GeneratedDataset::Prosqa && !dir.exists() {
        make_dataset(config, dir, out)?;
    }
    if !dir.exists() {
        return Err(TrainError::InvalidSetting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason: "no such folder; make it with `coconut-lab data text` or `coconut-lab data prosqa`, or set \
                     `data.make` = \"prosqa\""
                .into(),
        });
    }
    let dataset = Dataset::open(dir)?;
    tracing::info!("data: {}, {} training documents", dir.display(), dataset.rows(Split::Train));
    dataset.warnings().iter().for_each(|warning| tracing::warn!("data: {warning}"));
    if !dataset.has_split(Split::Valid) {
        tracing::warn!("{} has no validation split: validation is off", dir.display());
    }
    Ok(dataset)
}

/// Makes a ProsQA dataset in `dir` with `data.make_train` and `data.make_held_out` questions.
fn make_dataset(config: &Config, dir: &Path, out: &mut Publisher) -> Result<(), TrainError> {
    tracing::info!("{} does not exist: making ProsQA questions", dir.display());
    let held_out = config.data.make_held_out;
    let options = ProsqaOptions {
        out: dir.to_owned(),
        seed: config.data.make_seed,
        train: config.data.make_train,
        valid: held_out,
        test: held_out,
        from: Vec::new(),
        tokenizer: "words".into(),
        force: false,
    };
    let result = make_prosqa(&options, &mut progress_frames(out));
    match result {
        Err(_) if Dataset::open(dir).is_ok() => {
            tracing::warn!("{} was made by another process in the meantime; using it", dir.display());
            Ok(())
        }
        result => Ok(result.map(|_| ())?),
    }
}

/// Returns a callback that sends progress frames, rate-limited except for the last.
fn progress_frames(out: &mut Publisher) -> impl FnMut(Progress<'_>) {
    let mut last: Option<Instant> = None;
    move |progress| {
        if progress.done == progress.total || last.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL) {
            last = Some(Instant::now());
            let what = progress.label.to_owned();
            out.send_frame(Event::Progress { label: what, done: progress.done, total: progress.total });
        }
    }
}

/// Opens what the run learns, at a position in its data.
pub fn open_objective(
    config: &Config,
    dataset: &Dataset,
    vocab_size: usize,
    start: ObjectiveStart,
    out: &mut Publisher,
) -> Result<Box<dyn Objective>, TrainError> {
    Ok(match config.objective.kind {
        ObjectiveKind::Pretraining => {
            let loader = open_loader(config, dataset, vocab_size, start.position.clone(), out)?;
            Box::new(Pretraining::new(config, dataset.clone(), loader, start.position, vocab_size)?)
        }
        ObjectiveKind::Curriculum => Box::new(Curriculum::open(config, dataset, start)?),
        ObjectiveKind::Rl => Box::new(RlObjective::open(config, dataset, start)?),
    })
}

/// Opens an endless loader of training batches at `start`. With `data.check`, checks all ids of both splits.
pub fn open_loader(
    config: &Config,
    dataset: &Dataset,
    vocab_size: usize,
    start: StreamPosition,
    out: &mut Publisher,
) -> Result<Loader, TrainError> {
    if config.data.check {
        out.send_fact(Event::Phase(RunPhase::LoadData));
        for split in [Split::Train, Split::Valid] {
            let counts = dataset.check_split(split, vocab_size, &mut progress_frames(out))?;
            counts.sentences().for_each(|sentence| tracing::warn!("data: {split}: {sentence}"));
            let batch_tokens = (config.data.batch * config.data.seq_len) as u64;
            if split == Split::Train && counts.tokens <= batch_tokens {
                tracing::warn!(
                    "data: train: {} tokens are fewer than a batch takes (`data.batch` · `data.seq_len` = {batch_tokens}): \
                     each batch repeats them",
                    counts.tokens
                );
            }
        }
    }
    let options = LoaderOptions {
        batch_size: config.data.batch,
        seq_len: config.data.seq_len,
        seed: config.run.seed,
        shuffle: config.data.shuffle,
        vocab_size,
        prefetch: config.data.prefetch,
    };
    Ok(Loader::open(dataset, Split::Train, options, start)?)
}

/// Returns a text that identifies the training data: names and sizes of its files, and the number of rows.
pub fn dataset_fingerprint(dataset: &Dataset) -> String {
    let files = dataset.shard_paths(Split::Train).iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} {} bytes", std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
    });
    let files: Vec<String> = files.collect();
    format!("{}; {} rows", files.join(", "), dataset.rows(Split::Train))
}

/// A run folder that this process has locked.
pub(in crate::train) struct ClaimedFolder {
    pub folder: RunFolder,
    pub lock: RunLock,
    pub config_text: String,
}

/// Creates the folder of a new run, or applies the resume journal to an existing one.
pub(in crate::train) fn claim_folder(
    plan: &RunPlan,
    resumed: Option<ResumedFolder>,
) -> Result<ClaimedFolder, TrainError> {
    let Some(ResumedFolder { folder, lock, journal }) = resumed else { return create_folder(plan) };
    resume_journal::write_and_apply(&folder, &journal)?;
    Ok(ClaimedFolder { folder, lock, config_text: plan.config_text.clone() })
}

/// Creates and locks the folder of a new run with its config file.
fn create_folder(plan: &RunPlan) -> Result<ClaimedFolder, TrainError> {
    let config = &plan.config;
    let folder = RunFolder::create(Path::new(&config.run.dir), &config.run.name, chrono::Local::now())?;
    let lock = folder.lock()?;
    let text = config::edit::complete(&plan.config_text, config).map_err(config_file_error)?;
    replay::write_known_texts(&folder, &[&text])?;
    replace_file(&folder.version_file(0), config.to_toml()?.as_bytes())?;
    if !plan.scheduled.is_empty() {
        changes::rewrite_changes(&folder.replay_file(), &plan.scheduled)?;
    }
    replace_file(&folder.config_file(), text.as_bytes())?;
    Ok(ClaimedFolder { folder, lock, config_text: text })
}

/// Appends the log to the run's `log.txt`: the lines so far, and all later ones.
pub fn attach_log(folder: &RunFolder, log: &RunLog) -> Result<(), TrainError> {
    let path = folder.log_file();
    let file = OpenOptions::new().create(true).append(true).open(&path);
    log.write_to(file.map_err(RecordError::io("open", &path))?);
    Ok(())
}

/// Returns what is fixed for the run. Logs it and writes it to the run's `run.json`.
pub(in crate::train) fn run_info(
    plan: &RunPlan,
    dataset: &Dataset,
    selected: &device::SelectedDevice,
    model: &Transformer,
    folder: &RunFolder,
    peak_flop_per_s: Option<f64>,
) -> Result<RunInfo, TrainError> {
    let config = &plan.config;
    let (params, vocab_size) = (model.num_params() as u64, model.shape().vocab_size);
    let path = folder.path().display();
    tracing::info!("model: {params} parameters, vocabulary {vocab_size}; folder {path}");
    let files = plan.recipe.iter().map(|recipe| recipe.display().to_string());
    let files: Vec<String> = std::iter::once(folder.config_file().display().to_string()).chain(files).collect();
    tracing::info!("edit {} to change the run", files.join(" or "));
    config::ineffective_settings(config).iter().for_each(|warning| tracing::warn!("{warning}"));
    if config.optim.warmup >= config.run.steps {
        let (warmup, steps) = (config.optim.warmup, config.run.steps);
        tracing::warn!("`optim.warmup` = {warmup} of {steps} steps: the learning rate never reaches its peak");
    }
    let info = RunInfo {
        config: config.clone(),
        version: plan.version,
        lineage: plan.lineage.clone(),
        recipe: plan.recipe.clone(),
        folder: folder.path().to_owned(),
        device: selected.name.clone(),
        device_reason: selected.reason.clone(),
        params,
        vocab_size,
        train_docs: dataset.rows(Split::Train),
        peak_flop_per_s,
    };
    replace_json(&folder.run_info_file(), &info)?;
    Ok(info)
}

/// Measures and logs the rate of the device's matrix product, FLOP/s; `None` if the device fails.
pub fn measure_peak(selected: &device::SelectedDevice) -> Option<f64> {
    let peak = device::measure_flop_per_s(&selected.device, selected.kind);
    if let Some(peak) = peak {
        tracing::info!("device peak (f32 matrix product): {:.1} Gflop/s", peak / 1e9);
    }
    peak
}

/// Selects the device that `run.device` names. Fails if there is none, or it does not support `run.dtype`.
pub fn select_device(config: &Config) -> Result<device::SelectedDevice, TrainError> {
    let selected = device::choose_device(&config.run.device)?;
    tracing::info!("device: {} ({})", selected.name, selected.reason);
    selected.check_dtype(config.run.dtype, "run.dtype")?;
    Ok(selected)
}

/// Builds the model with autodiff: loaded from checkpoint `from`, else from `model.from`, else new.
pub fn build_model(
    config: &Config,
    dataset: &Dataset,
    selected: &device::SelectedDevice,
    from: Option<&LoadedCheckpoint>,
    out: &mut Publisher,
) -> Result<Transformer, TrainError> {
    out.send_fact(Event::Phase(RunPhase::BuildModel));
    let device = selected.device.clone().autodiff();
    let vocab_size = model_vocab(config, dataset);
    let source = from.map_or(Path::new(&config.model.from), |found| &found.dir);
    check_tokenizer(config, dataset, &source.join("tokenizer.json"))?;
    if selected.kind == device::DeviceKind::Cpu {
        memory::check_memory(config, &planned_shape(config, source, vocab_size)?)?;
    }
    let model = match from {
        Some(found) => load_model(config, &found.dir, &device, vocab_size)?,
        None if config.model.from.is_empty() => new_model(config, vocab_size, &device)?,
        None => {
            tracing::info!("model.from = {}: using the checkpoint's shape instead of [model]", config.model.from);
            load_model(config, Path::new(&config.model.from), &device, vocab_size)?
        }
    };
    check_compatible(config, model.shape(), vocab_size)?;
    Ok(model.with_execution(Execution::from_config(&config.run)))
}

/// Returns the vocabulary size that a new model gets: that of the data, and the markers of a curriculum.
pub fn model_vocab(config: &Config, dataset: &Dataset) -> Option<usize> {
    let data_vocab = dataset.vocab_size()?;
    let last_marker = || dataset.tokenizer().and_then(|known| known.marker_ids().into_iter().max());
    match config.objective.kind {
        ObjectiveKind::Pretraining => Some(data_vocab),
        // In a vocabulary that is padded, markers have ids of the padding.
        ObjectiveKind::Curriculum | ObjectiveKind::Rl => {
            Some(data_vocab.max(last_marker().map_or(0, |last| last as usize + 1)))
        }
    }
}

/// Fails if the model's tokenizer is another than that of the data, unless `data.any_tokenizer` allows it.
fn check_tokenizer(config: &Config, dataset: &Dataset, file: &Path) -> Result<(), TrainError> {
    if config.data.any_tokenizer || !file.is_file() {
        return Ok(());
    }
    match dataset.tokenizer_difference(&Tokenizer::from_file(file)?) {
        None => Ok(()),
        Some(difference) => Err(TrainError::InvalidSetting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason: format!(
                "the data was made with another tokenizer than {}: {difference}. Make it again with this tokenizer, or set \
                 `data.any_tokenizer` = true",
                file.display()
            ),
        }),
    }
}

/// Returns the tokenizer of the data, with the markers of a curriculum.
pub fn tokenizer(config: &Config, dataset: &Dataset) -> Result<Option<Tokenizer>, TrainError> {
    let tokenizer = dataset.tokenizer();
    match config.objective.kind {
        kind if kind.learns_questions() => Ok(tokenizer.map(Tokenizer::with_markers).transpose()?),
        _ => Ok(tokenizer),
    }
}

/// Returns what checkpoints hold beside weights and state, and the tokens that end a generated text. Both are from the
/// folder that the weights are from, else from the dataset.
pub fn read_companions(
    config: &Config,
    dataset: &Dataset,
    from: Option<&LoadedCheckpoint>,
) -> Result<(Companions, Vec<u32>), TrainError> {
    let tokenizer = tokenizer(config, dataset)?;
    let source = match from {
        Some(found) => Some(found.dir.as_path()),
        None => Some(Path::new(&config.model.from)).filter(|dir| !dir.as_os_str().is_empty()),
    };
    let eos = tokenizer.as_ref().and_then(Tokenizer::eos_id).or(dataset.eos_id());
    let (companions, mut end_tokens) = match source {
        Some(dir) => {
            let token_id = |token: &str| tokenizer.as_ref().and_then(|tokenizer| tokenizer.token_id(token));
            (Companions::read(dir)?, generation_end_tokens(dir, &token_id)?.ids)
        }
        None => (Companions::for_end_token(eos), Vec::new()),
    };
    end_tokens.extend(eos.filter(|id| !end_tokens.contains(id)));
    let companions = match &tokenizer {
        Some(tokenizer) if !has_tokenizer(&companions, tokenizer) => {
            let end_text = eos.and_then(|id| tokenizer.token(id));
            companions.with_tokenizer(tokenizer.json(), end_text.as_deref())
        }
        _ => companions,
    };
    Ok((companions, end_tokens))
}

/// Whether the companions hold this tokenizer and its description, up to formatting.
fn has_tokenizer(companions: &Companions, tokenizer: &Tokenizer) -> bool {
    let has_markers = |json: &[u8]| MARKERS.map(|marker| String::from_utf8_lossy(json).contains(marker));
    let same = |json: &[u8]| {
        has_markers(json) == has_markers(tokenizer.json().as_bytes())
            && Tokenizer::hash_of_json(json).is_some_and(|hash| hash == tokenizer.hash())
    };
    companions.has_tokenizer_config() && companions.tokenizer_json().is_some_and(same)
}

/// Restores optimizer and step count from the plan's checkpoint, except for the parts that are reset.
pub(in crate::train) fn restore_learner(plan: &RunPlan, learner: Learner) -> Result<Learner, TrainError> {
    let Some(found) = &plan.checkpoint else { return Ok(learner) };
    let (step, pause_updates) = if plan.reset.step { (0, 0) } else { (found.state.step, found.state.pause_updates.0) };
    if plan.reset.optimizer {
        let optimizer = learner.optimizer().clone();
        return Ok(learner.with_state(optimizer, step, pause_updates));
    }
    let (optimizer, unmatched) = checkpoint::load_optimizer(found, &learner)?;
    if unmatched > 0 {
        tracing::warn!("ignoring {unmatched} tensors of the checkpoint's optimizer: they match no parameter");
    }
    Ok(learner.with_state(optimizer, step, pause_updates))
}

/// Returns the shape that the model will have, from the config of its folder if `source` is not empty.
fn planned_shape(config: &Config, source: &Path, vocab_size: Option<usize>) -> Result<ModelShape, TrainError> {
    match source.as_os_str().is_empty() {
        true => Ok(ModelShape::from_config(&config.model, vocab_size.unwrap_or(1), config.data.seq_len)),
        false => Ok(ModelShape::from_hf(&source.join("config.json"))?),
    }
}

fn new_model(config: &Config, vocab_size: Option<usize>, device: &Device) -> Result<Transformer, TrainError> {
    let vocab_size = vocab_size.unwrap_or(config.model.vocab_size);
    if vocab_size == 0 && config.model.vocab_size == 0 {
        return Err(TrainError::InvalidSetting {
            key: "model.vocab_size",
            value: "0".into(),
            reason: format!("{} does not state its vocabulary size; set it", config.data.dir),
        });
    }
    let shape = ModelShape::from_config(&config.model, vocab_size, config.data.seq_len);
    let model = Transformer::new(shape, config.run.seed, config.model.init_std, device);
    Ok(model.with_feedback(FeedbackSpec::from_config(&config.recycle), config.run.seed))
}

/// Loads the model in `dir`. A stored feedback of another form is replaced by a new one.
/// For a curriculum, tokens are added to a vocabulary that lacks the markers.
fn load_model(
    config: &Config,
    dir: &Path,
    device: &Device,
    vocab_size: Option<usize>,
) -> Result<Transformer, TrainError> {
    let model = hf::load(dir, device)?;
    let missing = vocab_size.map_or(0, |size| size.saturating_sub(model.shape().vocab_size));
    let model = match config.objective.kind.learns_questions() {
        true if missing > 0 => {
            tracing::info!("adding {missing} tokens to the model's vocabulary, each with the mean of the embeddings");
            model.with_more_tokens(missing)
        }
        _ => model,
    };
    let mut model = model.with_feedback(FeedbackSpec::from_config(&config.recycle), config.run.seed);
    if hf::load_feedback(dir, &mut model)? == hf::FeedbackLoad::Mismatch {
        tracing::warn!("the feedback stored with {} has another form: starting with a new one", dir.display());
    }
    Ok(model)
}

/// Checks the config against model and data, at the start and after every change of a live setting.
pub fn check_compatible(config: &Config, shape: &ModelShape, vocab_size: Option<usize>) -> Result<(), TrainError> {
    rl::check_policy(config)?;
    let (recycle, max_entropy) = (&config.recycle, (shape.vocab_size as f64).ln());
    if let PositionBudget::EntropyAtLeast(threshold) = recycle.max_budget(shape.vocab_size)
        && threshold > max_entropy
        && recycle.every > 0
    {
        return Err(TrainError::InvalidSetting {
            key: "recycle.threshold",
            value: recycle.threshold.min().to_string(),
            reason: format!(
                "no position reaches {threshold:.3} nats: the maximum entropy over {} tokens is {max_entropy:.3}",
                shape.vocab_size
            ),
        });
    }
    if config.data.seq_len > shape.max_len {
        return Err(TrainError::InvalidSetting {
            key: "data.seq_len",
            value: config.data.seq_len.to_string(),
            reason: format!("the model's maximum length is {}", shape.max_len),
        });
    }
    match vocab_size {
        Some(data_vocab) if data_vocab > shape.vocab_size => Err(TrainError::InvalidSetting {
            key: "model.vocab_size",
            value: shape.vocab_size.to_string(),
            reason: format!("{} has a vocabulary of {data_vocab}", config.data.dir),
        }),
        _ => Ok(()),
    }
}
