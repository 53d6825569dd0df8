//! The node's bounds: how much of everything it takes before it says no.

mod arriving;
mod bucket;
mod callers;
mod crowd;
mod users;
mod visitors;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration, Size};
use crate::error::{Error, ErrorCode};
use crate::metrics::Rate;

pub use arriving::{Arriving, FREE_BYTES, counted, gave_way};
pub use bucket::Bucket;
pub use callers::{Caller, Callers};
pub use crowd::{Crowd, Place};
pub use users::{UserPlace, Users};
pub(crate) use visitors::network_of;
pub use visitors::{ClientAddress, ClientHeader, Network, TooMany, UNREADABLE, Visit, Visitors};

/// Bounds of the whole node and of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct Config {
    /// Most connections at once on the public listener; 0: as many as open files allow. Each costs about 1 KiB, and its kernel buffers.
    pub connections: u32,
    /// Most connections at once to this node from one IPv4 address or one IPv6 network of 64 bits, and most streams and calls at once for a client behind a trusted proxy; 0: no bound. Many people may share an address.
    pub connections_per_address: u32,
    /// Most connections at once of one user, as tokens and signed addresses name it, over all fronts of this node; 0: no bound. One person may have many devices and tabs.
    pub connections_per_user: u32,
    /// Most connections that have not sent their first request yet, of the public listener, and at most a quarter of all of each gRPC listener; past it the one that waited longest is refused.
    pub connections_pending: u32,
    /// Most channels known at once; a publish or subscribe that would make one more is refused.
    pub channels: u32,
    /// Most channels that are only listened to, with nothing ever published; the rest of `channels` is for publishers.
    pub channels_silent: u32,
    /// Most history of all channels together; past it the oldest messages of the same slot, or else of others, give way to a new one.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub history_bytes: u64,
    /// Most bytes that wait for slow readers, in unsent parts of streams and in unread answers, each; past it whoever has been slow longest is cut.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub unsent_bytes: u64,
    /// Most bytes of requests that have begun and are not whole, in bodies and in messages of gRPC calls and WebSocket clients, and of publishes that are whole and wait; past it the one that has waited longest is refused. Of those that wait one gRPC connection may have an eighth, and 16 MiB. What comes in of a gRPC publish stream whose acks are not taken counts, too, as 512 KiB; past the bound the connection that has left them longest is cut.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub incoming_bytes: u64,
    /// Most publish ids remembered to recognise repeats; past it the oldest are forgotten early.
    pub dedupe_ids: u32,
    /// Most publishes a second of one key or user over all its connections to this node, on average, and twice as many at once; who has no name is bounded by its address, as for `connections_per_address`, or over `grpc.unix` by the user who runs it. Each node of a cluster counts for itself: divide what you want by how many there are. 0: no bound.
    pub publish_rate: u32,
    /// The same for channels subscribed to, for pages of history and of members and for `POST /v1/explain`, but for those that a key asks for.
    pub subscribe_rate: u32,
    /// The same for bytes of what is published, payloads and headers, once for each channel; 0B: no bound.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub byte_rate: u64,
    /// Most tokens and signed addresses a second from one IPv4 address or one IPv6 network of 64 bits that are looked at and refused, on average, and twice as many at once; past it those that come from there are refused without being looked at, good ones too, and keys and certificates are not. Many people may share an address: list your proxies in `http.trusted_proxies` first. 0: no bound.
    pub failure_rate: u32,
    /// Most keys, users and addresses remembered for each of these rates, at about 100 B each; past it those are forgotten that did least, and begin anew.
    pub rate_callers: u32,
    /// Longest a publish waits for room before it is refused.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub publish_wait: Duration,
    /// Most channels in one subscribe.
    pub subscribe_channels: usize,
    /// Most slots in one subscribe, at most 16 as a cursor holds no more; channels that share a {tag} share a slot.
    pub subscribe_slots: usize,
    /// Most messages in one batch, and in one page of history.
    pub batch_messages: usize,
}

