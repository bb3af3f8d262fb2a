//! coconut-lab, the map of the rooms.
pub mod config;
pub mod message;
pub mod model;
pub mod record;
pub mod recycle;
pub mod verify;
