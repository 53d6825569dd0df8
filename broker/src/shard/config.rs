//! The shards' keys.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration, Size};

/// The threads that own connections. How many there are is the top-level key `shards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Shard")]
pub struct Config {
    /// Messages waiting for one shard; when full, the shard reads the log instead and nobody loses anything.
    pub inbox: usize,
    /// What a session that is behind reads from the log at a time.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub page_bytes: usize,
    /// Encoded messages kept ready for slower sessions, per shard; past it they read the log and encode again.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub ring_bytes: usize,
    /// Shortest silence on a stream before a heartbeat; each stream draws its own between the two.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub heartbeat_min: Duration,
    /// Longest silence on a stream before a heartbeat; keep it below what proxies on the way allow.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub heartbeat_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            inbox: 1024,
            page_bytes: 64 << 10,
            ring_bytes: 8 << 20,
            heartbeat_min: Duration::from_secs(15),
            heartbeat_max: Duration::from_secs(25),
        }
    }
}
