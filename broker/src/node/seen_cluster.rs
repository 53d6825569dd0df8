//! The cluster as this node sees it, in the words of those who show it: metrics and the admin API.

use std::time::Duration;

use crate::cluster::link::Purpose;
use crate::cluster::membership::State;
use crate::cluster::{Condition, Info, NodeInfo};
use crate::log::SLOTS;
use crate::metrics::{ClusterFigures, Peer, Queued, Standing, Traffic};
use crate::{admin, api};

/// For a scrape.
pub(super) fn figures(info: &Info) -> ClusterFigures {
    let (slots, counts) = (&info.slots, &info.counts);
    let me = info.nodes.iter().find(|node| node.is_me);
    let placed = |of: fn(&NodeInfo) -> u64| me.map_or(0, of);
    ClusterFigures {
        members: members(info),
        is_active: info.state == State::Active,
        is_degraded: info.condition == Condition::Degraded,
        gossip_peers: info.nodes.iter().filter(|node| !node.is_me).count() as u64,
        gossip_refused: info.gossip_refused,
        views_changed: counts.views,
        views_differing: info.views_differing as u64,
        peers: info.nodes.iter().filter(|node| !node.is_me).map(peer).collect(),
        traffic: Purpose::ALL.iter().zip(info.traffic).map(|(purpose, of)| traffic(*purpose, of)).collect(),
        frames: counts.frames_by_kind(),
        writes: info.writes,
        slots: vec![("home", slots.home), ("claiming", slots.claiming), ("copy", slots.copy), ("edge", slots.edge)],
        slots_placed: vec![("home", placed(|me| me.home)), ("follower", placed(|me| me.follower))],
        slots_solo: slots.solo,
        slots_opened: counts.opened_by_how(),
        slots_uncertain: counts.uncertain,
        slots_sealed: counts.sealed,
        copies_completed: counts.counted,
        followers_dropped: counts.solo,
        messages_adopted: counts.adopted,
        messages_orphaned: slots.orphans,
        orphans_lost: counts.orphans_lost,
        lag_records: slots.lag,
        lag: slots.owed_for,
        solo_seconds: counts.solo_seconds,
        publishes_short: counts.short,
        publishes_waiting: slots.publishes,
        publishes_waiting_bytes: slots.publish_bytes,
        publishes_waiting_for: slots.waiting_for,
        publishes_answered: counts.answered_by_answer(),
        greetings_refused: counts.refused_by_reason(),
        greetings_late: counts.late,
        greetings: info.greetings,
        questions: info.questions as u64,
        orders: info.orders as u64,
        inputs: info.inputs as u64,
        beats_dropped: counts.beats_dropped,
    }
}

fn members(info: &Info) -> [u64; Standing::ALL.len()] {
    let mut members = [0; Standing::ALL.len()];
    for node in &info.nodes {
        let standing = match node.state {
            Some(State::Joining) => Standing::Joining,
            Some(State::Active) => Standing::Active,
            Some(State::Draining) => Standing::Draining,
            Some(State::Leaving) => Standing::Leaving,
            Some(State::Impaired) => Standing::Impaired,
            // Those are counted below, whether gossip still knows them or not; and who said goodbye is nobody's trouble.
            None if node.is_silent || node.has_left => continue,
            None => Standing::Ended,
        };
        members[standing.index()] += 1;
    }
    members[Standing::Silent.index()] = info.silent as u64;
    members
}

fn peer(node: &NodeInfo) -> Peer {
    let queued = Purpose::ALL.iter().zip(node.queued).map(|(purpose, queued)| {
        let queued = queued.map(|queued| Queued { bytes: queued.all() as u64, bounded: queued.bytes as u64 });
        (purpose.as_str(), queued)
    });
    Peer {
        name: node.name.to_string(),
        rtt: node.rtt.filter(|rtt| *rtt > Duration::ZERO),
        links_made: node.links.made,
        links_filled: node.links.filled,
        links_given_up: node.links.given_up,
        queued: queued.collect(),
    }
}

