//! Owns: which model and tokenizer a verb uses: a Hugging Face folder, or a checkpoint of a run.
//! Must not know: what the model is used for.
//! Invariant: the folder of the loaded model is kept, so that every result can name it.

use super::bail_usage;
use super::run_lookup;
use crate::config::{self, Config};
use crate::data::{Dataset, Split, Tokenizer, generation_end_tokens, read_questions};
use crate::device;
use crate::model::{Transformer, hf};
use crate::ops::threads;
use crate::policy::grammar::POLICY_HELP;
use crate::policy::switch::Policy;
use crate::record::run_folder::RunFolder;
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Arguments that choose a model, its device and its tokenizer.
#[derive(Args)]
pub(super) struct ModelArgs {
    /// Model; the same as --model.
    #[arg(value_name = "RUN|DIR", conflicts_with = "model")]
    model_name: Option<String>,
    /// Model: a run, or a folder with config.json and model.safetensors (GPT-2 or Llama).
    ///
    /// A run is a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    /// Its newest checkpoint is used; RUN@STEP names the checkpoint of that step, RUN@best the best one.
    #[arg(long, value_name = "DIR|RUN", default_value = "last")]
    model: String,
    /// Device: auto (CUDA if it is built in and available, else the CPU), cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Tokenizer: words, byte, gpt2 or a tokenizer.json file [default: tokenizer.json in the model's folder]
    #[arg(long, value_name = "NAME|FILE")]
    tokenizer: Option<String>,
    /// Token that ends a generated text, by its text or id; may be given several times [default: what the model's
    /// generation_config.json, config.json or tokenizer files say]
    #[arg(long = "eos", value_name = "TOKEN|ID")]
    end_tokens: Vec<String>,
    /// Use data that was made with another tokenizer than the model's.
    #[arg(long)]
    pub any_tokenizer: bool,
}

/// A policy as typed on the command line. Tokens in it may be texts, which the model's tokenizer resolves.
#[derive(Clone, Debug)]
pub(super) struct PolicyArg(String);

impl FromStr for PolicyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Policy::parse_with_tokens(text, &|_| Some(0)).map(|_| Self(text.to_owned()))
    }
}

pub(super) struct LoadedModel {
    pub model: Transformer,
    pub dir: PathBuf,
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that end a generated text.
    pub end_tokens: Vec<u32>,
}

impl ModelArgs {
    /// Loads the model, without autodiff, and its tokenizer. A tokenizer with more ids than the model is only warned of.
    pub fn load(&self) -> anyhow::Result<LoadedModel> {
        let dir = weights_folder(self.model_name.as_ref().unwrap_or(&self.model))?;
        // The calling thread computes, so it becomes one of the pool.
        threads::enter_pool(0);
        let chosen = device::choose_device(&self.device)?;
        let model = hf::load_with_feedback(&dir, &chosen.device)?;
        let tokenizer_file = dir.join("tokenizer.json");
        let tokenizer = match &self.tokenizer {
            Some(name) => Some(Tokenizer::from_name_or_file(name)?),
            None if tokenizer_file.is_file() => Some(Tokenizer::from_file(&tokenizer_file)?),
            None => None,
        };
        let (found, allowed) = (tokenizer.as_ref().map_or(0, Tokenizer::vocab_size), model.shape().vocab_size);
        if found > allowed {
            tracing::warn!(
                "the tokenizer has {found} ids, but the model in {} only {allowed}: texts with the others are refused",
                dir.display()
            );
        }
        let end_tokens = self.end_tokens(&dir, tokenizer.as_ref())?;
        Ok(LoadedModel { model, dir, tokenizer, end_tokens })
    }

