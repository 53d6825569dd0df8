//! What a shard counts. One thread writes, so the hot path pays a load and a store per figure.

use std::time::Duration;

use super::cell::{Cell, Durations, Writers};
use super::labels::{Front, ProtocolError};
use crate::close::CloseReason;
use crate::log::GapReason;

/// The counters of one shard, or of everything that runs off the shards.
///
/// Those of a shard must be written by that shard's thread only: two writers would lose counts (nothing worse).
#[derive(Debug)]
pub struct ShardMetrics {
    writers: Writers,
    pub(super) connections_accepted: Cell,
    pub(super) connections_closed: Cell,
    pub(super) protocol_errors: [Cell; ProtocolError::ALL.len()],
    pub(super) fronts: [FrontCells; Front::ALL.len()],
    pub(super) writes: Cell,
    pub(super) pages_read: Cell,
    pub(super) page_messages_read: Cell,
    pub(super) inbox_overflows: Cell,
    pub(super) taken: Durations,
    pub(super) busy_micros: Cell,
    pub(super) ring_bytes: Cell,
    pub(super) cache_bytes: Cell,
    pub(super) unsent_bytes: Cell,
    pub(super) behind_longest: Cell,
    pub(super) lacked_most: Cell,
    pub(super) listeners_joined: Cell,
    pub(super) listeners_left: Cell,
}

/// The part that is kept per front.
#[derive(Debug, Default)]
pub(super) struct FrontCells {
    pub(super) sessions_opened: Cell,
    pub(super) sessions_closed: [Cell; CloseReason::ALL.len()],
    pub(super) messages_delivered: Cell,
    pub(super) bytes_delivered: Cell,
    pub(super) fell_behind: Cell,
    pub(super) caught_up: Cell,
    pub(super) behind_began: Cell,
    pub(super) behind_ended: Cell,
    pub(super) gaps: [Cell; GapReason::ALL.len()],
    pub(super) resumed: Cell,
    pub(super) resumed_with_gap: Cell,
    pub(super) latency: Durations,
}

impl ShardMetrics {
    pub(super) fn new(writers: Writers) -> Self {
        Self {
            writers,
            connections_accepted: Cell::default(),
            connections_closed: Cell::default(),
            protocol_errors: Default::default(),
            fronts: Default::default(),
            writes: Cell::default(),
            pages_read: Cell::default(),
            page_messages_read: Cell::default(),
            inbox_overflows: Cell::default(),
            taken: Durations::default(),
            busy_micros: Cell::default(),
            ring_bytes: Cell::default(),
            cache_bytes: Cell::default(),
            unsent_bytes: Cell::default(),
            behind_longest: Cell::default(),
            lacked_most: Cell::default(),
            listeners_joined: Cell::default(),
            listeners_left: Cell::default(),
        }
    }

    /// A socket was accepted and is owned here from now on.
    pub fn connection_accepted(&self) {
        self.connections_accepted.add(self.writers, 1);
    }

    /// A socket of ours is gone.
    pub fn connection_closed(&self) {
        self.connections_closed.add(self.writers, 1);
    }

    /// A peer broke the protocol it speaks.
    pub fn protocol_error(&self, kind: ProtocolError) {
        self.protocol_errors[kind.index()].add(self.writers, 1);
    }

    /// A client began to listen.
    pub fn session_opened(&self, front: Front) {
        self.front(front).sessions_opened.add(self.writers, 1);
    }

    /// A client's stay ended.
    pub fn session_closed(&self, front: Front, reason: CloseReason) {
        self.front(front).sessions_closed[reason.index()].add(self.writers, 1);
    }

    /// Messages were handed to sockets: how many, and how many bytes of the wire form.
    #[inline]
    pub fn delivered(&self, front: Front, messages: u64, bytes: u64) {
        let cells = self.front(front);
        cells.messages_delivered.add(self.writers, messages);
        cells.bytes_delivered.add(self.writers, bytes);
    }

    /// `weight` deliveries took this long from the accepted publish to the written socket.
    #[inline]
    pub fn latency(&self, front: Front, took: Duration, weight: u64) {
        self.front(front).latency.observe(self.writers, took, weight);
    }

    /// So many system calls wrote to sockets.
    #[inline]
    pub fn wrote(&self, calls: u64) {
        self.writes.add(self.writers, calls);
    }

    /// A session that stood at the head is behind.
    pub fn fell_behind(&self, front: Front) {
        self.front(front).fell_behind.add(self.writers, 1);
    }

    /// A session that fell behind reached the head again.
    pub fn caught_up(&self, front: Front) {
        self.front(front).caught_up.add(self.writers, 1);
    }

    /// One page with this many messages was read from a log for someone who is behind.
    pub fn page_read(&self, messages: u64) {
        self.pages_read.add(self.writers, 1);
        self.page_messages_read.add(self.writers, messages);
    }

    /// A client was told that messages are missing.
    pub fn gap(&self, front: Front, reason: GapReason) {
        self.front(front).gaps[reason.index()].add(self.writers, 1);
    }

    /// A client came back with a cursor; `recovered` when nothing was missing.
    pub fn resumed(&self, front: Front, recovered: bool) {
        let cells = self.front(front);
        let cell = if recovered { &cells.resumed } else { &cells.resumed_with_gap };
        cell.add(self.writers, 1);
    }

    /// The inbox was full: the shard is behind and reads the log instead.
    ///
    /// The publisher's thread sees this, so it is always counted atomically.
    pub fn inbox_overflowed(&self) {
        self.inbox_overflows.add(Writers::Many, 1);
    }

    /// A message reached the shard this long after it was accepted.
    #[inline]
    pub fn taken(&self, took: Duration) {
        self.taken.observe(self.writers, took, 1);
    }

    /// How long the shard's thread was at work since it began.
    pub fn worked(&self, busy: Duration) {
        self.busy_micros.set(busy.as_micros() as u64);
    }

    /// Bytes that the shard holds: of messages in its rings, of those read from the log, and of rests that sockets did not take.
    pub fn holds(&self, ring_bytes: u64, cache_bytes: u64, unsent_bytes: u64) {
        self.ring_bytes.set(ring_bytes);
        self.cache_bytes.set(cache_bytes);
        self.unsent_bytes.set(unsent_bytes);
    }

    /// A session is not caught up any more, or not yet.
    pub fn behind_began(&self, front: Front) {
        self.front(front).behind_began.add(self.writers, 1);
    }

    /// A session that was not caught up is, or left.
    pub fn behind_ended(&self, front: Front) {
        self.front(front).behind_ended.add(self.writers, 1);
    }

    /// For how many seconds the session that has been behind for longest has been so; 0 when none is.
    pub fn behind_longest(&self, seconds: u64) {
        self.behind_longest.set(seconds);
    }

    /// How many messages the session lacks that lacks most; 0 when none is behind.
    pub fn lacked_most(&self, messages: u64) {
        self.lacked_most.set(messages);
    }

    /// Sessions began to listen to channels: one per session and channel.
    pub fn listeners_joined(&self, channels: u64) {
        self.listeners_joined.add(self.writers, channels);
    }

    /// Sessions left channels: one per session and channel.
    pub fn listeners_left(&self, channels: u64) {
        self.listeners_left.add(self.writers, channels);
    }

    fn front(&self, front: Front) -> &FrontCells {
        &self.fronts[front.index()]
    }
}
