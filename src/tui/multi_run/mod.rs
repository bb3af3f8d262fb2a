//! Owns: the dashboard of several runs: their curves on one chart, grouped by everything but the seed, and a table.
//! Must not know: files, who reads or trains the runs.
//! Invariant: it changes no run; everything that it keeps is bounded.
//!
//! ```text
//!  MultiRunUpdate ─► state ─┐                          keys (one table) ─► input ─► view, or open a run
//!                           ├─► chart_data ─► chart ─┐
//!  view ────────────────────┘        table of runs ──┴─► draw
//! ```
//!
//! - [`state`]: `MultiRunState`, a fold of the reports; [`run_series`]: the series of a run; [`run_groups`]: groups
//! - [`view`]: what is looked at; [`input`]: keys
//! - [`chart_data`]: which curves are shown; [`group_curve`]: means and bands
//! - [`drawn_group`], [`legend`], [`chart`], [`layout`], [`draw`]: the screen. The table is that of `browser`
//! - [`app`]: all of it without a terminal; [`main_loop`]: with one

pub mod app;
pub mod chart;
pub mod chart_data;
pub mod draw;
pub mod drawn_group;
pub mod group_curve;
pub mod input;
pub mod layout;
pub mod legend;
pub mod main_loop;
pub mod run_groups;
pub mod run_series;
pub mod state;
pub mod view;
