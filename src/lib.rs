//! coconut-lab, the map of the rooms.
pub mod cli;
pub mod config;
pub mod data;
pub mod message;
pub mod model;
pub mod record;
pub mod recycle;
pub mod train;
pub mod tui;
pub mod verify;
