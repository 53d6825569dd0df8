//! Threads that own sockets.

pub mod config;
