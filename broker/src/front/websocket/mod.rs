//! WebSocket (RFC 6455): the handshake, and the codec of its frames.

pub mod codec;
mod handshake;

pub use handshake::{PROTOCOL, Refusal, Upgrade};
