//! The cluster as one node shows it to people and programs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::condition::Condition;
use super::core::{Frame, Opening, State};
use super::ear::Inputs;
use super::happened::{Answered, Happened, REFUSALS};
use super::link::Purpose;
use super::membership::{NodeName, Record};
use super::mesh::{Links, Queued, Traffic};
use super::release::{Common, Release};
use super::running::Seen;
use super::wires::Wires;
use crate::hub::{Lag, SlotSums};
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
    /// Whether it left without a word: it may live behind a cut and go on.
    pub is_silent: bool,
    /// Whether it said that it leaves.
    pub has_left: bool,
    /// Where others connect to it; empty for this node.
    pub address: String,
    /// The release it runs.
    pub version: String,
    /// What it speaks with other nodes.
    pub release: Release,
    /// The round trip to it.
    pub rtt: Option<Duration>,
    /// Slots it owns in this node's view.
    pub home: u64,
    /// Slots whose second copy it holds in this node's view.
    pub follower: u64,
    /// How far its copies are behind what this node orders; `None` for this node, and for one that is not heard and was to hold none.
    pub lag: Option<Lag>,
    /// What became of the connections to it.
    pub links: Links,
    /// What waits to be sent to it, by purpose; `None` without a connection.
    pub queued: [Option<Queued>; Purpose::ALL.len()],
}

/// The cluster, as it is seen from one node.
#[derive(Clone, Debug)]
pub struct Info {
    /// This node's state.
    pub state: State,
    /// How this node stands in the cluster.
    pub condition: Condition,
    /// Equal on nodes that place slots alike.
    pub view: u64,
    /// This node and the others, by name.
    pub nodes: Vec<NodeInfo>,
    /// What this node really has of the slots that are in use, and what waits in them.
    pub slots: SlotSums,
    /// Nodes that left without a word, whether gossip still knows them or not.
    pub silent: usize,
    /// Nodes heard that place slots otherwise.
    pub views_differing: usize,
    /// What all nodes have in common.
    pub common: Common,
    /// Whether another process of this node's name is part of the cluster.
    pub is_duplicate: bool,
    /// Datagrams of gossip that were thrown away.
    pub gossip_refused: u64,
    /// What went over the connections, by purpose.
    pub traffic: [Traffic; Purpose::ALL.len()],
    /// Writes to all connections.
    pub writes: u64,
    /// Connections to this node that have not greeted yet.
    pub greetings: u64,
    /// Questions and orders of this node that others have not answered.
    pub questions: usize,
    /// Orders of others that are under way here.
    pub orders: usize,
    /// Heartbeats and news of connections that wait for the control thread.
    pub inputs: usize,
    /// What happened in slots.
    pub counts: Counts,
}

/// What happened on this node, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Epochs opened here, by how: in the order of `Opening::ALL`.
    pub opened: [u64; Opening::ALL.len()],
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
    /// Frames said and heard, by kind: in the order of `Frame::NAMES`.
    pub frames: [(u64, u64); Frame::NAMES.len()],
    /// Publishes by what the cluster answered: in the order of [`Answered::ALL`].
    pub answered: [u64; Answered::ALL.len()],
    /// Publishes acknowledged with fewer copies than they asked for.
    pub short: u64,
    /// Seconds in which there was one.
    pub solo_seconds: u64,
    /// Times the cluster was seen in a new way.
    pub views: u64,
    /// Connections refused here and by others, by reason: in the order of [`REFUSALS`].
    pub refused: [(u64, u64); REFUSALS.len()],
    /// Connections to this node that did not greet in time.
    pub late: u64,
    /// Heartbeats of others that were dropped, because too many waited.
    pub beats_dropped: u64,
}

impl Counts {
    /// Epochs opened here, by how.
    #[must_use]
    pub fn opened_by_how(&self) -> Vec<(&'static str, u64)> {
        Opening::ALL.iter().zip(self.opened).map(|(opening, count)| (opening.as_str(), count)).collect()
    }

    /// Frames said and heard, by kind.
    #[must_use]
    pub fn frames_by_kind(&self) -> Vec<(&'static str, u64, u64)> {
        Frame::NAMES.iter().zip(self.frames).map(|(kind, (said, heard))| (*kind, said, heard)).collect()
    }

    /// Publishes by what the cluster answered.
    #[must_use]
    pub fn answered_by_answer(&self) -> Vec<(&'static str, u64)> {
        Answered::ALL.iter().zip(self.answered).map(|(answer, count)| (answer.as_str(), count)).collect()
    }

    /// Connections refused here and by others, by reason.
    #[must_use]
    pub fn refused_by_reason(&self) -> Vec<(&'static str, u64, u64)> {
        REFUSALS.iter().zip(self.refused).map(|(reason, (here, there))| (*reason, here, there)).collect()
    }
}

