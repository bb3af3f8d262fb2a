//! Owns: which runs a list shows, in which order and with which columns.
//! Must not know: files, terminals, how a run is read or a list drawn.
//! Invariant: pure; the command line and the dashboard sort and filter with the same functions.
//!
//! - [`mod@column`]: what a list can show, sort and filter by: facts, metrics, config keys
//! - [`filter`]: conditions that a run must meet; [`sort`]: the order of runs

pub mod column;
pub mod filter;
pub mod sort;
