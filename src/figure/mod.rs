//! Owns: publication plots: curves over an axis, and estimates with intervals, as SVG, PNG and PDF.
//! Must not know: runs, metrics, files.
//! Invariant: the same data give the same text; values that are not finite are gaps, never errors.
//!
//! - [`line_plot`]: [`Figure`], curves with bands; [`interval_plot`]: [`IntervalPlot`], a row for each estimate
//! - [`seed_curves`]: the mean over seeds
//! - `ticks`: ranges and ticks of axes; `frame`: grid, ticks and labels around a plot; `svg`: shapes, colours and text
//! - [`image`]: SVG to PNG and PDF

mod frame;
pub mod image;
pub mod interval_plot;
pub mod line_plot;
pub mod seed_curves;
mod svg;
mod ticks;

pub use image::{FigureError, svg_to_pdf, svg_to_png};
pub use interval_plot::{IntervalPlot, IntervalRow, ZeroLine};
pub use line_plot::{Figure, FigureAxis, FigureSeries};
pub use seed_curves::{BAND_NAME, SeedCurves};
pub use ticks::AxisScale;
