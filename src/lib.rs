//! coconut-lab: a terminal research workbench for parallel COCONUT training of language models.
//!
//! The map of the rooms, in the order of a run (ARCHITECTURE.md has the rules):
//!
//! [`cli`] takes a verb. [`config`] turns a recipe and its overrides into checked numbers. [`train`] starts the trainer
//! on a thread of its own: it opens token shards with [`data`], builds a [`model`], and then, step after step, runs the
//! passes of [`recycle`] (the idea itself: read that room first) and updates. What takes the time is in [`ops`]. What happens is recorded by [`record`] and
//! said as [`message`]s, which the dashboard in [`tui`], or the headless screen in `cli`, shows. [`verify`] holds model
//! and passes to golden numbers from elsewhere.

pub mod cli;
pub mod config;
pub mod data;
pub mod message;
pub mod model;
pub mod ops;
pub mod record;
pub mod recycle;
pub mod rng;
pub mod think;
pub mod train;
pub mod tui;
pub mod verify;
