//! The cluster as one node sees it. Written out by hand at each scrape and kept nowhere: nodes come and go, and the series of one
//! that went must not stay with its last value.

use std::time::Duration;

use super::page::{Named, Page};

/// What a node of the cluster is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Gathers links and copies.
    Joining,
    /// Takes its share of the slots.
    Active,
    /// Hands its slots over.
    Draining,
    /// Is about to end.
    Leaving,
    /// Doubts itself.
    Impaired,
    /// Nobody hears it, and it may live behind a cut and go on.
    Silent,
    /// Its process is known to have ended.
    Ended,
}

impl Standing {
    /// Every one, in the order of [`Standing::index`].
    pub const ALL: [Self; 7] = [Self::Joining, Self::Active, Self::Draining, Self::Leaving, Self::Impaired, Self::Silent, Self::Ended];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
            Self::Impaired => "impaired",
            Self::Silent => "silent",
            Self::Ended => "ended",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// One purpose of connections between nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Its name.
    pub purpose: &'static str,
    /// Frames and bytes written.
    pub said: (u64, u64),
    /// Frames and bytes read.
    pub heard: (u64, u64),
}

/// Another node.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its name: as its operator chose it, and there are at most as many as a cluster has nodes.
    pub name: String,
    /// The round trip to it.
    pub rtt: Option<Duration>,
    /// Connections to it that were made.
    pub links_made: u64,
    /// Times so much waited for it on one of them that publishers and states waited, too.
    pub links_filled: u64,
    /// Those that were given up because it took nothing.
    pub links_given_up: u64,
    /// By purpose: its name and what waits; `None` without a connection.
    pub queued: Vec<(&'static str, Option<Queued>)>,
}

/// What waits for a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queued {
    /// All bytes.
    pub bytes: u64,
    /// Those of them that the bound is about: not what the other end asked for.
    pub bounded: u64,
}

