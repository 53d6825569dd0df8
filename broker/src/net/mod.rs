//! Listeners and connections.

pub mod config;