    /// Returns the end tokens of --eos, else those of the model's folder, else that of the tokenizer.
    fn end_tokens(&self, dir: &Path, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Vec<u32>> {
        if !self.end_tokens.is_empty() {
            let parse = |token: &String| match tokenizer {
                Some(tokenizer) => Ok(tokenizer.parse_token(token)?),
                None => token.parse().with_context(|| format!("--eos {token}: without a tokenizer, give an id")),
            };
            return self.end_tokens.iter().map(parse).collect();
        }
        let token_id = |token: &str| tokenizer.and_then(|tokenizer| tokenizer.token_id(token));
        let mut ids = generation_end_tokens(dir, &token_id)?.ids;
        if ids.is_empty() {
            ids.extend(tokenizer.and_then(Tokenizer::eos_id));
        }
        Ok(ids)
    }
}

impl LoadedModel {
    /// Returns the config that the model was trained with; none if it is not a checkpoint of a run.
    pub fn config(&self) -> anyhow::Result<Option<Config>> {
        let file = self.dir.join("run.toml");
        match file.is_file() {
            true => Ok(Some(config::load(&file, &[])?)),
            false => Ok(None),
        }
    }

    /// Resolves the texts in a typed policy to token ids.
    pub fn resolve_policy(&self, typed: &PolicyArg) -> anyhow::Result<Policy> {
        let id = |text: &str| self.tokenizer.as_ref().and_then(|tokenizer| tokenizer.token_id(text));
        Policy::parse_with_tokens(&typed.0, &id).map_err(anyhow::Error::msg)
    }

    /// Encodes a prompt, with the tokenizer's template (Llama's `<s>`) except for runs, which train without it.
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let (tokenizer, vocab_size) = (self.tokenizer()?, self.model.shape().vocab_size);
        let is_run = self.dir.join("run.toml").is_file();
        let ids = if is_run { tokenizer.encode(text)? } else { tokenizer.encode_prompt(text)? };
        match ids.iter().find(|id| **id as usize >= vocab_size) {
            Some(id) => bail!(
                "the text has the token {} (id {id}), which the model in {} does not have: it has {vocab_size} ids",
                tokenizer.token_text(*id),
                self.dir.display()
            ),
            None => Ok(ids),
        }
    }

    /// Fails if `data` was made with another tokenizer than the model's, unless `allowed` (--any-tokenizer).
    pub fn check_tokenizer(&self, data: &Dataset, allowed: bool) -> anyhow::Result<()> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(()) };
        match data.tokenizer_difference(tokenizer) {
            Some(difference) if !allowed => bail!(
                "{} was made with another tokenizer than that of {}: {difference}. Give --any-tokenizer to go on",
                data.path().display(),
                self.dir.display()
            ),
            _ => Ok(()),
        }
    }

    /// Returns the tokenizer; an error says how to name one.
    pub fn tokenizer(&self) -> anyhow::Result<&Tokenizer> {
        let missing = || format!("{} has no tokenizer.json: name one with --tokenizer", self.dir.display());
        self.tokenizer.as_ref().with_context(missing)
    }

    /// Opens the dataset that the model was trained on; none if the model is not a checkpoint of a run.
    pub fn dataset(&self) -> anyhow::Result<Option<Dataset>> {
        let Some(config) = self.config()? else { return Ok(None) };
        let dir = Path::new(&config.data.dir);
        if !dir.is_dir() {
            bail!("{}, the dataset of the model's run, does not exist: name other data", dir.display());
        }
        Ok(Some(Dataset::open(dir)?))
    }
}

pub(super) fn policy_help() -> String {
    format!("Policy that decides when to think:\n{POLICY_HELP}")
}

/// Returns the first shard of the split, if it holds the questions that it was made from.
pub(super) fn questions_file(dataset: &Dataset, split: Split) -> Option<PathBuf> {
    let shard = dataset.shard_paths(split).first().cloned();
    shard.filter(|shard| read_questions(shard, 1).is_ok())
}

/// Finds the folder with the weights that `name` means: a model folder, RUN or RUN@STEP.
pub(super) fn weights_folder(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    let (run, step) = run_lookup::run_folder_and_step(name)?;
    let folder = RunFolder::open(&run)?;
    let steps = folder.checkpoint_steps();
    let step = match (step, steps.last()) {
        (Some(step), _) if steps.contains(&step) => step,
        (None, Some(last)) => *last,
        (_, None) => bail!("{} has no checkpoint yet", run.display()),
        (Some(step), Some(_)) => {
            let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
            bail_usage!("{} has no checkpoint of step {step}; it has {}", run.display(), steps.join(", "))
        }
    };
    Ok(folder.checkpoint_folder(step))
}
