//! The counts at one moment, for who shows them himself.

use std::time::Duration;

use super::bounds::Bound;
use super::cell::{BOUNDS_MICROS, DurationsSum};
use super::export::{behind, behind_longest, bound_used, lacked_most, open, total};
use super::labels::{Front, Source};
use super::{Gauges, Metrics};
use crate::close::CloseReason;
use crate::log::GapReason;

/// The figures of one moment. Counts are since the start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sockets open now.
    pub connections: u64,
    /// Sessions now, by front, in the order of [`Front::ALL`].
    pub sessions: [u64; Front::ALL.len()],
    /// Those of them that are behind.
    pub behind: [u64; Front::ALL.len()],
    /// For how many seconds the one that has been so for longest has been behind.
    pub behind_longest: u64,
    /// How many messages the one that lacks most has not been given.
    pub lacked_most: u64,
    /// Sessions that ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Publishes that were kept.
    pub published: u64,
    /// Publishes that were refused.
    pub publishes_refused: u64,
    /// Messages handed to sockets.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Gaps that clients were told of.
    pub gaps: u64,
    /// Connections turned away.
    pub connections_refused: u64,
    /// Calls without a valid key.
    pub calls_refused: u64,
    /// Deliveries.
    pub latency: Latency,
    /// How much of each bound is used, and where it is.
    pub bounds: Vec<(Bound, u64, u64)>,
    /// Each shard's sockets, and how long it was at work.
    pub shards: Vec<(u64, Duration)>,
}

/// How long deliveries took, up to one moment.
#[derive(Clone, Debug, Default)]
pub struct Latency(Vec<u64>);

impl Latency {
    /// The time within which the share `q` of the deliveries since `before` were made; `None` when there were none.
    #[must_use]
    pub fn quantile_since(&self, before: &Self, q: f64) -> Option<Duration> {
        let since: Vec<u64> =
            self.0.iter().enumerate().map(|(at, count)| count.saturating_sub(before.0.get(at).copied().unwrap_or(0))).collect();
        let all = *since.last()?;
        if all == 0 {
            return None;
        }
        let rank = q * all as f64;
        let at = since.iter().position(|count| *count as f64 >= rank)?;
        let bound = |at: usize| BOUNDS_MICROS.get(at).or(BOUNDS_MICROS.last()).copied().unwrap_or(0) as f64;
        let (low, below) = if at == 0 { (0.0, 0) } else { (bound(at - 1), since[at - 1]) };
        // As Prometheus does it: evenly spread inside a bucket.
        let share = (rank - below as f64) / (since[at] - below).max(1) as f64;
        Some(Duration::from_micros((low + (bound(at) - low) * share) as u64))
    }
}

impl Metrics {
    /// Everything of this moment.
    #[must_use]
    pub fn snapshot(&self, gauges: &Gauges) -> Snapshot {
        let of_front = |pick: fn(&super::shard::FrontCells) -> u64, front: Front| -> u64 {
            self.groups().map(|group| pick(&group.fronts[front.index()])).fold(0, u64::wrapping_add)
        };
        let all = |pick: fn(&super::shard::FrontCells) -> u64| Front::ALL.map(|front| of_front(pick, front)).iter().sum();
        let closed = CloseReason::ALL.map(|reason| {
            let cells = self.groups().flat_map(|group| group.fronts.iter());
            cells.map(|front| front.sessions_closed[reason.index()].get()).sum()
        });
        let sources = || Source::ALL.into_iter().map(|source| &self.publishes[source.index()]);
        let connections_closed = total(self, |group| &group.connections_closed);
        Snapshot {
            connections: total(self, |group| &group.connections_accepted).saturating_sub(connections_closed),
            // Closed before opened: who comes and goes in between must not make the difference negative.
            sessions: Front::ALL.map(|front| {
                let gone = of_front(|cells| cells.sessions_closed.iter().map(super::Cell::get).sum(), front);
                of_front(|cells| cells.sessions_opened.get(), front).saturating_sub(gone)
            }),
            behind: Front::ALL.map(|front| behind(self, gauges, front)),
            behind_longest: behind_longest(self, gauges),
            lacked_most: lacked_most(self, gauges),
            closed,
            published: sources().map(|cells| cells.kept.get()).sum(),
            publishes_refused: sources().flat_map(|cells| &cells.errors).map(super::Cell::get).sum(),
            delivered: all(|cells| cells.messages_delivered.get()),
            delivered_bytes: all(|cells| cells.bytes_delivered.get()),
            gaps: all(|cells| GapReason::ALL.iter().map(|reason| cells.gaps[reason.index()].get()).sum()),
            connections_refused: self.connections_refused.iter().map(super::Cell::get).sum(),
            calls_refused: self.denied.iter().map(super::Cell::get).sum(),
            latency: Latency(DurationsSum::of(self.groups().flat_map(|group| group.fronts.iter().map(|front| &front.latency))).cumulative),
            bounds: Bound::ALL.map(|bound| (bound, bound_used(self, gauges, bound), self.bounds[bound.index()].get())).to_vec(),
            shards: self.shards.iter().map(|shard| (open(shard), Duration::from_micros(shard.busy_micros.get()))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_quantile_is_that_of_the_deliveries_in_between() {
        let metrics = Metrics::new(1, Clock::start());
        let latency = || metrics.snapshot(&Gauges::default()).latency;
        let start = latency();
        assert_eq!(start.quantile_since(&start, 0.5), None);
        metrics.shard(0).latency(Front::Sse, Duration::from_secs(5), 1000);
        let before = latency();
        metrics.shard(0).latency(Front::Sse, Duration::from_millis(1), 99);
        metrics.off_shard().latency(Front::Grpc, Duration::from_secs(2), 1);
        let (half, last) = (latency().quantile_since(&before, 0.5).unwrap(), latency().quantile_since(&before, 0.999).unwrap());
        assert!(half <= Duration::from_millis(1) && half > Duration::from_micros(100), "{half:?}");
        assert!(last > Duration::from_millis(500) && last <= Duration::from_secs(5), "{last:?}");
    }

    #[test]
    fn sessions_are_those_that_have_not_ended() {
        let metrics = Metrics::new(1, Clock::start());
        for _ in 0..3 {
            metrics.shard(0).session_opened(Front::Sse);
        }
        metrics.shard(0).session_closed(Front::Sse, CloseReason::TooSlow);
        let seen = metrics.snapshot(&Gauges::default());
        assert_eq!(seen.sessions[Front::Sse.index()], 2);
        assert_eq!(seen.closed[CloseReason::TooSlow.index()], 1);
    }
}
