//! Owns: the dashboard as a file: SVG or text.
//! Must not know: the terminal.
//! Invariant: the same run, size and keys give the same file.

pub mod several_runs;
pub mod snapshot;
pub mod svg;
pub mod text_export;
