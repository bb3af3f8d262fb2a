//! Owns: which model a verb is to use: a folder in the Hugging Face layout, or a checkpoint of a run; and its tokenizer.
//! Must not know: what is done with it.
//! Invariant: what is loaded is named in full, so that a result says what it is of.

use super::find;
use crate::config::{self, Config};
use crate::data::{Codec, Dataset, Split, read_questions};
use crate::model::{Transformer, hf};
use crate::ops::threads;
use crate::record::folder::RunFolder;
use crate::think::Policy;
use crate::train::device;
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which model.
#[derive(Args)]
pub(super) struct ModelArgs {
    /// A folder with config.json and model.safetensors (GPT-2 or Llama), or a run (its folder, its name, `last`; RUN@STEP is
    /// the checkpoint of that step).
    #[arg(long, value_name = "DIR|RUN", default_value = "last")]
    pub model: String,
    /// auto, cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// The tokenizer: words, byte, gpt2 or a tokenizer.json, where the folder has none.
    #[arg(long, value_name = "NAME|FILE")]
    tokenizer: Option<String>,
}

/// A policy as it is typed: its tokens may be texts, which the model's tokenizer knows.
#[derive(Clone, Debug)]
pub(super) struct PolicyArg(String);

impl FromStr for PolicyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Policy::read(text, &|_| Some(0)).map(|_| Self(text.to_owned()))
    }
}

/// A model at hand.
pub(super) struct Loaded {
    pub model: Transformer,
    pub dir: PathBuf,
    pub codec: Option<Codec>,
    /// The token that ends a text.
    pub end: Option<u32>,
}

impl ModelArgs {
    /// Loads it, without autodiff.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let dir = folder(&self.model)?;
        // What it computes is computed by the calling thread.
        threads::join(0);
        let chosen = device::choose(&self.device)?;
        let model = hf::load_whole(&dir, &chosen.device)?;
        let beside = dir.join("tokenizer.json");
        let codec = match &self.tokenizer {
            Some(name) => Some(Codec::from_name_or_file(name)?),
            None if beside.is_file() => Some(Codec::from_file(&beside)?),
            None => None,
        };
        if let Some(codec) = &codec
            && codec.vocab_size() > model.shape().vocab_size
        {
            let (has, takes) = (codec.vocab_size(), model.shape().vocab_size);
            bail!("the tokenizer has {has} ids, the model in {} takes {takes}", dir.display());
        }
        let end = hf::end_token(&dir).or_else(|| codec.as_ref().and_then(Codec::eos_id));
        Ok(Loaded { model, dir, codec, end })
    }
}

impl Loaded {
    /// The config that it was trained by, where it is a checkpoint of ours.
    pub fn config(&self) -> anyhow::Result<Option<Config>> {
        let file = self.dir.join("run.toml");
        match file.is_file() {
            true => Ok(Some(config::load(&file, &[])?)),
            false => Ok(None),
        }
    }

    /// The policy that was typed.
    pub fn policy(&self, typed: &PolicyArg) -> anyhow::Result<Policy> {
        let id = |text: &str| self.codec.as_ref().and_then(|codec| codec.token_id(text));
        Policy::read(&typed.0, &id).map_err(anyhow::Error::msg)
    }

    /// Ids of a prompt: with what the tokenizer's own template adds (Llama's `<s>`), but for a checkpoint of ours, which has
    /// been trained on texts without.
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let codec = self.codec()?;
        Ok(if self.dir.join("run.toml").is_file() {
            codec.encode(text)?
        } else {
            codec.encode_prompt(text)?
        })
    }

    /// Its tokenizer.
    pub fn codec(&self) -> anyhow::Result<&Codec> {
        let missing = || format!("{} has no tokenizer.json: name one with --tokenizer", self.dir.display());
        self.codec.as_ref().with_context(missing)
    }

    /// What it was trained on, where it is a checkpoint of ours.
    pub fn dataset(&self) -> anyhow::Result<Option<Dataset>> {
        let Some(config) = self.config()? else { return Ok(None) };
        let dir = Path::new(&config.data.dir);
        if !dir.is_dir() {
            bail!("{}, which the model was trained on, is not there: name other data", dir.display());
        }
        Ok(Some(Dataset::open(dir)?))
    }
}

/// The questions that the shards of `dataset` were made of, where they were: the first shard of the split.
pub(super) fn questions(dataset: &Dataset, split: Split) -> Option<PathBuf> {
    let shard = dataset.shards(split).first().cloned();
    shard.filter(|shard| read_questions(shard, 1).is_ok())
}

/// The folder with the weights that `name` means.
pub(super) fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    let (run, step) = find::run_at(name)?;
    let folder = RunFolder::open(&run)?;
    let steps = folder.checkpoints();
    let step = match (step, steps.last()) {
        (Some(step), _) if steps.contains(&step) => step,
        (None, Some(last)) => *last,
        (_, None) => bail!("{} has no checkpoint yet", run.display()),
        (Some(step), Some(_)) => {
            let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
            bail!("{} has no checkpoint of step {step}; it has {}", run.display(), steps.join(", "))
        }
    };
    Ok(folder.checkpoint(step))
}
