//! The last hour in small steps, so that whoever opens the page at night sees how it came to this.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::metrics::Snapshot;

/// Time between two points.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// An hour of them.
const POINTS_MAX: usize = 720;

/// One step. Rates are per second, over the step that ended here.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Point {
    pub(super) at_ms: u64,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    pub(super) behind: u64,
    pub(super) published: f64,
    pub(super) delivered: f64,
    pub(super) delivered_bytes: f64,
    pub(super) refused: f64,
    pub(super) gaps: f64,
    /// Milliseconds; absent where nothing was delivered.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Share of one core that the busiest shard used.
    pub(super) busiest: f64,
}

/// All steps that are kept.
#[derive(Debug, Default)]
pub struct Trend {
    points: VecDeque<Point>,
    last: Option<(Duration, Snapshot)>,
}

impl Trend {
    /// Takes the figures of now. The first ones are only what the next are compared with.
    pub(super) fn step(&mut self, now: Duration, at_ms: u64, snapshot: Snapshot) {
        if let Some((then, before)) = self.last.replace((now, snapshot.clone())) {
            if self.points.len() == POINTS_MAX {
                self.points.pop_front();
            }
            self.points.push_back(point(at_ms, now.saturating_sub(then), &before, &snapshot));
        }
    }

    /// The points after this moment, oldest first.
    pub(super) fn after(&self, at_ms: u64) -> Vec<Point> {
        self.points.iter().filter(|point| point.at_ms > at_ms).copied().collect()
    }
}

fn point(at_ms: u64, took: Duration, before: &Snapshot, now: &Snapshot) -> Point {
    let seconds = took.as_secs_f64().max(1e-3);
    let rate = |pick: fn(&Snapshot) -> u64| pick(now).saturating_sub(pick(before)) as f64 / seconds;
    let quantile = |q| now.latency.quantile_since(&before.latency, q).map(|took| took.as_secs_f64() * 1e3);
    let busy = now.shards.iter().zip(&before.shards).map(|((_, busy), (_, then))| busy.saturating_sub(*then).as_secs_f64() / seconds);
    Point {
        at_ms,
        connections: now.connections,
        sessions: now.sessions.iter().sum(),
        behind: now.behind.iter().sum(),
        published: rate(|at| at.published),
        delivered: rate(|at| at.delivered),
        delivered_bytes: rate(|at| at.delivered_bytes),
        refused: rate(|at| at.publishes_refused + at.connections_refused + at.calls_refused),
        gaps: rate(|at| at.gaps),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        busiest: busy.fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_step_and_the_oldest_points_leave() {
        let mut trend = Trend::default();
        for step in 0..=POINTS_MAX as u64 + 1 {
            let snapshot = Snapshot { delivered: step * 50, connections: step, ..Snapshot::default() };
            trend.step(STEP * step as u32, step, snapshot);
        }
        let points = trend.after(0);
        assert_eq!((points.len(), points[0].at_ms), (POINTS_MAX, 2));
        assert!(points.iter().all(|point| (point.delivered - 10.0).abs() < 1e-9 && point.p50_ms.is_none()));
        assert_eq!(trend.after(700).len(), 21);
    }
}
