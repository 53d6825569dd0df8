//! Whether this node should get traffic: draining or not, and what the self-probe found, with hysteresis.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;

/// Passes in a row before a node that failed counts as well again.
const PASSES_TO_RECOVER: u32 = 3;

/// Why a node should get no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// No self-probe has passed yet.
    Starting,
    /// No self-probe passed for too long, or too few since.
    ProbeFailing,
    /// A shard ended by a fault of the broker: only a restart helps.
    ShardDied,
    /// The node is leaving.
    Draining,
    /// The node joins its cluster and takes no slots yet.
    Joining,
    /// Another process of its name is part of the cluster, or nodes that were there before it speak another protocol: so it is not.
    NotAdmitted,
}

impl NotReady {
    /// The name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::ProbeFailing => "probe_failing",
            Self::ShardDied => "shard_died",
            Self::Draining => "draining",
            Self::Joining => "joining",
            Self::NotAdmitted => "not_admitted",
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Starting => "the first self-probe has not passed yet",
            Self::ProbeFailing => "messages published to this node do not come back in time",
            Self::ShardDied => "a shard died by a fault of the broker; restart the process",
            Self::Draining => "this node is leaving",
            Self::Joining => "this node joins its cluster and takes no slots yet",
            Self::NotAdmitted => {
                "the cluster does not let this node in: its name is that of another process (cluster.node), or its release is too far from theirs; the log says which"
            }
        }
    }
}

/// The node's state as its health checks see it. A cheap handle: all clones are the same.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    health: Health,
    draining: bool,
    shard_died: bool,
    /// What keeps it out of its cluster.
    outside: Option<NotReady>,
}

impl Readiness {
    /// Not ready until a probe passes; a pass counts for `window`.
    #[must_use]
    pub fn new(clock: Clock, window: Duration) -> Self {
        let state = Mutex::new(State { health: Health::new(window), draining: false, shard_died: false, outside: None });
        Self(Arc::new(Shared { clock, state, ready: watch::Sender::new(false) }))
    }

    /// The node begins to leave; for good.
    pub fn drain(&self) {
        self.0.state.lock().draining = true;
        let _ = self.check();
    }

    /// Whether the node is leaving.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.state.lock().draining
    }

    /// A shard ended without having been told to; for good.
    pub fn shard_died(&self) {
        self.0.state.lock().shard_died = true;
        let _ = self.check();
    }

    /// What keeps the node out of its cluster, until it is said otherwise.
    pub fn stands(&self, outside: Option<NotReady>) {
        let before = std::mem::replace(&mut self.0.state.lock().outside, outside);
        if before != outside {
            let _ = self.check();
        }
    }

    /// Whether everything that should turn does, whether it should get traffic or not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.0.state.lock().shard_died
    }

    /// A self-probe ended.
    pub fn probed(&self, passed: bool) {
        let now = self.0.clock.mono();
        self.0.state.lock().health.probed(passed, now);
        let _ = self.check();
    }

    /// Whether the node should get traffic now.
    ///
    /// # Errors
    /// The reason when it should not.
    pub fn check(&self) -> Result<(), NotReady> {
        let now = self.0.clock.mono();
        let mut state = self.0.state.lock();
        let verdict = match &mut *state {
            State { draining: true, .. } => Err(NotReady::Draining),
            State { shard_died: true, .. } => Err(NotReady::ShardDied),
            State { outside: Some(reason), .. } => Err(*reason),
            State { health, .. } => health.check(now),
        };
        // Under the lock, so that the last verdict is also the last one sent.
        let changed = self.0.ready.send_if_modified(|ready| std::mem::replace(ready, verdict.is_ok()) != verdict.is_ok());
        drop(state);
        match verdict {
            _ if !changed => {}
            Ok(()) => tracing::info!(event = "ready", "ready"),
            Err(NotReady::Draining) => {
                tracing::info!(event = "not_ready", reason = NotReady::Draining.as_str(), "not ready: this node is leaving")
            }
            Err(reason) => tracing::warn!(event = "not_ready", reason = reason.as_str(), "not ready: {}", reason.sentence()),
        }
        verdict
    }

    /// Follows [`Readiness::check`], as fresh as the last probe.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }
}

