//! Owns: what stands before the first step: dataset made or opened, device chosen, model built, folder made.
//! Must not know: the loop.
//! Invariant: what does not fit together (ids and vocabulary, row and model length) is refused here, before training.

use super::publish::Publisher;
use super::{TrainError, device};
use crate::config::{self, Config, Make, Wanted};
use crate::data::{
    DataError, Dataset, Loader, LoaderOptions, Position, Progress, ProsqaOptions, Split, make_prosqa,
};
use crate::message::{Event, Phase, RunInfo};
use crate::model::{Form, Shape, Transformer, hf};
use crate::record::RecordError;
use crate::record::folder::RunFolder;
use crate::record::log::RunLog;
use burn::module::Module;
use std::fs::File;
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
    Ok(Loader::open(dataset, Split::Train, options, Position::default())?)
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

/// The run folder, with the config as run and the log.
pub(super) fn folder(config: &Config, log: &RunLog) -> Result<RunFolder, TrainError> {
    let folder = RunFolder::create(Path::new(&config.run.dir), &config.run.name, chrono::Local::now())?;
    folder.write_config(&config.to_toml()?)?;
    let log_file = folder.log();
    log.write_to(File::create(&log_file).map_err(RecordError::io("make", &log_file))?);
    Ok(folder)
}

/// What is fixed for the run, said once.
pub(super) fn info(
    config: &Config,
    dataset: &Dataset,
    chosen: device::Chosen,
    model: &Transformer,
    folder: &RunFolder,
) -> RunInfo {
    let (params, vocab_size) = (model.num_params() as u64, model.shape().vocab_size);
    let place = folder.path().display();
    tracing::info!("model: {params} parameters, vocabulary {vocab_size}; folder {place}");
    config::idle(config).iter().for_each(|what| tracing::warn!("{what}"));
    if config.optim.warmup >= config.run.steps {
        let (warmup, steps) = (config.optim.warmup, config.run.steps);
        tracing::warn!(
            "`optim.warmup` = {warmup} of {steps} steps: the learning rate never reaches its peak"
        );
    }
    RunInfo {
        config: config.clone(),
        folder: folder.path().to_owned(),
        device: chosen.name,
        device_reason: chosen.reason,
        params,
        vocab_size,
        train_docs: dataset.rows(Split::Train),
    }
}

/// The device that the config names.
pub(super) fn device(config: &Config) -> Result<device::Chosen, TrainError> {
    let chosen = device::choose(&config.run.device)?;
    tracing::info!("device: {} ({})", chosen.name, chosen.reason);
    Ok(chosen)
}

/// A fresh model, or the one at `model.from`, on the device with autodiff.
pub(super) fn model(
    config: &Config,
    dataset: &Dataset,
    chosen: &device::Chosen,
    out: &mut Publisher,
) -> Result<Transformer, TrainError> {
    out.fact(Event::Phase(Phase::Build));
    let device = chosen.device.clone().autodiff();
    let vocab_size = dataset.vocab_size();
    let form = Form::of(&config.recycle);
    let model = if config.model.from.is_empty() {
        let vocab_size = vocab_size.unwrap_or(config.model.vocab_size);
        if vocab_size == 0 && config.model.vocab_size == 0 {
            return Err(TrainError::Setting {
                key: "model.vocab_size",
                value: "0".into(),
                reason: format!("{} does not name its vocabulary; set it", config.data.dir),
            });
        }
        let shape = Shape::from_config(&config.model, vocab_size, config.data.seq_len);
        Transformer::new(shape, config.run.seed, config.model.init_std, &device)
            .with_feedback(form, config.run.seed)
    } else {
        tracing::info!("model.from = {}: the shape is the checkpoint's, not [model]'s", config.model.from);
        let dir = Path::new(&config.model.from);
        let mut model = hf::load(dir, &device)?.with_feedback(form, config.run.seed);
        if hf::load_feedback(dir, &mut model)? == hf::Found::Other {
            tracing::warn!("the feedback beside {} is of another form: it begins afresh", dir.display());
        }
        model
    };
    fits(config, model.shape(), vocab_size)?;
    Ok(model)
}

fn fits(config: &Config, shape: &Shape, vocab_size: Option<usize>) -> Result<(), TrainError> {
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
