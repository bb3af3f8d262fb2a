//! Owns: validation: plain and recycled loss on fixed batches of the validation split.
//! Must not know: training, optimizers.
//! Invariant: every validation of a run sees the same batches; with random placement, at the same positions.

use super::TrainError;
use super::read::{Readback, mean};
use super::step::{Draw, placer, upload};
use crate::config::Config;
use crate::data::{Batch, Dataset, Loader, LoaderOptions, Position, Split};
use crate::model::Transformer;
use crate::record::registry::{Metric, StepRow};
use crate::recycle::{passes, schedule};
use burn::module::Module;

/// The validation batches.
pub(super) struct Evaluator {
    batches: Vec<Batch>,
}

impl Evaluator {
    /// Reads the batches; `None` where the dataset has no validation split.
    pub fn new(config: &Config, dataset: &Dataset, vocab_size: usize) -> Result<Option<Self>, TrainError> {
        if !dataset.has(Split::Valid) {
            return Ok(None);
        }
        let options = LoaderOptions {
            batch: config.data.batch,
            seq_len: config.data.seq_len,
            seed: config.run.seed,
            shuffle: false,
            repeat: false,
            vocab_size,
            prefetch: 1,
        };
        let mut loader = Loader::open(dataset, Split::Valid, options, Position::default())?;
        let mut batches = Vec::new();
        while batches.len() < config.eval.batches {
            match loader.next_batch()? {
                Some(batch) => batches.push(batch),
                None => break,
            }
        }
        Ok(Some(Self { batches }))
    }

    /// Validates, and sets the validation metrics of `row`.
    pub fn run(&self, config: &Config, model: &Transformer, row: &mut StepRow) -> Result<(), TrainError> {
        let model = model.valid();
        let recycle = &config.recycle;
        let share = schedule::widest(recycle, model.shape().vocab_size);
        let recycles = recycle.every > 0 && share.some();
        let (mut plain, mut plain_at, mut recycled) = (Vec::new(), Vec::new(), Vec::new());
        for (index, batch) in self.batches.iter().enumerate() {
            let tokens = upload(batch, &model.device());
            // Step 0 belongs to validation: its positions are drawn once for the whole run.
            let draw = Draw { seed: config.run.seed, step: 0, batch: index as u64 };
            let mut place = placer(batch, recycle, share, draw);
            let place = recycles.then_some::<passes::Place>(&mut place);
            let said = passes::look(&model, &tokens, recycle.reach, recycle.passes.usual(), place);
            let mut readback = Readback::default();
            readback.add(&said.plain.nll);
            let positions = said.recycled.map(|(said, positions)| {
                readback.add(&said.nll);
                positions.flat()
            });
            let read = readback.now()?;
            for at in positions.into_iter().flatten() {
                plain_at.push(read[0][at]);
                recycled.push(read[1][at]);
            }
            plain.extend_from_slice(&read[0]);
        }
        row.set_if(Metric::ValidPlain, mean(plain));
        row.set_if(Metric::ValidRecycled, mean(recycled));
        row.set_if(Metric::ValidPlainAtRecycled, mean(plain_at));
        Ok(())
    }
}
