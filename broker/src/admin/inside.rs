//! What only the node can tell the admin API: who is on its shards, and what there is beside it.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::journal::SessionId;
use crate::message::ChannelName;
use crate::metrics::Front;

/// The node, looked at from here.
pub trait Inside: Send + Sync {
    /// Who listens to a channel; at most `limit` of them are shown.
    fn listening(&self, channel: ChannelName, limit: usize) -> BoxFuture<'static, Listening>;

    /// How many sessions and watchers of all shards listen to each of these channels, and on how many shards.
    fn count_listening(&self, channels: Vec<ChannelName>) -> BoxFuture<'static, Vec<Count>>;

    /// Sessions of this name that are here now.
    fn find(&self, session: SessionId) -> BoxFuture<'static, Listening>;

    /// The cluster as this node sees it; itself, when there is none.
    fn cluster(&self) -> Cluster;

    /// How this node stands in its cluster, as [`Cluster::condition`]; `None` for one that is alone.
    fn condition(&self) -> Option<&'static str>;
}

/// How many listen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Sessions and watchers.
    pub listeners: usize,
    /// Shards they are on.
    pub shards: usize,
}

/// Who listens.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listening {
    /// How many on the shards, whoever they are.
    pub count: usize,
    /// The first of those on sockets of the shards' own, then held polls, streams over HTTP/2 and gRPC.
    pub sessions: Vec<Present>,
    /// Shards that did not answer in time: what is on them is missing here.
    pub silent_shards: usize,
}

/// A session as it stands now.
#[derive(Clone, Debug, Serialize)]
pub struct Present {
    /// Its name.
    pub session: String,
    /// Over which front.
    pub front: &'static str,
    /// The other end of its socket.
    pub address: Option<String>,
    /// Which shard owns its socket; none for held polls, streams over HTTP/2 and gRPC.
    pub shard: Option<usize>,
    /// The first channels it listens to.
    pub channels: Vec<String>,
    /// How many it listens to.
    pub channel_count: usize,
    /// For how many seconds it has not been caught up, if it is not.
    pub behind_seconds: Option<u32>,
    /// What waits for its socket.
    pub unsent_bytes: usize,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cluster {
    /// Whether this node is configured to be one of several.
    pub is_clustered: bool,
    /// How this node stands in it: `whole`, `degraded`, `joining`, `leaving`, `not_admitted`.
    pub condition: &'static str,
    /// Equal on nodes that place slots alike.
    pub view: String,
    /// Slots in all.
    pub slots: u32,
    /// Of the slots in use.
    pub in_use: SlotsInUse,
    /// What happened.
    pub since_start: ClusterCounts,
    /// The nodes, this one first.
    pub nodes: Vec<Node>,
    /// From this node to others.
    pub links: Vec<Link>,
}

/// Slots in use by what this node is for them, and what waits in them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SlotsInUse {
    /// It leads them.
    pub leads: u64,
    /// It is about to.
    pub claims: u64,
    /// It holds a whole copy.
    pub follows: u64,
    /// It holds single channels, for its own listeners.
    pub reads: u64,
    /// It leads them and no other node holds them.
    pub alone: u64,
    /// Records that a follower lacks, of the slot where it lacks most.
    pub lag_records: u64,
    /// Publishes of this node that are not answered.
    pub publishes_waiting: u64,
    /// For how long the oldest of them has waited.
    pub publishes_waiting_ms: u64,
}

/// What happened in the cluster on this node since its start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClusterCounts {
    /// Slots it came to lead, by how.
    pub opened: BTreeMap<String, u64>,
    /// Those of them before which something acknowledged may be lost.
    pub opened_uncertain: u64,
    /// Slots handed over to others.
    pub handed_over: u64,
    /// Times it went on without a follower.
    pub went_on_alone: u64,
    /// Messages taken over from other branches.
    pub messages_adopted: u64,
    /// Messages of other branches that were lost.
    pub messages_lost: u64,
    /// Publishes acknowledged with fewer copies than asked.
    pub acknowledged_short: u64,
    /// Times the cluster was seen in a new way.
    pub views: u64,
}

/// One node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where it is reached, for people.
    pub address: String,
    /// Whether it is the one that answers.
    pub is_self: bool,
    /// `joining`, `active`, `draining`, `leaving`, `impaired`; of one that is not heard `silent`, `down`, `left`.
    pub state: String,
    /// Its version, where known.
    pub version: Option<String>,
    /// Slots it leads.
    pub leads: u32,
    /// Slots it follows.
    pub follows: u32,
}

/// A link to another node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Link {
    /// To which node.
    pub to: String,
    /// Whether it is up.
    pub is_up: bool,
    /// Time there and back, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What waits to be sent.
    pub queue_bytes: u64,
    /// Whether so much waits that what comes on top is read from the log later.
    pub is_full: bool,
    /// Records of the slots led here that it has not acknowledged.
    pub lag_records: Option<u64>,
    /// In how many slots there are such.
    pub lag_slots: Option<u64>,
    /// How old the oldest of them is, in milliseconds.
    pub lag_ms: Option<u64>,
    /// How often it was made anew.
    pub reconnects: u64,
}

/// The fronts' names, in the order of their figures.
pub(super) fn by_front(counts: &[u64]) -> serde_json::Map<String, serde_json::Value> {
    Front::ALL.iter().zip(counts).map(|(front, count)| (front.as_str().to_owned(), (*count).into())).collect()
}