/// Everything, at one moment. Counts are since the start.
#[derive(Clone, Debug, Default)]
pub struct ClusterFigures {
    /// Nodes by what they are to this one, itself included.
    pub members: [u64; Standing::ALL.len()],
    /// Whether this node takes its share of the slots.
    pub is_active: bool,
    /// Whether a part of the cluster may go on without this node.
    pub is_degraded: bool,
    /// Nodes that gossip knows.
    pub gossip_peers: u64,
    /// Datagrams of gossip that were thrown away.
    pub gossip_refused: u64,
    /// Times the cluster was seen in a new way.
    pub views_changed: u64,
    /// Nodes that place slots otherwise.
    pub views_differing: u64,
    /// The others.
    pub peers: Vec<Peer>,
    /// Frames and bytes by purpose.
    pub traffic: Vec<Traffic>,
    /// Frames about slots by kind, said and heard.
    pub frames: Vec<(&'static str, u64, u64)>,
    /// Writes to all connections.
    pub writes: u64,
    /// Slots in use by what this node is for them.
    pub slots: Vec<Named>,
    /// Slots by what this node should be for them.
    pub slots_placed: Vec<Named>,
    /// Slots in use whose home is here and has no follower.
    pub slots_solo: u64,
    /// Slots that this node came to order, by how.
    pub slots_opened: Vec<Named>,
    /// Those of them before which something acknowledged may be lost.
    pub slots_uncertain: u64,
    /// Slots handed over to other nodes.
    pub slots_sealed: u64,
    /// Copies of followers that became complete.
    pub copies_completed: u64,
    /// Times a home went on without its follower.
    pub followers_dropped: u64,
    /// Messages of other branches taken over.
    pub messages_adopted: u64,
    /// Messages of other branches that wait for it.
    pub messages_orphaned: u64,
    /// Messages of other branches that left before.
    pub orphans_lost: u64,
    /// Records that a follower has not acknowledged, of the slot that lacks most.
    pub lag_records: u64,
    /// For how long a follower has owed an acknowledgement.
    pub lag: Duration,
    /// Seconds in which a publish was acknowledged with fewer copies than it asked for.
    pub solo_seconds: u64,
    /// Publishes that were.
    pub publishes_short: u64,
    /// Publishes of this node that wait for the node that orders their channel.
    pub publishes_waiting: u64,
    /// Their bytes.
    pub publishes_waiting_bytes: u64,
    /// For how long the oldest of them has waited.
    pub publishes_waiting_for: Duration,
    /// Publishes of this node by what the cluster answered.
    pub publishes_answered: Vec<Named>,
    /// Connections of nodes that were refused, by reason: by this node, and by the others.
    pub greetings_refused: Vec<(&'static str, u64, u64)>,
    /// Connections to this node that did not greet in time, or made room for others.
    pub greetings_late: u64,
    /// Connections to this node that have not greeted yet.
    pub greetings: u64,
    /// Questions and orders of this node that the others have not answered.
    pub questions: u64,
    /// Orders of others that are under way here.
    pub orders: u64,
    /// Heartbeats and news of connections that wait for the thread that sees the cluster.
    pub inputs: u64,
    /// Heartbeats of others that were dropped, because too many waited.
    pub beats_dropped: u64,
}

impl ClusterFigures {
    /// Bytes that wait on the fullest connection.
    pub(super) fn queued_most(&self) -> u64 {
        self.peers.iter().flat_map(|peer| &peer.queued).filter_map(|(_, queued)| queued.map(|queued| queued.bounded)).max().unwrap_or(0)
    }
}

/// Each family with its one line of help.
pub(super) const HELP: [(&str, &str); 38] = [
    ("tidings_cluster_members", "Nodes by what they are to this one, itself included."),
    ("tidings_cluster_active", "1 when this node takes its share of the slots."),
    ("tidings_cluster_degraded", "1 while a part of the cluster may go on without this node."),
    ("tidings_cluster_gossip_peers", "Other nodes that gossip knows."),
    ("tidings_cluster_gossip_refused_total", "Datagrams of gossip that were thrown away."),
    ("tidings_cluster_views_changed_total", "Times the cluster was seen in a new way."),
    ("tidings_cluster_views_differing", "Nodes heard that place slots otherwise than this one."),
    ("tidings_cluster_link_up", "1 while there is a connection to a node, by purpose."),
    ("tidings_cluster_link_rtt_seconds", "The latest round trip to a node."),
    ("tidings_cluster_link_queued_bytes", "Bytes that wait to be sent to a node, by purpose."),
    ("tidings_cluster_links_made_total", "Connections to a node that were made."),
    ("tidings_cluster_links_filled_total", "Times so much waited for a node that publishers and states waited, too."),
    ("tidings_cluster_links_given_up_total", "Connections to a node that were given up because it took nothing."),
    ("tidings_cluster_frames_carried_total", "Frames between nodes, by purpose and direction."),
    ("tidings_cluster_frames_carried_bytes_total", "Their bytes."),
    ("tidings_cluster_slot_frames_carried_total", "Frames about slots, by kind and direction."),
    ("tidings_cluster_writes_made_total", "Writes to the connections to other nodes."),
    ("tidings_cluster_slots", "Slots in use by what this node is for them."),
    ("tidings_cluster_slots_placed", "Slots by what this node should be for them."),
    ("tidings_cluster_slots_solo", "Slots in use whose home is here and has no follower."),
    ("tidings_cluster_slots_opened_total", "Times this node came to order a slot, by how."),
    ("tidings_cluster_slots_opened_uncertain_total", "Those before which something acknowledged may be lost."),
    ("tidings_cluster_slots_sealed_total", "Slots handed over to other nodes."),
    ("tidings_cluster_copies_completed_total", "Copies of followers that became complete."),
    ("tidings_cluster_followers_dropped_total", "Times a home went on without its follower."),
    ("tidings_cluster_messages_adopted_total", "Messages of other branches taken over."),
    ("tidings_cluster_messages_orphaned", "Messages of other branches that wait to be taken over."),
    ("tidings_cluster_orphans_lost_total", "Messages of other branches that left before they could be taken over."),
    ("tidings_cluster_replication_lag_records", "Records a follower has not acknowledged, of the slot that lacks most."),
    ("tidings_cluster_replication_lag_seconds", "For how long a follower has owed an acknowledgement."),
    ("tidings_cluster_solo_seconds_total", "Seconds in which a publish was acknowledged with fewer copies than asked."),
    ("tidings_cluster_publishes_short_total", "Publishes acknowledged with fewer copies than asked."),
    ("tidings_cluster_publishes_waiting", "Publishes of this node that the cluster has not answered."),
    ("tidings_cluster_publishes_waiting_seconds", "For how long the oldest of them has waited."),
    ("tidings_cluster_publishes_answered_total", "Publishes of this node by what the cluster answered."),
    ("tidings_cluster_greetings_refused_total", "Connections of nodes that were refused, by reason and by whom."),
    ("tidings_cluster_greetings_late_total", "Connections to this node that did not greet in time, or made room for others."),
    ("tidings_cluster_beats_dropped_total", "Heartbeats of nodes that were dropped, because too many waited."),
];

/// Appends all families.
pub(super) fn append(figures: &ClusterFigures, text: &mut String) {
    let mut out = Page::new(text, "tidings_cluster_", &HELP);
    out.family("members", "gauge");
    for (standing, count) in Standing::ALL.iter().zip(figures.members) {
        out.line(&[("state", standing.as_str())], count as f64);
    }
    out.gauge("active", f64::from(u8::from(figures.is_active)));
    out.gauge("degraded", f64::from(u8::from(figures.is_degraded)));
    out.gauge("gossip_peers", figures.gossip_peers as f64);
    out.counter("gossip_refused_total", figures.gossip_refused);
    out.counter("views_changed_total", figures.views_changed);
    out.gauge("views_differing", figures.views_differing as f64);
    links(&mut out, figures);
    slots(&mut out, figures);
    publishes(&mut out, figures);
}

fn links(out: &mut Page<'_>, figures: &ClusterFigures) {
    out.family("link_up", "gauge");
    for (peer, (purpose, queued)) in each_queue(figures) {
        out.line(&[("peer", &peer.name), ("purpose", purpose)], f64::from(u8::from(queued.is_some())));
    }
    out.family("link_queued_bytes", "gauge");
    for (peer, (purpose, queued)) in each_queue(figures) {
        out.line(&[("peer", &peer.name), ("purpose", purpose)], queued.map_or(0, |queued| queued.bytes) as f64);
    }
    out.family("link_rtt_seconds", "gauge");
    for (peer, rtt) in figures.peers.iter().filter_map(|peer| Some((peer, peer.rtt?))) {
        out.line(&[("peer", &peer.name)], rtt.as_secs_f64());
    }
    out.family("links_made_total", "counter");
    for peer in &figures.peers {
        out.line(&[("peer", &peer.name)], peer.links_made as f64);
    }
    out.family("links_filled_total", "counter");
    for peer in &figures.peers {
        out.line(&[("peer", &peer.name)], peer.links_filled as f64);
    }
    out.family("links_given_up_total", "counter");
    for peer in &figures.peers {
        out.line(&[("peer", &peer.name)], peer.links_given_up as f64);
    }
    out.family("frames_carried_total", "counter");
    for of in &figures.traffic {
        out.line(&[("purpose", of.purpose), ("direction", "said")], of.said.0 as f64);
        out.line(&[("purpose", of.purpose), ("direction", "heard")], of.heard.0 as f64);
    }
    out.family("frames_carried_bytes_total", "counter");
    for of in &figures.traffic {
        out.line(&[("purpose", of.purpose), ("direction", "said")], of.said.1 as f64);
        out.line(&[("purpose", of.purpose), ("direction", "heard")], of.heard.1 as f64);
    }
    out.family("slot_frames_carried_total", "counter");
    for (kind, said, heard) in &figures.frames {
        out.line(&[("kind", kind), ("direction", "said")], *said as f64);
        out.line(&[("kind", kind), ("direction", "heard")], *heard as f64);
    }
    out.counter("writes_made_total", figures.writes);
    out.family("greetings_refused_total", "counter");
    for (reason, here, there) in &figures.greetings_refused {
        out.line(&[("reason", reason), ("by", "this_node")], *here as f64);
        out.line(&[("reason", reason), ("by", "other_node")], *there as f64);
    }
    out.counter("greetings_late_total", figures.greetings_late);
    out.counter("beats_dropped_total", figures.beats_dropped);
}

fn each_queue(figures: &ClusterFigures) -> impl Iterator<Item = (&Peer, (&'static str, Option<Queued>))> {
    figures.peers.iter().flat_map(|peer| peer.queued.iter().map(move |queue| (peer, *queue)))
}

fn slots(out: &mut Page<'_>, figures: &ClusterFigures) {
    out.named("slots", "gauge", "part", &figures.slots);
    out.named("slots_placed", "gauge", "part", &figures.slots_placed);
    out.gauge("slots_solo", figures.slots_solo as f64);
    out.named("slots_opened_total", "counter", "how", &figures.slots_opened);
    out.counter("slots_opened_uncertain_total", figures.slots_uncertain);
    out.counter("slots_sealed_total", figures.slots_sealed);
    out.counter("copies_completed_total", figures.copies_completed);
    out.counter("followers_dropped_total", figures.followers_dropped);
    out.counter("messages_adopted_total", figures.messages_adopted);
    out.gauge("messages_orphaned", figures.messages_orphaned as f64);
    out.counter("orphans_lost_total", figures.orphans_lost);
    out.gauge("replication_lag_records", figures.lag_records as f64);
    out.gauge("replication_lag_seconds", figures.lag.as_secs_f64());
}

fn publishes(out: &mut Page<'_>, figures: &ClusterFigures) {
    out.counter("solo_seconds_total", figures.solo_seconds);
    out.counter("publishes_short_total", figures.publishes_short);
    out.gauge("publishes_waiting", figures.publishes_waiting as f64);
    out.gauge("publishes_waiting_seconds", figures.publishes_waiting_for.as_secs_f64());
    out.named("publishes_answered_total", "counter", "outcome", &figures.publishes_answered);
}

#[cfg(test)]
impl ClusterFigures {
    /// One of each, for tests of the catalogue.
    pub(super) fn sample() -> Self {
        let peer = Peer {
            name: "node-2".into(),
            rtt: Some(Duration::from_micros(250)),
            links_made: 3,
            links_filled: 2,
            links_given_up: 1,
            queued: vec![("control", Some(Queued::default())), ("live", Some(Queued { bytes: 17, bounded: 9 })), ("bulk", None)],
        };
        Self {
            members: [0, 2, 0, 0, 0, 1, 0],
            is_active: true,
            peers: vec![peer],
            traffic: vec![Traffic { purpose: "live", said: (2, 200), heard: (1, 100) }],
            frames: vec![("forward", 1, 2)],
            slots: vec![("home", 4)],
            slots_placed: vec![("home", 8192)],
            slots_opened: vec![("first", 4)],
            publishes_answered: vec![("done", 9)],
            greetings_refused: vec![("key", 1, 0)],
            ..Self::default()
        }
    }
}
