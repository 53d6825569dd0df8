//! Two skins over the same broker calls: HTTP + JSON and gRPC.

pub mod config;
