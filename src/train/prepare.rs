//! Owns: what stands before the first step: dataset made or opened, device chosen, model built, folder made.
//! Must not know: the loop.
//! Invariant: what does not fit together (ids and vocabulary, row and model length) is refused here, before training.

use super::begin::{self, Beginning};
use super::checkpoint::Found;
use super::publish::Publisher;
use super::{TrainError, device, intent, replay};
use crate::config::{self, Config, Make, Wanted};
use crate::data::{
    DataError, Dataset, Loader, LoaderOptions, Position, Progress, ProsqaOptions, Split, make_prosqa,
};
use crate::message::{Event, Phase, RunInfo};
use crate::model::{Execution, Form, Shape, Transformer, hf};
use crate::record::folder::{Lock, RunFolder, replace, replace_json};
use crate::record::log::RunLog;
use crate::record::{RecordError, changes};
use burn::module::Module;
use burn::tensor::Device;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

/// Least time between two progress frames.
const FRAME: Duration = Duration::from_millis(50);

/// Opens `data.dir`, having made it first where the config says so and it is not there.
pub(super) fn dataset(config: &Config, out: &mut Publisher) -> Result<Dataset, TrainError> {
    out.fact(Event::Phase(Phase::Data));
    let dir = Path::new(&config.data.dir);
    if config.data.make == Make::Prosqa && !dir.exists() {
        make(config, dir, out)?;
    }
    if !dir.exists() {
        return Err(TrainError::Setting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason:
                "it is not there; make it with `coconut-lab data text` or `coconut-lab data prosqa`, or set \
                     `data.make` = \"prosqa\""
                    .into(),
        });
    }
    let dataset = Dataset::open(dir)?;
    tracing::info!("data: {}, {} training documents", dir.display(), dataset.rows(Split::Train));
    if !dataset.has(Split::Valid) {
        tracing::warn!("{} has no validation split: nothing is validated", dir.display());
    }
    Ok(dataset)
}

fn make(config: &Config, dir: &Path, out: &mut Publisher) -> Result<(), TrainError> {
    tracing::info!("{} is not there: making ProsQA questions", dir.display());
    let held_out = config.data.make_held_out;
    let options = ProsqaOptions {
        out: dir.to_owned(),
        seed: config.run.seed,
        train: config.data.make_train,
        valid: held_out,
        test: held_out,
        from: Vec::new(),
        tokenizer: "words".into(),
        force: false,
    };
    let made = make_prosqa(&options, &mut shown(out));
    match made {
        Err(DataError::Taken { .. }) if dir.exists() => {
            tracing::warn!("{} was made by another process meanwhile, and is used as it is", dir.display());
            Ok(())
        }
        made => Ok(made.map(|_| ())?),
    }
}

/// Frames of progress, not more often than a screen wants them.
fn shown(out: &mut Publisher) -> impl FnMut(Progress<'_>) {
    let mut last: Option<Instant> = None;
    move |progress| {
        if progress.done == progress.total || last.is_none_or(|last| last.elapsed() >= FRAME) {
            last = Some(Instant::now());
            let what = progress.what.to_owned();
            out.frame(Event::Progress { what, done: progress.done, total: progress.total });
        }
    }
}

/// The batches of the training split, endlessly. All splits that are trained or validated on are read through first.
pub(super) fn loader(
    config: &Config,
    dataset: &Dataset,
    vocab_size: usize,
    start: Position,
    out: &mut Publisher,
) -> Result<Loader, TrainError> {
    if config.data.check {
        out.fact(Event::Phase(Phase::Data));
        for split in [Split::Train, Split::Valid] {
            dataset.check(split, vocab_size, &mut shown(out))?;
        }
    }
    let options = LoaderOptions {
        batch: config.data.batch,
        seq_len: config.data.seq_len,
        seed: config.run.seed,
        shuffle: config.data.shuffle,
        repeat: true,
        vocab_size,
        prefetch: config.data.prefetch,
    };
    Ok(Loader::open(dataset, Split::Train, options, start)?)
}

/// Writes the shape in force into the config of the run.
pub(super) fn adopt(model: &mut config::Model, shape: &Shape) {
    model.arch = shape.arch;
    model.width = shape.width;
    model.layers = shape.layers;
    model.heads = shape.heads;
    model.kv_heads = shape.kv_heads;
    model.mlp_width = shape.mlp_width;
    model.tied = shape.tied;
    model.max_len = shape.max_len;
    model.vocab_size = shape.vocab_size;
    model.rope_theta = shape.rope_theta;
}

