//! How a cluster looks from one of its nodes.

use std::time::Duration;

use tidings_proto::v1;

/// The cluster as the node sees it that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterInfo {
    /// Whether that node is one of several. What follows is empty otherwise.
    pub is_clustered: bool,
    /// How it stands in its cluster: `whole`, `degraded` (others may go on without it), `joining`, `leaving`, `not_admitted`.
    pub condition: String,
    /// Equal on nodes that place channels alike.
    pub view: String,
    /// The nodes, the one that answers first.
    pub nodes: Vec<ClusterNode>,
    /// Slots in use that have their home on it.
    pub slots_led: u64,
    /// Of these, those that no other node holds.
    pub slots_alone: u64,
    /// Slots that it is about to lead: what is published to them waits.
    pub slots_claimed: u64,
    /// Records that a follower has not acknowledged, of the slot that lacks most.
    pub replication_lag: u64,
    /// Publishes of that node that other nodes have not answered.
    pub publishes_waiting: u64,
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// `joining`, `active`, `draining`, `leaving`, `impaired`; of one that is not heard `silent`, `down`, `left`.
    pub state: String,
    /// Whether it is the one that answers.
    pub is_self: bool,
    /// Whether the one that answers hears it.
    pub is_heard: bool,
    /// Where other nodes reach it.
    pub address: String,
    /// The release it runs.
    pub version: String,
    /// The round trip to it, when it is known.
    pub rtt: Option<Duration>,
    /// Of all 16,384 slots, those it should lead.
    pub leads: u64,
    /// Those whose second copy it should hold.
    pub follows: u64,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: u64,
    /// How far its copies are behind what the one that answers leads. `None` for that one itself, and for one that is not heard.
    pub lag: Option<ClusterLag>,
}

/// How far the copies of one node are behind those of another, which leads the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterLag {
    /// Records that it has not acknowledged, of all slots together: no more than are kept.
    pub records: u64,
    /// In how many slots there are such.
    pub slots: u64,
    /// How long ago the oldest message among them got its place.
    pub oldest: Duration,
}

impl From<v1::ClusterInfoResponse> for ClusterInfo {
    fn from(told: v1::ClusterInfoResponse) -> Self {
        Self {
            is_clustered: told.is_clustered,
            condition: told.condition,
            view: told.view,
            nodes: told.nodes.into_iter().map(ClusterNode::from).collect(),
            slots_led: told.slots_led,
            slots_alone: told.slots_alone,
            slots_claimed: told.slots_claimed,
            replication_lag: told.replication_lag,
            publishes_waiting: told.publishes_waiting,
        }
    }
}

impl From<v1::ClusterNode> for ClusterNode {
    fn from(node: v1::ClusterNode) -> Self {
        let v1::ClusterNode { name, state, is_self, is_heard, address, version, rtt_us, leads, follows, queued_bytes, lag } = node;
        let rtt = (rtt_us > 0).then(|| Duration::from_micros(rtt_us));
        let lag = lag.map(|lag| ClusterLag { records: lag.records, slots: lag.slots, oldest: Duration::from_micros(lag.oldest_us) });
        Self { name, state, is_self, is_heard, address, version, rtt, leads, follows, queued_bytes, lag }
    }
}
