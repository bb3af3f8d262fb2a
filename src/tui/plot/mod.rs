//! Owns: plots in cells: axes, curves, marks, rows of tokens.
//! Must not know: panels, keys, the terminal.
//! Invariant: a plot is a function of its data and its rectangle.

pub mod axis;
pub mod chart;
pub mod raster;
pub mod token_grid;