/// What the training data is, in words that another dataset does not share: names, sizes and rows of its files.
pub(super) fn fingerprint(dataset: &Dataset) -> String {
    let files = dataset.shards(Split::Train).iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} {} bytes", std::fs::metadata(path).map_or(0, |about| about.len()))
    });
    let files: Vec<String> = files.collect();
    format!("{}; {} rows", files.join(", "), dataset.rows(Split::Train))
}

/// Where the training data begins: where the checkpoint's run stood, as far as it is the same data in the same order.
pub(super) fn start(beginning: &mut Beginning, dataset: &Dataset) -> Result<Position, TrainError> {
    let Some(found) = &beginning.from else { return Ok(Position::default()) };
    let (then, now) = (&found.state.data, fingerprint(dataset));
    if beginning.resumed.is_some() && *then != now {
        let dir = beginning.config.data.dir.clone();
        return Err(TrainError::OtherData { dir, reason: format!("then {then}; now {now}") });
    }
    let (old, new) = (&found.config, &beginning.config);
    let same = *then == now && (old.run.seed, old.data.shuffle) == (new.run.seed, new.data.shuffle);
    if same && !beginning.fresh.data {
        return Ok(found.state.loader.clone());
    }
    if !beginning.fresh.data {
        tracing::warn!(
            "the data, its order or the seed is another than the checkpoint's: it begins at the beginning"
        );
        if let Some(lineage) = &mut beginning.lineage {
            lineage.without.push("data".into());
        }
    }
    Ok(Position::default())
}

/// Refuses a shape that the checkpoint's weights do not have.
pub(super) fn same_shape(asked: &config::Model, config: &Config) -> Result<(), TrainError> {
    let asked = Config { model: asked.clone(), ..config.clone() };
    // 0 stands for "as it follows from the rest".
    let free = |value: &toml::Value| value.as_integer() == Some(0);
    match config::change::between(config, &asked).iter().find(|edit| !free(&edit.new)) {
        Some(edit) => Err(TrainError::Shape {
            key: edit.key.path(),
            value: edit.new.to_string(),
            found: edit.old.to_string(),
        }),
        None => Ok(()),
    }
}

/// The run folder, taken by this process: made, or brought to where it goes on.
pub(super) fn folder(beginning: &mut Beginning) -> Result<(RunFolder, Lock), TrainError> {
    if let Some(resumed) = beginning.resumed.take() {
        intent::carry_out(&resumed.folder, &resumed.intent)?;
        return Ok((resumed.folder, resumed.lock));
    }
    let (folder, lock, text) = new_folder(beginning)?;
    beginning.text = text;
    Ok((folder, lock))
}

/// The folder of a new run, with its config file, whose text comes back.
fn new_folder(beginning: &Beginning) -> Result<(RunFolder, Lock, String), TrainError> {
    let config = &beginning.config;
    let folder = RunFolder::create(Path::new(&config.run.dir), &config.run.name, chrono::Local::now())?;
    let lock = folder.lock()?;
    let text = config::edit::complete(&beginning.text, config).map_err(begin::own_file)?;
    replay::write_known(&folder, &[&text])?;
    replace(&folder.version(0), config.to_toml()?.as_bytes())?;
    if !beginning.scheduled.is_empty() {
        changes::rewrite(&folder.replay(), &beginning.scheduled)?;
    }
    replace(&folder.config(), text.as_bytes())?;
    Ok((folder, lock, text))
}

/// Lines of the log from now on, and those so far, at the end of the run's `log.txt`.
pub(super) fn log_to(folder: &RunFolder, log: &RunLog) -> Result<(), TrainError> {
    let path = folder.log();
    let file = OpenOptions::new().create(true).append(true).open(&path);
    log.write_to(file.map_err(RecordError::io("open", &path))?);
    Ok(())
}

/// What is fixed for the run, said once, and written where it is new.
pub(super) fn info(
    beginning: &Beginning,
    dataset: &Dataset,
    chosen: &device::Chosen,
    model: &Transformer,
    folder: &RunFolder,
    peak_flop_per_s: Option<f64>,
) -> Result<RunInfo, TrainError> {
    let config = &beginning.config;
    let (params, vocab_size) = (model.num_params() as u64, model.shape().vocab_size);
    let place = folder.path().display();
    tracing::info!("model: {params} parameters, vocabulary {vocab_size}; folder {place}");
    let files = beginning.recipe.iter().map(|recipe| recipe.display().to_string());
    let files: Vec<String> = std::iter::once(folder.config().display().to_string()).chain(files).collect();
    tracing::info!("saving {} changes the run", files.join(" or "));
    config::idle(config).iter().for_each(|what| tracing::warn!("{what}"));
    if config.optim.warmup >= config.run.steps {
        let (warmup, steps) = (config.optim.warmup, config.run.steps);
        tracing::warn!(
            "`optim.warmup` = {warmup} of {steps} steps: the learning rate never reaches its peak"
        );
    }
    let info = RunInfo {
        config: config.clone(),
        version: beginning.version,
        lineage: beginning.lineage.clone(),
        recipe: beginning.recipe.clone(),
        folder: folder.path().to_owned(),
        device: chosen.name.clone(),
        device_reason: chosen.reason.clone(),
        params,
        vocab_size,
        train_docs: dataset.rows(Split::Train),
        peak_flop_per_s,
    };
    replace_json(&folder.about(), &info)?;
    Ok(info)
}