impl Info {
    pub(super) fn new(
        me: &Record,
        seen: &Seen,
        (wires, inputs): (&Wires, &Inputs),
        slots: SlotSums,
        condition: Condition,
        is_duplicate: bool,
    ) -> Self {
        let tag = me.tag;
        let (home, follower) = placed(seen);
        let count = |of: &[(Tag, u64)], tag: Tag| of.iter().find(|(known, _)| *known == tag).map_or(0, |(_, count)| *count);
        let mut nodes = vec![NodeInfo {
            name: me.name.clone(),
            tag,
            state: Some(seen.state),
            is_me: true,
            is_heard: true,
            is_silent: false,
            has_left: false,
            address: String::new(),
            version: me.version.clone(),
            release: me.release(),
            rtt: None,
            home: count(&home, tag),
            follower: count(&follower, tag),
            lag: None,
            links: Links::default(),
            queued: [None; Purpose::ALL.len()],
        }];
        let lag = |tag: Tag| {
            let known = slots.lags.iter().find(|(holder, _)| *holder == tag).map(|(_, lag)| *lag);
            known.or(seen.up.contains(&tag).then(Lag::default))
        };
        nodes.extend(seen.members.values().map(|record| NodeInfo {
            name: record.name.clone(),
            tag: record.tag,
            state: seen.view.members().iter().find(|member| member.tag == record.tag).map(|member| member.state),
            is_me: false,
            is_heard: seen.up.contains(&record.tag),
            is_silent: seen.silent.contains(&record.tag),
            has_left: record.state == State::Leaving,
            address: record.links.clone(),
            version: record.version.clone(),
            release: record.release(),
            rtt: seen.rtt.iter().find(|(known, _)| *known == record.tag).map(|(_, rtt)| *rtt),
            home: count(&home, record.tag),
            follower: count(&follower, record.tag),
            lag: lag(record.tag),
            links: wires.mesh.links(&record.name),
            queued: wires.mesh.queued(record.tag),
        }));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            state: seen.state,
            condition,
            view: seen.view.id(),
            nodes,
            slots,
            silent: seen.silent.len(),
            views_differing: seen.differing,
            common: seen.common,
            is_duplicate,
            gossip_refused: seen.gossip_refused,
            traffic: Purpose::ALL.map(|purpose| wires.mesh.tally().of(purpose)),
            writes: wires.mesh.tally().writes(),
            greetings: wires.mesh.greetings(),
            questions: wires.questions.count(),
            orders: wires.orders_under_way(),
            inputs: inputs.count(),
            counts: Counts { beats_dropped: inputs.beats_dropped(), ..counts(&wires.happened) },
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
        let Counts { opened, uncertain, sealed, solo, counted, adopted, orphans_lost, carried, short, solo_seconds, .. } = self.counts;
        let shown = json!({
            "state": self.state.as_str(),
            "view": format!("{:016x}", self.view),
            "condition": self.condition.as_str(),
            "duplicate_name": self.is_duplicate,
            "common": {"protocol": self.common.protocol, "features": format!("{:x}", self.common.features)},
            "nodes": nodes,
            "slots": {
                "home": self.slots.home, "claiming": self.slots.claiming, "copy": self.slots.copy, "edge": self.slots.edge,
                "solo": self.slots.solo,
            },
            "replication": {"lag_records": self.slots.lag, "lag_ms": milliseconds(self.slots.owed_for), "orphans": self.slots.orphans},
            "publishes_waiting": {"count": self.slots.publishes, "longest_ms": milliseconds(self.slots.waiting_for)},
            "views_differing": self.views_differing,
            "traffic": traffic,
            "writes": self.writes,
            "since_start": {
                "opened": opened.iter().sum::<u64>(), "opened_by": self.counts.opened_by_how().into_iter().collect::<std::collections::BTreeMap<_, _>>(), "opened_uncertain": uncertain, "handed_over": sealed,
                "went_on_alone": solo, "copies_completed": counted, "messages_adopted": adopted, "messages_lost": orphans_lost,
                "messages_carried": carried, "acknowledged_short": short, "solo_seconds": solo_seconds,
            },
        });
        format!("{shown}\n")
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

impl NodeInfo {
    /// The word for its state: what it says itself, else how it left.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.state {
            Some(state) => state.as_str(),
            None if self.is_silent => "silent",
            None if self.has_left => "left",
            None => "down",
        }
    }

    fn to_json(&self) -> Value {
        let queued: usize = self.queued.iter().flatten().map(Queued::all).sum();
        let is_behind = self.queued.iter().flatten().any(|queued| queued.is_full);
        json!({
            "name": self.name.as_str(),
            "process": format!("{:010x}", self.tag.get()),
            "state": self.state_name(),
            "me": self.is_me,
            "heard": self.is_heard,
            "address": self.address,
            "version": self.version,
            "protocol": [self.release.protocol.0, self.release.protocol.1],
            "features": format!("{:x}", self.release.features),
            "rtt_ms": self.rtt.map(milliseconds),
            "home": self.home,
            "follower": self.follower,
            "lag_records": self.lag.map(|lag| lag.records),
            "lag_slots": self.lag.map(|lag| lag.slots),
            "lag_ms": self.lag.map(|lag| milliseconds(lag.oldest)),
            "queued_bytes": queued,
            "behind": is_behind,
            "links_made": self.links.made,
            "links_filled": self.links.filled,
            "links_given_up": self.links.given_up,
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
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let [here, there] = happened.refused.each_ref().map(|by| by.each_ref().map(read));
    let (said, heard) = (happened.said.each_ref().map(read), happened.heard.each_ref().map(read));
    Counts {
        opened: happened.opened.each_ref().map(read),
        uncertain: read(&happened.uncertain),
        sealed: read(&happened.sealed),
        solo: read(&happened.solo),
        counted: read(&happened.counted),
        adopted: read(&happened.adopted),
        orphans_lost: read(&happened.orphans_lost),
        carried: read(&happened.carried),
        frames: std::array::from_fn(|kind| (said[kind], heard[kind])),
        answered: happened.answered.each_ref().map(read),
        short: read(&happened.short),
        solo_seconds: read(&happened.solo_seconds),
        views: read(&happened.views),
        refused: std::array::from_fn(|reason| (here[reason], there[reason])),
        late: read(&happened.late),
        beats_dropped: 0,
    }
}