fn traffic(purpose: Purpose, of: crate::cluster::mesh::Traffic) -> Traffic {
    Traffic { purpose: purpose.as_str(), said: (of.frames_said, of.bytes_said), heard: (of.frames_heard, of.bytes_heard) }
}

/// For operators.
pub(super) fn shown(info: &Info) -> admin::Cluster {
    let mut nodes: Vec<admin::Node> = info.nodes.iter().map(node).collect();
    // The one that answers first, the others by name.
    nodes.sort_by_key(|node| !node.is_self);
    let (slots, counts) = (&info.slots, &info.counts);
    admin::Cluster {
        is_clustered: true,
        condition: info.condition.as_str(),
        view: format!("{:016x}", info.view),
        slots: u32::from(SLOTS),
        in_use: admin::SlotsInUse {
            leads: slots.home,
            claims: slots.claiming,
            follows: slots.copy,
            reads: slots.edge,
            alone: slots.solo,
            lag_records: slots.lag,
            publishes_waiting: slots.publishes,
            publishes_waiting_ms: slots.waiting_for.as_millis() as u64,
        },
        since_start: admin::ClusterCounts {
            opened: counts.opened_by_how().into_iter().map(|(how, count)| (how.to_owned(), count)).collect(),
            opened_uncertain: counts.uncertain,
            handed_over: counts.sealed,
            went_on_alone: counts.solo,
            messages_adopted: counts.adopted,
            messages_lost: counts.orphans_lost,
            acknowledged_short: counts.short,
            views: counts.views,
        },
        links: info.nodes.iter().filter(|node| !node.is_me && !node.has_left).map(link).collect(),
        nodes,
    }
}

fn node(node: &NodeInfo) -> admin::Node {
    admin::Node {
        name: node.name.to_string(),
        address: node.address.clone(),
        is_self: node.is_me,
        state: node.state_name().to_owned(),
        version: Some(node.version.clone()),
        leads: node.home as u32,
        follows: node.follower as u32,
    }
}

fn link(node: &NodeInfo) -> admin::Link {
    admin::Link {
        to: node.name.to_string(),
        is_up: node.is_heard && node.queued.iter().all(Option::is_some),
        rtt_ms: node.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0),
        queue_bytes: node.queued.iter().flatten().map(|queued| queued.all() as u64).sum(),
        is_full: node.queued.iter().flatten().any(|queued| queued.is_full),
        lag_records: node.lag.map(|lag| lag.records),
        lag_slots: node.lag.map(|lag| lag.slots),
        lag_ms: node.lag.map(|lag| lag.oldest.as_millis() as u64),
        // One for each purpose belongs to every start of either end.
        reconnects: node.links.made.saturating_sub(Purpose::ALL.len() as u64),
    }
}

/// For backends.
pub(super) fn told(info: &Info) -> api::cluster::ClusterInfo {
    let mut nodes: Vec<_> = info.nodes.iter().map(told_node).collect();
    nodes.sort_by_key(|node| !node.is_self);
    api::cluster::ClusterInfo {
        condition: info.condition.as_str(),
        view: format!("{:016x}", info.view),
        nodes,
        slots_led: info.slots.home,
        slots_alone: info.slots.solo,
        slots_claimed: info.slots.claiming,
        replication_lag: info.slots.lag,
        publishes_waiting: info.slots.publishes,
    }
}

fn told_node(node: &NodeInfo) -> api::cluster::ClusterNode {
    api::cluster::ClusterNode {
        name: node.name.to_string(),
        state: node.state_name(),
        is_self: node.is_me,
        is_heard: node.is_heard,
        address: node.address.clone(),
        version: node.version.clone(),
        rtt: node.rtt,
        leads: node.home,
        follows: node.follower,
        queued_bytes: node.queued.iter().flatten().map(|queued| queued.all() as u64).sum(),
        lag: node.lag.map(|lag| api::cluster::Lag { records: lag.records, slots: lag.slots, oldest: lag.oldest }),
    }
}