/// What somebody is told who asks for more than a rate allows, and when to ask again.
#[must_use]
pub fn rate_exceeded(rate: Rate, limit: u64, wait: Duration) -> Error {
    // Rounded up: a moment too early is one more refusal.
    let wait = Duration::from_millis(wait.as_millis() as u64 + 1);
    let (key, ms) = (rate.key(), wait.as_millis());
    Error::new(ErrorCode::Overloaded, format!("more than {limit} a second ({key}); ask again in {ms} ms")).with_wait(wait)
}

/// Descriptors kept back from connections: listeners, logs, the runtimes' own, and some to answer health checks with.
pub const OPEN_FILES_RESERVED: u64 = 128;

/// Most gRPC connections. Backends are few and share a connection among many calls.
const GRPC_CONNECTIONS_MAX: u64 = 1024;

/// Descriptors that each shard's runtime takes in every file table, also in those of the others.
const OPEN_FILES_PER_SHARD: u64 = 4;

/// How many connections one shard holds when it has a file table of its own for so many open files.
#[must_use]
pub fn connections_max_of_own_table(open_files: u64, shards: usize) -> u64 {
    open_files.saturating_sub(OPEN_FILES_RESERVED + OPEN_FILES_PER_SHARD * shards as u64).max(1)
}

/// How many gRPC connections the node takes when the process may have so many open files: a share of their own, so that
/// neither listener can use up what the other needs.
#[must_use]
pub fn grpc_connections_max(open_files: u64) -> u64 {
    (open_files / 8).clamp(1, GRPC_CONNECTIONS_MAX)
}

/// How many of them may have called nothing yet, of each listener: a part, so that who calls always finds room.
#[must_use]
pub fn grpc_connections_pending(pending: u32, open_files: u64) -> u64 {
    (grpc_connections_max(open_files) / 4).clamp(1, u64::from(pending).max(1))
}

impl Config {
    /// How many connections the public listener takes when the process may have so many open files.
    #[must_use]
    pub fn connections_max(&self, open_files: u64) -> u64 {
        let possible = open_files.saturating_sub(OPEN_FILES_RESERVED + grpc_connections_max(open_files)).max(1);
        self.bounded(possible)
    }

    /// As [`Config::connections_max`], for shards that each have a file table of their own.
    #[must_use]
    pub fn connections_max_of_own_tables(&self, open_files: u64, shards: usize) -> u64 {
        self.bounded(connections_max_of_own_table(open_files, shards).saturating_mul(shards as u64))
    }

    fn bounded(&self, possible: u64) -> u64 {
        if self.connections == 0 { possible } else { possible.min(self.connections.into()) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 0,
            connections_per_user: 0,
            connections_pending: 1024,
            channels: 1_000_000,
            channels_silent: 500_000,
            history_bytes: 1 << 30,
            unsent_bytes: 256 << 20,
            incoming_bytes: 128 << 20,
            dedupe_ids: 1_000_000,
            publish_rate: 0,
            subscribe_rate: 0,
            byte_rate: 0,
            failure_rate: 0,
            rate_callers: 100_000,
            publish_wait: Duration::from_secs(2),
            subscribe_channels: 64,
            subscribe_slots: 16,
            batch_messages: 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_by_the_key_and_by_open_files_whichever_is_less() {
        let limits = |connections| Config { connections, ..Config::default() };
        assert_eq!(limits(0).connections_max(1024), 768);
        assert_eq!(limits(100).connections_max(1024), 100);
        assert_eq!(limits(2000).connections_max(1024), 768);
        assert_eq!(limits(0).connections_max(10), 1);
        assert_eq!([10, 1024, 1 << 20].map(grpc_connections_max), [1, 128, 1024]);
        assert_eq!([10, 1024, 1 << 20].map(|files| grpc_connections_pending(100, files)), [1, 32, 100]);
    }

    #[test]
    fn with_own_tables_open_files_count_for_each_shard() {
        assert_eq!(connections_max_of_own_table(20_000, 30), 20_000 - 128 - 120);
        assert_eq!(Config::default().connections_max_of_own_tables(20_000, 30), 30 * 19_752);
        assert_eq!(Config { connections: 500, ..Config::default() }.connections_max_of_own_tables(20_000, 30), 500);
        assert_eq!(connections_max_of_own_table(100, 64), 1);
    }
}
