//! Owns: config changes of a running run: files and keys in, decisions out, and writing them down.
//! Must not know: tensors, the loop.
//! Invariant: a change is applied as a whole or not at all, and its record is written before the files.

pub mod controller;
pub mod decision;
pub mod outbox;
pub mod replay;
