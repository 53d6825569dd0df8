//! The cluster as the API shows it. Who builds the API says how it is looked at.

use std::sync::Arc;
use std::time::Duration;

/// Looks at the cluster; `None` on a node that is alone.
pub type Look = Arc<dyn Fn() -> Option<ClusterInfo> + Send + Sync>;

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct ClusterInfo {
    /// How that node stands in it.
    pub condition: &'static str,
    /// Equal on nodes that place channels alike.
    pub view: String,
    /// The nodes, the one that was asked first.
    pub nodes: Vec<ClusterNode>,
    /// Slots in use that it leads.
    pub slots_led: u64,
    /// Of these, those that no other node holds.
    pub slots_alone: u64,
    /// Slots in use that it is about to lead.
    pub slots_claimed: u64,
    /// Records that a follower has not acknowledged.
    pub replication_lag: u64,
    /// Publishes that other nodes have not answered.
    pub publishes_waiting: u64,
}

/// One node.
#[derive(Clone, Debug, Default)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its state, as it says itself, or how it left.
    pub state: &'static str,
    /// Whether it is the one that was asked.
    pub is_self: bool,
    /// Whether that one hears it.
    pub is_heard: bool,
    /// Where other nodes reach it.
    pub address: String,
    /// Its release.
    pub version: String,
    /// The round trip to it.
    pub rtt: Option<Duration>,
    /// Slots it should lead.
    pub leads: u64,
    /// Slots it should follow.
    pub follows: u64,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: u64,
    /// How far its copies are behind what the asked node leads, where that one knows.
    pub lag: Option<Lag>,
}

/// How far one node's copies are behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// Records that it has not acknowledged, in all slots.
    pub records: u64,
    /// In how many slots.
    pub slots: u64,
    /// How old the oldest of them is.
    pub oldest: Duration,
}
