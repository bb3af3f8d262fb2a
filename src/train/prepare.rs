//! Owns: what stands before the first step: dataset made or opened, device chosen, model built.
//! Must not know: the loop.
//! Invariant: what does not fit together (ids and vocabulary, row and model length) is refused here, before training.

use super::publish::Publisher;
use super::{TrainError, device};
use crate::config::{Config, Make};
use crate::data::{Dataset, ProsqaOptions, Split, make_prosqa};
use crate::message::{Event, Phase};
use crate::model::{Shape, Transformer, hf};
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
    let mut last = Instant::now();
    make_prosqa(&options, &mut |progress| {
        if last.elapsed() >= FRAME || progress.done == progress.total {
            last = Instant::now();
            let what = progress.what.to_owned();
            out.frame(Event::Progress { what, done: progress.done, total: progress.total });
        }
    })?;
    Ok(())
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
    } else {
        hf::load(Path::new(&config.model.from), &device)?
    };
    fits(config, model.shape(), vocab_size)?;
    Ok(model)
}

fn fits(config: &Config, shape: &Shape, vocab_size: Option<usize>) -> Result<(), TrainError> {
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
