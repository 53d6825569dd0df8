//! One node's process: its view, and log and replica of each slot.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::clock::Moment;
use tidings::cluster::core::{Channels, Context, Input, Node, NodeId, Output, Replica, Settings};
use tidings::log::{ChannelKey, Epoch, NamespaceId, Retention, Slot, SlotLog, Tag};
use tidings::message::ChannelName;

/// Everything is kept: retention is the log's own tests' business.
pub(crate) const KEPT: Retention = Retention { size: 100_000, ttl: Duration::from_secs(3600), bytes: u64::MAX };

#[derive(Default)]
pub(crate) struct Names(BTreeMap<ChannelName, ChannelKey>);

impl Names {
    pub(crate) fn key(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.0.get(name).copied()
    }
}

impl Channels for Names {
    fn open(&mut self, log: &mut SlotLog, name: &ChannelName, now: Moment) -> ChannelKey {
        *self.0.entry(name.clone()).or_insert_with(|| log.open_channel(name.clone(), NamespaceId(0), KEPT, now))
    }

    fn find(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.0.get(name).copied()
    }

    fn all(&self) -> Vec<ChannelKey> {
        self.0.values().copied().collect()
    }
}

pub(crate) struct Part {
    pub(crate) log: SlotLog,
    pub(crate) names: Names,
    pub(crate) replica: Replica,
}

pub(crate) struct Process {
    pub(crate) tag: Tag,
    pub(crate) id: NodeId,
    pub(crate) node: Node,
    pub(crate) parts: BTreeMap<Slot, Part>,
    pub(crate) settings: Settings,
    /// Its clock: the world's times rate, plus offset.
    pub(crate) offset: Duration,
    pub(crate) rate: u64,
    pub(crate) paused_until: u64,
}

impl Process {
    pub(crate) fn new(id: NodeId, tag: Tag, slots: &[Slot], settings: Settings, offset: Duration, rate: u64, now: u64) -> Self {
        let part = |slot: &Slot| {
            let log = SlotLog::new(*slot, Epoch::new(0, tag));
            (*slot, Part { log, names: Names::default(), replica: Replica::new(tag, *slot) })
        };
        let mut process = Self {
            tag,
            id,
            node: Node::new(id, tag, settings.clone(), Duration::ZERO),
            parts: slots.iter().map(part).collect(),
            settings,
            offset,
            rate,
            paused_until: 0,
        };
        process.node = Node::new(id, tag, process.settings.clone(), process.clock(now).mono);
        process
    }

    /// Its own time at the world's time in ms.
    pub(crate) fn clock(&self, now: u64) -> Moment {
        Moment { mono: self.offset + Duration::from_micros(now * self.rate), unix_ms: 0 }
    }

    /// Hands an input to the replica of a slot.
    pub(crate) fn handle(&mut self, now: u64, slot: Slot, input: Input) -> Vec<Output> {
        let moment = self.clock(now);
        let mut out = Vec::new();
        let view = self.node.view().clone();
        let Some(part) = self.parts.get_mut(&slot) else { return out };
        let mut cx = Context {
            now: moment,
            view: &view,
            channels: &mut part.names,
            dedupe_room: usize::MAX,
            settings: &self.settings,
            out: &mut out,
        };
        part.replica.handle(&mut part.log, &mut cx, input);
        out
    }

    /// Whether its copies or orphans hold the message that was first given this position.
    pub(crate) fn holds(&self, slot: Slot, id: &str) -> bool {
        self.parts.get(&slot).is_some_and(|part| {
            part.replica.holds()
                && (part.log.beyond(0).iter().any(|entry| entry.payload.bytes() == id.as_bytes())
                    || part.replica.orphans().any(|entry| entry.payload.bytes() == id.as_bytes()))
        })
    }
}
