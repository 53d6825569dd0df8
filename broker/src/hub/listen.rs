//! Joining and leaving, and reading the log from where a listener stands.

use std::sync::Arc;

use smallvec::SmallVec;

use super::listeners::ShardListener;
use super::namespace::Lagging;
use super::shared::Afterwards;
use super::signal::Signal;
use super::{Channel, Hub, SlotState};
use crate::log::{ChannelKey, Gap, Joined, Page, PageLimit, Slot, SlotCursor, Start, Verdict};
use crate::message::ChannelName;

/// Where a listener stands after joining the channels of one slot.
pub type JoinedSlot = Joined;

/// A page of the log for the channels of one slot.
pub type SlotRead = Page;

/// What [`Hub::read_on`] found.
#[derive(Debug)]
pub enum ReadOn {
    /// A page, and whether the cursor says more than the page's messages do: see [`SlotLog::is_own`](crate::log::SlotLog::is_own).
    Page(Page, bool),
    /// The listener's position is of a branch that the line left: it must join again, with its cursor.
    Off,
}

impl Hub {
    /// A shard begins to listen to a channel under its own number `local`. Everything committed after the returned
    /// index is pushed into the shard's inbox. `None` when the handle died.
    #[must_use]
    pub fn listen(&self, channel: &Channel, shard: usize, local: u32) -> Option<u64> {
        self.with_listeners(channel, |state| {
            let listeners = state.listeners_mut(channel.key);
            listeners.shards.retain(|known| known.shard != shard);
            listeners.shards.push(ShardListener { shard, local, missed: false });
            channel.set_interested(shard, true);
            state.log.commit().idx
        })
    }

    /// The shard's inbox was full for this channel; from the returned index on it gets everything again. `None` when
    /// the shard does not listen any more.
    #[must_use]
    pub fn listen_again(&self, channel: &Channel, shard: usize) -> Option<u64> {
        self.with_channel(channel, |state| {
            let listener = state.listeners_mut(channel.key).shards.iter_mut().find(|known| known.shard == shard)?;
            listener.missed = false;
            Some(state.log.commit().idx)
        })
        .flatten()
    }

    /// The shard has no session on the channel any more.
    pub fn leave(&self, channel: &Channel, shard: usize) {
        self.with_listeners(channel, |state| {
            state.listeners_mut(channel.key).shards.retain(|known| known.shard != shard);
            channel.set_interested(shard, false);
            self.left(state, channel);
        });
    }

    /// Raises `signal` whenever something is committed on the channel. `false` when the handle died.
    #[must_use]
    pub fn listen_signal(&self, channel: &Channel, signal: &Arc<Signal>) -> bool {
        self.with_listeners(channel, |state| state.listeners_mut(channel.key).signals.insert(signal)).is_some()
    }

    /// Undoes [`Hub::listen_signal`].
    pub fn leave_signal(&self, channel: &Channel, signal: &Arc<Signal>) {
        self.with_listeners(channel, |state| {
            state.listeners_mut(channel.key).signals.remove(signal);
            self.left(state, channel);
        });
    }

    /// Somebody who did not listen to this channel has no use for it any more.
    pub fn let_go(&self, name: &ChannelName) {
        let channel = self.channels.get(name).map(|channel| channel.clone());
        if let Some(channel) = channel.filter(|channel| channel.is_silent()) {
            self.with_channel(&channel, |state| self.left(state, &channel));
        }
    }

    /// Somebody has left. A channel that nobody ever published to is nothing without listeners: it goes with the last one, so
    /// that whoever comes and goes leaves nothing behind for the sweep.
    fn left(&self, state: &mut SlotState, channel: &Channel) {
        let goes = state.drop_listeners_if_none(channel.key) && channel.is_silent() && state.log.may_close(channel.key);
        // In a cluster it is kept up to date for a while, in case somebody comes back; then it is the sweep's.
        if goes && state.part.is_none() {
            self.close(state, channel.key);
        }
    }

    /// Changes who listens to a channel; the cluster hears of the first and of the last. `None` when the handle died.
    fn with_listeners<T>(&self, channel: &Channel, act: impl FnOnce(&mut SlotState) -> T) -> Option<T> {
        let mut after = Afterwards::default();
        let outcome = self.with_channel(channel, |state| {
            let had = state.listeners(channel.key).is_some_and(|listeners| !listeners.is_empty());
            let outcome = act(state);
            self.note_listeners(state, channel, had, &mut after);
            outcome
        });
        self.finish(after);
        outcome
    }

