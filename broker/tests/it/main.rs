//! The daemon from outside, over real sockets and processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]

mod cli;
mod drain;
mod event_stream;
mod every_front;
mod grpc;
mod http_api;
mod http_conformance;
mod layers;
mod protocol_examples;
mod raw;
mod resume;
mod slow_client;
mod source;
mod support;
mod tidy;
