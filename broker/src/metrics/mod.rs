//! What the broker counts, as verbs. The only room with metric names (`export.rs`); nothing here is global, so several
//! brokers in one process count for themselves.
//!
//! Hot figures live in one padded group per shard, written by that shard's thread alone and summed when someone asks.

mod bounds;
mod cell;
mod cluster;
mod export;
mod labels;
mod namespaces;
mod page;
mod reload;
mod said;
mod shard;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::bounds::Bound;
use self::cell::{Cell, Durations, Writers};
pub use self::cluster::{ClusterFigures, Peer, Queued, Standing, Traffic};
pub use self::labels::{Denied, Front, Handshake, Listener, Ordered, ProtocolError, Rate, Reach, RefusedConnection, Source, Stage};
pub use self::namespaces::NamespaceFigures;
pub use self::page::Named;
pub use self::said::{Complaints, Sampled};
pub use self::shard::ShardMetrics;
pub use self::snapshot::{Latency, Snapshot};
use crate::clock::Clock;
use crate::error::ErrorCode;

/// Everything one node counts.
pub struct Metrics {
    clock: Clock,
    shards: Box<[CachePadded<ShardMetrics>]>,
    off_shard: CachePadded<ShardMetrics>,
    publishes: [PublishCells; Source::ALL.len()],
    publish_wait: Durations,
    stages: [Durations; Stage::ALL.len()],
    connections_refused: [Cell; RefusedConnection::ALL.len()],
    rates_exceeded: [Cell; Rate::ALL.len()],
    said: said::Said,
    evicted: Cell,
    denied: [Cell; Denied::ALL.len()],
    orders: [[Cell; Reach::ALL.len()]; Ordered::ALL.len()],
    shards_died: Cell,
    probes_passed: Cell,
    probes_failed: Cell,
    /// Milliseconds of the clock when a probe passed last; 0 before the first, so that the age counts from the start.
    probe_passed_at: Cell,
    open_files_limit: Cell,
    bounds: [Cell; Bound::ALL.len()],
    reloads: reload::ReloadCells,
    tls: [tls::TlsCells; Listener::ALL.len()],
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
}

#[derive(Debug, Default)]
struct PublishCells {
    kept: Cell,
    duplicates: Cell,
    errors: [Cell; ErrorCode::ALL.len()],
    bytes: Cell,
}

/// What others keep count of anyway, read at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Connections that have asked for nothing yet.
    pub connections_pending: u64,
    /// Connections of gRPC that have called nothing yet, of the listener with most.
    pub grpc_connections_pending: u64,
    /// Connections of the admin listener.
    pub admin_connections: u64,
    /// Connections of the address that has most, where these are bounded.
    pub connections_per_address: u64,
    /// Connections of the user who has most, where these are bounded.
    pub connections_per_user: u64,
    /// Listeners in another program's server.
    pub guests: u64,
    /// Messages that wait for each shard, or were taken by it and are not delivered to everyone.
    pub inbox_depths: Vec<u64>,
    /// New sockets and errands that wait for the shard for which most wait.
    pub shard_commands: u64,
    /// Channels with state on this node.
    pub channels: u64,
    /// Of these, those that nobody has published to.
    pub channels_silent: u64,
    /// Messages kept in all histories.
    pub history_messages: u64,
    /// Bytes of all histories, overhead included.
    pub history_bytes: u64,
    /// Publish ids remembered.
    pub dedupe_ids: u64,
    /// How often ids were forgotten before their time, since the start.
    pub dedupe_shortened: u64,
    /// Who is on channels.
    pub presence: PresenceGauges,
    /// Sessions that can be found by their user or token.
    pub sessions_named: u64,
    /// Users and tokens that are revoked.
    pub revocations: u64,
    /// Keys, users and addresses that are remembered, of the rate with most.
    pub rate_callers: u64,
    /// Records of what happened to clients, or refusals: whichever are more.
    pub journal: u64,
    /// The log of the process, where the node knows it.
    pub log: LogFigures,
    /// Whether this node should get traffic.
    pub ready: bool,
    /// Whether this node is leaving.
    pub draining: bool,
    /// Bytes of answers that were asked for and are still to be read.
    pub unread_bytes: u64,
    /// Bytes of requests that have begun and are not whole.
    pub incoming_bytes: u64,
    /// Sessions that are behind and have no socket that a shard owns, in the order of [`Front::ALL`]. The shards count all others.
    pub behind_elsewhere: [u64; Front::ALL.len()],
    /// For how long the one of them that has been so for longest has been behind.
    pub behind_elsewhere_longest: Duration,
    /// How many messages the one of them lacks that lacks most.
    pub behind_elsewhere_lacked_most: u64,
    /// The namespaces of the configuration.
    pub namespaces: Vec<NamespaceFigures>,
    /// The cluster as this node sees it; `None` for a node that is alone.
    pub cluster: Option<Box<ClusterFigures>>,
}

/// Who is on channels, as their homes know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceGauges {
    /// Members with connections to this node, over all channels.
    pub connected: u64,
    /// Members that this node keeps at all.
    pub held: u64,
    /// Members of the channels whose home is here.
    pub members: u64,
    /// Bytes that these take.
    pub bytes: u64,
    /// Members that joined channels whose home is here, since the start.
    pub joined: u64,
    /// Members that left them, since the start.
    pub left: u64,
    /// Members that were one too many, since the start.
    pub refused: u64,
}

