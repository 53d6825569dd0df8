//! The fronts' keys: one section each, and the cross-origin rules they share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration, Size};

/// Which pages of other origins may use the public listener from a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cors")]
pub struct CorsConfig {
    /// Origins such as `https://app.example`, all below a domain as `https://*.app.example`, or "*" for any; empty: only pages of this listener's own origin.
    pub origins: Vec<String>,
    /// Whether browsers may send cookies; needs exact origins, not "*".
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub max_age: Duration,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self { origins: Vec::new(), credentials: false, max_age: Duration::from_secs(600) }
    }
}

/// Server-Sent Events (GET /sse).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Sse")]
pub struct SseConfig {
    /// How long a browser waits before it reconnects (the stream's `retry:`); each is told up to half as long again, so that they spread.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub retry: Duration,
}

impl Default for SseConfig {
    fn default() -> Self {
        Self { retry: Duration::from_secs(2) }
    }
}

/// WebSocket (GET /ws).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "WebSocket")]
pub struct WebSocketConfig {
    /// Largest message a client may send, all its fragments together and decompressed; each connection in the middle of one holds up to this much.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub message_bytes: usize,
    /// Most publishes and history queries of one connection under way; more are not read before one is answered.
    pub requests: usize,
    /// What is at least this long goes out compressed to clients that offer permessage-deflate, once per shard and message; 0B: never.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub compress_bytes: usize,
    /// Most publishes and queries of one connection a second, on average, and twice as many at once; 0: no bound.
    pub publish_rate: u32,
    /// The same for channels subscribed to and left.
    pub subscribe_rate: u32,
    /// The same for what the client says, in bytes.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub byte_rate: u64,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self { message_bytes: 128 << 10, requests: 16, compress_bytes: 1 << 10, publish_rate: 200, subscribe_rate: 200, byte_rate: 1 << 20 }
    }
}

/// Long-poll (GET /poll).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Poll")]
pub struct PollConfig {
    /// How long a poll is held when nothing is there and the request has no `wait=`.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub wait: Duration,
    /// Longest `wait=` a request may ask for.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub wait_max: Duration,
    /// Most messages in one answer; the rest comes with the next poll.
    pub messages: usize,
    /// About how large one answer may grow; a single larger message is sent alone.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub bytes: usize,
}

impl Default for PollConfig {
    fn default() -> Self {
        Self { wait: Duration::from_secs(25), wait_max: Duration::from_secs(60), messages: 500, bytes: 256 << 10 }
    }
}
