//! The daemon from outside, over real sockets and processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its scene shall stop there")]
#![allow(clippy::large_futures, reason = "a test runs once and may keep its buffers on the stack")]

mod admin;
mod auth;
mod cli;
mod cli_clients;
mod cluster;
mod conflate;
mod drain;
mod embedding;
mod event_stream;
mod every_front;
mod grpc;
mod hostile;
mod http_api;
mod http_conformance;
mod http_stream;
mod layers;
mod limits_table;
mod log;
mod presence;
mod protocol_examples;
mod raw;
mod refusals_log;
mod reload;
mod resume;
mod seen;
mod slow_client;
mod source;
mod story;
mod support;
mod tidy;
mod tls;
mod websocket;
mod websocket_codec;
mod ws_echo;
