//! The cluster as one node shows it to people and programs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::core::State;
use super::link::Purpose;
use super::membership::NodeName;
use super::mesh::{Queued, Traffic};
use super::running::Seen;
use super::wires::{Happened, Wires};
use crate::hub::SlotCounts;
use crate::log::{SLOTS, Slot, Tag};

/// One node, as it is seen from here.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: NodeName,
    /// Its process.
    pub tag: Tag,
    /// Its state, as it says itself; `None` for one that nobody hears.
    pub state: Option<State>,
    /// Whether it is this node.
    pub is_me: bool,
    /// Whether this node hears it itself.
    pub is_heard: bool,
    /// Where others connect to it; empty for this node.
    pub address: String,
    /// The release it runs.
    pub version: String,
    /// The round trip to it.
    pub rtt: Option<Duration>,
    /// Slots it owns in this node's view.
    pub home: u64,
    /// Slots whose second copy it holds in this node's view.
    pub follower: u64,
    /// What waits to be sent to it, by purpose; `None` without a connection.
    pub queued: [Option<Queued>; Purpose::ALL.len()],
}

/// The cluster, as it is seen from one node.
#[derive(Clone, Debug)]
pub struct Info {
    /// This node's state.
    pub state: State,
    /// Equal on nodes that place slots alike.
    pub view: u64,
    /// This node and the others, by name.
    pub nodes: Vec<NodeInfo>,
    /// What this node really has of the slots that are in use.
    pub slots: SlotCounts,
    /// Whether another process of this node's name is part of the cluster, so that this one is not.
    pub is_duplicate: bool,
    /// What went over the connections, by purpose.
    pub traffic: [Traffic; Purpose::ALL.len()],
    /// Writes to all connections.
    pub writes: u64,
    /// What happened in slots.
    pub counts: Counts,
}

/// What happened in slots of this node, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Epochs opened here.
    pub opened: u64,
    /// Those of them before which something acknowledged may be lost.
    pub uncertain: u64,
    /// Epochs sealed here for another node.
    pub sealed: u64,
    /// Times a home went on without its follower.
    pub solo: u64,
    /// Copies that became complete.
    pub counted: u64,
    /// Messages of other branches taken over.
    pub adopted: u64,
    /// Messages of other branches that were lost.
    pub orphans_lost: u64,
    /// Frames that carried a message to another node.
    pub carried: u64,
}

impl Info {
    pub(super) fn new(me: &NodeName, tag: Tag, seen: &Seen, wires: &Wires, slots: SlotCounts, is_duplicate: bool) -> Self {
        let (home, follower) = placed(seen);
        let count = |of: &[(Tag, u64)], tag: Tag| of.iter().find(|(known, _)| *known == tag).map_or(0, |(_, count)| *count);
        let mut nodes = vec![NodeInfo {
            name: me.clone(),
            tag,
            state: Some(seen.state),
            is_me: true,
            is_heard: true,
            address: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rtt: None,
            home: count(&home, tag),
            follower: count(&follower, tag),
            queued: [None; Purpose::ALL.len()],
        }];
        nodes.extend(seen.members.values().map(|record| NodeInfo {
            name: record.name.clone(),
            tag: record.tag,
            state: seen.view.members().iter().find(|member| member.tag == record.tag).map(|member| member.state),
            is_me: false,
            is_heard: seen.up.contains(&record.tag),
            address: record.links.clone(),
            version: record.version.clone(),
            rtt: seen.rtt.iter().find(|(known, _)| *known == record.tag).map(|(_, rtt)| *rtt),
            home: count(&home, record.tag),
            follower: count(&follower, record.tag),
            queued: wires.mesh.queued(record.tag),
        }));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            state: seen.state,
            view: seen.view.id(),
            nodes,
            slots,
            is_duplicate,
            traffic: Purpose::ALL.map(|purpose| wires.mesh.tally().of(purpose)),
            writes: wires.mesh.tally().writes(),
            counts: counts(&wires.happened),
        }
    }
}

impl Info {
    /// As JSON, for programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        let nodes: Vec<Value> = self.nodes.iter().map(NodeInfo::to_json).collect();
        let traffic: serde_json::Map<String, Value> = Purpose::ALL
            .iter()
            .zip(self.traffic)
            .map(|(purpose, of)| {
                let counts = json!({
                    "frames_said": of.frames_said, "bytes_said": of.bytes_said,
                    "frames_heard": of.frames_heard, "bytes_heard": of.bytes_heard,
                });
                (purpose.as_str().to_owned(), counts)
            })
            .collect();
        let Counts { opened, uncertain, sealed, solo, counted, adopted, orphans_lost, carried } = self.counts;
        let shown = json!({
            "state": self.state.as_str(),
            "view": format!("{:016x}", self.view),
            "duplicate_name": self.is_duplicate,
            "nodes": nodes,
            "slots": {"home": self.slots.home, "copy": self.slots.copy, "edge": self.slots.edge},
            "traffic": traffic,
            "writes": self.writes,
            "since_start": {
                "taken_over": opened, "taken_over_uncertain": uncertain, "handed_over": sealed, "went_on_alone": solo,
                "copies_completed": counted, "messages_adopted": adopted, "messages_lost": orphans_lost, "messages_carried": carried,
            },
        });
        format!("{shown}\n")
    }
}

impl NodeInfo {
    fn to_json(&self) -> Value {
        let queued: usize = self.queued.iter().flatten().map(|queued| queued.bytes).sum();
        let is_behind = self.queued.iter().flatten().any(|queued| queued.is_full);
        json!({
            "name": self.name.as_str(),
            "process": format!("{:010x}", self.tag.get()),
            "state": self.state.map_or("down", State::as_str),
            "me": self.is_me,
            "heard": self.is_heard,
            "address": self.address,
            "version": self.version,
            "rtt_ms": self.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0),
            "home": self.home,
            "follower": self.follower,
            "queued_bytes": queued,
            "behind": is_behind,
        })
    }
}

/// Processes and how many slots each has.
type BySlots = Vec<(Tag, u64)>;

/// How many slots each process owns and follows in a view.
fn placed(seen: &Seen) -> (BySlots, BySlots) {
    let (mut home, mut follower) = (BySlots::new(), BySlots::new());
    let add = |to: &mut BySlots, tag: Tag| match to.iter_mut().find(|(known, _)| *known == tag) {
        Some((_, count)) => *count += 1,
        None => to.push((tag, 1)),
    };
    for place in (0..SLOTS).filter_map(Slot::new).filter_map(|slot| seen.view.place(slot)) {
        add(&mut home, place.home);
        if let Some(tag) = place.follower {
            add(&mut follower, tag);
        }
    }
    (home, follower)
}

fn counts(happened: &Happened) -> Counts {
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Counts {
        opened: read(&happened.opened),
        uncertain: read(&happened.uncertain),
        sealed: read(&happened.sealed),
        solo: read(&happened.solo),
        counted: read(&happened.counted),
        adopted: read(&happened.adopted),
        orphans_lost: read(&happened.orphans_lost),
        carried: read(&happened.carried),
    }
}
