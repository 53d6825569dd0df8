//! What runs beside the rooms, on the runtime that the broker was started on.

use std::sync::Arc;
use std::time::Duration;

use super::in_cluster::InCluster;
use crate::auth::Gate;
use crate::control::Control;
use crate::front::guests::Guests;
use crate::hub::{Hub, NamespaceSums};
use crate::journal::Journal;
use crate::limits::{Crowd, Users, Visitors};
use crate::log::SLOTS;
use crate::metrics::{Gauges, Metrics, NamespaceFigures};
use crate::shard::Handle;

/// Every slot is swept once in this time.
const SWEEP_ROUND: Duration = Duration::from_secs(10);
const SWEEP_STEPS: u16 = 64;
/// How often the metrics library tidies up after itself.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often it is looked who keeps up of those whose sockets no shard owns.
const LOOK: Duration = Duration::from_secs(1);

/// What a scrape reads of others.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) hub: Arc<Hub>,
    pub(super) newcomers: Arc<Crowd>,
    pub(super) unread: Arc<Crowd>,
    pub(super) incoming: Arc<Crowd>,
    pub(super) cluster: InCluster,
    pub(super) control: Control,
    pub(super) journal: Journal,
    pub(super) visitors: Arc<Visitors>,
    pub(super) users: Arc<Users>,
    pub(super) guests: Guests,
    pub(super) gate: Gate,
    pub(super) shards: Arc<Vec<Arc<Handle>>>,
}

impl Watched {
    /// As it is now; what listeners, the log and readiness have to say is filled in by who knows them.
    pub(super) fn gauges(&self) -> Gauges {
        let (hub, totals, behind) = (&self.hub, self.hub.totals(), self.journal.behind());
        Gauges {
            connections_pending: self.newcomers.count() as u64,
            connections_per_address: self.visitors.most().into(),
            connections_per_user: self.users.most().into(),
            guests: self.guests.count() as u64,
            inbox_depths: hub.inboxes().map(|inbox| inbox.depth() as u64).collect(),
            shard_commands: self.shards.iter().map(|shard| shard.waiting() as u64).max().unwrap_or(0),
            channels: totals.channels as u64,
            channels_silent: totals.channels_silent as u64,
            history_messages: totals.history_messages,
            history_bytes: totals.history_bytes,
            dedupe_ids: totals.dedupe_ids,
            dedupe_shortened: totals.dedupe_shortened,
            unread_bytes: self.unread.weight() as u64,
            incoming_bytes: self.incoming.weight() as u64,
            namespaces: hub.namespace_sums().into_iter().map(namespace).collect(),
            cluster: self.cluster.figures().map(Box::new),
            presence: hub.presence_totals(),
            sessions_named: self.control.register().count() as u64,
            revocations: self.control.revocations().count() as u64,
            behind_elsewhere: behind.counts,
            behind_elsewhere_longest: behind.longest,
            behind_elsewhere_lacked_most: behind.lacked_most,
            rate_callers: self.gate.rate_callers() as u64,
            journal: self.journal.count() as u64,
            ..Gauges::default()
        }
    }
}

fn namespace(sums: NamespaceSums) -> NamespaceFigures {
    let NamespaceSums { name, published, published_bytes, channels, listened, messages, bytes } = sums;
    NamespaceFigures { name, published, published_bytes, channels, listened, messages, bytes }
}

/// Lets go of what is too old, a few slots at a time, and looks at what changes by itself.
pub(super) async fn sweep(hub: Arc<Hub>, control: Control, metrics: Arc<Metrics>, journal: Journal) {
    let mut steps = tokio::time::interval(SWEEP_ROUND / u32::from(SWEEP_STEPS));
    let mut upkeep = tokio::time::interval(UPKEEP);
    let mut looks = tokio::time::interval(LOOK);
    // Late is late: two looks at once would find everybody behind.
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let count = SLOTS / SWEEP_STEPS;
    let mut first = 0;
    loop {
        tokio::select! {
            _ = steps.tick() => {
                hub.sweep(first, count);
                first = (first + count) % SLOTS;
            }
            _ = upkeep.tick() => {
                metrics.upkeep();
                control.sweep();
            }
            _ = looks.tick() => journal.look(hub.clock().now(), metrics.off_shard()),
        }
    }
}

/// Lets presence go on.
pub(super) async fn presence(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(crate::presence::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.tick_presence();
    }
}

/// Commits each record a random time after it was appended, as a follower's answer would. For tests.
pub(super) async fn commit_late(hub: Arc<Hub>, delay_max: Duration) {
    loop {
        if !hub.commit_next() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        } else if rand::random_bool(0.3) {
            tokio::time::sleep(rand::random_range(Duration::ZERO..=delay_max)).await;
        }
    }
}