/// The rate of the device's own matrix product, floating-point operations a second.
pub(super) fn peak(chosen: &device::Chosen) -> Option<f64> {
    let peak = device::flop_per_s(&chosen.device, chosen.kind);
    if let Some(peak) = peak {
        tracing::info!("matrix products: {:.1} Gflop/s", peak / 1e9);
    }
    peak
}

/// The device that the config names.
pub(super) fn device(config: &Config) -> Result<device::Chosen, TrainError> {
    let chosen = device::choose(&config.run.device)?;
    tracing::info!("device: {} ({})", chosen.name, chosen.reason);
    chosen.multiplies(config.run.dtype, "run.dtype")?;
    Ok(chosen)
}

/// The checkpoint's model, else a fresh one, or the one at `model.from`; on the device with autodiff.
pub(super) fn model(
    config: &Config,
    dataset: &Dataset,
    chosen: &device::Chosen,
    from: Option<&Found>,
    out: &mut Publisher,
) -> Result<Transformer, TrainError> {
    out.fact(Event::Phase(Phase::Build));
    let device = chosen.device.clone().autodiff();
    let vocab_size = dataset.vocab_size();
    let model = match from {
        Some(found) => loaded(config, &found.dir, &device)?,
        None if config.model.from.is_empty() => fresh(config, vocab_size, &device)?,
        None => {
            tracing::info!(
                "model.from = {}: the shape is the checkpoint's, not [model]'s",
                config.model.from
            );
            loaded(config, Path::new(&config.model.from), &device)?
        }
    };
    fits(config, model.shape(), vocab_size)?;
    Ok(model.executed(Execution::of(&config.run)))
}

fn fresh(config: &Config, vocab_size: Option<usize>, device: &Device) -> Result<Transformer, TrainError> {
    let vocab_size = vocab_size.unwrap_or(config.model.vocab_size);
    if vocab_size == 0 && config.model.vocab_size == 0 {
        return Err(TrainError::Setting {
            key: "model.vocab_size",
            value: "0".into(),
            reason: format!("{} does not name its vocabulary; set it", config.data.dir),
        });
    }
    let shape = Shape::from_config(&config.model, vocab_size, config.data.seq_len);
    let model = Transformer::new(shape, config.run.seed, config.model.init_std, device);
    Ok(model.with_feedback(Form::of(&config.recycle), config.run.seed))
}

fn loaded(config: &Config, dir: &Path, device: &Device) -> Result<Transformer, TrainError> {
    let mut model = hf::load(dir, device)?.with_feedback(Form::of(&config.recycle), config.run.seed);
    if hf::load_feedback(dir, &mut model)? == hf::Found::Other {
        tracing::warn!("the feedback beside {} is of another form: it begins afresh", dir.display());
    }
    Ok(model)
}

/// What must hold between settings, model and data; of live settings too, whenever they change.
pub(super) fn fits(config: &Config, shape: &Shape, vocab_size: Option<usize>) -> Result<(), TrainError> {
    let (recycle, most) = (&config.recycle, (shape.vocab_size as f64).ln());
    if let Wanted::Above(least) = recycle.wanted_at_most(shape.vocab_size)
        && least > most
        && recycle.every > 0
    {
        return Err(TrainError::Setting {
            key: "recycle.threshold",
            value: recycle.threshold.min().to_string(),
            reason: format!(
                "no position reaches {least:.3} nats: the largest entropy over {} tokens is {most:.3}",
                shape.vocab_size
            ),
        });
    }
    if config.data.seq_len > shape.max_len {
        return Err(TrainError::Setting {
            key: "data.seq_len",
            value: config.data.seq_len.to_string(),
            reason: format!("the model takes {} positions at most", shape.max_len),
        });
    }
    match vocab_size {
        Some(found) if found > shape.vocab_size => Err(TrainError::Setting {
            key: "model.vocab_size",
            value: shape.vocab_size.to_string(),
            reason: format!("{} has a vocabulary of {found}", config.data.dir),
        }),
        _ => Ok(()),
    }
}
