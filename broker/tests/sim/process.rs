//! One node's process: its view, log and replica of each slot, and who is on its channels.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tidings::clock::Moment;
use tidings::cluster::core::{Channels, Context, Input, Node, NodeId, Output, Replica, Settings};
use tidings::log::{ChannelKey, Entry, Epoch, NamespaceId, Pos, Retention, Slot, SlotLog, Tag};
use tidings::message::ChannelName;
use tidings::presence;

/// Everything is kept.
pub(crate) const KEPT: Retention = Retention { size: 100_000, ttl: Duration::from_secs(3600), bytes: u64::MAX };

pub(crate) struct Names {
    open: BTreeMap<ChannelName, ChannelKey>,
    kept: Retention,
}

impl Names {
    pub(crate) fn key(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.open.get(name).copied()
    }
}

impl Channels for Names {
    fn open(&mut self, log: &mut SlotLog, name: &ChannelName, now: Moment) -> ChannelKey {
        *self.open.entry(name.clone()).or_insert_with(|| log.open_channel(name.clone(), NamespaceId(0), self.kept, now))
    }

    fn find(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.key(name)
    }

    fn all(&self) -> Vec<ChannelKey> {
        self.open.values().copied().collect()
    }
}

pub(crate) struct Part {
    pub(crate) log: SlotLog,
    pub(crate) names: Names,
    pub(crate) replica: Replica,
}

impl Part {
    /// Whether it has come by the record that first stood here, though it may have left it since.
    pub(crate) fn knows(&self, pos: Pos) -> bool {
        self.replica.holds() && (self.log.includes(pos) || self.replica.orphans().next().is_some())
    }
}

pub(crate) struct Process {
    pub(crate) tag: Tag,
    pub(crate) id: NodeId,
    pub(crate) node: Node,
    pub(crate) parts: BTreeMap<Slot, Part>,
    pub(crate) settings: Settings,
    pub(crate) presence: presence::Node,
    pub(crate) presence_settings: presence::Settings,
    /// Its clock: the world's times rate, plus offset.
    pub(crate) offset: Duration,
    pub(crate) rate: u64,
    pub(crate) paused_until: u64,
    pub(crate) paused_since: u64,
    /// When it woke up after a stop, until somebody has spoken to it since.
    pub(crate) woke: Option<u64>,
}

/// How one life of a node is made.
pub(crate) struct Birth<'a> {
    pub(crate) id: NodeId,
    pub(crate) tag: Tag,
    pub(crate) slots: &'a [Slot],
    /// Channels whose comings and goings somebody is told of.
    pub(crate) channels: &'a [ChannelName],
    pub(crate) settings: Settings,
    pub(crate) presence: presence::Settings,
    pub(crate) offset: Duration,
    pub(crate) rate: u64,
    pub(crate) kept: Retention,
}

impl Process {
    pub(crate) fn new(birth: Birth<'_>, now: u64) -> Self {
        let Birth { id, tag, slots, channels, settings, presence: presence_settings, offset, rate, kept } = birth;
        let part = |slot: &Slot| {
            let log = SlotLog::new(*slot, Epoch::new(0, tag));
            let names = Names { open: BTreeMap::new(), kept };
            (*slot, Part { log, names, replica: Replica::new(tag, *slot) })
        };
        let mut process = Self {
            tag,
            id,
            node: Node::new(id, tag, settings.clone(), Duration::ZERO),
            parts: slots.iter().map(part).collect(),
            settings,
            presence: presence::Node::default(),
            presence_settings,
            offset,
            rate,
            paused_until: 0,
            paused_since: 0,
            woke: None,
        };
        process.node = Node::new(id, tag, process.settings.clone(), process.clock(now).mono);
        channels.iter().for_each(|channel| process.presence.listen(channel));
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

    /// Whether its copies or orphans hold this message, which was acknowledged with this index.
    pub(crate) fn holds(&self, slot: Slot, id: &str, idx: u64) -> bool {
        let is_it = |entry: &Arc<Entry>| entry.payload.bytes() == id.as_bytes();
        self.parts.get(&slot).is_some_and(|part| {
            part.replica.holds()
                // Most stand where they were acknowledged.
                && (part.log.beyond(idx.saturating_sub(1)).iter().any(is_it)
                    || part.log.beyond(0).iter().any(is_it)
                    || part.replica.orphans().any(is_it))
        })
    }

    /// All messages that its copies and orphans of a slot hold.
    pub(crate) fn held(&self, slot: Slot) -> HashSet<Vec<u8>> {
        let Some(part) = self.parts.get(&slot).filter(|part| part.replica.holds()) else { return HashSet::new() };
        let all = part.log.beyond(0).into_iter().chain(part.replica.orphans().cloned());
        all.map(|entry| entry.payload.bytes().to_vec()).collect()
    }

    /// Frees what is too old and closes channels that nobody needs, as the broker does again and again.
    pub(crate) fn sweep(&mut self, now: u64) {
        let moment = self.clock(now);
        for part in self.parts.values_mut() {
            let (mut evicted, mut idle) = (Vec::new(), Vec::new());
            part.log.expire(moment, &mut evicted, &mut idle);
            for key in idle {
                let name = part.log.channel(key).name;
                if part.replica.may_close(&name) {
                    part.log.close_channel(key);
                    part.names.open.remove(&name);
                }
            }
        }
    }

    /// Gives up about so many of its oldest messages.
    pub(crate) fn give_up(&mut self, slot: Slot, count: u64) {
        if let Some(part) = self.parts.get_mut(&slot) {
            let stats = part.log.stats();
            let bytes = stats.bytes / stats.entries.max(1) * count;
            part.log.make_room(bytes.min(stats.bytes), &mut Vec::new());
        }
    }
}