/// What the probes say. Pure: time comes in.
#[derive(Debug)]
struct Health {
    window: Duration,
    last_pass: Option<Duration>,
    passes_in_a_row: u32,
    is_well: bool,
}

impl Health {
    fn new(window: Duration) -> Self {
        Self { window, last_pass: None, passes_in_a_row: 0, is_well: false }
    }

    fn probed(&mut self, passed: bool, now: Duration) {
        // Judge the time before this probe first: a pass that comes too late must not hide that it was late.
        let _ = self.check(now);
        if !passed {
            self.passes_in_a_row = 0;
            return;
        }
        self.passes_in_a_row = self.passes_in_a_row.saturating_add(1);
        let is_first = self.last_pass.replace(now).is_none();
        self.is_well |= is_first || self.passes_in_a_row >= PASSES_TO_RECOVER;
    }

    fn check(&mut self, now: Duration) -> Result<(), NotReady> {
        let Some(last_pass) = self.last_pass else { return Err(NotReady::Starting) };
        if now.saturating_sub(last_pass) > self.window {
            self.is_well = false;
            self.passes_in_a_row = 0;
        }
        if self.is_well { Ok(()) } else { Err(NotReady::ProbeFailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_pass_makes_ready() {
        let mut health = Health::new(at(10));
        assert_eq!(health.check(at(0)), Err(NotReady::Starting));
        health.probed(false, at(1));
        assert_eq!(health.check(at(1)), Err(NotReady::Starting));
        health.probed(true, at(2));
        assert_eq!(health.check(at(12)), Ok(()));
    }

    #[test]
    fn failures_within_the_window_change_nothing() {
        let mut health = Health::new(at(10));
        health.probed(true, at(0));
        (1..=9).for_each(|second| health.probed(false, at(second)));
        assert_eq!(health.check(at(10)), Ok(()));
        health.probed(true, at(10));
        assert_eq!(health.check(at(20)), Ok(()));
    }

    #[test]
    fn recovery_takes_three_passes_in_a_row() {
        let mut health = Health::new(at(10));
        health.probed(true, at(0));
        assert_eq!(health.check(at(11)), Err(NotReady::ProbeFailing));
        for (second, passed) in [(12, true), (13, true), (14, false), (15, true), (16, true)] {
            health.probed(passed, at(second));
            assert_eq!(health.check(at(second)), Err(NotReady::ProbeFailing), "{second}");
        }
        health.probed(true, at(17));
        assert_eq!(health.check(at(17)), Ok(()));
    }

    #[test]
    fn a_late_pass_counts_as_recovery_although_nobody_looked() {
        let mut health = Health::new(at(10));
        health.probed(true, at(0));
        health.probed(true, at(30));
        assert_eq!(health.check(at(30)), Err(NotReady::ProbeFailing));
    }

    #[tokio::test]
    async fn a_node_that_is_not_in_its_cluster_gets_no_traffic_however_well_it_is() {
        let readiness = Readiness::new(Clock::start(), at(10));
        readiness.stands(Some(NotReady::Joining));
        readiness.probed(true);
        assert_eq!(readiness.check(), Err(NotReady::Joining));
        readiness.stands(None);
        assert_eq!(readiness.check(), Ok(()));
        assert!(*readiness.subscribe().borrow());
        readiness.stands(Some(NotReady::NotAdmitted));
        assert!(!*readiness.subscribe().borrow());
        assert_eq!(readiness.check(), Err(NotReady::NotAdmitted));
    }

    #[tokio::test]
    async fn a_drain_ends_readiness_for_good() {
        let readiness = Readiness::new(Clock::start(), at(10));
        let follower = readiness.subscribe();
        assert_eq!(readiness.check(), Err(NotReady::Starting));
        readiness.probed(true);
        assert!(*follower.borrow());
        readiness.drain();
        assert!(!*follower.borrow());
        readiness.probed(true);
        assert_eq!(readiness.check(), Err(NotReady::Draining));
        assert!(readiness.is_draining());
    }
}
