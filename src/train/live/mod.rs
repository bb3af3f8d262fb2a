//! Owns: config changes of a running run: files and keys in, decisions out, and writing them down.
//! Must not know: tensors, the loop.
//! Invariant: a change is applied as a whole or not at all, and is recorded before it takes effect.

pub mod controller;
pub mod decision;
pub mod outbox;
pub mod replay;