    /// Where a listener to these channels of one slot starts. `None` when a handle died.
    ///
    /// Listen first, then join: what is committed in between comes by both ways and is told apart by its position.
    #[must_use]
    pub fn join(&self, slot: Slot, channels: &[Arc<Channel>], start: &Start) -> Option<JoinedSlot> {
        let now = self.clock.now();
        self.with_slot(slot, |state| {
            if channels.iter().any(|channel| channel.is_dead()) {
                return None;
            }
            let keys: SmallVec<[ChannelKey; 8]> = channels.iter().map(|channel| channel.key).collect();
            Some(state.log.join_to_follow(&keys, start, now))
        })
    }

    /// What the channels of one slot hold after the given indices, as far as it is committed. `None` when a handle died.
    #[must_use]
    pub fn read(&self, slot: Slot, from: &[(Arc<Channel>, u64)], limit: PageLimit) -> Option<SlotRead> {
        let now = self.clock.now();
        self.with_slot(slot, |state| {
            if from.iter().any(|(channel, _)| channel.is_dead()) {
                return None;
            }
            let keys: SmallVec<[(ChannelKey, u64); 8]> = from.iter().map(|(channel, after)| (channel.key, *after)).collect();
            Some(state.log.follow(None, &keys, limit, now))
        })
    }

    /// As [`Hub::read`], for a listener that stands at this cursor: it gets nothing twice that it saw on another branch, and the
    /// cursor moves with what it gets. `None` when a handle died.
    #[must_use]
    pub fn read_on(&self, cursor: &mut SlotCursor, from: &[(Arc<Channel>, u64)], limit: PageLimit) -> Option<ReadOn> {
        let now = self.clock.now();
        self.with_slot(cursor.slot, |state| {
            if from.iter().any(|(channel, _)| channel.is_dead()) {
                return None;
            }
            if state.log.is_off(cursor.main) {
                return Some(ReadOn::Off);
            }
            let keys: SmallVec<[(ChannelKey, u64); 8]> = from.iter().map(|(channel, after)| (channel.key, *after)).collect();
            let mut page = state.log.follow(Some(&*cursor), &keys, limit, now);
            let line = state.log.line();
            page.entries.retain(|entry| line.admit(cursor, entry.pos, entry.adopted.as_deref()).verdict != Verdict::Seen);
            if page.upto.idx > cursor.main.idx {
                line.cover(cursor, page.upto, &[]);
            }
            // A listener that another node told more than this one has committed stays where it is.
            page.upto = cursor.main;
            Some(ReadOn::Page(page, state.log.is_own(cursor)))
        })
    }

    /// Moves a cursor to the slot's commit, if nothing was committed on these channels after it: a quiet listener may stand
    /// there without having missed anything. `false` when it stays: there is something to deliver first, a handle died, or it
    /// is there.
    pub fn move_quiet<'a>(&self, cursor: &mut SlotCursor, channels: impl Iterator<Item = &'a Channel>) -> bool {
        self.with_slot(cursor.slot, |state| {
            let (log, after) = (&state.log, cursor.main.idx);
            // Never back: another node may have told the listener more than this one has. Nor from one branch to another.
            if log.commit().idx <= after || log.is_uncertain_after(after) || log.is_off(cursor.main) {
                return false;
            }
            for channel in channels {
                if channel.is_dead() || log.channel(channel.key).last > after || log.is_lost_after(channel.key, after) {
                    return false;
                }
            }
            log.line().cover(cursor, log.commit(), &[]);
            true
        })
    }

    /// How many messages of a channel are kept after this index of its slot's log, for who listens; none when the handle died.
    #[must_use]
    pub fn kept_after(&self, channel: &Channel, after: u64) -> u64 {
        self.with_channel(channel, |state| state.log.kept_after(channel.key, after)).unwrap_or(0)
    }

    /// Makes a cursor forget the branches that this node's line does not know: whoever saw them did so long ago.
    pub fn disown(&self, cursor: &mut SlotCursor) {
        self.with_slot(cursor.slot, |state| state.log.disown(cursor));
    }

    /// What becomes of a listener of the channel that is missing what left the history.
    #[must_use]
    pub fn lagging(&self, channel: &Channel) -> Lagging {
        self.rules().of(&channel.name).1.lagging
    }

    /// The name behind a gap's key, among the channels that were asked for.
    #[must_use]
    pub fn gap_channel<'a>(channels: &'a [Arc<Channel>], gap: &(ChannelKey, Gap)) -> Option<&'a Arc<Channel>> {
        channels.iter().find(|channel| channel.key == gap.0)
    }
}
