//! Owns: plain data that rooms hand each other: commands and events, metrics, rows of tables.
//! Must not know: tensors, terminals, files.
//! Invariant: no type here has behaviour beyond reading and building itself.

pub mod layer_rows;
pub mod metrics;
pub mod multi_run;
pub mod pace;
pub mod protocol;
pub mod requests;
pub mod rollout_rows;
pub mod rows;
pub mod run_list;
pub mod status;
pub mod token_rows;
