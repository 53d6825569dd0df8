//! Health and metrics for operators.

pub mod config;
