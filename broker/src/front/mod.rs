//! The ways in for subscribers.

pub mod config;
