//! What backends talk to: two skins over the same broker calls, with one table of errors.

pub mod cluster;
pub mod config;
pub mod draft;
pub mod grpc;
pub mod http;
mod order;
mod refusals;
