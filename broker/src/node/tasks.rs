//! What runs beside the rooms, on the runtime that the broker was started on.

use std::sync::Arc;
use std::time::Duration;

use crate::hub::Hub;
use crate::limits::Crowd;
use crate::log::SLOTS;
use crate::metrics::{Gauges, Metrics};

/// Every slot is swept once in this time.
const SWEEP_ROUND: Duration = Duration::from_secs(10);
const SWEEP_STEPS: u16 = 64;
/// How often the metrics library tidies up after itself.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a scrape reads of others; `ready` and `draining` are filled in by who knows them.
pub(super) fn gauges(hub: &Hub, newcomers: &Crowd) -> Gauges {
    let totals = hub.totals();
    Gauges {
        connections_pending: newcomers.count() as u64,
        inbox_depths: hub.inboxes().map(|inbox| inbox.depth() as u64).collect(),
        channels: totals.channels as u64,
        channels_silent: totals.channels_silent as u64,
        history_messages: totals.history_messages,
        history_bytes: totals.history_bytes,
        dedupe_ids: totals.dedupe_ids,
        dedupe_shortened: totals.dedupe_shortened,
        ..Gauges::default()
    }
}

/// Lets go of what is too old, a few slots at a time.
pub(super) async fn sweep(hub: Arc<Hub>, metrics: Arc<Metrics>) {
    let mut steps = tokio::time::interval(SWEEP_ROUND / u32::from(SWEEP_STEPS));
    let mut upkeep = tokio::time::interval(UPKEEP);
    let count = SLOTS / SWEEP_STEPS;
    let mut first = 0;
    loop {
        tokio::select! {
            _ = steps.tick() => {
                hub.sweep(first, count);
                first = (first + count) % SLOTS;
            }
            _ = upkeep.tick() => metrics.upkeep(),
        }
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
