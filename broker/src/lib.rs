//! Tidings: a real-time push broker.

pub mod admin;
pub mod api;
pub mod clock;
pub mod close;
pub mod error;
pub mod log;
pub mod message;
pub mod metrics;
pub mod wire;
