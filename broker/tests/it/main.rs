//! The daemon from outside, over real sockets and processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]

mod cli;
mod every_front;
mod grpc;
mod http_api;
mod http_stream;
mod layers;
mod protocol_examples;
mod slow_client;
mod source;
mod support;
mod tidy;
mod websocket_codec;
