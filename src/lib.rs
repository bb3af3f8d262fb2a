//! coconut-lab: a terminal research workbench for parallel COCONUT training of language models.
//!
//! The modules, in the order in which a run uses them (ARCHITECTURE.md has the dependency rules):
//!
//! - [`cli`] parses the command line.
//! - [`config`] turns a recipe and its overrides into checked values.
//! - [`train`] runs the trainer on its own thread. It opens token shards with [`data`], selects a [`device`] and
//!   builds a [`model`]. Then it runs the passes of [`recycle`] and updates the weights, step by step.
//! - [`recycle`] is the core idea of the project; read it first.
//! - [`curriculum`] has the stages, rows and passes of the original training after pre-training.
//! - [`ops`] has the tensor operations that take most of the time.
//! - [`rng`] has stateless random streams.
//! - [`generate`] generates text and latents with a trained model, as a [`policy`] decides.
//! - [`rl`] has advantages, losses and metrics of reinforcement learning, as plain numbers.
//! - [`schema`] defines what rooms hand each other: commands, events, metrics, rows of tables.
//! - [`record`] writes what happens to the run folder, and reads it.
//! - [`run_list`] sorts and filters lists of runs.
//! - [`figure`] draws publication plots.
//! - [`tui`] shows the events as a dashboard; without a terminal, [`cli`] prints them.
//! - [`mod@bench`] times and profiles training steps without a run.
//! - [`experiment`] plans arms by seeds, knows their runs by their folders, and judges what they show.
//! - [`statistics`] has the intervals and tests that experiments need, as plain numbers.
//! - [`verify`] checks model and passes against golden numbers.

pub mod bench;
pub mod cli;
pub mod config;
pub mod curriculum;
pub mod data;
pub mod device;
pub mod experiment;
pub mod figure;
pub mod files;
pub mod generate;
pub mod model;
pub mod ops;
pub mod policy;
pub mod record;
pub mod recycle;
pub mod rl;
pub mod rng;
pub mod run_list;
pub mod schema;
pub mod statistics;
pub mod train;
pub mod tui;
pub mod verify;
