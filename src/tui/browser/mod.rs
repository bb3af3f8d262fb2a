//! Owns: the browser of runs: a list that is sorted, filtered and marked, and the requests that its keys make.
//! Must not know: files, the terminal, who reads the runs.
//! Invariant: it draws at any size, and a request about runs names them all before anything is lost.
//!
//! - [`state`]: `RunBrowser`: rows, order, selection, marks; [`input`]: keys, [`prompt`]: what is typed
//! - [`layout`]: where things are; [`columns`]: which columns fit; [`table`]: runs as lines; [`draw`]: the list;
//!   [`overlays`]: help, dialog, comparison

pub mod columns;
pub mod draw;
pub mod input;
pub mod layout;
pub mod overlays;
pub mod prompt;
pub mod state;
pub mod table;
