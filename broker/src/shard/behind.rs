//! Who is not caught up, and since when: sessions that read the log, and those whose socket is full.
//!
//! Only changes are booked, so a session that keeps up costs nothing here.

use std::collections::BTreeSet;

use super::session::{Session, Touch};
use crate::metrics::ShardMetrics;

/// The sessions of one shard that are behind, the one that has been so for longest first. At most one place each.
#[derive(Debug, Default)]
pub(super) struct Behind(BTreeSet<(u32, u32)>);

impl Behind {
    /// The session lost touch with the head, or never had it. `true` when it had it until now, which is to be told.
    #[must_use]
    pub(super) fn enter(&mut self, key: u32, session: &mut Session, tick: u32, metrics: &ShardMetrics) -> bool {
        let front = session.encoder.front();
        if session.behind_since.is_none() {
            session.behind_since = Some(tick);
            self.0.insert((tick, key));
            metrics.behind_began(front);
        }
        // Of a stay that is over only the last words are still to be read.
        let falls = session.touch == Touch::Kept && session.ended.is_none();
        if falls {
            session.touch = Touch::Lost;
            metrics.fell_behind(front);
        }
        falls
    }

    /// The session stands at the head and its socket took everything. `true` when it had lost touch before, which is to be told.
    #[must_use]
    pub(super) fn catch_up(&mut self, key: u32, session: &mut Session, metrics: &ShardMetrics) -> bool {
        self.leave(key, session, metrics);
        let had_fallen = std::mem::replace(&mut session.touch, Touch::Kept) == Touch::Lost;
        if had_fallen {
            metrics.caught_up(session.encoder.front());
        }
        had_fallen
    }

    /// The session is behind no more, or gone.
    pub(super) fn leave(&mut self, key: u32, session: &mut Session, metrics: &ShardMetrics) {
        if let Some(tick) = session.behind_since.take() {
            self.0.remove(&(tick, key));
            metrics.behind_ended(session.encoder.front());
        }
    }

    /// Everyone, the one that has been behind for longest first.
    pub(super) fn by_age(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(_, key)| *key)
    }

    /// For how many ticks the first of them has been behind; 0 when nobody is.
    pub(super) fn longest(&self, tick: u32) -> u32 {
        self.0.first().map_or(0, |(since, _)| tick.saturating_sub(*since))
    }
}
