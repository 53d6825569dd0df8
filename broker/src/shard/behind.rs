//! Who is not caught up, and since when: sessions that read the log, and those whose socket is full.
//!
//! Only changes are booked, so a session that keeps up costs nothing here.

use std::collections::BTreeSet;

use super::session::{Listener, Session, Touch};
use super::state::State;
use crate::metrics::ShardMetrics;

/// Those of whom it is looked how much they lack, who have been behind for longest: enough to find one that lacks much, and a millisecond.
const LOOKED_AT_MAX: usize = 4096;
/// Those of them of whom it is counted, which takes the locks of their slots.
const COUNTED_MAX: usize = 64;

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

impl State {
    /// How many messages the session lacks that lacks most: those kept for it, and those its socket has not taken. Once a second, since it
    /// looks at everybody who is behind; counted are those that may lack most, by how far their slots' logs have gone on.
    pub(super) fn lacked_most(&self) -> u64 {
        let late = self.late.by_age().take(LOOKED_AT_MAX).filter_map(|key| match self.listeners.get(key as usize) {
            Some(Listener::Session(session)) => Some((self.may_lack(session), session)),
            _ => None,
        });
        let mut late: Vec<(u64, &Session)> = late.collect();
        late.sort_unstable_by_key(|(may_lack, _)| std::cmp::Reverse(*may_lack));
        let mut most = 0;
        for (may_lack, session) in late.into_iter().take(COUNTED_MAX) {
            if may_lack <= most {
                break;
            }
            most = most.max(unsent(session) + session.subscription.lacks(&self.hub));
        }
        most
    }

    /// As many as it lacks at most, as far as the shard itself has heard of them: a slot's log holds what other channels of the slot were
    /// published, too.
    fn may_lack(&self, session: &Session) -> u64 {
        let mut places = session.places.iter();
        let newest = |place: &super::session::Place| self.channels.get(place.local as usize).map_or(0, |channel| channel.newest);
        let of_slots = session.subscription.groups.iter().map(|group| {
            let newest = places.by_ref().take(group.members.len()).map(newest).max().unwrap_or(0);
            newest.saturating_sub(group.pos.idx)
        });
        unsent(session) + of_slots.sum::<u64>()
    }
}

/// Messages that its socket has not taken whole.
fn unsent(session: &Session) -> u64 {
    session.rest.as_ref().map_or(0, |rest| rest.messages)
}
