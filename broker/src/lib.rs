//! Tidings: a real-time push broker.

pub mod admin;
pub mod api;
pub mod auth;
pub mod broker;
pub mod clock;
pub mod close;
pub mod cluster;
pub mod config;
pub mod control;
#[cfg(feature = "daemon")]
pub mod demo;
pub mod drain;
pub mod error;
pub mod front;
mod host;
pub mod hub;
pub mod journal;
pub mod limits;
pub mod log;
pub mod message;
pub mod metrics;
pub mod net;
pub mod node;
pub mod presence;
pub mod session;
pub mod shard;
pub mod tls;
pub mod wire;