/// What the log of a process did with its lines. Counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Lines that wait to be written.
    pub waiting: u64,
    /// Most that may.
    pub waiting_max: u64,
    /// Lines left out because there were too many of their kind in a second.
    pub left_out_of_floods: u64,
    /// Lines left out because as many waited as may: nobody reads the log fast enough.
    pub left_out_at_full: u64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counters for this many shards, all at zero.
    #[must_use]
    pub fn new(shards: usize, clock: Clock) -> Arc<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let process = metrics_process::Collector::default();
        export::describe(&recorder, &process);
        Arc::new(Self {
            clock,
            shards: (0..shards).map(|_| CachePadded::new(ShardMetrics::new(Writers::One))).collect(),
            off_shard: CachePadded::new(ShardMetrics::new(Writers::Many)),
            publishes: Default::default(),
            publish_wait: Durations::default(),
            stages: Default::default(),
            connections_refused: Default::default(),
            rates_exceeded: Default::default(),
            said: said::Said::default(),
            evicted: Cell::default(),
            denied: Default::default(),
            orders: Default::default(),
            shards_died: Cell::default(),
            probes_passed: Cell::default(),
            probes_failed: Cell::default(),
            probe_passed_at: Cell::default(),
            open_files_limit: Cell::default(),
            bounds: Default::default(),
            reloads: Default::default(),
            tls: Default::default(),
            recorder,
            handle,
            process,
        })
    }

    /// The counters of shard `n`, for that shard's thread.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn shard(&self, n: usize) -> &ShardMetrics {
        &self.shards[n]
    }

    /// The counters of everything that runs off the shards (gRPC, embedders): any thread may write.
    #[must_use]
    pub fn off_shard(&self) -> &ShardMetrics {
        &self.off_shard
    }

    /// A publish was answered: `Ok(true)` for a recognised repeat. `bytes` is the payload's size.
    pub fn published(&self, source: Source, outcome: Result<bool, ErrorCode>, bytes: u64) {
        let cells = &self.publishes[source.index()];
        match outcome {
            Ok(false) => {
                cells.kept.add(Writers::Many, 1);
                cells.bytes.add(Writers::Many, bytes);
            }
            Ok(true) => cells.duplicates.add(Writers::Many, 1),
            Err(code) => cells.errors[code.index()].add(Writers::Many, 1),
        }
    }

    /// A publish had to wait this long for room.
    pub fn publish_waited(&self, took: Duration) {
        self.publish_wait.observe(Writers::Many, took, 1);
    }

    /// A message reached a stage of its way through the cluster so long after it was accepted. Takes locked instructions: for one
    /// message in several.
    pub fn reached(&self, stage: Stage, took: Duration) {
        self.stages[stage.index()].observe(Writers::Many, took, 1);
    }

    /// A connection was turned away. For limits see [`Metrics::turned_away`].
    pub fn connection_refused(&self, reason: RefusedConnection) {
        self.connections_refused[reason.index()].add(Writers::Many, 1);
    }

    /// Somebody asked for more than a rate allows, and was refused.
    pub fn rate_exceeded(&self, rate: Rate) {
        self.rates_exceeded[rate.index()].add(Writers::Many, 1);
    }

    /// A peer broke the protocol it speaks, as seen by a room that knows no shard.
    pub fn protocol_error(&self, kind: ProtocolError) {
        self.off_shard.protocol_error(kind);
    }

    /// Messages left the history: by count, age, bytes or a clear.
    pub fn evicted(&self, messages: u64) {
        self.evicted.add(Writers::Many, messages);
    }

    /// Somebody was not let in, or not allowed what it asked for.
    pub fn denied(&self, cause: Denied) {
        self.denied[cause.index()].add(Writers::Many, 1);
    }

    /// A backend's order came so far.
    pub fn ordered(&self, order: Ordered, reach: Reach) {
        self.orders[order.index()][reach.index()].add(Writers::Many, 1);
    }

    /// A shard ended without having been told to.
    pub fn shard_died(&self) {
        self.shards_died.add(Writers::Many, 1);
    }

    /// The self-probe ended.
    pub fn probed(&self, passed: bool) {
        if passed {
            self.probes_passed.add(Writers::Many, 1);
            self.probe_passed_at.set(self.clock.mono().as_millis() as u64);
        } else {
            self.probes_failed.add(Writers::Many, 1);
        }
    }

    /// How many files this process may have open (the soft limit).
    pub fn open_files(&self, limit: u64) {
        self.open_files_limit.set(limit);
    }

    /// How much of something there may be.
    pub fn bound(&self, bound: Bound, limit: u64) {
        self.bounds[bound.index()].set(limit);
    }

    /// Housekeeping of the exporter; to be called every few seconds, scraped or not.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    #[must_use]
    pub fn render(&self, gauges: &Gauges) -> String {
        export::collect(self, gauges);
        let mut text = self.handle.render();
        export::append(self, gauges, &mut text);
        text
    }

    fn groups(&self) -> impl Iterator<Item = &ShardMetrics> {
        self.shards.iter().chain([&self.off_shard]).map(|padded| &**padded)
    }
}
