//! What only the node can tell the admin API: who is on its shards, and what there is beside it.

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
    /// The first of those on sockets of the shards' own.
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
    /// Which shard it is on.
    pub shard: usize,
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
    /// Slots in all.
    pub slots: u32,
    /// The nodes, this one first.
    pub nodes: Vec<Node>,
    /// From this node to others.
    pub links: Vec<Link>,
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
    /// `alive`, `suspect`, `dead`, `leaving`, as the cluster calls it.
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
    /// How often it was made anew.
    pub reconnects: u64,
}

/// The fronts' names, in the order of their figures.
pub(super) fn by_front(counts: &[u64]) -> serde_json::Map<String, serde_json::Value> {
    Front::ALL.iter().zip(counts).map(|(front, count)| (front.as_str().to_owned(), (*count).into())).collect()
}
